"""Hand-written pieces of the training step, each a plain function over tensors; `models/fuse.py` gives them to open models."""
