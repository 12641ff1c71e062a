"""Figures of the finance stages on real records: news and names to ids, names and numbers found, cells of statements, digits.

python bench/_data_finance.py ../shared/data       # JSON, one row a line
"""

from __future__ import annotations

import csv
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SEED = 17


def figures(folder: Path) -> list[Row]:
    """One row a figure; `folder` holds the data sets."""
    rows = []
    for figure in FIGURES:
        began = time.process_time()
        found = list(figure(folder))
        seconds = round(time.process_time() - began, 2)
        rows += [row | {"seconds": seconds} for row in found]
    return rows


def _row(stage: str, figure: str, value: Any, asked: str = "", reached: bool | None = None, data: str = "") -> Row:
    value = round(value, 4) if isinstance(value, float) else value
    return {"stage": stage, "figure": figure, "value": value, "asked": asked, "reached": reached, "data": data}


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


# numbers


def numbers(folder: Path) -> Iterator[Row]:
    """What a simple search sees of signs that can only stand behind a number, and how much of that the stage has found."""
    from seektune.stages.numbers import found_in

    records = _lines(folder / "cls_finnews_zh" / "finnews.jsonl")
    sign = re.compile(r"\d(?:%|％|万元|亿元|元(?!月|旦)|个百分点|个基点|倍)")
    seen = hit = total = 0
    for record in records:
        ends = {(one["at"][0], one["end"]) for one in found_in(record)}
        total += len(ends)
        for key in ("title", "text"):
            for match in sign.finditer(record[key]):
                seen += 1
                hit += any(at == key and end >= match.end() and end - match.end() <= 4 for at, end in ends)
    yield _row(
        "numbers",
        "share of amounts and percentages found",
        _share(hit, seen),
        data=f"cls_finnews_zh, {seen} by a search for their units",
    )
    yield _row("numbers", "numbers found", total, data=f"cls_finnews_zh, {len(records)} records")


def scaler(folder: Path) -> Iterator[Row]:
    """Every number of the news scaled and led back."""
    from decimal import Decimal

    from seektune.stages._scaler import fitted, name_of
    from seektune.stages.numbers import found_in

    found = [(name_of(one["kind"], one["unit"]), Decimal(one["value"])) for record in _lines(folder / "cls_finnews_zh" / "finnews.jsonl")
             for one in found_in(record) if one["kind"] != "date" and ":" not in one["value"]]  # fmt: skip
    for how in ("linear", "log"):
        made = fitted(how, found)
        back = sum(made.unscale(name, made.scale(name, value)) == value for name, value in found)
        yield _row("scale_numbers", f"numbers that come back exactly ({how})", _share(back, len(found)), "all", back == len(found),
                   f"cls_finnews_zh, {len(found)} numbers")  # fmt: skip


# align_entities


def align_chinese(folder: Path) -> Iterator[Row]:
    """Names alone, no codes: does the company of a record come out? And of names that stand before a code, is it that code?"""
    from seektune.stages.align_entities import AlignEntities

    records = _lines(folder / "cls_finnews_zh" / "finnews.jsonl")
    names = {(record["code"], record["company"]) for record in records}
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "companies.jsonl"
        table.write_text("\n".join(json.dumps({"id": f"id-{code}", "name": name}) for code, name in sorted(names)))
        stage = AlignEntities(table=str(table))
        meant = found = right = wrong = 0
        for record in records:
            given = {"title": record["title"], "text": record["text"]}
            made = (stage.each(given).record or {}).get("entities", [])
            if record["company"] in record["title"] + record["text"]:
                meant += 1
                found += any(one["id"] == f"id-{record['code']}" for one in made)
            for one in made:
                behind = re.match(r"[(（](?:行情)?(\d{6})", given[one["at"][0]][one["end"] :])
                if behind:
                    right += one["id"] == f"id-{behind[1]}"
                    wrong += one["id"] not in (None, f"id-{behind[1]}")
    data = f"cls_finnews_zh, {len(names)} companies"
    yield _row(
        "align_entities",
        "recall: the record's company by its name",
        _share(found, meant),
        data=f"{data}, {meant} records that name it",
    )
    yield _row(
        "align_entities",
        "precision: names in front of a code",
        _share(right, right + wrong),
        data=f"{data}, {right + wrong} names",
    )


