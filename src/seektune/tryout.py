"""What an assembled model shows when it is tried: modules without a gradient, a tokenizer that renders otherwise once it is
saved, positions and number types that do not suffice. Model, gradients and random states are left as they were.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch

from . import fitting, pace, plan, runtime
from .console import size
from .contracts import Batch, Document, Record
from .data import pack, template
from .data.prepare import Prepared
from .errors import ModelError
from .findings import Finding, counted, error, named, spread, warning
from .models import adapters, layers, load
from .models.quiet import quiet
from .train.precision import Precision
from .train.trainer import is_out_of_memory

TRIED = 8  # documents that are tried, records that are rendered


def longest_first(ready: Any) -> Iterator[Finding]:
    """Run the longest real micro-batch forward and backward, once; the plan gets its time from it, nothing else is changed.

    What does not fit is halved, in `ready.layout` too, until it does; told in one line. So a run that cannot fit ends here.
    """
    documents = plan.longest_micro(ready.plan.setup)
    while ready.plan.seconds is None and not _fits(ready):
        unit = ready.plan.setup.unit
        count = len(plan.longest_micro(ready.plan.setup)) // unit
        if count <= 1:
            found = f"out of memory with one record of {int(ready.data.train_tokens.lengths.max()):,} tokens"
            yield error("longest_batch", "train.microbatch", found, fix=would_fit(ready.plan))
            return
        ready.layout.records = count // 2
        ready.plan = replanned(ready)
    if len(plan.longest_micro(ready.plan.setup)) < len(documents):
        tokens = int(ready.data.train_tokens.lengths[documents].sum())
        found = f"the longest real batch ({len(documents)} documents, {tokens:,} tokens) is out of memory"
        told = f"{ready.layout.records} at once in this run, with the same gradient"
        yield warning("longest_batch", "train.microbatch", found, fix=told)


def _fits(ready: Any) -> bool:
    """Time the plan where memory suffices, beside what the optimizer will hold."""
    try:
        held = torch.empty(plan.ADAM_BYTES * ready.plan.trainable_parameters, dtype=torch.uint8, device=ready.device)
        ready.plan = plan.timed(
            ready.plan, ready.model, ready.recipe.objective, ready.data.train_tokens, ready.precision
        )
        del held
        return True
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as failure:
        if not is_out_of_memory(failure):
            raise
    runtime.release_memory()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return False


def replanned(ready: Any) -> plan.Plan:
    """The plan under the layout as it is now."""
    old, saving = ready.plan, getattr(ready, "saving", fitting.Saving())
    found, _ = fitting.predict(
        ready.model, ready.recipe.train, ready.data.train_tokens, ready.layout, ready.precision, old.steps, old.setup.unit,
        saving,
    )  # fmt: skip
    prefix = getattr(ready, "prefix", None)
    if prefix is None or prefix.cache is None:
        return found
    return plan.with_prefix_cache(found, old.cache_bytes, prefix.cache.layer)


def would_fit(predicted: plan.Plan) -> str:
    """After memory did not suffice for one record: what the plan said, and two settings that need less."""
    peak = predicted.peak_memory_bytes
    less = predicted.smaller(int(0.8 * peak)) or predicted.smaller(peak - 1)
    ways = [f"{s} ({size(s.peak_bytes)})" for s in less if set(s.changes) != {"train.microbatch"}][:2]
    said = f"the plan said {size(peak)} of {size(predicted.limit_bytes)}"
    fix = "would fit: " + " or ".join(ways) if ways else "take a smaller model, or a tuner that trains less of it"
    return f"{said}; {fix}"


def estimated(ready: Any) -> plan.Plan:
    """The plan with an estimate of its time: of a named machine from its data sheet, of this one from its calibration."""
    machine = ready.machine
    if not machine.bandwidth and machine.name == plan.HERE:
        machine = pace.measured(machine, runtime.measure(machine.kind))
    return pace.estimated(ready.plan, machine, ready.precision, ready.count)


def dead_modules(ready: Any) -> list[str]:
    """Trained modules that get no gradient from the shortest documents."""
    objective, layout = ready.recipe.objective, ready.layout
    precision = Precision(ready.precision, ready.device.type)
    with plan.untouched(ready.model):
        batch = Batch(shortest(ready.data.train_tokens, objective.unit))
        if annotate := getattr(objective, "annotate", None):
            annotate(ready.model, batch)
        micros = pack.cut(
            batch.documents, unit=objective.unit, records=1, rows=layout.rows, pad_id=layout.pad_id, device=ready.device
        )
        for micro in micros:
            with precision.autocast():
                total = objective.loss(ready.model, micro).total
            total.backward()
        return layers.dead_modules(ready.model)


def shortest(tokens: Any, unit: int) -> list[Document]:
    """The shortest units of documents."""
    lengths = tokens.lengths[: len(tokens) // unit * unit].reshape(-1, unit).max(axis=1)
    units = np.argsort(lengths, kind="stable")[:TRIED]
    return [tokens[int(u) * unit + i] for u in units for i in range(unit)]


def dead(names: list[str]) -> Iterator[Finding]:
    if names:
        found = f"{counted(len(names), 'trained module')} without a gradient from the {TRIED} shortest documents: {named(names)}"
        yield warning(
            "dead_modules", "tuner", found, fix="leave them out of what is trained: they cost memory and learn nothing"
        )


def served_otherwise(model: Any, data: Prepared) -> Iterator[Finding]:
    """Records that plain transformers, from a folder saved as the result will be, renders to other ids than training."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not adapters.attached(model):
            model.config.save_pretrained(folder)
        data.renderer.save(folder)
        try:
            plain = load.open_tokenizer(folder)
        except ModelError as refusal:
            yield error("served_template", "the saved tokenizer", refusal.problems[0].partition(": ")[2])
            return
    with quiet():
        tried = [(i, _difference(plain, data, data.train[i])) for i in spread(len(data.train), TRIED)]
    wrong = [f"{data.train.where(index)} ({difference})" for index, difference in tried if difference]
    if wrong:
        fix = (
            "take another template with data.template"
            if "messages" in data.train[0]
            else "take a tokenizer that transformers opens as it is written"
        )
        yield error(
            "served_template",
            "the template that will be served",
            f"plain transformers renders other ids than training: {named(wrong)}",
            fix=fix,
        )


