"""What can be known before a run: facts of data and model, findings with a remedy each, two records as the model sees them,
and the plan. Nothing here changes a weight, a gradient or a random state; errors stop, warnings do not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import console, files, findings, page
from .contracts import Document
from .data.prepare import Prepared
from .errors import DataError, InputError, problem
from .findings import Finding, Look

if TYPE_CHECKING:
    from .data.chat import Renderer

RUNS = Path("runs")  # where earlier runs of a name are looked for
READ = 2_000  # records that tell the languages
SHOWN = 600  # tokens of a record that are shown; of a longer one its two ends

SCRIPTS = {
    "Chinese": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003347f]"),
    "Latin": re.compile(r"[A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]"),
}
LETTER = re.compile(r"[^\W\d_]")


@dataclass
class Diagnosis:
    """All that was found out. `examples`: {"where", "label", "parts": [[text, kind], ...]}; `plan` as in plan.json."""

    name: str
    facts: dict[str, dict[str, Any]]
    findings: list[Finding]
    examples: list[dict[str, Any]] = field(default_factory=list)
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        return [finding.line for finding in self.findings if finding.severity == "error"]

    @property
    def warnings(self) -> list[str]:
        return [finding.line for finding in self.findings if finding.severity == "warning"]


def check_data(recipe: Any, data: Prepared) -> None:
    """Before a weight is read: raises InputError with all errors that data, tokenizer and config show."""
    from .models import load

    rows = load.facts_of(load.folder_of(recipe.model)).vocab
    found = [*findings.nothing_learnt(Look(recipe, data)), *findings.vocabulary(data, rows)]
    if errors := [finding.line for finding in found if finding.severity == "error"]:
        raise InputError(errors)


def check(ready: Any, root: Path = RUNS, begins: bool = False) -> Diagnosis:
    """The diagnosis of an assembled run, whose plan gets its time here, or of a drafted one. `root`: the folder of earlier runs.

    The longest real batch is run first, forward and backward: if the run `begins`, even where the plan says that it will
    not fit. Leaves model, gradients and random states as they were; what does not fit is cut smaller.
    """
    from . import runtime, tryout
    from .models import forward

    recipe, data, model = ready.recipe, ready.data, ready.model
    look, closed = Look(recipe, data), getattr(ready, "closed", "")
    found = [
        *tryout.not_opened(ready),
        *findings.of_data(look),
        *findings.vocabulary(data, forward.vocabulary(model)),
        *tryout.too_long_for(model, data),
        *tryout.half_weights(model),
        *tryout.served_otherwise(model, data),
        *findings.learning_rate(recipe, ready.plan.parameters),
        *(() if closed else findings.precision(recipe.train.precision, lambda: runtime.measure(ready.device.type))),
        *findings.previous(recipe, root),
        *tryout.memory(ready.plan),
        *tryout.disk(ready.plan, root),
    ]
    facts = {"data": data_facts(look), "model": model_facts(ready)}
    if closed:
        ready.plan = tryout.estimated(ready)
    elif (ready.plan.fits or begins) and not any(finding.severity == "error" for finding in found):
        found += tryout.longest_first(ready)
    if not closed and ready.plan.seconds is not None:
        facts["model"]["dead"] = dead = tryout.dead_modules(ready)
        found += tryout.dead(dead)
    return Diagnosis(str(recipe.name), facts, found, _examples(data), ready.plan.as_dict())


# ---- facts ----


def data_facts(look: Look) -> dict[str, Any]:
    data, train = look.data, look.data.train_tokens
    lengths = train.lengths
    facts: dict[str, Any] = {"records": {"train": len(data.train)}, "tokens": {"train": int(lengths.sum())}}
    if data.valid is not None and data.valid_tokens is not None:
        facts["records"]["held out"] = len(data.valid)
        facts["tokens"]["held out"] = int(data.valid_tokens.lengths.sum())
    facts["sources"] = _sources(look)
    facts["lengths"] = {
        "median": int(np.median(lengths)),
        "95 %": int(np.quantile(lengths, 0.95)),
        "longest": int(lengths.max()),
    }
    step = max(1, len(look.records) // READ)
    facts["languages"] = languages(
        "\n".join(text for _, record in look.records[::step] for text in findings.texts(record))
    )
    if data.labels is not None:
        facts["labels"] = {"count": len(data.labels), "several at once": data.several}
    return facts


def _sources(look: Look) -> list[dict[str, Any]]:
    """Per input: path, shape, records, tokens and, where tokens are learnt, the share of those that are."""
    inputs = look.data.train.facts["inputs"]
    rows = []
    for index, counts in look.data.train_tokens.facts.get("sources", {}).items():
        given = inputs[int(index)] if int(index) < len(inputs) else {}
        row = {"path": given.get("path", ""), "shape": given.get("shape", ""), "encoding": given.get("encoding", "")}
        row |= {"records": counts["records"], "tokens": counts.get("tokens", 0)}
        if not look.classifier:
            row["learnt"] = counts.get("supervised_tokens", 0) / max(counts.get("tokens", 0), 1)
        rows.append(row)
    return rows


def languages(text: str) -> dict[str, float]:
    """Shares of Chinese characters, Latin letters and other letters among all letters; {} where there is none."""
    counts = {name: len(pattern.findall(text)) for name, pattern in SCRIPTS.items()}
    letters = len(LETTER.findall(text))
    if not letters:
        return {}
    return {name: count / letters for name, count in (counts | {"other": letters - sum(counts.values())}).items()}


def model_facts(ready: Any) -> dict[str, Any]:
    """Sizes, what is adapted and what not (and why), whether documents share rows."""
    from .models import forward, streaming, streaming_cost
    from .models.kernels import native

    trained, total = ready.plan.trainable_parameters, ready.plan.parameters
    facts: dict[str, Any] = {"parameters": total, "trained": trained, "trained_share": trained / max(total, 1)}
    if targets := getattr(ready.recipe.tuner, "targets", None):
        found = targets(ready.model)
        facts["adapted"] = found.suffixes
        facts["unadapted"] = dict(Counter(_short(name) + f" ({why})" for name, why in found.unadapted.items()))
    spare = forward.vocabulary(ready.model) - findings.tokens_of(ready.data.renderer)
    if spare > 0:
        facts["embedding_rows_without_token"] = spare
    if stream := streaming.of(ready.model):
        facts["streamed_bytes"] = {"a layer": max(stream.block_bytes), "a step": 2 * sum(stream.block_bytes)}
        facts["streaming"] = streaming_cost.told(2 * sum(stream.block_bytes))
    facts["packing"] = (
        ready.isolation.reason if ready.layout.rows == "packed" else f"one document a row: {ready.isolation.reason}"
    )
    if (saving := getattr(ready, "saving", None)) is not None:
        facts["memory_saved"] = str(saving)
    facts["prefix_cache"] = ready.prefix.reason
    if (kind := next(ready.model.parameters()).device.type) in ("cpu", "cuda"):
        facts["hand_written_pieces"] = native.told(kind)
    return facts


def _short(name: str) -> str:
    return re.sub(r"^.*?\.\d+\.", "", name)


# ---- records as the model sees them ----


def examples(data: Prepared) -> list[list[list[str]]]:
    """Two documents as [text, kind] per token; the texts of one, joined, are its decoding. Kinds as in `console.KINDS`."""
    return [example["parts"] for example in _examples(data)]


def _examples(data: Prepared) -> list[dict[str, Any]]:
    found = []
    for index in _chosen(data):
        document = data.train_tokens[index]
        label = None if data.labels is None else _names(data.labels, document.label)
        found.append({"where": data.train.where(document.record), "label": label, "parts": coloured(data, document)})
    return found


def _names(labels: list[str], ids: Any) -> str:
    """Each once; of a tagger's pieces those that stand for something."""
    return ", ".join(dict.fromkeys(labels[i] for i in (ids if isinstance(ids, list) else [ids]) if i >= 0))


