"""The engine: one piece of code for everything that generates, scores or labels (chat, evaluation, rollouts).

`engine.py` is what callers see; `batches.py` decides which requests run together; `rows.py` runs one batch with its
key-value cache; `sampling.py` picks tokens; `pieces.py` turns tokens into text as they come; `opening.py` loads.
"""
