"""Every artefact proves itself: reopened by a stranger (`_stranger.py`: transformers and peft, no seektune) and compared.

What must agree: the ids that the template gives, the logits of held-out documents. What is told besides: whether greedy
answers are the same, and the share that stops by itself. Raises RefusedError with the figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .contracts import Document, Record
from .data.chat import Renderer
from .data.pack import collate
from .engine.engine import Engine
from .errors import RefusedError
from .models import attention, forward, heads

ANSWERS, MAX_NEW_TOKENS, SECONDS = 8, 64, 900
EXACT, ROUNDED = (
    1e-3,
    0.08,
)  # largest difference of logits, relative to the largest: float32, and 16-bit weights or arithmetic
KL_BAR = 0.05  # mean, in nats, for 16 bit; a light perturbation of every weight is far above


@dataclass
class Sample:
    """What both sides are shown: conversations without their last answer, and whole documents."""

    prompts: list[Record]
    documents: list[Document]


def prove(
    folder: Path,
    model: torch.nn.Module,
    renderer: Renderer,
    records: Sequence[Record],
    documents: Sequence[Document],
    *,
    classifier: bool,
    precision: str = "float32",
) -> dict[str, Any]:
    """The figures of a saved folder against the model in memory, on held-out records and documents, 20 or so of each.

    Raises RefusedError where they differ above the bar.
    """
    problems = look(folder)
    if problems:
        raise RefusedError(f"{folder}: the saved model is not whole: " + "; ".join(problems[:5]))
    sample = Sample([] if classifier else _prompts(records), list(documents))
    ours, ours_answers = _ours(model, renderer, sample, classifier, precision)
    found, theirs = _ask_a_stranger(folder, sample, model, classifier, precision)
    figures = _compare(ours, theirs) | {"records": len(sample.documents), "precision": precision}
    wrong_ids = sum(
        renderer.prompt_ids(p["messages"], p.get("tools")) != ids
        for p, ids in zip(sample.prompts, found["prompt_ids"], strict=True)
    )
    figures |= {
        "prompts": len(sample.prompts),
        "prompts_with_other_ids": wrong_ids,
        "foreign_process": found["foreign"],
    }
    if found["answers"]:
        same = [a == b for a, b in zip(ours_answers, found["answers"], strict=True)]
        figures |= {
            "answers": len(same),
            "same_answers": sum(same),
            "stopped_by_itself": sum(found["stopped"]) / len(found["stopped"]),
        }
    _judge(folder, figures, exact=precision == "float32" and _stored_exactly(folder))
    return figures


def look(folder: Path) -> list[str]:
    """Open the files: every shard of the index there, no empty tensor, nothing that is not a number. What is wrong, a line each."""
    problems = []
    index = next(iter(folder.glob("*.safetensors.index.json")), None)
    if index is not None:
        listed = set(json.loads(index.read_text())["weight_map"].values())
        problems += [
            f"{name}: named by {index.name}, but missing" for name in sorted(listed) if not (folder / name).exists()
        ]
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        problems.append("no safetensors file")
    for shard in shards:
        try:
            with safe_open(shard, "pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    tensor = opened.get_tensor(name)
                    if tensor.numel() == 0:
                        problems.append(f"{shard.name}: {name} is empty")
                    elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                        problems.append(f"{shard.name}: {name} holds values that are not finite")
        except Exception as error:  # the library raises its own bare exception
            problems.append(f"{shard.name}: cannot be opened ({error})")
    return problems


def logits_of(model: torch.nn.Module, documents: Sequence[Document]) -> list[torch.Tensor]:
    """(time, vocabulary) float32 of each document, alone."""
    return [_logits(model, document) for document in documents]


def prove_merge(unmerged: Sequence[torch.Tensor], merged: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Logits of a merged adapter against those of the unmerged one, same documents. Raises RefusedError above the 16-bit bar."""
    figures = _compare(unmerged, merged)
    _judge(Path("merged adapter"), figures | {"prompts_with_other_ids": 0}, exact=False)
    return figures


def _prompts(records: Sequence[Record]) -> list[Record]:
    """The conversations before their last answer."""
    prompts = []
    for record in records:
        messages = record.get("messages") or []
        last = next((i for i in range(len(messages) - 1, 0, -1) if messages[i]["role"] == "assistant"), None)
        if last is not None:
            prompts.append({"messages": messages[:last], "tools": record.get("tools")})
    return prompts


