"""Pieces of a self-contained page: head, sections, tables, facts, coloured tokens. Light, dark and on paper.

Everything that users wrote is escaped, and the page's own policy forbids the network and every script but ours.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from .console import KINDS, number, quantity, runs_of_kind

STYLE = """
:root { color-scheme: light dark; --page: #fbfaf8; --card: #ffffff; --ink: #1d1d1b; --soft: #5f5e5a; --line: #e4e2dc;
  --series-a: #2563b8; --series-b: #c2570c; --good: #1d7a46; --bad: #b3261e; --learnt: #d9f0df; --end: #ffe7a8; --cut: #f8d7d3; }
@media (prefers-color-scheme: dark) { :root { --page: #171716; --card: #1f1f1e; --ink: #edebe6; --soft: #a5a39c; --line: #373633;
  --series-a: #7db0f5; --series-b: #f0a05f; --good: #6fce97; --bad: #f2938c; --learnt: #1d4630; --end: #5c4a12; --cut: #57241f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 40px 24px 80px; }
header { margin-bottom: 28px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 44px 0 12px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 15px; margin: 22px 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 6px 0; max-width: 72ch; }
.soft, .tick { color: var(--soft); fill: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
.chip { display: inline-block; font-size: 13px; font-weight: 600; padding: 1px 10px; border: 1px solid currentColor; border-radius: 20px; vertical-align: 4px; margin-left: 8px; letter-spacing: 0; }
.verdict { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px; margin: 20px 0 8px; }
.verdict .name { color: var(--soft); font-size: 14px; }
.verdict .change { font-size: 40px; line-height: 1.25; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.verdict .change .from { color: var(--soft); font-weight: 400; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 18px; }
.charts .chart:first-child { grid-column: 1 / -1; }
figure.chart { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 14px 6px; break-inside: avoid; }
figcaption { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 14px; min-height: 22px; }
figcaption output { margin-left: auto; color: var(--soft); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
.tick { font-size: 12px; stroke: none; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--line); stroke-width: 1; } .axis { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; } .faint { stroke-width: 1; opacity: 0.35; }
.key-a { stroke: var(--series-a); } .key-b { stroke: var(--series-b); }
.dot { stroke: none; } .dot.key-a { fill: var(--series-a); } .dot.key-b { fill: var(--series-b); }
span.key::before { content: ""; display: inline-block; width: 18px; height: 0; border-top: 3px solid; margin-right: 6px; vertical-align: 4px; }
span.key-a::before { border-color: var(--series-a); } span.key-b::before { border-color: var(--series-b); }
.mark { stroke: var(--bad); stroke-dasharray: 4 4; } .gap { stroke: var(--bad); stroke-width: 2; fill: none; }
.cursor { stroke: var(--soft); stroke-dasharray: 2 3; visibility: hidden; }
.whisker { stroke-width: 3; opacity: 0.5; stroke-linecap: round; } svg.interval { width: 150px; display: inline-block; vertical-align: -3px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: 13px; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: bottom; }
td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr { break-inside: avoid; }
td.text { white-space: pre-wrap; min-width: 140px; } td.short { white-space: nowrap; } table.even { table-layout: fixed; min-width: 640px; }
dl { display: grid; grid-template-columns: minmax(120px, max-content) 1fr; gap: 3px 22px; margin: 14px 0 0; font-size: 14.5px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; } dd > dl { margin: 0 0 4px; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; overflow-x: auto; font: 13px/1.55 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.tokens { line-height: 1.9; }
.tokens .learnt, .legend .learnt { background: var(--learnt); border-radius: 3px; }
.tokens .end, .legend .end { background: var(--end); border-radius: 3px; outline: 1px solid var(--soft); }
.tokens .cut, .legend .cut { background: var(--cut); text-decoration: line-through; border-radius: 3px; }
.tokens .not-learnt, .legend .not-learnt { color: var(--soft); }
.legend { font-size: 13.5px; } .legend span { padding: 1px 6px; margin-right: 8px; }
details > summary { cursor: pointer; color: var(--soft); }
@media (max-width: 640px) { main { padding: 20px 14px 60px; } .verdict .change { font-size: 30px; } dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; } }
@media print { :root { --page: #fff; --card: #fff; --ink: #000; --soft: #555; --line: #ccc; --series-a: #2563b8; --series-b: #c2570c; --good: #1d7a46; --bad: #b3261e;
  --learnt: #d9f0df; --end: #ffe7a8; --cut: #f8d7d3; } body { font-size: 11pt; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; } h2 { break-after: avoid; } details > summary { display: none; } details::details-content { content-visibility: visible; height: auto; } }
"""
SCRIPT = """
for (const svg of document.querySelectorAll(".chart svg")) {
  const [low, high] = svg.dataset.x.split(" ").map(Number), [left, right, top, base] = svg.dataset.box.split(" ").map(Number);
  const output = svg.parentNode.querySelector("output"), cursor = svg.querySelector(".cursor");
  const lines = [...svg.querySelectorAll("path[data-name]")].map(p => [p.dataset.name, JSON.parse(p.dataset.points)]);
  const hide = () => { cursor.style.visibility = "hidden"; output.textContent = ""; };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    if (x < left || x > right) return hide();
    const step = low + (x - left) / (right - left) * (high - low);
    const near = lines.map(([name, points]) => [name, points.reduce((a, b) => Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a)]);
    output.textContent = "step " + near[0][1][0] + " \\u00b7 " + near.map(([name, p]) => name + " " + p[1]).join(" \\u00b7 ");
    for (const [key, value] of Object.entries({ x1: x, x2: x, y1: top, y2: base })) cursor.setAttribute(key, value);
    cursor.style.visibility = "visible";
  });
  svg.addEventListener("pointerleave", hide);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(d => { d.open = true; }));
"""


def document(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """A whole page. `body` is HTML; `title` is text. `style` and `script` are a page's own, behind ours."""
    scripts = [SCRIPT, script] if script else [SCRIPT]
    digests = (base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n"
        + "".join(f"<script>{one}</script>" for one in scripts)
        + "\n</body>\n</html>\n"
    )


def text(value: Any) -> str:
    """User text as HTML; control characters that HTML does not allow become visible."""
    return escape("".join(c if c in "\n\t" or ord(c) >= 32 else chr(0x2400 + ord(c)) for c in str(value)))


def section(heading: str, *parts: str) -> str:
    """A heading and its parts; nothing where all parts are empty."""
    inner = "\n".join(part for part in parts if part)
    return f"<section><h2>{text(heading)}</h2>\n{inner}\n</section>" if inner else ""


def facts(values: Mapping[str, Any]) -> str:
    """Names and values; a mapping inside becomes a list inside."""
    if not values:
        return ""
    return (
        "<dl>"
        + "".join(f"<dt>{text(words(key))}</dt><dd>{_fact(key, value)}</dd>" for key, value in values.items())
        + "</dl>"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], kinds: Sequence[str] = (), even: bool = False) -> str:
    """`kinds` per column: "text" keeps line breaks, "number" stands right, "html" is HTML already, "short" is not
    wrapped, "" is a plain value. `even`: all columns are equally wide."""
    kinds = list(kinds) or [""] * len(columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, kind) for value, kind in zip(row, kinds, strict=True)) + "</tr>" for row in rows
    )
    if not body:
        return ""
    head = "".join(f'<th class="{kind}">{text(name)}</th>' for name, kind in zip(columns, kinds, strict=True))
    return f'<div class="scroll"><table class="{"even" if even else ""}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def tokens(parts: Sequence[Sequence[str]]) -> str:
    """A record as the model sees it: (text, kind) per token."""
    spans = []
    known = [(str(inner), str(kind) if kind in KINDS else "not learnt") for inner, kind in parts]
    for kind, inner in runs_of_kind(known):
        shown = text(inner).replace("\n", "↵\n")
        spans.append(f'<span class="{kind.replace(" ", "-")}">{shown}</span>')
    return f'<pre class="tokens">{"".join(spans)}</pre>'


def legend() -> str:
    return (
        '<p class="legend">'
        + "".join(f'<span class="{kind.replace(" ", "-")}">{text(KINDS[kind][3])}</span>' for kind in KINDS)
        + "</p>"
    )


def preformatted(value: str) -> str:
    return f"<pre>{text(value)}</pre>"


def folded(summary: str, inner: str) -> str:
    """Shown when asked for, and on paper."""
    return f"<details><summary>{text(summary)}</summary>\n{inner}\n</details>" if inner else ""


def words(name: str) -> str:
    """`exact_match` as a person writes it."""
    return str(name).replace("_", " ")


def _fact(key: str, value: Any) -> str:
    if isinstance(value, Mapping) and any(not isinstance(inner, int | float) for inner in value.values()):
        return facts(value)
    if isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        return "".join(_fact(key, inner) for inner in value)
    return text(quantity(key, value))


def _cell(value: Any, kind: str) -> str:
    inner = str(value) if kind == "html" else text(number(value))
    return f'<td class="{kind}">{inner}</td>' if kind in ("text", "number", "short") else f"<td>{inner}</td>"
