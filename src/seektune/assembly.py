"""Where a recipe becomes a run, written once: load → tuner → objective → optimizer → trainer → merge → proof → report.

`prepare` reads and opens everything and writes nothing, so that `check` can stop there; `run` does the rest.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from . import console, doctor, draft, files, fitting, plan, proof, require, runtime, tryout
from .contracts import Event, Objective, Tuner
from .data.chat import Renderer
from .data.prepare import Prepared
from .engine.engine import Engine
from .errors import (
    DataError,
    InputError,
    ModelError,
    RefusedError,
    RunFailedError,
    SeektuneError,
    StoppedError,
    problem,
)
from .evaluate import evaluator, stored
from .models import fuse, heads, isolation, load, quantise, streaming
from .models.kernels import int8, native
from .optimizers._groups import parameter_groups
from .report import write_report
from .run import Run, check_free
from .train import checkpoint, prefix_cache
from .train.precision import Precision, prepare_dtypes
from .train.trainer import Layout, Tally, Trainer, cannot_write

if TYPE_CHECKING:
    from .recipe import Recipe

RUNS = Path("runs")


@dataclass
class Assembled:
    """A recipe with everything open and nothing written yet."""

    recipe: Recipe
    data: Prepared
    model: torch.nn.Module
    isolation: isolation.Isolation
    layout: Layout
    precision: str
    device: torch.device
    total_steps: int
    optimizer: torch.optim.Optimizer
    plan: plan.Plan
    saving: fitting.Saving
    prefix: prefix_cache.Decision

    @property
    def decisions(self) -> dict[str, Any]:
        """What `auto` came to; kept in plan.json so that a resumed run decides alike."""
        return {"precision": self.precision, "rows": self.layout.rows, "microbatch_tokens": self.layout.tokens,
                "microbatch_records": self.layout.records, "isolation": self.isolation.reason, "share": self.layout.share,
                "saving": vars(self.saving), "stream": self.layout.whole,
                "prefix_cache": self.prefix.as_dict()}  # fmt: skip


def prepare(recipe: Recipe, decided: dict[str, Any] | None = None) -> Assembled:
    """Read the data, open the model, apply the tuner, predict. Raises InputError before anything is written."""
    reading = draft.read(recipe, decided)
    draft.refuse_early(reading, decided)
    return opened(reading, decided)


def opened(reading: draft.Reading, decided: dict[str, Any] | None = None) -> Assembled:
    """The model opened, tuned and planned for. Raises InputError where it will not fit."""
    recipe, data, folder = reading.recipe, reading.data, reading.folder
    device, precision = reading.device, reading.precision
    seed_everything(recipe.seed)
    model = _open(recipe, data, device)
    if recipe.model.new_tokens:
        heads.add_tokens(model, load.open_tokenizer(draft.tokenizer_folder(folder)), recipe.model.new_tokens)
    model, proved = set_up(model, recipe.tuner, recipe.objective, precision, recipe.model.base)
    layout = draft.layout_of(model, recipe.objective, recipe.train, proved, device, data.renderer.pad_id, decided)
    if recipe.train.stream:
        streaming.cut_by(model, layout, recipe.objective.unit)
    recipe.source.open(
        data.train_tokens, batch_size=recipe.train.batch_size, unit=recipe.objective.unit, seed=recipe.seed
    )
    steps = recipe.train.steps or math.ceil((recipe.train.epochs or 1) * recipe.source.batches_per_epoch())
    optimizer = recipe.optimizer.build(parameter_groups(model, getattr(recipe.optimizer, "weight_decay", 0.0)))
    saving = fitting.stored(decided) if decided else fitting.Saving() if recipe.train.stream else None
    predicted, saving = fitting.predict(
        model, recipe.train, data.train_tokens, layout, precision, steps, recipe.objective.unit, saving
    )
    before = decided.get("prefix_cache", prefix_cache.BEFORE_IT) if decided else None
    prefix = prefix_cache.decide(
        recipe.train.prefix_cache, model, data.train_tokens, layout, precision,
        steps / recipe.source.batches_per_epoch(), before,
    )  # fmt: skip
    if prefix.cache is not None:
        predicted = plan.with_prefix_cache(predicted, prefix.bytes, prefix.cache.layer)
    draft.refuse(predicted)
    return Assembled(
        recipe, data, model, proved, layout, precision, device, steps, optimizer, predicted, saving, prefix
    )


def set_up(
    model: torch.nn.Module, tuner: Tuner, objective: Objective, precision: str, base: str = "none"
) -> tuple[torch.nn.Module, isolation.Isolation]:
    """What a freshly opened model goes through before it is trained, in this order; benches go through it as well."""
    model = tuner.apply(model)
    prepare_dtypes(model, precision)
    _quantise(model, base)
    if prepare_objective := getattr(objective, "prepare", None):
        prepare_objective(model)
    proved = isolation.isolate(model, share=objective.unit > 1)
    fuse.fuse(model)
    return model, proved


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _open(recipe: Recipe, data: Prepared, device: torch.device) -> torch.nn.Module:
    """In the type in which it is stored, or the recipe's; `prepare_dtypes` follows once it is known what is trained."""
    return load.open_model(
        recipe.model,
        head=recipe.objective.head,
        labels=data.labels,
        several=data.several,
        device=device,
        trainable=True,
        stream=recipe.train.stream,
    )


