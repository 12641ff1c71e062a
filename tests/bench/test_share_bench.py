"""The bench of shared prompts stands on its feet: its documents, and both contenders on a few of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import share


def job(**more):
    return {
        "shape": "tiny",
        "precision": "float32",
        "threads": 1,
        "prompt": 30,
        "answers": (5, 9),
        "records": 2,
        "steps": 1,
    } | more


def test_documents_share_exactly_the_prompt():
    made = share.made(job(), 4096)
    assert [len(d) for d in made] == [35, 39] * 4
    for one, other in zip(made[::2], made[1::2], strict=True):
        assert one.ids[:30].tolist() == other.ids[:30].tolist()
        assert one.ids[30] != other.ids[30]
    assert [int(d.weights.sum()) for d in made] == [5, 9] * 4


def test_both_contenders_train_the_same_and_one_reads_less():
    apart, shared = (share.measured(job(share=way)) for way in (False, True))
    assert (apart["row_tokens"], shared["row_tokens"]) == (148, 88)
    assert apart["document_tokens"] == shared["document_tokens"] == 148
    assert shared["loss"] == pytest.approx(apart["loss"], rel=1e-5)
    assert shared["processor_seconds"] > 0
