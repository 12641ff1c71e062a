"""Talk to a model in the terminal.

    seektune chat runs/headlines-3
    echo "Hello" | seektune chat base:tiny

/reset forgets the conversation, /system TEXT sets the system message, /quit ends. Ctrl-C stops an answer. Thinking is dim.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import console
from ..errors import InputError, ModelError, nearest, problem

if TYPE_CHECKING:
    from ..engine.engine import Engine

COMMANDS = {"/reset": "forget the conversation", "/system TEXT": "set the system message", "/quit": "end"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="a run, a model or adapter folder, a hub id, or base:tiny")
    parser.add_argument("--system", default="", metavar="TEXT", help="the system message")
    parser.add_argument(
        "--temperature", type=float, default=0.0, help="0 (the default) takes the likeliest token each time"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw from the likeliest tokens that hold this probability"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draws; the same seed gives the same answers")
    parser.add_argument("--max-new-tokens", type=int, default=512, help="longest answer, in tokens (512)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")
    parser.add_argument(
        "--template", default="auto", metavar="FILE", help="a Jinja chat template instead of the model's own"
    )


def run(args: argparse.Namespace) -> int:
    from ..engine.opening import open_engine
    from ..engine.sampling import Sampling

    sampling = {key: getattr(args, key) for key in ("temperature", "top_p", "seed", "max_new_tokens")}
    Sampling(**sampling)  # what is wrong is told before the model is read
    engine = open_engine(args.model, args.device, template=args.template)
    if engine.labels:
        raise ModelError(problem(args.model, "is a classifier", "a language model", "`seektune evaluate` measures it"))
    chat = Chat(engine, sampling, args.system)
    for line in lines():
        if not chat.take(line):
            break
    return 0


def lines() -> Iterator[str]:
    """What the user says, a line each: asked for in a terminal, read from a pipe. Ctrl-C and Ctrl-D at the question end."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import contextlib

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history for `input`)
    console.say(" · ".join(f"{name}: {what}" for name, what in COMMANDS.items()) + " · Ctrl-C stops an answer", "dim")
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            console.say()
            return


@dataclass
class Chat:
    """A conversation with a model: `take` a line of the user, until it returns False."""

    engine: Engine
    sampling: dict[str, Any]
    system: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)

    def take(self, line: str) -> bool:
        line = line.strip()
        word, _, rest = line.partition(" ")
        if not line:
            return True
        if word == "/quit":
            return False
        if word == "/reset":
            self.messages.clear()
        elif word == "/system":
            self.system = rest.strip()
        elif word.startswith("/") and word.isascii() and word[1:].isalpha():
            known = [name.split()[0] for name in COMMANDS]
            console.error(problem(word, "unknown command", fix=nearest(word, known)))
        else:
            self._answer(line)
        return True

    def _answer(self, line: str) -> None:
        """Streams the answer. A question that the model cannot take is told and forgotten; the conversation goes on."""
        self.messages.append({"role": "user", "content": line})
        try:
            self.messages.append(self._streamed())
        except InputError as error:
            self.messages.pop()
            console.error([f"{one}; /reset forgets the conversation" for one in error.problems])

    def _streamed(self) -> dict[str, str]:
        from ..engine.pieces import OPEN, Thoughts

        system = [{"role": "system", "content": self.system}] if self.system else []
        prompt: dict[str, Any] = {"messages": system + self.messages}
        opened = self.engine.renderer.text(prompt["messages"], generation_prompt=True).rstrip().endswith(OPEN)
        thoughts, said = Thoughts(opened), {True: "", False: ""}
        parts = (part for piece in self.engine.stream(prompt, **self.sampling) for part in thoughts.add(piece))
        try:
            for text, thought in parts:
                said[thought] += text
                console.say(text, "dim" if thought else "", end="")
        except KeyboardInterrupt:
            console.say(" [stopped]", "dim", end="")
        for text, thought in thoughts.end():
            said[thought] += text
            console.say(text, "dim" if thought else "", end="")
        console.say()
        message = {"role": "assistant", "content": said[False].strip()}
        return message | ({"reasoning_content": said[True].strip()} if said[True].strip() else {})