def align_english(folder: Path) -> Iterator[Row]:
    """Half of the companies are in the table; all are mentioned, written in other ways: legal forms, capitals, a slip of two letters."""
    from seektune.stages.align_entities import AlignEntities

    rows = list(csv.DictReader((folder / "entities_sp500" / "constituents.csv").open(encoding="utf-8")))
    draw = random.Random(SEED)
    draw.shuffle(rows)
    inside, outside = rows[::2], rows[1::2]
    ways: dict[str, Callable[[str], str]] = {
        "as it stands": str, "in capitals": str.upper, "with a legal form": lambda n: f"{n}, Inc.", "with two letters swapped": lambda n: _slip(n, draw),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "table.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "name"])
            writer.writeheader()
            writer.writerows({"id": row["Symbol"], "name": row["Security"]} for row in inside)
        stage = AlignEntities(table=str(table))
        for way, change in ways.items():
            counts: Counter[str] = Counter()
            for row in rows:
                text = f"Shares of {change(row['Security'])} rose after the quarter, analysts in {row['Headquarters Location']} said."
                ids = {one["id"] for one in (stage.each({"text": text}).record or {}).get("entities", [])}
                truth = {row["Symbol"]} if row in inside else set()
                counts.update({"hit": len(ids & truth), "wrong": len(ids - truth), "meant": len(truth)})
            data = f"entities_sp500, {len(inside)} companies in the table, {len(outside)} not"
            yield _row("align_entities", f"recall, {way}", _share(counts["hit"], counts["meant"]), data=data)
            yield _row(
                "align_entities", f"precision, {way}", _share(counts["hit"], counts["hit"] + counts["wrong"]), data=data
            )


def _slip(name: str, draw: random.Random) -> str:
    """Two letters next to each other change places."""
    places = [
        i for i in range(1, len(name) - 1) if name[i].isalpha() and name[i + 1].isalpha() and name[i] != name[i + 1]
    ]
    if not places:
        return name
    i = draw.choice(places)
    return name[:i] + name[i + 1] + name[i] + name[i + 2 :]


# tables


def cells(folder: Path) -> Iterator[Row]:
    """Questions that one figure of a table answers without arithmetic: is it a cell, and do the heads lead to it?"""
    from seektune.stages._grids import grids
    from seektune.stages._statements import _figure, cells_of

    counts: Counter[str] = Counter()
    for record in _lines(folder / "table_tatqa" / "tatqa_dev.jsonl"):
        [grid] = grids(record["table"])
        found = cells_of(grid, " ".join(one["text"] for one in record["paragraphs"]))
        for asked in record["questions"]:
            if (
                asked["answer_type"] != "span"
                or asked["answer_from"] == "text"
                or len(asked["answer"]) != 1
                or asked["derivation"]
            ):
                continue
            figure = _figure(asked["answer"][0])
            if figure is None or re.fullmatch(r"(?:19|20)\d\d", asked["answer"][0]):
                continue
            counts["asked"] += 1
            counts["text"] += any(_tight(cell.text) == _tight(asked["answer"][0]) for cell in found)
            counts["value"] += any(figure.value in (cell.value, cell.exact) for cell in found)
            best = max(found, key=lambda cell: _likeness(cell, asked["question"]))
            counts["led"] += figure.value in (best.value, best.exact)
    data = f"table_tatqa, {counts['asked']} questions whose answer is one figure"
    yield _row("tables", "answers that are a cell, sign for sign", _share(counts["text"], counts["asked"]), data=data)
    yield _row("tables", "answers that are the number of a cell", _share(counts["value"], counts["asked"]), data=data)
    yield _row("tables", "the likeliest heads lead to the number", _share(counts["led"], counts["asked"]), data=data)


def _tight(text: str) -> str:
    return "".join(text.split())


def _likeness(cell: Any, question: str) -> float:
    """Words of the heads that the question holds: of the row first, then of the column."""
    asked = set(re.findall(r"\w+", re.sub(r"FY ?(\d\d)\b", r"20\1", question).lower()))
    row, column = (
        set(re.findall(r"\w+", head.lower())) for head in (f"{cell.section} {cell.row_head}", cell.column_head)
    )
    return 2 * len(row & asked) / (len(row) + 1) + len(column & asked) / (len(column) + 1)


# digits


def digits(folder: Path) -> Iterator[Row]:
    """Tokenizers as they are, and one whose numbers are cut unevenly after its digits were put apart."""
    from seektune.data import digits

    for name in ("tokenizer_qwen2_5", "tokenizer_deepseek_llm", "tokenizer_minimind"):
        found = digits.check(digits.opened(folder / name))
        told = "one by one" if found.one_by_one else f"{len(found.irregular)} lengths cut in several ways"
        yield _row(
            "digits", f"{name}: digits lost", found.lost_count, "0", found.lost_count == 0, f"{found.numbers} numbers"
        )
        yield _row("digits", f"{name}: pieces", told, data=f"{found.numbers} numbers")
        if not found.one_by_one:
            with tempfile.TemporaryDirectory() as place:
                after = digits.split(folder / name, Path(place) / "split")
            whole = after.one_by_one and not after.lost_count
            yield _row(
                "digits",
                f"{name}: one by one and exact after --split",
                whole,
                "true",
                whole,
                f"{after.numbers} numbers",
            )


# recognise_entities


def marked(folder: Path) -> Iterator[Row]:
    """A dictionary of the names that the training part has marked, on the held-out part: what a list can do, and cannot."""
    from seektune.stages.recognise_entities import RecogniseEntities

    types: dict[str, Counter[str]] = {}
    for record in _lines(folder / "ner_cluener" / "train.jsonl"):
        for kind, names in record["label"].items():
            for name in names:
                types.setdefault(name, Counter())[kind] += 1
    with tempfile.TemporaryDirectory() as place:
        lexicon = Path(place) / "names.jsonl"
        rows = [{"name": name, "type": kinds.most_common(1)[0][0]} for name, kinds in types.items()]
        lexicon.write_text("\n".join(json.dumps(row) for row in rows))
        stage = RecogniseEntities(lexicon=str(lexicon), rules=False)
        hits = said = true = 0
        held = _lines(folder / "ner_cluener" / "dev.jsonl")
        for record in held:
            truth = {
                (a, b + 1, kind)
                for kind, names in record["label"].items()
                for spans in names.values()
                for a, b in spans
            }
            found = {(one["start"], one["end"], one["type"]) for one in stage.spans(record["text"])}
            hits, said, true = hits + len(found & truth), said + len(found), true + len(truth)
    data = f"ner_cluener, {len(rows)} names of the training part, {len(held)} held-out records"
    yield _row("recognise_entities", "precision of a dictionary", _share(hits, said), data=data)
    yield _row("recognise_entities", "recall of a dictionary", _share(hits, true), data=data)
    yield _row("recognise_entities", "F1 of a dictionary", _share(2 * hits, said + true), data=data)


# objective tag


def tagger(folder: Path, steps: int = 240) -> Iterator[Row]:
    """The embedded model tuned on news and on finance with marked entities: entities found exactly, before and after.

    It reads from left to right only, and has 5.6 million parameters; what is measured is that `tag` learns.
    """
    import os

    from seektune import assembly, recipe

    for name in ("ner_msra", "ner_cluener"):
        with tempfile.TemporaryDirectory() as place:
            at = Path(place)
            for part, source in (("train", "train"), ("valid", "test" if name == "ner_msra" else "dev")):
                rows = _lines(folder / name / f"{source}.jsonl")[: 1200 if part == "train" else 300]
                rows = [{"text": row["text"], "spans": row["label"]} if "text" in row else row for row in rows]
                (at / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
            values = {"model": "base:tiny", "data": {"train": str(at / "train.jsonl"), "valid": {"path": str(at / "valid.jsonl")}, "max_length": 192},
                      "tuner": "full", "objective": "tag", "optimizer": {"kind": "adamw", "learning_rate": 0.001}, "name": name,
                      "train": {"steps": steps, "batch_size": 16, "device": "cpu"}, "evaluate": ["span_f1"]}  # fmt: skip
            (at / "recipe.yaml").write_text(json.dumps(values))
            kept, os.environ["SEEKTUNE_CACHE"] = os.environ.get("SEEKTUNE_CACHE"), str(at / "cache")
            runs, assembly.RUNS = assembly.RUNS, at / "runs"
            try:
                report = assembly.run(recipe.load(at / "recipe.yaml")).read("report.json")
            finally:
                assembly.RUNS = runs
                os.environ.pop("SEEKTUNE_CACHE")
                os.environ.update({"SEEKTUNE_CACHE": kept} if kept is not None else {})
            before, after = (report[when]["span_f1"]["value"] for when in ("before", "after"))
            data = f"{name}, 1200 records, {steps} steps of 16, base:tiny; 300 held-out records"
            yield _row("tag", "F1 of entities before", before, data=data)
            yield _row("tag", "F1 of entities after", after, "far above before", after > before + 0.2, data)


FIGURES: list[Callable[[Path], Iterator[Row]]] = [
    numbers,
    scaler,
    align_chinese,
    align_english,
    marked,
    cells,
    digits,
    tagger,
]

if __name__ == "__main__":
    for line in figures(Path(sys.argv[1])):
        print(json.dumps(line, ensure_ascii=False))
