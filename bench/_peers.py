"""One contender of bench/step.py, in a process of its own: python bench/_peers.py JOB.json RESULT.json

A contender trains one pass over the records, after one step that is not timed (the first batch, twice). All get the same
weights, the same PEFT adapters, the same AdamW, and an own loop: ours is `seektune.train` (bench/_ours.py), the others'
TRL's SFTTrainer and Hugging Face's Trainer without activation checkpointing and without logging. The clock runs from the
end of the untimed step to the end of the last.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

from _floor import measured
from _ours import DECAY, RATE, Instant, now, ours, profile, with_warm_up
from _shapes import HF_GROUPED, OURS, OURS_INT8, SHAPES, TRL, tuned_model

Result = tuple[list[Instant], float]  # ends of the steps, mean loss


def main(job_file: str, result_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        result = contend(job, Path(folder))
    from seektune.runtime import peak_rss

    result |= {"peak_memory_bytes": peak_rss(), "threads": torch.get_num_threads()}
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


def contend(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    if job.get("profile"):
        return profile(job, folder)
    if job.get("floor"):
        return measured(job)
    name = job["contender"]
    run = ours if name in (OURS, OURS_INT8) else trl if name in TRL else hugging_face
    ends, loss = run(job, folder)
    return timed(job, ends) | {"loss": loss}


def trl(job: dict[str, Any], folder: Path) -> Result:
    """SFTTrainer; contender: "trl padded", "trl padding-free" or "trl packing"."""
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    way = job["contender"].removeprefix("trl ")
    dataset, batch_size = rows_of_trl(job, packed=way == "packing")
    config = SFTConfig(
        **common(job, folder, math.ceil(len(dataset) / batch_size)), per_device_train_batch_size=batch_size,
        max_length=None, packing=way == "packing", padding_free=way == "padding-free",
        dataset_kwargs={"skip_prepare_dataset": True}, train_sampling_strategy="sequential",
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>")
    return clocked(SFTTrainer(model=model_of(job), args=config, train_dataset=dataset, processing_class=tokenizer))


def hugging_face(job: dict[str, Any], folder: Path) -> Result:
    """transformers' Trainer, padding on the right; contender: "hf trainer padded" or "hf trainer grouped" (by length)."""
    from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding, PreTrainedTokenizerFast, TrainingArguments

    dataset, grouped = dataset_of(*warmed(job)), job["contender"] == HF_GROUPED
    arguments = TrainingArguments(
        **common(job, folder, math.ceil(len(dataset) / job["batch_size"])), per_device_train_batch_size=job["batch_size"],
        train_sampling_strategy="group_by_length" if grouped else "sequential",
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>")
    collate = DataCollatorWithPadding(tokenizer) if job.get("labels") else DataCollatorForSeq2Seq(tokenizer)
    return clocked(trainer_class()(model=model_of(job), args=arguments, train_dataset=dataset, data_collator=collate))


def trainer_class() -> Any:
    """Their Trainer, whose sampler begins with the records of the warm-up and goes on as it would without them."""
    from transformers import Trainer

    class WarmedUp(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            dataset = train_dataset if train_dataset is not None else self.train_dataset
            first = self.args.train_batch_size
            rest = super()._get_train_sampler(dataset.select(range(first, len(dataset))))
            return [*range(first), *(first + index for index in rest)]

    return WarmedUp


def common(job: dict[str, Any], folder: Path, steps: int) -> dict[str, Any]:
    """What TRL's and Hugging Face's trainers are told alike."""
    return {
        "output_dir": str(folder), "max_steps": steps, "learning_rate": RATE, "weight_decay": DECAY, "max_grad_norm": 1.0,
        "lr_scheduler_type": "constant", "optim": "adamw_torch_fused", "bf16": job["precision"] == "bfloat16", "use_cpu": True,
        "gradient_checkpointing": False, "logging_steps": 10**9, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip


def clocked(trainer: Any) -> Result:
    """(ends of the steps, mean loss)."""
    from transformers import PrinterCallback, TrainerCallback

    ends: list[Instant] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **rest: Any) -> None:
            ends.append(now())

    trainer.add_callback(Clock())
    trainer.remove_callback(PrinterCallback)
    return ends, trainer.train().training_loss


def model_of(job: dict[str, Any]) -> Any:
    return tuned_model(SHAPES[job["shape"]], job["precision"])


def rows_of_trl(job: dict[str, Any], packed: bool) -> tuple[Any, int]:
    """(rows with input_ids and labels, rows a step). Packed rows hold as many tokens as a batch of records does, on average."""
    from datasets import concatenate_datasets
    from trl import pack_dataset

    if not packed:
        return dataset_of(*warmed(job)), job["batch_size"]
    rows = pack_dataset(dataset_of(job["sequences"]), job["packed_length"], "bfd")
    return concatenate_datasets([rows.select([0]), rows]), 1


def dataset_of(sequences: list[Any], labels: list[int] | None = None) -> Any:
    from datasets import Dataset

    if labels:
        rows = [{"input_ids": ids, "labels": label} for (ids, _), label in zip(sequences, labels, strict=True)]
    else:
        rows = [{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in sequences]
    return Dataset.from_list(rows)


def warmed(job: dict[str, Any]) -> tuple[list[Any], list[int] | None]:
    labels = job.get("labels")
    both = (with_warm_up(some, job["batch_size"]) if some else None for some in (job["sequences"], labels))
    return tuple(both)


def timed(job: dict[str, Any], ends: list[Instant]) -> dict[str, Any]:
    tokens = sum(len(ids) for ids, _ in job["sequences"])
    learnt = sum(len(ids) - max(prompt, 1) for ids, prompt in job["sequences"])  # nothing predicts a first token
    wall, processor = (last - first for first, last in zip(ends[0], ends[-1], strict=True))
    found = {"seconds": wall, "processor_seconds": processor, "steps": len(ends) - 1}
    return found | {"tokens": tokens, "learnt_tokens": len(job["sequences"]) if job.get("labels") else learnt}


def placeholder() -> Any:
    """A tokenizer that nothing is read with: the trainer asks it for the padding id only."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 2}, unk_token="<pad>"))


if __name__ == "__main__":
    main(*sys.argv[1:])
