"""Everything that is needed to go on bit for bit, in one folder: written aside, opened again, then renamed.

step-000200/
  trainable.safetensors   the trained parameters        state.pt     optimizer, loss scale, random states (tensors and plain values)
  checkpoint.json         format, step, data position, tallies, digests of the two files
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .. import files
from ..errors import InputError, RunFailedError, problem

FORMAT = 1
NAME = re.compile(r"step-(\d{6,})$")


def save(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]) -> Path:
    """Write `folder`/step-NNNNNN. `facts` needs "step"; the rest is given back by `load`. Raises OSError on a full disk."""
    path = folder / f"step-{facts['step']:06d}"
    trained = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters() if p.requires_grad}
    with files.new_folder(path) as aside:
        files.before("write", aside / "trainable.safetensors")
        save_file(trained, aside / "trainable.safetensors")
        files.before("write", aside / "state.pt")
        with open(aside / "state.pt", "wb") as file:  # our own file: torch's would not say why a write failed
            torch.save({"optimizer": optimizer.state_dict(), "random": random_state()}, file)
        digests = {name: files.sha256(aside / name) for name in ("trainable.safetensors", "state.pt")}
        files.write_json(aside / "checkpoint.json", {"format": FORMAT, "sha256": digests, **facts})
        look(aside, {name: tuple(value.shape) for name, value in trained.items()})
    return path


def look(path: Path, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Open what was written, as a stranger would: names, shapes, no empty tensor. Raises RunFailedError."""
    with safe_open(path / "trainable.safetensors", "pt") as opened:
        found = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    wrong = [f"{n}: wrote {s}, found {found.get(n, 'nothing')}" for n, s in expected.items() if found.get(n) != s]
    wrong += [f"{name}: empty" for name, shape in found.items() if 0 in shape]
    if wrong:
        raise RunFailedError(f"{path}: the checkpoint does not hold what was written: " + "; ".join(wrong[:5]))


def load(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put model, optimizer and random states back as they were; returns the facts. Raises InputError when damaged."""
    facts = read_facts(path)
    for name, digest in facts["sha256"].items():
        if files.sha256(path / name) != digest:
            raise InputError(
                problem(
                    str(path / name),
                    "the file is damaged (its SHA-256 is another)",
                    fix="remove this checkpoint folder and resume from the one before",
                )
            )
    saved = load_file(path / "trainable.safetensors")
    own = {n: p for n, p in model.named_parameters() if p.requires_grad}
    differing = sorted(saved.keys() ^ own.keys()) or [n for n in own if saved[n].shape != own[n].shape]
    if differing:
        raise InputError(
            problem(
                str(path),
                f"the checkpoint trains other parameters than the recipe ({differing[0]} and {len(differing) - 1} more)",
                "the recipe of the run",
            )
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(saved[name])
    state = torch.load(path / "state.pt", weights_only=True, map_location="cpu")
    optimizer.load_state_dict(state["optimizer"])
    restore_random_state(state["random"])
    return facts


def load_weights(path: Path, model: torch.nn.Module) -> None:
    """Only the trained parameters, for taking the best checkpoint at the end."""
    saved = load_file(path / "trainable.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(saved[name])


def read_facts(path: Path) -> dict[str, Any]:
    try:
        facts = files.read_json(path / "checkpoint.json")
    except (OSError, ValueError) as error:
        raise InputError(
            problem(str(path / "checkpoint.json"), f"cannot be read ({error})", "a checkpoint of a run")
        ) from None
    if facts.get("format") != FORMAT:
        raise InputError(
            problem(
                str(path),
                f"checkpoint format {facts.get('format')}",
                f"format {FORMAT}",
                "resume with the version of seektune that wrote it (environment.json names it)",
            )
        )
    return facts


def latest(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None. What a crash left half written has another name and is not seen."""
    for path in sorted(folder.glob(".step-*.old")):
        files.restore_folder(path.with_name(path.name.removeprefix(".").removesuffix(".old")))
    found = every(folder)
    return found[-1] if found else None


def every(folder: Path) -> list[Path]:
    """All whole checkpoints, oldest first."""
    return sorted(
        (p for p in folder.glob("step-*") if NAME.fullmatch(p.name)), key=lambda p: int(p.name.removeprefix("step-"))
    )


def rotate(folder: Path, keep: int, best: int | None) -> None:
    """Remove all but the `keep` newest, and the one of step `best`; and what crashes left."""
    newest = every(folder)
    for path in newest[: max(0, len(newest) - keep)]:
        if path.name != f"step-{best or 0:06d}":
            files.remove(path)
    for left in [*folder.glob(".step-*.gone"), *folder.glob(".step-*.part"), *folder.glob(".step-*.old")]:
        files.remove(left)


def random_state() -> dict[str, Any]:
    """Of Python, NumPy and torch (CPU and every CUDA device), as tensors and plain values only."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, list(internal), gauss],
        "numpy": [
            str(name),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
