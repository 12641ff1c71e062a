from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune import files
from seektune.errors import InputError, RecipeError
from seektune.run import FORMAT, Run, check_name, cut_torn_line, list_runs, new_lines, next_name, previous

LINE = {
    "step": 20, "progress": 0.1, "tokens": 40960, "supervised_tokens": 9120, "split": "train", "loss": 1.93,
    "learning_rate": 2e-4, "grad_norm": 0.8, "tokens_per_second": 5400.0, "time": 1760000000.0,
}  # fmt: skip


def test_a_new_run_says_its_format(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", "headlines-1")
    assert run.read("format.json")["format"] == FORMAT
    assert Run.open(run.path).name == "headlines-1"
    assert abs(run.created - time.time()) < 60
    assert [p.name for p in run.path.parent.iterdir()] == ["headlines-1"]  # nothing is left aside


def test_an_existing_run_is_refused_with_both_remedies(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "headlines-2")
    before = run.read("format.json")
    with pytest.raises(RecipeError) as caught:
        Run.create(tmp_path, "headlines-2")
    assert f"--resume {run.path}" in str(caught.value)
    assert "name=headlines-3" in str(caught.value)
    assert run.read("format.json") == before


def test_a_folder_of_the_user_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(RecipeError, match=r"no run.*name=mine-1"):
        Run.create(tmp_path, "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_root_that_cannot_be_written_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(operation: str, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "before", read_only)
    with pytest.raises(RecipeError, match="Read-only file system") as caught:
        Run.create(tmp_path, "a")
    assert len(caught.value.problems) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "-x", "a b", "a\n", "x" * 201])
def test_names_that_no_folder_should_have(name: str) -> None:
    with pytest.raises(RecipeError):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "headlines-3", "v1.2_x", "新闻"])
def test_names_that_are_fine(name: str) -> None:
    check_name(name)


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    assert next_name(tmp_path, "headlines") == "headlines-1"
    for name in ("headlines-2", "headlines-10", "headlines-x", "other-40", "headlines-3-4"):
        Run.create(tmp_path, name)
    assert next_name(tmp_path, "headlines") == "headlines-11"


def test_the_previous_run_is_the_highest_readable_one(tmp_path: Path) -> None:
    assert previous(tmp_path, "a") is None
    for name in ("a", "a-2", "a-10", "a-11"):
        Run.create(tmp_path, name)
    files.write_json(tmp_path / "a-11" / "format.json", {"format": FORMAT + 1})
    found = previous(tmp_path, "a")
    assert found is not None
    assert found.name == "a-10"


@pytest.mark.parametrize(
    ("found", "words"), [(FORMAT + 1, "a newer format"), (FORMAT - 1, "an older format"), (None, "an older")]
)
def test_another_format_is_named(tmp_path: Path, found: object, words: str) -> None:
    run = Run.create(tmp_path, "a")
    files.write_json(run.path / "format.json", {"format": found})
    with pytest.raises(RecipeError, match=words):
        Run.open(run.path)
    assert run.status == "unreadable"