def _chosen(data: Prepared) -> list[int]:
    """A document of median length, and one that was cut; where none was, one of another source or else the next."""
    tokens = data.train_tokens
    first = int(np.argsort(tokens.lengths, kind="stable")[(len(tokens) - 1) // 2])
    source = data.train.source(int(tokens.records[first]))
    others = [i for i in findings.spread(len(tokens), 200) if i != first]
    if tokens.facts.get("cut"):
        others.insert(0, int(tokens.lengths.argmax()))
    else:
        others.sort(key=lambda i: data.train.source(int(tokens.records[i])) == source)
    return list(dict.fromkeys([first, *others]))[:2]


def coloured(data: Prepared, document: Document) -> list[list[str]]:
    """[text, kind] per token of a document, with what was cut off its end."""
    whole, ends = _uncut(data, document), set(data.renderer.end_ids)

    def kind(position: int) -> str:
        if position >= len(document):
            return "cut"
        if document.weights[position] == 0:
            return "not learnt"
        return "end" if whole[position] in ends else "learnt"

    return [[text, kind(position)] for position, text in enumerate(pieces(data.renderer, whole))]


def _uncut(data: Prepared, document: Document) -> list[int]:
    """The ids before cutting: those of the record's rendering that begins as this document does. How answers were chosen
    is not known here, so each way is tried; texts of a classifier are cut in their middle and are shown as they are."""
    count = len(document)
    whole_ones = data.labels is None and not data.train_tokens.facts.get(
        "split"
    )  # the rest of a split text is not lost
    for train_on in ("all_answers", "last_answer", "everything") if whole_ones else ():
        with contextlib.suppress(DataError):  # another way than the one that made the document may not be possible
            for whole in data.renderer.documents(data.train[document.record], train_on):
                if np.array_equal(whole.ids[:count], document.ids) and np.array_equal(
                    whole.weights[:count], document.weights
                ):
                    return list(map(int, whole.ids))
    return list(map(int, document.ids))


def pieces(renderer: Renderer, ids: list[int]) -> list[str]:
    """The text of each token; a character that several tokens make stands with the last of them. Joined: the decoding."""
    from .engine.pieces import Pieces

    def decode(some: Sequence[int]) -> str:
        return renderer.decode(some, skip_special=False)

    stream, whole = Pieces(decode), decode(ids)
    texts = [stream.add(token) for token in ids]
    texts[-1:] = [last + stream.end() for last in texts[-1:]]
    if "".join(texts) == whole:
        return texts
    ends = [0]  # a decoder that looks far back (it tidies up spaces): each beginning is decoded anew
    for count in range(1, len(ids)):
        pairs = zip(decode(ids[:count]), whole, strict=False)
        ends.append(max(ends[-1], sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))))
    return [whole[start:end] for start, end in zip(ends, [*ends[1:], len(whole)], strict=True)]


