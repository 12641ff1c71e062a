"""Languages of plain sentences, by script and by lingua; what is kept, routed and counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seektune.errors import RecipeError
from seektune.stages._languages import language_of, script_of
from seektune.stages.language import Language

SENTENCES = {
    "en": "The company said on Monday that its profit rose in the third quarter.",
    "de": "Die Gesellschaft teilte am Montag mit, dass ihr Gewinn gestiegen ist.",
    "sw": "Kampuni ilisema siku ya Jumatatu kwamba faida yake iliongezeka mwaka huu.",
    "ru": "Компания сообщила в понедельник, что её прибыль выросла.",
    "zh": "公司周一表示，第三季度利润有所增长。",
    "ja": "同社は月曜日、第３四半期の利益が増加したと発表した。",
    "ko": "회사는 월요일 3분기 이익이 증가했다고 밝혔다.",
}
FEW = ["de", "en", "ru", "sw"]


def through(stage: Language, texts: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    out = list(stage([{"text": text} for text in texts]))
    return out, stage.report()


@pytest.mark.parametrize("code", SENTENCES)
def test_tells_languages_and_scripts(code: str) -> None:
    assert language_of(SENTENCES[code], tuple(FEW)) == code


def test_mixed_texts_are_in_the_language_that_says_more() -> None:
    assert language_of("我今天用 iPhone 看了一部电影。", ("en", "de")) == "zh"
    assert language_of("The word 公司 means company, and the word 利润 means profit.", ("en", "de")) == "en"
    assert language_of("12.5 % -- 3!", ("en", "de")) == "und"
    assert language_of("", ("en", "de")) == "und"


def test_simplified_and_traditional() -> None:
    assert script_of("这个电脑很贵，后来没有买。") == "zh-hans"
    assert script_of("這個電腦很貴，後來沒有買。") == "zh-hant"
    assert script_of("你好") == "zh"


def test_keeps_some() -> None:
    out, report = through(Language(keep=["zh", "en"], candidates=FEW), list(SENTENCES.values()))
    assert [record["text"] for record in out] == [SENTENCES["en"], SENTENCES["zh"]]
    assert report["reasons"] == {f"language {code}": 1 for code in ("de", "sw", "ru", "ja", "ko")}
    assert report["figures"] == {f"language {code}": 1 for code in SENTENCES}


def test_routes_by_a_column() -> None:
    texts = [SENTENCES["sw"], SENTENCES["zh"], "這個電腦很貴。"]
    out, report = through(Language(route=True, script=True, candidates=FEW), texts)
    assert [record["language"] for record in out] == ["sw", "zh-hans", "zh-hant"]
    assert report["changed"] == 3
    kept, _ = through(Language(keep=["zh-hant"], script=True, candidates=FEW), texts)
    assert [record["text"] for record in kept] == texts[2:]


def test_a_candidate_that_is_no_code_is_told() -> None:
    with pytest.raises(RecipeError, match="candidates: found 'eng'; expected codes of ISO 639-1; did you mean 'en'"):
        through(Language(candidates=["eng", "de"]), [SENTENCES["en"]])


def test_real_sentences(shared_data: Path) -> None:
    """Translated pairs: the language of each side is known. Sentences of at least 40 characters."""
    lines = (shared_data / "mt_en_sw" / "dev.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    for code in ("en", "sw"):
        texts = [text for line in lines if len(text := json.loads(line)[code]) >= 40]
        found = [language_of(text, ("en", "sw", "zu", "xh", "so", "fr")) for text in texts]
        assert found.count(code) / len(found) > 0.94
