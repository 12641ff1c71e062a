"""Files in, records out: every shape, every kind of file, and the exact words for what is wrong."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seektune.data.formats import read
from seektune.data.options import Input
from seektune.data.store import Records
from seektune.errors import DataError

ALPACA = {"instruction": "Add.", "input": "1 + 1", "output": "2"}
ALPACA_RECORD = {"messages": [{"role": "user", "content": "Add.\n1 + 1"}, {"role": "assistant", "content": "2"}]}


@pytest.fixture(autouse=True)
def _work_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths in messages, and a cache of its own for each test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", str(tmp_path / "cache"))


def write(name: str, rows: list[Any]) -> str:
    Path(name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return name


def load(path: str, wants: Any = "lm", allow_dropped: float = 0.0, **options: Any) -> Records:
    return read([Input(path=path, **options)], allow_dropped, wants)


def one(row: dict[str, Any], wants: Any = "lm", **options: Any) -> dict[str, Any]:
    """The record of a single row."""
    return load(write("row.jsonl", [row]), wants, **options)[0]


def refused(path: str, wants: Any = "lm", allow_dropped: float = 0.0, **options: Any) -> list[str]:
    with pytest.raises(DataError) as caught:
        load(path, wants, allow_dropped, **options)
    assert all("\n" not in line for line in caught.value.problems)
    return caught.value.problems


# Shapes


def test_instruction_with_input_system_and_history() -> None:
    row = ALPACA | {"system": "Be brief.", "history": [["Hi", "Hello"], ["Who?", "Me"]]}
    assert one(row) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "Me"},
            {"role": "user", "content": "Add.\n1 + 1"},
            {"role": "assistant", "content": "2"},
        ]
    }


@pytest.mark.parametrize("given_input", [{"input": ""}, {"input": None}, {}])
def test_instruction_without_input_has_no_line_break(given_input: dict[str, Any]) -> None:
    assert one({"instruction": "Add.", "output": "2"} | given_input)["messages"][0]["content"] == "Add."


def test_messages_are_kept_as_they_are() -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "wrong", "train": False},
        {"role": "user", "content": "again", "name": "Ann"},
        {"role": "assistant", "content": "a", "reasoning_content": "because", "weight": 2.0},
    ]
    record = one({"messages": messages, "id": 7, "topic": "x"})
    assert record == {"messages": messages, "id": 7, "topic": "x"}


def test_content_parts_become_text() -> None:
    parts = [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]
    record = one({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "Go."}]})
    assert record["messages"][0] == {"role": "user", "content": "What now?"}


def test_openai_tool_calls_have_arguments_as_objects() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b": 1, "a": [2]}'}}
    messages = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "assistant", "content": "three"},
    ]
    record = one({"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]})
    made = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": [2]}}}
    assert record["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [made]}
    assert list(record["messages"][1]["tool_calls"][0]["function"]["arguments"]) == ["b", "a"]
    assert record["messages"][2] == {"role": "tool", "content": "3", "tool_call_id": "c1"}
    assert record["tools"] == [{"type": "function", "function": {"name": "f"}}]


def test_sharegpt_roles_calls_observations_and_tools_as_text() -> None:
    row = {
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Bern"}}'},
            {"from": "observation", "value": '{"sun": 1}'},
            {"from": "gpt", "value": "Sunny."},
        ],
        "system": "You see the sky.",
        "tools": '[{"name": "weather", "parameters": {"type": "object"}}]',
    }
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
    assert one(row) == {
        "messages": [
            {"role": "system", "content": "You see the sky."},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": '{"sun": 1}'},
            {"role": "assistant", "content": "Sunny."},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
    }


@pytest.mark.parametrize("name", ["assistant", "gpt", "model", "bot", "Assistant"])
@pytest.mark.parametrize("asks", ["user", "human"])
def test_role_aliases(name: str, asks: str) -> None:
    record = one({"conversations": [{"from": asks, "value": "q"}, {"from": name, "value": "a"}]})
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"]


@pytest.mark.parametrize(("asks", "answers"), [("prompt", "completion"), ("query", "response"), ("question", "answer")])
def test_completion_aliases(asks: str, answers: str) -> None:
    record = one({asks: "q", answers: "a"})
    assert record == {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def test_completion_of_message_lists() -> None:
    row = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert one(row) == {"messages": row["prompt"] + row["completion"]}


def test_text_with_spans() -> None:
    assert one({"text": "abc", "spans": [[1, 3, 0.5]]}) == {"text": "abc", "spans": [[1, 3, 0.5]]}
    problem = refused(write("x.jsonl", [{"text": "abc", "spans": [[1, 4, 1.0]]}]))[0]
    assert problem.startswith(
        "x.jsonl:1: `spans` has an entry that is none: [1, 4, 1.0]; expected [start, end, weight]"
    )


def test_labels_one_several_and_pairs() -> None:
    assert one({"text": "t", "label": "pos"}, "classifier") == {"text": "t", "label": "pos"}
    assert one({"text": "t", "labels": ["a", 3]}, "classifier") == {"text": "t", "label": ["a", "3"]}
    assert one({"text": "t", "labels": []}, "classifier") == {"text": "t", "label": []}
    pair = one({"sentence1": "x", "sentence2": "y", "label": 0, "idx": 4}, "classifier")
    assert pair == {"text": "x", "text_pair": "y", "label": "0", "idx": 4}


def test_labels_as_numbers_and_text_are_one_label_and_it_is_said() -> None:
    rows = [
        {"text": "a", "label": 1},
        {"text": "b", "label": "1"},
        {"text": "c", "label": 1.0},
        {"text": "d", "label": "0"},
    ]
    records = load(write("l.jsonl", rows), "classifier")
    assert [record["label"] for record in records] == ["1", "1", "1", "0"]
    assert records.facts["labels"] == {"0": 1, "1": 3}
    assert records.facts["notes"] == ["labels are numbers in 2 places and text in 2: all are read as text"]


def test_lists_and_single_labels_do_not_mix() -> None:
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": ["x"]}]
    assert (
        refused(write("l.jsonl", rows), "classifier")[0]
        == "l.jsonl:2: `label` is a list; expected one label as in l.jsonl:1"
    )


PAIR = {
    "messages": [{"role": "user", "content": "q"}],
    "chosen": [{"role": "assistant", "content": "good"}],
    "rejected": [{"role": "assistant", "content": "bad"}],
}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"question": "q", "chosen": "good", "rejected": "bad"},
        {"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"},
        {
            "conversations": [{"from": "human", "value": "q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"prompt": PAIR["messages"], "chosen": PAIR["chosen"], "rejected": PAIR["rejected"]},
        {"chosen": PAIR["messages"] + PAIR["chosen"], "rejected": PAIR["messages"] + PAIR["rejected"]},
        {"prompt": "q", "chosen": PAIR["messages"] + PAIR["chosen"], "rejected": PAIR["messages"] + PAIR["rejected"]},
        {"chosen": "\n\nHuman: q\n\nAssistant: good", "rejected": "\n\nHuman: q\n\nAssistant: bad"},
    ],
)
def test_pairs(row: dict[str, Any]) -> None:
    record = one(row)
    assert {key: record[key] for key in PAIR} == PAIR


def test_pair_of_longer_dialogues_splits_where_they_part() -> None:
    begun = "\n\nHuman: q\n\nAssistant: a\n\nHuman: more"
    record = one({"chosen": begun + "\n\nAssistant: x", "rejected": begun + "\n\nAssistant: y"})
    assert [m["content"] for m in record["messages"]] == ["q", "a", "more"]
    assert (record["chosen"][0]["content"], record["rejected"][0]["content"]) == ("x", "y")


def test_columns_rename_and_may_swap() -> None:
    record = one(
        {"question": "1 + 1", "ask": "Add.", "output": "2"}, columns={"instruction": "ask", "input": "question"}
    )
    assert record == ALPACA_RECORD
    swapped = one(
        {"instruction": "i", "input": "answer", "output": "question"}, columns={"input": "output", "output": "input"}
    )
    assert [m["content"] for m in swapped["messages"]] == ["i\nquestion", "answer"]


def test_format_insists() -> None:
    row = {"text": "t", "prompt": "q", "completion": "a"}
    assert "messages" in one(row)
    assert one(row, format="text")["text"] == "t"
    path = write("x.jsonl", [ALPACA])
    assert "which fit no shape; expected messages: [{role, content}]" in refused(path, format="messages")[0]


def test_a_column_that_would_make_another_shape_is_left_out_and_said() -> None:
    records = load(write("x.jsonl", [ALPACA | {"text": "### Instruction: Add."}]))
    assert records[0] == ALPACA_RECORD
    assert records.facts["inputs"][0]["notes"] == ["x.jsonl: read as instruction; columns left out: text"]


def test_what_is_wanted_decides_between_text_and_label() -> None:
    path = write("x.jsonl", [{"text": "t", "label": "a"}])
    assert load(path).facts["inputs"][0]["shape"] == "text"
    assert load(path, "classifier").facts["inputs"][0]["shape"] == "label"
    assert "format: label, but the objective learns answers or text" in refused(path, format="label")[0]


def test_shape_that_cannot_be_told_lists_columns_and_shapes() -> None:
    [line] = refused(write("x.jsonl", [{"id": 1, "body": "t"}]))
    assert line.startswith("x.jsonl: its fields are id, body, which fit no shape; expected ")
    assert "instruction and output" in line
    assert line.endswith("rename with columns")


def test_ambiguous_fields_are_not_guessed() -> None:
    [line] = refused(write("x.jsonl", [{"prompt": "p", "question": "q", "answer": "a"}]))
    assert line == "x.jsonl: both 'prompt' and 'question' could be `prompt`; choose with columns: {prompt: ...}"
    # `question` would be left unread in silence
    assert "fit no shape" in refused(write("y.jsonl", [{"instruction": "i", "question": "q", "answer": "a"}]))[0]


def test_column_that_no_row_has() -> None:
    [line] = refused(write("x.jsonl", [{"ask": "q", "reply": "a"}]), columns={"prompt": "aks", "completion": "reply"})
    assert line == "x.jsonl: `columns` names 'aks', which no row has (did you mean 'ask'?)"


# Kinds of files


def packed(data: bytes, packing: str) -> bytes:
    if packing == ".gz":
        return gzip.compress(data)
    return zstandard.ZstdCompressor().compress(data) if packing else data


def as_csv(rows: list[dict[str, Any]], **options: Any) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), **options)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


ROWS = [ALPACA | {"output": f'line one\nsays "{i}", 中文 {i}'} for i in range(300)]
ENCODED = {
    "a.jsonl": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "b.json": json.dumps(ROWS, indent=2).encode(),
    "c.json": json.dumps(ROWS).encode(),
    "d.json": json.dumps({"version": "1", "data": ROWS, "tags": ["x"]}, indent=1).encode(),
    "e.json": "\n".join(json.dumps(row) for row in ROWS).encode(),
    "f.csv": as_csv(ROWS),
    "g.csv": as_csv(ROWS, delimiter=";"),
    "h.tsv": as_csv(ROWS, dialect="excel-tab"),
    "i.jsonl": json.dumps(ROWS).encode(),
    "j.csv": "\ufeff".encode() + as_csv(ROWS),
    "k.jsonl": b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row) for row in ROWS).encode(),
}


@pytest.mark.parametrize("packing", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name", sorted(ENCODED))
def test_the_same_records_from_every_kind_of_file(name: str, packing: str) -> None:
    Path(name + packing).write_bytes(packed(ENCODED[name], packing))
    records = load(name + packing)
    expected = [r["output"] for r in ROWS]
    assert [record["messages"][-1]["content"] for record in records] == expected
    assert all(record["messages"][0] == ALPACA_RECORD["messages"][0] for record in records)
    assert records.facts["inputs"][0]["kept"] == 300


def test_parquet_with_nested_messages() -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 2.0}], "n": 1},
        {"messages": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}], "n": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "x.parquet")
    records = load("x.parquet")
    assert records[0]["messages"][1] == {"role": "assistant", "content": "a", "weight": 2.0}
    assert records[1] == {"messages": rows[1]["messages"]}
    assert records.where(1) == "x.parquet record 2"
    assert records.facts["inputs"][0]["encoding"] == "Parquet"


def test_text_one_record_a_line_or_a_paragraph() -> None:
    Path("lines.txt").write_text("one\ntwo\nthree\n")
    assert [r["text"] for r in load("lines.txt")] == ["one", "two", "three"]
    Path("paragraphs.txt").write_text("\none\ntwo\n\n\nthree\r\nfour\n\n")
    records = load("paragraphs.txt")
    assert [r["text"] for r in records] == ["one\ntwo", "three\nfour"]
    assert [records.where(i) for i in range(2)] == ["paragraphs.txt:2", "paragraphs.txt:6"]


def test_tsv_with_quotes_that_belong_to_the_text() -> None:
    Path("x.tsv").write_text('text\tlabel\n"Good" he said\t1\n"unclosed\t0\n')
    assert [r["text"] for r in load("x.tsv", "classifier")] == ['"Good" he said', '"unclosed']


def test_csv_cells_may_hold_json() -> None:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    Path("x.csv").write_bytes(as_csv([{"messages": json.dumps(messages)}]))
    assert load("x.csv")[0] == {"messages": messages}


def test_places_are_lines_where_rows_begin() -> None:
    Path("f.csv").write_bytes(as_csv(ROWS[:3]))
    records = load("f.csv")
    assert [records.where(i) for i in range(3)] == ["f.csv:2", "f.csv:4", "f.csv:6"]  # each holds a line break
    Path("b.json").write_text(json.dumps(ROWS[:3], indent=2))
    lines = Path("b.json").read_text().splitlines()
    assert [lines[int(load("b.json").where(i).split(":")[1]) - 1].strip() for i in range(3)] == ["{"] * 3
    Path("c.json").write_text(json.dumps(ROWS[:3]))
    assert load("c.json").where(2) == "c.json record 3"
    Path("a.jsonl").write_text(json.dumps(ALPACA) + "\n\n" + json.dumps(ALPACA) + "\n")
    assert load("a.jsonl").where(1) == "a.jsonl:3"


def test_large_json_array_is_streamed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import seektune.data.readers

    rows = [{"text": "x" * (i % 97) + f"\\{i} ü 中"} for i in range(500)]
    for block in (1, 7, 64, 1 << 20):
        monkeypatch.setattr(seektune.data.readers, "BLOCK", block)
        for indent in (None, 2):
            Path(f"{block}{indent}.json").write_text(json.dumps({"n": 12345, "rows": rows}, indent=indent))
            assert list(load(f"{block}{indent}.json")) == rows


def test_single_object_is_a_record() -> None:
    Path("x.json").write_text(json.dumps({"messages": ALPACA_RECORD["messages"]}, indent=2))
    assert list(load("x.json")) == [ALPACA_RECORD]


# Encodings


CHINESE = [
    {"instruction": "识别并解释给定列表中的两个科学理论", "input": "", "output": "细胞理论是生物科学的一个理论。"}
] * 5


def test_gb18030_is_found_and_said() -> None:
    Path("gb.jsonl").write_bytes("\n".join(json.dumps(r, ensure_ascii=False) for r in CHINESE).encode("gb18030"))
    records = load("gb.jsonl")
    assert records[0]["messages"][1]["content"] == CHINESE[0]["output"]
    assert records.facts["inputs"][0]["encoding"] == "GB18030"


def test_bom_is_said() -> None:
    Path("x.jsonl").write_bytes(json.dumps(ALPACA).encode("utf-8-sig"))
    assert load("x.jsonl").facts["inputs"][0]["encoding"] == "UTF-8 with BOM"


def test_one_spoilt_byte_is_not_taken_for_another_encoding() -> None:
    data = "\n".join(json.dumps(r, ensure_ascii=False) for r in CHINESE).encode()
    at = data.index("释".encode(), 300)
    Path("x.jsonl").write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    line = data[:at].count(b"\n") + 1
    assert refused("x.jsonl") == [
        f"x.jsonl:{line}: bytes that are not UTF-8; expected UTF-8 (or GB18030) text; correct the damaged bytes"
    ]


def test_latin1_is_refused_with_a_remedy() -> None:
    Path("x.jsonl").write_bytes('{"text": "café déjà vu"}\n{"text": "naïveté"}\n'.encode("latin-1"))
    assert refused("x.jsonl")[0].startswith(
        "x.jsonl:1: bytes that are not UTF-8; expected UTF-8 (or GB18030) text; convert it"
    )


def test_utf16_is_named() -> None:
    Path("x.csv").write_bytes("text,label\n中,1\n".encode("utf-16"))
    assert refused("x.csv") == ["x.csv: UTF-16 text; expected UTF-8; convert it with `iconv -f UTF-16 -t UTF-8`"]


# What is wrong


def test_broken_json_names_line_and_column() -> None:
    lines = [json.dumps(ALPACA)] * 7400
    lines[7311] = '{"instruction": "" "output": "x"}'
    Path("train.jsonl").write_text("\n".join(lines))
    assert refused("train.jsonl", allow_dropped=0.5) == [
        "train.jsonl:7312: broken JSON: Expecting ',' delimiter at column 20; expected one JSON object a line; correct or delete it"
    ]


def test_a_line_that_breaks_off_is_told_at_its_end() -> None:
    Path("torn.jsonl").write_text(json.dumps(ALPACA) + '\n{"instruction":\n')
    assert refused("torn.jsonl", allow_dropped=0.5) == [
        "torn.jsonl:2: broken JSON: Expecting value at column 17; expected one JSON object a line; correct or delete it"
    ]


def test_many_broken_lines_list_five_and_count_the_rest() -> None:
    Path("x.jsonl").write_text("\n".join([json.dumps(ALPACA)] + ["{"] * 9))
    problems = refused("x.jsonl")
    assert len(problems) == 6
    assert problems[0].startswith("x.jsonl:2: broken JSON: ")
    assert problems[5] == "x.jsonl: 4 more of this kind"


def test_broken_and_unfit_rows_are_told_together() -> None:
    Path("x.jsonl").write_text("\n".join([json.dumps(ALPACA), "{", json.dumps(ALPACA | {"output": ""})]))
    broken, unfit, sums = refused("x.jsonl")
    assert broken.startswith("x.jsonl:2: broken JSON")
    assert unfit.startswith("x.jsonl:3: `output` is empty")
    assert "1 of 3 records are unfit (1 × `output` is empty)" in sums


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "a"}, {"text": "b"',
        '[{"text": "a"} {"text": "b"}]',
        '[{"text": "a"}] x',
        '{"a": [{"text": "a"}],',
        "7",
        '"x"',
    ],
)
def test_broken_documents(text: str) -> None:
    Path("x.json").write_text(text)
    assert any("broken JSON" in line for line in refused("x.json", allow_dropped=1.0))


def test_broken_document_names_the_line() -> None:
    Path("x.json").write_text('[\n  {"text": "a"},\n  {"text": "b",}\n]')
    [line] = refused("x.json")
    assert line.startswith("x.json:3: broken JSON: ")


def test_missing_field_names_the_nearest() -> None:
    rows = [ALPACA] * 98 + [{"instruction": "Add.", "ouput": "2"}, {"instruction": "Add.", "output": ["2"]}]
    problems = refused(write("x.jsonl", rows), allow_dropped=0.01)
    assert problems == [
        "x.jsonl:99: `output` is missing; expected instruction and output (and input, history, system); did you mean 'ouput'?",
        "x.jsonl:100: `output` is a list; expected text",
        "x.jsonl: 2 of 100 records are unfit (1 × `output` is missing, 1 × `output` is a list); expected at most 1 % "
        "(data.allow_dropped); correct them, or set data.allow_dropped: 0.03",
    ]


def test_few_unfit_rows_are_dropped_and_counted() -> None:
    rows = [ALPACA] * 98 + [ALPACA | {"output": " "}, ALPACA | {"output": 2}]
    records = load(write("x.jsonl", rows), allow_dropped=0.02)
    facts = records.facts["inputs"][0]
    assert (len(records), facts["rows"], facts["kept"], facts["dropped"]) == (98, 100, 98, 2)
    assert facts["reasons"] == {"`output` is empty": 1, "`output` is a number": 1}
    assert facts["examples"] == [
        {"where": "x.jsonl:99", "reason": "`output` is empty; expected text"},
        {"where": "x.jsonl:100", "reason": "`output` is a number; expected text"},
    ]


def test_allowed_share_is_per_input_and_nothing_left_is_refused() -> None:
    good, bad = write("good.jsonl", [ALPACA] * 100), write("bad.jsonl", [ALPACA, ALPACA | {"output": ""}])
    with pytest.raises(DataError, match=r"bad\.jsonl: 1 of 2 records are unfit"):
        read([Input(path=good), Input(path=bad)], 0.01, "lm")
    assert (
        "3 of 3 records are unfit" in refused(write("none.jsonl", [ALPACA | {"output": ""}] * 3), allow_dropped=1.0)[-1]
    )


def test_ragged_csv_rows() -> None:
    Path("x.csv").write_text('text,label\n"a\nb",x\nc, d,y\ne\nf,z\n')
    assert refused("x.csv", "classifier")[:2] == [
        "x.csv:4: ragged row: 3 cells; expected 2 as in the header (text, label); put cells that hold the delimiter in quotes",
        "x.csv:5: ragged row: 1 cells; expected 2 as in the header (text, label); put cells that hold the delimiter in quotes",
    ]
    records = load("x.csv", "classifier", allow_dropped=0.5)
    assert [(r["text"], r["label"]) for r in records] == [("a\nb", "x"), ("f", "z")]


def test_quote_that_is_never_closed_is_no_small_matter() -> None:
    Path("x.csv").write_text("text,label\n" + "a,x\n" * 500 + '"b,y\n' + "c,z\n" * 3)
    assert refused("x.csv", "classifier", allow_dropped=0.5) == [
        'x.csv:502: a quote is opened here and never closed; expected cells in quotes, quotes inside them doubled ("")'
    ]


def test_columns_of_the_same_name() -> None:
    Path("x.csv").write_text("text,text\na,b\n")
    assert refused("x.csv") == ["x.csv:1: columns of the same name: 'text'; expected each name once"]


@pytest.mark.parametrize(("name", "content"), [("x.jsonl", ""), ("x.csv", ""), ("x.json", ""), ("x.txt", "")])
def test_empty_file(name: str, content: str) -> None:
    Path(name).write_text(content)
    assert refused(name) == [f"{name}: empty file; expected at least one record"]


@pytest.mark.parametrize(
    ("name", "content"), [("x.jsonl", "\n\n"), ("x.csv", "text,label\n"), ("x.json", "[]"), ("x.txt", " \n")]
)
def test_file_without_records(name: str, content: str) -> None:
    Path(name).write_text(content)
    assert refused(name) == [f"{name}: no records; expected at least one"]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "`messages` is empty; expected at least one message"),
        ("hello", "`messages` is text that is no JSON; expected a list, or a list written as JSON"),
        ({"role": "user"}, "`messages` is an object; expected a list of messages"),
        ([["user", "q"]], 'a message in `messages` is a list: message 1; expected {"role": ..., "content": ...}'),
        (
            [{"role": "user", "content": "q"}],
            "no answer in `messages`; expected at least one message with the role assistant",
        ),
        ([{"content": "q"}], "a message in `messages` has no role: message 1; expected `role` (or `from`)"),
        ([{"role": "assistant"}], "a message has no content: message 1 of `messages`; expected text"),
        ([{"role": "assistant", "content": " "}], "empty answer; expected text in every message of the assistant"),
        (
            [{"role": "assistant", "content": [{"type": "image_url"}]}],
            "a content part of type 'image_url': message 1 of `messages`; expected parts of type 'text'",
        ),
        ([{"role": "assistant", "content": "a", "train": 1}], "`train` is 1: message 1; expected true or false"),
        (
            [{"role": "assistant", "content": "a", "weight": -1}],
            "`weight` is -1: message 1; expected a number, 0 or more",
        ),
        (
            [{"role": "assistant", "content": "a", "weight": True}],
            "`weight` is True: message 1; expected a number, 0 or more",
        ),
        (
            [{"role": "assistant", "content": "a", "wieght": 2}],
            "unknown field 'wieght' in a message: message 1; did you mean 'weight'?",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
            "arguments of a tool call that are no JSON: message 1; expected a JSON object",
        ),
    ],
)
def test_unfit_messages(messages: Any, reason: str) -> None:
    path = write("x.jsonl", [{"messages": messages}])
    assert refused(path)[0] == f"x.jsonl:1: {reason}"


def test_unknown_role_lists_the_known() -> None:
    line = refused(write("x.jsonl", [{"conversations": [{"from": "narrator", "value": "q"}]}]))[0]
    assert line.startswith(
        "x.jsonl:1: unknown role 'narrator': message 1 of `conversations`; expected one of system, developer"
    )


def test_two_system_prompts() -> None:
    turns = [{"role": "system", "content": "a"}, {"role": "assistant", "content": "x"}]
    assert "two different system prompts" in refused(write("x.jsonl", [{"messages": turns, "system": "b"}]))[0]


def test_half_a_character_is_unfit() -> None:
    Path("x.jsonl").write_text('{"text": "\\ud83d"}\n')
    assert refused("x.jsonl")[0].startswith("x.jsonl:1: half a character in a text")


def test_rows_that_are_no_objects() -> None:
    assert refused(write("x.jsonl", [ALPACA, [1]]))[0] == "x.jsonl:2: the row is a list; expected an object with fields"


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (0.5, "is 0.5"),
        ({"a": 1}, "is an object"),
        (" ", "is empty"),
        ([["a"]], "holds lists in a list"),
        (None, "is missing"),
    ],
)
def test_unfit_labels(label: Any, found: str) -> None:
    rows = [{"text": "a", "label": "x" if not isinstance(label, list) else ["x"]}, {"text": "b", "label": label}]
    assert refused(write("x.jsonl", rows), "classifier")[0].startswith(f"x.jsonl:2: `label` {found}; expected ")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "`chosen` and `rejected` are equal"),
        ({"chosen": "a", "rejected": "b"}, "no prompt"),
        ({"prompt": "q", "chosen": "", "rejected": "b"}, "`chosen` is empty"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "`rejected` is missing"),
    ],
)
def test_unfit_pairs(row: dict[str, Any], reason: str) -> None:
    full = {"prompt": "p", "chosen": "x", "rejected": "y"}
    assert refused(write("x.jsonl", [full, row]))[0].startswith(f"x.jsonl:2: {reason}; expected ")


def test_all_files_are_reported_at_once() -> None:
    write("good.jsonl", [ALPACA])
    Path("empty.jsonl").write_text("")
    Path("x.xlsx").write_text("")
    with pytest.raises(DataError) as caught:
        read([Input(path=p) for p in ("good.jsonl", "empty.jsonl", "god.jsonl", "x.xlsx")], 0.01, "lm")
    assert caught.value.problems == [
        "empty.jsonl: empty file; expected at least one record",
        "god.jsonl: no such file; expected a file, a glob or a folder; did you mean 'good.jsonl'?",
        "x.xlsx: unknown kind of file '.xlsx'; expected .jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt, .text (plain, .gz or .zst)",
    ]
    assert list(Path("cache/records").iterdir() if Path("cache/records").exists() else []) == []


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_damaged_packing(packing: str) -> None:
    data = packed(os.urandom(3000).hex().encode(), packing)
    Path("x.jsonl" + packing).write_bytes(b"not packed")
    assert "cannot be unpacked" in refused("x.jsonl" + packing)[0]
    if packing == ".gz":
        Path("x.jsonl" + packing).write_bytes(data[: len(data) // 2])
        assert "cannot be unpacked" in refused("x.jsonl" + packing)[0]


def test_damaged_parquet() -> None:
    Path("x.parquet").write_bytes(b"PAR1 and nothing else")
    assert "x.parquet: cannot be read" in refused("x.parquet")[0]


# Several files


def test_folder_and_glob_in_order_of_names() -> None:
    Path("d/sub").mkdir(parents=True)
    for name, answer in (("b.jsonl", "2"), ("a.csv", "1"), ("sub/c.json", "3")):
        row = ALPACA | {"output": answer}
        Path("d", name).write_bytes(as_csv([row]) if name.endswith("csv") else json.dumps([row]).encode())
    Path("d/README.md").write_text("hello")
    Path("d/.hidden.jsonl").write_text("{")
    records = load("d")
    assert [r["messages"][-1]["content"] for r in records] == ["1", "2", "3"]
    assert records.facts["inputs"][0]["skipped"] == ["README.md"]
    assert [r["messages"][-1]["content"] for r in load("d/**/*.json*")] == ["2", "3"]
    Path("empty").mkdir()
    assert refused("empty")[0].startswith("empty: no data file in this folder")


def test_sources_tell_the_inputs_apart() -> None:
    a, b = write("a.jsonl", [ALPACA] * 2), write("b.jsonl", [{"text": "t"}])
    records = read([Input(path=a), Input(path=b)], 0.0, "lm")
    assert [records.source(i) for i in range(3)] == [0, 0, 1]
    assert [facts["shape"] for facts in records.facts["inputs"]] == ["instruction", "text"]


def test_progress_ends_at_the_total() -> None:
    calls: list[tuple[int, int]] = []
    paths = [write(f"{i}.jsonl", [ALPACA] * 3000) for i in range(2)]
    read([Input(path=p) for p in paths], 0.0, "lm", show=lambda done, total: calls.append((done, total)))
    total = sum(os.path.getsize(p) for p in paths)
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) > 4


# Round trips


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
messages = st.lists(st.builds(lambda c: {"role": "user", "content": c}, texts), min_size=1, max_size=3).flatmap(
    lambda asked: texts.map(lambda answer: [*asked, {"role": "assistant", "content": answer}])
)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(st.lists(messages, min_size=1, max_size=8), st.booleans(), st.sampled_from(["jsonl", "json", "parquet"]))
def test_messages_survive_any_file(conversations: list[Any], ascii_only: bool, kind: str) -> None:
    rows = [{"messages": turns} for turns in conversations]
    path = f"x.{kind}"
    if kind == "jsonl":
        Path(path).write_text("\n".join(json.dumps(r, ensure_ascii=ascii_only) for r in rows), "utf-8", newline="")
    elif kind == "json":
        Path(path).write_text(json.dumps(rows, ensure_ascii=ascii_only, indent=1), "utf-8", newline="")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    assert list(load(path)) == rows


@quick
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.sampled_from([",", ";", "\t"]))
def test_csv_survives(pairs: list[tuple[str, str]], delimiter: str) -> None:
    rows = [{"prompt": a, "completion": b} for a, b in pairs]
    Path("x.csv").write_bytes(as_csv(rows, delimiter=delimiter, quoting=csv.QUOTE_ALL))
    assert [tuple(m["content"] for m in r["messages"]) for r in load("x.csv")] == pairs


# Real data


@pytest.mark.parametrize(
    ("path", "wants", "shape", "kept"),
    [
        ("instruct_en_alpaca/alpaca_en.jsonl", "lm", "instruction", 999),
        ("instruct_zh_medical", "lm", "instruction", 5200),
        ("chat_sharegpt_en/conversations.jsonl", "lm", "conversations", 500),
        ("toolcall_en/*.jsonl", "lm", "conversations", 300),
        ("toolcall_zh/*.jsonl", "lm", "conversations", 300),
        ("pref_dpo_zh", "lm", "pair", 300),
        ("pref_hh_harmless", "lm", "pair", 698),
        ("pref_kto_en", "lm", "messages", 300),
        ("eval_gsm8k/train.jsonl", "lm", "completion", 1500),
        ("text_tinyshakespeare/input.txt", "lm", "text", 7222),
        ("text_wiki_en/wiki.txt", "lm", "text", 12),
        ("cls_agnews/ag_news.csv", "classifier", "label", 2000),
        ("cls_banking77/train.jsonl", "classifier", "label", 10003),
        ("pair_afqmc/train.jsonl", "classifier", "label", 3000),
    ],
)
def test_real_data(shared_data: Path, path: str, wants: Any, shape: str, kept: int) -> None:
    records = load(str(shared_data / path), wants, allow_dropped=0.01)
    facts = records.facts["inputs"][0]
    assert (facts["shape"], facts["kept"], len(records)) == (shape, kept, kept)


def test_real_tool_calls(shared_data: Path) -> None:
    path = next((shared_data / "toolcall_en").glob("*.jsonl"))
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    records = load(str(path))
    for row, record in zip(rows, records, strict=True):
        calls = [json.loads(t["value"]) for t in row["conversations"] if t["from"] == "function_call"]
        made = [c["function"] for m in record["messages"] for c in m.get("tool_calls", [])]
        assert [(c["name"], c["arguments"]) for c in calls] == [(c["name"], c["arguments"]) for c in made]
        assert len(record["messages"]) == len(row["conversations"])


def test_multi_label_by_columns(shared_data: Path) -> None:
    path = str(shared_data / "nlu_banking" / "nlupp_banking.jsonl")
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    with_intents = [row for row in rows if row.get("intents")]
    records = load(path, "classifier", allow_dropped=0.2, columns={"label": "intents"})
    assert [r["label"] for r in records] == [row["intents"] for row in with_intents]


def test_conversations_and_texts_may_share_a_file_row_by_row(tmp_path):
    rows = [
        {"text": "plain", "spans": [[0, 2, 1.0]]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
        {"text": "more"},
        {"neither": 1},
    ]
    file = tmp_path / "mixed.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    records = read([Input(path=str(file))], 0.5, "lm", cache=tmp_path / "cache")
    assert [sorted(record) for record in records] == [["spans", "text"], ["messages"], ["text"]]
    assert records.facts["inputs"][0]["dropped"] == 1
    assert "mixed" in records.facts["inputs"][0]["notes"][-1]
