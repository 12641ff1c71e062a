"""Every artefact proves itself: reopened by a stranger (`_stranger.py`: transformers and peft, no seektune) and compared.

What must agree: every tensor in the files, the ids that tokenizer and template give, the logits of held-out documents. What
is told besides: whether greedy answers are the same, and the share that stops by itself. RefusedError holds the figures.
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
from .models import adapters, attention, forward, heads, load

ANSWERS, MAX_NEW_TOKENS, SECONDS = 8, 64, 900
LONGEST = 512  # tokens of a document that are run
VALUES = 1 << 26  # logits that are held and compared in all: large vocabularies are looked at in fewer places
EXACT, ROUNDED = (
    1e-3,
    0.08,
)  # largest difference of logits, relative to the largest: float32, and 16-bit weights or arithmetic
KL_BAR = 0.05  # mean, in nats, for 16 bit; a light perturbation of every weight is far above


@dataclass
class Sample:
    """What both sides are shown: conversations without their last answer, other texts, and whole documents."""

    prompts: list[Record]  # messages as a template is given them
    prompt_ids: list[list[int]]  # as we render them
    texts: list[tuple[str, str | None]]
    text_ids: list[list[int]]
    documents: list[Document]


def prove(
    folder: Path,
    model: torch.nn.Module,
    renderer: Renderer,
    records: Sequence[Record],
    documents: Sequence[Document],
    *,
    head: str,
    precision: str = "float32",
) -> dict[str, Any]:
    """The figures of a saved folder against the model in memory, on held-out records and documents, 20 or so of each.

    Raises RefusedError where they differ above the bar.
    """
    problems = look(folder)
    if problems:
        raise RefusedError(f"{folder}: the saved model is not whole: " + "; ".join(problems[:5]))
    figures = compare_weights(folder, model)
    sample = _sample(renderer, records, documents, head != "lm")
    ours, ours_answers = _ours(model, renderer, sample, head, precision)
    found, theirs = _ask_a_stranger(folder, sample, model, head, precision)
    _refuse_other_ids(folder, sample, found)
    figures |= compare(ours, theirs) | {"records": len(sample.documents), "precision": precision}
    figures |= {
        "prompts": len(sample.prompts) + len(sample.texts),
        "prompts_with_other_ids": 0,
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


def compare_weights(folder: Path, model: torch.nn.Module) -> dict[str, Any]:
    """Every tensor in the files against the model in memory, rounded to the type of the file: they must be the same bits.

    Tensors that transformers writes under other names than the model has (fused experts of some architectures) are left to
    the comparison of logits. Returns {"weights", "weights_compared"}; raises RefusedError naming what differs.
    """
    ours, wrong, names, known = _state(model), [], set[str](), set[str]()
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as opened:
            for name in opened.keys():  # noqa: SIM118
                names.add(name)
                if name not in ours:
                    continue
                known.add(name)
                saved, held = opened.get_tensor(name), ours[name].detach().cpu()
                if saved.shape != held.shape:
                    wrong.append(f"{name} has shape {list(saved.shape)} in {shard.name}, {list(held.shape)} in memory")
                elif not torch.equal(saved, held.to(saved.dtype)):
                    wrong.append(f"{name} in {shard.name} differs from the trained one")
    if known == names:  # no renaming: then nothing may be left out but what is stored under another name (tied)
        stored = {ours[name].data_ptr() for name in known}
        wrong += [f"{name} is in no file" for name in ours.keys() - known if ours[name].data_ptr() not in stored]
    if wrong:
        raise RefusedError(f"{folder}: the saved weights are not the trained ones: " + "; ".join(sorted(wrong)[:5]))
    return {"weights": len(names), "weights_compared": len(known)}


def _state(model: Any) -> dict[str, torch.Tensor]:
    """What a saved folder has to hold, by name: the adapter where one is attached, else the whole model."""
    if not adapters.attached(model):
        return model.state_dict()
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model, save_embedding_layers=False)


def logits_of(model: torch.nn.Module, documents: Sequence[Document]) -> list[torch.Tensor]:
    """(places, vocabulary) float32 of each document, alone, at the places that `places` names."""
    return [_logits(model, d, at) for d, at in zip(documents, places(model, documents), strict=True)]


def places(model: torch.nn.Module, documents: Sequence[Document]) -> list[list[int]]:
    """The tokens of each document whose logits are compared: all of the first `LONGEST`, or as many as `VALUES` allows."""
    each = max(2, VALUES // max(1, len(documents) * heads.embedding_rows(model)))
    lengths = [min(len(d), LONGEST) for d in documents]
    return [sorted({round(i) for i in torch.linspace(0, n - 1, min(n, each)).tolist()}) for n in lengths]


def prove_merge(unmerged: Sequence[torch.Tensor], merged: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Logits of a merged adapter against those of the unmerged one, same documents. Raises RefusedError above the 16-bit bar."""
    figures = compare(unmerged, merged)
    _judge(Path("merged adapter"), figures, exact=False)
    return figures


