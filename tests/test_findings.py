from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import zoo
from checkup import Setting, assistant, conversations, the, user

from seektune import doctor, findings
from seektune.contracts import Record
from seektune.errors import InputError
from seektune.findings import Look
from seektune.objectives.classify import Classify
from seektune.run import Run
from seektune.runtime import Speed
from seektune.train.options import Train
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


@pytest.fixture
def setting(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    return Setting(tmp_path, tmp_path_factory.getbasetemp())


# ---- findings about data ----


def test_rows_that_were_left_out(setting: Setting) -> None:
    records = [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(20)]
    records[3] = {"instruction": "broken"}
    recipe = setting.recipe(records, allow_dropped=0.2)
    line = the(setting.found(recipe), "left_out").line
    assert "1 of 20 rows are left out (1 × `output` is missing)" in line
    assert "train.jsonl:4" in line


def test_empty_answers_left_out_when_reading(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("and?"), assistant(" ")]}]
    finding = the(setting.found(setting.recipe(records, allow_dropped=0.2)), "empty_answers")
    assert "(1 × empty answer)" in finding.line
    assert "train.jsonl:25" in finding.line


def test_empty_answers_behind_their_reasoning(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("and?"), assistant("<think>hm</think>\n")]}]
    finding = the(setting.found(setting.recipe(records)), "empty_answers")
    assert "1 of 25 records" in finding.line
    assert "train.jsonl:25" in finding.line


def test_duplicates(setting: Setting) -> None:
    records = conversations()
    finding = the(setting.found(setting.recipe([*records, records[2], records[2], records[5]])), "duplicates")
    assert finding.severity == "warning"
    assert "3 of 27 records have stood before" in finding.line
    assert re.search(r"train\.jsonl:25 equals \S*train\.jsonl:3,", finding.line)


def test_leaks(setting: Setting) -> None:
    records = conversations()
    fresh = {"messages": [user("Where is Eve?"), assistant("At home.")]}
    finding = the(setting.found(setting.recipe(records, [fresh, records[7]])), "leaks")
    assert "1 of 2 held-out records are training records" in finding.line
    assert re.search(r"valid\.jsonl:2 equals \S*train\.jsonl:8;", finding.line)


def test_labels_that_no_held_out_record_has(setting: Setting) -> None:
    records = [{"text": f"text {i}", "label": "abc"[i % 3]} for i in range(12)]
    valid = [{"text": "another text", "label": "a"}, {"text": "one more", "label": "c"}]
    recipe = setting.recipe(records, valid, folder=setting.folder("bert"), objective=Classify())
    finding = the(setting.found(recipe), "labels")
    assert "1 of 3 labels are in no held-out record: 'b'" in finding.line


def test_special_tokens_inside_the_text(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("what is <eos>?"), assistant("A mark.")]}]
    finding = the(setting.found(setting.recipe(records)), "special_inside")
    assert "1 of 25 records hold control tokens" in finding.line
    assert "train.jsonl:25 has '<eos>'" in finding.line


def test_what_the_template_leaves_out(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("why?"), assistant("So.", reasoning_content="long thoughts")]}]
    finding = the(setting.found(setting.recipe(records)), "template_drops")
    assert "leaves out the reasoning of 1 answer," in finding.line


def test_double_bos(setting: Setting) -> None:
    template = setting.template("{{ bos_token }}" + zoo.TEMPLATE)
    assert setting.found(setting.recipe(template=template)) == []
    twice = setting.template("{{ bos_token }}{{ bos_token }}" + zoo.TEMPLATE)
    finding = the(setting.found(setting.recipe(template=twice)), "double_bos")
    assert "24 of 24 documents begin with two '<bos>'" in finding.line
    assert finding.line.count("train.jsonl:") == 3
    assert "and 21 more" in finding.line


def test_the_end_of_turn_is_never_learnt(setting: Setting) -> None:
    template = setting.template("{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n\n' }}{% endfor %}"
                                "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")  # fmt: skip
    finding = the(setting.found(setting.recipe(template=template)), "end_never_learnt")
    assert "('<eos>') is learnt in none of 24 documents" in finding.line


def long_prompts(count: int) -> list[Record]:
    return [{"messages": [user(f"{i} is a number, " * 40), assistant("Yes.")]} for i in range(count)]


def test_a_record_without_a_token_to_learn_is_named(setting: Setting) -> None:
    finding = the(setting.found(setting.recipe([*conversations(), *long_prompts(1)], max_length=100)), "nothing_learnt")
    assert finding.severity == "warning"
    assert "1 of 25 records have no token to learn after cutting at data.max_length: 100" in finding.line
    assert "train.jsonl:25" in finding.line