def test_no_run_here(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such folder"):
        Run.open(tmp_path / "none")
    with pytest.raises(RecipeError, match=r"no format\.json"):
        Run.open(tmp_path)
    (tmp_path / "format.json").write_text("{")
    with pytest.raises(RecipeError, match="not readable"):
        Run.open(tmp_path)


def test_metrics_are_written_as_the_design_says(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    run.append(LINE)
    written = (run.path / "metrics.jsonl").read_text().removesuffix("\n")
    assert written == json.dumps(LINE)
    assert run.metrics() == [LINE]
    assert run.metrics("valid") == []


def test_what_is_not_finite_is_null_with_its_reason(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    run.append({"step": 1, "split": "train", "loss": math.nan, "grad_norm": np.float32(math.inf), "learning_rate": 0.1})
    run.event("alarm", values=[1.0, -math.inf], inner={"loss": math.nan})
    row, event = run.metrics()[0], run.events()[0]
    assert row["loss"] is None
    assert row["loss_not_finite"] == "nan"
    assert row["grad_norm"] is None
    assert row["grad_norm_not_finite"] == "inf"
    assert "learning_rate_not_finite" not in row
    assert event["values"] == [1.0, None]
    assert event["values_not_finite"] == "-inf"
    assert event["inner"] == {"loss": None, "loss_not_finite": "nan"}
    assert "NaN" not in (run.path / "metrics.jsonl").read_text()


def test_numbers_of_numpy_stay_numbers(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    run.append({"step": np.int64(3), "loss": np.float32(0.5), "many": np.arange(2)})
    row = run.metrics()[0]
    assert (row["step"], row["loss"], row["many"]) == (3, 0.5, [0, 1])


@given(st.text())
def test_any_text_survives_in_an_event(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(folder, "a")
        run.event("alarm", reason=text.encode("utf-8", "replace").decode())
        run.event("end")
        assert [row["event"] for row in run.events()] == ["alarm", "end"]
        assert run.events()[0]["reason"] == text.encode("utf-8", "replace").decode()


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_torn_by_a_crash_takes_no_other_with_it(tmp_path: Path, cut: int) -> None:
    run = Run.create(tmp_path, "a")
    run.append({"step": 1, "time": 0.0})
    run.append({"step": 2, "time": 0.0, "text": "x" * 40})
    path = run.path / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    Run.open(run.path).append({"step": 3, "time": 0.0})
    assert [row["step"] for row in run.metrics()] == [1, 3]


def test_a_torn_line_longer_than_a_block_is_cut_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b": "' + b"x" * 200_000)
    cut_torn_line(path)
    assert path.read_bytes() == b'{"a": 1}\n'
    path.write_bytes(b"x" * 200_000)
    cut_torn_line(path)
    assert path.read_bytes() == b""


def test_a_resumed_run_ends_with_the_metrics_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = Run.create(tmp_path, "whole"), Run.create(tmp_path, "broken")
    rows = [
        {"step": step, "split": split, "loss": 1 / step, "time": 0.0}
        for step in range(1, 9)
        for split in ("train", "valid")
    ]
    for row in rows:
        whole.append(row)
    for row in rows[:12]:  # killed in step 6; the last checkpoint is of step 4
        broken.append(row)
    with open(broken.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 7, "lo')
    again = Run.open(broken.path)
    assert again.truncate_after(4) == 4
    for row in rows[8:]:
        again.append(row)
    assert (again.path / "metrics.jsonl").read_bytes() == (whole.path / "metrics.jsonl").read_bytes()


def test_truncating_nothing_makes_no_file(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    assert run.truncate_after(0) == 0
    assert not (run.path / "metrics.jsonl").exists()


def test_json_files_are_read_back(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    run.write("plan.json", {"seconds": math.inf, "path": Path("x")})
    assert run.read("plan.json") == {"seconds": None, "seconds_not_finite": "inf", "path": "x"}
    assert run.read("absent.json") is None
    assert run.read("absent.json", {}) == {}
    (run.path / "plan.json").write_text("{")
    with pytest.raises(RecipeError, match=r"plan\.json: not JSON"):
        run.read("plan.json")


def test_checkpoints_are_whole_and_in_order(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    assert run.checkpoints() == []
    for name in ("step-000200", "step-000040", "step-1000000", ".step-000300.part", "step-x"):
        (run.checkpoints_folder / name).mkdir(parents=True)
    assert [p.name for p in run.checkpoints()] == ["step-000040", "step-000200", "step-1000000"]
    assert run.checkpoint_folder(40).name == "step-000040"


def test_status_from_the_lock_and_the_last_word(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    assert run.status == "interrupted"
    with run.lock():
        run.event("start")
        assert run.status == "running"
        run.event("end")
    assert run.status == "interrupted"  # trained, but not evaluated, proved and reported
    run.event("finished")
    assert run.status == "finished"
    run.event("alarm", reason="late")
    assert run.status == "finished"
    run.event("resume")
    assert run.status == "interrupted"
    run.event("failed", reason="disk full")
    assert run.status == "failed"


def test_two_writers_the_second_is_refused(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    with run.lock(), pytest.raises(InputError, match=f"pid {os.getpid()}"), Run.open(run.path).lock():
        pass
    with run.lock():
        pass  # free again


def test_looking_at_a_run_does_not_refuse_its_writer(tmp_path: Path) -> None:
    """`locked` holds a shared lock for a moment; a writer that comes just then waits it out."""
    run = Run.create(tmp_path, "a")
    with open(run.path / ".lock", "w") as glance:
        fcntl.flock(glance, fcntl.LOCK_SH)
        timer = threading.Timer(0.06, fcntl.flock, (glance, fcntl.LOCK_UN))
        timer.start()
        with run.lock():
            assert run.locked
        timer.join()


def test_a_killed_process_leaves_no_lock_and_an_interrupted_run(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    code = f"""
        import time
        from seektune.run import Run
        run = Run({str(run.path)!r})
        with run.lock():
            run.event("start")
            print("locked", flush=True)
            time.sleep(60)
    """
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout:
        child.stdout.readline()
        assert run.status == "running"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert run.status == "interrupted"


def test_delete_removes_the_folder_but_not_one_that_is_written(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    with run.lock(), pytest.raises(InputError):
        Run.open(run.path).delete()
    run.delete()
    assert list(tmp_path.iterdir()) == []


def test_runs_are_listed_oldest_first_with_those_of_another_format(tmp_path: Path) -> None:
    for name, created in (("b", 3.0), ("a", 5.0), ("old", 1.0)):
        run = Run.create(tmp_path, name)
        files.write_json(run.path / "format.json", {"format": 0 if name == "old" else FORMAT, "created": created})
    (tmp_path / "no-run").mkdir()
    assert [run.name for run in list_runs(tmp_path)] == ["old", "b", "a"]
    assert [run.status for run in list_runs(tmp_path)] == ["unreadable", "interrupted", "interrupted"]
    assert list_runs(tmp_path / "none") == []


def test_new_lines_of_a_growing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert new_lines(path, 0) == ([], 0)
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    rows, end = new_lines(path, 0)
    assert [row["a"] for row in rows] == [1, 2]
    with open(path, "a") as file:
        file.write(": 3}\n")
    assert new_lines(path, end)[0] == [{"a": 3}]
    path.write_text('{"a": 9}\n')  # cut by a resume
    assert new_lines(path, 1000)[0] == [{"a": 9}]


def test_tail_reads_only_the_end(tmp_path: Path) -> None:
    run = Run.create(tmp_path, "a")
    for step in range(100):
        run.append({"step": step})
    rows = run.tail("metrics.jsonl", size=200)
    assert 1 < len(rows) < 10
    assert rows[-1]["step"] == 99
    assert run.tail("absent.jsonl") == []


def test_run_imports_no_torch() -> None:
    code = "import seektune.run, seektune.console, seektune.runtime, seektune.commands.runs, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
