"""From what a recipe calls `model` to an open model: hub ids, folders, `base:tiny`, results of earlier runs, adapters.

Whatever is wrong with a folder is told in one line before transformers sees it; its own warnings stay inside.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..contracts import Probe, option
from ..errors import ModelError, nearest, problem
from . import adapters, weights
from .quiet import quiet

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from .streaming import Opening

EMBEDDED = {"base:tiny": "base/weights"}  # models that the package holds
CONFIG = "config.json"
LEFT_OVER = (
    "rotary_emb.inv_freq",
    "attn.bias",
    "attn.masked_bias",
    "position_ids",
)  # buffers that old files still hold


@dataclass(frozen=True)
class Model:
    """Which model a run starts from."""

    path: str = option("", "hub id, folder (also an adapter's), or base:tiny", probe=Probe("other_model"))
    revision: str = option("main", "branch, tag or commit of a hub id", probe=Probe("v2", scenario="hub"))
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = option(
        "auto", "type in which weights are held; auto: as they are stored", probe=Probe("bfloat16")
    )
    base: Literal["none", "int8", "int8_weights"] = option(
        "none",
        "int8: frozen linear layers are held in int8 and multiplied as integers; int8_weights: held in int8, multiplied in train.precision",
        probe=Probe("int8_weights", given={"tuner.kind": "lora"}),
    )
    continue_: str | None = option(
        None, "a finished run whose result is trained further", probe=Probe("other_run", scenario="continue")
    )
    new_tokens: list[str] = option(
        help="tokens that the vocabulary lacks; with LoRA only their rows are trained and saved",
        probe=Probe(["<ticker>"]),
        factory=list,
    )
    trust_remote_code: bool = option(
        False,
        "run Python code that comes with the model; read it first",
        probe=Probe(True, scenario="remote_code", seen="stop"),
    )
    allow_pickle: bool = option(
        False,
        "read weights stored as pickle (.bin, .pt); they can run code",
        probe=Probe(True, scenario="pickle", seen="stop"),
    )


@dataclass(frozen=True)
class ModelFacts:
    """What config and safetensors headers tell; no weight is read."""

    architecture: str  # as the config names it, e.g. "Qwen2ForCausalLM"
    model_type: str
    parameters: int  # elements of all tensors on disk (a head that is tied is stored once)
    layers: int
    hidden: int
    vocab: int  # rows of the embedding
    dtype: str  # of most of the weights: "bfloat16", ...; "unknown" for pickle
    files: tuple[str, ...]
    bytes: int
    adapter: str | None = None  # the folder of the adapter, where the path names one; all else is the base's


@dataclass(frozen=True)
class Origin:
    """Where an open model came from; kept on it as `seektune_origin`, written into adapters, compared on loading."""

    path: str  # base:..., a hub id, or an absolute folder
    revision: str
    folder: str
    fingerprint: str | None  # of the weights; None for pickle
    dtypes: Mapping[str, torch.dtype]  # in which each parameter of a result is saved, however training holds it
    new: tuple[str, ...] = ()  # parameters that no file held: a fresh classifier head

    @property
    def plain(self) -> str:
        """The path as transformers and peft understand it."""
        return self.folder if self.path.startswith("base:") else self.path


def folder_of(model: Model) -> Path:
    """The local folder of a model, downloaded if need be. ModelError says in one line what is missing and what to do.

    With `continue`, the folder of that run's result (which may be an adapter's).
    """
    if model.continue_:
        return _result_of(model)
    if not model.path:
        raise ModelError(problem("model.path", "missing", "a hub id, a folder, or " + ", ".join(EMBEDDED)))
    if model.path.startswith("base:"):
        return _embedded(model.path)
    path = Path(model.path).expanduser()
    if path.is_dir():
        return _checked_folder(path)
    if path.exists():
        raise ModelError(problem(f"model.path {model.path}", "is a file", "the folder that holds it"))
    if not _looks_like_hub_id(model.path):
        beside = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise ModelError(
            problem(f"model.path {model.path}", "no such folder", fix=nearest(path.name, beside) if beside else "")
        )
    return _checked_folder(_downloaded(model))


def _result_of(model: Model) -> Path:
    run = Path(str(model.continue_)).expanduser()
    candidates = [run / "model", run, Path("runs") / run / "model"]
    for folder in candidates:
        if adapters.is_adapter(folder) or (folder / CONFIG).exists():
            if model.path and not adapters.is_adapter(folder):
                what = "both given, and the run holds a whole model"
                raise ModelError(problem("model.path and model.continue", what, fix="leave model.path out"))
            return folder
    raise ModelError(
        problem(f"model.continue {model.continue_}", "no result of a run found there", "a run folder that holds model/")
    )


def _embedded(name: str) -> Path:
    if name not in EMBEDDED:
        raise ModelError(problem("model.path", f"unknown embedded model {name!r}", fix=nearest(name, EMBEDDED)))
    folder = Path(__file__).parent.parent / EMBEDDED[name]
    if not (folder / CONFIG).exists():
        raise ModelError(
            problem(
                f"model.path {name}", "this installation holds no embedded weights", fix="make them with `make base`"
            )
        )
    return folder


def _looks_like_hub_id(path: str) -> bool:
    return not path.startswith((".", "/", "~")) and path.count("/") <= 1 and not path.endswith("/")


def _checked_folder(folder: Path) -> Path:
    if (folder / CONFIG).exists() or adapters.is_adapter(folder):
        return folder
    names = sorted(p.name for p in folder.iterdir())
    holds = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "") if names else "nothing"
    fix = (
        f"give {folder / 'model'}"
        if (folder / "model" / CONFIG).exists() or adapters.is_adapter(folder / "model")
        else ""
    )
    raise ModelError(
        problem(str(folder), f"no config.json; the folder holds {holds}", "a Hugging Face model folder", fix)
    )


def _downloaded(model: Model) -> Path:
    """A snapshot of a hub id: the small files, safetensors, and only what was allowed beside them."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    patterns = ["*.json", "*.jinja", "*.safetensors", "*.txt", "tokenizer.model"]
    patterns += ["*.py"] if model.trust_remote_code else []
    patterns += [f"*{suffix}" for suffix in weights.PICKLE] if model.allow_pickle else []
    disable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ignore = ["*/*", "consolidated*"]
            return Path(
                snapshot_download(model.path, revision=model.revision, allow_patterns=patterns, ignore_patterns=ignore)
            )
    except (OSError, ValueError) as error:
        raise ModelError(_why_not_downloaded(model, error)) from None
    finally:
        enable_progress_bars()


