"""Which part of a rendered conversation is learnt: for each answer, what the model itself would write after its prompt.

The prompt of an answer is the rendering of the messages before it with the generation prompt, which is what inference
feeds. The rendering of the messages up to and including the answer tells what follows; where its turn ends is found by
rendering once more with a sentinel in the answer's place. Nothing here looks at tokens, or at names of templates.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import DataError, problem
from .template import Message

Render = Callable[[Sequence[Message], bool], str]  # (messages, generation prompt) -> text

THINK = re.compile(r"<think>\s*(?P<closed></think>\s*)?$")
"""A generation prompt that opens the reasoning, or opens and closes it."""


@dataclass
class Turn:
    """One answer: the text that inference would feed, and what is to be generated after it, closing mark included."""

    index: int  # of the message
    prompt: str
    answer: str
    weight: float
    notes: Counter[str] = field(default_factory=Counter)  # what the template left out


@dataclass(frozen=True)
class Closing:
    """How a turn closes: the mark that ends it, and what the template puts behind it, which is never generated."""

    end: str
    rest: str


class Masker:
    """Finds the turns of conversations for one template. `added` finds the tokenizer's added tokens in a text."""

    def __init__(self, added: re.Pattern[str] | None):
        self.added = added
        self._closings: dict[tuple[Any, ...], Closing] = {}

    def turns(self, render: Render, messages: Sequence[Message], weights: Sequence[float], tools: bool) -> list[Turn]:
        """The answers with a weight above 0, in order. Raises DataError naming the messages that cannot be learnt."""
        turns, problems = [], []
        for index, (message, weight) in enumerate(zip(messages, weights, strict=True)):
            if message["role"] == "assistant" and weight > 0:
                try:
                    turns.append(self._turn(render, messages[: index + 1], weight, tools))
                except DataError as error:
                    problems += [f"message {index + 1}: {line}" for line in error.problems]
        if problems:
            raise DataError(problems)
        return turns

    def _turn(self, render: Render, messages: Sequence[Message], weight: float, tools: bool) -> Turn:
        prompt = render(messages[:-1], True)
        full = render(messages, False)
        closing = self.closing(render, messages, full, tools)
        written = full[: len(full) - len(closing.rest)]
        answer = _after(prompt, written, messages[-1])
        if answer is None:
            answer = _after_rewritten(render, messages, closing, messages[-1])
        if answer is None:
            raise DataError(_not_following(prompt, full))
        turn = Turn(len(messages) - 1, prompt, answer, weight)
        _check_present(turn, messages[-1])
        return turn

    def closing(self, render: Render, messages: Sequence[Message], full: str, tools: bool) -> Closing:
        """How the last of `messages` closes in its rendering `full`; found once per kind of message, checked each time."""
        last = messages[-1]
        before = messages[-2]["role"] if len(messages) > 1 else None
        kind = (
            tools,
            before,
            bool(last.get("content")),
            bool(last.get("tool_calls")),
            bool(last.get("reasoning_content")),
        )
        known = self._closings.get(kind)
        if known is None or not full.endswith(known.end + known.rest):
            known = find_closing(render, messages, self.added)
            self._closings[kind] = known
        if not full.endswith(known.end + known.rest):
            raise DataError(
                problem("chat template", f"the answer does not end with {known.end + known.rest!r} as its turn does")
            )
        return known


def find_closing(render: Render, messages: Sequence[Message], added: re.Pattern[str] | None) -> Closing:
    """The closing of the last message: what follows its end whether the conversation stops there or goes on."""
    mark = sentinel(messages)
    marked = [*messages[:-1], _with_sentinel(messages[-1], mark)]
    last = _behind(render(marked, False), mark)
    if last is None:
        what = "the calls of tools" if messages[-1].get("tool_calls") else "the content"
        raise DataError(problem("chat template", f"does not render {what} of this answer"))
    common = last
    try:
        goes_on = _behind(render([*marked, {"role": "user", "content": sentinel(messages, "next")}], False), mark)
        common = _common_prefix(last, goes_on) if goes_on is not None else last
    except DataError:
        pass  # a user may not speak here (after a call of a tool)
    for tail in (common, last):
        marks = list(added.finditer(tail)) if added else []
        if marks:
            return Closing(marks[-1].group(), last[marks[-1].end() :])
    if messages[-1].get("tool_calls"):
        return Closing("", "")
    end = common.rstrip() or common  # no token ends the turn: its last visible letters do, or the blank line
    return Closing(end, last[len(end) :])


def sentinel(messages: Sequence[Message], name: str = "answer") -> str:
    """A word that occurs nowhere in the messages, without anything that a template would trim or split at."""
    everything = json.dumps(messages, ensure_ascii=False, default=str)
    word = f"seektune{name}"
    while word in everything:
        word += "x0"
    return word


