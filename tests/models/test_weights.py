from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
import zoo
from safetensors.torch import save_file

from seektune.errors import ModelError
from seektune.models import weights


def problems(folder: Path) -> list[str]:
    with pytest.raises(ModelError) as caught:
        weights.tensors_of(folder)
    return caught.value.problems


def test_headers_tell_what_torch_loads(tmp_path: Path) -> None:
    stored = {"a": torch.randn(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16), "c": torch.ones((), dtype=torch.int64)}
    save_file(stored, tmp_path / "model.safetensors")
    found = weights.tensors_of(tmp_path)
    assert {name: (t.dtype, t.shape, t.size) for name, t in found.items()} == {
        "a": ("F32", (3, 5), 15),
        "b": ("BF16", (7,), 7),
        "c": ("I64", (), 1),
    }
    with open(tmp_path / "model.safetensors", "rb") as file:
        file.seek(found["a"].start)
        assert torch.equal(torch.frombuffer(bytearray(file.read(60)), dtype=torch.float32).view(3, 5), stored["a"])


def test_every_broken_file_is_named(tmp_path: Path) -> None:
    """A shard cut off, one without a header, one missing: three lines."""
    names = [f"model-0000{i}-of-00004.safetensors" for i in range(1, 5)]
    for name in names[:3]:
        save_file({name: torch.randn(4, 4)}, tmp_path / name)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {n: n for n in names[:3]}}))
    assert len(weights.tensors_of(tmp_path)) == 3
    whole = (tmp_path / names[0]).read_bytes()
    (tmp_path / names[0]).write_bytes(whole[:-5])
    (tmp_path / names[1]).write_bytes(struct.pack("<Q", 20) + b"no header of any sort" + bytes(50))
    (tmp_path / names[2]).write_bytes(b"\xff" * 100)
    assert problems(tmp_path) == [
        f"{tmp_path / names[0]}: corrupt safetensors file: {len(whole) - 5} bytes long, its header announces {len(whole)} "
        "(cut off?); copy or download it again",
        f"{tmp_path / names[1]}: corrupt safetensors file: its header is no safetensors header; copy or download it again",
        f"{tmp_path / names[2]}: corrupt safetensors file: its header cannot be read (100 bytes in all); copy or download it again",
    ]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": names[0], "y": names[3]}}))
    assert problems(tmp_path) == [
        f"{tmp_path / names[3]}: missing; expected the part of the weights that model.safetensors.index.json lists"
    ]


@pytest.mark.parametrize(
    "content", [b"", b"\x00", struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2) + b"{}" + b"more"]
)
def test_short_and_strange_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert "corrupt safetensors file" in problems(tmp_path)[0]


def test_shape_that_does_not_fit_its_bytes(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, 16]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    assert "the bytes of 'w' do not fit its shape [3, 3]" in problems(tmp_path)[0]


def test_fingerprint_knows_weights_and_not_their_type(tmp_path: Path) -> None:
    def of(name: str, model: torch.nn.Module) -> str | None:
        model.save_pretrained(tmp_path / name)
        return weights.fingerprint(tmp_path / name)

    base = of("a", zoo.tiny("llama").bfloat16())
    assert base == of("b", zoo.tiny("llama").bfloat16().float())
    assert base == of("c", zoo.tiny("llama"))  # float32, rounded as torch rounds
    assert base != of("d", zoo.tiny("llama", seed=1))
    changed = zoo.tiny("llama")
    with torch.no_grad():
        changed.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    assert base != of("e", changed)
    (tmp_path / "none").mkdir()
    assert weights.fingerprint(tmp_path / "none") is None