def _ours(
    model: torch.nn.Module, renderer: Renderer, sample: Sample, classifier: bool, precision: str
) -> tuple[list[torch.Tensor], list[list[int]]]:
    from .train.precision import Precision

    training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with (
            torch.no_grad(),
            Precision(precision, device.type).autocast() if precision != "float32" else contextlib.nullcontext(),
        ):
            if classifier:
                logits = [
                    forward.class_logits(model, collate([d], packed=False, device=device))[0].float().cpu()
                    for d in sample.documents
                ]
            else:
                logits = logits_of(model, sample.documents)
            asked = sample.prompts[:ANSWERS]
            answers = Engine(model, renderer).generate(asked, max_new_tokens=MAX_NEW_TOKENS) if asked else []
    finally:
        model.train(training)
    return logits, [list(answer.ids) for answer in answers]


@torch.no_grad()
def _logits(model: torch.nn.Module, document: Document) -> torch.Tensor:
    attention.clear()
    device = next(model.parameters()).device
    ids = torch.as_tensor(document.ids, dtype=torch.long, device=device)[None]
    return model(input_ids=ids, use_cache=False).logits[0].float().cpu()


def _ask_a_stranger(
    folder: Path, sample: Sample, model: torch.nn.Module, classifier: bool, precision: str
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    script = Path(__file__).with_name("_stranger.py")
    with tempfile.TemporaryDirectory() as place:
        job: dict[str, Any] = {
            "folder": str(folder.absolute()), "classifier": classifier, "dtype": "float32" if precision == "float32" else "auto",
            "num_labels": getattr(model.config, "num_labels", None), "rows": heads.embedding_rows(model),
            "prompts": sample.prompts, "documents": [d.ids.tolist() for d in sample.documents], "answers": ANSWERS,
            "max_new_tokens": MAX_NEW_TOKENS, "threads": torch.get_num_threads(),
            "logits": f"{place}/logits.pt", "found": f"{place}/found.json",
        }  # fmt: skip
        Path(place, "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        command = [sys.executable, "-I", "-W", "ignore", str(script), f"{place}/job.json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RefusedError(f"{folder}: plain transformers cannot open or run the saved model: {last}")
        return json.loads(Path(job["found"]).read_text()), torch.load(job["logits"], weights_only=True)


def _compare(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Largest |difference| of logits (absolute, and relative to the largest logit), mean KL in nats, top-1 agreement."""
    differences = [float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True)]
    largest = max(float(a.abs().max()) for a in ours)
    kl, same, count = 0.0, 0, 0
    for a, b in zip(ours, theirs, strict=True):
        rows_a, rows_b = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
        p, q = rows_a.log_softmax(-1), rows_b.log_softmax(-1)
        kl += float((p.exp() * (p - q)).sum())
        same += int((rows_a.argmax(-1) == rows_b.argmax(-1)).sum())
        count += len(rows_a)
    worst = max(differences)
    return {
        "max_difference": worst,
        "relative_difference": worst / largest,
        "mean_kl": kl / count,
        "top1_agreement": same / count,
    }


def _judge(folder: Path, figures: dict[str, Any], exact: bool) -> None:
    shown = f"largest difference of logits {figures['max_difference']:.3g} ({figures['relative_difference']:.2g} of the largest), mean KL {figures['mean_kl']:.3g}, top-1 agreement {figures['top1_agreement']:.3f}"
    if figures["prompts_with_other_ids"]:
        raise RefusedError(
            f"{folder}: the saved template renders other ids in {figures['prompts_with_other_ids']} of {figures['prompts']} conversations; the model would be served with a template that it was not trained with"
        )
    above = figures["relative_difference"] > (EXACT if exact else ROUNDED)
    if (
        not figures["relative_difference"] >= 0
        or (above and exact)
        or (above and figures["mean_kl"] > KL_BAR)
        or figures["mean_kl"] > 4 * KL_BAR
    ):
        raise RefusedError(f"{folder}: the saved model does not give what the trained one gives: {shown}")


def _stored_exactly(folder: Path) -> bool:
    """Whether the weights lie in the folder as float32: an adapter's always do, on a base that is read as it is."""
    for shard in folder.glob("*.safetensors"):
        with safe_open(shard, "pt") as opened:
            if any("32" not in opened.get_slice(name).get_dtype() for name in opened.keys() if name):  # noqa: SIM118
                return False
    return True
