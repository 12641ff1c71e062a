"""List runs, show one (or watch it from another terminal), delete one.

seektune runs                                the runs under runs/
seektune runs show headlines-3               a name under runs/, or a folder
seektune runs show headlines-3 --follow      as it goes on, until it ends
seektune runs delete headlines-3
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import console
from ..errors import RecipeError, nearest, problem
from ..run import Run, list_runs, new_lines

TRAIN_LINES_EVERY = 2.0  # seconds between lines of a run that is followed
EVENTS_SHOWN = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=["list", "show", "delete"], default="list", help="list if left out"
    )
    parser.add_argument("run", nargs="?", help="a name under --root, or the folder of a run")
    parser.add_argument("--root", type=Path, default=Path("runs"), help="the folder that holds runs (default: runs)")
    parser.add_argument(
        "--follow", action="store_true", help="with show: go on as the run does; Ctrl-C leaves it alone"
    )
    parser.add_argument("--yes", action="store_true", help="with delete: do not ask")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")


def run(args: argparse.Namespace) -> int:
    console.use_stderr(args.json)
    if wrong := _misplaced(args):
        raise RecipeError(wrong)
    if args.action == "list":
        return _list(args)
    found = find(args.root, args.run)
    return _show(found, args) if args.action == "show" else _delete(found, args)


def find(root: Path, name: str) -> Run:
    """A run by its name under `root` or by its folder. RecipeError with the nearest name."""
    if Run(root / name).wrong is None:
        return Run(root / name)
    if Path(name).is_dir() or (root / name).is_dir():
        return Run.open(name if Path(name).is_dir() else root / name)
    known = [one.name for one in list_runs(root)]
    raise RecipeError(
        problem(name, f"no such run under {root}", fix=nearest(name, known) if known else "there is none yet")
    )


def summary(run: Run) -> dict[str, Any]:
    """What one line of the list says about a run."""
    if run.wrong:
        return {"name": run.name, "path": str(run.path), "status": run.status, "reason": run.wrong}
    trained = [row for row in run.tail("metrics.jsonl") if row.get("split") == "train"]
    last: dict[str, Any] = trained[-1] if trained else {}
    total = next((row["total_steps"] for row in reversed(run.events("start")) if "total_steps" in row), None)
    facts = {"name": run.name, "path": str(run.path), "status": run.status, "created": run.created}
    facts |= {"step": last.get("step", 0), "total_steps": total, "loss": last.get("loss")}
    return facts | {"verdict": (run.read("report.json", {}).get("verdict") or {}).get("words")}


def follow(run: Run, wait: Callable[[float], None] = time.sleep, clock: Callable[[], float] = time.monotonic) -> None:
    """Say what the run writes from now on, until no process writes it any more. Reads files only."""
    ends = {name: new_lines(run.path / name, 0)[1] for name in ("metrics.jsonl", "events.jsonl")}
    spoken, held = clock() - TRAIN_LINES_EVERY, None
    while True:
        going = run.locked  # before the files are read, so that the last lines are not missed
        for name, end in ends.items():
            rows, ends[name] = new_lines(run.path / name, end)
            for row in rows:
                if row.get("split") == "train":
                    held = row
                else:
                    console.say(line_of(row))
        if held and (not going or clock() - spoken >= TRAIN_LINES_EVERY):
            console.say(line_of(held))
            spoken, held = clock(), None
        if not going:
            return
        wait(0.5)


def line_of(row: dict[str, Any]) -> str:
    """A line of metrics or events for people."""
    if "event" in row:
        rest = {key: value for key, value in row.items() if key not in ("event", "time", "step")}
        where = f"step {row['step']:,} · " if "step" in row else ""
        return where + row["event"].replace("_", " ") + (f" · {console.number(rest)}" if rest else "")
    loss = "not finite" if row.get("loss") is None else f"{row['loss']:.3f}"
    if row.get("split") != "train":
        return f"step {row.get('step', 0):,} · {row.get('split')} loss {loss}"
    parts = [f"step {row.get('step', 0):,}", f"{100 * row.get('progress', 0):.0f} %", f"loss {loss}"]
    return " · ".join([*parts, f"{row.get('tokens_per_second') or 0:,.0f} tokens/s"])


def _misplaced(args: argparse.Namespace) -> list[str]:
    """Options and arguments that this action does not take: nothing is ignored."""
    wrong = []
    if args.action == "list" and args.run is not None:
        wrong.append(problem("seektune runs list", f"found {args.run!r}", "no run", f"`seektune runs show {args.run}`"))
    if args.action != "list" and args.run is None:
        wrong.append(
            problem(f"seektune runs {args.action}", "no run named", "a name or a folder", "`seektune runs` lists them")
        )
    if args.follow and args.action != "show":
        wrong.append(problem("--follow", f"found with {args.action}", "`seektune runs show RUN --follow`"))
    if args.yes and args.action != "delete":
        wrong.append(problem("--yes", f"found with {args.action}", "`seektune runs delete RUN --yes`"))
    return wrong


def _list(args: argparse.Namespace) -> int:
    found = [summary(one) for one in list_runs(args.root)]
    if args.json:
        console.result({"root": str(args.root), "runs": found})
        return 0
    if not found:
        console.say(f"no runs under {args.root}")
        return 0
    rows = [
        [one["name"], one["status"], _made(one.get("created")), _steps(one), one.get("verdict") or ""] for one in found
    ]
    console.table(["run", "status", "made", "steps", "result"], rows)
    for one in found:
        if "reason" in one:
            console.warn(one["reason"])
    return 0


def _show(run: Run, args: argparse.Namespace) -> int:
    if args.follow:
        try:
            follow(run)
        except KeyboardInterrupt:
            console.say("not followed any more; the run itself is left alone")
    facts = summary(run)
    if args.json:
        console.result(facts | {"events": run.events()[-EVENTS_SHOWN:], "report": run.read("report.json", {})})
        return 0
    console.title(run.name)
    checkpoints = run.checkpoints()
    shown = {
        "status": facts["status"],
        "made": _made(facts["created"]),
        "steps": _steps(facts),
        "loss": facts["loss"],
        "result": facts["verdict"],
        "checkpoints": ", ".join(path.name for path in checkpoints) or None,
        "model": run.model_folder if run.model_folder.exists() else None,
        "report": run.path / "report.html" if (run.path / "report.html").exists() else None,
    }
    console.facts((name, value) for name, value in shown.items() if value is not None)
    for row in run.events()[-EVENTS_SHOWN:]:
        console.say(f"  {_made(row.get('time'))}  {line_of(row)}", "dim")
    if facts["status"] == "interrupted" and checkpoints:
        console.say(f"go on with: seektune train --resume {run.path}")
    return 0


def _delete(run: Run, args: argparse.Namespace) -> int:
    files = [path for path in run.path.rglob("*") if path.is_file() and not path.is_symlink()]
    size = sum(path.stat().st_size for path in files)
    gone = args.yes or console.confirm(f"delete {run.path} ({len(files):,} files, {console.size(size)})?")
    if gone:
        run.delete()
    if args.json:
        console.result({"path": str(run.path), "deleted": gone, "bytes": size if gone else 0})
    else:
        console.say(f"deleted {run.path} ({console.size(size)})" if gone else "kept")
    return 0


def _made(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else ""


def _steps(facts: dict[str, Any]) -> str:
    total = facts.get("total_steps")
    return f"{facts.get('step', 0):,}" + (f" of {total:,}" if total is not None else "")
