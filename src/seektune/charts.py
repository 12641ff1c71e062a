"""Curves and intervals as SVG, drawn here and not in the browser: a page that holds them needs no script and prints.

Colours are the variables of `page.STYLE`. Each curve carries its points in `data-points`, for the read-out under the mouse.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 26  # room around the curves, in units of the drawing: 1 px at full width
MOST_POINTS = 600  # of one curve on the page; more are drawn as the lowest and highest of each stretch


@dataclass(frozen=True)
class Series:
    """One curve. A value of None (not finite) breaks the line and leaves a mark on the axis."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    colour: str = "a"  # a | b: the variables --series-a and --series-b
    dots: bool = False  # mark each point (few points)
    smooth: bool = False  # draw the points faintly, and a running mean over them


@dataclass(frozen=True)
class Frame:
    """The axes: where a value stands in the drawing."""

    x: tuple[float, float]
    y: tuple[float, float]
    width: int
    height: int
    ticks_x: list[float] = field(default_factory=list)
    ticks_y: list[float] = field(default_factory=list)

    def across(self, value: float) -> float:
        low, high = self.x
        return LEFT + (value - low) / (high - low) * (self.width - LEFT - RIGHT)

    def up(self, value: float) -> float:
        low, high = self.y
        return self.height - BOTTOM - (value - low) / (high - low) * (self.height - BOTTOM - TOP)


def chart(
    title: str,
    series: Iterable[Series],
    *,
    zero: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    width: int = 720,
    height: int = 240,
) -> str:
    """A figure with the curves over the steps. `zero`: the axis begins at 0. `marks`: (step, what happened there)."""
    drawn = [one for one in series if any(y is not None for y in one.ys)]
    if not drawn:
        return ""
    frame = _frame(drawn, zero, width, height)
    parts = [
        _grid(frame),
        *(_mark(frame, x, label) for x, label in marks),
        *(_curve(frame, one) for one in drawn),
        *(_gaps(frame, one) for one in drawn),
    ]
    legend = (
        "".join(f'<span class="key key-{one.colour}">{escape(one.name)}</span>' for one in drawn)
        if len(drawn) > 1
        else ""
    )
    return (
        f'<figure class="chart"><figcaption><b>{escape(title)}</b>{legend}<output></output></figcaption>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(_spoken(title, drawn))}" {_scale(frame)}>{"".join(parts)}'
        '<line class="cursor" y1="0" y2="0"/></svg></figure>'
    )


def interval(value: float, low: float | None, high: float | None, axis: tuple[float, float], colour: str = "a") -> str:
    """A dot with its interval on a small axis from `axis[0]` to `axis[1]`."""
    span = (axis[1] - axis[0]) or 1.0

    def across(number: float) -> float:
        return 6 + min(1.0, max(0.0, (number - axis[0]) / span)) * 148

    whisker = (
        ""
        if low is None or high is None
        else f'<line class="whisker key-{colour}" x1="{across(low):.1f}" x2="{across(high):.1f}" y1="8" y2="8"/>'
    )
    dot = f'<circle class="dot key-{colour}" cx="{across(value):.1f}" cy="8" r="4"/>'
    return f'<svg class="interval" viewBox="0 0 160 16" aria-hidden="true"><line class="grid" x1="6" x2="154" y1="8" y2="8"/>{whisker}{dot}</svg>'


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) inside [low, high]."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number beside an axis: 12k · 0.35 · 2e-4."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if abs(value) < 1e-3:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:,.6g}"


