"""A run as far as it goes without a weight: the data are read, the model is drawn from its config, the plan is made.

So a run that cannot fit is refused before anything large is loaded, and a model that is not here (or a machine that is not)
can be planned for. `assembly` opens what was drafted.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tokenizers
import torch

from . import console, doctor, fitting, passage, plan, proposals, runtime, tryout
from .data.anew import Change
from .data.chat import Renderer
from .data.prepare import Prepared
from .data.prepare import prepare as prepare_data
from .data.store import Records
from .devices import Device
from .errors import InputError
from .models import adapters, blueprint, fuse, heads, isolation, load
from .train import prefix_cache
from .train.precision import prepare_dtypes
from .train.trainer import Layout

if TYPE_CHECKING:
    from .contracts import Objective
    from .recipe import Recipe
    from .train.options import Train

UNDECIDED = prefix_cache.Decision("decided when the model is open")
SMALL = 1 << 30  # bytes on disk up to which a model is opened as fast as it is drawn


@dataclass
class Reading:
    """The recipe and what it reads, before any model."""

    recipe: Recipe
    data: Prepared
    folder: Path  # of the model
    device: torch.device
    precision: str

    @property
    def has_weights(self) -> bool:
        return blueprint.has_weights(self.folder)

    @property
    def is_quick(self) -> bool:
        """Whether the model is opened as fast as it is drawn."""
        return self.has_weights and load.facts_of(self.folder).bytes <= SMALL


@dataclass
class Draft:
    """What `assembly.Assembled` is, with a model of shapes only and nothing that trains it. `closed`: why it was not opened."""

    recipe: Recipe
    data: Prepared
    model: torch.nn.Module  # on the meta device
    isolation: isolation.Isolation
    layout: Layout
    precision: str
    device: torch.device
    total_steps: int
    plan: plan.Plan
    machine: Device
    count: int = 1
    closed: str = ""
    prefix: prefix_cache.Decision = UNDECIDED


def read(recipe: Recipe, decided: dict[str, Any] | None = None, machine: Device | None = None) -> Reading:
    """Read the data and choose a precision. Raises InputError with all that they show. `machine`: another than this one."""
    device = torch.device(machine.kind) if machine else runtime.resolve_device(recipe.train.device)
    if recipe.train.device == "auto" and device.type == "cpu":
        torch.set_num_threads(runtime.usable_cores())
    folder = load.folder_of(recipe.model)
    renderer = with_new_tokens(
        Renderer.from_folder(tokenizer_folder(folder), recipe.data.template), recipe.model.new_tokens
    )
    data = prepare_data(recipe.data, renderer, head=recipe.objective.head, seed=recipe.seed, cache=runtime.cache_folder(),
                        show=_shown, staged=lambda i, records: _staged(recipe, i, records), anew=_anew(recipe))  # fmt: skip
    doctor.check_data(recipe, data)
    asked = recipe.train.precision
    chosen = "bfloat16" if machine and asked == "auto" else precision_of(asked, device)
    return Reading(recipe, data, folder, device, (decided or {}).get("precision") or chosen)


def _shown(task: str) -> console.Progress:
    return console.Progress(task, None)


def _staged(recipe: Recipe, number: int, records: Records) -> Records:
    """The records of an input after its stages."""
    return passage.staged(
        recipe.data.train[number].stages, records, cache=runtime.cache_folder() / "staged", seed=recipe.seed,
        processes=runtime.usable_cores(), show=_shown, where=f"data.train.{number}.stages",
    )  # fmt: skip


def _anew(recipe: Recipe) -> dict[int, list[Change]]:
    """Of each input, what its stages do to a record in each epoch instead of once."""
    found = {
        number: [
            stage.in_epoch((recipe.seed, number, place))  # type: ignore[attr-defined]
            for place, stage in enumerate(given.stages)
            if getattr(stage, "per_epoch", False)
        ]
        for number, given in enumerate(recipe.data.train)
    }
    return {number: changes for number, changes in found.items() if changes}


def with_new_tokens(renderer: Renderer, tokens: list[str]) -> Renderer:
    """The renderer that knows them too, by the ids that `heads.add_tokens` gives them."""
    if not tokens:
        return renderer
    grown = tokenizers.Tokenizer.from_str(renderer.tokenizer.to_str())
    grown.add_special_tokens(tokens)
    return Renderer(grown, renderer.templates, renderer.special, renderer.name)


def tokenizer_folder(folder: Path) -> Path:
    """Where the tokenizer lies: an adapter's folder may leave it to its base."""
    if adapters.is_adapter(folder) and not (folder / "tokenizer.json").exists():
        return load.folder_of(load.base_of(folder))
    return folder