def _why_not_downloaded(model: Model, error: Exception) -> str:
    from huggingface_hub import constants, errors

    where, site = f"model.path {model.path}", constants.ENDPOINT
    if isinstance(error, errors.HFValidationError):
        return problem(where, "neither a folder here nor a hub id", "owner/name, a folder, or " + ", ".join(EMBEDDED))
    if isinstance(error, errors.GatedRepoError):
        fix = f"ask for access at {site}/{model.path}, then `hf auth login` or set HF_TOKEN"
        return problem(where, "access is restricted on the hub, and this account has none", fix=fix)
    if isinstance(error, errors.RevisionNotFoundError):
        return problem(where, f"no revision {model.revision!r} on the hub", fix=f"see {site}/{model.path}/tree/main")
    if isinstance(error, errors.RepositoryNotFoundError):
        fix = "check the spelling; where it is private, `hf auth login` or set HF_TOKEN"
        return problem(where, "neither a folder here nor a model on the hub", fix=fix)
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        command = f"`hf download {model.path} --revision {model.revision}`"
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        return problem(
            where, f"not on this machine, and {why}", fix=f"run {command} where there is a network, or give a folder"
        )
    return problem(where, f"cannot be downloaded ({_first_line(error)})")


def facts_of(folder: Path) -> ModelFacts:
    """Facts from config and headers. ModelError where the folder is incomplete. Of an adapter's folder: of its base."""
    if adapters.is_adapter(folder):
        base = folder_of(base_of(folder))
        return dataclasses.replace(facts_of(base), adapter=str(folder))
    config = weights.read_object(folder / CONFIG)
    text = config.get("text_config") or config
    tensors = weights.tensors_of(folder)
    files = weights.weight_files(folder) or weights.pickles(folder)
    by_type: dict[str, int] = {}
    for tensor in tensors.values():
        by_type[tensor.dtype] = by_type.get(tensor.dtype, 0) + tensor.size
    main = max(by_type, key=lambda name: by_type[name], default="")
    return ModelFacts(
        architecture=(config.get("architectures") or ["unknown"])[0],
        model_type=str(config.get("model_type", "unknown")),
        parameters=sum(by_type.values()),
        layers=int(text.get("num_hidden_layers") or text.get("n_layer") or 0),
        hidden=int(text.get("hidden_size") or text.get("n_embd") or 0),
        vocab=int(text.get("vocab_size") or 0),
        dtype=weights.NAMES.get(main, main.lower() or "unknown"),
        files=tuple(file.name for file in files),
        bytes=sum(file.stat().st_size for file in files),
    )


def base_of(folder: Path) -> Model:
    """The base that an adapter folder names."""
    path, revision = adapters.base_of(folder)
    return Model(path=path, revision=revision)


