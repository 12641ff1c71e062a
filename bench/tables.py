"""From the figures of bench/step.py to the tables of docs/performance.md: `python bench/tables.py` fills the page.

docs/generate.py (`make docs`) fills it in the same way. A part stands between `<!-- steps NAME -->` and `<!-- /steps -->`,
with NAME of docs/figures/step-NAME.json, or `all`: a row for each of these files' tables.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "figures"
BLOCK = re.compile(r"(<!-- steps (\S+) -->\n).*?(<!-- /steps -->)", re.S)
MISSING = "Not measured yet: `python bench/step.py … --json docs/figures/step-{name}.json` makes these figures."
HEAD = (
    "| contender | tokens/s | best round | learnt tokens/s | tokens per processor second | floor | of the floor "
    "| by processor time | peak memory | steps | mean loss | seektune is | and takes |"
)


OVERVIEWS = {"all": "step-*.json", "xeon": "xeon-*.json"}  # of the reference machine, and of another one


def main() -> int:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def filled(page: str, folder: Path = FIGURES) -> str:
    return BLOCK.sub(lambda found: found[1] + steps(found[2], folder) + "\n" + found[3], page)


def steps(name: str, folder: Path = FIGURES) -> str:
    """The tables of one file, or the overview of all."""
    if name in OVERVIEWS:
        return overview(folder, OVERVIEWS[name])
    path = folder / f"step-{name}.json"
    if not path.exists():
        return MISSING.format(name=name)
    facts = json.loads(path.read_text(encoding="utf-8"))
    parts = [line for table in facts["tables"] for line in ["", *markdown(table, facts["machine"], level=3)]]
    return "\n".join([f"Made by `{facts['command']}` on {facts['date']}.", *parts])


def overview(folder: Path = FIGURES, files: str = "step-*.json") -> str:
    """A row a table: ours beside the fastest peer, and the share of the floor."""
    rows = []
    for path in sorted(folder.glob(files)):
        for table in json.loads(path.read_text(encoding="utf-8"))["tables"]:
            rows += [row for key, name in (("ratios", "seektune"), ("ratios_int8", "seektune int8")) if (row := _row(table, key, name))]  # fmt: skip
    head = ["| model, tuned, arithmetic | records | contender | tokens/s | best peer | its tokens/s | faster | by processor time "
            "| memory, of the least of the peers | of the floor |", "|---|---|---|---:|---|---:|---:|---:|---:|---:|"]  # fmt: skip
    return "\n".join([*head, *rows]) if rows else MISSING.format(name="NAME")


def _row(table: dict[str, Any], key: str, name: str) -> str | None:
    best = table.get(key, {}).get("best peer")
    if not best:
        return None
    ours, who = table["contenders"][name], best["who"]["tokens_per_second"]
    return (f"| {table['shape']}, {table['tuner']}, {table['precision']} | {table['records']['source']} | {name} "
            f"| {ours['tokens_per_second']:,.0f} | {who} | {table['contenders'][who]['tokens_per_second']:,.0f} "
            f"| {best['tokens_per_second']:.2f} × | {best['tokens_per_processor_second']:.2f} × | {best['peak_memory_bytes']:.2f} × "
            f"| {ours['share_of_floor']:.0%} |")  # fmt: skip


def speed(words: dict[str, str], folder: Path = FIGURES) -> str:
    """One line for README: how many times as fast as the fastest peer, of every table."""
    found, dates = [], set()
    for path in sorted(folder.glob("step-*.json")):
        facts = json.loads(path.read_text(encoding="utf-8"))
        for table in facts["tables"]:
            if best := table.get("ratios", {}).get("best peer"):
                named = f"{table['shape']} {words['lora'] if 'LoRA' in table['tuner'] else words['full']}, {table['precision']}, {table['records']['source']}"
                found.append(f"{best['tokens_per_second']:.1f} × ({named})")
                dates.add(facts["date"])
    return words["speed"].format(found=words["and"].join(found), date=max(dates)) if found else words["unmeasured"]


def memory(folder: Path = FIGURES) -> str:
    """Predicted beside measured, of docs/figures/memory.json (bench/memory.py)."""
    path = folder / "memory.json"
    if not path.exists():
        return "Not measured yet: `python bench/memory.py --json docs/figures/memory.json` makes these figures."
    facts = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        f"| {row['name']} | {row['memory_predicted'] / 2**20:,.0f} MiB | {row['memory_measured'] / 2**20:,.0f} MiB "
        f"| {row['memory_ratio']:.2f} | {row['seconds_predicted']:.0f} s | {row['seconds_measured']:.0f} s | {row['seconds_ratio']:.2f} |"
        for row in facts["rows"]
        if "failed" not in row
    ]
    head = [
        "| recipe | memory, predicted | measured | ratio | time, predicted | measured | ratio |",
        "|---|" + "---:|" * 6,
    ]
    made = f"Made by `{facts['command']}` on {facts['date']}; {facts['machine']}."
    return "\n".join([*head, *rows, "", made])


def markdown(table: dict[str, Any], machine: dict[str, Any], level: int = 2) -> list[str]:
    """One table with what has to be known to read it, as lines."""
    return [*_heading(table, machine, level), "", HEAD, "|---|" + "---:|" * (HEAD.count("|") - 2),
            *(_contender(table, name) for name in table["contenders"]),
            *(f"| {name} | did not run: {reason} |{' |' * (HEAD.count('|') - 3)}" for name, reason in table["failed"].items()),
            *(line for key, name in (("ratios", "seektune"), ("ratios_int8", "seektune int8")) for line in _best(table, key, name))]  # fmt: skip


def _heading(table: dict[str, Any], machine: dict[str, Any], level: int) -> list[str]:
    records, rates = table["records"], table["floor"]["rates"]
    packed = (
        f"; TRL's packed rows hold {records['packed_length']:,} tokens, one row a step" if table["task"] == "lm" else ""
    )
    shared = "all contenders" if table["same_environment"] else "seektune only, as `seektune train` does for itself"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return [
        f"{'#' * level} {table['shape']}, {table['tuner']}, {table['precision']}, {records['source']}",
        "",
        f"{table['model']}. {records['count']} records, {records['tokens']:,} tokens, the longest {records['longest']}, "
        f"{table['batch_size']} records a step{packed}. "
        f"{machine['threads']} threads of {machine['cpu']}, load {machine['load']:.1f}; {versions}. "
        f"Allocator and OpenMP set for {shared}. "
        f"Products reached {_giga(rates['float32'])} in fp32, {_giga(rates['bfloat16'])} in bf16, {_giga(rates['int8'])} in int8 (GFLOP/s); "
        f"the floor is {(table['floor']['frozen'] + table['floor']['other']) / records['tokens'] / 1e6:,.1f} MFLOP a token. "
        f"Medians of {table['rounds']} rounds.{_busy(machine)}",
    ]  # fmt: skip


def _busy(machine: dict[str, Any]) -> str:
    """A warning where others computed at the same time."""
    if machine["load"] <= machine["threads"] + 1:
        return ""
    return (
        f" **The machine was busy** (load {machine['load']:.0f}): of these figures, those by processor time tell most."
    )


def _giga(rate: float) -> str:
    return f"{rate / 1e9:,.0f}"


def _contender(table: dict[str, Any], name: str) -> str:
    one, ratio = table["contenders"][name], table["ratios"].get(name)
    times = [f"{ratio['tokens_per_second']:.2f} ×", f"{ratio['peak_memory_bytes']:.2f} ×"] if ratio else ["", ""]
    cells = [
        name, f"{one['tokens_per_second']:,.0f}", f"{one['best_tokens_per_second']:,.0f}", f"{one['learnt_tokens_per_second']:,.0f}",
        f"{one['tokens_per_processor_second']:,.0f}", f"{one['floor_tokens_per_second']:,.0f}", f"{one['share_of_floor']:.0%}",
        f"{one['processor_share_of_floor']:.0%}", f"{one['peak_memory_bytes'] / 2**20:,.0f} MiB", str(one["steps"]),
        f"{one['loss']:.3f}", *times,
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _best(table: dict[str, Any], key: str, name: str) -> list[str]:
    best = table.get(key, {}).get("best peer")
    if not best:
        return []
    who = best["who"]
    return ["", f"{name} over the best peer: {best['tokens_per_second']:.2f} × by the medians ({who['tokens_per_second']}), "
                f"{best['best_tokens_per_second']:.2f} × by the best rounds ({who['best_tokens_per_second']}), "
                f"{best['tokens_per_processor_second']:.2f} × by processor time ({who['tokens_per_processor_second']}), "
                f"{best['peak_memory_bytes']:.2f} × the memory ({who['peak_memory_bytes']})."]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())


DATA_COLUMNS = ("stage", "figure", "value", "asked", "reached", "data", "seconds")


def data() -> str:
    """The table of docs/figures/data.json, which bench/data.py writes."""
    path = FIGURES / "data.json"
    if not path.exists():
        return "Not measured yet: `python bench/data.py ../shared/data --json docs/figures/data.json`."
    found = json.loads(path.read_text(encoding="utf-8"))
    dates = sorted({topic["date"] for topic in found["topics"].values()})
    made = f"Made by `{found['command']}` on {' and '.join(dates)}; {found['machine']['cores']} × {found['machine']['cpu']}."
    return f"{made}\n\n{data_rows(found['topics'])}"


def data_rows(found: dict[str, Any]) -> str:
    lines = ["| stage | figure | value | asked | reached | records | seconds |", "|---|---|---:|---:|---|---|---:|"]
    for topic in found.values():
        lines += ["| " + " | ".join(_cell(row.get(name)) for name in DATA_COLUMNS) + " |" for row in topic["rows"]]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")
