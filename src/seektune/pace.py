"""How long a run will take where no step of it can be timed: operations over a share of the peak, bytes over the bandwidth.

An estimate, and called one. Timed micro-steps (plan.timed) replace it wherever the model can be opened.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .devices import Device

if TYPE_CHECKING:
    from .plan import Plan
    from .runtime import Speed

SHARE = {"cpu": 0.6, "cuda": 0.5, "mps": 0.4}  # of the speed of products that those inside a step reach: assumed
ACTIVATION_TRAFFIC = 4  # times that what backward keeps goes through memory: written, read on, read back, its gradient
# Seconds that a host takes over a layer of a micro-batch, forward and back, until a GPU has all of it to do: small models wait
# for their host. 6 to 10 ms beside an H100 in a virtual machine whose Python is slow (bench/step.py, 2026-11-28); others are faster.
LAUNCHING = 5e-3
UPDATE_TRAFFIC = 28  # bytes that a step of AdamW reads and writes per trained parameter


@dataclass(frozen=True)
class Pace:
    """Seconds of a run by what they go into, and in words what they were made from."""

    products: float
    activations: float
    weights: float  # read again in each forward and backward
    updates: float
    launching: float  # of the host, beside all that
    words: str

    @property
    def seconds(self) -> float:
        return max(self.products + self.activations + self.weights + self.updates, self.launching)


def estimated(plan: Plan, machine: Device, precision: str, count: int = 1) -> Plan:
    """The plan with an estimate of its time on `count` such machines; as it is where their speeds are not known.

    Several share the work evenly, and what they send each other is not counted.
    """
    pace = pace_of(plan, machine, precision, count)
    if pace is None or plan.setup is None:
        return plan
    setup = dataclasses.replace(plan.setup, step_seconds=pace.seconds / max(plan.steps, 1))
    return dataclasses.replace(plan, seconds=pace.seconds, tokens_per_second=plan.tokens / pace.seconds,
                               time_from=pace.words, setup=setup)  # fmt: skip


def pace_of(plan: Plan, machine: Device, precision: str, count: int = 1) -> Pace | None:
    speed, share = machine.speed(precision), SHARE.get(machine.kind, SHARE["cuda"])
    if not speed or not machine.bandwidth or plan.setup is None:
        return None
    needs, checkpointing = plan.setup.needs, plan.setup.checkpointing
    passes = 3 if checkpointing else 2
    kept = needs.footprint.token * plan.tokens * ACTIVATION_TRAFFIC * (passes / 2)
    read = (needs.weights.frozen_bytes + needs.weights.trained_bytes) * passes * plan.microbatches
    updates = UPDATE_TRAFFIC * needs.weights.trained * plan.steps
    launching = LAUNCHING * passes / 2 * needs.footprint.layers * plan.microbatches if machine.kind == "cuda" else 0.0
    many = f", {count} of them, what they send each other left out" if count > 1 else ""
    words = f"estimated for {machine.name}{many}: {share:.0%} of {speed / 1e12:,.3g} TFLOP/s, {machine.bandwidth / 1e9:,.4g} GB/s"
    return Pace(
        plan.flops / (share * speed) / count,
        kept / machine.bandwidth / count,
        read / machine.bandwidth / count,
        updates / machine.bandwidth / count,
        launching / count,
        words,
    )


def measured(machine: Device, speed: Speed) -> Device:
    """This machine with the speeds of its calibration (`runtime.measure`)."""
    return dataclasses.replace(machine, bfloat16=speed.bfloat16, float32=speed.float32, bandwidth=speed.memory)
