"""Small runs of real recipes in which every option can be seen. A `Probe` names one of `SCENARIOS`, and what to look at.

A scenario is a recipe file and a way to run it; `Lab.outcome` runs it with further settings, as the command line would give
them, and remembers what came. `LOOKS` are the things that can be looked at. Nothing here knows an option.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fixtures
import pytest
import torch

from seektune import assembly, kinds, recipe, recipe_yaml
from seektune.data.stream import Found, stream
from seektune.errors import InputError, RefusedError, RunFailedError, StoppedError
from seektune.passage import Passage
from seektune.run import Run
from seektune.stages._work import PLACE

MEASURED = {"time", "seconds", "tokens_per_second", "waiting"}  # figures of the clock: two equal runs differ in them
QUOTES_THE_PLAN = {"plan", "measured", "comparison"}  # parts of a report
QUOTES_THE_RECIPE = {"README.md"}  # the model card: an option that stands there is not yet read


@dataclass
class Outcome:
    """What a run has come to."""

    run: Run | None = None
    ready: assembly.Assembled | None = None
    stop: tuple[str, str] | None = None  # class and text of the error that ended it
    scores: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[int, ...]] = field(default_factory=list)  # shape of the ids of each forward while training
    saved_bytes: int = 0  # tensors kept for backward, all steps together
    gradient: dict[str, torch.Tensor] = field(default_factory=dict)  # of the first step, after clipping
    staged: list[Any] = field(default_factory=list)  # records, reports of the stages


@dataclass(frozen=True)
class Scenario:
    run: Callable[[recipe.Recipe, Outcome], None]
    changes: Mapping[str, Any] = field(default_factory=dict)  # of `BASE`, by dotted keys


def training(read: recipe.Recipe, outcome: Outcome) -> None:
    """From the recipe to trained weights; no evaluation, nothing saved but checkpoints."""
    ready = outcome.ready = assembly.prepare(read)
    outcome.run = Run.create(assembly.RUNS, str(read.name))
    assembly._describe(ready, outcome.run)
    with _watched(ready, outcome):
        assembly._train(ready, outcome.run)


def evaluating(read: recipe.Recipe, outcome: Outcome) -> None:
    """The measures of a recipe on a model that is not trained here."""
    ready = outcome.ready = assembly.prepare(read)
    outcome.run = Run.create(assembly.RUNS, str(read.name))
    outcome.scores = assembly.measure(ready, outcome.run, "before")


def everything(read: recipe.Recipe, outcome: Outcome) -> None:
    """All that `seektune train` does, up to the report."""
    outcome.run = Run(assembly.RUNS / str(read.name))
    assembly.run(read)


def staging(read: recipe.Recipe, outcome: Outcome) -> None:
    """The stages of a recipe's input over its records; no model."""
    [given] = read.data.train
    found = [
        row | {PLACE: place}
        for place, row in stream([dataclasses.replace(given, stages=[])], Found())
        if isinstance(row, dict)
    ]
    with tempfile.TemporaryDirectory() as folder:
        passage = Passage(given.stages, Path(folder), read.seed)
        outcome.staged = [list(passage.run(found)), stable([{**r, "options": 0} for r in passage.reports])]


BASE: dict[str, Any] = {
    "model": {"path": "model"},
    "data": {"train": [{"path": "train.jsonl"}]},
    "tuner": {"kind": "full"},
    "objective": {"kind": "sft"},
    "optimizer": {"kind": "adamw", "learning_rate": 0.01},
    "schedule": {"kind": "constant"},
    "train": {"steps": 3, "batch_size": 4, "device": "cpu", "precision": "float32"},
}
SCENARIOS = {
    "train": Scenario(training),
    "run": Scenario(everything),
    "evaluate": Scenario(evaluating, {"model.path": "answering", "data.valid.path": "capitals.jsonl"}),
    "classify": Scenario(training, {"objective.kind": "classify", "data.train.0.path": "labels.jsonl"}),
    "tag": Scenario(training, {"objective.kind": "tag", "data.train.0.path": "marked.jsonl"}),
    "evaluate_tags": Scenario(
        evaluating, {"objective.kind": "tag", "data.train.0.path": "marked.jsonl", "data.valid.path": "marked.jsonl"}
    ),
    "overfit": Scenario(training, {"data.valid.path": "other.jsonl", "train.validate_every": 1, "train.steps": 12, "optimizer.learning_rate": 0.3}),
    "non_finite": Scenario(training, {"optimizer.learning_rate": 1e30, "train.clip": None}),
    "stage": Scenario(staging, {"data.train.0.path": "stages.jsonl"}),
    "unfit_rows": Scenario(training, {"data.train.0.path": "one_unfit_row.jsonl", "data.allow_dropped": 0.2}),
    "hub": Scenario(training, {"model.path": "owner/tiny"}),
    "remote_code": Scenario(training, {"model.path": "own_code"}),
    "pickle": Scenario(training, {"model.path": "pickled"}),
    "continue": Scenario(training, {"model.path": "", "model.continue": "finished_run"}),
}  # fmt: skip


