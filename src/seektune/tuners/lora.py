"""LoRA (Hu et al. 2021, arXiv:2106.09685): W + alpha / rank * B A, W frozen. PEFT holds the layers; names are ours.

What is adapted is decided in `models.layers.linear_targets`; adapter weights are float32 whatever the base is held in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..contracts import Probe, above, at_least, option
from ..errors import ModelError, problem

if TYPE_CHECKING:
    import torch

    from ..models.layers import Targets


def _below_one(value: Any) -> str | None:
    return None if 0 <= value < 1 else "at least 0 and below 1"


@dataclass
class LoRA:
    """Train low-rank additions to the linear layers."""

    rank: int = option(8, "rank of the update of each matrix", probe=Probe(4), check=at_least(1))
    alpha: float = option(16, "the update is scaled by alpha / rank", probe=Probe(32), check=above(0))
    dropout: float = option(0.0, "dropout in front of A; not for stacked experts", probe=Probe(0.5), check=_below_one)
    target_modules: str | list[str] = option(
        "all_linear",
        "all_linear, or names: endings of module names, globs or regular expressions",
        probe=Probe(["q_proj", "v_proj"]),
    )
    also_train: list[str] = option(
        help="modules trained in full and saved with the adapter, by name or ending",
        probe=Probe(["norm"]),
        factory=list,
    )
    rslora: bool = option(False, "scale by alpha / sqrt(rank) (arXiv:2312.03732)", probe=Probe(True))
    merged: bool = option(
        False,
        "save the whole model with the update added, instead of the adapter",
        probe=Probe(True, seen="file:model", scenario="run"),
    )
    init: Literal["kaiming", "gaussian"] = option("kaiming", "how A starts; B starts at 0", probe=Probe("gaussian"))

    def apply(self, model: Any) -> torch.nn.Module:
        """The model with adapters, drawn from torch's current seed. An adapter that is attached already is trained on.

        Raises ModelError for names that match nothing, and for options that this model or that adapter cannot follow.
        """
        from ..models import adapters

        if adapters.attached(model):
            self._check_same(model)
            return model
        from peft import get_peft_model

        from ..models.load import quiet

        targets = self.targets(model)
        with quiet():
            adapted = get_peft_model(model, self._config(model, targets), autocast_adapter_dtype=True)
        adapters.check_adapted(adapted, targets)
        return adapted

    def advance(self, model: torch.nn.Module, progress: float) -> None:
        """Nothing changes on the way."""

    def merge(self, model: torch.nn.Module) -> torch.nn.Module:
        """The bare model with the updates added: base in float32 plus update, rounded once to the base's type. In place."""
        from ..models import adapters

        return adapters.merge(model)

    def save(self, model: Any, folder: Path) -> None:
        """An ordinary PEFT folder; a merged model's becomes a Hugging Face folder."""
        from ..models import adapters
        from ._folders import save_model

        if adapters.attached(model):
            adapters.save(model, folder)
        else:
            save_model(model, folder)

    def targets(self, model: torch.nn.Module) -> Targets:
        """What would be adapted in this model, and what not and why."""
        from ..models.layers import linear_targets

        return linear_targets(model, self.target_modules)

    @property
    def scaling(self) -> float:
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def _config(self, model: Any, targets: Targets) -> Any:
        from peft import LoraConfig

        from ..models import adapters, heads

        if self.dropout and targets.parameters:
            some = ", ".join(sorted({name.rpartition(".")[0].rpartition(".")[2] for name in targets.parameters})[:4])
            fix = "set it to 0, or name the attention layers under tuner.target_modules"
            raise ModelError(
                problem("tuner.dropout", f"{self.dropout} cannot be had in stacked experts ({some})", "0", fix)
            )
        full = heads_and_also(model, self._also(model, targets))
        rows = adapters.new_rows(model, full)
        values: dict[str, Any] = {
            "task_type": adapters.task_of(model),
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": list(targets.modules),
            "target_parameters": list(targets.parameters) or None,
            "modules_to_save": full or None,
            "trainable_token_indices": rows or None,
            "use_rslora": self.rslora,
            "init_lora_weights": True if self.init == "kaiming" else "gaussian",
            "ensure_weight_tying": bool(full) and heads.tied(model),
        }
        return LoraConfig(**values)

    def _also(self, model: Any, targets: Targets) -> list[str]:
        """Full names under `also_train`. ModelError where one is adapted too, or holds what is."""
        from ..models.layers import named_modules

        found = named_modules(model, self.also_train, "tuner.also_train")
        both = [name for name in found if any(f"{key}.".startswith(f"{name}.") for key in targets.adapted)]
        if both:
            fix = "leave it out of one of the two"
            raise ModelError(
                [problem("tuner.also_train", f"{name} is adapted by target_modules as well", fix=fix) for name in both]
            )
        return found

    def _check_same(self, model: Any) -> None:
        """The attached adapter must be the one that this recipe describes: what it adapts cannot change on the way."""
        from ..models import adapters

        config = model.peft_config[model.active_adapter]
        pairs = {
            "rank": (self.rank, config.r),
            "alpha": (self.alpha, config.lora_alpha),
            "dropout": (self.dropout, config.lora_dropout),
            "rslora": (self.rslora, config.use_rslora),
        }
        lines = [
            problem(f"tuner.{key}", f"found {ours}", f"{its}, as in the adapter")
            for key, (ours, its) in pairs.items()
            if ours != its
        ]
        targets = self.targets(model)
        if difference := set(targets.adapted) ^ set(adapters.names_of(model)):
            lines.append(
                problem("tuner.target_modules", f"not the layers that the adapter has ({sorted(difference)[0]})")
            )
        full = heads_and_also(model, self._also(model, targets))
        if difference := set(full) ^ set(config.modules_to_save or []):
            lines.append(problem("tuner.also_train", f"not the modules that the adapter has ({sorted(difference)[0]})"))
        if lines:
            raise ModelError(lines)


def heads_and_also(model: Any, also: list[str]) -> list[str]:
    """Modules that are trained in full: a classifier's head, and what the recipe names."""
    from ..models import heads

    return list(dict.fromkeys(heads.head_modules(model) + also))