def thin(xs: Sequence[float], ys: Sequence[float | None], most: int = MOST_POINTS) -> list[tuple[float, float | None]]:
    """At most `most` points: of each stretch the lowest and the highest in their order, so that no spike is lost."""
    points = list(zip(xs, ys, strict=True))
    if len(points) <= most:
        return points
    kept: list[tuple[float, float | None]] = []
    for number in range(most // 2):
        stretch = points[number * len(points) // (most // 2) : (number + 1) * len(points) // (most // 2)]
        finite = [(x, y) for x, y in stretch if y is not None]
        if not finite:
            kept.append(stretch[0])
            continue
        ends = {min(finite, key=lambda p: p[1]), max(finite, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def running_mean(ys: Sequence[float | None], window: int) -> list[float | None]:
    """Mean of the finite values of a centred window; None where there are none."""
    sums, counts = [0.0], [0]
    for y in ys:
        sums.append(sums[-1] + (y or 0.0))
        counts.append(counts[-1] + (y is not None))
    means: list[float | None] = []
    for index in range(len(ys)):
        low, high = max(0, index - window // 2), min(len(ys), index + window // 2 + 1)
        count = counts[high] - counts[low]
        means.append((sums[high] - sums[low]) / count if count else None)
    return means


def _frame(series: Sequence[Series], zero: bool, width: int, height: int) -> Frame:
    xs = [x for one in series for x in one.xs]
    ys = [y for one in series for y in one.ys if y is not None]
    low, high = (0.0 if zero else min(ys)), max(ys)
    scale = max(abs(low), abs(high))
    if high - low <= max(1e-9 * scale, 1e-30):  # a flat curve stands in the middle
        room = 0.1 * scale if scale > 1e-29 else 1.0
        low, high = low - room, high + room
    room = (high - low) * 0.06
    y = (low if zero else low - room, high + room)
    x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 1, max(xs) + 1)
    steps = [tick for tick in nice_ticks(*x, max(3, width // 90)) if tick == int(tick)]
    return Frame(x, y, width, height, steps, nice_ticks(*y, max(3, height // 50)))


def _grid(frame: Frame) -> str:
    right, base = frame.width - RIGHT, frame.height - BOTTOM
    lines = [
        f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{frame.up(t):.1f}" y2="{frame.up(t):.1f}"/>'
        for t in frame.ticks_y
    ]
    lines += [
        f'<text class="tick" x="{LEFT - 7}" y="{frame.up(t) + 4:.1f}" text-anchor="end">{short(t)}</text>'
        for t in frame.ticks_y
    ]
    lines += [
        f'<text class="tick" x="{frame.across(t):.1f}" y="{base + 18}" text-anchor="middle">{short(t)}</text>'
        for t in frame.ticks_x
    ]
    return "".join(lines) + f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{base}" y2="{base}"/>'


def _curve(frame: Frame, one: Series) -> str:
    """Points, or points and their running mean; the strong line carries the read-out."""
    smooth = one.smooth and len(one.ys) >= 30
    faint = _path(frame, thin(one.xs, one.ys), f"line faint key-{one.colour}") if smooth else ""
    shown = running_mean(one.ys, max(5, len(one.ys) // 40)) if smooth else one.ys
    points = thin(one.xs, shown, MOST_POINTS // 2 if smooth else MOST_POINTS)
    return (
        faint
        + _path(frame, points, f"line key-{one.colour}", one.name)
        + (_dots(frame, points, one.colour) if one.dots else "")
    )


def _path(frame: Frame, points: Sequence[tuple[float, float | None]], classes: str, name: str = "") -> str:
    words, broken = [], True
    for x, y in points:
        if y is None:
            broken = True
            continue
        words.append(f"{'M' if broken else 'L'}{frame.across(x):.1f} {frame.up(y):.1f}")
        broken = False
    data = json.dumps([[x, float(f"{y:.5g}")] for x, y in points if y is not None])
    readable = f' data-name="{escape(name)}" data-points="{escape(data)}"' if name else ""
    return f'<path class="{classes}" d="{"".join(words)}"{readable}/>'


def _dots(frame: Frame, points: Sequence[tuple[float, float | None]], colour: str) -> str:
    if len(points) > 60:
        return ""
    return "".join(
        f'<circle class="dot key-{colour}" cx="{frame.across(x):.1f}" cy="{frame.up(y):.1f}" r="3"/>'
        for x, y in points
        if y is not None
    )


def _gaps(frame: Frame, one: Series) -> str:
    """A cross on the axis at each step whose value was not finite."""
    base = frame.height - BOTTOM
    gaps = [frame.across(x) for x, y in zip(one.xs, one.ys, strict=True) if y is None][:MOST_POINTS]
    return "".join(
        f'<path class="gap" d="M{x - 4:.1f} {base - 4}l8 8m0 -8l-8 8"><title>not finite</title></path>' for x in gaps
    )


def _mark(frame: Frame, x: float, label: str) -> str:
    at = frame.across(min(max(x, frame.x[0]), frame.x[1]))
    return f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{frame.height - BOTTOM}"><title>{escape(label)}</title></line>'


def _scale(frame: Frame) -> str:
    """What the read-out needs to go from the mouse to a step."""
    return (
        f'data-x="{frame.x[0]:g} {frame.x[1]:g}" data-box="{LEFT} {frame.width - RIGHT} {TOP} {frame.height - BOTTOM}"'
    )


def _spoken(title: str, series: Sequence[Series]) -> str:
    """The chart in words, for those who do not see it."""
    parts = []
    for one in series:
        finite = [y for y in one.ys if y is not None]
        parts.append(f"{one.name} from {short(finite[0])} to {short(finite[-1])}")
    return f"{title}: " + "; ".join(parts)