@contextlib.contextmanager
def _watched(ready: assembly.Assembled, outcome: Outcome) -> Iterator[None]:
    """Count forwards, bytes kept for backward, and keep the first gradient."""

    def called(module: torch.nn.Module, arguments: Any, named: dict[str, Any]) -> None:
        ids = arguments[0] if arguments else named["input_ids"]  # transformers' token classifiers pass it by its place
        outcome.calls.append(tuple(ids.shape))

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        outcome.saved_bytes += tensor.numel() * tensor.element_size()
        return tensor

    def stepping(*_: Any) -> None:
        if not outcome.gradient:
            outcome.gradient = {n: p.grad.clone() for n, p in ready.model.named_parameters() if p.grad is not None}

    base: Any = ready.model.get_base_model() if hasattr(ready.model, "get_base_model") else ready.model  # type: ignore[operator]
    hooks = [
        getattr(base, base.base_model_prefix).register_forward_pre_hook(called, with_kwargs=True),
        ready.optimizer.register_step_pre_hook(stepping),
    ]
    try:
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            yield
    finally:
        for hook in hooks:
            hook.remove()


# What can be looked at. Two outcomes are alike where it gives the same; there must be something to see in both.


def weights(outcome: Outcome) -> Any:
    assert outcome.ready is not None
    return {name: value.detach() for name, value in outcome.ready.model.state_dict().items()}


def losses(outcome: Outcome) -> Any:
    return [row["loss"] for row in _rows(outcome) if row["split"] == "train"]


def metrics(outcome: Outcome) -> Any:
    return stable(_rows(outcome))


def events(outcome: Outcome) -> Any:
    assert outcome.run is not None
    return _some([(row["event"], row.get("step")) for row in outcome.run.events()])


def report(outcome: Outcome) -> Any:
    assert outcome.run is not None
    found = _some(outcome.scores or outcome.run.read("report.json"))
    return {key: stable(value) for key, value in found.items() if key not in QUOTES_THE_PLAN}


def text(outcome: Outcome) -> Any:
    assert outcome.ready is not None
    prompt = {"messages": [{"role": "user", "content": "say"}]}
    return assembly.engine_of(outcome.ready).generate([prompt], max_new_tokens=8)[0].ids


def stop(outcome: Outcome) -> Any:
    reached = [row["step"] for row in outcome.run.metrics("train")][-1:] if outcome.run is not None else []
    reasons = [row.get("reason") for row in outcome.run.events("stop")] if outcome.run is not None else []
    return outcome.stop, reached, reasons


def file(outcome: Outcome, name: str) -> Any:
    """A file of the run, or all files under a folder of it: name -> content. It must be there, in every run that is compared."""
    assert outcome.run is not None
    path = outcome.run.path / name
    assert path.exists(), f"the run has no {name}"
    paths = _some(sorted(p for p in path.rglob("*") if p.is_file())) if path.is_dir() else [path]
    return {str(p.relative_to(path)): _content(p) for p in paths if p.name not in QUOTES_THE_RECIPE}


LOOKS: dict[str, Callable[[Outcome], Any]] = {
    "weights": weights,
    "losses": losses,
    "gradient": lambda outcome: _some(outcome.gradient),
    "events": events,
    "metrics": metrics,
    "report": report,
    "text": text,
    "calls": lambda outcome: _some(outcome.calls),
    "memory": lambda outcome: _some(outcome.saved_bytes),
    "stop": stop,
    "stage": lambda outcome: _some(outcome.staged),
}
NOT_FOR_LOOKING = ("recipe.yaml", "environment.json", "plan.json")  # what merely stands there has no effect


