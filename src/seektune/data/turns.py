"""Turns of a conversation: role aliases, content parts, tool calls and per-message weights, made into plain messages.

A message is {"role": system | user | assistant | tool, "content": text} and, where given, `reasoning_content`,
`tool_calls` (OpenAI's form, arguments as an object), `train` and `weight`.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from functools import cache
from typing import Any

from .readers import Unfit

Message = dict[str, Any]

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "call",
    "tool_call": "call",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
}
OWN_KEYS = ("role", "content", "from", "value", "reasoning_content", "tool_calls", "train", "weight")
PLAIN = ({"role", "content"}, {"from", "value"})
OTHER_KEYS = {"name", "tool_call_id", "id"}

_marks = re.compile(r"\n\n(Human|Assistant):[ ]?")


def named(value: Any) -> str:
    """The type of a value in the words of a data file."""
    if value is None:
        return "nothing"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def opened(value: Any, field: str) -> Any:
    """A list or object; one that stands as JSON in a text (CSV cells, ShareGPT's `tools`) is decoded."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise Unfit(f"`{field}` is text that is no JSON", "a list, or a list written as JSON") from error


def messages_of(value: Any, field: str) -> list[Message]:
    """The messages behind a list of turns, `role`/`content` or `from`/`value`. Raises Unfit naming field and turn."""
    turns = opened(value, field)
    if not isinstance(turns, list):
        raise Unfit(f"`{field}` is {named(turns)}", "a list of messages")
    if not turns:
        raise Unfit(f"`{field}` is empty", "at least one message")
    return [_message(turn, field, number) for number, turn in enumerate(turns, 1)]


def _message(turn: Any, field: str, number: int) -> Message:
    if not isinstance(turn, dict):
        raise Unfit(
            f"a message in `{field}` is {named(turn)}", '{"role": ..., "content": ...}', detail=f"message {number}"
        )
    name, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
    role = ROLES.get(name) if isinstance(name, str) else None
    if role is None:
        role = _role(name, field, number)
    if role == "call":
        message = {"role": "assistant", "content": "", "tool_calls": _calls(content, f"message {number}")}
    else:
        message = {
            "role": role,
            "content": content if isinstance(content, str) else _content(turn, content, field, number),
        }
    if turn.keys() not in PLAIN:
        _add_rest(message, turn, f"message {number}")
    return message


def _role(name: Any, field: str, number: int) -> str:
    if name is None:
        raise Unfit(f"a message in `{field}` has no role", "`role` (or `from`)", detail=f"message {number}")
    if (role := ROLES.get(str(name).strip().lower())) is None:
        expected = "one of " + ", ".join(ROLES)
        raise Unfit(f"unknown role {str(name)[:40]!r}", expected, detail=f"message {number} of `{field}`")
    return role


def _content(turn: dict[str, Any], content: Any, field: str, number: int) -> str:
    """Text of a content that is a list of parts, or absent beside tool calls."""
    place = f"message {number} of `{field}`"
    if content is None and (turn.get("tool_calls") or turn.get("reasoning_content")):
        return ""
    if not isinstance(content, list):
        found = "has no content" if content is None else f"has {named(content)} as content"
        raise Unfit(f"a message {found}", "text", detail=place)
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else None
        text = part if isinstance(part, str) else part.get("text") if kind == "text" else None
        if not isinstance(text, str):
            raise Unfit(f"a content part of type {kind or named(part)!r}", "parts of type 'text'", detail=place)
        texts.append(text)
    return "".join(texts)


def _add_rest(message: Message, turn: dict[str, Any], place: str) -> None:
    """The keys beside role and content: ours are checked, a slip of one is refused, all others are kept."""
    for key, value in turn.items():
        if value is None or key in ("role", "content", "from", "value"):
            continue
        if key == "tool_calls":
            if value != []:
                message[key] = _calls(value, place)
        elif key == "reasoning_content":
            if not isinstance(value, str):
                raise Unfit(f"`{key}` is {named(value)}", "text", detail=place)
            message[key] = value
        elif key == "train":
            if not isinstance(value, bool):
                raise Unfit(f"`train` is {value!r}", "true or false", detail=place)
            message[key] = value
        elif key == "weight":
            message[key] = _weight(value, place)
        elif meant := _slip(key):
            raise Unfit(f"unknown field {key!r} in a message", fix=f"did you mean {meant!r}?", detail=place)
        else:
            message[key] = value


def _weight(value: Any, place: str) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise Unfit(f"`weight` is {value!r}", "a number, 0 or more", detail=place)
    return float(value)


@cache
def _slip(key: str) -> str:
    if key in OTHER_KEYS:
        return ""
    return next(iter(difflib.get_close_matches(key, OWN_KEYS, n=1, cutoff=0.8)), "")


# Tools


def _calls(value: Any, place: str) -> list[dict[str, Any]]:
    """Tool calls in OpenAI's form: [{"type": "function", "function": {"name", "arguments": object}}]."""
    try:
        calls = opened(value, "tool_calls")
    except Unfit:
        calls = None
    return [_call(call, place) for call in (calls if isinstance(calls, list) and calls else [calls])]


def _call(call: Any, place: str) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Unfit("a tool call that cannot be read", '{"name": ..., "arguments": {...}}', detail=place)
    arguments = function.get("arguments", function.get("parameters", {}))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except ValueError as error:
            raise Unfit("arguments of a tool call that are no JSON", "a JSON object", detail=place) from error
    if not isinstance(arguments, dict):
        raise Unfit(f"arguments of a tool call are {named(arguments)}", "a JSON object", detail=place)
    made = {"type": "function", "function": {"name": function["name"], "arguments": arguments}}
    return {"id": call["id"], **made} if isinstance(call.get("id"), str) else made


def tools_of(value: Any) -> list[dict[str, Any]]:
    """The `tools` of a conversation, a list or JSON in a text, as {"type": "function", "function": {...}}; may be empty."""
    tools = opened(value, "tools") if value else []
    tools = [tools] if isinstance(tools, dict) else tools
    if not isinstance(tools, list):
        raise Unfit(f"`tools` is {named(tools)}", "a list of functions")
    made = []
    for tool in tools:
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise Unfit("a tool without a name", '{"name": ..., "parameters": {...}}')
        made.append(tool if "function" in tool else {"type": "function", "function": function})
    return made


# Checks


def with_system(messages: list[Message], system: Any) -> list[Message]:
    """The messages behind a `system` field beside them."""
    if system is None or system == "":
        return messages
    if not isinstance(system, str):
        raise Unfit(f"`system` is {named(system)}", "text")
    if messages and messages[0]["role"] == "system":
        if messages[0]["content"] != system:
            raise Unfit("two different system prompts", "`system`, or a first message with the role system")
        return messages
    return [{"role": "system", "content": system}, *messages]


def check_answers(messages: list[Message], field: str) -> list[Message]:
    """Raises Unfit where there is no answer to learn, or one is empty."""
    answers = [message for message in messages if message["role"] == "assistant"]
    if not answers:
        raise Unfit(f"no answer in `{field}`", "at least one message with the role assistant")
    for message in answers:
        empty = not message["content"].strip() and not message.get("tool_calls")
        if empty and message.get("train", True) and message.get("weight", 1.0):
            raise Unfit("empty answer", "text in every message of the assistant")
    return messages


def dialogue_of(text: str) -> list[Message]:
    """The turns of a text with the marks `Human:` and `Assistant:` (as HH-RLHF has them); [] for any other text."""
    before, *marked = _marks.split(text if text.startswith("\n\n") else "\n\n" + text.lstrip("\n"))
    if before.strip() or len(marked) < 4:
        return []
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[mark], "content": content.strip()}
        for mark, content in zip(marked[::2], marked[1::2], strict=True)
    ]