def test_a_batch_without_a_token_to_learn_stops(setting: Setting) -> None:
    recipe = setting.recipe([*conversations(), *long_prompts(4)], max_length=100)
    data = setting.data(recipe)
    finding = the(list(findings.of_data(Look(recipe, data))), "nothing_learnt")
    assert finding.severity == "error"
    with pytest.raises(InputError) as raised:
        doctor.check_data(recipe, data)
    assert raised.value.problems == [finding.line]
    allowed = setting.recipe([*conversations(), *long_prompts(4)], max_length=100, allow_dropped=0.5)
    assert the(setting.found(allowed), "nothing_learnt").severity == "warning"


def test_answers_without_weight_are_no_matter_of_cutting(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("and?"), assistant("No.", train=False)]}]
    finding = the(setting.found(setting.recipe(records)), "nothing_learnt")
    assert "1 of 25 records have no token to learn and are left out" in finding.line
    assert "`train` and `weight`" in finding.line


def test_answers_that_are_cut(setting: Setting) -> None:
    records = [*conversations(), {"messages": [user("Count!"), assistant("one two three " * 40)]}]
    finding = the(setting.found(setting.recipe(records, max_length=100)), "answers_cut")
    assert "1 answer cut off at data.max_length: 100 (25 records in all)" in finding.line
    assert "train.jsonl:25" in finding.line


def test_documents_that_are_dropped(setting: Setting) -> None:
    records = [*conversations(), *long_prompts(2)]
    finding = the(setting.found(setting.recipe(records, max_length=100, too_long="drop")), "dropped")
    assert "2 documents left out: longer than data.max_length: 100" in finding.line


def test_texts_that_are_split(setting: Setting) -> None:
    records = [{"text": f"text {i} and more"} for i in range(8)] + [{"text": "one two three " * 40}]
    finding = the(setting.found(setting.recipe(records, max_length=100, too_long="split")), "split")
    assert "1 text longer than data.max_length: 100 split into" in finding.line


def test_texts_of_a_classifier_that_are_cut(setting: Setting) -> None:
    records = [{"text": f"text {i} " * (50 if i == 5 else 1), "label": "ab"[i % 2]} for i in range(12)]
    recipe = setting.recipe(records, folder=setting.folder("bert"), objective=Classify(), max_length=60)
    assert "1 of 12 texts cut off" in the(setting.found(recipe), "texts_cut").line


# ---- findings about recipe and machine ----


@pytest.mark.parametrize(
    ("tuner", "parameters", "rate", "told"),
    [
        (LoRA(), 7e9, 2e-4, None),
        (LoRA(), 7e9, 1e-2, "above"),
        (LoRA(), 5e6, 1e-2, None),  # small models take ten times as much
        (LoRA(), 5e6, 1e-1, "above"),
        (LoRA(), 7e9, 1e-6, "below"),
        (Full(), 7e9, 2e-5, None),
        (Full(), 7e9, 2e-3, "above"),
        (Full(), 5e6, 2e-3, None),
        (Full(), 7e9, 1e-8, "below"),
    ],
)
def test_learning_rate(setting: Setting, tuner: Any, parameters: float, rate: float, told: str | None) -> None:
    found = list(findings.learning_rate(setting.recipe(tuner=tuner, rate=rate), int(parameters)))
    assert len(found) == (told is not None)
    if told:
        assert f"is far {told} what suits the tuner" in found[0].line


def test_slow_bfloat16() -> None:
    slow, fast = Speed(100.0, 50.0, 0.0, 1.0), Speed(100.0, 180.0, 0.0, 1.0)
    assert "0.50 times the speed" in the(list(findings.precision("bfloat16", lambda: slow)), "precision").line
    assert list(findings.precision("bfloat16", lambda: fast)) == []
    assert list(findings.precision("float32", lambda: pytest.fail("measured for nothing"))) == []


def previous_run(root: Path, name: str, batch_size: int, rate: float) -> None:
    run = Run.create(root, name)
    values = f"train: {{batch_size: {batch_size}}}\noptimizer: {{kind: adamw, learning_rate: {rate:g}}}\n"
    (run.path / "recipe.yaml").write_text(values, encoding="utf-8")


def test_two_things_changed_against_the_previous_run(setting: Setting) -> None:
    root, recipe = setting.path / "runs", setting.recipe(train=Train(batch_size=4), rate=2e-4)
    assert list(findings.previous(recipe, root)) == []
    previous_run(root, "towns", 8, 1e-4)
    finding = the(list(findings.previous(recipe, root)), "previous")
    assert "train.batch_size was 8 and is 4 and optimizer.learning_rate was 0.0001 and is 0.0002" in finding.line
    previous_run(root, "towns-1", 8, 2e-4)  # the later one differs in one thing only
    assert list(findings.previous(recipe, root)) == []


def test_the_previous_run_has_no_recipe(setting: Setting) -> None:
    Run.create(setting.path / "runs", "towns-1")
    assert list(findings.previous(setting.recipe(), setting.path / "runs")) == []
