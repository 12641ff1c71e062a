"""The verbs evaluate, compare and chat, from arguments to what is printed and kept."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import zoo

from seektune import cli, console
from seektune.commands.chat import Chat
from seektune.commands.compare import verdict
from seektune.commands.evaluate import measure_of, requirements
from seektune.errors import DataError, RecipeError
from seektune.evaluate import stored
from seektune.evaluate.measures.exact_match import ExactMatch
from seektune.run import Run

ROWS = [{"instruction": q, "output": a} for q, a in [("hi", "ho"), ("你好", "世界"), ("one", "two"), ("three", "four")]]
BRIEF = ["--measure", "perplexity", "--measure", "exact_match,max_new_tokens=5"]


@pytest.fixture(autouse=True)
def _stdout_again():
    yield
    console.use_stderr(False)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with a model each, and held-out records."""
    home = tmp_path_factory.mktemp("home")
    for name, seed in (("one", 0), ("two", 1)):
        zoo.tiny_folder(Run.create(home, name).model_folder, "llama", seed=seed)
    (home / "data.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    return home


def test_evaluate_keeps_the_answers_in_the_run_and_compare_finds_them(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = []
    for name in ("one", "two"):
        assert cli.main(["evaluate", str(home / name), "--data", str(home / "data.jsonl"), "--json", *BRIEF]) == 0
        scores.append(json.loads(capsys.readouterr().out))
    (kept,) = stored.evaluations(home / "one")
    assert kept.head["scores"] == scores[0]["scores"]
    assert [row["prompt"] for row in kept.rows] == ["hi", "你好", "one", "three"]
    assert scores[0]["answers"] == str(kept.path)

    assert cli.main(["compare", str(home / "one"), str(home / "two"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    change = scores[1]["scores"]["perplexity"]["value"] - scores[0]["scores"]["perplexity"]["value"]
    assert found["differences"]["perplexity"]["difference"] == pytest.approx(change)
    assert found["differences"]["exact_match"] | {"p": 0} == {
        **dict.fromkeys(("before", "after", "difference", "low", "high"), 0.0),
        "n": 4,
        "gained": 0,
        "lost": 0,
        "p": 0,
    }
    assert cli.main(["compare", str(home / "one"), str(home / "two"), "--show", "1"]) == 0
    told = capsys.readouterr().out
    assert "4 records in both" in told
    assert told.count("reference") == 1


def test_require(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "evaluate",
        str(home / "one"),
        "--data",
        str(home / "data.jsonl"),
        "--out",
        str(tmp_path / "a.jsonl"),
        *BRIEF,
    ]
    assert cli.main([*command, "--require", "perplexity>1", "--require", "exact_match >= 0"]) == 0
    capsys.readouterr()
    assert cli.main([*command, "--require", "exact_match>0.5", "--require", "f1>0"]) == 1
    told = capsys.readouterr().err
    assert "require.exact_match: not met: 0" in told
    assert "require.f1: was not measured" in told


def test_a_limit_draws_the_same_records_each_time(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = []
    for name in ("a", "b"):
        command = [
            "evaluate",
            str(home / "one"),
            "--data",
            str(home / "data.jsonl"),
            "--limit",
            "2",
            "--out",
            str(tmp_path / name),
            *BRIEF,
        ]
        assert cli.main(command) == 0
        prompts.append([row["prompt"] for row in stored.read(tmp_path / name).rows])
    assert prompts[0] == prompts[1]
    assert len(prompts[0]) == 2
    assert "2 of 4 records, drawn with seed 17" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--require", "nonsense"], "error: --require: found 'nonsense'; expected like 'exact_match>0.9'"),
        (["--require", "x>before"], "error: --require: found 'x>before'; expected like 'exact_match>0.9'"),
        (["--measure", "exact_matc"], "error: evaluate.kind: unknown kind 'exact_matc'; did you mean 'exact_match'?"),
        (["--measure", "exact_match,max_new_tokens=0"], "error: evaluate.max_new_tokens: found 0; expected at least 1"),
        (
            ["--measure", "exact_match,json"],
            "error: --measure: found 'json' in 'exact_match,json'; expected OPTION=VALUE",
        ),
        (["--limit", "0"], "error: --limit: found 0; expected at least 1"),
    ],
)
def test_wrong_arguments_are_told_before_a_model_is_read(
    home: Path, more: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", str(home / "one"), "--data", str(home / "data.jsonl"), *more]) == 2
    assert capsys.readouterr().err.strip() == line


def test_measure_with_options() -> None:
    assert measure_of("exact_match,normalise=json,max_new_tokens=5") == ExactMatch("json", 5)


def test_requirements_of_one_name_are_joined() -> None:
    assert requirements(["f1 > 0.5", "f1<0.9"]) == {"f1": "> 0.5 and <0.9"}
    with pytest.raises(RecipeError) as error:
        requirements(["a", "b>c", "d>1"])
    assert len(error.value.problems) == 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"low": 0.1, "high": 0.3}, "differs"),
        ({"low": -0.1, "high": 0.3}, "may be chance"),
        (
            {"low": 0.1, "high": 0.3, "gained": 6, "lost": 1, "p": 0.125},
            "may be chance (gained 6, lost 1; McNemar p = 0.125)",
        ),
        ({"low": 0.0, "high": 0.0}, "the same"),
        ({"low": None, "high": None}, "cannot be told"),
    ],
)
def test_verdicts(row: dict[str, Any], words: str) -> None:
    assert verdict(row) == words


class Echo:
    """Streams a fixed answer in pieces, and keeps what it was asked."""

    def __init__(self, pieces: list[str], prompt: str = "", interrupt: bool = False):
        self.pieces, self.renderer, self.interrupt, self.asked = pieces, self, interrupt, []

    def text(self, messages: Any, generation_prompt: bool) -> str:
        return "<assistant><think>\n" if self.pieces[0] == "hm" else "<assistant>"

    def stream(self, prompt: Any, **sampling: Any) -> Any:
        self.asked.append([dict(message) for message in prompt["messages"]])
        if prompt["messages"][-1]["content"] == "too long":
            raise DataError("prompt 1: 900 tokens; expected 1 to 511")
        yield from self.pieces
        if self.interrupt:
            raise KeyboardInterrupt


def test_a_conversation_is_remembered_reset_and_given_a_system_message(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Echo(["an", "swer"])
    chat = Chat(engine, {})  # type: ignore[arg-type]
    assert all(chat.take(line) for line in ["one\n", "", "two", "/reset", "/system be kind", "three"])
    assert not chat.take("/quit")
    user = [{"role": "user", "content": text} for text in ("one", "two", "three")]
    said = {"role": "assistant", "content": "answer"}
    assert engine.asked == [[user[0]], [user[0], said, user[1]], [{"role": "system", "content": "be kind"}, user[2]]]
    assert capsys.readouterr().out == "answer\n" * 3


def test_thinking_is_kept_apart(capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(Echo(["hm", "</th", "ink>\n\nyes"]), {})  # type: ignore[arg-type]
    chat.take("why?")
    assert chat.messages[-1] == {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    assert "think>" not in capsys.readouterr().out


def test_an_interrupt_stops_the_answer_only(capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(Echo(["half"], interrupt=True), {})  # type: ignore[arg-type]
    assert chat.take("go")
    assert chat.messages[-1]["content"] == "half"
    assert "[stopped]" in capsys.readouterr().out


def test_what_the_model_cannot_take_and_unknown_commands_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(Echo(["fine"]), {})  # type: ignore[arg-type]
    assert all(chat.take(line) for line in ["too long", "/rest", "ok"])
    told = capsys.readouterr()
    assert "900 tokens; expected 1 to 511; /reset forgets the conversation" in told.err
    assert "error: /rest: unknown command; did you mean '/reset'?" in told.err
    assert [m["content"] for m in chat.messages] == ["ok", "fine"]


def test_chat_reads_a_pipe_a_line_a_turn(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\n你好\n/quit\nnever\n"))
    assert cli.main(["chat", str(home / "one"), "--max-new-tokens", "4"]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_chat_with_wrong_sampling_or_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = zoo.tiny_folder(tmp_path / "b", "bert")
    capsys.readouterr()
    assert cli.main(["chat", str(folder), "--temperature", "-1"]) == 2
    assert capsys.readouterr().err == "error: temperature: found -1.0; expected at least 0\n"
    assert cli.main(["chat", str(folder)]) == 2
    assert "is a classifier; expected a language model" in capsys.readouterr().err
