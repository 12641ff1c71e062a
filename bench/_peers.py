"""One contender of bench/step.py, in a process of its own: python bench/_peers.py JOB.json RESULT.json

A contender trains one pass over the records, after one step that is not timed (the first batch, twice). All get the same
weights, the same PEFT adapters, the same AdamW, and an own loop: ours is `seektune.train` (bench/_ours.py), the others'
TRL's SFTTrainer and Hugging Face's Trainer without activation checkpointing and without logging. The clock runs from the
end of the untimed step to the end of the last. Who runs out of memory begins anew with half the micro-batch, and takes as
many records a step as before.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import math
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from _floor import measured
from _ours import DECAY, RATE, Instant, Ran, now, ours, profile, with_warm_up
from _shapes import HF_GROUPED, OURS, OURS_INT8, SHAPES, tuned_model

from seektune.runtime import peak_rss
from seektune.train.trainer import is_out_of_memory

Cut = tuple[int, int]  # what a forward takes (records, or tokens of a packed row), and how many of them a step is


def main(job_file: str, result_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    Path(result_file).write_text(json.dumps(answered(job)), encoding="utf-8")


def answered(job: dict[str, Any]) -> dict[str, Any]:
    """What `job` asks for, with the most memory that it took."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        result = contend(job, Path(folder))
    return result | peak_memory(job) | {"threads": torch.get_num_threads()}


