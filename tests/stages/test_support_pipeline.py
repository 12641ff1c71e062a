"""recipes/data_support.yaml: from tickets as they come in to records that train, on made-up messy ones and on real ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from seektune import pipeline
from seektune.data import formats
from seektune.data.options import Input

RECIPE = Path(__file__).resolve().parent.parent.parent / "recipes" / "data_support.yaml"
TICKETS = [
    ("<p>Hi,   my card ４１１１ 1111 1111 1111 was stolen&nbsp;!</p>", "lost_card"),
    ("我的手機號是13812345678，請退款到 a.b@example.com，謝謝", "refund"),
    ("Iâ€™m at ann@example.com; write to ann@example.com\u200b", "contact"),
    ("Why was I charged 12.50 € twice on 2023-10-01?", "charged_twice"),
    ("<br>&nbsp;", "empty"),
    ("x", "short"),
    ("余额 100 元没有到账", "balance"),
]


def run(tickets: Path, output: Path, cache: Path, *more: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(card, records)."""
    read = pipeline.load(RECIPE, [f"input.0.path={tickets}", f"output={output}", *more])
    card = pipeline.run(read, cache)
    return card, [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]


def test_messy_tickets_become_clean_conversations(tmp_path: Path) -> None:
    tickets = tmp_path / "tickets.jsonl"
    tickets.write_text("".join(json.dumps({"text": t, "label": label}) + "\n" for t, label in TICKETS))
    card, records = run(tickets, tmp_path / "out.jsonl", tmp_path / "cache")
    assert [record["messages"][-2:] for record in records] == [
        [{"role": "user", "content": text}, {"role": "assistant", "content": label}]
        for text, label in [
            ("Hi, my card <CARD_1> was stolen !", "lost_card"),
            ("我的手机号是<PHONE_1>，请退款到 <EMAIL_1>，谢谢", "refund"),
            ("I’m at <EMAIL_1>; write to <EMAIL_1>", "contact"),
            ("Why was I charged 12.50 € twice on 2023-10-01?", "charged_twice"),
            ("余额 100 元没有到账", "balance"),
        ]
    ]
    lost = [json.loads(line) for line in (tmp_path / "out.dropped.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["reason"]) for line in lost] == [
        ("clean_text", "nothing is left after cleaning"), ("length", "shorter than 2 characters")
    ]  # fmt: skip
    assert [(s["kind"], s["seen"], s["dropped"]) for s in card["stages"]] == [
        ("clean_text", 7, 1), ("length", 6, 1), ("redact", 5, 0), ("template", 5, 0)
    ]  # fmt: skip
    assert card["stages"][2]["figures"] == {"card": 1, "phone": 1, "email": 3}


def test_real_tickets_train_afterwards(shared_data: Path, tmp_path: Path) -> None:
    given = (shared_data / "cls_banking77" / "train.jsonl").read_text(encoding="utf-8").splitlines()[:1500]
    tickets = tmp_path / "tickets.jsonl"
    tickets.write_text("\n".join(given) + "\n", encoding="utf-8")
    card, records = run(tickets, tmp_path / "out.jsonl", tmp_path / "cache", "processes=0")
    assert len(records) + card["stages"][0]["dropped"] + card["stages"][1]["dropped"] == 1500
    known = {re.sub(r"\s+", "", json.loads(line)["text"]): json.loads(line)["label"] for line in given}
    for record in records:
        turns = record["messages"]
        assert [t["role"] for t in turns] == ["system", *["user", "assistant"] * 3]
        for asked, answered in zip(turns[1::2], turns[2::2], strict=True):
            assert known[re.sub(r"\s+", "", asked["content"])] == answered["content"]
        assert [t.get("train", True) for t in turns[2::2]] == [False, False, True]
    read = formats.read([Input(path=str(tmp_path / "out.jsonl"))], 0.0, "lm", cache=tmp_path / "cache")
    assert len(read) == len(records)
    again, _ = run(tickets, tmp_path / "again.jsonl", tmp_path / "other", "processes=0")
    assert again["output"]["fingerprint"] == card["output"]["fingerprint"]


@pytest.mark.parametrize("line", ["seektune data run recipes/data_support.yaml"])
def test_the_recipe_says_how_it_is_run(line: str) -> None:
    text = RECIPE.read_text(encoding="utf-8")
    assert line in text
    assert len(text.splitlines()) <= 40
