"""The bench of streaming stands on its feet: its folders open, and both of its ways train to the same losses."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

import stream

from seektune.models import weights
from seektune.models.streaming_cost import Shape


def test_folders_hold_what_they_announce_and_both_ways_lose_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(stream.SHAPES, "wide", Shape(16, 3, 2, 1, 32, 300, 8))
    stream.make_folder(tmp_path, stream.SHAPES["wide"], holes=False)
    assert len(weights.tensors_of(tmp_path)) == 3 * 9 + 3
    options = {
        "shape": "wide",
        "device": "cpu",
        "precision": "float32",
        "tokens": 150,
        "chunk": 60,
        "steps": 1,
        "rank": 2,
    }
    plain, streamed = (
        stream.train(SimpleNamespace(worker=how, folder=str(tmp_path), **options)) for how in ("plain", "streamed")
    )
    assert streamed["losses"] == pytest.approx(plain["losses"], rel=1e-5)
    assert streamed["loads_per_step"] <= 2 * 3


def test_files_of_holes_are_as_long_as_real_ones_and_take_no_disk(tmp_path):
    real, holes = tmp_path / "real.safetensors", tmp_path / "holes.safetensors"
    for file in (real, holes):
        stream.write_part(file, {"a": (512, 4096), "b": (7,)}, holes=file is holes)
    assert real.stat().st_size == holes.stat().st_size
    assert holes.stat().st_blocks < real.stat().st_blocks / 10
    assert weights.header(holes).keys() == {"a", "b"}