def precision_of(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return runtime.fast_precision(device.type)


def draft(
    reading: Reading, decided: dict[str, Any] | None = None, machine: Device | None = None, count: int = 1
) -> Draft:
    """The run with its plan, from the config of the model alone. `machine` and `count`: where it would run, None for here."""
    recipe, data, precision = reading.recipe, reading.data, reading.precision
    model = drawn(reading)
    expected = blueprint.isolate(model)
    fuse.fuse(model)
    there = machine or plan.here(reading.device)
    layout = layout_of(model, recipe.objective, recipe.train, expected, reading.device, data.renderer.pad_id, decided,
                       there.memory_bytes)  # fmt: skip
    recipe.source.open(
        data.train_tokens, batch_size=recipe.train.batch_size, unit=recipe.objective.unit, seed=recipe.seed
    )
    steps = recipe.train.steps or math.ceil((recipe.train.epochs or 1) * recipe.source.batches_per_epoch())

    saving = fitting.stored(decided) if decided else fitting.Saving() if recipe.train.stream else None
    found, _ = fitting.predict(model, recipe.train, data.train_tokens, layout, precision, steps, recipe.objective.unit, saving,
                               there, lambda needs: changed(recipe, needs, count))  # fmt: skip
    return Draft(recipe, data, model, expected, layout, precision, reading.device, steps, found, there, count)


def drawn(reading: Reading) -> torch.nn.Module:
    """The model under its tuner, in the types of the arithmetic, on the meta device."""
    recipe, data = reading.recipe, reading.data
    model = blueprint.draw(recipe.model, head=recipe.objective.head, labels=data.labels, several=data.several)
    if recipe.model.new_tokens:
        heads.add_tokens(model, load.open_tokenizer(tokenizer_folder(reading.folder)), recipe.model.new_tokens)
    model = blueprint.tuned(model, recipe.tuner)
    prepare_dtypes(model, reading.precision)
    return model


def changed(recipe: Recipe, needs: plan.Needs, count: int) -> plan.Needs:
    """Needs under options that the modules of a drawn model do not show, and spread over `count` devices."""
    if recipe.model.base != "none":
        needs = proposals.in_int8(needs)
    if recipe.train.stream:
        needs = proposals.streamed(needs)
    return proposals.sharded(needs, count) if count > 1 else needs


def layout_of(
    model: torch.nn.Module,
    objective: Objective,
    options: Train,
    proved: isolation.Isolation,
    device: torch.device,
    pad_id: int,
    decided: dict[str, Any] | None = None,
    limit: int | None = None,
) -> Layout:
    """How micro-batches are made of a model that is set up, or drawn. `decided`: what a run that is resumed had come to;
    `limit`: bytes of the machine, where it is not this one."""
    if decided:
        return Layout(
            decided["rows"], pad_id, decided["microbatch_records"], decided["microbatch_tokens"],
            decided.get("share", False), whole=options.stream,
        )  # fmt: skip
    rows = "padded" if proved.packed and not options.packing else proved.rows
    records = None if options.microbatch == "auto" else int(options.microbatch)
    tokens = plan.choose_tokens(model, options, device=device, limit=limit)
    share = rows == "packed" and proved.shares and not options.stream
    return Layout(rows, pad_id, records, tokens, share, whole=options.stream)


def refuse(predicted: plan.Plan) -> None:
    """Raises InputError, with what would fit, where a run cannot fit even if the plan is a tenth too high."""
    if predicted.hopeless:
        raise InputError([finding.line for finding in tryout.memory(predicted)])


def refuse_early(reading: Reading, decided: dict[str, Any] | None = None) -> None:
    """The same before a large model is opened; a small one is opened as fast as it is drawn."""
    if reading.has_weights and not reading.is_quick:  # without any, opening it says so
        refuse(draft(reading, decided).plan)


def closed(drafted: Draft, reading: Reading, named: bool) -> Draft:
    """The draft with the reason why its model is not opened; "" where it may be."""
    if not reading.has_weights:
        reason = f"{reading.folder} holds no weights: nothing was opened, tried or timed"
    elif named:
        reason = f"planned for {drafted.machine.name} from the config: nothing was opened, tried or timed here"
    else:
        reason = "it will not fit: nothing was opened, tried or timed" if drafted.plan.hopeless else ""
    if drafted.count > 1:
        reason += f"; {drafted.count} devices are arithmetic, this version trains on one"
    return dataclasses.replace(drafted, closed=reason)
