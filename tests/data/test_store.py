"""Records on disk: the same as in memory, cached by content and options, whole or absent."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seektune import files
from seektune.data.formats import read
from seektune.data.options import Input
from seektune.data.store import Records, Writer, digest
from seektune.errors import DataError, RunFailedError

ROWS = [{"text": f"text {i % 7} 中", "id": i} for i in range(20)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEKTUNE_CACHE", "cache")


def load(rows: list[Any] = ROWS, allow_dropped: float = 0.0, **options: Any) -> Records:
    Path("x.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return read([Input(path="x.jsonl", **options)], allow_dropped, "lm")


def stores() -> list[str]:
    return sorted(os.listdir("cache/records")) if Path("cache/records").exists() else []


def test_sequence() -> None:
    records = load()
    assert len(records) == 20
    assert list(records) == ROWS
    assert [records[i] for i in range(20)] == ROWS
    assert records[-1] == ROWS[-1]
    assert list(records[5:8]) == ROWS[5:8]
    assert records.where(6) == "x.jsonl:7"
    for index in (20, -21):
        with pytest.raises(IndexError):
            records[index]


def test_views_of_views() -> None:
    records = load()
    view = records.select([9, 3, 3, 0]).select([1, 0])
    assert list(view) == [ROWS[3], ROWS[9]]
    assert [view.where(i) for i in range(2)] == ["x.jsonl:4", "x.jsonl:10"]
    assert view.facts is records.facts
    assert list(records.select([])) == []


def test_in_memory_and_on_disk_have_equal_digests() -> None:
    records, memory = load(), Records.of(ROWS, "row")
    assert np.array_equal(records.digests, memory.digests)
    assert np.array_equal(records.whole_digests, memory.whole_digests)
    assert memory.where(3) == "row 4"
    assert (memory.source(0), memory.facts) == (0, {"records": 20, "inputs": []})


def test_digest_looks_at_what_is_learnt_not_at_the_order_of_fields() -> None:
    a = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    b = {"id": 5, "messages": [{"content": "q", "role": "user"}, {"content": "a", "role": "assistant"}]}
    assert digest(a) == digest(b)
    assert digest(a, None) != digest(b, None)
    assert digest(a) != digest({"messages": a["messages"][::-1]})
    assert digest({"text": "a", "label": "x"}) != digest({"text": "a", "label": "y"})


def test_another_process_reads_the_same() -> None:
    records = load()
    view = pickle.loads(pickle.dumps(records.select([4, 2])))
    assert (list(view), view.where(0)) == ([ROWS[4], ROWS[2]], "x.jsonl:5")
    code = "import pickle, sys; print(pickle.load(open('v', 'rb'))[1]['id'], 'torch' in sys.modules)"
    Path("v").write_bytes(pickle.dumps(view))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_cache_is_keyed_by_content_and_options() -> None:
    load()
    assert len(stores()) == 1
    before = os.stat(f"cache/records/{stores()[0]}/records.jsonl").st_mtime_ns
    assert list(load()) == ROWS
    assert os.stat(f"cache/records/{stores()[0]}/records.jsonl").st_mtime_ns == before
    assert list(load(ROWS[:3])) == ROWS[:3]
    load(ROWS, format="text")
    load(ROWS, 0.5)
    assert len(stores()) == 4


def test_a_stricter_share_is_checked_again() -> None:
    rows = [*ROWS, {"text": ""}]
    assert len(load(rows, 0.5)) == 20
    with pytest.raises(DataError):
        load(rows, 0.01)


@pytest.mark.parametrize("name", ["records.jsonl", "offsets.npy", "places.npy", "store.json"])
def test_damaged_store_is_made_again(name: str) -> None:
    load()
    path = Path("cache/records", stores()[0], name)
    path.write_bytes(path.read_bytes()[:40])
    assert list(load()) == ROWS
    assert len(stores()) == 1


def test_refused_data_leaves_nothing_behind() -> None:
    with pytest.raises(DataError):
        load([{"text": ""}])
    assert stores() == []


def test_full_disk_is_said_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(operation: str, path: Path) -> None:
        if operation == "sync":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "before", full)
    with pytest.raises(
        RunFailedError, match=r"cannot store records \(No space left on device\); free some space"
    ) as caught:
        load()
    assert caught.value.exit_code == 4
    assert stores() == []


def test_interrupted_before_any_write_or_rename_the_next_reading_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    count = _operations(monkeypatch)
    assert count > 5
    for stop in range(count):
        steps = iter(range(count))

        def interrupt(operation: str, path: Path, steps: Any = steps, stop: int = stop) -> None:
            if next(steps) == stop:
                raise KeyboardInterrupt

        rows = [*ROWS, {"text": f"only {stop}"}]
        monkeypatch.setattr(files, "before", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(rows)
        monkeypatch.setattr(files, "before", lambda operation, path: None)
        assert list(load(rows)) == rows


def _operations(monkeypatch: pytest.MonkeyPatch) -> int:
    seen: list[str] = []
    monkeypatch.setattr(files, "before", lambda operation, path: seen.append(operation))
    load([{"text": "count"}])
    return len(seen)


def test_cache_that_cannot_be_written_is_replaced_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("SEEKTUNE_CACHE", "file/cache")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    records = load()
    assert list(records) == ROWS
    assert records.facts["notes"] == ["the cache folder cannot be written: records are kept in a temporary folder"]
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del records
    assert list((tmp_path / "temporary").iterdir()) == []
    with pytest.raises(DataError):
        load([{"text": ""}])
    assert list((tmp_path / "temporary").iterdir()) == []


def test_stores_that_nobody_opened_for_a_month_are_removed() -> None:
    load(ROWS[:1])
    load(ROWS[:2])
    first, second = (Path("cache/records", name) for name in stores())
    long_ago = time.time() - 40 * 24 * 3600
    os.utime(first, (long_ago, long_ago))
    load(ROWS[:3])
    assert not first.exists()
    assert second.exists()
    assert len(stores()) == 2


def test_memory_stays_flat() -> None:
    """30,000 records of 1,500 characters, far more than the memory that may be gained."""
    line = json.dumps({"text": "x" * 1500}) + "\n"
    with open("x.jsonl", "w") as file:
        for _ in range(30_000):
            file.write(line)
    code = """
import resource
from seektune.data.formats import read
from seektune.data.options import Input
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import pyarrow, zstandard
before = peak()
records = read([Input(path="x.jsonl")], 0.0, "lm")
print(len(records), (peak() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, gained = map(int, done.stdout.split())
    assert count == 30_000
    assert gained < 30  # MB; the text alone is 45


def test_writer_without_finish_leaves_nothing() -> None:
    with Writer(Path("cache/records/x"), ["f"], [0]) as writer:
        writer.add({"text": "a"}, 0, 1)
        assert len(writer) == 1
    assert stores() == []
