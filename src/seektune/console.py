"""What a person sees: lines, tables, coloured tokens, progress. Knows nothing of models; rich is imported when first used.

Human text goes to stdout, warnings and errors and progress to stderr; after `use_stderr()` (a verb with --json) all of it
goes to stderr, and stdout holds the one object of `result`. What users wrote is never read as markup or escape codes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from .errors import RecipeError, problem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Kind = Literal["learnt", "not learnt", "end", "cut"]
KINDS: dict[str, tuple[str, str, str, str]] = {  # kind -> style, mark before, mark after, words of the legend
    "learnt": ("bold green", "[[", "]]", "learnt"),
    "not learnt": ("dim", "", "", "not learnt"),
    "end": ("bold black on yellow", "<<", ">>", "end of turn, learnt"),
    "cut": ("strike red", "~~", "~~", "cut off"),
}
WIDE = 10_000  # columns where the output is no terminal: nothing is wrapped or shortened in a file

_all_to_stderr = False
_live: Console | None = None  # of the progress bar that is on the screen


def use_stderr(on: bool = True) -> None:
    """Human text to stderr from here on: stdout belongs to `result`."""
    global _all_to_stderr
    _all_to_stderr = on


def result(value: dict[str, Any]) -> None:
    """The one JSON object of a verb with --json, on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")
    sys.stdout.flush()


def say(text: str = "", style: str = "", end: str = "\n") -> None:
    """A line of text as it is; `style` in the words of rich (`bold`, `dim`, `green`)."""
    _print(_text(text, style), end=end)


def title(text: str) -> None:
    """A heading with an empty line above."""
    _print(_text("\n" + text, "bold cyan"))


def warn(text: str) -> None:
    _labelled("warning: ", "bold yellow", text)


def error(problems: str | Sequence[str]) -> None:
    """One line each: all that is wrong."""
    for line in problems.splitlines() if isinstance(problems, str) else problems:
        _labelled("error: ", "bold red", line)


def facts(pairs: Iterable[tuple[str, Any]]) -> None:
    """A short list of names and values, aligned."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="" if _plain() else "cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(_text(str(name)), _text(number(value)))
    _print(grid)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], heading: str = "") -> None:
    """A table; columns that hold only numbers stand to the right."""
    from rich import box
    from rich.table import Table

    cells = [list(row) for row in rows]
    shown = Table(
        title=_text(heading) if heading else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
    )
    for index, name in enumerate(columns):
        right = bool(cells) and all(isinstance(row[index], int | float) for row in cells)
        shown.add_column(_text(name), justify="right" if right else "left", overflow="fold")
    for row in cells:
        shown.add_row(*[cell if _is_text(cell) else _text(number(cell)) for cell in row])
    _print(shown)


def tokens(parts: Sequence[tuple[str, str]], legend: bool = True) -> None:
    """A record as the model sees it: (text, kind) per token, in colour, or with marks where there is no colour."""
    plain, shown = _plain(), _text("")
    for kind, text in runs_of_kind(parts):
        style, before, after, _ = KINDS[kind]
        visible = text.replace("\n", "↵\n")
        shown.append_text(_text(f"{before}{visible}{after}") if plain else _text(visible, style))
    _print(shown)
    if legend:
        _print(_legend(parts, plain))


def runs_of_kind(parts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Neighbours of one kind joined: (kind, text). Tokens that end a turn stay apart."""
    joined: list[tuple[str, str]] = []
    for text, kind in parts:
        if joined and joined[-1][0] == kind != "end":
            joined[-1] = (kind, joined[-1][1] + text)
        else:
            joined.append((kind, text))
    yield from joined


