"""Nothing is ignored (law 1): every option of every kind and section is changed, and what its probe names must change.

There is no list of exceptions: an option without a probe fails, as does one whose probe sees nothing. That the second can
be told is tested too: a field that nothing reads, planted into each kind and section, must be seen by no probe.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, replace
from typing import Any

import every
import fixtures
import pytest
import scenarios
from scenarios import Lab

from seektune import kinds
from seektune.contracts import Probe
from seektune.recipe import Recipe


@dataclass(frozen=True)
class Option:
    """One field of a kind or section, and the settings under which its owner stands in a recipe."""

    owner: str  # dotted key: `tuner`, `data.train.0`, "" for the recipe itself
    kind: str  # "" for sections
    field: Field[Any]
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return ".".join(filter(None, [self.owner, kinds.key_of(self.field)]))

    @property
    def probe(self) -> Probe:
        probe = self.field.metadata.get("probe")
        assert isinstance(probe, Probe), f"{self.key}: an option without a probe: nothing shows that it is read"
        return probe

    @property
    def settings(self) -> dict[str, Any]:
        return {**self.given, **self.probe.given}

    def __str__(self) -> str:
        return f"{self.key}[{self.kind}]" if self.kind else self.key


def place_of(noun: str) -> str:
    """Where a kind of a noun stands in a recipe."""
    for f in kinds.fields(Recipe):
        hint = kinds.hints_of(Recipe)[f.name]
        if kinds.noun_of(kinds.inner(hint)) == noun:
            return kinds.key_of(f) + (".0" if kinds.inner(hint) is not hint else "")
    assert noun == "stage", f"{noun} has kinds, but a recipe has no place for them"
    return "data.train.0.stages.0"


def owners() -> Iterator[tuple[str, str, type, dict[str, Any]]]:
    """(dotted key, kind, class, settings) of the recipe, its sections and all kinds."""
    for key, cls in every.sections():
        yield key, "", cls, {}
    for noun, kind in every.KINDS:
        place = place_of(noun)
        yield place, kind, kinds.find(noun, kind), {f"{place}.{k}": v for k, v in every.plain(noun, kind).items()}


def options() -> Iterator[Option]:
    """Every field; one that only holds a kind or section, and has no probe of its own, is seen in the fields in there."""
    for owner, kind, cls, given in owners():
        for f in kinds.fields(cls):
            if f.metadata.get("probe") or not kinds.is_nested(kinds.inner(kinds.hints_of(cls)[f.name])):
                yield Option(owner, kind, f, given)


OPTIONS = list(options())
OWNERS = [pytest.param(*o, id="-".join(filter(None, o[:2])) or "recipe") for o in owners()]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(fixtures.make(tmp_path_factory.mktemp("lab")))


def sees_nothing(lab: Lab, option: Option, planted: str | None = None) -> str | None:
    """Why the probe of an option shows no difference; None where it shows one. `planted` is changed instead of the option."""
    probe, settings = option.probe, option.settings
    plain = lab.outcome(probe.scenario, settings)
    changed = settings if planted is not None else settings | {option.key: probe.other}
    other = lab.outcome(probe.scenario, changed, planted)
    stops = [outcome.stop for outcome in (plain, other) if outcome.stop is not None]
    same = (probe.seen == "stop" or not stops) and scenarios.alike(
        *(scenarios.look(o, probe.seen) for o in (plain, other))
    )
    if same:
        return (
            f"{option}: {probe.other!r} changes nothing in the {probe.seen} of scenario {probe.scenario!r}; is it read?"
        )
    if len(stops) > (probe.seen == "stop"):  # of two runs one may be stopped, where that is the sign
        return f"{option}: scenario {probe.scenario!r} ended with {stops[-1][0]}: {stops[-1][1]}"
    return None


@pytest.mark.parametrize("option", OPTIONS, ids=str)
def test_every_option_is_read(option: Option, lab: Lab) -> None:
    assert (reason := sees_nothing(lab, option)) is None, reason


@pytest.mark.parametrize(("owner", "kind", "cls", "given"), OWNERS)
def test_a_field_that_nothing_reads_is_told(owner: str, kind: str, cls: type, given: dict[str, Any], lab: Lab) -> None:
    """With every probe that its owner's own fields have; where it has none, with those of other kinds of its noun."""
    extra = kinds.fields(scenarios.with_field(cls))[-1]
    assert extra.name == "planted"
    beside = [o for o in OPTIONS if o.owner == owner]
    probes = [o.probe for o in beside if o.kind == kind] or [o.probe for o in beside]
    assert probes
    first: dict[
        str, Mapping[str, Any]
    ] = {}  # scenario -> settings, so that each is run once and looked at from all sides
    own, told = any(o.kind == kind for o in beside), 0
    for probe in probes:
        same_run = replace(probe, given=first.setdefault(probe.scenario, probe.given))
        reason = sees_nothing(lab, Option(owner, kind, scenarios.with_probe(extra, same_run), given), planted=owner)
        assert reason is not None, f"{owner}.planted was seen in the {probe.seen} of scenario {probe.scenario!r}"
        if "changes nothing" in reason:
            told += 1
        else:  # a scenario of another kind may refuse this one
            assert not own and "RecipeError" in reason, reason
    assert told


def test_a_field_without_a_probe_is_told() -> None:
    for owner, kind, cls, given in owners():
        bare = Option(owner, kind, kinds.fields(scenarios.with_field(cls))[-1], given)
        with pytest.raises(AssertionError, match=r"planted: an option without a probe"):
            assert bare.probe


def test_an_equal_run_looks_alike_and_another_does_not(lab: Lab) -> None:
    """What the verdicts rest on: two runs of one recipe are the same to the last bit wherever a probe can look."""
    plain = lab.outcome("train", {})
    again = Lab(lab.folder, {f"taken-{i}": plain for i in range(len(lab.known))}).outcome("train", {})
    other = lab.outcome("train", {"seed": 5, "train.microbatch": 1, "train.save_every": 1})
    for seen in scenarios.LOOKS:
        if seen not in ("report", "stop", "stage"):
            assert scenarios.alike(scenarios.look(plain, seen), scenarios.look(again, seen)), seen
            assert not scenarios.alike(scenarios.look(plain, seen), scenarios.look(other, seen)), seen


@pytest.mark.parametrize("name", scenarios.NOT_FOR_LOOKING)
def test_what_quotes_the_recipe_proves_nothing(name: str, lab: Lab) -> None:
    assert (lab.outcome("train", {}).run.path / name).exists()  # type: ignore[union-attr]
    with pytest.raises(AssertionError, match="whether they are read or not"):
        scenarios.look(lab.outcome("train", {}), f"file:{name}")


def test_every_scenario_is_of_use() -> None:
    assert {option.probe.scenario for option in OPTIONS} == set(scenarios.SCENARIOS)


def test_the_options_are_those_of_the_whole_recipe() -> None:
    keys = {option.key for option in OPTIONS}
    assert {"seed", "model.path", "data.train.0.path", "data.valid.fraction", "train.steps", "tuner.rank"} <= keys
    assert len(OPTIONS) > 60
