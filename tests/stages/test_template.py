"""Conversations made of free columns: fields by name, examples that follow from the seed, missing fields told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import zoo

from seektune import kinds
from seektune.contracts import Record
from seektune.data.chat import Renderer
from seektune.errors import DataError, RecipeError
from seektune.passage import Passage
from seektune.pipeline import load
from seektune.stages._work import PLACE, Work, equip
from seektune.stages.template import Template

TICKETS = [
    {"subject": f"card {i}", "body": f"卡 {i} is lost", "queue": ("cards", "loans")[i % 2], PLACE: f"t.jsonl:{i}"}
    for i in range(20)
]
FORM: dict[str, Any] = {"user": "{{ subject }}: {{ body }}", "answer": "{{ queue }}"}


def run(stage: Template, records: list[Record] = TICKETS, seed: int = 3) -> list[Record]:
    equip(stage, Work(seed))
    return list(stage(records))


def test_turns_are_what_jinja_would_make_of_the_fields() -> None:
    made = run(Template(**FORM, system="队列：{{ ['cards', 'loans'] | join('、') }}"), TICKETS[:1])
    assert made == [
        {
            "subject": "card 0", "body": "卡 0 is lost", "queue": "cards", PLACE: "t.jsonl:0",
            "messages": [
                {"role": "system", "content": "队列：cards、loans"},
                {"role": "user", "content": "card 0: 卡 0 is lost"},
                {"role": "assistant", "content": "cards"},
            ],
        }
    ]  # fmt: skip


def test_without_an_answer_records_are_prompts() -> None:
    assert run(Template(user="{{ record['subject'] }}?"), TICKETS[:1])[0]["messages"] == [
        {"role": "user", "content": "card 0?"}
    ]


def test_columns_that_would_make_another_shape_go_under_fields() -> None:
    [made] = run(Template(user="{{ text }}", answer="{{ label }}"), [{"text": "hello", "label": "greeting"}])
    assert made["fields"] == {"text": "hello"}
    assert made["label"] == "greeting"
    assert "text" not in made


def test_examples_are_never_the_record_itself_and_follow_from_the_seed() -> None:
    stage = Template(**FORM, shots=3)
    made = run(stage)
    twin = {**TICKETS[0], PLACE: "t.jsonl:99"}
    for ticket, record in zip([*TICKETS, twin], run(Template(**FORM, shots=3), [*TICKETS, twin]), strict=True):
        asked = [turn["content"] for turn in record["messages"] if turn["role"] == "user"]
        assert len(asked) == len(set(asked)) == 4
        assert asked[-1] == f"{ticket['subject']}: {ticket['body']}"
    assert run(Template(**FORM, shots=3)) == made
    assert run(Template(**FORM, shots=3), seed=4) != made
    drawn = Counter(turn["content"] for record in made for turn in record["messages"][:-2] if turn["role"] == "user")
    assert len(drawn) > 12  # all over the data, not the first few


def test_an_example_answers_what_its_own_record_says() -> None:
    known = {f"{t['subject']}: {t['body']}": t["queue"] for t in TICKETS}
    for record in run(Template(**FORM, shots=2)):
        turns = record["messages"]
        for asked, answered in zip(turns[::2], turns[1::2], strict=True):
            assert known[asked["content"]] == answered["content"]


def test_answers_of_examples_are_read_and_not_learnt() -> None:
    [record, *_] = run(Template(**FORM, shots=2))
    renderer = Renderer(zoo.tokenizer().backend_tokenizer, zoo.TEMPLATE, {"eos_token": "<eos>"})
    [document] = renderer.documents(record, "all")
    learnt = [i for i, weight in zip(document.ids, document.weights, strict=True) if weight]
    assert renderer.decode(learnt) == record["queue"]


def test_examples_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "shots.jsonl"
    path.write_text('{"subject": "one", "body": "x", "queue": "q"}\n{"subject": "lacks the body"}\n')
    for record in run(Template(**FORM, shots=1, examples=str(path))):
        assert [turn["content"] for turn in record["messages"][:2]] == ["one: x", "q"]
    path.write_text('{"subject": "lacks the body"}\n')
    with pytest.raises(DataError, match=r"shots.jsonl:1: no field 'body'"):
        run(Template(**FORM, shots=1, examples=str(path)))


def test_a_file_of_examples_lies_beside_the_pipeline(tmp_path: Path) -> None:
    (tmp_path / "shots.jsonl").write_text("{}\n")
    stage = {"kind": "template", **FORM, "shots": 1, "examples": "shots.jsonl"}
    (tmp_path / "p.yaml").write_text(
        json.dumps({"input": [{"path": "x.jsonl"}], "stages": [stage], "output": "o.jsonl"})
    )
    [read] = load(tmp_path / "p.yaml").stages
    assert isinstance(read, Template)
    assert read.examples == str(tmp_path / "shots.jsonl")


def test_a_record_that_lacks_a_field_is_dropped_with_the_nearest_one() -> None:
    stage = Template(user="{{ subjct }}")
    equip(stage, Work())
    assert list(stage(TICKETS[:2])) == []
    assert stage.report()["reasons"] == {"no field 'subjct'; did you mean 'subject'?": 2}


def test_where_all_records_lack_it_the_passage_stops(tmp_path: Path) -> None:
    passage = Passage([Template(user="{{ record.subjct }}")], tmp_path)
    with pytest.raises(DataError, match=r"template dropped all 20 records .*no field 'subjct'; did you mean 'subject'"):
        list(passage.run(TICKETS))


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("{{ subject.__class__.__mro__ }}", "unsafe"),
        ("{{ record.clear() }}", "unsafe"),
        ("{{ subject | round }}", "the template fails"),
        ("{{ 1 / 0 }}", "the template fails: division by zero"),
        ("{{ none_here }}", "no field 'none_here'"),
        ("{{ range(10 ** 9) | list }}", "the template fails"),
        ("  {{ '' }} ", "an empty user turn"),
    ],
)
def test_what_a_template_may_not_do_drops_the_record_with_the_reason(user: str, reason: str) -> None:
    stage = Template(user=user)
    assert run(stage, [{"subject": "x", "none_here": None}]) == []
    assert reason in next(iter(stage.report()["reasons"]))


def test_a_field_may_be_optional() -> None:
    stage = Template(user="{{ subject }}{% if note is defined %} ({{ note }}){% endif %}")
    made = run(stage, [{"subject": "a"}, {"subject": "b", "note": "n"}, {"subject": "c", "note": None}])
    assert [record["messages"][0]["content"] for record in made] == ["a", "b (n)", "c"]


def test_too_few_others_for_the_examples_are_told() -> None:
    stage = Template(**FORM, shots=2)
    assert run(stage, [TICKETS[0], TICKETS[1], dict(TICKETS[0])]) == []
    assert stage.report()["reasons"] == {"fewer than 2 other records for its examples": 3}


def test_mistakes_of_the_recipe_are_told_before_anything_is_done() -> None:
    with pytest.raises(RecipeError, match=r"a Jinja template \(line 1"):
        kinds.build("stage", {"kind": "template", "user": "{{ a"})
    with pytest.raises(RecipeError, match="2 shots without answers"):
        run(Template(user="x", shots=2))
    with pytest.raises(RecipeError, match="examples that nothing is drawn from"):
        run(Template(user="x", answer="y", examples="e.jsonl"))
