"""The factor of the learning rate over the progress of a run: one file, one dataclass each."""
