"""A sample is drawn, filled in and read back; intervals are compared with those of the evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from seektune import cli
from seektune.evaluate import significance
from seektune.stages._audit import sample_size, wilson


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """300 records of three classes, one of them called `no`; one row without a label."""
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [
        {"text": f'第{i}条, "quoted"\nsecond line', "label": ("好", "坏", "no")[i % 3]} for i in range(300)
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def audit(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = cli.main(["data", "audit", *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def fill(path: Path, said: dict[int, str], encoding: str = "utf-8-sig") -> None:
    rows = rows_of(path)
    for i, row in enumerate(rows):
        row["right"] = said.get(i, "yes")
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 3), (95, 100), (456, 469)])
def test_the_interval_is_that_of_the_evaluation(hits: int, n: int) -> None:
    assert wilson(hits, n) == pytest.approx(significance.wilson(hits, n), abs=1e-12)


@pytest.mark.parametrize(("width", "expected"), [(0.02, 0.95), (0.05, 0.5), (0.01, 0.99), (0.1, 1.0)])
def test_the_sample_is_the_smallest_that_is_narrow_enough(width: float, expected: float) -> None:
    def half(n: int) -> float:
        low, high = significance.wilson(1, 2) if n == 0 else _interval(n, expected)
        return (high - low) / 2

    n = sample_size(width, expected)
    assert half(n) <= width < half(n - 1)


def _interval(n: int, share: float) -> tuple[float, float]:
    """Wilson's interval as the textbook writes it, of a share that need not be a whole number of n."""
    z2 = significance.Z**2
    centre, half = (
        (share + z2 / (2 * n)) / (1 + z2 / n),
        (share * (1 - share) * z2 / n + (z2 / (2 * n)) ** 2) ** 0.5 / (1 + z2 / n),
    )
    return centre - half, centre + half


def test_the_sample_is_seeded_and_of_the_file(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, _ = audit(capsys, "labels.jsonl", "--size", "50")
    assert (code, told["sampled"], told["records"], told["classes"]) == (0, 50, 300, 3)
    rows = rows_of(labels.parent / "labels.jsonl.audit.csv")
    assert [row["right"] for row in rows] == [""] * 50
    places = [int(row["where"].rpartition(":")[2]) for row in rows]
    assert places == sorted(set(places))
    given = [json.loads(line) for line in labels.read_text(encoding="utf-8").splitlines()]
    assert all(given[place - 1]["text"] == row["text"] for place, row in zip(places, rows, strict=True))
    for name, seed in (("same.jsonl", "17"), ("other.jsonl", "3")):
        audit(capsys, "labels.jsonl", "--size", "50", "--seed", seed, "--output", name)
    drawn = {
        name: [json.loads(line)["where"] for line in Path(name).read_text(encoding="utf-8").splitlines()]
        for name in ("same.jsonl", "other.jsonl")
    }
    assert drawn["same.jsonl"] == [row["where"] for row in rows]
    assert drawn["other.jsonl"] != drawn["same.jsonl"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8", "gb18030"])
def test_what_a_person_has_said_is_counted(labels: Path, encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`no` is a class here, so it is the label that would be right; `n` says wrong without saying what."""
    audit(capsys, "labels.jsonl", "--size", "60", "--output", "a.csv")
    rows = rows_of(Path("a.csv"))
    good = [i for i, row in enumerate(rows) if row["label"] == "好"]
    none = [i for i, row in enumerate(rows) if row["label"] == "no"]
    fill(
        Path("a.csv"), {good[0]: "坏", good[1]: "坏", good[2]: "n", good[3]: "好", good[4]: "", none[0]: "no"}, encoding
    )
    code, told, _ = audit(capsys, "labels.jsonl", "--filled", "a.csv")
    assert (code, told["judged"], told["right"], told["gone"]) == (0, 59, 56, 0)
    assert told["interval"] == pytest.approx(significance.wilson(56, 59), abs=1e-4)
    assert told["confused"] == [
        {"label": "好", "right_label": "坏", "count": 2},
        {"label": "好", "right_label": None, "count": 1},
    ]
    assert told["by_label"]["好"] == {"judged": len(good) - 1, "right": len(good) - 4}


def test_bad_input_is_told(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str) -> str:
        code, _, said = audit(capsys, "labels.jsonl", *words)
        assert code == 2
        return " ".join(said.split())

    assert "no record has one 'lable'" in told("--label", "lable")
    assert "--width: found 0; expected between 0 and 0.5" in told("--width", "0")
    assert "a name that ends in .csv or .jsonl" in told("--output", "a.xlsx")
    audit(capsys, "labels.jsonl", "--size", "5", "--output", "a.csv")
    assert "a.csv: is there already; go on with `--filled a.csv`" in told("--output", "a.csv")
    assert (
        "a.csv: no row was filled in" in told("--filled", "a.csv")
        if fill(Path("a.csv"), dict.fromkeys(range(5), "")) is None
        else ""
    )
    fill(Path("a.csv"), {1: "maybe"})
    assert "`right` is 'maybe'; expected yes, no or the right label; known: no, 坏, 好" in told("--filled", "a.csv")
    Path("b.csv").write_text("id,label\nx,y\n")
    assert "b.csv:2: no column 'right'; expected a file that `seektune data audit` wrote" in told("--filled", "b.csv")
    Path("c.csv").write_text("id,label,right\nx1,坏,yes\n", encoding="utf-8")
    assert "c.csv: none of its 1 judged records is in labels.jsonl" in told("--filled", "c.csv")


def test_people_read_it_too(labels: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "audit", "labels.jsonl", "--size", "40", "--output", "a.csv"]) == 0
    fill(Path("a.csv"), {0: "n"})
    assert cli.main(["data", "audit", "labels.jsonl", "--filled", "a.csv"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "97.5% of the labels are right (39 of 40 judged)" in said
    assert "of 300 records 1 to 39 are wrong" in said