def _quantise(model: torch.nn.Module, base: str) -> None:
    """Hold the frozen base as `model.base` says. ModelError where that cannot be done, or as fast as was asked for."""
    if base == "none":
        return
    integer = base == "int8" and next(model.parameters()).device.type == "cpu"
    if integer and (missing := int8.why_not()):
        fix = "model.base: int8_weights holds the weights in int8 and multiplies in train.precision"
        raise ModelError(problem("model.base", missing, fix=fix))
    if not quantise.quantise_base(model, integer):
        raise ModelError(problem("model.base", "no frozen linear layer that could be held in int8", "none"))


def _restore(ready: Assembled) -> dict[str, Any]:
    """The base as it is stored, in place of the one in int8, so that what is saved and proved stands on the real one.

    Returns how far the logits of held-out documents were apart; {} where nothing is in int8.
    """
    if not quantise.quantised(ready.model):
        return {}
    documents = _sample(ready)[1] if ready.recipe.objective.head == "lm" else []
    fresh = _open(ready.recipe, ready.data, torch.device("cpu"))
    with Precision(ready.precision, ready.device.type).autocast():
        before = proof.logits_of(ready.model, documents)
        quantise.restore_base(ready.model, fresh)
        fuse.fuse(ready.model)
        return {"int8": proof.compare(before, proof.logits_of(ready.model, documents))} if documents else {}


# ---- a run, from its folder to its report ----


def run(recipe: Recipe, resumed: Run | None = None) -> Run:
    """Train, evaluate and report. Raises StoppedError, RunFailedError and, where a `require` was not met, RefusedError."""
    if resumed is not None:
        with resumed.lock():
            return _finished(_reopened(recipe, resumed), resumed)
    check_free(RUNS, str(recipe.name))
    ready = prepare(recipe)
    doctor.show(doctor.check(ready, begins=True))
    held = Run.create(RUNS, str(recipe.name), lambda made: _describe(ready, made))
    with held.lock():
        return _finished(ready, held)


def _reopened(recipe: Recipe, held: Run) -> Assembled:
    """As the run began, with what `auto` came to then. InputError where the data have changed."""
    decided = held.read("plan.json")["decisions"]
    ready = prepare(recipe, decided)
    if decided.get("prefix_cache", prefix_cache.BEFORE_IT)["on"] and not ready.prefix.on:
        console.warn(f"the prefix cache is {ready.prefix.reason}; the numbers may differ in the last bits")
    doctor.show(doctor.check(ready, begins=True))
    _check_same_data(ready, held)
    for line in runtime.differences(held.read("environment.json", {}), _environment(ready)):
        console.warn(f"resuming elsewhere than it began: {line}; the numbers may differ in the last bits")
    return ready


