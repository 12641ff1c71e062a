"""How good a model is, with what certainty, and whether another one differs.

`measures/` holds one file per measure; `evaluator.py` runs them on an engine; `significance.py` is the statistics;
`stored.py` keeps the answers; `compare.py` pairs two stored evaluations; `require.py` reads what a user demands.
"""
