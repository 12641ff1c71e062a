"""Tuners: what may change while training. A tuner marks or adds parameters, merges what it added, and writes the result."""