def _finished(ready: Assembled, held: Run) -> Run:
    """Work to the end; what stops it is told in one line and kept among the events."""
    try:
        return _work(ready, held)
    except KeyboardInterrupt:  # outside of training, or a second time
        raise StoppedError(f"stopped; go on with: seektune train --resume {held.path}") from None
    except Exception as error:
        reason = files.refused_by_disk(error)
        failed = cannot_write(held, reason) if reason and not isinstance(error, SeektuneError) else error
        if isinstance(failed, RunFailedError):
            with contextlib.suppress(OSError):  # a full disk takes not even this line
                held.event("failed", reason=str(failed))
        if failed is error:
            raise
        raise failed from error


def _work(ready: Assembled, held: Run) -> Run:
    recipe = ready.recipe
    before = measure(ready, held, "before")
    tally, peak = _train(ready, held)
    best = tally.best_step
    if best is not None and best != tally.step:
        checkpoint.load_weights(held.checkpoint_folder(best), ready.model)
    after = measure(ready, held, "after")
    saved = _save(ready, held)
    report: dict[str, Any] = {
        "before": before,
        "after": after,
        "model": {"step": best or tally.step, "chosen": "best validation loss" if best else "last step"},
    }
    report["measured"] = {
        "seconds": tally.seconds,
        "peak_memory_bytes": peak,
        "tokens_per_second": tally.tokens / max(tally.seconds, 1e-9),
        "waiting_share": tally.waiting / max(tally.seconds, 1e-9),
    }
    report["proof"] = saved
    report |= mixed(ready, tally.step)
    unmet = require.check_requirements(recipe.require, before, after)
    report["require"] = {"conditions": recipe.require, "unmet": unmet}
    held.write("report.json", report)
    write_report(held)
    held.event("finished", unmet=unmet)
    _tell_end(ready, held, before, after, unmet)
    if unmet:
        raise RefusedError("\n".join(unmet))
    return held


def _train(ready: Assembled, held: Run) -> tuple[Tally, int]:
    """Training alone, and the most memory that it took."""
    recipe = ready.recipe
    runtime.release_memory()  # what the evaluation before took is not training's
    runtime.reset_peak_rss()
    valid: Sequence[Any] = ready.data.valid_tokens if ready.data.valid_tokens is not None else ()
    trainer = Trainer(
        ready.model, recipe.tuner, recipe.objective, ready.optimizer, recipe.schedule, recipe.source, held, recipe.train,
        ready.layout, Precision(ready.precision, ready.device.type), ready.total_steps, ready.device, valid=list(valid),
        observers=[Bar(ready.total_steps), *recipe.observers], where=ready.data.train.where,
        smaller=lambda: tryout.would_fit(ready.plan), prefix=ready.prefix.cache,
    )  # fmt: skip
    seed_everything(recipe.seed + 1)
    trainer.resume(checkpoint.latest(held.checkpoints_folder))
    try:
        return trainer.fit(), _peak(ready.device)
    finally:
        trainer.observers[0].close()  # type: ignore[attr-defined]


