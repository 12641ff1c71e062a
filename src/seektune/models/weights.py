"""What a model folder holds, read from the safetensors headers alone: names, shapes, types; whether the files are whole.

Nothing here imports torch, so that plans and checks can look at a folder in milliseconds.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelError, problem

BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}
NAMES = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
PICKLE = (".bin", ".pt", ".pth", ".ckpt")
LONGEST_HEADER = 100 << 20  # bytes; the format's own limit
SAMPLE = 64  # values of each tensor that enter the fingerprint


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file: type as safetensors names it, shape, and where its bytes lie."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def tensors_of(folder: Path, pattern: str = "model") -> dict[str, Tensor]:
    """Every tensor of a folder's weight files by name. ModelError names each file that is missing, cut off or broken."""
    found: dict[str, Tensor] = {}
    problems: list[str] = []
    for file in weight_files(folder, pattern):
        try:
            found |= header(file)
        except ModelError as error:
            problems += error.problems
    if problems:
        raise ModelError(problems)
    return found


def weight_files(folder: Path, pattern: str = "model") -> list[Path]:
    """The safetensors files that hold the weights, in order; [] where there are none. ModelError where a shard is missing."""
    index = folder / f"{pattern}.safetensors.index.json"
    if index.exists():
        names = sorted(set(read_object(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).exists()]
        if missing:
            raise ModelError(
                [
                    problem(str(folder / name), "missing", f"the part of the weights that {index.name} lists")
                    for name in missing
                ]
            )
        return [folder / name for name in names]
    single = folder / f"{pattern}.safetensors"
    return [single] if single.exists() else []


def pickles(folder: Path) -> list[Path]:
    """Weight files that need pickle, which can run code while it is read."""
    return sorted(
        p
        for p in folder.iterdir()
        if p.suffix in PICKLE and p.stem not in ("training_args", "optimizer", "scheduler", "rng_state")
    )


def header(file: Path) -> dict[str, Tensor]:
    """The tensors that one safetensors file announces, once it is certain that the file is as long as it says."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        first = opened.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(size - 8, LONGEST_HEADER):
            raise ModelError(_broken(file, f"its header cannot be read ({size} bytes in all)"))
        raw = opened.read(length)
    try:
        entries = json.loads(raw)
        entries.pop("__metadata__", None)
        found = {
            name: Tensor(
                e["dtype"],
                tuple(e["shape"]),
                file,
                8 + length + e["data_offsets"][0],
                8 + length + e["data_offsets"][1],
            )
            for name, e in entries.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise ModelError(_broken(file, "its header is no safetensors header")) from None
    _check_extent(file, size, found, 8 + length)
    return found


def _check_extent(file: Path, size: int, found: dict[str, Tensor], start: int) -> None:
    end = max((t.end for t in found.values()), default=start)
    if end != size:
        what = f"{size} bytes long, its header announces {end}"
        raise ModelError(_broken(file, what + (" (cut off?)" if size < end else "")))
    wrong = [n for n, t in found.items() if t.dtype in BYTES and t.end - t.start != t.size * BYTES[t.dtype]]
    if wrong:
        raise ModelError(_broken(file, f"the bytes of {wrong[0]!r} do not fit its shape {list(found[wrong[0]].shape)}"))


def _broken(file: Path, what: str) -> str:
    return problem(str(file), f"corrupt safetensors file: {what}", fix="copy or download it again")


def fingerprint(folder: Path) -> str | None:
    """A short name of the weights themselves: names, shapes and the first values of every tensor, rounded to bfloat16.

    So a base is recognised wherever it lies and in whatever type it is stored. None where there are no safetensors.
    """
    tensors = tensors_of(folder)
    if not tensors:
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {list(tensor.shape)} ".encode())
        digest.update(_sample(tensor))
    return digest.hexdigest()[:32]


def _sample(tensor: Tensor) -> bytes:
    width = BYTES.get(tensor.dtype, 1)
    with open(tensor.file, "rb") as file:
        file.seek(tensor.start)
        raw = file.read(min(SAMPLE * width, tensor.end - tensor.start))
    kinds: dict[str, Any] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
    if tensor.dtype not in kinds:
        return raw  # bfloat16 as it is; whole numbers and 8-bit types byte by byte
    bits = np.frombuffer(raw, kinds[tensor.dtype]).astype(np.float32).view(np.uint32).astype(np.uint64)
    rounded: np.ndarray = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to nearest, ties to even
    return rounded.astype("<u2").tobytes()


def read_object(file: Path) -> dict[str, Any]:
    """A JSON object from a file; ModelError says which file is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(problem(str(file), f"cannot be read as JSON ({error})")) from None
    if not isinstance(value, dict):
        raise ModelError(problem(str(file), f"found a {type(value).__name__}", "a JSON object"))
    return value
