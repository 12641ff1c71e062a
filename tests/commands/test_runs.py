from __future__ import annotations

import argparse
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seektune import console
from seektune.commands import runs
from seektune.errors import InputError, RecipeError
from seektune.run import Run


@pytest.fixture(autouse=True)
def stdout_again():
    yield
    console.use_stderr(False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("headlines-1", "headlines-2"):
        run = Run.create(tmp_path / "runs", name)
        run.event("start", step=0, total_steps=4)
        run.append({"step": 2, "progress": 0.5, "split": "train", "loss": 1.5, "tokens_per_second": 5400.0})
        run.append({"step": 2, "split": "valid", "loss": None})
    run.write("report.json", {"verdict": {"words": "exact match is 50.0 %"}})
    run.event("finished")
    return tmp_path / "runs"


def call(root: Path, *words: str) -> int:
    parser = argparse.ArgumentParser()
    runs.arguments(parser)
    return runs.run(parser.parse_args([*words, "--root", str(root)]))


def test_list(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].split()[:2] == ["headlines-1", "interrupted"]
    assert lines[2].endswith("2 of 4")
    assert lines[3].split()[:2] == ["headlines-2", "finished"]
    assert lines[3].endswith("exact match is 50.0 %")


def test_list_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "list", "--json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)["runs"]
    assert captured.err == ""
    assert [(one["name"], one["status"], one["step"], one["loss"]) for one in found] == [
        ("headlines-1", "interrupted", 2, 1.5),
        ("headlines-2", "finished", 2, 1.5),
    ]


def test_no_runs_yet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path / "none") == 0
    assert capsys.readouterr().out == f"no runs under {tmp_path / 'none'}\n"


def test_a_run_of_another_format_is_listed_with_its_reason(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "headlines-1" / "format.json").write_text('{"format": 99}')
    assert call(root) == 0
    captured = capsys.readouterr()
    assert "unreadable" in captured.out
    assert "a newer format (99)" in captured.err


def test_show_by_name_and_by_folder(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("headlines-2", str(root / "headlines-2")):
        assert call(root, "show", name) == 0
        out = capsys.readouterr().out
        assert "status  finished" in out
        assert "steps   2 of 4" in out
        assert "exact match is 50.0 %" in out


def test_show_tells_how_to_go_on(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "headlines-1" / "checkpoints" / "step-000002").mkdir(parents=True)
    assert call(root, "show", "headlines-1") == 0
    assert f"seektune train --resume {root / 'headlines-1'}" in capsys.readouterr().out


def test_show_as_json(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(root, "show", "headlines-2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"]["verdict"]["words"] == "exact match is 50.0 %"
    assert [row["event"] for row in found["events"]] == ["start", "finished"]


def test_an_unknown_run_has_a_near_name(root: Path) -> None:
    with pytest.raises(RecipeError, match="did you mean 'headlines-1'"):
        call(root, "show", "headlines1")
    (root / "other").mkdir()
    with pytest.raises(RecipeError, match=r"no format\.json"):
        call(root, "show", "other")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["list", "headlines-1"], "runs show headlines-1"), (["show"], "no run named"), (["delete"], "no run named"),
     (["list", "--follow"], "--follow"), (["show", "headlines-1", "--yes"], "--yes"), (["delete", "headlines-1", "--follow"], "--follow")],
)  # fmt: skip
def test_what_an_action_does_not_take_is_refused(root: Path, words: list[str], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        call(root, *words)
    assert (root / "headlines-1").exists()


def test_delete_asks(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match="--yes"):
        call(root, "delete", "headlines-1")
    monkeypatch.setattr(console, "confirm", lambda question: False)
    assert call(root, "delete", "headlines-1") == 0
    assert (root / "headlines-1").exists()
    asked = []
    monkeypatch.setattr(console, "confirm", lambda question: bool(asked.append(question)) or True)
    assert call(root, "delete", "headlines-1") == 0
    assert not (root / "headlines-1").exists()
    assert "3 files" in asked[0]
    assert "deleted" in capsys.readouterr().out


def test_delete_without_asking_but_not_while_it_is_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Run(root / "headlines-1").lock(), pytest.raises(InputError, match="another process"):
        call(root, "delete", "headlines-1", "--yes")
    assert call(root, "delete", "headlines-1", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["deleted"] is True
    assert sorted(p.name for p in root.iterdir()) == ["headlines-2"]


def test_follow_shows_a_run_of_another_process_until_it_ends(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(root / "headlines-1")
    code = f"""
        import sys
        from seektune.run import Run
        run = Run({str(run.path)!r})
        with run.lock():
            print("locked", flush=True)
            for word in sys.stdin:
                step = int(word)
                run.append({{"step": step, "progress": step / 4, "split": "train", "loss": 1 / step, "tokens_per_second": 5000.0}})
                print("written", flush=True)
            run.append({{"step": 4, "split": "valid", "loss": 0.2}})
            run.event("finished")
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    now, steps = [0.0], iter([3, 4])
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()

        def wait(seconds: float) -> None:
            """A step of training for each look, then the end."""
            assert child.stdin is not None
            assert child.stdout is not None
            now[0] += 10
            if step := next(steps, None):
                child.stdin.write(f"{step}\n")
                child.stdin.flush()
                child.stdout.readline()
            else:
                child.communicate()

        runs.follow(run, wait, lambda: now[0])
    assert capsys.readouterr().out.splitlines() == [
        "step 3 · 75 % · loss 0.333 · 5,000 tokens/s",
        "step 4 · 100 % · loss 0.250 · 5,000 tokens/s",
        "step 4 · valid loss 0.200",
        "finished",
    ]


def test_follow_does_not_flood_the_terminal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, now = Run(root / "headlines-1"), [0.0]
    with run.lock():

        def wait(seconds: float) -> None:
            for _ in range(10):
                run.append({"step": int(now[0]), "split": "train", "loss": 1.0})
            now[0] += 0.5
            if now[0] >= 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            runs.follow(run, wait, lambda: now[0])
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_ctrl_c_leaves_the_run_alone(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(run: Run) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "follow", interrupted)
    assert call(root, "show", "headlines-1", "--follow") == 0
    assert "left alone" in capsys.readouterr().out
