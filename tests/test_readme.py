"""The READMEs say what was measured, and show the house as it stands."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_docs import ROOT, generator

from seektune.commands._verbs import verbs

README, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
both = pytest.mark.parametrize("page", [README, CHINESE], ids=lambda path: path.name)
FOUND = {
    "date": "2026-11-21",
    "machine": "2 cores",
    "command": "make quickstart",
    "seeds": [
        {
            "seed": 17,
            "seconds": 150.2,
            "before": score,
            "after": {"value": value, "low": value - 0.05, "high": value + 0.01, "n": 200},
        }
        for score, value in (
            ({"value": 0.0, "low": 0.0, "high": 0.019, "n": 200}, 0.97),
            ({"value": 0.01, "low": 0.0, "high": 0.04, "n": 200}, 0.935),
        )
    ],
}


def part(page: Path, name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", page.read_text(encoding="utf-8"), re.S)
    assert found, f"{page.name} has no part {name}"
    return found[1]


@both
def test_the_figures_are_those_of_the_measurement(page: Path) -> None:
    generate = generator()
    assert part(page, "figures") == generate.figures(generate.WORDS["zh" if page is CHINESE else "en"], "")


def test_the_worst_seed_is_shown(tmp_path: Path) -> None:
    generate = generator()
    (tmp_path / "quickstart.json").write_text(json.dumps(FOUND))
    made = generate.figures(generate.WORDS["en"], "", tmp_path)
    assert "worst of 2 seeds" in made
    assert "| 1.0 % (0.0 % to 4.0 %) | 93.5 % (88.5 % to 94.5 %) | 150 |" in made
    assert "`make quickstart` on 2026-11-21; 2 cores" in made
    changed = FOUND | {"machine": {"cpu": "Chip", "cores": 4}}
    (tmp_path / "quickstart.json").write_text(json.dumps(changed))
    assert generate.figures(generate.WORDS["en"], "", tmp_path) == made.replace("2 cores", "4 × Chip")


def test_figures_come_from_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = generator()
    monkeypatch.setattr(generate, "FIGURES", tmp_path)
    (tmp_path / "one.json").write_text('{"a": {"b": 0.12345, "c": 1234567}, "table": {"copy": "9/10"}}')
    shown = [generate.figure(generate.WORDS["en"], f"one.{key}") for key in ("a.b", "a.c", "a.d", "table")]
    assert shown == ["0.123", "1,234,567", "not measured yet", "| task | right |\n|---|---|\n| copy | 9/10 |"]


@pytest.mark.skipif(not (ROOT / "docs/figures/quickstart.json").exists(), reason="the quickstart is not measured yet")
def test_the_measurement_has_three_seeds_and_reaches_the_bar() -> None:
    found = json.loads((ROOT / "docs/figures/quickstart.json").read_text())
    assert len({seed["seed"] for seed in found["seeds"]}) >= 3
    assert all(seed["after"]["value"] >= 0.9 and seed["before"]["value"] <= 0.05 for seed in found["seeds"])


@both
def test_every_verb_is_told(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [verb for verb in verbs() if f"`{verb}`" not in text] == []


@both
def test_the_tree_is_the_house_as_it_stands(page: Path) -> None:
    """Each folder of the package is in the tree, and what the tree names is there."""
    trees = re.findall(r"^```text\n(src/seektune/\n.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    assert len(trees) == 1
    package = ROOT / "src" / "seektune"
    named = [line.split()[0] for line in trees[0].splitlines()[1:]]
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert folders <= set(named)
    assert [name for name in named if not (package / name).exists()] == []


@both
def test_the_two_commands_stand_in_the_first_lines(page: Path) -> None:
    first = page.read_text(encoding="utf-8").splitlines()[:25]
    assert sum("make quickstart" in line for line in first) >= 1
    assert sum("make test" in line for line in first) >= 1


def test_both_languages_have_the_same_sections() -> None:
    counts = [len(re.findall(r"^## ", page.read_text(encoding="utf-8"), re.M)) for page in (README, CHINESE)]
    assert counts[0] == counts[1]
