"""Models that stages ask: a real server on loopback that fails in every way, and base:tiny."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from seektune.errors import ModelError, RunFailedError
from seektune.stages import _models
from seektune.stages._models import Answers, Endpoint, Local, opened
from seektune.stages._work import Work

Reply = Callable[[dict[str, Any]], Any]  # body -> the text, or (status, bytes), or None: the connection breaks


class Server:
    """An endpoint. `reply` may be changed while it runs; `asked` holds the bodies, `headers` those of the last request."""

    def __init__(self, reply: Reply):
        self.reply, self.asked, self.headers = reply, list[dict[str, Any]](), dict[str, str]()
        self.now = self.most = 0
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.asked.append(body | {"_path": self.path})
                    outer.headers = dict(self.headers)
                    outer.now += 1
                    outer.most = max(outer.most, outer.now)
                made = outer.reply(body)
                with lock:
                    outer.now -= 1
                if made is None:
                    return  # nothing is said: the client sees a broken connection
                status, raw = made if isinstance(made, tuple) else (200, said(made))
                self.send_response(status)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Listening(ThreadingHTTPServer):
            request_queue_size = 64  # with fewer, connections that come together wait a second

        self._server = Listening(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def said(text: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


def echo(body: dict[str, Any]) -> str:
    return f"<{body['messages'][-1]['content']}>"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_models, "PAUSE", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    made = Server(echo)
    yield made
    made.close()


def prompts(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"第{i}个 question"}]} for i in range(count)]


def test_answers_come_in_the_order_of_the_prompts(server: Server) -> None:
    def slow_first(body: dict[str, Any]) -> str:
        time.sleep(0.05 if "第0个" in body["messages"][0]["content"] else 0)
        return echo(body)

    server.reply = slow_first
    made = opened(server.url, Work(seed=5), name="judge-1", max_new_tokens=9, temperature=0.5).write(prompts(20))
    assert made == [f"<第{i}个 question>" for i in range(20)]
    [first] = [body for body in server.asked if body["messages"] == prompts(1)[0]["messages"]]
    assert first["model"] == "judge-1" and first["max_tokens"] == 9
    assert first["temperature"] == 0.5 and first["seed"] == 5
    assert first["_path"] == "/v1/chat/completions"


def test_no_more_requests_at_once_than_agreed(server: Server) -> None:
    def slowly(body: dict[str, Any]) -> str:
        time.sleep(0.02)
        return "yes"

    server.reply = slowly
    opened(server.url, Work()).write(prompts(40))
    assert 2 <= server.most <= _models.AT_ONCE


def test_equal_prompts_are_asked_once(server: Server) -> None:
    made = opened(server.url, Work())
    assert made.write(prompts(3) * 4) == [echo(p) for p in prompts(3) * 4]
    assert made.write(prompts(3)) == [echo(p) for p in prompts(3)]
    assert len(server.asked) == made.asked == 3


@pytest.mark.parametrize("failure", [(500, b"oops"), (503, b""), (429, b"slow down"), (408, b""), None])
def test_what_may_pass_is_tried_again(server: Server, failure: Any) -> None:
    server.reply = lambda body: failure if len(server.asked) < 3 else "at last"
    assert opened(server.url, Work()).write(prompts(1)) == ["at last"]
    assert len(server.asked) == 3


def test_an_endpoint_that_stays_away_is_told_after_some_tries(server: Server) -> None:
    server.reply = lambda body: (502, b"")
    with pytest.raises(RunFailedError, match=r"^http://127.*/v1: does not answer \(.*502.*; what was answered is kept"):
        opened(server.url, Work()).write(prompts(1))
    assert len(server.asked) == _models.TRIES


@pytest.mark.parametrize(
    ("status", "word"),
    [(400, "too many tokens"), (401, "set OPENAI_API_KEY"), (404, "is `name` a model of it"), (422, "answered 422")],
)
def test_a_no_is_not_asked_again(server: Server, status: int, word: str) -> None:
    server.reply = lambda body: (status, b"too many\ntokens" if status == 400 else b"")
    with pytest.raises(ModelError) as told:
        opened(server.url, Work(), name="m-7").write(prompts(1))
    [line] = told.value.problems
    assert word in line and "model m-7" in line and "\n" not in line
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>no</html>",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b'{"error": "x"}',
        said(None),
        said(7),
        b"\xff\xfe",
    ],
)
def test_what_is_no_completion_is_told_in_one_line(server: Server, raw: bytes) -> None:
    server.reply = lambda body: (200, raw)
    with pytest.raises(ModelError, match=r"choices\[0\].message.content") as told:
        opened(server.url, Work()).write(prompts(1))
    assert len(told.value.problems) == 1 and "\n" not in told.value.problems[0] and len(told.value.problems[0]) < 500


def test_an_answer_without_end_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_models, "LARGEST", 1 << 20)
    server.reply = lambda body: "x" * (2 << 20)
    with pytest.raises(ModelError, match="answered more than 1 MB"):
        opened(server.url, Work()).write(prompts(1))


def test_half_a_character_is_kept_as_a_question_mark(server: Server, tmp_path: Path) -> None:
    server.reply = lambda body: "好\ud83d"
    assert opened(server.url, Work(answers=tmp_path)).write(prompts(1)) == ["好?"]
    assert opened(server.url, Work(answers=tmp_path)).write(prompts(1)) == ["好?"]
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "http://[::1/v1"])
def test_what_is_no_url_is_told_at_once(url: str) -> None:
    with pytest.raises(ModelError, match="is no URL"):
        opened(url, Work()).write(prompts(1))


def test_a_failure_half_way_goes_on_from_what_was_answered(server: Server, tmp_path: Path) -> None:
    """The endpoint breaks after some answers, and is back: nothing that was answered is asked again."""
    server.reply = lambda body: echo(body) if len(server.asked) <= 30 else (500, b"down")
    with pytest.raises(RunFailedError, match="what was answered is kept"):
        opened(server.url, Work(answers=tmp_path)).write(prompts(100))
    [file] = tmp_path.glob("*.jsonl")
    kept = len(file.read_text().splitlines())
    assert 30 - _models.AT_ONCE < kept <= 30

    server.reply, server.asked = echo, []
    again = opened(server.url, Work(answers=tmp_path))
    assert again.write(prompts(100)) == [echo(p) for p in prompts(100)]
    assert again.asked == len(server.asked) == 100 - kept


def test_a_torn_or_foreign_line_of_the_cache_is_asked_anew(server: Server, tmp_path: Path) -> None:
    opened(server.url, Work(answers=tmp_path)).write(prompts(3))
    [file] = tmp_path.glob("*.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("7\n" + lines[0] + lines[1] + lines[2][:20])
    again = opened(server.url, Work(answers=tmp_path))
    assert again.write(prompts(3)) == [echo(p) for p in prompts(3)]
    assert again.asked == 1


def test_other_settings_are_other_answers(server: Server, tmp_path: Path) -> None:
    work = Work(answers=tmp_path)
    for options in ({}, {"name": "b"}, {"temperature": 0.7}, {"max_new_tokens": 3}):
        opened(server.url, work, **options).write(prompts(1))  # type: ignore[arg-type]
    opened(server.url, Work(seed=3, answers=tmp_path)).write(prompts(1))
    assert len(server.asked) == 5


def test_the_key_goes_to_the_endpoint_and_nowhere_else(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    work = Work(answers=tmp_path)
    opened(server.url, work).write(prompts(2))
    assert server.headers["Authorization"] == "Bearer sk-very-secret"
    server.reply = lambda body: (401, b"wrong key")
    with pytest.raises(ModelError) as told:
        opened(server.url, work).write(prompts(3))
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert written and b"very-secret" not in written
    assert "very-secret" not in str(told.value) + str(work.report())


def test_no_key_no_header(server: Server) -> None:
    opened(server.url, Work()).write(prompts(1))
    assert "Authorization" not in server.headers


def test_progress_is_told(server: Server) -> None:
    told = list[tuple[str, int, int]]()
    work = Work(show=lambda task: lambda done, total: told.append((task, done, total)))
    opened(server.url, work).write(prompts(_models.TOGETHER + 1))
    total = _models.TOGETHER + 1
    assert told == [("asking the model", _models.TOGETHER, total), ("asking the model", total, total)]


def test_a_writer_of_the_users_own_is_remembered_too(tmp_path: Path) -> None:
    class Upper:
        def write(self, prompts: Any) -> list[str]:
            return [prompt["text"].upper() for prompt in prompts]

    first = Answers(Upper(), Work(answers=tmp_path), "own")
    assert first.write([{"text": "a"}, {"text": "b"}, {"text": "a"}]) == ["A", "B", "A"]
    again = Answers(Upper(), Work(answers=tmp_path), "own")
    assert again.write([{"text": "b"}]) == ["B"]
    assert (first.asked, again.asked) == (2, 0)


def test_a_model_on_this_machine_answers_and_scores() -> None:
    """Scores are those of the engine; an answer that fits is likelier a token than one that does not."""
    from seektune.engine.opening import open_engine

    asked = [{"messages": [{"role": "user", "content": "What is 2 + 3?"}]}]
    made = opened("base:tiny", Work(), max_new_tokens=8)
    assert isinstance(made.inner, Local)
    engine = open_engine("base:tiny")
    assert made.write(asked) == [engine.generate(asked, max_new_tokens=8)[0].text]
    records = [
        {"messages": [*asked[0]["messages"], {"role": "assistant", "content": text}]} for text in ("5", "北京 river")
    ]
    scores = made.inner.score(records)
    assert scores == engine.score(records)
    assert scores[0][0] / scores[0][1] < scores[1][0] / scores[1][1]


def test_a_folder_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match="no such folder"):
        opened("./nowhere/model", Work()).write(prompts(1))


def test_an_endpoint_takes_plain_texts_and_whole_urls(server: Server) -> None:
    made = list(Endpoint(f"{server.url}/chat/completions/").write([{"text": "go on"}]))
    assert made == ["<go on>"]
    assert server.asked[0]["_path"] == "/v1/chat/completions"
