"""The profile as one page with pictures. It holds all that it shows, asks nothing of the network, and prints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import files, page
from ..console import size
from . import alike, pictures
from .map import project
from .profile import MAPPED, Looked

STYLE = """
:root { --c0: #2f6fc4; --c1: #d9772b; --c2: #2f9e6b; --c3: #b8478f; --c4: #8a6fd1; --c5: #c9a227; --c6: #cf4b4b; --c7: #3aa6b9; --c8: #7d8f3b; --c9: #9a9891; }
@media (prefers-color-scheme: dark) { :root { --c0: #74a9f2; --c1: #f0a05f; --c2: #6fce97; --c3: #e58cc3; --c4: #b6a1f2; --c5: #e6c65c; --c6: #f08a8a; --c7: #79d0df; --c8: #b9cc74; --c9: #8d8b84; } }
main { max-width: 1080px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px; margin: 22px 0 6px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 14px 18px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: 13.5px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 18px; }
figure.plot { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px 10px; break-inside: avoid; position: relative; }
.plot .bar { fill: var(--c0); } .plot .bar:hover { fill: var(--c1); } .plot .mid { stroke: var(--soft); stroke-dasharray: 3 4; }
.findings { list-style: none; padding: 0; margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.findings li { padding: 10px 18px; border-bottom: 1px solid var(--line); font-size: 15px; overflow-wrap: anywhere; } .findings li:last-child { border: 0; }
.findings code { display: block; color: var(--soft); font: 12.5px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
dl.bars { grid-template-columns: minmax(60px, max-content) 1fr; gap: 5px 14px; align-items: center; }
dl.bars dt { max-width: 280px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--ink); text-align: right; }
dl.bars dd { display: flex; align-items: center; gap: 10px; } .rail { flex: 1; display: flex; } .rail i { display: block; height: 14px; min-width: 1px; }
.rail i:first-child { border-radius: 3px 0 0 3px; } .rail i:last-child { border-radius: 0 3px 3px 0; } .rail i:only-child { border-radius: 3px; }
.bars .n { min-width: 118px; } .bars small, .dots small { color: var(--soft); }
.colours { display: flex; flex-wrap: wrap; gap: 3px 16px; font-size: 13.5px; max-width: none; margin: 8px 0; } .colours span { cursor: default; } .colours i { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
.clusters { list-style: none; padding: 0; margin: 8px 0 0; } .clusters li { padding: 9px 0; border-bottom: 1px solid var(--line); break-inside: avoid; }
.dots { display: flex; flex-wrap: wrap; align-items: center; gap: 3px; } .dots b { margin-right: 6px; font-variant-numeric: tabular-nums; } .dots i { width: 9px; height: 9px; border-radius: 50%; background: var(--c0); }
.tag { font-size: 12.5px; border: 1px solid var(--line); border-radius: 20px; padding: 0 9px; margin-left: 8px; }
.said { overflow-wrap: anywhere; margin-top: 2px; } .places { color: var(--soft); font-size: 13px; overflow-wrap: anywhere; }
.map figcaption { align-items: baseline; } .map figcaption .soft { margin-left: auto; } .map label { cursor: pointer; }
.map circle { fill-opacity: 0.72; stroke: none; } .map circle.twin { stroke: var(--ink); stroke-width: 0.9; } .map circle.dim { fill-opacity: 0.06; stroke-opacity: 0.06; } .map circle.near { r: 6px; fill-opacity: 1; }
.map.by-l .colours[data-for="s"], .map.by-s .colours[data-for="l"] { display: none; }
.tip { position: absolute; max-width: 380px; background: var(--page); border: 1px solid var(--line); border-radius: 10px; padding: 8px 12px; font-size: 13.5px; line-height: 1.45; pointer-events: none; box-shadow: 0 4px 18px rgb(0 0 0 / 0.18); overflow-wrap: anywhere; z-index: 1; }
.tip b { display: block; font-size: 12.5px; color: var(--soft); font-weight: 600; }
""" + "".join(f".map.by-l .l{n}, .map.by-s .s{n} {{ fill: var(--c{n}); }}\n" for n in range(pictures.COLOURS))
SCRIPT = """
for (const map of document.querySelectorAll(".map")) {
  const svg = map.querySelector("svg"), tip = map.querySelector(".tip"), dots = [...svg.querySelectorAll("circle")];
  const spots = dots.map(d => [d.cx.baseVal.value, d.cy.baseVal.value]);
  let near = null;
  const hide = () => { tip.hidden = true; if (near) near.classList.remove("near"); near = null; };
  for (const input of map.querySelectorAll("input")) input.addEventListener("change", () => { map.classList.remove("by-l", "by-s"); map.classList.add("by-" + input.value); });
  for (const key of map.querySelectorAll("[data-key]")) {
    key.addEventListener("pointerenter", () => dots.forEach(d => d.classList.toggle("dim", !d.classList.contains(key.dataset.key))));
    key.addEventListener("pointerleave", () => dots.forEach(d => d.classList.remove("dim")));
  }
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = -1, least = 200;
    spots.forEach(([a, b], i) => { const d = (a - x) ** 2 + (b - y) ** 2; if (d < least) { least = d; best = i; } });
    hide();
    if (best < 0) return;
    near = dots[best]; near.classList.add("near");
    const head = document.createElement("b");
    head.textContent = [near.dataset.place, near.dataset.label].filter(Boolean).join(" \\u00b7 ");
    tip.replaceChildren(head, near.dataset.text);
    tip.hidden = false;
    const frame = map.getBoundingClientRect(), left = event.clientX - frame.left + 14;
    tip.style.left = Math.max(8, Math.min(left, frame.width - tip.offsetWidth - 8)) + "px";
    tip.style.top = (event.clientY - frame.top + 16) + "px";
  });
}
"""


def write_page(profile: dict[str, Any], looked: Looked, path: Path) -> None:
    shown = _without(profile, os.path.commonpath([Path(file["file"]).parent for file in profile["files"]]) + os.sep)
    files.write_text(path, page.document(f"Data: {_names(profile)}", body(shown, looked), STYLE, SCRIPT))


def _without(value: Any, folder: str) -> Any:
    """Places without the folder that all of them have in common; texts of records stay as they are."""
    if isinstance(value, dict):
        return {key: inner if key in ("text", "fields") else _without(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without(inner, folder) for inner in value]
    return value.replace(folder, "") if isinstance(value, str) and folder != os.sep else value


def body(profile: dict[str, Any], looked: Looked) -> list[str]:
    """The parts of the page, each as HTML."""
    return [
        _head(profile),
        page.section("What to look at", _findings(profile["findings"]) or "<p>Nothing odd was found.</p>"),
        page.section("Lengths", _lengths(profile["lengths"])),
        page.section("Classes", pictures.bars(_short_keys(profile["labels"]["files"]))),
        page.section("Languages", pictures.bars({"sample": profile["languages"]["counts"]}), _soft(f"of {profile['languages']['texts']:,} sampled texts, told by {profile['languages']['by']}")),
        page.section("Copies", *_copies(profile["duplicates"])),
        page.section("Map", _map(looked)),
        page.section("Suspicious records", _suspicious(profile["suspicious"])),
        page.section("Fields", *map(_fields, profile["files"])),
    ]  # fmt: skip


def _names(profile: dict[str, Any]) -> str:
    names = [Path(file["file"]).name for file in profile["files"]]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _soft(line: str) -> str:
    return f'<p class="soft">{page.text(line)}</p>'


def _head(profile: dict[str, Any]) -> str:
    told, lengths, labels = profile["duplicates"], profile["lengths"], profile["labels"]["counts"]
    unfit = sum(one["count"] for one in profile["unfit"])
    tiles = [
        (f"{profile['records']:,}", "records"),
        (f"{unfit:,}", "unfit rows"),
        (f"{told['exact']['spare']:,}", "exact copies"),
    ]
    tiles += [(f"{lengths['tokens']['median']:,}", "tokens in the middle one")] if lengths.get("tokens") else []
    tiles += [(f"{len(labels):,}", "classes")] if labels else []
    tiles += [(" ".join(list(profile["languages"]["counts"])[:3]) or "–", "languages")]
    shown = "".join(
        f'<div class="tile"><b>{page.text(value)}</b><span>{page.text(word)}</span></div>' for value, word in tiles
    )
    whole = size(sum(file["bytes"] for file in profile["files"]))
    shapes = ", ".join(dict.fromkeys(file["shape"] for file in profile["files"]))
    return f'<header><h1>{page.text(_names(profile))}</h1><p class="soft">{whole} · shape: {page.text(shapes)}</p><div class="tiles">{shown}</div></header>'


def _findings(lines: list[str]) -> str:
    rows = ""
    for line in lines:
        where, _, told = line.partition(": ")
        rows += f"<li>{page.text(told)}<code>{page.text(where)}</code></li>"
    return f'<ul class="findings">{rows}</ul>' if rows else ""


def _lengths(told: dict[str, Any]) -> str:
    drawn = [pictures.histogram(unit.capitalize(), one, unit) for unit, one in told.items() if one]
    return f'<div class="plots">{"".join(drawn)}</div>' if any(drawn) else ""


def _short_keys(counts: dict[str, Any]) -> dict[str, Any]:
    """Bare file names where these are different."""
    names = {key: Path(key).name for key in counts}
    return {names[key]: value for key, value in counts.items()} if len(set(names.values())) == len(names) else counts


def _copies(told: dict[str, Any]) -> list[str]:
    kinds = [kind for kind in told if kind != "frames"]
    rows = [[kind, told[kind]["clusters"], told[kind]["spare"]] for kind in kinds if told[kind]["clusters"]]
    parts = [page.table(["alike", "clusters", "records beyond the first"], rows, ["", "number", "number"])]
    for kind in kinds:
        shown = pictures.clusters(told[kind]["first"][:3]) if kind != "but for case and spaces" else ""
        rest = page.folded("more", pictures.clusters(told[kind]["first"][3:]))
        parts.append(f"<h3>{page.text(kind)}</h3>{shown}{rest}" if shown else "")
    frames = [[one["text"], one["as"], one["count"], one["place"]] for one in told["frames"]]
    table = page.table(["repeated in many texts", "as", "texts", "first"], frames, ["text", "short", "number", ""])
    return [*parts, table] if rows or frames else []


def _map(looked: Looked) -> str:
    shown = [one for one in looked.drawn[:MAPPED] if one.text.strip()]
    points = project([one.text for one in shown]) if len(shown) >= 10 else None
    if points is None:
        return ""
    twins = {i for cluster in alike.near_clusters([one.text for one in shown]) for i in cluster}
    sources = [Path(looked.files[looked.sources[one.row]].name).name for one in shown]
    texts = [one.text[:200] + ("…" if one.length > 200 else "") for one in shown]
    places = [looked.place(one.row).rpartition("/")[2] for one in shown]
    return pictures.scatter(points, [one.label for one in shown], sources, texts, places, twins)


def _suspicious(told: list[dict[str, Any]]) -> str:
    rows = [[one["what"], one["count"], "\n".join(one["places"][:5]), one["text"]] for one in told]
    return page.table(["what", "records", "where", "one of them"], rows, ["", "number", "text", "text"])


def _fields(file: dict[str, Any]) -> str:
    rows = [[name, ", ".join(f"{kind} {count:,}" for kind, count in told["kinds"].items()), told["empty"], told["missing"]]
            for name, told in file["fields"].items()]  # fmt: skip
    return f"<h3>{page.text(file['file'])}</h3>" + page.table(
        ["field", "kinds of values", "empty", "missing"], rows, ["", "", "number", "number"]
    )
