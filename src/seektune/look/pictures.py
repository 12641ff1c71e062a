"""The pictures of the page as SVG and HTML: histograms, bars, rows of dots, a map. Texts of users are escaped here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..charts import short
from ..page import text

COLOURS = 10  # --c0 … --c9; the last is for all the others
WIDTH, HEIGHT = 480, 210
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 30, 24


def histogram(title: str, told: Mapping[str, Any], unit: str) -> str:
    """Bars over an axis of powers, with the median and the 95th hundredth marked."""
    edges, counts = told["edges"], told["counts"]
    if len(edges) < 3 or not sum(counts):
        return ""
    low, high, top = math.log(edges[0]), math.log(edges[-1]), max(counts)

    def across(value: float) -> float:
        return LEFT + (math.log(max(value, edges[0])) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def up(count: float) -> float:
        return HEIGHT - BOTTOM - count / top * (HEIGHT - BOTTOM - TOP)

    bars = "".join(
        f'<rect class="bar" x="{across(a) + 0.6:.1f}" y="{up(n):.1f}" width="{max(across(b) - across(a) - 1.2, 0.8):.1f}" '
        f'height="{max(HEIGHT - BOTTOM - up(n), 1):.1f}" rx="1.5"><title>{a:,} to {b - 1:,} {unit}: {n:,} records</title></rect>'
        for a, b, n in zip(edges, edges[1:], counts, strict=False)
        if n
    )
    return (
        f'<figure class="plot"><figcaption><b>{text(title)}</b><span class="soft">median {told["median"]:,} · 95 % under '
        f'{told["p95"]:,} · longest {told["most"]:,}</span></figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{text(title)}: median {told["median"]}">{_counts_axis(top, up)}{bars}{_powers(edges, across)}'
        f"{_marks(told, across)}</svg></figure>"
    )


def _counts_axis(top: int, up: Any) -> str:
    ticks = sorted({round(top * part, -max(0, len(str(top)) - 2)) for part in (0.5, 1)} - {0})
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(t):.1f}" y2="{up(t):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{up(t) + 4:.1f}" text-anchor="end">{short(t)}</text>'
        for t in ticks
        if up(t) > 4
    )


def _powers(edges: Sequence[int], across: Any) -> str:
    """1, 10, 100 below the axis; 2 and 5 times these where there is room."""
    base = HEIGHT - BOTTOM
    ends = [factor * 10**power for power in range(10) for factor in (1, 2, 5)]
    ticks = [tick for tick in ends if edges[0] <= tick <= edges[-1]]
    ticks = ticks if len(ticks) <= 9 else [tick for tick in ticks if str(tick)[0] == "1"]
    words = "".join(
        f'<text class="tick" x="{across(t):.1f}" y="{base + 17}" text-anchor="middle">{short(t)}</text>' for t in ticks
    )
    return f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>{words}'


def _marks(told: Mapping[str, Any], across: Any) -> str:
    return "".join(
        f'<line class="mid" x1="{across(told[key]):.1f}" x2="{across(told[key]):.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick" x="{across(told[key]):.1f}" y="{TOP - 16}" text-anchor="middle">{word}</text>'
        for key, word in (("median", "median"), ("p95", "95 %"))
    )


def bars(parts: Mapping[str, Mapping[str, int]], most: int = 24) -> str:
    """Names with their counts, one bar each; `parts`: of each source, so that a bar is cut into their shares."""
    total: dict[str, int] = {}
    for counts in parts.values():
        for name, count in counts.items():
            total[name] = total.get(name, 0) + count
    order = sorted(total, key=lambda name: -total[name])
    whole, top = sum(total.values()) or 1, max(total.values(), default=1)
    rows = ""
    for name in order[:most]:
        pieces = "".join(
            f'<i style="width:{100 * counts[name] / top:.2f}%;background:var(--c{_colour(number)})" title="{text(source)}: {counts[name]:,}"></i>'
            for number, (source, counts) in enumerate(parts.items())
            if counts.get(name)
        )
        rows += f'<dt title="{text(name)}">{text(name)}</dt><dd><span class="rail">{pieces}</span><span class="n">{total[name]:,} <small>{total[name] / whole:.1%}</small></span></dd>'
    rest = order[most:]
    more = (
        f'<p class="soft">and {len(rest):,} more with {sum(total[name] for name in rest):,} records</p>' if rest else ""
    )
    return f'{legend(list(parts)) if len(parts) > 1 else ""}<dl class="bars">{rows}</dl>{more}' if rows else ""


def _colour(number: int) -> int:
    return min(number, COLOURS - 1)


def legend(names: Sequence[str], kind: str = "") -> str:
    """Colours with their names; the ones beyond share the last colour."""
    shown = [*names[: COLOURS - 1], "others"] if len(names) > COLOURS - 1 else list(names)
    spans = "".join(f'<span data-key="{kind}{n}"><i style="background:var(--c{n if name != "others" else COLOURS - 1})"></i>{text(name)}</span>'
                    for n, name in enumerate(shown))  # fmt: skip
    return f'<p class="colours" data-for="{kind}">{spans}</p>'


def clusters(told: Sequence[Mapping[str, Any]]) -> str:
    """A row of dots for each cluster, one for each record, with its text and places."""
    rows = ""
    for one in told:
        dots = "".join("<i></i>" for _ in range(min(one["records"], 24)))
        more = f"+{one['records'] - 24:,}" if one["records"] > 24 else ""
        labels = (
            f'<span class="tag">{text(" / ".join(dict.fromkeys(one["labels"])))}</span>' if one.get("labels") else ""
        )
        places = " · ".join(text(place) for place in one["places"]) + (
            " …" if one["records"] > len(one["places"]) else ""
        )
        shown = text(one["text"]) if one["text"] else '<span class="soft">(the sample holds no text of it)</span>'
        rows += (f'<li><div class="dots"><b>{one["records"]:,}</b>{dots}<small>{more}</small>{labels}</div><div class="said">{shown}</div>'
                 f'<div class="places">{places}</div></li>')  # fmt: skip
    return f'<ol class="clusters">{rows}</ol>' if rows else ""


def scatter(
    points: np.ndarray,
    labels: Sequence[str],
    sources: Sequence[str],
    texts: Sequence[str],
    places: Sequence[str],
    twins: set[int],
) -> str:
    """The map: (points, 2) in [0, 1]; coloured by label or by source, as the reader chooses."""
    wide, high, room = 960, 560, 14
    names = {"l": _by_size(labels), "s": _by_size(sources)}
    number = {kind: {name: _colour(i) for i, name in enumerate(held)} for kind, held in names.items()}
    circles = "".join(
        f'<circle class="l{number["l"].get(label, 9)} s{number["s"][source]}{" twin" if i in twins else ""}" cx="{room + x * (wide - 2 * room):.1f}" '
        f'cy="{high - room - y * (high - 2 * room):.1f}" r="3.4" data-place="{text(place)}" data-label="{text(label)}" data-text="{text(said)}"/>'
        for i, ((x, y), label, source, said, place) in enumerate(
            zip(points, labels, sources, texts, places, strict=True)
        )
    )
    kinds = [("l", "label")] * (len(names["l"]) > 1) + [("s", "file")] * (len(names["s"]) > 1 or len(names["l"]) <= 1)
    choice = "".join(f'<label><input type="radio" name="colour" value="{key}"{" checked" if not n else ""}> {word}</label>'
                     for n, (key, word) in enumerate(kinds)) if len(kinds) > 1 else f"<span>{kinds[0][1]}</span>"  # fmt: skip
    return (
        f'<figure class="plot map by-{kinds[0][0]}"><figcaption><b>coloured by</b>{choice}<span class="soft">{len(points):,} records; '
        "those with a ring are nearly the same as another</span></figcaption>"
        f'<svg viewBox="0 0 {wide} {high}" role="img" aria-label="A map of {len(points)} records by their words">{circles}</svg>'
        f'{"".join(legend(names[key], key) for key, _ in kinds)}<div class="tip" hidden></div></figure>'
    )


def _by_size(names: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return sorted((name for name in counts if name), key=lambda name: (-counts[name], name))
