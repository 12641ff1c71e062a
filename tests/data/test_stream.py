"""Messy files as records: what is unfit is named with its line, and all the rest comes through."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from seektune.data import mend
from seektune.data.options import Input
from seektune.data.readers import Unfit
from seektune.data.stream import Found, stream
from seektune.errors import DataError

ROWS = [{"text": f"第 {i} 条记录 record {i}", "label": "ab"[i % 2]} for i in range(30)]
PLAIN = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def read(path: Path, **options: Any) -> tuple[list[Any], list[str], Found]:
    """(records, lines of what is unfit, what was found)."""
    found = Found()
    rows = list(stream([Input(path=str(path), **options)], found))
    lines = [row.line(place).replace(str(path), path.name) for place, row in rows if isinstance(row, Unfit)]
    return [row for _, row in rows if not isinstance(row, Unfit)], lines, found


def file(folder: Path, data: bytes | str, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_places_are_lines_and_progress_ends_at_the_size(tmp_path: Path) -> None:
    path, told = file(tmp_path, "\n" + PLAIN), list[tuple[int, int]]()
    rows = list(stream([Input(path=str(path))], Found(), lambda done, total: told.append((done, total))))
    assert [place for place, _ in rows] == [f"{path}:{i}" for i in range(2, 32)]
    assert told[-1] == (path.stat().st_size, path.stat().st_size)


def test_mixed_encodings_in_one_file(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": text}, ensure_ascii=False)
        for text in ("plain", "UTF-8 中文", "今天天气很好,我们出去玩", "café crème", "a\0b")
    ]
    lines[4] = '{"text": "a\0b"}'
    data = b"\n".join(
        line.encode(code) for line, code in zip(lines, ("ascii", "utf-8", "gb18030", "cp1252", "ascii"), strict=True)
    )
    records, unfit, found = read(file(tmp_path, data))
    assert [r["text"] for r in records] == ["plain", "UTF-8 中文", "今天天气很好,我们出去玩", "café crème", "ab"]
    assert unfit == []
    [mended] = found.mended.values()
    assert {what: told["first"] for what, told in mended.items()} == {
        "GB18030 instead of UTF-8": [3], "Windows-1252 instead of UTF-8": [4], "NUL bytes, taken out": [5]}  # fmt: skip


def test_a_half_written_last_line(tmp_path: Path) -> None:
    records, unfit, _ = read(file(tmp_path, PLAIN + '{"text": "half a rec'))
    assert len(records) == 30
    assert unfit == [
        "a.jsonl:31: broken JSON: Unterminated string starting at at column 10; expected one JSON object a line; correct or delete it"
    ]


@pytest.mark.parametrize(
    "text",
    ['{"text": 1e999999}', "[[[" * 9000, '{"text": "a"} {"text": "b"}', "nothing", '"a string"', "{'text': 'a'}"],
)
def test_a_line_that_is_none_is_named_and_passed_by(text: str, tmp_path: Path) -> None:
    records, unfit, _ = read(file(tmp_path, PLAIN + text + "\n" + PLAIN))
    assert len(records) == 60
    assert len(unfit) == 1 and unfit[0].startswith("a.jsonl:31: ") and "\n" not in unfit[0]


def test_a_line_beyond_all_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "LONGEST_LINE", 2000)
    records, unfit, _ = read(file(tmp_path, PLAIN + json.dumps({"text": "x" * 5000}) + "\n" + PLAIN))
    assert len(records) == 60
    assert unfit == ["a.jsonl:31: a line longer than 2.0 KiB; expected one record a line"]


MEASURE = """
import sys
from seektune import runtime
from seektune.data.options import Input
from seektune.data.readers import Unfit
from seektune.data.stream import Found, stream
rows = [(p, r) for p, r in stream([Input(path=sys.argv[1])], Found())]
print(len(rows), [p.rpartition(":")[2] for p, r in rows if isinstance(r, Unfit)], runtime.peak_rss() >> 20)
"""


@pytest.mark.slow
def test_a_line_of_200_mb(tmp_path: Path) -> None:
    """The same at its real size: the line is named, the memory stays under a gigabyte (ru_maxrss would tell that of the process which began it)."""
    path = tmp_path / "a.jsonl"
    with open(path, "w", encoding="utf-8") as out:
        out.write(PLAIN + '{"text": "')
        for _ in range(200):
            out.write("x" * (1 << 20))
        out.write('"}\n' + PLAIN)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    count, named, memory = done.stdout.split()
    assert (count, named) == ("61", "['31']")
    assert int(memory) < 1024


def test_nested_json_where_text_belongs(tmp_path: Path) -> None:
    rows: list[Any] = [{"instruction": f"ask {i}", "output": f"say {i}"} for i in range(20)]
    rows[4]["output"], rows[9]["instruction"] = {"answer": ["a"]}, ["several"]
    records, unfit, _ = read(file(tmp_path, "".join(json.dumps(row) + "\n" for row in rows)))
    assert len(records) == 18
    assert unfit == [
        "a.jsonl:5: `output` is an object; expected text",
        "a.jsonl:10: `instruction` is a list; expected text",
    ]


def test_labels_that_are_numbers_here_and_text_there_are_one(tmp_path: Path) -> None:
    file(tmp_path, '{"text": "one", "label": 1}\n', "a.jsonl")
    file(tmp_path, '{"text": "two", "label": "1"}\n', "b.jsonl")
    records, _, _ = read(tmp_path)
    assert [record["label"] for record in records] == ["1", "1"]


def test_packed_files_hold_the_same(tmp_path: Path) -> None:
    expected = read(file(tmp_path, PLAIN))[0]
    assert read(file(tmp_path, gzip.compress(PLAIN.encode()), "b.jsonl.gz"))[0] == expected
    assert read(file(tmp_path, zstandard.compress(PLAIN.encode()), "c.jsonl.zst"))[0] == expected


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_torn_archive_gives_what_can_be_read(pack: Any, tmp_path: Path) -> None:
    draw = random.Random(0)
    lines = [json.dumps({"text": "".join(chr(draw.randrange(97, 123)) for _ in range(2000))}) for _ in range(3000)]
    data = pack("\n".join(lines).encode())
    name = "a.jsonl.gz" if pack is gzip.compress else "a.jsonl.zst"
    records, unfit, _ = read(file(tmp_path, data[: len(data) // 2], name))
    assert 500 < len(records) < 2000
    assert [record["text"] for record in records] == [json.loads(line)["text"] for line in lines[: len(records)]]
    said = "damaged archive" if pack is gzip.compress else f"{len(records) + 1}: broken JSON"  # zstandard just ends
    assert said in unfit[-1] and unfit[-1].startswith(name)


def test_an_array_in_one_long_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mend, "LONGEST_LINE", 1000)
    records, unfit, _ = read(file(tmp_path, json.dumps(ROWS * 50, ensure_ascii=False), "a.json"))
    assert len(records) == 1500
    assert unfit == []


def test_a_table_with_a_ragged_row(tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"sentence {i},a\n" for i in range(5)) + "one,two,three\nlast,b\n"
    records, unfit, _ = read(file(tmp_path, text, "a.csv"))
    assert len(records) == 6
    assert unfit[0].startswith("a.csv:7: ragged row: 3 cells; expected 2 as in the header (text, label)")


def test_a_file_of_no_known_shape_gives_its_rows(tmp_path: Path) -> None:
    records, unfit, found = read(file(tmp_path, '{"en": "hello", "sw": "habari"}\n[1, 2]\n'))
    assert records == [{"en": "hello", "sw": "habari"}]
    assert unfit == ["a.jsonl:2: the row is no object: [1, 2]; expected an object with fields"]
    assert list(found.shapes.values()) == ["raw"]


def test_a_shape_that_is_asked_for_and_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: "):
        read(file(tmp_path, '{"en": "hello", "sw": "habari"}\n'), format="messages")


def test_empty_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.jsonl: empty file; expected at least one record"):
        read(file(tmp_path, ""))
    with pytest.raises(DataError, match=r"b\.jsonl: no such file; .*did you mean 'a\.jsonl'\?"):
        read(tmp_path / "b.jsonl")
