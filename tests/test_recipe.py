"""Recipes from files, arguments and Python: every mistake at once with its line, and nothing lost on the way back."""

from __future__ import annotations

import os
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune import kinds, recipe_yaml
from seektune.data.options import Data, Input, Valid
from seektune.errors import RecipeError
from seektune.models.load import Model
from seektune.objectives.sft import SFT
from seektune.recipe import Recipe, load
from seektune.train.options import Train
from seektune.tuners.lora import LoRA

GOOD = """\
model: {path: base:tiny}
data:
  train: [{path: train.jsonl}]
  valid: {fraction: 0.05}
tuner:
  kind: lora
  rank: 4
objective: {kind: sft}
optimizer: {kind: adamw, learning_rate: 2e-4}
train: {epochs: 3}
evaluate: [{kind: exact_match}]
require: {exact_match: "> before + 0.05"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a training file and the recipe above."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "recipe.yaml").write_text(GOOD)
    return tmp_path


def write(text: str) -> str:
    Path("recipe.yaml").write_text(dedent(text))
    return "recipe.yaml"


def problems(*overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load("recipe.yaml", overrides)
    return caught.value.problems


def changed(old: str, new: str) -> None:
    assert old in GOOD
    write(GOOD.replace(old, new))


# What is right


def test_values_defaults_and_numbers_of_yaml_1_2(folder: Path) -> None:
    recipe = load("recipe.yaml")
    assert recipe.optimizer.learning_rate == 2e-4  # type: ignore[attr-defined]
    assert recipe.optimizer.weight_decay == 0.01  # type: ignore[attr-defined]
    assert isinstance(recipe.tuner, LoRA)
    assert (recipe.tuner.rank, recipe.name, recipe.seed) == (4, "recipe", 17)
    assert recipe.train == Train(epochs=3.0)
    assert recipe.data.valid == Valid(fraction=0.05)
    assert kinds.kind_of("source", type(recipe.source)) == "loader"
    assert kinds.kind_of("schedule", type(recipe.schedule)) == "cosine"


def test_no_is_a_word_and_a_date_is_text(folder: Path) -> None:
    assert load("recipe.yaml", ["name=no"]).name == "no"
    assert load("recipe.yaml", ["name=2024-01-01"]).name == "2024-01-01"


def test_short_forms_are_the_long_ones(folder: Path) -> None:
    long = load("recipe.yaml", ["tuner={kind: lora}"])
    write("""\
        model: base:tiny
        data: {train: train.jsonl, valid: {fraction: 0.05}}
        tuner: lora
        objective: sft
        optimizer: {kind: adamw, learning_rate: 2e-4}
        train: {epochs: 3}
        evaluate: exact_match
        require: {exact_match: "> before + 0.05"}
        """)
    assert load("recipe.yaml") == long


def test_arguments_replace_append_and_reach_into_short_forms(folder: Path) -> None:
    Path("more.jsonl").write_text("{}")
    changed("model: {path: base:tiny}", "model: base:tiny")
    recipe = load(
        "recipe.yaml",
        [
            "model.dtype=float32",
            "optimizer.learning_rate=1e-3",
            "data.train.1.path=more.jsonl",
            "data.train.1.format=text",
            "tuner=full",
            "evaluate.1=perplexity",
            "data.valid.fraction=0.5",
            "require.perplexity=< before",
        ],
    )
    assert recipe.model == Model("base:tiny", dtype="float32")
    assert recipe.optimizer.learning_rate == 1e-3  # type: ignore[attr-defined]
    assert [i.path for i in recipe.data.train] == [str(folder / "train.jsonl"), str(folder / "more.jsonl")]
    assert [i.format for i in recipe.data.train] == ["auto", "text"]
    assert kinds.kind_of("tuner", type(recipe.tuner)) == "full"
    assert [kinds.kind_of("evaluate", type(m)) for m in recipe.evaluate] == ["exact_match", "perplexity"]
    assert recipe.require["perplexity"] == "< before"


def test_an_argument_can_add_a_list_that_the_recipe_leaves_out(folder: Path) -> None:
    changed("evaluate: [{kind: exact_match}]\n", "")
    assert [type(m).__name__ for m in load("recipe.yaml", ["evaluate.0.kind=exact_match"]).evaluate] == ["ExactMatch"]


def test_paths_beside_the_recipe_come_first_and_are_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder / "elsewhere"
    other.mkdir()
    (other / "train.jsonl").write_text("{}")
    (other / "only_here.jsonl").write_text("{}")
    monkeypatch.chdir(other)
    recipe = load(folder / "recipe.yaml", ["data.train.1.path=only_here.jsonl", "data.train.2.path=only_*.jsonl"])
    expected = [folder / "train.jsonl", other / "only_here.jsonl", other / "only_*.jsonl"]
    assert [i.path for i in recipe.data.train] == [str(path) for path in expected]


def test_a_folder_of_the_model_is_absolute_and_a_hub_id_stays(folder: Path) -> None:
    (folder / "my-model").mkdir()
    assert load("recipe.yaml", ["model.path=my-model"]).model.path == str(folder / "my-model")
    assert load("recipe.yaml", ["model.path=Qwen/Qwen2.5-0.5B"]).model.path == "Qwen/Qwen2.5-0.5B"


def test_a_run_to_continue_is_found_under_runs(folder: Path) -> None:
    (folder / "runs" / "old-1").mkdir(parents=True)
    assert load("recipe.yaml", ["model={continue: old-1}"]).model.continue_ == str(folder / "runs/old-1")


def test_the_recipe_written_out_is_read_back_the_same_from_anywhere(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = load(
        "recipe.yaml", ["data.train.0.columns={text: '内容: #1'}", "tuner.target_modules=[q_proj, 'no', '1e3']"]
    )
    (folder / "run").mkdir()
    (folder / "run/recipe.yaml").write_text(recipe.to_yaml())
    monkeypatch.chdir(folder / "run")
    assert load("recipe.yaml") == recipe
    assert "weight_decay: 0.01" in recipe.to_yaml()
    assert "continue: null" in recipe.to_yaml()


def test_the_same_in_python(folder: Path) -> None:
    recipe = Recipe(
        model=Model("base:tiny"), data=Data([Input("train.jsonl")]), tuner=LoRA(rank=4), objective=SFT(), name="mine"
    )
    assert recipe.checked().data.train[0].path == str(folder / "train.jsonl")
    (folder / "written.yaml").write_text(recipe.to_yaml())
    assert load("written.yaml") == recipe.checked()


def test_python_recipes_are_checked_too(folder: Path) -> None:
    recipe = Recipe(
        model=Model("base:tiny"),
        data=Data([Input("gone.jsonl")]),
        tuner=LoRA(rank=0),
        objective=SFT(),
        train=Train(epochs=1, steps=1),
    )
    with pytest.raises(RecipeError) as caught:
        recipe.checked()
    assert [line.partition(":")[0] for line in caught.value.problems] == [
        "data.train.0.path",
        "tuner.rank",
        "train.steps",
    ]


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(min_size=1), PLAIN, max_size=4))
def test_what_is_dumped_is_parsed_back(values: dict) -> None:
    written = recipe_yaml.parse(recipe_yaml.dump(values), "recipe.yaml")
    assert written.problems == []
    assert written.values == values


# What is wrong


def test_every_mistake_is_told_at_once_with_its_line(folder: Path) -> None:
    write("""\
        name: a b
        seed: yes
        model: {path: base:tiny, dtyp: float32}
        data:
          train: [{path: trian.jsonl}]
          max_length: 1
          max_length: 3
        tuner:
          kind: lora
          rnak: 8
          dropout: "x"
        objective: sftt
        optimizer: {kind: adamw, learning_rate: -1, rank: 3}
        train: {epochs: 3, steps: 10, validate_every: 5, seed: 3}
        evaluate: [exact_match]
        learning_rate: 3
        require: {exact_match: "> befor", f1: "> 0.9"}
        """)
    valid = "expected data.valid; add `valid: {fraction: 0.05}` under data"
    assert problems("tuner.rank=x", "foo", "data.train.3.path=x", "seed.x=3", "a.b=c") == [
        "recipe.yaml:1: name: found 'a b'; expected letters, digits, '.', '_' and '-', beginning with a letter or digit",
        "recipe.yaml:2: seed: found 'yes'; expected integer",
        "recipe.yaml:3: model.dtyp: unknown key; did you mean 'dtype'?",
        "recipe.yaml:5: data.train.0.path: nothing at 'trian.jsonl'; did you mean 'train.jsonl'?",
        "recipe.yaml:6: data.max_length: found 1; expected at least 2",
        "recipe.yaml:7: data.max_length: stands twice, first in line 6; expected one of them",
        "recipe.yaml:10: tuner.rnak: unknown key; did you mean 'rank'?",
        "recipe.yaml:11: tuner.dropout: found 'x'; expected number",
        "recipe.yaml:12: objective.kind: unknown kind 'sftt'; did you mean 'sft'?",
        "recipe.yaml:13: optimizer.learning_rate: found -1; expected greater than 0",
        "recipe.yaml:13: optimizer.rank: unknown key; `rank` belongs under `tuner:`",
        "recipe.yaml:14: train.seed: unknown key; `seed` belongs at the top",
        "recipe.yaml:14: train.steps: given beside train.epochs; expected one of the two; set the other to null",
        f"recipe.yaml:14: train.validate_every: there is nothing to validate on; {valid}",
        f"recipe.yaml:15: evaluate: there are no held-out records; {valid}",
        "recipe.yaml:16: learning_rate: unknown key; `learning_rate` belongs under `optimizer:`",
        "recipe.yaml:17: require.exact_match: found '> befor'; expected a comparison such as '> 0.9' or '>= before + 0.05'",
        "recipe.yaml:17: require.f1: is not measured; expected a measure of `evaluate`; known: exact_match",
        "argument 2: tuner.rank: found 'x'; expected integer",
        "argument 3: found 'foo'; expected a setting such as train.epochs=3",
        "argument 4: data.train.3.path: data.train is a list, found '3'; expected an index from 0 to 1",
        "argument 5: seed.x: seed holds 'yes'; expected a mapping or a list",
        "argument 6: a: unknown key; known: data, evaluate, model, name, objective, observers, optimizer, require, "
        "schedule, seed, source, train, tuner",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n\tb: 1\n", "recipe.yaml:2: not YAML (found character '\\t' that cannot start any token); indent with spaces, not with a tab"),
        ("a: [1\nb: 2\n", "recipe.yaml:2: not YAML (expected ',' or ']', but got ':')"),
        ("a: 1\nrequire: {}\nb: > 0.9\n", "recipe.yaml:3: not YAML (expected a comment or a line break, but found '0'); put the value in quotes: \"> 0.9\""),
        ("a: b: c\n", "recipe.yaml:1: not YAML (mapping values are not allowed here); put a value that contains a colon in quotes"),
        ("a: *x\n", "recipe.yaml:1: not YAML (found undefined alias 'x'); put the value in quotes: \"*x\""),
        ("a: 1\n---\nb: 2\n", "recipe.yaml:2: not YAML (but found another document)"),
        ("a: 1\nb: \x07\n", "recipe.yaml:2: not YAML (character '\\x07' is not allowed)"),
        ("a: &a [*a]\n", "recipe.yaml:1: an alias that contains itself, or too many values"),
        ("- a\n", "recipe.yaml:1: found ['a']; expected keys such as model, data, tuner"),
        ("version: 2\nnew_things: 3\n", "recipe.yaml:1: version: found 2; expected recipe format 1; update seektune"),
        ("\nversion: 0\n", "recipe.yaml:2: version: found 0; expected recipe format 1; write the recipe anew with `seektune new`, or leave `version` out where its keys are of today"),
        ("version: true\n", "recipe.yaml:1: version: found true; expected recipe format 1; write the recipe anew with `seektune new`, or leave `version` out where its keys are of today"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_at_all(folder: Path, text: str, expected: str) -> None:
    Path("recipe.yaml").write_text(text)
    assert problems() == [expected]


def test_a_small_file_that_expands_without_end_is_refused(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    Path("recipe.yaml").write_text("\n".join(lines))
    assert "too many values" in problems()[0]


def test_bytes_that_are_no_utf8_and_a_byte_order_mark(folder: Path) -> None:
    Path("recipe.yaml").write_bytes(b"name: x\nmodel: \xff\n")
    assert problems() == ["recipe.yaml:2: byte 0xff is not UTF-8; expected UTF-8 text"]
    Path("recipe.yaml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert load("recipe.yaml").name == "recipe"


def test_an_empty_recipe_tells_what_is_missing(folder: Path) -> None:
    Path("recipe.yaml").write_text("# nothing yet\n")
    names = [line.split(": ")[1] for line in problems()]
    assert names == ["model", "data", "tuner", "objective"]
    assert problems()[2] == "recipe.yaml: tuner: missing; expected a mapping with `kind`: one of " + ", ".join(
        kinds.names("tuner")
    )


def test_recipes_that_are_not_there(folder: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"^recipy.yaml: no such file; expected a recipe; did you mean 'recipe.yaml'\?$"
    ):
        load("recipy.yaml")
    (folder / "runs").mkdir()
    (folder / "runs/recipe.yaml").write_text(GOOD)
    with pytest.raises(
        RecipeError, match=r"^runs: is a folder; expected a recipe; go on with the run by `--resume runs`"
    ):
        load("runs")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["tuner.kind=full"], "recipe.yaml:7: tuner.rank: unknown key; argument 2 chose another kind; tuner=full replaces the whole section"),
        (["tuner.rank=[1"], "argument 2: tuner.rank: not YAML (expected ',' or ']', but got '<stream end>')"),
        (["tuner.rank={a: 1, a: 2}"], "argument 2: tuner.rank: a: stands twice, first in line 1; expected one of them"),
        (["data.valid={path: gone.jsonl}"], "argument 2: data.valid.path: nothing at 'gone.jsonl'; a relative path is looked for beside the recipe, then in the current folder"),
        (["data.train.0.path=*.csv"], "argument 2: data.train.0.path: nothing at '*.csv'; the pattern matches no file"),
        (["data.valid={}"], "argument 2: data.valid: neither `fraction` nor `path`; expected one of them"),
        (["data.valid.path=train.jsonl"], "recipe.yaml:4: data.valid: both `fraction` and `path`; expected one of them"),
        (["data.train=[]"], "argument 2: data.train: found []; expected at least one file"),
        (["data.template=mine.jinja"], "argument 2: data.template: nothing at 'mine.jinja'; a relative path is looked for beside the recipe, then in the current folder"),
        (["model.path=./gone"], "argument 2: model.path: no folder './gone'; expected a folder, a hub id or base:tiny; a relative path is looked for beside the recipe, then in the current folder"),
        (["schedule={kind: cosine, warmup: 1.5}"], "argument 2: schedule.warmup: found 1.5; expected between 0 and 1"),
        (["optimizer.learning_rate=.inf"], "argument 2: optimizer.learning_rate: found inf; expected number"),
        (["train.batch_size=true"], "argument 2: train.batch_size: found true; expected integer"),
        (["train.batch_size=2.0"], "argument 2: train.batch_size: found 2.0; expected integer"),
        (["train.precision=bf16"], "argument 2: train.precision: found 'bf16'; expected one of auto, float32, bfloat16, float16"),
        (["evaluate.1.kind=exact_match"], "argument 2: evaluate.1: exact_match stands twice; remove one of them"),
        (["require.exact_match=0.9"], "argument 2: require.exact_match: found 0.9; expected text"),
        (["tuner.kind=no_such.module:Mine"], "argument 2: tuner.kind: cannot load 'no_such.module:Mine' (ModuleNotFoundError: No module named 'no_such'); expected importable module:Class"),
        (["optimizer=[]"], "argument 2: optimizer: found []; expected a mapping with `kind`: one of adamw"),
        (["optimizer={learning_rate: 1}"], "argument 2: optimizer.kind: missing; expected one of adamw"),
        (["=3"], "argument 2: found '=3'; expected a setting such as train.epochs=3"),
    ],
)  # fmt: skip
def test_single_mistakes(folder: Path, overrides: list[str], expected: str) -> None:
    assert problems(*overrides) == [expected]


def test_a_classifier_refuses_what_it_would_not_read(folder: Path) -> None:
    assert problems("objective=classify", "data.train_on=everything", "require=null")[:2] == [
        "recipe.yaml:11: evaluate.0: exact_match needs a model that writes; expected a measure that objective 'classify' can have",
        "argument 3: data.train_on: has no effect with objective 'classify'; leave it out",
    ]


def test_what_an_observer_watches_has_to_be_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "mine_watch.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass Watch:\n    needs_validation = True\n"
        "    def observe(self, event): return None\n"
    )
    own = "observers=[{kind: mine_watch:Watch}]"
    assert type(load("recipe.yaml", [own]).observers[0]).__name__ == "Watch"
    assert "argument 2: observers.0: mine_watch:Watch has nothing to watch" in problems(own, "data.valid=null", "evaluate=[]", "require={}")[0]  # fmt: skip


def test_a_kind_of_the_users_own_needs_its_method(folder: Path) -> None:
    (folder / "mine_loss.py").write_text(
        "from dataclasses import dataclass\n@dataclass\nclass KTO:\n    beta: float = 0.1\n"
    )
    expected = "argument 2: objective.kind: 'mine_loss:KTO' has no `loss`; expected the methods of a objective"
    assert problems("objective={kind: mine_loss:KTO, beta: 0.2}") == [expected]


def test_nothing_is_written_by_loading(folder: Path) -> None:
    before = sorted(os.listdir(folder))
    load("recipe.yaml")
    assert sorted(os.listdir(folder)) == before