def _difference(plain: Any, data: Prepared, record: Record) -> str:
    """How the ids of a record differ; "" where they do not. Conversations with tool calls are left out: their arguments have
    no one form."""
    try:
        served, trained = _ids(plain, data, record)
    except jinja2.TemplateError as refusal:
        return f"refused: {refusal}"
    if served == trained:
        return ""
    at = next(
        (i for i, (a, b) in enumerate(zip(served, trained, strict=False)) if a != b), min(len(served), len(trained))
    )
    shown = [repr(data.renderer.decode(ids[at : at + 4], skip_special=False)) for ids in (served, trained)]
    return f"served {shown[0]}, trained {shown[1]} at token {at + 1}"


def _ids(plain: Any, data: Prepared, record: Record) -> tuple[list[int], list[int]]:
    """(as plain transformers feeds it, as training had it) of a prompt, a text or a text to be labelled."""
    renderer = data.renderer
    if data.labels is not None:
        text, pair = record["text"], record.get("text_pair")
        return plain(text, pair)["input_ids"], renderer.classifier_ids(text, pair)[0]
    if "text" in record:
        served = plain(record["text"])["input_ids"]
        trained = [int(token) for token in renderer.documents(record)[0].ids]
        return served, trained if served[-1:] == trained[-1:] else trained[: len(served)]
    messages, tools = _prompt(record), record.get("tools") or None
    if any(message.get("tool_calls") for message in messages):
        return [], []
    shown = template.prepare(messages, None)
    served = plain.apply_chat_template(shown, tools=tools, add_generation_prompt=True, tokenize=True, return_dict=False)
    return list(served), renderer.prompt_ids(messages, tools)


def _prompt(record: Record) -> list[dict[str, Any]]:
    """The messages before the last answer."""
    messages: list[dict[str, Any]] = record["messages"]
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    return messages[:last]


def too_long_for(model: Any, data: Prepared) -> Iterator[Finding]:
    """Documents beyond the positions that the model knows: an error where each position has a row of its own."""
    config = model.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    longest = int(data.train_tokens.lengths.max())
    tables = [
        m
        for name, m in model.named_modules()
        if isinstance(m, torch.nn.Embedding) and name.endswith(("position_embeddings", "wpe", "embed_positions"))
    ]
    if tables:
        padding = tables[0].padding_idx  # RoBERTa counts its positions from the row behind this one
        limit = tables[0].num_embeddings - (getattr(tables[0], "offset", 0) if padding is None else padding + 1)
    if limit and longest > limit:
        report = error if tables else warning
        yield report(
            "positions",
            "data.max_length",
            f"the longest document has {longest:,} tokens, the model knows {limit:,} positions",
            fix=f"data.max_length: {limit}",
        )


def half_weights(model: Any) -> Iterator[Finding]:
    """float16 has too small a range to be trained: held so it is refused, stored so it will be rounded at the end."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if held := [name for name, p in trained if p.dtype == torch.float16]:
        yield error(
            "half_weights",
            "model.dtype",
            f"{counted(len(held), 'float16 weight')} would be trained: {named(held)}",
            "float32 or bfloat16",
            "set model.dtype: float32",
        )
        return
    stored = getattr(getattr(model, "seektune_origin", None), "dtypes", {})
    if rounded := [name for name, _ in trained if stored.get(name) == torch.float16]:
        found = f"{len(rounded):,} trained weights are held in float32 while training and are rounded to float16 when the result is saved"
        yield warning(
            "half_weights", "model.dtype", found, fix="set model.dtype: bfloat16 or float32 to save the range"
        )


def memory(predicted: plan.Plan) -> Iterator[Finding]:
    """A run that will not fit, with the settings that cost the least; an error where it would not even if the plan is a tenth
    too high."""
    if predicted.fits:
        return
    found = f"{size(predicted.peak_memory_bytes)} will be needed and {size(predicted.limit_bytes)} are there"
    ways = [f"{setting} ({size(setting.peak_bytes)}{_slower(setting.slowdown)})" for setting in predicted.smaller()[:3]]
    report = error if predicted.hopeless else warning
    yield report(
        "memory",
        "plan",
        found,
        fix="would fit: " + " or ".join(ways) if ways else "take a smaller model, or a tuner that trains less of it",
    )


def _slower(factor: float) -> str:
    return f", about {factor:.2f} × the time" if 1 <= factor < float("inf") else ""


def not_opened(ready: Any) -> Iterator[Finding]:
    """A model that was drawn only: findings that need its weights are not among these."""
    if reason := getattr(ready, "closed", ""):
        yield warning("weights", "model", reason)


def disk(predicted: plan.Plan, root: Path) -> Iterator[Finding]:
    """Checkpoints and result against what is free where the run will lie."""
    folder = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if predicted.disk_bytes > free:
        found = f"checkpoints and result will need {size(predicted.disk_bytes)}, {size(free)} are free in {folder}"
        yield warning("disk", "plan", found, fix="lower train.keep, train fewer weights, or make room")
