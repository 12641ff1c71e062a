"""A chat template: Jinja text that turns messages into the text of a conversation, rendered as plain transformers does.

Messages are first put into one form (`prepare`): text parts joined, tool calls wrapped and numbered, our own marks
(`train`, `weight`) taken away. What differs between templates in how tool calls are passed is found by trying.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import product
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

from ..errors import DataError, problem

Message = dict[str, Any]

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template that `data.template: chatml` stands for."""

OWN_KEYS = ("train", "weight")  # ours, never shown to a template
REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")


class _Generation(jinja2.ext.Extension):
    """`{% generation %}` … `{% endgeneration %}` marks what is learnt for others; here it renders its body and no more."""

    tags = {"generation"}  # noqa: RUF012  (declared so by jinja2)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        line = next(parser.stream).lineno
        return jinja2.nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class _Namespace(jinja2.utils.Namespace):
    """Namespaces of a template take no underscore names, which would reach Python's internals."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a chat template may not set {name!r} on a namespace")
        super().__setitem__(name, value)


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@lru_cache(maxsize=1)
def environment() -> jinja2.Environment:
    """The sandbox that Hugging Face's `apply_chat_template` renders in."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    env.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    env.globals["namespace"] = _Namespace
    return env


@lru_cache(maxsize=32)
def compiled(source: str) -> jinja2.Template:
    try:
        return environment().from_string(source)
    except jinja2.exceptions.TemplateSyntaxError as error:
        raise DataError(problem("chat template", f"line {error.lineno}: {error.message}", "Jinja")) from None


def render(
    source: str, messages: Sequence[Message], tools: Any, special: Mapping[str, str], generation_prompt: bool
) -> str:
    """The text of a conversation. Raises DataError with the template's own complaint where it refuses the messages."""
    template = compiled(source)
    try:
        return template.render(
            messages=list(messages), tools=tools, documents=None, add_generation_prompt=generation_prompt, **special
        )
    except (
        jinja2.exceptions.TemplateError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise DataError(problem("chat template", f"does not render these messages: {error}")) from None


@dataclass(frozen=True)
class ToolForm:
    """How a template wants a message that only calls tools: its empty content, and the arguments as an object or as JSON text."""

    content: str | None
    as_text: bool


@lru_cache(maxsize=32)
def tool_form(source: str, special: tuple[tuple[str, str], ...]) -> ToolForm | None:
    """Found by trying: the form that shows the call in the shortest text, since a wrong one adds an empty answer or escapes
    the arguments. None where the template knows no tool calls.

    Some templates (R1) ask for a content that is `None`, which plain transformers takes away from a message: they render
    calls here and not there.
    """
    mark = "seektunecall"
    arguments = {"key": mark}
    found: list[tuple[int, ToolForm]] = []
    for content, as_text in product(("", None), (False, True)):
        function = {"name": "name", "arguments": json.dumps(arguments) if as_text else arguments}
        calls = [{"id": "call00001", "type": "function", "function": function}]
        answer: Message = {"role": "assistant", "content": content, "tool_calls": calls}
        with contextlib.suppress(DataError):
            text = render(source, [{"role": "user", "content": "user"}, answer], None, dict(special), False)
            if mark in text:
                found.append((len(text), ToolForm(content, as_text)))
    return min(found, key=lambda pair: pair[0])[1] if found else None


def prepare(messages: Sequence[Message], form: ToolForm | None) -> list[Message]:
    """The messages as a template sees them; the caller's are left as they are."""
    ids = _call_ids()
    waiting: list[str] = []
    prepared = []
    for message in messages:
        message = {key: value for key, value in message.items() if key not in OWN_KEYS and value is not None}
        _join_parts(message)
        _name_reasoning(message)
        if message.get("tool_calls"):
            calls = [_call(call, form, ids) for call in message["tool_calls"]]
            waiting = [call["id"] for call in calls]
            message["tool_calls"] = calls
            if not message.get("content"):
                message["content"] = form.content if form else ""
        else:
            message.pop("tool_calls", None)
        if message.get("role") == "tool" and not message.get("tool_call_id") and waiting:
            message["tool_call_id"] = waiting.pop(0)
        prepared.append(message)
    return prepared


def _call_ids() -> Iterator[str]:
    """Nine letters and digits, which is what Mistral's templates insist on; others do not read them."""
    number = 0
    while True:
        number += 1
        yield f"call{number:05d}"


def _join_parts(message: Message) -> None:
    content = message.get("content")
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        message["content"] = "".join(part.get("text", "") for part in content)


def _name_reasoning(message: Message) -> None:
    """Reasoning goes by three names; a template finds it under the first two of them, as with transformers."""
    given = [message[key] for key in REASONING_KEYS if key in message]
    if given:
        message.setdefault("thinking", given[0])
        message["reasoning_content"] = given[0]


def _call(call: Mapping[str, Any], form: ToolForm | None, ids: Iterator[str]) -> dict[str, Any]:
    """`{"name", "arguments"}` or OpenAI's nested form -> the nested form, arguments as the template wants them."""
    function = dict(call["function"]) if isinstance(call.get("function"), Mapping) else dict(call)
    arguments = function.get("arguments", {})
    if form and form.as_text and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not (form and form.as_text) and isinstance(arguments, str):
        arguments = _parsed(arguments)
    fresh = next(ids)
    name = {key: value for key, value in function.items() if key not in ("id", "type", "arguments")}
    return {
        "id": call.get("id") or fresh,
        "type": call.get("type") or "function",
        "function": {**name, "arguments": arguments},
    }


def _parsed(arguments: str) -> Any:
    try:
        value = json.loads(arguments)
    except ValueError:
        return arguments
    return value if isinstance(value, dict) else arguments
