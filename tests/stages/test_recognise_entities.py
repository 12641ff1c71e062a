"""Entities by dictionary, rules and patterns: the longest at a place, none over another, true places."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seektune.errors import DataError, RecipeError
from seektune.kinds import build
from seektune.stages.recognise_entities import RecogniseEntities


@pytest.fixture
def lexicon(tmp_path: Path) -> str:
    path = tmp_path / "names.jsonl"
    rows = [
        {"name": "证监会", "type": "government", "aliases": ["中国证监会"]},
        {"name": "May", "type": "name"},
        {"name": "Apple Inc.", "type": "company"},
        {"name": "Apple", "type": "fruit"},
        {"name": "河马", "type": "animal"},
        {"name": "河马", "type": "company"},
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return str(path)


def marked(stage: RecogniseEntities, text: str) -> list[tuple[str, str, str]]:
    found = stage.spans(text)
    assert all(text[one["start"] : one["end"]] == one["text"] for one in found)
    return [(one["text"], one["type"], one["by"]) for one in found]


def test_dictionary_rules_and_patterns(lexicon: str) -> None:
    stage = RecogniseEntities(lexicon=lexicon, patterns={"code": r"(?<!\d)\d{6}(?!\d)"})
    assert marked(stage, "中国证监会罚款1.2亿元，代码300399，3月5日") == [
        ("中国证监会", "government", "lexicon"),
        ("1.2亿元", "amount", "rule"),
        ("300399", "code", "pattern"),
        ("3月5日", "date", "rule"),
    ]


def test_the_longest_at_a_place_stays(lexicon: str) -> None:
    stage = RecogniseEntities(lexicon=lexicon)
    assert marked(stage, "On May 5, 2024 May met Apple Inc. 河马") == [
        ("May 5, 2024", "date", "rule"),
        ("May", "name", "lexicon"),
        ("Apple Inc", "company|fruit", "lexicon"),
        ("河马", "animal|company", "lexicon"),
    ]


def test_without_rules(lexicon: str) -> None:
    assert marked(RecogniseEntities(lexicon=lexicon, rules=False), "5% of 证监会") == [
        ("证监会", "government", "lexicon")
    ]
    assert marked(RecogniseEntities(rules=False), "5%") == []


def test_the_column(lexicon: str) -> None:
    record: dict[str, Any] = {"messages": [{"role": "user", "content": "河马 15%"}], "title": "3元"}
    outcome = RecogniseEntities(lexicon=lexicon, column="title").each(record)
    assert outcome.record is not None
    assert [(one["at"], one["type"]) for one in outcome.record["marks"]] == [(["title"], "amount")]
    assert outcome.figures == {"amount": 1}


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a regular expression for 'x'"):
        build("stage", {"kind": "recognise_entities", "patterns": {"x": "("}})
    (tmp_path / "a.csv").write_text("name,tpye\nx,y\n")
    with pytest.raises(DataError, match=r"a.csv:2: no 'type'; expected a cell; did you mean 'tpye'"):
        RecogniseEntities(lexicon=str(tmp_path / "a.csv")).spans("x")
