"""Task dialogues: states turn by turn, values with the place where they were said, and as text that reads back."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seektune import pipeline
from seektune.stages._states import NONE, state_of_text, text_of_state
from seektune.stages._work import PLACE, Work, equip
from seektune.stages.dialogue_states import DialogueStates

sys.path.insert(0, str(Path(__file__).parent))
from files_of_dialogue_states import DIALOGUES, files


def made(dialogue: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    outcome = DialogueStates(**options).each(dialogue)
    return [record for record in [outcome.record, *outcome.more] if record is not None]


def test_states_stand_beside_the_turns_of_the_user() -> None:
    [record] = made(DIALOGUES[0])
    assert [m["role"] for m in record["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert "turns" not in record
    first, none, second, _, third = record["states"]
    assert none is None
    assert first == {
        "Restaurants": {
            "intent": "Reserve", "requested": [],
            "slots": {
                "city": {"values": ["San Jose"], "span": [0, 17, 25]}, "seats": {"values": ["2"], "span": [0, 12, 13]},
                "time": {"values": ["half past 11"], "span": [0, 29, 41]},
            },
        }
    }  # fmt: skip
    slots = second["Restaurants"]["slots"]
    assert slots["seats"]["span"] == [0, 12, 13]  # where it was said, not within 12
    assert slots["time"] == {"values": ["noon"], "span": None}
    assert slots["name"]["span"] == [1, 18, 22]
    assert third["Restaurants"] == second["Restaurants"]  # a service that is not named keeps its state
    assert third["Taxi"]["slots"]["kind"]["span"] == [4, 2, 7]


def test_the_state_of_a_turn_as_its_answer() -> None:
    records = made(DIALOGUES[0], form="text", system="Track.")
    assert [r["turn"] for r in records] == [0, 2, 4]
    assert records[1]["messages"] == [
        {"role": "system", "content": "Track."},
        {"role": "user", "content": "A table for 2 in San Jose at half past 11."},
        {"role": "assistant", "content": "Which restaurant? Sino has 12 tables.", "train": False},
        {"role": "user", "content": "Yes, and a taxi."},
        {"role": "assistant", "content": "Restaurants.city = San Jose; Restaurants.name = Sino; Restaurants.seats = 2; Restaurants.time = noon; Taxi.shared = True"},
    ]  # fmt: skip
    [chinese] = made(DIALOGUES[1], form="text")
    assert chinese["messages"][-1]["content"] == "订票.日期 = 明天; 订票.目的地 = 上海"
    assert state_of_text(chinese["messages"][-1]["content"]) == {"订票": {"日期": "明天", "目的地": "上海"}}


def test_spans_point_at_their_words_whatever_was_cut_off() -> None:
    for options in ({}, {"system": "S"}, {"history": 1}, {"history": 2, "system": "S"}):
        for record in made(DIALOGUES[0], form="text", **options):
            for one in record["state"].values():
                for slot in one["slots"].values():
                    if slot["span"] is not None:
                        at, start, end = slot["span"]
                        assert record["messages"][at]["role"] != "system"
                        assert record["messages"][at]["content"][start:end] in slot["values"]
    [_, second, _] = made(DIALOGUES[0], form="text", history=1)
    assert [m["content"] for m in second["messages"][:-1]] == ["Yes, and a taxi."]
    assert second["state"]["Restaurants"]["slots"]["city"]["span"] is None


names = st.text(min_size=1, max_size=8)
values = st.text(max_size=12)


@settings(deadline=None, max_examples=300)
@example({" 0": {"0": ""}, "a.b": {" c=": "; d\\"}})
@given(st.dictionaries(names, st.dictionaries(names, values, min_size=1, max_size=3), max_size=3))
def test_a_state_reads_back_from_its_text(state: dict[str, dict[str, str]]) -> None:
    whole = {
        service: {"slots": {slot: {"values": [value], "span": None} for slot, value in slots.items()}}
        for service, slots in state.items()
    }
    assert state_of_text(text_of_state(whole, [])) == state


def test_what_is_no_state_reads_as_nothing() -> None:
    assert text_of_state({}, []) == NONE
    assert state_of_text(NONE) == state_of_text("") == state_of_text("I think = so; a.b") == {}
    assert state_of_text("noise; a.b = c") == {"a": {"b": "c"}}


def test_figures_count_values_when_they_come() -> None:
    outcome = DialogueStates().each(DIALOGUES[0])
    # city, seats, time; then time again, name, shared; then kind: noon and True are not said
    assert outcome.figures == {"slot values": 7, "slot values in the history": 5}
    stage = DialogueStates()
    equip(stage, Work())
    list(stage([*DIALOGUES, {"text": "no dialogue"}]))
    assert stage.report()["literal_share"] == round(7 / 9, 4)
    assert stage.report()["figures"]["records without turns"] == 1


def broken(change: Any) -> dict[str, Any]:
    dialogue = copy.deepcopy(DIALOGUES[0])
    change(dialogue["turns"])
    return dialogue


@pytest.mark.parametrize(
    ("change", "reason", "detail"),
    [
        (lambda turns: turns.clear(), "`turns` is no list of turns", "[]"),
        (lambda turns: turns[1].pop("utterance"), "a turn without `utterance`", "turn 1"),
        (lambda turns: turns[2].update(speaker="Bob"), "`speaker` is 'Bob'", "turn 2"),
        (lambda turns: turns[0].update(frames="x"), "`frames` of a turn is no list of objects", "turn 0"),
        (lambda turns: turns[0]["frames"][0]["state"].update(slot_values=3), "`slot_values` is no object", "turn 0"),
    ],
)  # fmt: skip
def test_a_malformed_dialogue_is_dropped_with_the_turn(change: Any, reason: str, detail: str) -> None:
    outcome = DialogueStates().each(broken(change))
    assert (outcome.record, outcome.reason, outcome.detail) == (None, reason, detail)


def test_spans_of_the_file_outside_their_utterance_are_counted() -> None:
    slots = [
        {"slot": "city", "start": 17, "exclusive_end": 99},
        {"slot": "city", "start": 17, "exclusive_end": 25},
        {"slot": "seats"},
    ]
    outcome = DialogueStates().each(broken(lambda turns: turns[0]["frames"][0].update(slots=slots)))
    assert outcome.figures["spans outside their utterance"] == 1


def test_a_dialogue_without_the_user_has_no_state_to_answer_with() -> None:
    turns = [{"speaker": "SYSTEM", "utterance": "Hello?", "frames": []}]
    outcome = DialogueStates(form="text").each({"turns": turns, PLACE: "d.jsonl:1"})
    assert (outcome.record, outcome.reason) == (None, "no turn of the user")


def test_a_single_value_is_as_good_as_a_list() -> None:
    state = {"active_intent": "x", "slot_values": {"n": 2}}
    turns = [{"speaker": "customer", "utterance": "for 2", "frames": [{"service": "S", "state": state}]}]
    [record] = made({"turns": turns})
    assert record["states"][0]["S"]["slots"] == {"n": {"values": ["2"], "span": [0, 4, 5]}}


def test_a_pipeline_writes_records_that_train(tmp_path: Path) -> None:
    files(tmp_path)
    for form, count in (("turns", 2), ("text", 4)):
        plain = {
            "input": [{"path": "dialogues.jsonl"}],
            "stages": [{"kind": "dialogue_states", "form": form}],
            "output": f"{form}.jsonl",
        }
        (tmp_path / "p.yaml").write_text(json.dumps(plain))
        pipeline.run(pipeline.load(tmp_path / "p.yaml"), tmp_path / "cache")
        from seektune.data import formats
        from seektune.data.options import Input

        records = formats.read([Input(path=str(tmp_path / f"{form}.jsonl"))], 0.0, "lm", cache=tmp_path / "cache")
        assert len(records) == count
        assert all(("states" if form == "turns" else "state") in record for record in records)


def test_real_dialogues_agree_with_the_spans_that_people_marked(shared_data: Path) -> None:
    """Every span that the file marks in a user's turn for a value that is new there is found at that very place."""
    agreed = marked = 0
    for line in (shared_data / "dialogue_state_sgd" / "dialogues.jsonl").read_text().splitlines():
        dialogue = json.loads(line)
        [record] = made(dialogue)
        seen: set[tuple[str, str, str]] = set()
        for number, turn in enumerate(dialogue["turns"]):
            for one in turn["frames"] if turn["speaker"] == "USER" else ():
                for slot in one["slots"]:
                    text = turn["utterance"][slot["start"] : slot["exclusive_end"]]
                    key = (one["service"], slot["slot"], text)
                    held = record["states"][number][one["service"]]["slots"].get(slot["slot"])
                    if held is not None and text in held["values"] and key not in seen:
                        marked += 1
                        agreed += (
                            held["span"] is not None
                            and record["messages"][held["span"][0]]["content"][slice(*held["span"][1:])]
                            in held["values"]
                        )
                    seen.add(key)
    assert marked > 100
    assert agreed == marked
