"""What is written is read again as it was; a file is whole, or the old one is still there."""

from __future__ import annotations

import contextlib
import errno
import json
import random
from pathlib import Path
from typing import Any

import pytest

from seektune import files
from seektune.data.inputs import expand
from seektune.data.options import Input
from seektune.data.stream import Found, stream
from seektune.data.write import ROWS, SUFFIXES, Output, check_output
from seektune.errors import DataError

RECORDS: list[dict[str, Any]] = [
    {"text": "一段文本 and English 😀\n\u2028 second line", "label": "a", "score": 0.25, "tags": ["x", "y"]},
    {"text": "another", "label": "b", "score": 1.0, "tags": []},
    {"text": "no tags and no score", "label": "a"},
]


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    with Output(path) as out:
        for record in records:
            out.add(record)
    assert out.count == len(records)
    return path


def read(path: Path) -> list[Any]:
    return [row for _, row in stream([Input(path=str(path))], Found())]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_records_come_back(suffix: str, tmp_path: Path) -> None:
    found = read(write(tmp_path / f"a{suffix}", RECORDS))
    assert [{key: value for key, value in record.items() if value is not None} for record in found] == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_records_give_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    assert write(tmp_path / f"a{suffix}", RECORDS).read_bytes() == write(tmp_path / f"b{suffix}", RECORDS).read_bytes()


def test_more_rows_than_a_group_of_parquet(tmp_path: Path) -> None:
    records = [{"text": f"record {i}", "label": str(i % 3)} for i in range(2 * ROWS + 5)]
    assert read(write(tmp_path / "a.parquet", records)) == records


def test_what_does_not_fit_into_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"do not fit into columns .*; write \.jsonl instead"):
        write(tmp_path / "a.parquet", [{"text": "a"}, {"text": {"nested": 1}}])
    with pytest.raises(DataError, match=r"column 'late' is not in the first 4,096 records"):
        write(tmp_path / "a.parquet", [{"text": "a"}] * ROWS + [{"text": "a", "late": 1}])
    assert list(tmp_path.iterdir()) == []


def test_no_record_makes_a_file_that_can_be_read(tmp_path: Path) -> None:
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(write(tmp_path / "a.parquet", [])).num_rows == 0
    assert write(tmp_path / "a.jsonl", []).read_bytes() == b""


def test_half_a_character_is_written_as_json_writes_it(tmp_path: Path) -> None:
    assert json.loads(write(tmp_path / "a.jsonl", [{"text": "a\ud800b"}]).read_text()) == {"text": "a\ud800b"}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_full_disk_leaves_the_old_file(
    operation: str, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / f"a{suffix}", RECORDS)
    old = path.read_bytes()

    def full(done: str, path: Path) -> None:
        if done == operation:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "before", full)
    if (operation, suffix) != ("sync", ".parquet"):  # pyarrow writes by itself
        with pytest.raises(OSError, match="No space"):
            write(path, RECORDS[:1])
        assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_between_leaves_the_old_file(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a{suffix}", RECORDS)
    old = path.read_bytes()
    with contextlib.suppress(KeyboardInterrupt), Output(path) as out:
        out.add(RECORDS[1])
        raise KeyboardInterrupt
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_names_that_are_written(tmp_path: Path) -> None:
    assert check_output("a/b.jsonl.zst") is None
    told = check_output("a.csv")
    assert told is not None and told.startswith("a name that ends in .jsonl")
    names = [write(tmp_path / f"{random.Random(1).random()}{suffix}", RECORDS) for suffix in SUFFIXES]
    assert all(len(expand(str(name))[0]) == 1 for name in names)  # each is a kind that is read, too
