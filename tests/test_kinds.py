"""The registry: plain values to dataclasses and back, and the list of all that exists."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune import cli, kinds
from seektune.commands.kinds import listing
from seektune.contracts import Objective, Probe, at_least, option
from seektune.errors import RecipeError

PROBE = Probe(None)


@dataclass(frozen=True)
class Inner:
    path: str
    share: float | None = None


@dataclass
class Outer:
    """A section of every sort of option."""

    inner: Inner
    rows: list[Inner] = field(default_factory=list)
    count: int = option(1, "how many", probe=PROBE, check=at_least(1))
    ratio: float = 0.5
    either: int | Literal["auto"] = "auto"
    wide: int | float | None = None
    pair: tuple[float, float] = (0.9, 0.99)
    many: tuple[str, ...] = ()
    names: list[str] = field(default_factory=list)
    table: dict[str, float] = field(default_factory=dict)
    class_: str = "a"
    wrapped: Objective | None = None
    hidden: int = field(default=3, init=False)

    def __post_init__(self) -> None:
        if self.count == 13:
            raise ValueError("13 is no number")
        if self.count == 14:
            raise RecipeError("section.count: neither is 14")


def made(**values: Any) -> Any:
    problems: list[kinds.Problem] = []
    result = kinds.construct(Outer, kinds.expand(Outer, {"inner": "a"} | values), "section", problems)
    return result if not problems else [line for _, line in problems]


def test_values_take_the_type_of_the_option() -> None:
    outer = made(
        ratio=2, pair=[1, 2], table={"a": 1}, wide=3, wrapped="sft", rows="x", many=["p", "q"], **{"class": "b"}
    )
    assert outer.inner == Inner("a")
    assert outer.rows == [Inner("x")]
    assert type(outer.ratio) is float
    assert outer.pair == (1.0, 2.0)
    assert type(outer.table["a"]) is float
    assert type(outer.wide) is int
    assert outer.many == ("p", "q")
    assert outer.class_ == "b"
    assert type(outer.wrapped).__name__ == "SFT"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"conut": 2}, "section.conut: unknown key; did you mean 'count'?"),
        ({"zzz": 2}, "section.zzz: unknown key; known: class, count, either, inner, many, names, pair, ratio, rows, table, wide, wrapped"),
        ({"hidden": 3}, "section.hidden: unknown key; did you mean 'wide'?"),
        ({"class_": "x"}, "section.class_: unknown key; did you mean 'class'?"),
        ({"count": 0}, "section.count: found 0; expected at least 1"),
        ({"count": True}, "section.count: found true; expected integer"),
        ({"count": None}, "section.count: found null; expected integer"),
        ({"count": 13}, "section: 13 is no number"),
        ({"count": 14}, "section.count: neither is 14"),
        ({"ratio": float("nan")}, "section.ratio: found nan; expected number"),
        ({"either": "never"}, "section.either: found 'never'; expected integer or one of auto"),
        ({"pair": [1, 2, 3]}, "section.pair: found [1, 2, 3]; expected [number, number]"),
        ({"many": ["a", 1]}, "section.many: found ['a', 1]; expected list of text"),
        ({"names": "a"}, "section.names: found 'a'; expected list of text"),
        ({"table": {"a": "x"}}, "section.table.a: found 'x'; expected number"),
        ({"inner": {}}, "section.inner.path: missing; expected text"),
        ({"inner": 3}, "section.inner: found 3; expected a mapping with path, share"),
        ({"rows": [{"path": 1}]}, "section.rows.0.path: found 1; expected text"),
        ({"wrapped": {"kind": "sft", "x": 1}}, "section.wrapped.x: unknown key; known: label_smoothing"),
        ({"wrapped": {"kind": "stf"}}, "section.wrapped.kind: unknown kind 'stf'; did you mean 'sft'?"),
        ({"names": ["x" * 100] * 100}, None),
    ],
)  # fmt: skip
def test_wrong_options(values: dict[str, Any], expected: str | None) -> None:
    if expected is None:
        assert isinstance(made(**values), Outer)
    else:
        assert made(**values) == [expected]


def test_a_long_value_is_cut_in_the_message() -> None:
    (line,) = made(count="x" * 1000)
    assert len(line) < 120
    assert "..." in line


def test_all_problems_at_once() -> None:
    assert len(made(count="x", ratio="y", rows=[{"path": 1}, 3], zzz=1)) == 5


@given(
    st.fixed_dictionaries(
        {"inner": st.fixed_dictionaries({"path": st.text(), "share": st.none() | st.floats(0, 1)})},
        optional={
            "count": st.integers(1, 12),
            "either": st.just("auto") | st.integers(),
            "pair": st.lists(st.floats(0, 1), min_size=2, max_size=2),
            "table": st.dictionaries(st.text(), st.floats(0, 1)),
            "rows": st.lists(st.fixed_dictionaries({"path": st.text()}), max_size=3),
            "wrapped": st.none() | st.just({"kind": "sft", "label_smoothing": 0.1}),
        },
    )
)
def test_plain_is_the_reverse_of_construct(values: dict[str, Any]) -> None:
    outer = made(**values)
    plain = kinds.plain(outer)
    assert json.loads(json.dumps(plain)) == plain
    assert made(**plain) == outer


@pytest.mark.parametrize(("noun", "kind"), [(noun, kind) for noun in kinds.nouns() for kind in kinds.names(noun)])
def test_every_kind_is_found_described_and_written_as_plain_values(noun: str, kind: str) -> None:
    cls = kinds.find(noun, kind)
    assert kinds.kind_of(noun, cls) == kind
    (entry,) = listing(noun, kind)
    assert entry["summary"]
    assert not entry["summary"].startswith(f"{cls.__name__}(")
    assert [row["name"] for row in entry["options"]] == [kinds.key_of(f) for f in dataclasses.fields(cls) if f.init]
    assert all(row["help"] and row["type"] for row in entry["options"])
    if not any(row["required"] for row in entry["options"]):
        value = kinds.build(noun, {"kind": kind})
        assert kinds.build(noun, kinds.spec(noun, value)) == value


def test_build_reports_all_and_names_the_nearest() -> None:
    with pytest.raises(RecipeError) as caught:
        kinds.build("optimizer", {"kind": "adamw", "lerning_rate": 1, "eps": "x"})
    assert caught.value.problems == [
        "optimizer.lerning_rate: unknown key; did you mean 'learning_rate'?",
        "optimizer.eps: found 'x'; expected number",
    ]
    with pytest.raises(RecipeError, match="did you mean 'adamw'"):
        kinds.build("optimizer", {"kind": "adam"})


def test_the_listing_covers_every_kind_and_section() -> None:
    found = {(entry["noun"], entry["kind"]) for entry in listing()}
    assert {(noun, kind) for noun in kinds.nouns() for kind in kinds.names(noun)} <= found
    assert {"model", "data", "data.train", "data.valid", "train"} <= {noun for noun, kind in found if not kind}


def test_the_listing_needs_no_torch() -> None:
    code = (
        "import sys\nfrom seektune.commands.kinds import listing\nassert len(listing()) > 8\n"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_json_and_text_of_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kinds", "--json"]) == 0
    assert [entry["noun"] for entry in json.loads(capsys.readouterr().out)][-1] == "train"
    assert cli.main(["kinds", "optimizer", "adamw"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("optimizer:\n  adamw ")
    assert "\n      learning_rate  peak learning rate (number; default 0.0002)\n" in said
    assert cli.main(["kinds", "train"]) == 0
    assert "batch_size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimiser"], "unknown noun 'optimiser'; did you mean 'optimizer'?"),
        (["optimizer", "adam"], "unknown kind 'adam' of optimizer; did you mean 'adamw'?"),
        (["train", "x"], "unknown kind 'x' of train; it is a section without kinds"),
    ],
)
def test_wrong_names(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["kinds", *words]) == 2
    assert capsys.readouterr().err == f"error: seektune kinds: {said}\n"