def open_tokenizer(folder: Path, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder; of an adapter's folder without one, that of its base."""
    from transformers import AutoTokenizer

    if adapters.is_adapter(folder) and not (folder / "tokenizer_config.json").exists():
        folder = folder_of(base_of(folder))
    with quiet():
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
            raise ModelError(
                problem(str(folder), f"no tokenizer can be opened ({_first_line(error)})", "tokenizer.json")
            ) from None


def open_model(
    model: Model,
    *,
    head: Literal["lm", "classifier", "tagger"] = "lm",
    labels: list[str] | None = None,
    several: bool = False,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    attention: str | None = None,
    trainable: bool = False,
    stream: bool = False,
) -> torch.nn.Module:
    """The model in evaluation mode on `device`, with an adapter attached where the folder is one's (`trainable`: to go on).

    `stream`: the weights of its blocks stay in the files (models/streaming.py).

    `labels` in the order of class ids, `several`: more than one may hold. `dtype` overrules the recipe's. New classifier
    heads are drawn from torch's current seed. Raises ModelError listing what does not fit.
    """
    import torch

    target = torch.device(device)
    if target.type != "cpu" and not _present(target):
        raise ModelError(
            problem("device", f"{target} asked for, but there is none here", "cpu, or auto to take what there is")
        )
    folder = folder_of(model)
    wanted = dtype if dtype is not None else model.dtype
    streamed = target if stream else None
    with quiet():
        if adapters.is_adapter(folder):
            base = _base_for(model, folder)
            if head != "lm" and labels is None:
                labels, several = adapters.labels_of(folder)
            opened = _open_folder(base, folder_of(base), head, labels, several, wanted, attention, streamed)
            opened = adapters.attach(opened, folder, trainable=trainable)
        else:
            opened = _open_folder(model, folder, head, labels, several, wanted, attention, streamed)
    if stream:
        from . import streaming

        streaming.settle(opened)
        return opened.eval()
    return opened.to(target).eval()


def _base_for(model: Model, folder: Path) -> Model:
    """The base of an adapter: the one that it names, or with `continue` the one that `path` names."""
    named = bool(model.continue_ and model.path)
    path, revision = (model.path, model.revision) if named else adapters.base_of(folder)
    return dataclasses.replace(model, path=path, revision=revision, continue_=None)


def _present(device: torch.device) -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "mps" and torch.backends.mps.is_available()


def _open_folder(
    model: Model,
    folder: Path,
    head: str,
    labels: list[str] | None,
    several: bool,
    dtype: Any,
    attention: str | None,
    streamed: torch.device | None = None,
) -> torch.nn.Module:
    """Transformers' own loading, with its report read instead of printed. `streamed`: the device that blocks visit."""
    pickled = _check_weights(folder, model.allow_pickle)
    config = config_of(model, folder, head, labels, several)
    auto: Any = auto_of(head)
    more = attention_of(config, attention)
    opening: Opening | None = None
    try:
        if streamed is None:
            opened, report = auto.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                trust_remote_code=model.trust_remote_code,
                use_safetensors=not pickled,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **more,
            )
        else:
            opening = _opening(model, folder, auto, config, dtype)
            opened, report = opening.load(config, **more)
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise ModelError(why_not_opened(folder, head, config, error)) from None
    new = _check_report(folder, opened, report, head)
    where = str(folder.resolve())
    path = where if not model.path or Path(model.path).expanduser().is_dir() else model.path
    dtypes = types_to_save(model, folder, opened)
    stamp = None if pickled else weights.fingerprint(folder)
    opened.seektune_origin = Origin(path, model.revision, where, stamp, dtypes, new)
    if opening is not None and streamed is not None:
        opening.finish(opened, streamed)
    return opened


def auto_of(head: str) -> Any:
    """The Auto class of transformers that opens a model with this head."""
    import transformers

    if head == "tagger":
        return transformers.AutoModelForTokenClassification
    return (
        transformers.AutoModelForSequenceClassification if head == "classifier" else transformers.AutoModelForCausalLM
    )


def attention_of(config: Any, asked: str | None = None) -> dict[str, str]:
    """What transformers is told about attention: with a soft cap (Gemma 2) eager, which sdpa before 5.21 leaves out in silence."""
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    chosen = asked or ("eager" if capped else None)
    return {"attn_implementation": chosen} if chosen else {}


def _opening(model: Model, folder: Path, auto: Any, config: Any, dtype: Any) -> Opening:
    """The model on the meta device, and what of the folder it will be made of; no weight is read."""
    import copy

    import torch

    from .streaming import Opening

    if not weights.tensors_of(folder):
        raise ModelError(problem(str(folder), "pickled weights cannot be streamed", "safetensors"))
    if dtype == "auto":
        stored = getattr(torch, facts_of(folder).dtype, torch.float32)
        dtype = config.dtype or stored
    dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    with torch.device("meta"):
        skeleton = auto.from_config(copy.deepcopy(config), dtype=dtype, trust_remote_code=model.trust_remote_code)
    return Opening.of(folder, skeleton, dtype)


