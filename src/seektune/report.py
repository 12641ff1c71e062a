"""What a run has come to: report.json for programs, report.html for people. Reads the run folder and nothing else.

The trainer's side writes what only it knows into report.json (before, after, plan, measured, proof, whatever a tuner adds);
here that is completed from metrics and events, and shown.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from . import charts, files, kinds, page
from .console import duration, number, quantity
from .errors import InputError
from .evaluate import compare, stored
from .run import Run

OWN_KEYS = (
    "status",
    "name",
    "verdict",
    "training",
    "before",
    "after",
    "differences",
    "plan",
    "measured",
    "comparison",
    "proof",
)
Rows = Sequence[Mapping[str, Any]]  # lines of metrics.jsonl or events.jsonl
AXES = (
    "step",
    "progress",
    "tokens",
    "supervised_tokens",
    "time",
    "split",
    "loss",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "waiting",
)
ANSWERS_SHOWN, ANSWERS_FOLDED, WORSE_SHOWN, EVENTS_SHOWN = 6, 40, 10, 200
SMALL = 340  # width of all charts but the first
COUNTED = ("checkpoint", "resume", "non_finite", "out_of_memory", "alarm")
REGULAR = ("validation", "checkpoint")
TROUBLE = frozenset({"alarm", "non_finite", "out_of_memory", "failed"})


def write_report(run: Run, status: str = "finished") -> dict[str, Any]:
    """Complete report.json, write report.html beside it, and return the report. `status` is what the run has come to."""
    rows = run.metrics()
    report = build(run, status, rows)
    run.write("report.json", report)
    files.write_text(run.path / "report.html", html(run, report, rows))
    return report


def build(run: Run, status: str, rows: Rows) -> dict[str, Any]:
    """The report as a dict: what report.json already holds, with verdict, training facts and the comparison with the plan."""
    held = run.read("report.json", {})
    before, after = held.get("before") or {}, held.get("after") or {}
    plan = held.get("plan") or run.read("plan.json", {})
    measured = speed(rows) | (held.get("measured") or {})
    paired = differences(run)
    report = {
        "status": status,
        "name": run.name,
        "verdict": verdict(before, after, paired),
        "training": training(rows, run.events()),
    }
    report |= {"before": before, "after": after, "differences": paired}
    report |= {"plan": plan, "measured": measured, "comparison": compare_plan(plan, measured)}
    return (
        report | {"proof": held.get("proof") or {}} | {key: value for key, value in held.items() if key not in OWN_KEYS}
    )


def differences(run: Run) -> dict[str, Any]:
    """After minus before on the same records, with its interval, per figure; {} where one of the two was not taken."""
    try:
        old, new = (stored.read(run.path / stored.FOLDER / f"{when}.jsonl") for when in ("before", "after"))
        return compare.compare(old, new).differences
    except InputError:
        return {}


def verdict(before: Mapping[str, Any], after: Mapping[str, Any], paired: Mapping[str, Any]) -> dict[str, Any]:
    """The first figure in a line: {"measure", "direction": better|worse|unclear|same|measured, "words"}; {} where there is none."""
    if not after:
        return {}
    name, now = next(iter(after.items()))
    old = before.get(name) or {}
    reached = f"{shown(name, now.get('value'))}{_range(name, now)}"
    if old.get("value") is None or now.get("value") is None:
        return {"measure": name, "direction": "measured", "words": f"{page.words(name)} is {reached}"}
    words = f"{page.words(name)} went from {shown(name, old['value'])} to {reached}"
    return {"measure": name, "direction": direction(name, old, now, paired.get(name) or {}), "words": words}


def direction(name: str, old: Mapping[str, Any], new: Mapping[str, Any], paired: Mapping[str, Any]) -> str:
    """`better` or `worse` only where the interval of the paired difference leaves out 0, or, unpaired, the two do not overlap."""
    if paired.get("low") is not None and paired.get("high") is not None:
        change = 1 if paired["low"] > 0 else -1 if paired["high"] < 0 else 0
    elif None in (old.get("low"), old.get("high"), new.get("low"), new.get("high")):
        change = 0
    else:
        change = 1 if old["high"] < new["low"] else -1 if new["high"] < old["low"] else 0
    if change == 0:
        return "same" if old["value"] == new["value"] else "unclear"
    return "worse" if (change > 0) == lower_is_better(name) else "better"


def lower_is_better(name: str) -> bool:
    """Of a figure; those of a measure may have names such as f1/CLASS."""
    kind = name.partition("/")[0]
    return name == "loss" or (
        kind in kinds.names("evaluate") and getattr(kinds.find("evaluate", kind), "better", "") == "lower"
    )


def training(rows: Rows, events: Rows) -> dict[str, Any]:
    """Steps, tokens, losses, and what was counted on the way."""
    train = [row for row in rows if row.get("split") == "train"]
    valid = [row for row in rows if row.get("split") == "valid" and row.get("loss") is not None]
    if not train:
        return {}
    last = train[-1]
    facts = {
        "steps": last.get("step"),
        "tokens": last.get("tokens"),
        "supervised_tokens": last.get("supervised_tokens"),
    }
    facts |= {"first_loss": train[0].get("loss"), "last_loss": last.get("loss")}
    if valid:
        best = min(valid, key=lambda row: row["loss"])
        facts |= {"best_validation_loss": best["loss"], "best_validation_step": best["step"]}
    counts = Counter(row["event"] for row in events)
    return facts | {"events": {name: counts[name] for name in COUNTED if counts[name]}}


def speed(rows: Rows) -> dict[str, Any]:
    """Tokens a second over all steps that took time, and the seconds that they took."""
    seconds, tokens, earlier = 0.0, 0, 0
    for row in rows:
        if row.get("split") != "train":
            continue
        made, earlier = (row.get("tokens") or 0) - earlier, row.get("tokens") or 0
        if row.get("tokens_per_second"):
            seconds, tokens = seconds + made / row["tokens_per_second"], tokens + made
    return {"seconds": seconds, "tokens_per_second": tokens / seconds} if seconds else {}


def compare_plan(plan: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Any]:
    """Every number that was predicted and measured under one name: {"predicted", "measured", "ratio"}."""
    found = {}
    for name, predicted in plan.items():
        actual = measured.get(name)
        if _is_number(predicted) and _is_number(actual):
            found[name] = {
                "predicted": predicted,
                "measured": actual,
                "ratio": actual / predicted if predicted else None,
            }
    return found


# The page


def html(run: Run, report: Mapping[str, Any], rows: Rows) -> str:
    """The page, from the report and the other files of the run."""
    data, events = run.read("data.json", {}), run.events()
    extra = {key: value for key, value in report.items() if key not in OWN_KEYS}
    return page.document(
        f"{run.name} · seektune",
        [
            _header(run, report),
            _headline(report),
            page.section("Training", _curves(rows, events), page.facts(report["training"])),
            page.section("Before and after", _scores(report)),
            _answers(run),
            _examples(data),
            page.section("Data", page.facts({key: value for key, value in data.items() if key != "examples"})),
            page.section(
                "Predicted and measured", _comparison(report), page.folded("the whole plan", page.facts(report["plan"]))
            ),
            page.section("Proof", page.facts(report["proof"])),
            *(page.section(page.words(key).capitalize(), _anything(value)) for key, value in extra.items()),
            page.section("Events", _events(events)),
            page.section("Recipe", _recipe(run)),
            page.section(
                "Environment",
                page.folded("versions, machine, git state, seeds", page.facts(run.read("environment.json", {}))),
            ),
        ],
    )


def shown(name: str, value: float | None) -> str:
    """A score for people: a rate in percent, any other with four digits."""
    if value is None:
        return "not finite"
    if not lower_is_better(name) and 0 <= value <= 1:
        return f"{100 * value:.1f} %"
    return number(float(value))


def text_of(prompt: Any) -> str:
    """A prompt as text: the contents of its messages, each under its role."""
    if isinstance(prompt, Mapping):
        return text_of(prompt.get("messages") or prompt.get("text") or prompt.get("prompt") or "")
    if isinstance(prompt, list):
        return "\n".join(
            f"{turn.get('role', '')}: {turn.get('content', '')}" if isinstance(turn, Mapping) else str(turn)
            for turn in prompt
        )
    return "" if prompt is None else str(prompt)


def _header(run: Run, report: Mapping[str, Any]) -> str:
    tone = {"finished": "good", "failed": "bad"}.get(report["status"], "soft")
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)) if run.created else ""
    took = duration(report["measured"]["seconds"]) if report["measured"].get("seconds") else ""
    waited = report["measured"].get("waiting_share")
    line = " · ".join(
        part
        for part in (
            made,
            f"{took} of training" if took else "",
            "" if waited is None else f"{waited:.1%} of it waiting for data",
            str(run.path.resolve().parent.name) + "/" + run.name,
        )
        if part
    )
    return f'<header><h1>{page.text(run.name)} <span class="chip {tone}">{page.text(report["status"])}</span></h1><p class="soft">{page.text(line)}</p></header>'


def _headline(report: Mapping[str, Any]) -> str:
    found = report["verdict"]
    if not found:
        return '<div class="verdict"><p>Nothing was evaluated: the recipe has no <code>evaluate</code>.</p></div>'
    name = found["measure"]
    old, now = report["before"].get(name), report["after"][name]
    earlier = f'<span class="from">{shown(name, old["value"])} →</span> ' if old else ""
    meaning = {
        "better": ("good", "Better, and more than chance explains."),
        "worse": ("bad", "Worse, and more than chance explains."),
        "unclear": ("soft", "The difference may be chance."),
        "same": ("soft", "No change."),
        "measured": ("soft", "Not measured before training."),
    }[found["direction"]]
    records = f" on {now['n']:,} held-out records" if now.get("n") else ""
    return (
        f'<div class="verdict"><div class="name">{page.text(page.words(name))}{records}</div>'
        f'<div class="change">{earlier}{shown(name, now["value"])}</div>'
        f'<p class="soft">{page.text(_range(name, now).strip(" ()") or "no interval")}</p><p class="{meaning[0]}">{page.text(meaning[1])}</p></div>'
    )


def _range(name: str, score: Mapping[str, Any]) -> str:
    if score.get("low") is None or score.get("high") is None:
        return ""
    return f" (95 % interval {shown(name, score['low'])} to {shown(name, score['high'])})"


def _curves(rows: Rows, events: Rows) -> str:
    train, valid = ([row for row in rows if row.get("split") == split] for split in ("train", "valid"))
    marks = [
        (row["step"], f"{page.words(row['event'])} at step {row['step']}")
        for row in events
        if row["event"] in TROUBLE and "step" in row
    ]
    losses = [_series("train", train, "loss", smooth=True), _series("valid", valid, "loss", colour="b", dots=True)]
    drawn = [charts.chart("Loss", losses, marks=marks)]
    for title, key in (
        ("Learning rate", "learning_rate"),
        ("Gradient norm", "grad_norm"),
        ("Tokens per second", "tokens_per_second"),
    ):
        drawn.append(charts.chart(title, [_series(key, train, key)], zero=True, width=SMALL, height=170))
    others = dict.fromkeys(
        key for row in (*train, *valid) for key, value in row.items() if key not in AXES and _is_number(value)
    )
    for key in others:
        pair = [_series("train", train, key, smooth=True), _series("valid", valid, key, colour="b", dots=True)]
        drawn.append(charts.chart(page.words(key).capitalize(), pair, width=SMALL, height=170))
    inner = "".join(part for part in drawn if part)
    return f'<div class="charts">{inner}</div>' if inner else ""


def _series(name: str, rows: Rows, key: str, **look: Any) -> charts.Series:
    having = [row for row in rows if key in row and _is_number(row.get("step"))]
    values = [row[key] if _is_number(row[key]) else None for row in having]
    return charts.Series(page.words(name), [row["step"] for row in having], values, **look)


def _scores(report: Mapping[str, Any]) -> str:
    rows = []
    for name in dict.fromkeys((*report["before"], *report["after"])):
        old, new = report["before"].get(name), report["after"].get(name)
        ends = [
            score[end]
            for score in (old, new)
            if score
            for end in ("low", "value", "high")
            if score.get(end) is not None
        ]
        axis = (
            (0.0, 1.0)
            if ends and min(ends) >= 0 and max(ends) <= 1
            else (min(ends, default=0.0), max(ends, default=1.0))
        )
        cells = [_score(name, score, axis, colour) for score, colour in ((old, "b"), (new, "a"))]
        change = _change(name, old, new, report["differences"].get(name) or {})
        rows.append([page.text(page.words(name)), *cells, change, (new or old or {}).get("n") or ""])
    return page.table(
        ["measure", "before", "after", "change", "records"], rows, ["html", "html", "html", "html", "number"]
    )


def _change(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, paired: Mapping[str, Any]) -> str:
    """The difference, in points where it is one of rates, with the interval of the paired one where that was taken."""
    if not old or not new or old.get("value") is None or new.get("value") is None:
        return ""
    rate = shown(name, old["value"]).endswith("%") and shown(name, new["value"]).endswith("%")
    factor, unit = (100, " points") if rate else (1, "")
    tone = {"better": "good", "worse": "bad"}.get(direction(name, old, new, paired), "soft")
    difference = f'<span class="{tone}">{factor * (new["value"] - old["value"]):+.4g}{unit}</span>'
    if paired.get("low") is None or paired.get("high") is None:
        return difference
    return f'{difference}<br><span class="soft">{factor * paired["low"]:+.4g} to {factor * paired["high"]:+.4g}</span>'


def _score(name: str, score: Mapping[str, Any] | None, axis: tuple[float, float], colour: str) -> str:
    if not score or score.get("value") is None:
        return '<span class="soft">not measured</span>'
    spread = (
        ""
        if score.get("low") is None
        else f'<br><span class="soft">{shown(name, score["low"])} to {shown(name, score["high"])}</span>'
    )
    return f"{shown(name, score['value'])}{spread}<br>{charts.interval(score['value'], score.get('low'), score.get('high'), axis, colour)}"


def _answers(run: Run) -> str:
    """The first answers side by side, in the order of the records, and those that became worse."""
    old = {str(row.get("record")): row for row in run.lines("evaluation/before.jsonl")}
    new = [row for row in run.lines("evaluation/after.jsonl") if row.get("answer") is not None]
    pairs = [(old.get(str(row.get("record")), {}), row) for row in new]
    if not pairs:
        return ""
    told = f'<p class="soft">In the order of the records; all {len(pairs):,} are in evaluation/after.jsonl.</p>'
    worse = [pair for pair in pairs if _score_of(pair[1]) < _score_of(pair[0])]
    more = pairs[ANSWERS_SHOWN:][:ANSWERS_FOLDED]
    return page.section(
        "Answers side by side",
        told + _answer_table(pairs[:ANSWERS_SHOWN]),
        page.folded(f"{len(more)} more", _answer_table(more)),
        page.folded(
            f"{len(worse):,} became worse; the first {min(len(worse), WORSE_SHOWN)}", _answer_table(worse[:WORSE_SHOWN])
        ),
    )


def _answer_table(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    rows = [_answer_cells(*pair) for pair in pairs]
    return page.table(["prompt", "reference", "before", "after"], rows, ["text", "text", "html", "html"], even=True)


def _answer_cells(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Any]:
    return [text_of(new.get("prompt")), text_of(new.get("reference")), _answer(old), _answer(new)]


def _answer(row: Mapping[str, Any]) -> str:
    if not row:
        return '<span class="soft">none</span>'
    values = [
        f"{page.words(name)} {number(value)}" for name, value in (row.get("values") or {}).items() if _is_number(value)
    ]
    values += ["did not stop by itself"] if row.get("stopped") is False else []
    tone = {1.0: "good", 0.0: "bad"}.get(_score_of(row), "soft") if values else "soft"
    return f'<div class="text" style="white-space:pre-wrap">{page.text(text_of(row.get("answer")))}</div><small class="{tone}">{page.text(" · ".join(values))}</small>'


def _score_of(row: Mapping[str, Any]) -> float:
    """The first value of an answer, larger meaning better; 0 where there is none."""
    name, value = next(iter((row.get("values") or {}).items()), ("", 0.0))
    value = float(value) if _is_number(value) else 0.0
    return -value if lower_is_better(name) else value


def _examples(data: Mapping[str, Any]) -> str:
    examples = data.get("examples") or []
    if not examples:
        return ""
    return page.section(
        "Records as the model sees them", page.legend(), *(page.tokens(example) for example in examples)
    )


def _comparison(report: Mapping[str, Any]) -> str:
    rows = []
    for name, pair in report["comparison"].items():
        ratio = "" if pair["ratio"] is None else f"{pair['ratio']:.2f} ×"
        rows.append(
            [
                page.words(name).removesuffix(" bytes"),
                quantity(name, pair["predicted"]),
                quantity(name, pair["measured"]),
                ratio,
            ]
        )
    return page.table(["", "predicted", "measured", "measured ÷ predicted"], rows, ["", "number", "number", "number"])


def _anything(value: Any) -> str:
    if isinstance(value, Mapping):
        return page.facts(value)
    return f"<p>{page.text(number(value))}</p>" if value not in (None, "", []) else ""


def _events(events: Rows) -> str:
    """Everything but the regular ones, which are only counted."""
    regular = [row for row in events if row["event"] in REGULAR]
    others = [row for row in events if row["event"] not in REGULAR]
    rows = []
    for row in others[-EVENTS_SHOWN:]:
        details = {key: value for key, value in row.items() if key not in ("event", "time", "step")}
        tone = "bad" if row["event"] in TROUBLE else ""
        when = time.strftime("%H:%M:%S", time.localtime(row.get("time", 0)))
        rows.append(
            [
                when,
                row.get("step", ""),
                f'<span class="{tone}">{page.text(page.words(row["event"]))}</span>',
                number(details) if details else "",
            ]
        )
    left = f" The last {EVENTS_SHOWN} of {len(others):,} are shown." if len(others) > EVENTS_SHOWN else ""
    counted = {name: sum(row["event"] == name for row in regular) for name in REGULAR}
    line = (
        f'<p class="soft">Besides {counted["validation"]:,} validations and {counted["checkpoint"]:,} checkpoints.{left}</p>'
        if events
        else ""
    )
    return line + page.table(["time", "step", "event", ""], rows, ["short", "number", "html", ""])


def _recipe(run: Run) -> str:
    path = run.path / "recipe.yaml"
    return page.preformatted(path.read_text(encoding="utf-8")) if path.exists() else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
