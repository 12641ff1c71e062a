import json
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.base import frames, names, text
from seektune.base.extraction import FRAMES, KEPT_FOR_THE_QUICKSTART
from seektune.base.names import Draw, is_held

SAMPLE = list(text.records(3, 4000))
HELD = list(text.held_out(1500))


def answers(record):
    return [m["content"] for m in record.get("messages", ()) if m["role"] == "assistant"]


def objects(records):
    """Every JSON object that an extraction answers, with what the user wrote before it."""
    for record in records:
        if record.get("task") in ("extract", "two_facts"):
            first = record["messages"][-1 if record["messages"][0]["role"] != "system" else 1]["content"]
            asked = " ".join(m["content"] for m in record["messages"] if m["role"] == "user") + first
            for answer in answers(record):
                if answer.startswith(("{", "[")):
                    found = json.loads(answer)
                    yield asked, found if isinstance(found, list) else [found]


def test_same_seed_same_text():
    assert list(text.records(3, 200)) == list(text.records(3, 200))
    assert list(text.records(3, 200)) != list(text.records(4, 200))


def test_a_record_does_not_depend_on_those_read_before():
    assert list(text.records(3, 4000, start=3990)) == SAMPLE[3990:]
    assert list(islice(text.records(3, 4000, start=17), 1)) == SAMPLE[17:18]


@given(st.integers(0, 10**6), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_every_record_is_of_one_of_two_shapes(i, progress):
    record = text.record(5, i, progress)
    if "text" in record:
        ends = [0, *(end for span in record["spans"] for end in span[:2]), len(record["text"])]
        assert ends == sorted(ends)
        assert all(0 < weight <= 1 for *_, weight in record["spans"])
        assert record["spans"]
        return
    roles = [m["role"] for m in record["messages"] if m["role"] != "system"]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert roles
    assert all(m["content"] for m in record["messages"])
    assert record["task"]


def test_the_text_begins_with_short_copies():
    first = SAMPLE[:100]
    assert all("text" in r or r["task"] == "repeat" for r in first)
    assert sum(len(r["text"]) for r in first if "text" in r) / 100 < 60
    assert len({r["task"] for r in SAMPLE[1000:] if "task" in r}) > 15


def test_json_answers_hold_values_of_the_passage():
    categories = {
        label for c in frames.CATEGORIES.values() for labels in (*c.labels_en, *c.labels_zh) for label in labels
    }
    kinds = {label for frame in FRAMES for tables in frame.tables.values() for label in tables.labels}
    codes = {code for _, code, _, _ in names.words.CURRENCIES}
    seen = 0
    for asked, rows in objects(SAMPLE):
        for row in rows:
            for key, value in row.items():
                seen += 1
                assert key in asked
                assert value is None or str(value) in asked or value in categories | kinds | codes, (asked, row)
    assert seen > 1000


def test_the_keys_of_the_quickstart_are_not_taught():
    everything = json.dumps(SAMPLE, ensure_ascii=False)
    for key in KEPT_FOR_THE_QUICKSTART:
        assert f'\\"{key}\\"' not in everything
        assert f" {key}" not in everything
        assert all(key not in keys for frame in FRAMES for t in frame.tables.values() for keys in t.keys.values())
    assert not any(
        {"company", "amount", "currency"} <= set(row) and len(row) == 5 for _, rows in objects(SAMPLE) for row in rows
    )


def test_names_held_out_are_never_used_in_training():
    makers = ("company", "person", "city", "product")
    for maker in makers:
        for i in range(300):
            assert not is_held(getattr(Draw(i), maker)())
            assert is_held(getattr(Draw(i, held=True), maker)())


def test_held_out_records_have_tasks_and_answers():
    assert {r["task"] for r in HELD} >= {"extract", "questions", "lookup", "repeat", "translate", "arithmetic"}
    assert all(answers(r) for r in HELD)
    assert HELD[:50] == list(text.held_out(50))


@pytest.mark.parametrize("frame", FRAMES, ids=lambda f: f.name)
def test_frames_are_complete(frame):
    """Every slot is used by a sentence and has keys and questions in both languages."""
    for tables in frame.tables.values():
        used = frozenset().union(*(fields for _, fields in tables.sentences))
        assert used == set(frame.kinds) == set(tables.keys) == set(tables.asks)
        assert all(keys and all(keys) for keys in tables.keys.values())
        for asks in tables.asks.values():
            assert all(ask and fields <= set(frame.kinds) for ask, fields in asks)


def test_arithmetic_is_right():
    for record in SAMPLE:
        if record.get("task") == "arithmetic":
            turns = record["messages"]
            for ask, answer in zip(turns[::2], turns[1::2], strict=True):
                a, sign, b = re.search(r"(\d+) ([+-]) (\d+)", ask["content"]).groups()
                assert int(answer["content"]) == int(a) + int(b) * (1 if sign == "+" else -1)


def test_reasoning_comes_with_a_few_records():
    assert any("reasoning_content" in m for r in SAMPLE for m in r.get("messages", ()))
