"""The benches stand on their feet: records, environment, ratios, and our own contender on a few records."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import _ours
import _peers
import _records
import step


def test_made_up_records_have_alpacas_lengths():
    made = _records.drawn("alpaca-like", 2000, 4096, seed=1)
    lengths = np.array([len(ids) for ids, _ in made])
    prompts = np.array([prompt for _, prompt in made])
    assert (prompts < lengths).all()
    assert 36 <= prompts.min() <= prompts.mean() <= 60
    # the real ones: mean 194, quartiles 76, 157 and 293, longest 682
    assert 160 < lengths.mean() < 230
    assert np.percentile(lengths, 25) < 0.75 * np.median(lengths) < np.percentile(lengths, 75)
    assert made == _records.drawn("alpaca-like", 2000, 4096, seed=1)
    assert made != _records.drawn("alpaca-like", 2000, 4096, seed=2)


def test_packed_rows_cut_no_record_and_hold_a_batch():
    made = [([0] * 10, 1)] * 7 + [([0] * 90, 1)]
    assert step.packed_length(made, batch_size=2) == 90
    assert step.packed_length(made, batch_size=8) == 160


def test_only_ours_gets_the_variables_that_we_set_for_ourselves(monkeypatch):
    monkeypatch.setitem(os.environ, "GOMP_SPINCOUNT", "7")
    ours, peer, same = (
        step.environment_of(name, 3, same)
        for name, same in (("seektune", False), ("trl padded", False), ("trl padded", True))
    )
    assert ours["GOMP_SPINCOUNT"] == same["GOMP_SPINCOUNT"] == "500"
    assert "GOMP_SPINCOUNT" not in peer
    assert ours["OMP_NUM_THREADS"] == peer["OMP_NUM_THREADS"] == "3"


def test_ratios_are_over_each_peer_and_the_best():
    def result(seconds, processor, memory):
        both = {"seconds": seconds, "processor_seconds": processor, "tokens": 100, "learnt_tokens": 50, "steps": 3}
        return both | {"peak_memory_bytes": memory, "loss": 1.0}

    slow, fast, ours = (
        step.summary([result(s, 2 * s, m), result(3 * s, 2 * s, 1), result(2 * s, 2 * s, 1)])
        for s, m in ((4, 10), (2, 20), (1, 5))
    )
    assert ours["tokens_per_second"] == pytest.approx(50)
    assert ours["best_tokens_per_second"] == pytest.approx(100)
    found = step.ratios({"seektune": ours, "slow": slow, "fast": fast})
    assert found["slow"]["tokens_per_second"] == pytest.approx(4)
    assert found["best peer"]["who"] == dict.fromkeys(ours.keys() & found["fast"].keys(), "fast") | {
        "peak_memory_bytes": "slow"
    }
    assert found["best peer"]["peak_memory_bytes"] == pytest.approx(0.5)
    assert found["best peer"]["tokens_per_processor_second"] == pytest.approx(2)
    assert step.ratios({"seektune": ours}) == {}
    assert step.ratios({"seektune": slow, "seektune int8": ours, "fast": fast}, "seektune int8")["best peer"] == found[
        "fast"
    ] | {"who": dict.fromkeys(found["fast"], "fast")}


SEQUENCES = [([5, 6, 7, 8 + i], 1 + i) for i in range(3)]
JOB = {
    "shape": "tiny",
    "precision": "float32",
    "threads": 1,
    "batch_size": 2,
    "sequences": SEQUENCES,
    "contender": "seektune",
}


def test_our_contender_trains_every_record_once_after_the_warm_up(tmp_path):
    found = _peers.contend(JOB, tmp_path)
    assert found["tokens"] == 12
    assert found["learnt_tokens"] == 6
    assert found["steps"] == 2
    assert found["seconds"] > 0
    assert found["loss"] == pytest.approx(np.log(4096), rel=0.05)  # random weights know nothing


def test_a_profile_splits_all_of_the_time_and_names_operators(tmp_path):
    found = _peers.contend(JOB | {"profile": True}, tmp_path)
    assert found["steps"] == 2
    assert set(found["phases"]) == {"forward", "backward", "optimizer", "rows", "waiting for records", "log and rest"}
    assert all(wall >= 0 for wall, _ in found["phases"].values())
    assert sum(wall for wall, _ in found["phases"].values()) == pytest.approx(found["seconds"])
    assert found["phases"]["forward"][0] > 0 < found["phases"]["backward"][0]
    names = [row["name"] for row in found["operators"]]
    assert "aten::mm" in names
    assert sum(row["share"] for row in found["operators"]) == pytest.approx(1)
    assert any(row["shapes"] == "n×256 256×704" for row in found["products"])


def test_phases_add_up_and_do_not_overlap():
    seen = {"forward and backward": [10.0, 20.0], "forward": [3.0, 6.0], "rows": [1.0, 1.0], "optimizer": [2.0, 2.0]}
    parts = _ours.split(seen, wall=15.0, processor=25.0)
    assert parts["backward"] == [6.0, 13.0]
    assert parts["log and rest"] == [3.0, 3.0]
