"""Adapters (PEFT): attaching a folder to its base and to no other, checking what was adapted, merging, saving.

Beside PEFT's own two files lies `base.json`: the base as the recipe named it, a fingerprint of its weights, and the classes
of a classifier. PEFT alone needs none of it.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import ModelError, RefusedError, problem
from . import heads, weights
from .quiet import quiet

if TYPE_CHECKING:
    import torch

    from .layers import Targets

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model"
BASE = "base.json"
FORMAT = 1


def is_adapter(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def attached(model: Any) -> bool:
    """Whether an adapter is attached to an open model."""
    return hasattr(model, "peft_config") and hasattr(model, "merge_and_unload")


def base_of(folder: Path) -> tuple[str, str]:
    """(path, revision) of the base, as we noted it or as PEFT's config has it."""
    noted = _noted(folder)
    if noted.get("path"):
        return str(noted["path"]), str(noted.get("revision") or "main")
    config = weights.read_object(folder / CONFIG)
    path = config.get("base_model_name_or_path")
    if not path:
        what = "base_model_name_or_path is empty"
        raise ModelError(problem(str(folder / CONFIG), what, "the folder or hub id of the base"))
    return str(path), str(config.get("revision") or "main")


def labels_of(folder: Path) -> tuple[list[str] | None, bool]:
    """(classes by id, whether several may hold) of a classifier's adapter; (None, False) where none are noted."""
    noted = _noted(folder)
    return noted.get("labels"), bool(noted.get("several", False))


def _noted(folder: Path) -> dict[str, Any]:
    noted = weights.read_object(folder / BASE) if (folder / BASE).exists() else {}
    if noted.get("format", FORMAT) != FORMAT:
        fix = "it was written by another version of seektune"
        raise ModelError(problem(str(folder / BASE), f"format {noted['format']}", f"{FORMAT}", fix))
    return noted


