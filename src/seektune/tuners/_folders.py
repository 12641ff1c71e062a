"""What tuners share: models freed of adapters, embeddings that learn or do not, and the folder of a whole model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import files
from ..models import adapters, weights
from ..models.layers import depth_of
from ..models.quiet import quiet


def unwrapped(model: Any) -> Any:
    """The bare model; an adapter that is attached (a run that is continued) is merged into it first."""
    return adapters.merge(model)


def with_embeddings(model: Any, trained: bool) -> Any:
    """Token, position and type embeddings learn or not; a tied head goes with them."""
    depth = depth_of(model)
    for name, parameter in model.named_parameters():
        if depth[name] == -1:
            parameter.requires_grad_(trained)
    return model


def save_model(model: Any, folder: Path) -> None:
    """Config, safetensors and generation config, as plain transformers reads them; each weight in the type it was opened in.

    Leaves the model as it is: training may hold the same weights in float32 and go on.
    """
    origin: Any = getattr(model, "seektune_origin", None)
    dtypes = getattr(origin, "dtypes", {})
    with quiet():
        if not dtypes:
            model.save_pretrained(folder)
            return
        state = {name: value.to(dtypes.get(name, value.dtype)) for name, value in model.state_dict().items()}
        model.save_pretrained(folder, state_dict=state)
    config = weights.read_object(folder / "config.json")
    config["dtype"] = str(next(iter(dtypes.values()))).removeprefix(
        "torch."
    )  # transformers wrote that of the open model
    files.write_json(folder / "config.json", config)
