"""From the figures of bench/step.py to the tables of docs/performance.md: `python bench/tables.py` fills the page.

docs/generate.py (`make docs`) fills it in the same way. A part stands between `<!-- steps NAME -->` and `<!-- /steps -->`,
with NAME of docs/figures/step-NAME.json or docs/figures/NAME.json, or `all`: a row for each of these files' tables.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "figures"
BLOCK = re.compile(r"(<!-- steps (\S+) -->\n).*?(<!-- /steps -->)", re.S)
MISSING = "Not measured yet: `python bench/step.py … --json docs/figures/step-{name}.json` makes these figures."
Cell = Callable[[dict[str, Any]], str]
SPEEDS: dict[str, Cell] = {
    "tokens/s": lambda one: f"{one['tokens_per_second']:,.0f}",
    "best round": lambda one: f"{one['best_tokens_per_second']:,.0f}",
    "learnt tokens/s": lambda one: f"{one['learnt_tokens_per_second']:,.0f}",
}
FLOOR: dict[str, Cell] = {
    "floor": lambda one: f"{one['floor_tokens_per_second']:,.0f}",
    "of the floor": lambda one: f"{one['share_of_floor']:.0%}",
}
PEAK: dict[str, Cell] = {"of the peak": lambda one: f"{one['share_of_peak']:.1%}"}
MEMORY: dict[str, Cell] = {"peak memory": lambda one: f"{one['peak_memory_bytes'] / 2**20:,.0f} MiB"}
GPU_MEMORY: dict[str, Cell] = {
    "of it in use": lambda one: f"{one['peak_allocated_bytes'] / 2**20:,.0f} MiB",
    "micro-batch": lambda one: f"{one['microbatch']:,} {one['microbatch_unit']}",
}
END: dict[str, Cell] = {"steps": lambda one: str(one["steps"]), "mean loss": lambda one: f"{one['loss']:.3f}"}
CPU_COLUMNS: dict[str, Cell] = {
    **SPEEDS, "tokens per processor second": lambda one: f"{one['tokens_per_processor_second']:,.0f}", **FLOOR,
    "by processor time": lambda one: f"{one['processor_share_of_floor']:.0%}", **MEMORY, **END,
}  # fmt: skip


def head_of(columns: dict[str, Cell]) -> str:
    return " | ".join(["| contender", *columns, "seektune is", "and takes |"])


HEAD = head_of(CPU_COLUMNS)
OVERVIEWS = {  # of the reference machine, of another one, of GPUs
    "all": "step-*.json",
    "xeon": "xeon-*.json",
    "gpus": "gpu-*.json",
}


def main() -> int:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def filled(page: str, folder: Path = FIGURES) -> str:
    return BLOCK.sub(lambda found: found[1] + steps(found[2], folder) + "\n" + found[3], page)


def steps(name: str, folder: Path = FIGURES) -> str:
    """The tables of one file, or the overview of all."""
    if name in OVERVIEWS:
        return overview(folder, OVERVIEWS[name])
    path = folder / (f"{name}.json" if (folder / f"{name}.json").exists() else f"step-{name}.json")
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
    by, line = ("", "") if files == OVERVIEWS["gpus"] else (" | by processor time", "---:|")
    head = [f"| model, tuned, arithmetic | records | contender | tokens/s | best peer | its tokens/s | faster{by} "
            "| memory, of the least of the peers | of the floor |", f"|---|---|---|---:|---|---:|---:|{line}---:|---:|"]  # fmt: skip
    return "\n".join([*head, *rows]) if rows else MISSING.format(name="NAME")


def _row(table: dict[str, Any], key: str, name: str) -> str | None:
    best = table.get(key, {}).get("best peer")
    if not best:
        return None
    ours, who = table["contenders"][name], best["who"]["tokens_per_second"]
    processor = "" if is_gpu(table) else f"| {best['tokens_per_processor_second']:.2f} × "
    return (f"| {table['shape']}, {table['tuner']}, {table['precision']} | {table['records']['source']} | {name} "
            f"| {ours['tokens_per_second']:,.0f} | {who} | {table['contenders'][who]['tokens_per_second']:,.0f} "
            f"| {best['tokens_per_second']:.2f} × {processor}| {best['peak_memory_bytes']:.2f} × "
            f"| {ours['share_of_floor']:.0%} |")  # fmt: skip


def speed(words: dict[str, str], folder: Path = FIGURES) -> str:
    """One line for README: how many times as fast as the fastest peer, of every table."""
    found, date = _times("step-*.json", words, folder)
    if not found:
        return words["unmeasured"]
    on_gpu, measured = _times(OVERVIEWS["gpus"], words, folder)
    more = words["speed_gpu"].format(found=words["and"].join(on_gpu), date=measured) if on_gpu else ""
    return words["speed"].format(found=words["and"].join(found), date=date, gpu=more)


def _times(files: str, words: dict[str, str], folder: Path) -> tuple[list[str], str]:
    """(how many times as fast, with the table's name, of each table; the last date)."""
    found, dates = [], [""]
    for path in sorted(folder.glob(files)):
        facts = json.loads(path.read_text(encoding="utf-8"))
        for table in facts["tables"]:
            if best := table.get("ratios", {}).get("best peer"):
                tuned = words["lora"] if "LoRA" in table["tuner"] else words["full"]
                named = f"{table['shape']} {tuned}, {table['precision']}, {table['records']['source']}"
                found.append(f"{best['tokens_per_second']:.1f} × ({named})")
                dates.append(facts["date"])
    return found, max(dates)


def kept(bench: str, folder: Path) -> dict[str, Any] | str:
    """The figures of docs/figures/BENCH.json, or what makes them."""
    path = folder / f"{bench}.json"
    if not path.exists():
        return f"Not measured yet: `python bench/{bench}.py --json docs/figures/{bench}.json` makes these figures."
    return json.loads(path.read_text(encoding="utf-8"))


def memory(folder: Path = FIGURES) -> str:
    """Predicted beside measured, of docs/figures/memory.json (bench/memory.py)."""
    facts = kept("memory", folder)
    if isinstance(facts, str):
        return facts
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


def cache(folder: Path = FIGURES) -> str:
    """The frozen-prefix cache beside the run without it and the fastest peer, of docs/figures/cache.json (bench/cache.py)."""
    facts = kept("cache", folder)
    if isinstance(facts, str):
        return facts
    head = [
        "| model | upper layers tuned | frozen layers | epoch 1, tokens/s | later | without the cache | best peer | its tokens/s | later epochs over it "
        "| over the run without | by operations |",
        "|---|---|" + "---:|" * 4 + "---|" + "---:|" * 4,
    ]
    made = f"Made by `{facts['command'].strip()}` on {facts['date']}; {facts['threads']} threads of {facts['cpu']}, load {facts['load']:.1f}."
    return "\n".join([*head, *(_cached(table) for table in facts["tables"] if _is_whole(table)), "", made])


def _is_whole(table: dict[str, Any]) -> bool:
    """Whether both of ours and a peer have run."""
    ran = [name for name, one in table["contenders"].items() if one.get("later")]
    return {"seektune-cached", "seektune-plain"} < set(ran)


def _cached(table: dict[str, Any]) -> str:
    found = {name: one for name, one in table["contenders"].items() if one.get("later")}
    ours, plain = found.pop("seektune-cached"), found.pop("seektune-plain")
    peer = max(found, key=lambda name: found[name]["later"])
    cells = [
        f"{table['shape']}, {table['precision']}",
        "in full" if table["tuner"] == "freeze" else "LoRA",
        f"{ours['frozen']} of {ours['layers']}",
        *(f"{number:,.0f}" for number in (ours["first"], ours["later"], plain["later"])),
        peer,
        f"{found[peer]['later']:,.0f}",
        f"{ours['later'] / found[peer]['later']:.2f} ×",
        f"{ours['later'] / plain['later']:.2f} ×",
        f"{ours['bound']:.2f} ×",
    ]
    return f"| {' | '.join(cells)} |"


def markdown(table: dict[str, Any], machine: dict[str, Any], level: int = 2) -> list[str]:
    """One table with what has to be known to read it, as lines."""
    columns = columns_of(table)
    head = head_of(columns)
    return [*_heading(table, machine, level), "", head, "|---|" + "---:|" * (head.count("|") - 2),
            *(_contender(table, name, columns) for name in table["contenders"]),
            *(f"| {name} | did not run: {reason} |{' |' * (head.count('|') - 3)}" for name, reason in table["failed"].items()),
            *(line for key, name in (("ratios", "seektune"), ("ratios_int8", "seektune int8")) for line in _best(table, key, name))]  # fmt: skip


def is_gpu(table: dict[str, Any]) -> bool:
    return table.get("device", "cpu") != "cpu"


def columns_of(table: dict[str, Any]) -> dict[str, Cell]:
    """On a GPU processor time tells nothing; the share of its peak is there where the peak is known."""
    if not is_gpu(table):
        return CPU_COLUMNS
    peak = PEAK if all("share_of_peak" in one for one in table["contenders"].values()) else {}
    return SPEEDS | FLOOR | peak | MEMORY | GPU_MEMORY | END


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
        f"{_gpu(machine)}{machine['threads']} threads of {machine['cpu']}, load {machine['load']:.1f}; {versions}. "
        f"Allocator and OpenMP set for {shared}. "
        f"{_reached(rates, is_gpu(table))}; "
        f"the floor is {(table['floor']['frozen'] + table['floor']['other']) / records['tokens'] / 1e6:,.1f} MFLOP a token. "
        f"Medians of {table['rounds']} rounds.{'' if is_gpu(table) else _busy(machine)}",
    ]  # fmt: skip