def confirm(question: str) -> bool:
    """Ask yes or no. RecipeError where nobody can answer."""
    if not sys.stdin.isatty():
        raise RecipeError(problem("stdin", "nobody can be asked here", "--yes, which answers the question"))
    say(f"{question} [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def number(value: Any) -> str:
    """A value for people: 12,345 · 0.0123 · 2.0e-04 · yes."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        size = abs(value)
        if size and size < 1e-3:
            return f"{value:.1e}"
        return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {number(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(number(inner) for inner in value) or "none"
    return "none" if value is None else str(value)


def size(count: float) -> str:
    """Bytes for people: `1.5 GiB`."""
    units = ["B", "KiB", "MiB", "GiB", "TiB"]
    while abs(count) >= 1024 and len(units) > 1:
        count /= 1024
        units.pop(0)
    return f"{count:.0f} {units[0]}" if units[0] == "B" else f"{count:.1f} {units[0]}"


def quantity(name: str, value: Any) -> str:
    """A value in the unit that its name tells: `..._bytes` as a size, `seconds` as a duration, else as `number` has it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if name.endswith("bytes"):
            return size(value)
        if name.endswith("seconds"):
            return duration(value)
    return number(value)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """A bar on a terminal, else a line every `every` seconds, on stderr; use it as a context or call `close`.

    No thread draws it: it moves when `update` is called, so that nothing runs beside the computation or at a fork.
    """

    def __init__(
        self,
        task: str,
        total: int | None,
        *,
        done: int = 0,
        unit: str = "",
        every: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.task, self.total, self.done, self.unit, self.every, self.clock = task, total, done, unit, every, clock
        self.began = self.shown = clock()
        self.first = done  # a resumed run begins here; the time left comes from what this process has done
        self.note = ""
        self.printed = -1  # the count in the last plain line
        self.bar: Any = None
        self.row: Any = None
        if _console(stderr=True).is_terminal and _live is None:
            self._open_bar()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __call__(self, done: int, total: int | None = None) -> None:
        """As the `show` of an evaluation or of tokenising: so many are done, of so many."""
        if total is not None and total != self.total:
            self.total = total
            if self.bar is not None:
                self.bar.update(self.row, total=total)
        self.update(done)

    def advance(self, count: int = 1) -> None:
        self.update(self.done + count)

    def update(self, done: int, note: str = "") -> None:
        """`done` of `total`; `note` is shown beside it. Drawn at most five times a second."""
        now, first = self.clock(), self.printed < 0
        self.done, self.note = done, note
        if self.bar is not None:
            if now - self.shown >= 0.2 or done == self.total:
                self.shown = now
                self.bar.update(self.row, completed=done, note=self._beside(), refresh=True)
        elif now - self.shown >= self.every or (first and now - self.began >= 1):
            self._line(now)

    def close(self) -> None:
        global _live
        if self.bar is not None:
            self.bar.update(self.row, completed=self.done, note=self._beside(), refresh=True)
            self.bar.stop()
            self.bar = _live = None
        elif self.printed >= 0 and self.printed != self.done:
            self._line(self.clock())

    def left(self) -> float | None:
        """Seconds until the end at the speed so far."""
        made, elapsed = self.done - self.first, self.clock() - self.began
        if self.total is None or made <= 0:
            return None
        return elapsed / made * (self.total - self.done)

    def _beside(self) -> str:
        elapsed = self.clock() - self.began
        speed = (self.done - self.first) / elapsed if elapsed > 0 else 0
        parts = [self.note, f"{number(speed)} {self.unit}/s" if self.unit and speed else ""]
        left = self.left()
        parts.append(f"{duration(left)} left" if left else f"took {duration(elapsed)}" if left == 0 else "")
        return " · ".join(part for part in parts if part)

    def _line(self, now: float) -> None:
        self.shown, self.printed = now, self.done
        of = f"/{self.total:,}" if self.total is not None else ""
        _print(_text(" · ".join(p for p in (f"{self.task} {self.done:,}{of}", self._beside()) if p)), stderr=True)

    def _open_bar(self) -> None:
        global _live
        from rich import progress

        _live = _console(stderr=True)
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(24),
            progress.MofNCompleteColumn(),
        )
        note = progress.TextColumn("{task.fields[note]}", markup=False, style="dim")
        self.bar = progress.Progress(*columns, note, console=_live, auto_refresh=False, redirect_stdout=False)
        self.row = self.bar.add_task(self.task, total=self.total, completed=self.done, note="")
        self.bar.start()


class TrainingProgress(Progress):
    """Steps, loss, tokens/s, time left."""

    def __init__(self, steps: int, done: int = 0, *, every: float = 10.0, clock: Callable[[], float] = time.monotonic):
        super().__init__("step", steps, done=done, every=every, clock=clock)

    def step(self, step: int, loss: float | None, tokens_per_second: float | None = None, validation: str = "") -> None:
        """After an optimizer step. `validation` is text such as `valid 1.52`; `loss` None stands for one that is not finite."""
        parts = ["loss not finite" if loss is None else f"loss {loss:.3f}", validation]
        if tokens_per_second:
            parts.append(f"{tokens_per_second:,.0f} tokens/s")
        self.update(step, " · ".join(part for part in parts if part))


def visible(text: str) -> str:
    """Text without control characters: they become their pictures, so that no record can move the cursor or ring the bell."""
    return "".join(c if c in "\n\t" or not _is_control(c) else _picture(c) for c in text)


def _is_control(char: str) -> bool:
    return ord(char) < 32 or 127 <= ord(char) < 160


def _picture(char: str) -> str:
    return chr(0x2400 + ord(char)) if ord(char) < 32 else "\N{REPLACEMENT CHARACTER}"


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(visible(text), style=style)


def _is_text(value: Any) -> bool:
    from rich.text import Text

    return isinstance(value, Text)


def _legend(parts: Sequence[tuple[str, str]], plain: bool) -> Text:
    legend = _text("")
    counts = {kind: sum(k == kind for _, k in parts) for kind in KINDS}
    for kind in (kind for kind, count in counts.items() if count):
        style, before, after, words = KINDS[kind]
        if len(legend):
            legend.append(" · ")
        legend.append_text(_text(f"{before}{words}{after}") if plain else _text(words, style))
        legend.append(f" {counts[kind]:,}")
    return legend


def _labelled(label: str, style: str, text: str) -> None:
    line = _text("")
    line.append_text(_text(label, style)).append_text(_text(text))
    _print(line, stderr=True)


def _print(shown: Any, end: str = "\n", stderr: bool = False) -> None:
    console = _live if _live is not None and (stderr or _all_to_stderr or sys.stdout.isatty()) else _console(stderr)
    wrap_softly = _is_text(shown)
    if console.is_terminal or wrap_softly:
        console.print(shown, end=end, soft_wrap=wrap_softly)
    else:  # no padding to the right in files and pipes
        with console.capture() as captured:
            console.print(shown, end=end)
        console.file.write("".join(line.rstrip() + "\n" for line in captured.get().splitlines()))
    console.file.flush()


def _console(stderr: bool = False) -> Console:
    """Made anew each time: streams may be replaced (tests, pipes), and making one costs little."""
    from rich.console import Console

    console = Console(stderr=stderr or _all_to_stderr, emoji=False, markup=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDE
    return console


def _plain() -> bool:
    console = _console()
    return console.no_color or console.color_system is None