def types_to_save(model: Model, folder: Path, opened: torch.nn.Module) -> dict[str, torch.dtype]:
    """The recipe's type, or with `auto` the stored one of each parameter (where files name it otherwise: the commonest)."""
    import torch

    if model.dtype != "auto":
        return {name: getattr(torch, model.dtype) for name, _ in opened.named_parameters()}
    stored = {name: weights.NAMES.get(tensor.dtype, "") for name, tensor in weights.tensors_of(folder).items()}
    commonest = facts_of(folder).dtype
    found: dict[str, torch.dtype] = {}
    for name, parameter in opened.named_parameters():
        kind = getattr(torch, stored.get(name) or commonest, None)
        found[name] = kind if isinstance(kind, torch.dtype) and kind.is_floating_point else parameter.dtype
    return found


def _check_weights(folder: Path, allow_pickle: bool) -> bool:
    """Whether the weights are pickle. Raises for files that are broken, missing or not allowed."""
    if weights.tensors_of(folder):
        return False
    pickled = weights.pickles(folder)
    if not pickled:
        raise ModelError(
            problem(str(folder), "no weights", "model.safetensors, or model-*.safetensors with their index")
        )
    if not allow_pickle:
        what = f"{pickled[0].name} is a pickle, which can run code while it is read"
        raise ModelError(
            problem(str(folder), what, "safetensors", "where you trust its source: model.allow_pickle: true")
        )
    return True


def config_of(model: Model, folder: Path, head: str, labels: list[str] | None, several: bool) -> Any:
    """The config of a folder, with a classifier's labels set. Raises ModelError where transformers cannot read it."""
    config = _open_config(folder, model.trust_remote_code)
    if head != "lm":
        _set_labels(config, folder, labels or [], several)
    return config


def _open_config(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoConfig

    raw = weights.read_object(folder / CONFIG)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
    except Exception as error:  # a config can fail in as many ways as there are architectures
        if "auto_map" in raw and not trust_remote_code:
            what = f"{raw.get('model_type', 'this model')} brings Python code of its own"
            raise ModelError(
                problem(str(folder), what, fix="read it, then set model.trust_remote_code: true")
            ) from None
        raise ModelError(problem(str(folder / CONFIG), _first_line(error))) from None


def _set_labels(config: Any, folder: Path, labels: list[str], several: bool) -> None:
    """Names and number of classes, the kind of loss, and a padding id, which decoder classifiers need."""
    if labels:
        config.num_labels = len(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
        config.problem_type = "multi_label_classification" if several else "single_label_classification"
    text = config.get_text_config()
    if getattr(text, "pad_token_id", None) is None:
        tokenizer = open_tokenizer(folder)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        text.pad_token_id = config.pad_token_id = pad


def why_not_opened(folder: Path, head: str, config: Any, error: Exception) -> str:
    if "Unrecognized configuration class" in str(error):
        what = {"classifier": "classifier", "tagger": "tagger"}.get(head, "language model")
        return problem(str(folder), f"transformers has no {what} of the architecture {config.model_type!r}")
    return problem(str(folder), f"cannot be opened ({_first_line(error)})")


def _check_report(folder: Path, model: Any, report: dict[str, Any], head: str) -> tuple[str, ...]:
    """The parameters of a new classifier head. Raises ModelError naming every tensor that does not fit the config."""
    prefix = model.base_model_prefix + "."
    ours = {name for name, _ in model.named_parameters()}

    def may_be_new(name: str) -> bool:
        return head != "lm" and (not name.startswith(prefix) or ".pooler." in name)

    def may_be_left(name: str) -> bool:
        outside = any(n.startswith(prefix) for n in ours) and not name.startswith(prefix)
        pooled = head == "tagger" and ".pooler." in name  # it sums a text up, which a tagger does not
        return name.endswith(LEFT_OVER) or (head != "lm" and outside) or pooled

    mismatched = sorted(report["mismatched_keys"])
    lines = [
        problem(f"{folder}: {name}", f"shape {list(stored)} in the file", f"{list(wanted)} by config.json")
        for name, stored, wanted in mismatched
        if not may_be_new(name)
    ]
    missing = set(report["missing_keys"]) - {name for name, *_ in mismatched}
    lines += [problem(f"{folder}: {n}", "missing in the files") for n in sorted(missing) if not may_be_new(n)]
    left = [n for n in sorted(report["unexpected_keys"]) if not may_be_left(n)]
    lines += [problem(f"{folder}: {n}", "in the files, but config.json has no place for it") for n in left]
    if lines:
        most = 12
        more = (
            [f"{folder}: and {len(lines) - most} more tensors that do not fit config.json"] if len(lines) > most else []
        )
        raise ModelError(lines[:most] + more)
    return tuple(sorted(missing | {name for name, *_ in mismatched}))


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
