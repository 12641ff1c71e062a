"""The models that benches train: their shapes, how they are tuned, and what they are trained on unless told otherwise.

Weights are random: how fast a step is does not depend on them. The dtypes are those in which each contender would load:
frozen weights as the arithmetic, trained ones float32.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import Any

OURS, OURS_INT8 = "seektune", "seektune int8"
TRL = ("trl padded", "trl padding-free", "trl packing")
TRL_LIGER = tuple(f"{name} liger" for name in TRL)  # the same with liger-kernel's kernels
HF_GROUPED, HF_PADDED = "hf trainer grouped", "hf trainer padded"

QWEN2 = {"model_type": "qwen2", "tie_word_embeddings": True}
DEEPSEEK = {
    "model_type": "deepseek_v3", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "moe_intermediate_size": 192,
    "num_hidden_layers": 6, "first_k_dense_replace": 1, "num_attention_heads": 8, "num_key_value_heads": 8,
    "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """A model and how it is tuned."""

    about: str
    config: dict[str, Any]
    rank: int | None = None  # of LoRA; None: trained in full
    precisions: tuple[str, ...] = ()  # one table each; none: what a timed product says
    task: str = "lm"  # or "classify"
    labels: int = 0
    records: tuple[str, ...] = ("alpaca-like",)  # one table each
    count: dict[str, int] = field(
        default_factory=dict
    )  # records by their source, so that a round takes a minute or less
    batch_size: int = 8
    tokenizer: str = "base:tiny"
    device: str = "cpu"  # which it is meant for; it can be run on any

    @property
    def tuner(self) -> str:
        return f"LoRA rank {self.rank}" if self.rank else "in full"


SHAPES: dict[str, Shape] = {
    "tiny": Shape(
        "base:tiny's: Qwen2, 6 × 256, vocabulary 4,096",
        QWEN2 | {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
                 "num_attention_heads": 8, "num_key_value_heads": 4},
        rank=16, records=("headlines", "alpaca-like"), count={"headlines": 256, "alpaca-like": 128, "dense-text": 64},
    ),
    "llama-15m": Shape(
        "Llama, 6 × 288, vocabulary 32,000",
        {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 32000, "hidden_size": 288,
         "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 6},
        precisions=("float32", "bfloat16"), records=("alpaca-like", "dense-text"),
        count={"alpaca-like": 64, "dense-text": 32},
    ),
    "qwen2-0.5b": Shape(
        "Qwen2-0.5B's: 24 × 896, vocabulary 151,936",
        QWEN2 | {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
                 "num_attention_heads": 14, "num_key_value_heads": 2},
        rank=8, precisions=("bfloat16",), count={"alpaca-like": 16, "dense-text": 8},
    ),
    "deepseek-tiny": Shape(
        "DeepSeek-V3-like, 6 × 256: latent attention, 2 of 8 experts and a shared one, vocabulary 4,096",
        DEEPSEEK, precisions=("float32",), count={"alpaca-like": 64, "dense-text": 16},
    ),
    "deepseek-tiny-lora": Shape(
        "the same", DEEPSEEK, rank=8, precisions=("bfloat16",), count={"alpaca-like": 64, "dense-text": 16},
    ),
    "bert-base": Shape(
        "BERT-base: encoder, 12 × 768, vocabulary 30,522",
        {"model_type": "bert", "vocab_size": 30522, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
         "num_attention_heads": 12},
        precisions=("bfloat16",), task="classify", labels=4, records=("reviews-like",), count={"reviews-like": 64},
        batch_size=16,
    ),
}  # fmt: skip


def on_gpu(about: str, config: dict[str, Any], rank: int, count: int) -> Shape:
    """LoRA over a frozen bf16 base, 64 records a step; so many records, of long ones half."""
    return Shape(
        about, config, rank=rank, precisions=("bfloat16",), records=("alpaca-like", "dense-text"),
        count={"alpaca-like": count, "dense-text": count // 2}, batch_size=64, device="cuda",
    )  # fmt: skip


SHAPES |= {
    "qwen2-0.5b-gpu": on_gpu(SHAPES["qwen2-0.5b"].about, SHAPES["qwen2-0.5b"].config, rank=8, count=512),
    "qwen2-1.5b": on_gpu(
        "Qwen2-1.5B's: 28 × 1536, vocabulary 151,936",
        QWEN2 | {"vocab_size": 151936, "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                 "num_attention_heads": 12, "num_key_value_heads": 2},
        rank=8, count=512,
    ),
    "qwen2-7b": on_gpu(
        "Qwen2-7B's: 28 × 3584, vocabulary 152,064",
        QWEN2 | {"tie_word_embeddings": False, "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944,
                 "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
        rank=16, count=256,
    ),
    "deepseek-lite": on_gpu(
        "DeepSeek-V2-Lite's sizes in DeepSeek-V3's form, 12 of its 27 layers: 12 × 2048, latent attention, 6 of 64 experts "
        "and two shared ones, vocabulary 102,400",
        DEEPSEEK | {"tie_word_embeddings": False, "vocab_size": 102400, "hidden_size": 2048, "intermediate_size": 10944,
                    "moe_intermediate_size": 1408, "num_hidden_layers": 12, "num_attention_heads": 16,
                    "num_key_value_heads": 16, "q_lora_rank": None, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
                    "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64, "num_experts_per_tok": 6,
                    "n_shared_experts": 2},
        rank=8, count=256,
    ),
}  # fmt: skip


def has_int8() -> bool:
    """Whether this version of the package can hold a frozen base in int8."""
    try:
        return importlib.util.find_spec("seektune.models.kernels.int8") is not None
    except ModuleNotFoundError:
        return False


def bare_model(shape: Shape, precision: str, device: str = "cpu") -> Any:
    """As opened from a folder: without adapters, from torch's current seed. Drawn on its device: a CPU takes minutes over 7B."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    ends = {"num_labels": shape.labels} if shape.task == "classify" else {"eos_token_id": 2}
    limit = {"max_position_embeddings": 512 if shape.task == "classify" else 4096}
    config = AutoConfig.for_model(**shape.config, **limit, **ends, pad_token_id=0)
    auto = AutoModelForSequenceClassification if shape.task == "classify" else AutoModelForCausalLM
    with torch.device(device):
        return auto.from_config(config, dtype=getattr(torch, precision) if shape.rank else torch.float32)


def tuner_of(shape: Shape) -> Any:
    from seektune.tuners.full import Full
    from seektune.tuners.lora import LoRA

    return LoRA(rank=shape.rank, alpha=2 * shape.rank) if shape.rank else Full()


def tuned_model(shape: Shape, precision: str, device: str = "cpu") -> Any:
    """The same with the same adapters and dtypes, for contenders that are not ours."""
    from seektune.train.precision import prepare_dtypes

    model = tuner_of(shape).apply(bare_model(shape, precision, device))
    prepare_dtypes(model, precision)
    return model.to(device)