def contend(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    if job.get("profile"):
        return profile(job, folder)
    if job.get("floor"):
        return measured(job)
    name = job["contender"]
    run = ours if name in (OURS, OURS_INT8) else trl if name.startswith("trl ") else hugging_face
    ends, loss, (micro, unit) = run(job, folder)
    return timed(job, ends) | {"loss": loss, "microbatch": micro, "microbatch_unit": unit}


def peak_memory(job: dict[str, Any]) -> dict[str, int]:
    """Of the device; of a GPU what the allocator held at most, and what of it was in use."""
    if job.get("device", "cpu") == "cpu":
        return {"peak_memory_bytes": peak_rss()}
    return {
        "peak_memory_bytes": torch.cuda.max_memory_reserved(),
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
    }


# The peers


def trl(job: dict[str, Any], folder: Path) -> Ran:
    """SFTTrainer; contender: "trl padded", "trl padding-free" or "trl packing", with " liger" behind it or without."""
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    way = job["contender"].removeprefix("trl ").removesuffix(" liger")
    packed = way == "packing"

    def train(cut: Cut) -> tuple[list[Instant], float]:
        dataset, rows = rows_of_trl(job, cut, packed)
        config = SFTConfig(
            **common(job, folder, len(dataset), rows, cut[1]), max_length=None, packing=packed,
            padding_free=way == "padding-free", use_liger_kernel=job["contender"].endswith(" liger"),
            dataset_kwargs={"skip_prepare_dataset": True}, train_sampling_strategy="sequential",
        )  # fmt: skip
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>")
        return clocked(SFTTrainer(model=model_of(job), args=config, train_dataset=dataset, processing_class=tokenizer))

    (ends, loss), (size, _) = that_fits(train, cuts_of_rows(job) if packed else cuts_of_records(job))
    return ends, loss, (size, "tokens" if packed else "records")


def hugging_face(job: dict[str, Any], folder: Path) -> Ran:
    """transformers' Trainer, padding on the right; contender: "hf trainer padded" or "hf trainer grouped" (by length)."""
    from transformers import DataCollatorForSeq2Seq, DataCollatorWithPadding, PreTrainedTokenizerFast, TrainingArguments

    dataset, grouped = dataset_of(*warmed(job)), job["contender"] == HF_GROUPED
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>")
    collate = DataCollatorWithPadding(tokenizer) if job.get("labels") else DataCollatorForSeq2Seq(tokenizer)

    def train(cut: Cut) -> tuple[list[Instant], float]:
        arguments = TrainingArguments(
            **common(job, folder, len(dataset), *cut),
            train_sampling_strategy="group_by_length" if grouped else "sequential",
        )
        made = trainer_class()(model=model_of(job), args=arguments, train_dataset=dataset, data_collator=collate)
        return clocked(made)

    (ends, loss), (size, _) = that_fits(train, cuts_of_records(job))
    return ends, loss, (size, "records")


def trainer_class() -> Any:
    """Their Trainer, whose sampler begins with the records of the warm-up and goes on as it would without them."""
    from transformers import Trainer

    class WarmedUp(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            dataset = train_dataset if train_dataset is not None else self.train_dataset
            first = self.args.train_batch_size * self.args.gradient_accumulation_steps
            rest = super()._get_train_sampler(dataset.select(range(first, len(dataset))))
            return [*range(first), *(first + index for index in rest)]

    return WarmedUp


def common(job: dict[str, Any], folder: Path, rows: int, at_once: int, times: int) -> dict[str, Any]:
    """What TRL's and Hugging Face's trainers are told alike. A step is `times` micro-batches of `at_once` of the `rows`."""
    gpu = job.get("device", "cpu") != "cpu"
    return {
        "output_dir": str(folder), "max_steps": math.ceil(rows / (at_once * times)),
        "per_device_train_batch_size": at_once, "gradient_accumulation_steps": times, "learning_rate": RATE, "weight_decay": DECAY, "max_grad_norm": 1.0,
        "lr_scheduler_type": "constant", "optim": "adamw_torch_fused", "bf16": job["precision"] == "bfloat16", "use_cpu": not gpu,
        "gradient_checkpointing": False, "logging_steps": 10**9, "save_strategy": "no", "report_to": "none",
        "disable_tqdm": True, "dataloader_pin_memory": gpu,
    }  # fmt: skip


def clocked(trainer: Any) -> tuple[list[Instant], float]:
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
    return tuned_model(SHAPES[job["shape"]], job["precision"], job.get("device", "cpu"))


# As much of a step at once as memory holds


def cuts_of_records(job: dict[str, Any]) -> Iterator[Cut]:
    """A whole step at once, then half of its records at a time, down to one; the sizes divide the step."""
    whole = job["batch_size"]
    size = min(job.get("at_once") or whole, whole)
    yield size, whole // size
    while size > 1:
        size = next(n for n in range(size // 2, 0, -1) if whole % n == 0)
        yield size, whole // size


def cuts_of_rows(job: dict[str, Any]) -> Iterator[Cut]:
    """A packed row a step, then rows that are half as long, down to the longest record."""
    whole, records = job["packed_length"], job["batch_size"]
    longest = max(len(ids) for ids, _ in job["sequences"])
    size = max(longest, whole * min(job.get("at_once") or records, records) // records)
    yield size, round(whole / size)
    while size > longest:
        size = max(longest, size // 2)
        yield size, round(whole / size)


def that_fits(train: Callable[[Cut], Any], cuts: Iterable[Cut]) -> tuple[Any, Cut]:
    """What `train` makes of the first cut that memory suffices for, and that cut. Each try begins with the same weights."""
    said = "out of memory"
    for cut in cuts:
        torch.manual_seed(0)
        found, problem = unless_out_of_memory(train, cut)
        if not problem:
            return found, cut
        said = f"{problem} (at {cut[0]:,} records or tokens of a row)"
        free_memory()  # not where the error is at hand: it holds the frames, and they hold the tensors
    raise MemoryError(said)


def unless_out_of_memory(train: Callable[[Cut], Any], cut: Cut) -> tuple[Any, str]:
    try:
        return train(cut), ""
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None, (str(error).splitlines() or ["out of memory"])[0]


def free_memory() -> None:
    """What a try has left on the GPU; its peak begins anew, too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


# Records


def rows_of_trl(job: dict[str, Any], cut: Cut, packed: bool) -> tuple[Any, int]:
    """(rows with input_ids and labels, rows a forward). Packed rows hold as many tokens as a batch of records does, on average."""
    from datasets import concatenate_datasets
    from trl import pack_dataset

    if not packed:
        return dataset_of(*warmed(job)), cut[0]
    rows = pack_dataset(dataset_of(job["sequences"]), cut[0], "bfd")
    return concatenate_datasets([rows.select(range(min(cut[1], len(rows)))), rows]), 1


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
    found: dict[str, Any] = {"seconds": wall, "processor_seconds": processor, "steps": len(ends) - 1}
    found["step_seconds"] = [after[0] - before[0] for before, after in itertools.pairwise(ends)]
    return found | {"tokens": tokens, "learnt_tokens": len(job["sequences"]) if job.get("labels") else learnt}


def placeholder() -> Any:
    """A tokenizer that nothing is read with: the trainer asks it for the padding id only."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 2}, unk_token="<pad>"))


if __name__ == "__main__":
    main(*sys.argv[1:])
