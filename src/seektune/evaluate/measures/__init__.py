"""One measure a file: a dataclass whose `measure(engine, records)` returns name -> one value per record.

A plain list of numbers is averaged. A measure whose figure is no mean also has `figures(values) -> list[Pool]`
(`evaluate/significance.py`), pure in the stored values, so that intervals and comparisons need no model.
"""
