"""Where the documents of each step come from: one file, one dataclass each."""
