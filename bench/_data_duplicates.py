"""Figures of deduplicate, decontaminate, language and `seektune data diff` on records made of real texts.

    python bench/_data_duplicates.py ../shared/data [figure…]

The 100,000 records are sentences of real sets put together anew, so that none repeats another; a tenth of them are then
planted: copies with some words changed, whose true Jaccard is counted here by sets of slices. Seeded.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seektune import runtime
from seektune.stages._evaluation import strings

COUNT = 100_000
PLANTED = 10  # one record of so many is a copy with changes
SETS = {
    "en": ("instruct_en_alpaca", "text_wiki_en", "text_c4_en", "qa_pubmedqa", "cls_agnews"),
    "zh": ("instruct_zh_alpaca", "instruct_zh_medical", "cls_chnsenticorp", "cls_finnews_zh", "text_web_zh"),
}
Row = dict[str, Any]


def figures(folder: Path) -> list[Row]:
    return [row for measure in MEASURES.values() for row in measure(folder)]


def _row(stage: str, figure: str, value: Any, asked: str, reached: bool | None, data: str, seconds: float) -> Row:
    return {"stage": stage, "figure": figure, "value": value, "asked": asked, "reached": reached, "data": data,
            "seconds": round(seconds, 1)}  # fmt: skip


# Records whose truth is known


def sentences(folder: Path, language: str) -> list[str]:
    """Different sentences of 20 to 300 characters out of all texts of the sets."""
    found = dict[str, None]()
    for name in SETS[language]:
        for path in sorted((folder / name).glob("*.*")):
            if path.suffix in (".jsonl", ".txt", ".csv"):
                text = path.read_text(encoding="utf-8")
                if path.suffix == ".jsonl":
                    text = "\n".join(value for line in text.split("\n") if line for value in strings(json.loads(line)))
                parts = re.split(r"(?<=[.!?。！？])\s*|\n", text)
                found.update(dict.fromkeys(part.strip() for part in parts if 20 <= len(part.strip()) <= 300))
    return list(found)


def made(folder: Path, count: int, seed: int = 17) -> Iterator[Row]:
    """{"text", "of"}: `of` is the number of the record that a planted one was made of, else null."""
    numbers = random.Random(seed)
    pools = {language: sentences(folder, language) for language in SETS}
    texts = list[str]()
    for number in range(count):
        if number % PLANTED == PLANTED - 1:
            origin = numbers.randrange(max(0, number - 5000), number)
            origin -= origin % PLANTED == PLANTED - 1  # of no copy: that may not stay itself
            texts.append(changed(numbers, texts[origin], numbers.choice((0.01, 0.02, 0.03, 0.05, 0.1))))
            yield {"text": texts[-1], "of": origin}
            continue
        language = numbers.choice(("en", "zh"))
        parts = numbers.choices(pools[language], k=numbers.randrange(2, 9))
        texts.append(("" if language == "zh" else " ").join(parts))
        yield {"text": texts[-1], "of": None}


def changed(numbers: random.Random, text: str, share: float) -> str:
    """This share of the words (Chinese characters) replaced by others of the text, left out, or said twice."""
    words = re.findall(r"[\u3400-\u9fff]|[^\s\u3400-\u9fff]+|\s+", text)
    for _ in range(max(1, round(share * len(words)))):
        at, what = numbers.randrange(len(words)), numbers.randrange(3)
        words[at] = (numbers.choice(words), "", words[at] * 2)[what]
    return "".join(words)


def similarity(one: str, other: str) -> float:
    """Jaccard of shingles by slices of the normalised texts: five characters, three where most are Chinese."""
    a, b = (_slices(" ".join(unicodedata.normalize("NFKC", text).casefold().split())) for text in (one, other))
    return len(a & b) / len(a | b)


def _slices(text: str) -> set[str]:
    length = 3 if 2 * len(re.findall(r"[\u3400-\u9fff]", text)) > len(text) else 5
    return {text[i : i + length] for i in range(max(1, len(text) - length + 1))}


def lines_of(path: Path) -> list[str]:
    """Without those that only some line breaks of Unicode part."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]


def written(rows: Iterator[Row], path: Path) -> Path:
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return path