def _busy(machine: dict[str, Any]) -> str:
    """A warning where others computed at the same time."""
    if machine["load"] <= machine["threads"] + 1:
        return ""
    return (
        f" **The machine was busy** (load {machine['load']:.0f}): of these figures, those by processor time tell most."
    )


def _gpu(machine: dict[str, Any]) -> str:
    gpu = machine.get("gpu")
    return f"{gpu['name']} with {gpu['memory_bytes'] / 2**30:.0f} GiB, " if gpu else ""


def _reached(rates: dict[str, float], gpu: bool) -> str:
    names = {"float32": "fp32", "bfloat16": "bf16"} | ({} if gpu else {"int8": "int8"})
    unit, name = (1e12, "TFLOP/s") if gpu else (1e9, "GFLOP/s")
    return (
        f"Products reached {', '.join(f'{rates[key] / unit:,.0f} in {short}' for key, short in names.items())} ({name})"
    )


def _contender(table: dict[str, Any], name: str, columns: dict[str, Cell]) -> str:
    one, ratio = table["contenders"][name], table["ratios"].get(name)
    times = [f"{ratio['tokens_per_second']:.2f} ×", f"{ratio['peak_memory_bytes']:.2f} ×"] if ratio else ["", ""]
    return "| " + " | ".join([name, *(cell(one) for cell in columns.values()), *times]) + " |"


