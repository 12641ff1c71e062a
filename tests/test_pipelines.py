"""Every pipeline in recipes/ loads and says what it is for; that of translation runs on real records."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seektune import kinds, pipeline, recipe_yaml

FOLDER = Path(__file__).resolve().parent.parent / "recipes"
FILES = sorted(FOLDER.glob("data_*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_goes_through_yaml_and_back(path: Path, tmp_path: Path) -> None:
    read = pipeline.load(path)
    assert read.stages
    (tmp_path / "again.yaml").write_text(recipe_yaml.dump(kinds.plain(read)))
    assert pipeline.load(tmp_path / "again.yaml") == read


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_a_short_story(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert all(len(line) <= 130 for line in lines)
    assert lines[0].startswith("# ")
    assert lines[0].endswith(".")
    assert any(f"seektune data run recipes/{path.name}" in line for line in lines[1:4])


def test_there_is_one_for_translation() -> None:
    assert "data_translation" in {path.stem for path in FILES}


def test_translation_runs_on_real_records(shared_data: Path, tmp_path: Path) -> None:
    sys.path.append(str(Path(__file__).parent / "stages"))
    import files_of_back_translate

    files_of_back_translate.files(tmp_path)
    lines = (shared_data / "mt_en_sw" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    pairs, alone = (
        [json.loads(line) for line in lines[:300]],
        [{"en": json.loads(line)["en"]} for line in lines[300:310]],
    )
    for name, rows in (("pairs", pairs), ("english", alone)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = [f"input.0.path={tmp_path}/pairs.jsonl", f"input.1.path={tmp_path}/english.jsonl", "stages.2.ratio=1000",
                f"stages.2.model={tmp_path}/translator", "stages.2.max_new_tokens=6", f"output={tmp_path}/out.jsonl"]  # fmt: skip
    read = pipeline.load(FOLDER / "data_translation.yaml", settings)
    card = pipeline.run(read, tmp_path / "cache")
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    made = {
        kind: [row for row in written if row.get("synthetic") == kind] for kind in ("code_switch", "back_translate")
    }
    length, switched, translated = card["stages"]
    assert len(made["code_switch"]) == switched["added"] > 100
    assert len(made["back_translate"]) == translated["changed"]
    assert translated["changed"] + translated["dropped"] == len(alone)
    assert [row for row in written if "synthetic" not in row] == [
        row for row in pairs if row["sw"].strip() and len(row["en"]) >= 4
    ][: length["kept"]]
    assert all(
        row["sw"].startswith("<made> ") and row["en"] in {r["en"] for r in alone} for row in made["back_translate"]
    )
    assert switched["lexicon"] > 50
    again: dict[str, Any] = pipeline.run(read, tmp_path / "cache")
    assert again["output"]["fingerprint"] == card["output"]["fingerprint"]
    assert again["stages"][2]["translations"]["asked"] == 0
