"""The fields of a file's rows: how many are filled, and with what kind of value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "str": "text",
    "int": "number",
    "float": "number",
    "bool": "yes or no",
    "dict": "object",
    "list": "list",
    "NoneType": "nothing",
}
MOST = 200  # different fields of a file that are told apart


@dataclass
class Fields:
    """`kinds` counts (field, type name); `first` holds the number of the row where each stood first."""

    rows: int = 0
    broken: int = 0  # rows that could not be read at all
    kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    first: dict[tuple[str, str], int] = field(default_factory=dict)
    empty: Counter[str] = field(default_factory=Counter)
    first_empty: dict[str, int] = field(default_factory=dict)

    def add(self, row: Any, number: int) -> None:
        self.rows += 1
        if not isinstance(row, dict):
            return
        for key, value in row.items():
            kind = (key, type(value).__name__)
            if kind not in self.first:
                if len(self.first) >= MOST:
                    continue
                self.first[kind] = number
            self.kinds[kind] += 1
            if value is None or value == "" or value == [] or (type(value) is str and value.isspace()):
                self.empty[key] += 1
                self.first_empty.setdefault(key, number)

    def of(self, key: str) -> dict[str, int]:
        """{"text": n, "number": n} of one field."""
        found = Counter[str]()
        for (name, kind), count in self.kinds.items():
            if name == key:
                found[KINDS.get(kind, kind)] += count
        return dict(found.most_common())

    def first_of(self, key: str, kind: str) -> int:
        """The row where a value of this kind stood first."""
        return min(
            number for (name, given), number in self.first.items() if name == key and KINDS.get(given, given) == kind
        )

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.first))

    def as_dict(self) -> dict[str, Any]:
        return {name: {"kinds": self.of(name), "empty": self.empty[name], "missing": self.rows - sum(self.of(name).values())}
                for name in self.names()}  # fmt: skip
