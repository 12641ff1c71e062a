"""Exact decimals to [0, 1] and back without loss: of every value that is a multiple of the finest step seen, the inverse is the value.

A scaled value is kept with as many places as that takes: 10^-places × slope of the inverse < step / 4.
"""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from .. import files
from ..errors import DataError, problem
from ._numerals import plain

How = Literal["linear", "log"]
FORMAT = 1


@dataclass
class Range:
    """Of one kind and unit. `step`: the power of ten that all values are multiples of."""

    low: Decimal
    high: Decimal
    step: Decimal
    count: int = 0

    def widen(self, value: Decimal) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.step = min(self.step, _step(value))
        self.count += 1


@dataclass
class Scaler:
    """linear: (x - low) / (high - low); log: the same of sign(x) ln(1 + |x| / step), which spreads amounts of many magnitudes."""

    how: How = "linear"
    ranges: dict[str, Range] = field(default_factory=dict)

    def fit(self, name: str, value: Decimal) -> None:
        if name not in self.ranges:
            self.ranges[name] = Range(value, value, _step(value))
        self.ranges[name].widen(value)

    def scale(self, name: str, value: Decimal) -> Decimal | None:
        """None for a kind that was not seen. Outside of [0, 1] where the value is outside of what was seen; 0 of a single value."""
        if (found := self.ranges.get(name)) is None:
            return None
        places = self._places(found, value)
        with decimal.localcontext(prec=places + 2 * _digits(found, value) + 10):
            low, high = (self._bent(x, found.step) for x in (found.low, found.high))
            share = (self._bent(value, found.step) - low) / (high - low if high != low else Decimal(1))
            return share.quantize(Decimal(1).scaleb(-places))

    def unscale(self, name: str, scaled: Decimal) -> Decimal:
        """The value, to the step."""
        found = self.ranges[name]
        places = -_exponent(scaled)
        guess = max(abs(found.low), abs(found.high))
        with decimal.localcontext(prec=places + 2 * _digits(found, guess) + 10):
            low, high = (self._bent(x, found.step) for x in (found.low, found.high))
            value = self._straight(low + scaled * (high - low if high != low else Decimal(1)), found.step)
            return value.quantize(found.step) if abs(value) >= found.step / 2 else Decimal(0)

    def _bent(self, value: Decimal, step: Decimal) -> Decimal:
        return value if self.how == "linear" else (1 + abs(value) / step).ln().copy_sign(value)

    def _straight(self, bent: Decimal, step: Decimal) -> Decimal:
        return bent if self.how == "linear" else ((abs(bent).exp() - 1) * step).copy_sign(bent)

    def _places(self, found: Range, value: Decimal) -> int:
        """The slope of the inverse is at most high - low, or (|x| + step) × the range of logarithms, which has fewer digits than x."""
        return _digits(found, value) + 2 if self.how == "linear" else _digits(found, value) + 6

    def save(self, path: Path) -> None:
        ranges = {
            name: {"low": plain(r.low), "high": plain(r.high), "step": plain(r.step), "count": r.count}
            for name, r in sorted(self.ranges.items())
        }
        files.write_json(path, {"format": FORMAT, "how": self.how, "ranges": ranges})

    @classmethod
    def load(cls, path: Path) -> Scaler:
        try:
            held = files.read_json(path)
            assert held["format"] == FORMAT and held["how"] in ("linear", "log")
            return cls(held["how"], {name: _range(r) for name, r in held["ranges"].items()})
        except (OSError, ValueError, LookupError, TypeError, AttributeError, AssertionError, decimal.InvalidOperation):
            raise DataError(
                problem(
                    str(path), "is no scaler", "what `scale_numbers` has written", "remove it to have it fitted anew"
                )
            ) from None


def name_of(kind: str, unit: str) -> str:
    """What shares a range: `amount CNY`, `percent %`."""
    return f"{kind} {unit}".strip()


def fitted(how: How, values: Iterable[tuple[str, Decimal]]) -> Scaler:
    made = Scaler(how)
    for name, value in values:
        made.fit(name, value)
    return made


def _range(written: dict[str, Any]) -> Range:
    low, high, step = (Decimal(written[key]) for key in ("low", "high", "step"))
    found = Range(low, high, step, int(written["count"]))
    if not (found.low <= found.high and found.step > 0):
        raise ValueError(written)
    return found


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def _step(value: Decimal) -> Decimal:
    """The place of the last digit, at most 1: of 12.50 it is 0.01."""
    return Decimal((0, (1,), min(0, _exponent(value))))


def _digits(found: Range, value: Decimal) -> int:
    """Digits of the largest number that takes part, counted in steps."""
    largest = max(abs(found.low), abs(found.high), abs(value))
    return max(1, largest.adjusted() - _exponent(found.step) + 2) if largest else 2