def _sample(renderer: Renderer, records: Sequence[Record], documents: Sequence[Document], classifier: bool) -> Sample:
    prompts, prompt_ids, texts, text_ids = [], [], [], []
    for record in records:
        messages, tools = _prompt(record), record.get("tools") or None
        if messages:
            prompts.append({"messages": renderer.prepared(messages, tools), "tools": tools})
            prompt_ids.append(renderer.prompt_ids(messages, tools))
        elif classifier:
            texts.append((record["text"], record.get("text_pair")))
            text_ids.append(renderer.classifier_ids(*texts[-1])[0])
        elif "text" in record:
            texts.append((record["text"], None))
            text_ids.append([int(token) for token in renderer.documents({"text": record["text"]})[0].ids])
    return Sample(prompts, prompt_ids, texts, text_ids, list(documents))


def _prompt(record: Record) -> list[dict[str, Any]]:
    """The messages before the last answer; [] where there are none."""
    messages = record.get("messages") or []
    return messages[: next((i for i in range(len(messages) - 1, 0, -1) if messages[i]["role"] == "assistant"), 0)]


def _ours(
    model: torch.nn.Module, renderer: Renderer, sample: Sample, head: str, precision: str
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
            if head == "tagger":
                logits = [
                    forward.tag_logits(model, collate([d], packed=False, device=device)).float().cpu()
                    for d in sample.documents
                ]
            elif head == "classifier":
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
def _logits(model: torch.nn.Module, document: Document, at: list[int]) -> torch.Tensor:
    attention.clear()
    device = next(model.parameters()).device
    ids = torch.as_tensor(document.ids[:LONGEST], dtype=torch.long, device=device)[None]
    return model(input_ids=ids, use_cache=False).logits[0, at].float().cpu()


def _ask_a_stranger(
    folder: Path, sample: Sample, model: torch.nn.Module, head: str, precision: str
) -> tuple[dict[str, Any], list[torch.Tensor]]:
    script = Path(__file__).with_name("_stranger.py")
    with tempfile.TemporaryDirectory() as place:
        job: dict[str, Any] = {
            "folder": str(folder.absolute()), "head": head, "dtype": "float32" if precision == "float32" else "auto",
            "num_labels": getattr(model.config, "num_labels", None), "rows": heads.embedding_rows(model),
            "attention": load.attention_of(model.config),
            "prompts": sample.prompts, "texts": sample.texts, "answers": ANSWERS,
            "documents": [(d.ids[:LONGEST] if head == "lm" else d.ids).tolist() for d in sample.documents],
            "places": places(model, sample.documents) if head == "lm" else [],
            "max_new_tokens": MAX_NEW_TOKENS, "threads": torch.get_num_threads(),
            "logits": f"{place}/logits.pt", "found": f"{place}/found.json",
        }  # fmt: skip
        Path(place, "job.json").write_text(json.dumps(job), encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        command = [sys.executable, "-I", "-W", "ignore", str(script), f"{place}/job.json"]
        try:
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise RefusedError(
                f"{folder}: unproved: plain transformers had not opened and run the saved model after {SECONDS} s"
            ) from None
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise RefusedError(f"{folder}: plain transformers cannot open or run the saved model: {last}")
        return json.loads(Path(job["found"]).read_text()), torch.load(job["logits"], weights_only=True)


def _refuse_other_ids(folder: Path, sample: Sample, found: dict[str, Any]) -> None:
    """Raises RefusedError where the stranger's tensors or ids are others, or where it was no stranger."""
    if not found["foreign"]:
        raise RefusedError(f"{folder}: unproved: the process that should know nothing of seektune had it loaded")
    names = [f"{name} is missing" for name in found["missing"]] + [
        f"{name} has no place in the model" for name in found["unexpected"]
    ]
    if names:
        raise RefusedError(
            f"{folder}: the files do not fit the model that plain transformers makes of them: " + "; ".join(names[:5])
        )
    wrong = sum(ours != theirs for ours, theirs in zip(sample.prompt_ids, found["prompt_ids"], strict=True))
    if wrong:
        raise RefusedError(
            f"{folder}: the saved template renders other ids in {wrong} of {len(sample.prompts)} conversations; the model would be served with a template that it was not trained with"
        )
    wrong = sum(not _same_text(*pair) for pair in zip(sample.text_ids, found["text_ids"], strict=True))
    if wrong:
        raise RefusedError(
            f"{folder}: the saved tokenizer gives other ids for {wrong} of {len(sample.texts)} texts than training had"
        )


def _same_text(ours: list[int], theirs: list[int]) -> bool:
    """Equal, or equal but for the end of text, which training adds and not every tokenizer does."""
    return ours == theirs or (len(ours) == len(theirs) + 1 and ours[:-1] == theirs)


def compare(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> dict[str, Any]:
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
