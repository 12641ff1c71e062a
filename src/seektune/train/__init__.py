"""The loop, its checkpoints and its precision."""
