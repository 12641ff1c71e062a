"""How a gradient becomes a step: one file, one dataclass each."""
