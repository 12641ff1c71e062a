"""Accelerators that a plan can be made for without having one: memory and speeds from the makers' data sheets.

Speeds are peaks of dense products (no sparsity, sums in float32); what share of them a step reaches is assumed in pace.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import RecipeError, nearest, problem

GIB = 1 << 30
LINK = {3: 12e9, 4: 25e9, 5: 50e9}  # PCI Express generation -> bytes a second that 16 lanes carry one way, in practice


@dataclass(frozen=True)
class Device:
    """A device to plan for. Operations and bytes a second; 0 where it is not known, and then no time is predicted."""

    name: str
    memory_bytes: int
    bfloat16: float = 0.0
    float32: float = 0.0
    bandwidth: float = 0.0  # of its memory
    pcie: int = 0  # generation
    kind: str = "cuda"  # cpu, cuda or mps, as torch says

    @property
    def link(self) -> float:
        """Bytes a second between it and the host's memory; 0 where it is not known."""
        return LINK.get(self.pcie, 0.0)

    def speed(self, precision: str) -> float:
        return self.float32 if precision == "float32" else self.bfloat16


TABLE = {
    device.name: device
    for device in (
        Device("a100-40g", 40 * GIB, 312e12, 19.5e12, 1.555e12, 4),
        Device("a100-80g", 80 * GIB, 312e12, 19.5e12, 2.039e12, 4),  # SXM; the PCIe card reads 1.935e12
        Device("h100", 80 * GIB, 989e12, 67e12, 3.35e12, 5),  # SXM
        Device("h200", 141 * GIB, 989e12, 67e12, 4.8e12, 5),
        Device("l4", 24 * GIB, 121e12, 30.3e12, 0.3e12, 4),
        Device("l40s", 48 * GIB, 362e12, 91.6e12, 0.864e12, 4),
        Device("a10", 24 * GIB, 125e12, 31.2e12, 0.6e12, 4),
        Device("rtx3090", 24 * GIB, 71e12, 35.6e12, 0.936e12, 4),
        Device("rtx4090", 24 * GIB, 165e12, 82.6e12, 1.008e12, 4),
    )
}


def find(name: str, where: str = "--device") -> Device:
    """A device of the table, or any with so much memory (`16g`). RecipeError where the name is neither."""
    key = name.strip().lower()
    if key in TABLE:
        return TABLE[key]
    amount = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:g|gb|gib)", key)
    if amount and (held := int(float(amount[1]) * GIB)) > 0:
        return Device(key, held)
    expected = ", ".join(TABLE) + ", or an amount of memory such as 16g"
    raise RecipeError(problem(where, f"found {name!r}", expected, nearest(key, list(TABLE))))
