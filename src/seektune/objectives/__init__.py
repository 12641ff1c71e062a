"""What a model is trained for: one file, one dataclass each."""