class Bar:
    """The progress bar as an observer."""

    def __init__(self, steps: int):
        self.steps, self.validation = steps, ""
        self.bar: console.TrainingProgress | None = None

    def observe(self, event: Event) -> None:
        if event.name in ("start", "resume"):
            self.bar = self.bar or console.TrainingProgress(self.steps, event.step)
        elif event.name == "validation":
            self.validation = f"valid {event.values['loss']:.3f}"
        elif event.name == "step" and self.bar is not None:
            self.bar.step(event.step, event.values["loss"], event.values["tokens_per_second"], self.validation)
        elif event.name == "out_of_memory":
            now = f"{event.values['microbatch']} at once from here on, with the same gradient"
            console.warn(f"step {event.step + 1}: out of memory; half the micro-batch: {now}")
        elif event.name == "prefix_cache" and "said" in event.values:
            console.warn(f"step {event.step}: {event.values['said']}")
        elif event.name in ("non_finite", "alarm"):
            console.warn(f"step {event.step}: {event.name}: {event.values}")

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def measure(ready: Assembled, held: Run, when: str) -> dict[str, Any]:
    """Scores on the held-out records, stored in the run; what is stored already is not measured again."""
    path = held.path / stored.FOLDER / f"{when}.jsonl"
    if path.exists():
        return stored.read(path).head["scores"]
    if not ready.recipe.evaluate or ready.data.valid is None:
        return {}
    engine = engine_of(ready)
    with console.Progress(f"evaluating {when}", None) as show, Precision(ready.precision, ready.device.type).autocast():
        report = evaluator.evaluate(engine, ready.data.valid, ready.recipe.evaluate, show=show)
    stored.write(path, report, ready.data.valid, f"{held.name} ({when})")
    return report.scores


def engine_of(ready: Assembled) -> Engine:
    return Engine(ready.model, ready.data.renderer, train_on=ready.recipe.data.train_on, name=str(ready.recipe.name))


def _save(ready: Assembled, held: Run) -> dict[str, Any]:
    """The model folder, written aside, proved, then renamed; returns the proof for the report."""
    recipe, renderer = ready.recipe, ready.data.renderer
    merge = _restore(ready)
    model = ready.model
    if getattr(recipe.tuner, "merged", False):
        model, merged = _merged(ready)
        merge |= merged
    with files.new_folder(held.model_folder) as aside:
        recipe.tuner.save(model, aside)
        renderer.save(aside)
        if recipe.objective.head == "lm":
            save_generation_config(aside, renderer)
        files.write_text(aside / "README.md", model_card(ready, held))
        return merge | proof.prove(
            aside,
            model,
            renderer,
            *_sample(ready),
            head=recipe.objective.head,
            precision=ready.precision,
        )


