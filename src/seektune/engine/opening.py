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

    folder = load.folder_of(load.Model(path=str(model_path(path))))
    head: Literal["lm", "classifier"] = "classifier" if is_classifier(folder) else "lm"
    target = runtime.resolve_device(device, "--device")
    model = load.open_model(load.Model(path=str(folder), dtype=dtype), head=head, device=target)
    holds_tokenizer = not adapters.is_adapter(folder) or (folder / "tokenizer.json").exists()
    origin = folder if holds_tokenizer else load.folder_of(load.base_of(folder))
    return Engine(model, Renderer.from_folder(origin, template), name=path)


def model_path(path: str) -> Path | str:
    """A run's `model/`, or the path as it is. ModelError for a run that has no result yet."""
    from ..run import Run

    run = Run(path)
    if not (run.path / "format.json").is_file():
        return path
    if not run.model_folder.is_dir():
        fix = f"seektune train --resume {path}"
        raise ModelError(problem(path, f"this run has no model yet (it is {run.status})", "a finished run", fix))
    return run.model_folder


def is_classifier(folder: Path) -> bool:
    """Whether a folder holds a classifier: by its config's architecture, or by an adapter's task."""
    from ..models import adapters, weights

    if adapters.is_adapter(folder):
        return weights.read_object(folder / adapters.CONFIG).get("task_type") == "SEQ_CLS"
    names = weights.read_object(folder / "config.json").get("architectures") or [""]
    return "ForSequenceClassification" in names[0]