def _with_sentinel(message: Message, mark: str) -> Message:
    """The message with `mark` as its content; where it calls tools, as the last thing in its last call."""
    calls = message.get("tool_calls")
    if not calls:
        return {**message, "content": mark}
    function = dict(calls[-1]["function"])
    function["arguments"] = json.dumps({"key": mark}) if isinstance(function["arguments"], str) else {"key": mark}
    return {**message, "tool_calls": [*calls[:-1], {**calls[-1], "function": function}]}


def _behind(text: str, mark: str) -> str | None:
    return text.rpartition(mark)[2] if mark in text else None


def _common_prefix(one: str, other: str) -> str:
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:length]


def _after(prompt: str, written: str, message: Message) -> str | None:
    """What was written after the prompt, or None where the rendering does not go on from it.

    Where the prompt opens the reasoning (`<think>`) and the template renders answers without, the reasoning of the
    record goes there; an answer without reasoning closes the block at once (`<think>`, empty line, `</think>`), which
    is how these models write it themselves. Where the prompt has closed the block, reasoning cannot follow.
    """
    if written.startswith(prompt):
        return written[len(prompt) :]
    opened = THINK.search(prompt)
    if opened is None or not written.startswith(prompt[: opened.start()]):
        return None
    body = written[opened.start() :]
    if opened["closed"]:
        return _without_reasoning(body)
    if body.startswith("<think>"):
        return body.removeprefix("<think>").lstrip()
    return _reasoning_before(body, message, line_open=prompt.endswith("\n")) + body


def _without_reasoning(body: str) -> str:
    return re.sub(r"^<think>.*?</think>\s*", "", body, flags=re.DOTALL)


def _reasoning_before(body: str, message: Message, *, line_open: bool) -> str:
    """The reasoning of a record up to where the template's rendering `body` of its answer begins."""
    content = message.get("content") or ""
    lead = "" if line_open else "\n"
    if message.get("reasoning_content") is None and "</think>" in content:
        head = content[: content.rindex("</think>") + len("</think>")]
        head = re.sub(r"^\s*<think>\n?", lead, head)
        kept = content[content.rindex("</think>") + len("</think>") :]
        gap = kept[: len(kept) - len(kept.lstrip())]
        return head + ("" if body.startswith(gap) else gap)  # a template that trims takes the gap away
    reasoning = (message.get("reasoning_content") or "").strip("\n")
    return f"{lead}{reasoning}\n</think>\n\n"


def _after_rewritten(render: Render, messages: Sequence[Message], closing: Closing, message: Message) -> str | None:
    """The same for templates that rewrite earlier messages: compares only what stands behind the last of the prompt."""
    if len(messages) < 2:
        return None
    mark = sentinel(messages, "prompt")
    marked = [*messages[:-2], _with_sentinel(messages[-2], mark)]
    prompt = _behind(render(marked, True), mark)
    full = _behind(render([*marked, message], False), mark)
    if prompt is None or full is None or not full.endswith(closing.end + closing.rest):
        return None
    return _after(prompt, full[: len(full) - len(closing.rest)], message)


def _not_following(prompt: str, full: str) -> str:
    shared = len(_common_prefix(prompt, full))
    found = f"renders the answer otherwise than after its generation prompt: {full[shared : shared + 40]!r}"
    return problem("chat template", found, f"{prompt[shared : shared + 40]!r}", "choose another with `data.template`")


def _check_present(turn: Turn, message: Message) -> None:
    """Nothing of an answer is lost in silence: a lost call or content raises, lost reasoning is noted."""
    answer = turn.answer
    for call in message.get("tool_calls") or []:
        if call["function"]["name"] not in answer:
            raise DataError(problem("chat template", f"leaves out the call of {call['function']['name']!r}"))
    content = message.get("content") or ""
    spoken = content.rpartition("</think>")[2].strip() if isinstance(content, str) else ""
    if spoken and spoken not in answer:
        if not message.get("tool_calls"):
            raise DataError(problem("chat template", "does not render the content of this answer"))
        turn.notes["content_dropped"] += 1
    if (thought := reasoning_of(message)) and thought not in answer:
        turn.notes["reasoning_dropped"] += 1


def reasoning_of(message: Message) -> str:
    """The reasoning of an answer, given apart or inside its content; "" where there is none."""
    apart = message.get("reasoning_content")
    if isinstance(apart, str):
        return apart.strip()
    content = message.get("content") or ""
    if not isinstance(content, str) or "</think>" not in content:
        return ""
    return content.rpartition("</think>")[0].rpartition("<think>")[2].strip()


def locate(render: Render, messages: Sequence[Message], index: int, text: str, *, prompt: bool) -> tuple[int, int]:
    """Where the content of message `index` stands in `text`, the rendering of `messages`. Raises DataError."""
    mark = sentinel(messages)
    marked = [*messages[:index], {**messages[index], "content": mark}, *messages[index + 1 :]]
    before, found, after = render(marked, prompt).partition(mark)
    if not found or not text.startswith(before) or not text.endswith(after) or len(before) + len(after) > len(text):
        found_ = "its content cannot be located in the rendering, so that it cannot have a weight"
        raise DataError(problem(f"message {index + 1}", found_))
    return len(before), len(text) - len(after)