# ---- showing ----


def show(diagnosis: Diagnosis, html: str | None = None, as_json: bool = False) -> int:
    """Print the diagnosis, as a page into `html` and as JSON on stdout where asked. Raises InputError with all errors."""
    if as_json:
        console.use_stderr()
    _print(diagnosis)
    if html is not None:
        _write(Path(html), as_page(diagnosis))
    if as_json:
        console.result(dataclasses.asdict(diagnosis))
    if diagnosis.errors:
        raise InputError(diagnosis.errors)
    return 0


def _print(diagnosis: Diagnosis) -> None:
    data, model = diagnosis.facts["data"], diagnosis.facts["model"]
    console.title("Data")
    console.facts((page.words(key), told(key, value)) for key, value in data.items() if key != "sources")
    _print_sources(data["sources"])
    for example in diagnosis.examples:
        console.title(f"{_heading(example)} as the model sees it")
        console.tokens(shortened(example["parts"]))
    console.title("Model")
    console.facts((page.words(key), told(key, value)) for key, value in model.items())
    console.title("Plan")
    console.facts((page.words(key), told(key, value)) for key, value in diagnosis.plan.items())
    console.say()
    for line in diagnosis.warnings:
        console.warn(line)
    if not diagnosis.findings:
        console.say("no findings: nothing speaks against this run", "green")


def _print_sources(rows: list[dict[str, Any]]) -> None:
    if rows:
        console.table(list(rows[0]), _source_rows(rows))


def _source_rows(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """The cells of the table of sources."""
    told_as: dict[str, Callable[[Any], str]] = {"learnt": _share, "path": findings.nearby}
    return [[told_as[key](value) if key in told_as else value for key, value in row.items()] for row in rows]


def _heading(example: dict[str, Any]) -> str:
    label = "" if example["label"] is None else f" (label {example['label']})"
    return findings.nearby(example["where"]) + label


def told(key: str, value: Any) -> str:
    """A fact for people: shares in percent, bytes and seconds in their units."""
    if isinstance(value, dict):
        if key == "languages":
            return ", ".join(f"{name} {_share(share)}" for name, share in value.items()) or "no letters"
        unit = "_bytes" if key.endswith("bytes") else ""
        return ", ".join(f"{name} {told(f'{name}{unit}', inner)}" for name, inner in value.items()) or "none"
    if isinstance(value, float) and key.endswith("share"):
        return _share(value)
    return console.quantity(key, value)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %" if value < 0.995 or value == 1 else f"{100 * value:.2f} %"


def shortened(parts: list[list[str]]) -> list[tuple[str, str]]:
    """The two ends of a long record, with a note of how many tokens stand between."""
    pairs = [(text, kind) for text, kind in parts]
    if len(pairs) <= SHOWN:
        return pairs
    half = SHOWN // 2
    return [*pairs[:half], (f"\n… {len(pairs) - 2 * half:,} tokens …\n", "not learnt"), *pairs[-half:]]


def as_page(diagnosis: Diagnosis) -> str:
    """One self-contained page."""
    data, model = dict(diagnosis.facts["data"]), diagnosis.facts["model"]
    sources = data.pop("sources")
    tones = {"error": "bad", "warning": "soft"}
    rows = [
        [f'<span class="{tones[f.severity]}" style="white-space:nowrap">{f.severity}</span>', f.line]
        for f in diagnosis.findings
    ]
    verdict = page.table(["", "finding"], rows, ["html", "text"]) or '<p class="good">No findings.</p>'
    shown = [
        part for e in diagnosis.examples for part in (f"<h3>{page.text(_heading(e))}</h3>", page.tokens(e["parts"]))
    ]
    table = page.table(list(sources[0]), _source_rows(sources)) if sources else ""
    return page.document(
        f"{diagnosis.name} · check · seektune",
        [
            f'<header><h1>{page.text(diagnosis.name)}</h1><p class="soft">Before the run: what can be known</p></header>',
            page.section("Findings", verdict),
            page.section("Data", _listed(data), table),
            page.section("Records as the model sees them", page.legend(), *shown),
            page.section("Model", _listed(model)),
            page.section("Plan", _listed(diagnosis.plan)),
        ],
    )


def _listed(values: dict[str, Any]) -> str:
    return page.facts({key: told(key, value) for key, value in values.items()})


def _write(path: Path, text: str) -> None:
    try:
        files.write_text(path, text)
    except OSError as error:
        raise InputError(
            problem(str(path), f"cannot be written ({error.strerror})", "a file in a folder that can be")
        ) from None