def piped(stage: str, records: Path, folder: Path) -> Row:
    """`seektune data run` with one stage, as a process of its own: its card, its seconds and its largest memory in MB."""
    (folder / "pipeline.yaml").write_text(f"input: [{{path: {records}}}]\nstages: [{stage}]\noutput: out.jsonl\n")
    code = (
        "import resource, sys; from seektune import cli; code = cli.main(sys.argv[1:]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,"
        "file=sys.stderr); sys.exit(code)"
    )
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, "data", "run", str(folder / "pipeline.yaml"), "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "SEEKTUNE_CACHE": str(folder / "cache")},
    )
    seconds = time.perf_counter() - began
    assert done.returncode == 0, done.stderr[-2000:]
    own, child = map(int, done.stderr.split("\n")[-2].split())
    return {"card": json.loads(done.stdout), "seconds": seconds, "megabytes": own // 1024, "of_a_worker": child // 1024}


# The figures


def near(folder: Path) -> list[Row]:
    """Seconds and memory of 100,000 records, and how many of the planted copies were found."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        records = written(made(folder, COUNT), here / "records.jsonl")
        found = piped("{kind: deduplicate}", records, here)
        rows = [json.loads(line) for line in lines_of(records)]
        lost = [json.loads(line) for line in lines_of(here / "out.dropped.jsonl")]
    data = f"{COUNT:,} records of {sum(len(row['text']) for row in rows) // COUNT} characters, en and zh"
    stage, seconds = found["card"]["stages"][0]["seconds"], found["seconds"]
    timed = [
        _row(
            "deduplicate",
            "seconds, reading and writing included",
            round(seconds, 1),
            "< 60",
            seconds < 60,
            data,
            seconds,
        ),
        _row("deduplicate", "seconds of the stage", stage, "< 60", stage < 60, data, stage),
        _row(
            "deduplicate", "largest memory, MB", found["megabytes"], "< 1,500", found["megabytes"] < 1500, data, seconds
        ),
    ]
    return timed + _found(rows, lost, data, seconds)


def _found(rows: list[Row], lost: list[Row], data: str, seconds: float) -> list[Row]:
    """Of copies at or over the threshold, how many went; of those that went, how many are near what they are said to repeat."""
    true = {n: similarity(row["text"], rows[row["of"]]["text"]) for n, row in enumerate(rows) if row["of"] is not None}
    gone = {int(line["where"].rpartition(":")[2]) - 1: line for line in lost}
    near_ones = [n for n, value in true.items() if value >= 0.8]
    recall = sum(n in gone for n in near_ones) / len(near_ones)
    right = 0
    for number, line in gone.items():
        kept = int(re.findall(r":(\d+)(?: |$)", line["detail"])[0]) - 1
        right += similarity(rows[number]["text"], rows[kept]["text"]) >= 0.8
    just = [n for n in near_ones if true[n] < 0.85]
    at = sum(n in gone for n in just) / max(1, len(just))
    told = f"{data}; {len(near_ones):,} planted with Jaccard >= 0.8"
    return [
        _row("deduplicate", "recall of planted near copies", round(recall, 4), "", None, told, seconds),
        _row("deduplicate", "recall where the Jaccard is 0.80 to 0.85", round(at, 4), "", None, f"{len(just):,} of them", seconds),
        _row("deduplicate", "precision: near the record that is named", round(right / len(gone), 4), "", None, f"{len(gone):,} dropped", seconds),
    ]  # fmt: skip


def contamination(folder: Path) -> list[Row]:
    """The reviews that stand in both files of cls_chnsenticorp, and the time against several sets."""
    reviews = folder / "cls_chnsenticorp"
    train, test = ([json.loads(line)["text"] for line in lines_of(reviews / f"{name}.jsonl")]
                   for name in ("train", "test"))  # fmt: skip
    both = set(train) & set(test)
    sets = ", ".join(
        str(folder / name) for name in ("eval_gsm8k/test.jsonl", "eval_mmlu/test.jsonl", "eval_cmmlu/test.jsonl")
    )
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        found = piped(f"{{kind: decontaminate, against: {reviews / 'test.jsonl'}}}", reviews / "train.jsonl", here)
        left = {json.loads(line)["text"] for line in lines_of(here / "out.jsonl")}
        told = next(iter(found["card"]["stages"][0]["evaluation_sets"].values()))
        many = piped(f"{{kind: decontaminate, against: [{sets}, {reviews / 'test.jsonl'}]}}", written(made(folder, COUNT), here / "records.jsonl"), here)  # fmt: skip
    seconds, caught = many["seconds"], len(both - left)
    return [
        _row("decontaminate", f"of {len(both)} texts in train and test, found", caught, str(len(both)), caught == len(both), "cls_chnsenticorp", found["seconds"]),
        _row("decontaminate", "records dropped from train", told["dropped"], "", None, f"cls_chnsenticorp, {told['found']} test records met", found["seconds"]),
        _row("decontaminate", "seconds, reading and writing included", round(seconds, 1), "< 60", seconds < 60, f"{COUNT:,} records against 4,519 of four sets", seconds),
        _row("decontaminate", "largest memory, MB", many["megabytes"], "< 1,500", many["megabytes"] < 1500, f"{COUNT:,} records", seconds),
    ]  # fmt: skip


def languages(folder: Path) -> list[Row]:
    """Sentences of parallel texts: the language of each is known."""
    found = list[Row]()
    for name, files in {"mt_en_sw": ("dev", "test"), "mt_en_zh": ("tatoeba_en_zh",)}.items():
        pairs = [json.loads(line) for file in files for line in lines_of(folder / name / f"{file}.jsonl")]
        rows = [{"text": text, "is": code} for pair in pairs for code, text in pair.items()]
        few = ", candidates: [en, sw, zh, fr, es, de, ar]"
        for options in ("", few, few + ", accurate: true"):
            found += _languages(rows, name, options)
    return found


def _languages(rows: list[Row], name: str, options: str) -> list[Row]:
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        records = written(iter(rows), here / "records.jsonl")
        done = piped(f"{{kind: language, route: true{options}}}", records, here)
        out = [json.loads(line) for line in lines_of(here / "out.jsonl")]
    among = ("among seven" if options else "among 75") + (", accurate" if "accurate" in options else "")
    found = list[Row]()
    for code in sorted({row["is"] for row in rows}):
        of = [row for row in out if row["is"] == code]
        share = sum(row["language"] == code for row in of) / len(of)
        found.append(_row("language", f"accuracy of {code}, {among}", round(share, 4), "", None, f"{name}, {len(of):,} sentences", done["seconds"]))  # fmt: skip
    stage = done["card"]["stages"][0]["seconds"]
    told = f"{name}, a worker takes {done['of_a_worker']:,} MB"
    return [*found, _row("language", f"records a second, {among}", round(len(out) / stage), "", None, told, stage)]


def versions(folder: Path) -> list[Row]:
    """Two versions of 100,000 records: 1,000 changed in a few words, 500 left out, 500 new."""
    numbers = random.Random(3)
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        rows = [{"text": row["text"]} for row in made(folder, COUNT + 500) if row["of"] is None]
        old, fresh = rows[:-500], rows[-500:]
        touched = numbers.sample(range(len(old)), 1500)
        new = list(old)
        for at in touched[:1000]:
            new[at] = {"text": changed(numbers, old[at]["text"], 0.03)}
        gone = set(touched[1000:])
        new = [row for at, row in enumerate(new) if at not in gone] + fresh
        a, b = written(iter(old), here / "a.jsonl"), written(iter(new), here / "b.jsonl")
        began = time.perf_counter()
        command = [sys.executable, "-m", "seektune", "data", "diff", str(a), str(b), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, found = time.perf_counter() - began, json.loads(done.stdout)
    told = f"added {found['added']}, removed {found['removed']}, changed {found['changed']}"
    return [
        _row(
            "data diff",
            "500 added, 500 removed, 1,000 changed; found",
            told,
            "",
            None,
            f"{len(old):,} records",
            seconds,
        ),
        _row("data diff", "seconds", round(seconds, 1), "", None, f"two versions of {len(old):,} records", seconds),
    ]


def million(folder: Path) -> list[Row]:
    """Not among `figures` for its length: 1,000,000 records through deduplicate."""
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        records = written(_million(folder), here / "records.jsonl")
        size = records.stat().st_size / 1e9
        found = piped("{kind: deduplicate}", records, here)
    data = f"1,000,000 records, {size:.2f} GB"
    return [
        _row(
            "deduplicate",
            "largest memory, MB",
            found["megabytes"],
            "< 1,500",
            found["megabytes"] < 1500,
            data,
            found["seconds"],
        ),
        _row(
            "deduplicate",
            "seconds, reading and writing included",
            round(found["seconds"]),
            "",
            None,
            data,
            found["seconds"],
        ),
    ]


def _million(folder: Path) -> Iterator[Row]:
    for part in range(10):
        for row in made(folder, COUNT, seed=part):
            yield {"text": f"{part}: {row['text'][:200]}"}


MEASURES: dict[str, Callable[[Path], list[Row]]] = {
    "near": near,
    "contamination": contamination,
    "languages": languages,
    "versions": versions,
}

if __name__ == "__main__":
    chosen = sys.argv[2:] or list(MEASURES)
    for chosen_name in chosen:
        for line in ({**MEASURES, "million": million})[chosen_name](Path(sys.argv[1])):
            print(json.dumps(line, ensure_ascii=False), flush=True)
    print(json.dumps({"cpu": runtime.cpu_name(), "cores": runtime.usable_cores()}), file=sys.stderr)
