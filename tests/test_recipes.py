"""Every recipe in recipes/ loads, says what it is for, and shows only options that mean something."""

from __future__ import annotations

from pathlib import Path

import pytest

from seektune import kinds, recipe_yaml
from seektune.recipe import Recipe, load

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if not path.stem.startswith("data_"))  # those are pipelines
STORIES = {"quickstart", "sft_lora", "sft_full", "classify", "pretrain"}


def loaded(path: Path, tmp_path: Path) -> Recipe:
    """A recipe with empty files of our own for its data."""
    (tmp_path / "records.jsonl").write_text("{}\n")
    records = str(tmp_path / "records.jsonl")
    overrides = [f"data.train.0.path={records}"]
    if "path" in recipe_yaml.parse(path.read_text(), path.name).values["data"]["valid"]:
        overrides.append(f"data.valid.path={records}")
    return load(path, overrides)


def test_every_story_has_its_recipe() -> None:
    assert {path.stem for path in FILES} >= STORIES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_is_written_back_the_same(path: Path, tmp_path: Path) -> None:
    recipe = loaded(path, tmp_path)
    assert recipe.name == path.stem
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_a_short_story(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 120 for line in lines)
    assert lines[0].startswith("# ")
    assert lines[0].endswith(".")
    assert any("seektune train" in line or "make " in line for line in lines[1:4])


def test_the_stories_cover_both_objectives_and_all_tuners_for_beginners(tmp_path: Path) -> None:
    recipes = [loaded(path, tmp_path) for path in FILES]
    assert {kinds.kind_of("objective", type(r.objective)) for r in recipes} >= {"sft", "classify"}
    assert {kinds.kind_of("tuner", type(r.tuner)) for r in recipes} >= {"lora", "full"}
    assert all(r.data.valid and r.evaluate and r.require for r in recipes)