def look(outcome: Outcome, seen: str) -> Any:
    if seen.startswith("file:"):
        name = seen.removeprefix("file:")
        assert name not in NOT_FOR_LOOKING, f"{name} holds settings whether they are read or not"
        return file(outcome, name)
    assert seen in LOOKS, f"`seen` is {seen!r}; known: {', '.join(LOOKS)}, file:NAME"
    return LOOKS[seen](outcome)


def alike(one: Any, other: Any) -> bool:
    """Equal to the last bit."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(alike(one[k], other[k]) for k in one)
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)


def stable(value: Any) -> Any:
    """Without what the clock and the machine put in."""
    if isinstance(value, Mapping):
        return {key: stable(inner) for key, inner in value.items() if key not in MEASURED}
    return [stable(inner) for inner in value] if isinstance(value, list) else value


def _rows(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.run is not None
    return _some(outcome.run.metrics())


def _some(found: Any) -> Any:
    assert found, "there is nothing to look at"
    return found


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return stable(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [stable(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


@dataclass
class Lab:
    """Runs scenarios, each combination of settings once. `folder` holds their files."""

    folder: Path
    known: dict[str, Outcome] = field(default_factory=dict)

    def outcome(self, scenario: str, settings: Mapping[str, Any], planted: str | None = None) -> Outcome:
        """`planted`: the dotted key of a kind or section that gets a field which nothing reads, at another value."""
        assert scenario in SCENARIOS, f"no scenario {scenario!r}; known: {', '.join(SCENARIOS)}"
        key = json.dumps([scenario, settings, planted], sort_keys=True)
        if key not in self.known:
            self.known[key] = self._run(SCENARIOS[scenario], settings, planted)
        return self.known[key]

    def _run(self, scenario: Scenario, settings: Mapping[str, Any], planted: str | None) -> Outcome:
        place, outcome = Path(tempfile.mkdtemp(dir=self.folder)), Outcome()
        with contextlib.chdir(place), pytest.MonkeyPatch.context() as patch:
            fixtures.surround(patch, self.folder, place)
            try:
                read = recipe.load(
                    fixtures.recipe_file(self.folder, BASE), _arguments(scenario.changes | dict(settings))
                )
                scenario.run(read if planted is None else plant(read, planted), outcome)
            except (InputError, RefusedError, RunFailedError, StoppedError) as error:
                outcome.stop = (type(error).__name__, str(error).replace(str(place), ""))
        return outcome


def _arguments(settings: Mapping[str, Any]) -> list[str]:
    """Shorter keys first, so that a section stands before its options; `kind` before what belongs to it."""
    ordered = sorted(settings, key=lambda key: (not key.endswith("kind"), key.count(".")))
    return [f"{key}={recipe_yaml.inline(settings[key])}" for key in ordered]


def plant(value: Any, key: str) -> Any:
    """A recipe in which the object at a dotted key has one more field, `planted`, at another value than its default."""
    head, _, rest = key.partition(".")
    if not head:
        own = {f.name: getattr(value, f.name) for f in kinds.fields(type(value))}
        return with_field(type(value))(**own, planted=2)
    if isinstance(value, list):
        return [plant(item, rest) if i == int(head) else item for i, item in enumerate(value)]
    return dataclasses.replace(value, **{head: plant(getattr(value, head), rest)})


def with_field(cls: type) -> type:
    """A subclass with one more option, which nothing reads."""
    extra = [("planted", int, dataclasses.field(default=1))]
    frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    made = dataclasses.make_dataclass(cls.__name__, extra, bases=(cls,), frozen=frozen, kw_only=True)
    made.__module__, made.__qualname__ = cls.__module__, cls.__qualname__
    return made


def with_probe(option: dataclasses.Field[Any], probe: Any) -> dataclasses.Field[Any]:
    """The same field, carrying a probe."""
    made = dataclasses.field(default=option.default, metadata={"probe": dataclasses.replace(probe, other=2)})
    made.name, made.type = option.name, option.type
    return made
