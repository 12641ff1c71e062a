"""Entities by a model: what the tagger says of each text, beside what was marked before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from files_of_tag_entities import tagger

from seektune.errors import ModelError
from seektune.stages.tag_entities import TagEntities, open_tagger

TEXTS = [
    *(f"What did the {a} say about the {b} in {year}?" for a in ("company", "town") for b in ("river", "person", "company") for year in (1990, 1995)),
    *(f"第{i}家公司的利润是多少？公司第{i}季度利润为{i}.5亿元。" for i in range(8)),
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tags")
    tagger(made / "tagger", TEXTS, steps=60)
    return made


def tagged(folder: Path, texts: list[str], **options: Any) -> list[dict[str, Any]]:
    return list(TagEntities(model=str(folder / "tagger"), **options)([{"text": text} for text in texts]))


def test_marks_are_those_of_the_engine_and_right(folder: Path) -> None:
    found = tagged(folder, TEXTS)
    said = open_tagger(str(folder / "tagger")).tag([{"text": text} for text in TEXTS])
    got = [[(m["start"], m["end"], m["type"]) for m in record.get("marks", [])] for record in found]
    assert got == [[tuple(span) for span in spans] for spans in said]
    words = {mark["text"].strip() for record in found for mark in record.get("marks", [])}
    assert {"company", "公司", "town", "river"} <= words  # of English and of Chinese texts


def test_only_the_types_that_are_asked_for(folder: Path) -> None:
    text = "What did the company say about the river in 1990?"
    assert {m["type"] for r in tagged(folder, [text]) for m in r["marks"]} == {"company", "place"}
    assert {m["type"] for r in tagged(folder, [text], types=["place"]) for m in r["marks"]} == {"place"}


def test_what_is_marked_already_stays(folder: Path) -> None:
    text = "What did the company say about the river in 1990?"
    [plain] = tagged(folder, [text])
    mine = {"at": ["text"], "start": 0, "end": 21, "text": text[:21], "type": "mine", "by": "lexicon"}
    [found] = TagEntities(model=str(folder / "tagger"))([{"text": text, "marks": [mine]}])
    assert found["marks"] == [mine, *(m for m in plain["marks"] if m["start"] >= 21)]
    assert len(found["marks"]) > 1


def test_a_model_that_does_not_tag_is_refused() -> None:
    with pytest.raises(
        ModelError, match="base:tiny: is a lm; expected a token-classification model; train one with objective tag"
    ):
        list(TagEntities(model="base:tiny")([{"text": "a"}]))