def _best(table: dict[str, Any], key: str, name: str) -> list[str]:
    best = table.get(key, {}).get("best peer")
    if not best:
        return []
    who = best["who"]
    processor = "" if is_gpu(table) else (
        f"{best['tokens_per_processor_second']:.2f} × by processor time ({who['tokens_per_processor_second']}), "
    )  # fmt: skip
    return ["", f"{name} over the best peer: {best['tokens_per_second']:.2f} × by the medians ({who['tokens_per_second']}), "
                f"{best['best_tokens_per_second']:.2f} × by the best rounds ({who['best_tokens_per_second']}), "
                f"{processor}{best['peak_memory_bytes']:.2f} × the memory ({who['peak_memory_bytes']})."]  # fmt: skip


def profile_markdown(found: dict[str, Any], title: str, machine: dict[str, Any]) -> list[str]:
    """Where the time of one contender's step went, as lines; `found`: what `step.profiled` keeps."""
    gpu = "kernels" in found
    time = "" if gpu else f" ({found['processor_seconds']:.2f} s of processor time)"
    lines = [
        f"## {title}",
        f"{found['tokens']:,} tokens in {found['seconds']:.2f} s{time}, {found['steps']} steps, {_gpu(machine)}"
        f"{machine['threads']} threads; operators from a second pass under torch's profiler.",
    ]
    if gpu:
        busy = sum(row["seconds"] for row in found["kernels"])
        lines += [f"The GPU was busy for {busy:.2f} s, {busy / found['seconds']:.1%} of the first pass (sum of the second's kernels and copies)."]  # fmt: skip
    lines += ["", *_phases(found, gpu), "", *_operators("operator", found["operators"])]
    if gpu:
        lines += ["", *_operators("kernel", found["kernels"])]
    return [*lines, "", "| product | shapes | seconds | share | calls | GFLOP/s |", "|---|---|---:|---:|---:|---:|", *(
        f"| {row['name']} | {row['shapes']} | {row['seconds']:.3f} | {row['share']:.1%} | {row['calls']} | {row['flops_per_second'] / 1e9:.0f} |"
        for row in found["products"][:20]
    )]  # fmt: skip


def _phases(found: dict[str, Any], gpu: bool) -> list[str]:
    """Without processor seconds of a GPU."""
    lines = ["| phase | seconds | share |" + ("" if gpu else " processor seconds | share |"), "|---|---:|---:|" + ("" if gpu else "---:|---:|")]  # fmt: skip
    for phase, (wall, processor) in found["phases"].items():
        more = "" if gpu else f" {processor:.3f} | {processor / found['processor_seconds']:.1%} |"
        lines.append(f"| {phase} | {wall:.3f} | {wall / found['seconds']:.1%} |{more}")
    return lines


def _operators(kind: str, rows: list[dict[str, Any]]) -> list[str]:
    return [f"| {kind} | self seconds | share | calls |", "|---|---:|---:|---:|", *(
        f"| {row['name'][:100]} | {row['seconds']:.3f} | {row['share']:.1%} | {row['calls']} |" for row in rows[:30]
    )]  # fmt: skip


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


if __name__ == "__main__":
    sys.exit(main())
