"""The `train:` part of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..contracts import Probe, above, at_least, option
from ..errors import RecipeError, problem


@dataclass(frozen=True)
class Train:
    """How long, in what pieces, in what precision, and how often to save and look."""

    epochs: float | None = option(
        None,
        "passes over the data (or give `steps`)",
        probe=Probe(2, "metrics", given={"train.steps": None}),
        check=above(0),
    )
    steps: int | None = option(
        None,
        "optimizer steps (or give `epochs`; 1 epoch where neither is given)",
        probe=Probe(5, "metrics"),
        check=at_least(1),
    )
    batch_size: int = option(32, "records per optimizer step", probe=Probe(2), check=at_least(1))
    microbatch: int | Literal["auto"] = option(
        "auto", "records per forward; never changes a gradient", probe=Probe(1, "calls"), check=at_least(1)
    )
    packing: bool = option(
        True, "documents end to end in one row where the model keeps them apart", probe=Probe(False, "calls")
    )
    activation_checkpointing: bool | int | Literal["auto"] = option(
        "auto",
        "layers that recompute their activations in backward, from the lowest: true for all, a number, or as many as needed",
        probe=Probe(True, "memory"),
        check=at_least(0),
    )
    activation_offload: bool = option(
        False,
        "what recomputing layers keep lies in the host's memory on a GPU, in a temporary file on a CPU",
        probe=Probe(True, "memory", given={"train.activation_checkpointing": True}),
    )
    stream: bool = option(
        False,
        "LoRA with a frozen base larger than the device: the layers' weights stay in their files and come one by one",
        probe=Probe(True, "memory", given={"tuner.kind": "lora"}),
    )
    prefix_cache: bool | Literal["auto"] = option(
        "auto",
        "keep what enters the lowest trained layer, so that the layers below are run once per record; auto: where it pays",
        probe=Probe(False, "events", given={"tuner.kind": "freeze", "train.steps": 6}),
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "of the arithmetic; auto times a GEMM", probe=Probe("bfloat16")
    )
    clip: float | None = option(1.0, "largest gradient norm; null does not clip", probe=Probe(1e-3), check=above(0))
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps", probe=Probe("meta-device", "stop"))
    save_every: int = option(
        200, "steps between checkpoints; every stop saves too", probe=Probe(1, "events"), check=at_least(1)
    )
    keep: int = option(
        2,
        "checkpoints that stay; the best one stays besides",
        probe=Probe(1, "file:checkpoints", given={"train.save_every": 1}),
        check=at_least(1),
    )
    validate_every: int | None = option(
        None,
        "steps between validations; the end is always validated",
        probe=Probe(1, "metrics", given={"data.valid.fraction": 0.4}),
        check=at_least(1),
    )
    max_non_finite: int = option(
        5,
        "steps in a row with a non-finite loss or gradient before the run stops",
        probe=Probe(1, "stop", scenario="non_finite"),
        check=at_least(1),
    )

    def __post_init__(self) -> None:
        if self.activation_offload and self.activation_checkpointing in (False, 0):
            found = "true, but no layer recomputes its activations"
            raise RecipeError(problem("train.activation_offload", found, fix="leave activation_checkpointing at auto"))
