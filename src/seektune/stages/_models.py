"""Models that stages write and judge with: a folder, a run, a hub id or `base:tiny` behind our engine, or an OpenAI-compatible
endpoint (`http://…`). What was answered once is kept in a file, so that whatever fails half way goes on from there.

A stage may be handed a `Writer` of the user's own instead: anything with `write`.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import files
from ..contracts import Record
from ..errors import ModelError, RunFailedError, problem
from ._work import Work

TOGETHER = 64  # prompts between two writes of the file
AT_ONCE = 8  # requests to an endpoint under way
TRIES = 4
PAUSE = 0.5  # seconds before the second try; twice as many before each further one
TIMEOUT = 120.0  # seconds
LARGEST = 32 << 20  # bytes of an endpoint's answer
SHOWN = 80  # bytes of an unfit answer that an error shows

FAILURES = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, ValueError)


class Writer(Protocol):
    """Something that answers prompts (records with `messages` or `text`), one text each, in their order.

    Where it also has `as_they_come(prompts)`, which yields (number of the prompt, answer), those before a failure are kept.
    """

    def write(self, prompts: Sequence[Record]) -> list[str]: ...


def opened(model: str, work: Work, *, name: str = "", max_new_tokens: int = 256, temperature: float = 0.0) -> Answers:
    """A writer for what a user names, with its answers kept in the cache of `work`. `name` is the model at an endpoint."""
    settings: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": work.seed}
    if model.startswith(("http://", "https://")):
        inner: Writer = Endpoint(model, name, **settings)
    else:
        inner = Local(model, **settings)
    return Answers(inner, work, files.sha256_text(repr([model, name, settings]))[:16])


@dataclass
class Answers:
    """A writer that remembers: each prompt is asked once, and what has been answered is on disk after every few."""

    inner: Writer
    work: Work
    key: str
    known: dict[str, str] = field(default_factory=dict)
    asked: int = 0  # prompts that went to the model

    def __post_init__(self) -> None:
        folder = self.work.answers
        self.path = folder / f"{self.key}.jsonl" if folder is not None else None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = files.read_lines(self.path)
            self.known.update((row["key"], row["text"]) for row in rows if isinstance(row, dict) and "text" in row)

    def write(self, prompts: Sequence[Record]) -> list[str]:
        keys = [_key(prompt) for prompt in prompts]
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self.known}
        show = self.work.show("asking the model")
        done = 0
        for part in _parts(list(missing.items())):
            for i, text in self._coming([prompt for _, prompt in part]):
                self._keep(part[i][0], _writable(text))
            done += len(part)
            show(done, len(missing))
        return [self.known[key] for key in keys]

    def _coming(self, prompts: list[Record]) -> Iterator[tuple[int, str]]:
        if hasattr(self.inner, "as_they_come"):
            yield from self.inner.as_they_come(prompts)
            return
        for (i, _), text in zip(enumerate(prompts), self.inner.write(prompts), strict=True):
            yield i, text

    def _keep(self, key: str, text: str) -> None:
        self.known[key] = text
        self.asked += 1
        if self.path is not None:
            files.append_line(self.path, {"key": key, "text": text})


def _key(prompt: Record) -> str:
    return files.sha256_text(json.dumps(prompt, ensure_ascii=True, sort_keys=True, default=str))


def _writable(text: str) -> str:
    """Without half characters, which JSON can hold and a file cannot."""
    return text.encode("utf-8", "replace").decode()


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    return (items[start : start + TOGETHER] for start in range(0, len(items), TOGETHER))


@dataclass
class Local:
    """A model on this machine, opened when it is first asked."""

    path: str
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 17
    _engine: Any = None

    @property
    def engine(self) -> Any:
        if self._engine is None:
            from ..engine.opening import open_engine

            self._engine = open_engine(self.path)
        return self._engine

    def write(self, prompts: Sequence[Record]) -> list[str]:
        sampling = {"temperature": self.temperature, "seed": self.seed} if self.temperature else {}
        answers = self.engine.generate(list(prompts), max_new_tokens=self.max_new_tokens, **sampling)
        return [answer.text for answer in answers]

    def score(self, records: Sequence[Record]) -> list[tuple[float, float]]:
        """(Sum of -log p in nats, weight) of the learnt tokens of each record."""
        return list(self.engine.score(list(records)))


@dataclass
class Endpoint:
    """`POST {url}/chat/completions`. The key, where one is needed, is taken from OPENAI_API_KEY."""

    url: str
    name: str = ""
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 17

    def write(self, prompts: Sequence[Record]) -> list[str]:
        found = dict(self.as_they_come(prompts))
        return [found[i] for i in range(len(prompts))]

    def as_they_come(self, prompts: Sequence[Record]) -> Iterator[tuple[int, str]]:
        """(Number of the prompt, answer), whichever is first. After a failure nothing more is asked; what is under way
        still comes, and then the failure is raised."""
        failure: BaseException | None = None
        with ThreadPoolExecutor(AT_ONCE) as threads:
            asked = {threads.submit(self._ask, prompt): i for i, prompt in enumerate(prompts)}
            for future in as_completed(asked):
                if future.cancelled():
                    continue
                if (error := future.exception()) is None:
                    yield asked[future], future.result()
                    continue
                failure = failure or error
                for other in asked:
                    other.cancel()
        if failure is not None:
            raise failure

    def _ask(self, prompt: Record) -> str:
        messages = prompt.get("messages") or [{"role": "user", "content": prompt.get("text", "")}]
        body = {"model": self.name, "messages": messages, "max_tokens": self.max_new_tokens, "temperature": self.temperature,
                "seed": self.seed}  # fmt: skip
        for attempt in range(TRIES):
            if attempt:
                time.sleep(PAUSE * 2 ** (attempt - 1))
            try:
                raw = self._post(body)
            except FAILURES as error:
                self._refused(error)
                last = error
            else:
                return self._text_of(raw)
        fix = "what was answered is kept: run it again once the endpoint is back"
        raise RunFailedError(problem(self._where, f"does not answer ({last})", fix=fix)) from last

    @property
    def _where(self) -> str:
        return f"{self.url}, model {self.name}" if self.name else self.url

    def _refused(self, error: Exception) -> None:
        """Raises ModelError where trying again would not help: it is no URL, or the endpoint answers, and says no."""
        if isinstance(error, http.client.InvalidURL | ValueError):
            raise ModelError(problem(self._where, f"is no URL ({error})", "http://host:port/v1")) from error
        if not isinstance(error, urllib.error.HTTPError):
            return
        with error:
            said = error.read(SHOWN).decode("utf-8", "replace").replace("\n", " ")
        if error.code >= 500 or error.code in (408, 429):
            return
        fixes = {
            401: "set OPENAI_API_KEY",
            403: "set OPENAI_API_KEY",
            404: "the URL ends in /v1 as a rule; is `name` a model of it?",
        }
        fix = fixes.get(error.code, "")
        raise ModelError(
            problem(self._where, f"answered {error.code} ({said})", "an OpenAI-compatible endpoint", fix)
        ) from error

    def _post(self, body: dict[str, Any]) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        url = self.url.rstrip("/")
        url = url if url.endswith("/chat/completions") else f"{url}/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return bytes(answer.read(LARGEST + 1))

    def _text_of(self, raw: bytes) -> str:
        if len(raw) > LARGEST:
            raise ModelError(problem(self._where, f"answered more than {LARGEST >> 20} MB", "a chat completion"))
        try:
            text = json.loads(raw)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError) as error:
            found = f"answered {raw[:SHOWN]!r}"
            raise ModelError(problem(self._where, found, "JSON with choices[0].message.content")) from error
        if not isinstance(text, str):
            raise ModelError(problem(self._where, f"answered {raw[:SHOWN]!r}", "a text in choices[0].message.content"))
        return text
