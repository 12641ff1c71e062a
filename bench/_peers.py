"""One contender of bench/step.py, in a process of its own: python bench/_peers.py JOB.json RESULT.json

A contender trains one pass over the records, in their order, after one step that is not timed (the first batch, twice). All
get the same weights, the same PEFT adapters, the same AdamW, and an own loop: ours is `seektune.train`, the others' TRL's
SFTTrainer without activation checkpointing and without logging. The clock runs from the end of the untimed step to the end of the last.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

QWEN2 = {"model_type": "qwen2", "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {  # config of the model, and how it is tuned
    "tiny": {
        "config": QWEN2 | {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
                           "num_attention_heads": 8, "num_key_value_heads": 4},
        "tuner": "lora", "rank": 16,
    },
    "llama-15m": {
        "config": {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 32000, "hidden_size": 288,
                   "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6},
        "tuner": "full", "precision": "float32",
    },
    "qwen2-0.5b": {
        "config": QWEN2 | {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
                           "num_attention_heads": 14, "num_key_value_heads": 2},
        "tuner": "lora", "rank": 8, "precision": "bfloat16",
    },
}  # fmt: skip
RATE, DECAY = 1e-4, 0.01
Instant = tuple[float, float]  # wall clock, processor time of all threads


def main(job_file: str, result_file: str) -> None:
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        result = (ours if job["contender"] == "seektune" else trl)(job, Path(folder))
    from seektune.runtime import peak_rss

    result |= {"peak_memory_bytes": peak_rss(), "threads": torch.get_num_threads()}
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


def opened(job: dict[str, Any]) -> Any:
    """Random weights in the dtype that each would load: frozen ones as the arithmetic, trained ones float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from seektune.train.precision import prepare_dtypes
    from seektune.tuners.lora import LoRA

    shape = SHAPES[job["shape"]]
    config = AutoConfig.for_model(**shape["config"], max_position_embeddings=4096, pad_token_id=0, eos_token_id=2)
    lora = shape["tuner"] == "lora"
    dtype = getattr(torch, job["precision"]) if lora else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    if lora:
        model = LoRA(rank=shape["rank"], alpha=2 * shape["rank"]).apply(model)
    prepare_dtypes(model, job["precision"])
    return model


def ours(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    import numpy as np
    import torch

    from seektune.contracts import Document, Event
    from seektune.models import attention
    from seektune.objectives.sft import SFT
    from seektune.optimizers._groups import parameter_groups
    from seektune.optimizers.adamw import AdamW
    from seektune.run import Run
    from seektune.schedules.constant import Constant
    from seektune.sources.loader import Loader
    from seektune.train.options import Train
    from seektune.train.precision import Precision
    from seektune.train.trainer import Layout, Trainer
    from seektune.tuners.full import Full

    ends: list[Instant] = []

    class Clock:
        def observe(self, event: Event) -> None:
            if event.name == "step":
                ends.append(now())

    model = opened(job)
    attention.register()
    model.set_attn_implementation(attention.NAME)
    rows = with_warm_up(job["sequences"], job["batch_size"])
    documents = [
        Document(np.array(ids, np.int32), (np.arange(len(ids)) >= prompt).astype(np.float32), i)
        for i, (ids, prompt) in enumerate(rows)
    ]
    source = Loader(shuffle=False)
    source.open(documents, batch_size=job["batch_size"], unit=1, seed=0)
    options = Train(
        steps=source.batches_per_epoch(), batch_size=job["batch_size"], save_every=10**9
    )  # saved once, after the last step
    run = Run.create(folder, "run")
    trainer = Trainer(
        model, Full(), SFT(), AdamW(RATE, DECAY).build(parameter_groups(model, DECAY)), Constant(), source, run, options,
        Layout("packed"), Precision(job["precision"], "cpu"), source.batches_per_epoch(), torch.device("cpu"), observers=[Clock()],
    )  # fmt: skip
    trainer.fit()
    lines = run.metrics("train")
    return timed(job, ends) | {"loss": sum(line["loss"] for line in lines) / len(lines)}


def trl(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """contender: "trl padded", "trl padding-free" or "trl packing"."""
    from transformers import PreTrainedTokenizerFast, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    ends: list[Instant] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *args: Any, **rest: Any) -> None:
            ends.append(now())

    way = job["contender"].removeprefix("trl ")
    dataset, batch_size = rows_of_trl(job, packed=way == "packing")
    config = SFTConfig(
        str(folder), max_steps=math.ceil(len(dataset) / batch_size), per_device_train_batch_size=batch_size,
        learning_rate=RATE, weight_decay=DECAY, max_grad_norm=1.0, lr_scheduler_type="constant", optim="adamw_torch_fused",
        bf16=job["precision"] == "bfloat16", use_cpu=True, gradient_checkpointing=False, max_length=None,
        packing=way == "packing", padding_free=way == "padding-free", dataset_kwargs={"skip_prepare_dataset": True},
        train_sampling_strategy="sequential", logging_steps=10**9, save_strategy="no", report_to="none", disable_tqdm=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=placeholder(), pad_token="<pad>", eos_token="<eos>")
    trainer = SFTTrainer(
        model=opened(job), args=config, train_dataset=dataset, processing_class=tokenizer, callbacks=[Clock()]
    )
    trainer.remove_callback(PrinterCallback)
    return {"loss": trainer.train().training_loss} | timed(job, ends)


def rows_of_trl(job: dict[str, Any], packed: bool) -> tuple[Any, int]:
    """(rows with input_ids and labels, rows a step). Packed rows hold as many tokens as a batch of records does, on average."""
    from datasets import Dataset, concatenate_datasets
    from trl import pack_dataset

    def made(some: list[Any]) -> Dataset:
        return Dataset.from_list([{"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]} for ids, prompt in some])

    if not packed:
        return made(with_warm_up(job["sequences"], job["batch_size"])), job["batch_size"]
    rows = pack_dataset(made(job["sequences"]), job["packed_length"], "bfd")
    return concatenate_datasets([rows.select([0]), rows]), 1


def with_warm_up(sequences: list[Any], batch_size: int) -> list[Any]:
    return sequences[:batch_size] + sequences


def timed(job: dict[str, Any], ends: list[Instant]) -> dict[str, Any]:
    tokens = sum(len(ids) for ids, _ in job["sequences"])
    learnt = sum(len(ids) - prompt for ids, prompt in job["sequences"])
    wall, processor = (last - first for first, last in zip(ends[0], ends[-1], strict=True))
    found = {"seconds": wall, "processor_seconds": processor, "steps": len(ends) - 1}
    return found | {"tokens": tokens, "learnt_tokens": learnt}


def now() -> Instant:
    return time.perf_counter(), time.process_time()


def placeholder() -> Any:
    """A tokenizer that nothing is read with: the trainer asks it for the padding id only."""
    from tokenizers import Tokenizer, models

    return Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 2}, unk_token="<pad>"))


if __name__ == "__main__":
    main(*sys.argv[1:])
