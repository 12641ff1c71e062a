from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seektune import console
from seektune.errors import RecipeError


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch):
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    yield
    console.use_stderr(False)


PARTS = [("<user>hi\n", "not learnt"), ("ok", "learnt"), (" yes", "learnt"), ("<eos>", "end"), ("gone", "cut")]


def test_text_is_never_markup_nor_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("[bold]x[/bold] [red] :smile: \\[y]")
    assert capsys.readouterr().out == "[bold]x[/bold] [red] :smile: \\[y]\n"


def test_control_characters_become_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("a\x1b[31mred\x07\x9b1m\r")
    assert capsys.readouterr().out == "a␛[31mred␇�1m␍\n"


@given(st.text())
def test_no_text_can_move_the_cursor(text: str) -> None:
    shown = console.visible(text)
    assert not any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in shown)
    assert console.visible("plain 中文\n") == "plain 中文\n"


def test_streams_keep_every_space(capsys: pytest.CaptureFixture[str]) -> None:
    for piece in ("a ", " b", "\n\n", "  c "):
        console.say(piece, end="")
    assert capsys.readouterr().out == "a  b\n\n  c "


def test_long_lines_are_not_cut_in_files(capsys: pytest.CaptureFixture[str]) -> None:
    console.say("word " * 100)
    console.table(["a", "b"], [["x" * 300, 1]])
    console.facts([("name", "y" * 300)])
    out = capsys.readouterr().out
    assert "word " * 99 in out
    assert "x" * 300 in out
    assert "y" * 300 in out


def test_warnings_and_errors_go_to_stderr_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    console.warn("w [x]")
    console.error(["one", "two"])
    console.error("three\nfour")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: w [x]\nerror: one\nerror: two\nerror: three\nerror: four\n"


def test_with_json_stdout_holds_one_object_only(capsys: pytest.CaptureFixture[str]) -> None:
    console.use_stderr()
    console.say("said")
    console.facts([("a", 1)])
    console.table(["a"], [[1]])
    console.tokens(PARTS)
    console.result({"é": [1, 2.5, None]})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"é": [1, 2.5, None]}
    assert "said" in captured.err
    assert "<user>hi" in captured.err


def test_tokens_have_marks_where_there_is_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    console.tokens(PARTS)
    first, second, legend = capsys.readouterr().out.splitlines()
    assert first == "<user>hi↵"
    assert second == "[[ok yes]]<<<eos>>>~~gone~~"
    assert legend == "[[learnt]] 2 · not learnt 1 · <<end of turn, learnt>> 1 · ~~cut off~~ 1"


def test_tokens_have_colours_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    console.tokens(PARTS)
    out = capsys.readouterr().out
    assert "\x1b[1;32mok yes\x1b[0m" in out
    assert "[[" not in out
    assert "learnt" in out
    monkeypatch.setenv("NO_COLOR", "1")
    console.tokens(PARTS)
    assert "[[ok yes]]" in capsys.readouterr().out


def test_ends_of_turns_are_never_joined() -> None:
    parts = [("a", "end"), ("b", "end"), ("c", "learnt"), ("d", "learnt")]
    assert list(console.runs_of_kind(parts)) == [("end", "a"), ("end", "b"), ("learnt", "cd")]


def test_facts_and_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    console.facts([("records", 12345), ("share", 0.25)])
    console.table(["name", "value"], [["a", 1.5], ["b", 22222]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["records  12,345", "share    0.25"]
    assert lines[-2].endswith("   1.5")
    assert lines[-1].endswith("22,222")
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12345, "12,345"), (0.123456, "0.1235"), (2e-4, "2.0e-04"), (5321.4, "5,321"), (True, "yes"), (None, "none"), (0.0, "0"),
     ({"a": 1, "b": [1, 2]}, "a: 1, b: 1, 2"), ([], "none"), ("x", "x"), (float("nan"), "nan")],
)  # fmt: skip
def test_numbers_for_people(value: object, shown: str) -> None:
    assert console.number(value) == shown


def test_sizes_and_durations() -> None:
    assert [console.size(n) for n in (0, 1023, 1536, 700 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "700.0 MiB",
        "3.0 TiB",
    ]
    assert [console.duration(s) for s in (0.4, 59.4, 59.6, 200, 7500)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert console.quantity("peak_memory_bytes", 1536) == "1.5 KiB"
    assert console.quantity("seconds", 60.0) == "1 min 00 s"
    assert console.quantity("steps", 60) == "60"


def test_nobody_to_ask_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(RecipeError, match="--yes"):
        console.confirm("delete?")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_in_a_log_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.TrainingProgress(60, clock=clock) as progress:
        for step in range(1, 61):
            clock.now = float(step)
            progress.step(step, 2 / step, 5400.0)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, 11, 21, 31, 41, 51, 60]
    assert lines[1] == "step 11/60 · loss 0.182 · 5,400 tokens/s · 49 s left"
    assert lines[-1].endswith("took 1 min 00 s")


def test_time_left_counts_only_what_this_process_did() -> None:
    clock = Clock()
    progress = console.TrainingProgress(100, done=90, clock=clock)
    clock.now = 5.0
    progress.step(95, None)
    assert progress.left() == pytest.approx(5.0)
    assert "not finite" in progress.note


def test_counting_takes_its_total_from_the_caller(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with console.Progress("evaluating", None, unit="records", clock=clock) as show:
        clock.now = 2.0
        show(50, 100)
        clock.now = 4.0
        show(100, 100)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating 50/100 · 25 records/s · 2 s left",
        "evaluating 100/100 · 25 records/s · took 4 s",
    ]


def test_short_work_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress("reading", 3) as show:
        for done in range(4):
            show(done)
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal_and_lines_above_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with console.TrainingProgress(2) as progress:
        progress.step(1, 2.0, 100.0)
        console.warn("look")
        progress.step(2, 1.0, 100.0)
    error = capsys.readouterr().err
    assert "look" in error
    assert "2/2" in error
    assert "loss 1.000" in error
    assert error.rstrip().endswith("\x1b[?25h")  # the cursor is back
