"""The first losses of TRL's SFTTrainer on the case of tests/train/trl_case.py, stored in tests/train/trl_losses.json.

    python bench/trl_losses.py            # trains with TRL and writes the file
    python bench/trl_losses.py --check    # trains with TRL and compares with the file; exit 1 where they differ

TRL makes its own adapters (PEFT's "all-linear"), groups its own parameters and counts its own tokens; only the starting
weights, the records and their order are given. Each series is trained in four cuts, which TRL itself says are equal.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import logging
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
STORED = HERE.parent / "tests" / "train" / "trl_losses.json"
sys.path.insert(0, str(STORED.parent))

import trl_case as case  # noqa: E402

PACKAGES = ("trl", "transformers", "peft", "accelerate", "datasets", "torch", "numpy")
CUTS: dict[str, dict[str, Any]] = {
    "8 x 1": {"per_device_train_batch_size": 8},
    "4 x 2": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
    "2 x 4": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    "8 x 1, padding-free": {"per_device_train_batch_size": 8, "padding_free": True},
}
FIRST = "8 x 1"
TOLERANCE = 2e-5  # between two runs of TRL


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the stored file and write nothing")
    options = parser.parse_args()
    try:
        import trl  # noqa: F401
    except ImportError:
        print(
            "TRL is not installed here: pip install --constraint constraints.txt --editable '.[bench]'", file=sys.stderr
        )
        return 2
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    series = {f"{architecture} {tuner}": trained(architecture, tuner) for architecture, tuner in case.SERIES}
    for name, found in series.items():
        losses = found["losses"]
        print(
            f"{name:12} {losses[0]:.6f} -> {losses[-1]:.6f}   largest difference between cuts {found['cuts_differ_by']:.1e}"
        )
    return compare(series) if options.check else store(series)


def store(series: dict[str, Any]) -> int:
    settings = {
        "optimizer": "AdamW", "rates": case.RATES, "weight_decay": case.DECAY, "schedule": "constant", "clip": 1.0,
        "batch_size": case.BATCH, "steps": case.STEPS, "precision": "float32", "lora": case.LORA, "cuts": list(CUTS),
    }  # fmt: skip
    versions = {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}
    stored = {"command": "python bench/trl_losses.py", "versions": versions, "settings": settings, "series": series}
    STORED.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {STORED}")
    return 0


def compare(series: dict[str, Any]) -> int:
    before = json.loads(STORED.read_text(encoding="utf-8"))["series"]
    worst = max(
        abs(old - new)
        for name, found in series.items()
        for old, new in zip(before[name]["losses"], found["losses"], strict=True)
    )
    print(f"largest difference from {STORED.name}: {worst:.1e}")
    return int(worst > TOLERANCE)


def trained(architecture: str, tuner: str) -> dict[str, Any]:
    """Losses and gradient norms of every step; the other cuts only as their largest difference from the first."""
    by_cut = {name: run(architecture, tuner, arguments) for name, arguments in CUTS.items()}
    losses, norms = by_cut[FIRST]
    differ = max(abs(a - b) for other, _ in by_cut.values() for a, b in zip(losses, other, strict=True))
    return {"losses": losses, "grad_norms": norms, "cuts_differ_by": differ}


def run(architecture: str, tuner: str, arguments: dict[str, Any]) -> tuple[list[float], list[float]]:
    from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    losses: list[float] = []
    norms: list[float] = []

    class Recording(SFTTrainer):
        """The loss of a step is the sum over its micro-batches, each divided by the tokens of the whole step."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().compute_loss(*args, **kwargs)
            while len(losses) <= self.state.global_step:
                losses.append(0.0)
            losses[self.state.global_step] += float(loss.detach())
            return loss

    class Norms(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            if "grad_norm" in (logs or {}):
                norms.append(float(logs["grad_norm"]))

    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            folder, max_steps=case.STEPS, learning_rate=case.RATES[tuner], weight_decay=case.DECAY, max_grad_norm=1.0,
            lr_scheduler_type="constant", warmup_steps=0, optim="adamw_torch", bf16=False, use_cpu=True, max_length=None,
            gradient_checkpointing=False, train_sampling_strategy="sequential", logging_steps=1, save_strategy="no",
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False, **arguments,
        )  # fmt: skip
        trainer = Recording(
            model=prepared(architecture, tuner), args=config, train_dataset=dataset(), callbacks=[Norms()],
            processing_class=PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>"),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    assert len(losses) == len(norms) == case.STEPS
    return losses, norms


def prepared(architecture: str, tuner: str) -> Any:
    model = case.model(architecture)
    if tuner == "full":
        return model
    from peft import LoraConfig, get_peft_model

    adapter = LoraConfig(
        r=case.LORA["rank"], lora_alpha=case.LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, adapter)
    case.fill(adapted, only="lora_A")
    return adapted


def dataset() -> Any:
    from datasets import Dataset

    rows = [{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in case.sequences()]
    return Dataset.from_list(rows)


def placeholder() -> Any:
    """A tokenizer that nothing is read with: the trainer asks it for the padding id only."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": case.PAD, "<eos>": case.SHAPE["eos_token_id"]}, unk_token="<pad>"))


if __name__ == "__main__":
    sys.exit(main())
