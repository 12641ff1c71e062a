"""From what a user names (a run, a folder, an adapter, a hub id, `base:tiny`) to an engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import ModelError, problem

if TYPE_CHECKING:
    from .engine import Engine


def open_engine(
    path: str,
    device: str = "auto",
    *,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    template: str = "auto",
) -> Engine:
    """The model of `path` behind an engine; a classifier where its config says so. Raises ModelError, DataError."""
    from .. import runtime
    from ..data.chat import Renderer
    from ..models import adapters, load
    from .engine import Engine

    folder = folder_of(path)
    head = head_of(folder)
    target = runtime.resolve_device(device, "--device")
    model = load.open_model(load.Model(path=str(folder), dtype=dtype), head=head, device=target)
    holds_tokenizer = not adapters.is_adapter(folder) or (folder / "tokenizer.json").exists()
    origin = folder if holds_tokenizer else load.folder_of(load.base_of(folder))
    return Engine(model, Renderer.from_folder(origin, template), name=path)


def folder_of(path: str) -> Path:
    """A run's `model/`, or the folder behind a path, hub id or `base:` name. ModelError for a run without a result."""
    from ..models import load
    from ..run import Run

    run = Run(path)
    if not (run.path / "format.json").is_file():
        return load.folder_of(load.Model(path=path))
    if not run.model_folder.is_dir():
        fix = f"seektune train --resume {path}"
        raise ModelError(problem(path, f"this run has no model yet (it is {run.status})", "a finished run", fix))
    return run.model_folder


def head_of(folder: Path) -> Literal["lm", "classifier", "tagger"]:
    """What a folder holds: told by its config's architecture, or by an adapter's task; no weight is read."""
    from ..models import adapters, weights

    if adapters.is_adapter(folder):
        task = weights.read_object(folder / adapters.CONFIG).get("task_type")
        classifier, tagger = task == "SEQ_CLS", task == "TOKEN_CLS"
    else:
        names = weights.read_object(folder / "config.json").get("architectures") or [""]
        classifier, tagger = (f"For{task}Classification" in names[0] for task in ("Sequence", "Token"))
    return "tagger" if tagger else "classifier" if classifier else "lm"