def attach(base: Any, folder: Path, *, trainable: bool = False) -> torch.nn.Module:
    """`base` with the adapter of `folder`. ModelError where it was trained on another base, or its tensors do not fit."""
    from peft import PeftModel

    noted, origin = _noted(folder), getattr(base, "seektune_origin", None)
    _check_fingerprint(folder, noted, origin)
    if not weights.tensors_of(folder, WEIGHTS):
        raise ModelError(problem(str(folder), "no adapter weights", f"{WEIGHTS}.safetensors"))
    heads.resize(base, int(noted.get("embedding_rows") or 0))
    try:
        with quiet(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ModelError(_does_not_fit(folder, origin, error)) from None
    missing = [str(w.message) for w in said if "missing adapter keys" in str(w.message)]
    if missing:
        raise ModelError(_does_not_fit(folder, origin, ValueError(missing[0])))
    return model


def _check_fingerprint(folder: Path, noted: dict[str, Any], origin: Any) -> None:
    stored, found = noted.get("fingerprint"), getattr(origin, "fingerprint", None)
    if stored and found and stored != found:
        what = f"trained on {noted.get('path')} (weights {stored[:8]}), but {origin.folder} holds other weights ({found[:8]})"
        raise ModelError(problem(f"adapter {folder}", what, "the base that it was trained on"))


def _does_not_fit(folder: Path, origin: Any, error: Exception) -> str:
    base = getattr(origin, "path", "this base")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    detail = next((line for line in lines if "size mismatch" in line), lines[0])[:200]
    return problem(f"adapter {folder}", f"does not fit {base} ({detail})", "the base that it was trained on")


def names_of(model: Any) -> list[str]:
    """What the attached adapter changes, in the words of `layers.Targets.adapted`."""
    from peft.tuners.lora import LoraLayer

    from .layers import is_matrix, plain_name

    found = []
    for name, module in heads.base_of(model).named_modules():
        if isinstance(module, LoraLayer):
            parameter = getattr(module, "parameter_name", "")
            bare = not parameter or is_matrix(module.get_base_layer())
            found.append(plain_name(name) if bare else f"{plain_name(name)}.{parameter}")
    return found


def check_adapted(model: Any, targets: Targets) -> None:
    """PEFT must have adapted what was asked for, and nothing else. ModelError with the difference."""
    found, wanted = set(names_of(model)), set(targets.adapted)
    lines = [problem("target_modules", f"PEFT did not adapt {name}") for name in sorted(wanted - found)]
    lines += [
        problem("target_modules", f"PEFT adapted {name}, which was not asked for") for name in sorted(found - wanted)
    ]
    if lines:
        raise ModelError(lines)


def task_of(model: Any) -> str:
    """PEFT's word for what the model is for."""
    if heads.base_of(model).get_output_embeddings() is not None:
        return "CAUSAL_LM"
    return "TOKEN_CLS" if heads.is_tagger(model) else "SEQ_CLS"


def new_rows(model: Any, in_full: list[str]) -> dict[str, list[int]]:
    """Embedding (and untied head) rows of new tokens, by module name; {} where there are none or the whole matrix learns."""
    ids = list(heads.new_tokens(model))
    ends = [model.get_input_embeddings()] + ([] if heads.tied(model) else [model.get_output_embeddings()])
    names = [name for name, module in model.named_modules() if any(module is end for end in ends if end is not None)]
    return {name: ids for name in names if ids and name not in in_full}


def merge(model: Any) -> torch.nn.Module:
    """The bare model with every update added, in place: (base in float32 + update), rounded once to the base's type.

    Raises RefusedError naming a layer whose result is not finite.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    from .quantise import quantised

    if not attached(model):
        return model
    assert not quantised(model), "merging needs the base as it was before it was quantised: restore_base"
    with quiet(), torch.no_grad():
        for name, module in model.named_modules():
            if not isinstance(module, LoraLayer):
                continue
            weight = getattr(module.get_base_layer(), getattr(module, "parameter_name", "weight"))
            dtype = weight.dtype
            weight.data = weight.data.float()
            for part in (module.lora_A, module.lora_B, module.lora_embedding_A, module.lora_embedding_B):
                part.float()
            module.merge()
            weight.data = weight.data.to(dtype)
            if not bool(weight.isfinite().all()):
                raise RefusedError(
                    problem(name, "the merged weight is not finite", fix="keep the adapter, and look at its training")
                )
        merged = model.merge_and_unload()
    return merged.requires_grad_(False)


def save(model: Any, folder: Path) -> None:
    """A PEFT folder: the adapter (and whatever is trained in full), its config with the base, and our `base.json`."""
    origin: Any = getattr(model, "seektune_origin", None)
    config = model.peft_config[model.active_adapter]
    if origin is not None:
        config.base_model_name_or_path = origin.plain
        config.revision = None if Path(origin.plain).is_dir() else origin.revision
    card = folder / "README.md"
    keep = card.exists()
    with quiet():
        model.save_pretrained(str(folder), save_embedding_layers=False)
    if not keep:
        card.unlink(missing_ok=True)  # PEFT's empty form; the model card is written by whoever knows the run
    _sort_lists(folder / CONFIG)
    _write_base(model, origin, folder)


def _sort_lists(file: Path) -> None:
    """PEFT writes sets in the order of the moment; equal adapters shall have equal files."""
    config = weights.read_object(file)
    names = ("target_modules", "target_parameters", "modules_to_save", "exclude_modules")
    config |= {name: sorted(config[name]) for name in names if isinstance(config.get(name), list)}
    files.write_json(file, config)


def _write_base(model: Any, origin: Any, folder: Path) -> None:
    if origin is None:
        return
    noted = {"format": FORMAT, "path": origin.path, "revision": origin.revision, "fingerprint": origin.fingerprint}
    noted["embedding_rows"] = heads.embedding_rows(model)
    if task_of(model) != "CAUSAL_LM":
        config = heads.base_of(model).config
        noted["labels"] = [str(config.id2label[i]) for i in range(config.num_labels)]
        noted["several"] = config.problem_type == "multi_label_classification"
    files.write_json(folder / BASE, noted)
