"""The floor of a step: the operations that it cannot avoid, over the rate of matrix products that this machine reached in the same run.

Counted are matrix products only (a multiply-add is two): every token goes forward through each matrix that it meets once,
and back through it where something below is trained; trained matrices get a gradient; adapters count as they are, not as the
products that they are folded into; attention counts the pairs that see each other; the head, positions that are learnt.
The model is only drawn (on the meta device), so that large ones cost nothing here.
Norms, activations, rotary embedding, softmax, the optimizer and all memory traffic are free here, so the floor is never met.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _shapes import SHAPES, Shape, bare_model, tuner_of
from torch import nn

from seektune import runtime
from seektune.contracts import Document
from seektune.data import pack
from seektune.models import blueprint, cost, forward


@dataclass(frozen=True)
class Floor:
    """Operations of one pass over the records."""

    frozen: float  # of frozen matrices of the layers, which an int8 base takes at the rate of int8
    other: float


def floor_of(shape: Shape, lengths: Sequence[int], learnt: float) -> Floor:
    """`learnt`: tokens whose logits are needed."""
    model = bare_model(shape, "float32", "meta")
    bare = cost.work_of(model)
    pairs = sum(n * n if shape.task == "classify" else n * (n + 1) / 2 for n in lengths)
    attention = 3 * bare.pair * pairs  # two products forward, four back
    tokens = sum(lengths)
    if not shape.rank:
        return Floor(0.0, 3 * bare.token * tokens + attention + 3 * bare.learnt * learnt)
    model = blueprint.tuned(model, tuner_of(shape))
    base, adapters = needless(model)
    head = 2 * bare.learnt * learnt  # int8 bases leave the head as it is
    frozen = (2 * bare.token - base) * tokens
    return Floor(frozen, (6 * adapter_elements(model) - adapters) * tokens + head + attention)


def needless(model: nn.Module) -> tuple[float, float]:
    """Operations a token, of frozen matrices and of adapters, that going back through them would take where nothing below is trained."""
    found = {False: 0.0, True: 0.0}

    def look(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        if not arguments[0].requires_grad:
            found[module.weight.requires_grad] += 2.0 * module.weight.numel()

    inside = cost.blocks(model)[0] + "."
    linears = [m for name, m in model.named_modules() if name.startswith(inside) and type(m) is nn.Linear]
    handles = [module.register_forward_hook(look) for module in linears]
    try:
        with torch.enable_grad(), blueprint.as_if_there(model, "cpu"):
            document = Document(np.arange(2, 10, dtype=np.int32), np.zeros(8, np.float32))
            forward.run(forward.backbone(model), pack.collate([document], packed=False))
    finally:
        for handle in handles:
            handle.remove()
    return found[False], found[True]


def adapter_elements(model: nn.Module) -> float:
    """Elements of adapters that a token meets: of stacked experts' those of the experts that it is sent to."""
    config = model.config.get_text_config()
    experts = getattr(config, "n_routed_experts", None) or getattr(config, "num_experts", None) or 1
    chosen = (getattr(config, "num_experts_per_tok", None) or 1) / experts
    return sum(
        parameter.numel() * (chosen if ".experts." in name else 1.0)
        for name, parameter in model.named_parameters()
        if "lora_" in name
    )


def rates(device: str = "cpu") -> dict[str, float]:
    """Operations a second of matrix products by type, measured now."""
    with tempfile.TemporaryDirectory() as folder:
        speed = runtime.measure(device, cache=Path(folder))
    return {"float32": speed.float32, "bfloat16": speed.bfloat16, "int8": speed.int8}


def gpu() -> dict[str, Any]:
    """What it is called, and its memory."""
    found = torch.cuda.get_device_properties(0)
    return {"name": found.name, "memory_bytes": found.total_memory}


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """For one process of bench/step.py; `job["floor"]`: "work", "rates", "work and rates" or "gpu"."""
    if job["floor"] == "gpu":
        return {"gpu": gpu()}
    found = {"rates": rates(job.get("device", "cpu"))} if "rates" in job["floor"] else {}
    return found | (work(job) if "work" in job["floor"] else {})


def work(job: dict[str, Any]) -> dict[str, float]:
    lengths = [len(ids) for ids, _ in job["sequences"]]
    learnt = sum(len(ids) - max(prompt, 1) for ids, prompt in job["sequences"])
    found = floor_of(SHAPES[job["shape"]], lengths, learnt)
    return {"frozen": found.frozen, "other": found.other}