def _merged(ready: Assembled) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The bare model with the update added, and how near its logits are to those of model and adapter."""
    documents = _sample(ready)[1] if ready.recipe.objective.head == "lm" else []
    arithmetic = Precision(ready.precision, ready.device.type)
    with arithmetic.autocast():
        before = proof.logits_of(ready.model, documents)
    model = ready.recipe.tuner.merge(ready.model)
    if not documents:
        return model, {}
    with arithmetic.autocast():
        return model, {"merge": proof.prove_merge(before, proof.logits_of(model, documents))}


def save_generation_config(folder: Path, renderer: Renderer) -> None:
    """What ends an answer, as the template has it, where plain transformers looks for it."""
    from .files import write_json

    config = {"eos_token_id": renderer.end_ids, "pad_token_id": renderer.pad_id, "do_sample": False}
    write_json(folder / "generation_config.json", config)


def _sample(ready: Assembled, count: int = 20) -> tuple[list[Any], list[Any]]:
    """Held-out records and documents (of training, where nothing is held out)."""
    data = ready.data
    records = data.valid if data.valid is not None else data.train
    tokens = data.valid_tokens if data.valid_tokens is not None else data.train_tokens
    return [records[i] for i in range(min(count, len(records)))], [tokens[i] for i in range(min(count, len(tokens)))]


def model_card(ready: Assembled, held: Run) -> str:
    """What anybody who finds the folder has to know."""
    recipe, train = ready.recipe, ready.data.train_tokens
    lines = ["---", "library_name: transformers", f"base_model: {recipe.model.path}", "---", f"# {held.name}", "",
             f"Fine-tuned with seektune ({type(recipe.tuner).__name__}, {type(recipe.objective).__name__}) from `{recipe.model.path}` "
             f"on {len(ready.data.train):,} records ({int(train.lengths.sum()):,} tokens).", "", "| measure | before | after |", "|---|---|---|"]  # fmt: skip
    for name in measure(ready, held, "after") if ready.recipe.evaluate else {}:
        old, new = measure(ready, held, "before").get(name, {}), measure(ready, held, "after")[name]
        lines.append(f"| {name} | {old.get('value')} | {new.get('value')} |")
    lines += ["", "The recipe that made it:", "", "```yaml", recipe.to_yaml().rstrip(), "```", ""]
    return "\n".join(lines)


def _describe(ready: Assembled, held: Run) -> None:
    files.write_text(held.path / "recipe.yaml", ready.recipe.to_yaml())
    held.write("environment.json", _environment(ready))
    mixture = mixed(ready, ready.total_steps)
    held.write("data.json", ready.data.facts() | mixture | {"examples": doctor.examples(ready.data)})
    held.write("plan.json", ready.plan.as_dict() | {"decisions": ready.decisions})


def mixed(ready: Assembled, batches: int) -> dict[str, Any]:
    """What so many batches take of each input, where the source mixes them: shares asked and held, epochs of each."""
    facts = getattr(ready.recipe.source, "facts", None)
    return {"mixture": facts(batches)} if facts is not None else {}


def _environment(ready: Assembled) -> dict[str, Any]:
    pieces = native.told(ready.device.type) if ready.device.type in ("cpu", "cuda") else None
    return runtime.environment({"recipe": ready.recipe.seed}, str(ready.device), torch.get_num_threads(), pieces)


def _check_same_data(ready: Assembled, held: Run) -> None:
    was, now = held.read("data.json")["fingerprint"], ready.data.fingerprints
    if was != now:
        fix = "put the files back as they were, or start a new run with model.continue=" + str(held.path)
        raise InputError(
            problem(
                str(held.path),
                "the data files have changed since this run began",
                "the same records in the same order",
                fix,
            )
        )


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else runtime.peak_rss()


def _tell_end(ready: Assembled, held: Run, before: dict[str, Any], after: dict[str, Any], unmet: list[str]) -> None:
    report = held.read("report.json")
    rows = [[name, _score(before.get(name)), _score(after.get(name))] for name in after]
    if rows:
        console.table(
            ["measure", "before", "after"],
            rows,
            heading=f"{ready.data.valid and len(ready.data.valid)} held-out records, 95 % intervals",
        )
    _side_by_side(held)
    for line in unmet:
        console.warn(f"not reached: {line}")
    console.say(f"waited   {report['measured']['waiting_share']:.1%} of the training for data")
    console.say(f"proof    {_proof_line(report['proof'])}")
    console.say(f"report   {held.path / 'report.html'}")
    console.say(f"model    {held.model_folder}")
    console.say(f"next     seektune chat {held.path}    or    seektune compare {held.path} ANOTHER_RUN")


def _proof_line(proved: dict[str, Any]) -> str:
    """What a stranger found in the saved folder, in a line."""
    parts = [
        f"logits of {proved['records']} documents differ by at most {100 * proved['relative_difference']:.2g} % of the largest"
    ]
    if proved.get("answers"):
        parts.append(f"{proved['same_answers']} of {proved['answers']} answers are the same")
        parts.append(f"{100 * proved['stopped_by_itself']:.0f} % stop by themselves")
    return "reopened by plain transformers: " + ", ".join(parts)


def _side_by_side(held: Run, count: int = 5) -> None:
    try:
        old, new = (stored.read(held.path / stored.FOLDER / f"{when}.jsonl").rows for when in ("before", "after"))
    except DataError:
        return
    if not any(row.get("answer") for row in new):
        return
    for first, second in list(zip(old, new, strict=True))[:count]:
        prompt = first["prompt"] if isinstance(first["prompt"], str) else first["prompt"][-1]["content"]
        console.facts(
            [
                ("question", prompt.strip()[-160:]),
                ("expected", first["reference"]),
                ("before", first["answer"][:160]),
                ("after", second["answer"][:160]),
            ]
        )
        console.say()


def _score(score: dict[str, Any] | None) -> str:
    if not score or score.get("value") is None:
        return "-"
    low, high = score.get("low"), score.get("high")
    return f"{score['value']:.3f}" + (f"  [{low:.3f}, {high:.3f}]" if low is not None else "")
