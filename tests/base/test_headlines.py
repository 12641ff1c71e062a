import json
import re

from seektune.base import headlines as task
from seektune.base import names
from seektune.base.extraction import FRAMES, JSON_ASKS
from seektune.base.headlines import EVENTS, TEMPLATES, headlines

TRAIN, VALID = headlines(7, 2000, "train"), headlines(7, 400, "valid")


def parsed(records):
    return [json.loads(r["output"]) for r in records]


def test_same_seed_same_headlines():
    assert headlines(7, 50, "train") == TRAIN[:50]
    assert headlines(8, 50, "train") != TRAIN[:50]


def test_companies_are_disjoint_to_the_stem():
    train, valid = ({row["company"] for row in parsed(part)} for part in (TRAIN, VALID))
    assert not train & valid
    assert not {name.split()[0] for name in train} & {name.split()[0] for name in valid}


def test_answers_stand_in_the_headline():
    for record, row in zip(TRAIN + VALID, parsed(TRAIN + VALID), strict=True):
        assert list(row) == ["company", "event", "amount", "currency", "direction"]
        assert record["input"].count(row["company"]) == 1
        assert record["input"].count(row["amount"]) == 1
        assert row["event"] in EVENTS
        assert row["direction"] in ("up", "down", "none")
        assert row["currency"] in {currency[0] for currency in task.CURRENCIES}
        assert record["output"] == json.dumps(row, ensure_ascii=False)


def test_every_category_is_in_both_parts():
    for field in ("event", "currency", "direction"):
        assert {row[field] for row in parsed(TRAIN)} == {row[field] for row in parsed(VALID)}
    chinese = sum(r["instruction"] == task.INSTRUCTION[1] for r in TRAIN)
    assert 800 < chinese < 1200


def test_templates_are_many_and_belong_to_one_category():
    every = [line for pair in TEMPLATES.values() for lines in pair for line in lines]
    assert all(len(lines) >= 12 for pair in TEMPLATES.values() for lines in pair)
    assert len(set(every)) == len(every)
    assert all(line.count("{c}") == line.count("{m}") == 1 for line in every)


def test_the_base_text_knows_neither_sentences_nor_suffixes():
    def shape(line):
        return re.sub(r"\{\w+\}", "{}", line).lower()

    base = {shape(line) for frame in FRAMES for tables in frame.tables.values() for line, _ in tables.sentences}
    assert not base & {shape(line) for pair in TEMPLATES.values() for lines in pair for line in lines}
    assert not {style.strip() for style in task.STYLES if style} & set(names.SUFFIXES_EN)
    assert not {style for style in task.STYLES_ZH if style} & set(names.SUFFIXES_ZH)
    asks = {ask.format(keys="") for language in JSON_ASKS for ask in language}
    assert not any(re.sub(r"company.*direction", "", instruction) in asks for instruction in task.INSTRUCTION)
