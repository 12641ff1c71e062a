"""Tiny random models of the real architectures, in which everything that is special about each binds within 24 tokens.

Windows are 4 to 8 tokens wide, sparse top-k keeps 4, compression closes a block every 2 or 4 tokens; sinks, biases, norms
and routers are far from their neutral initial values, so that leaving one of them out changes the logits visibly.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

VOCAB = 320  # 256 bytes, 8 special tokens, 40 merges, 16 rows that no token uses (as real models have)
SPECIAL = ["<|endoftext|>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>", "<tool>", "<think>"]
PAD, BOS, EOS = 0, 1, 2
ENCODERS = ("bert", "roberta", "modernbert")

SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}
GROUPED = {"num_key_value_heads": 2}
WINDOWED = ["sliding_attention", "full_attention", "sliding_attention"]
MLA = {
    "q_lora_rank": 12,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "num_key_value_heads": 4,
}
MOE = {"moe_intermediate_size": 24, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
MOE |= {"n_group": 2, "topk_group": 1, "first_k_dense_replace": 1}
INDEXER = {"index_topk": 4, "index_head_dim": 8, "index_n_heads": 2}

CONFIGS: dict[str, dict[str, Any]] = {  # name -> what differs from SIZES; "model_type" where the name is another one
    "qwen2": GROUPED | {"tie_word_embeddings": True},
    "qwen3": GROUPED
    | {
        "head_dim": 8,
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": WINDOWED,
        "tie_word_embeddings": True,
    },
    "qwen3_moe": GROUPED
    | {"head_dim": 8, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [0]},
    "qwen3_5": GROUPED
    | {
        "model_type": "qwen3_5_text",
        "head_dim": 8,
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "llama": GROUPED,
    "mistral": GROUPED | {"head_dim": 8, "sliding_window": 6},
    "gemma2": GROUPED
    | {
        "head_dim": 8,
        "sliding_window": 6,
        "query_pre_attn_scalar": 8,
        "attn_implementation": "eager",  # transformers before 5.21 takes sdpa, which leaves the cap out
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
        "layer_types": WINDOWED,
    },
    "gemma3": GROUPED
    | {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "sliding_window": 6,
        "query_pre_attn_scalar": 8,
        "layer_types": WINDOWED,
    },
    "gpt_oss": GROUPED
    | {
        "head_dim": 8,
        "sliding_window": 6,
        "layer_types": WINDOWED,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e4,
            "factor": 4.0,
            "original_max_position_embeddings": 128,
        },
    },
    "deepseek_v2": MLA | MOE | {"topk_method": "group_limited_greedy", "routed_scaling_factor": 1.5},
    "deepseek_v3": MLA | MOE | {"num_mtp_layers": 0},
    "deepseek_v32": MLA | MOE | INDEXER,
    "deepseek_v4": INDEXER
    | {
        "num_hidden_layers": 4,
        "moe_intermediate_size": 24,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "partial_rotary_factor": 0.25,
        "q_lora_rank": 12,
        "o_groups": 2,
        "o_lora_rank": 8,
        "sliding_window": 6,
        "hc_mult": 2,
        "hc_sinkhorn_iters": 4,
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
        "layer_types": [
            "sliding_attention",
            "heavily_compressed_attention",
            "compressed_sparse_attention",
            "compressed_sparse_attention",
        ],
        "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
    },
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
    "roberta": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "type_vocab_size": 1},
    "modernbert": {"local_attention": 8, "cls_token_id": BOS, "sep_token_id": EOS},
}
LLAMA_70B: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "dtype": "bfloat16",
}  # a config to plan for: never made
ARCHITECTURES = list(CONFIGS)
DECODERS = [name for name in ARCHITECTURES if name not in ENCODERS]
CLASSIFIERS = [
    name for name in ARCHITECTURES if name not in ("deepseek_v32", "deepseek_v4")
]  # these have no such class in transformers


def since(version: str, why: str) -> pytest.MarkDecorator:
    """Skips, with the reason, where transformers is older than the `version` that first does what the test looks at."""
    installed = metadata.version("transformers")
    reason = f"transformers {installed} is older than {version}: {why}"
    return pytest.mark.skipif(Version(installed) < Version(version), reason=reason)


def config_of(architecture: str, **overrides: Any) -> Any:
    from transformers import AutoConfig

    values = SIZES | CONFIGS[architecture] | overrides
    model_type = values.pop("model_type", architecture)
    if model_type == "deepseek_v4":
        del values["intermediate_size"]  # an alias of moe_intermediate_size there
    return AutoConfig.for_model(model_type, **values)


def tiny(architecture: str, seed: int = 0, *, head: str | None = None, **overrides: Any) -> torch.nn.Module:
    """A model in fp32 and evaluation mode. `head`: "lm" (of decoders), "classifier" (of encoders; three classes), "mlm"."""
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForMaskedLM,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
    )

    head = head or ("classifier" if architecture in ENCODERS else "lm")
    kinds = {"lm": AutoModelForCausalLM, "classifier": AutoModelForSequenceClassification, "mlm": AutoModelForMaskedLM,
             "tagger": AutoModelForTokenClassification}  # fmt: skip
    if head in ("classifier", "tagger"):
        overrides = {"num_labels": 3} | overrides
    config = config_of(architecture, **overrides)
    config.architectures = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kinds[head].from_config(config, dtype=torch.float32)
        randomise(model, seed)
    return model.eval()


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough that attention and routing are far from uniform; deterministic, in the order of names."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim >= 2:
                parameter.copy_(noise * (0.5 if "embed" in name else 1.5 / parameter.shape[-1] ** 0.5))
            elif "norm" in name.lower() and name.endswith("weight"):
                parameter.copy_(parameter + 0.2 * noise)
            elif name.endswith(("A_log", "dt_bias")):  # rates of linear attention: keep their range
                parameter.add_(0.1 * noise)
            else:
                parameter.copy_(0.5 * noise)
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith("tid2eid"):  # the fixed token -> experts table of DeepSeek V4's first layers
                experts = [torch.randperm(4, generator=generator)[: buffer.shape[1]] for _ in range(buffer.shape[0])]
                buffer.copy_(torch.stack(experts))
            elif name.endswith("e_score_correction_bias"):
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))


def ids(rows: int = 1, time: int = 24, seed: int = 0) -> torch.Tensor:
    """Random token ids (rows, time), no special tokens among them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(len(SPECIAL), VOCAB - 16, (rows, time), generator=generator)


TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<' + m['role'] + '>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<eos>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
TEXT = [
    "The company reported a profit of three million dollars in the second quarter.",
    "What is the name of the person who lives in the town near the river?",
    "公司在第二季度报告了三百万美元的利润。住在河边小镇的人叫什么名字？",
    '{"company": "Northwind", "amount": 42, "currency": "EUR", "direction": "up"}',
]


def tokenizer(encoder: bool = False) -> Any:
    """A byte-level BPE trained on the spot; with a chat template for decoders, with <bos> text <eos> for encoders.

    It cuts text as Qwen2's does: transformers imposes that on every folder of a Qwen2 model, whatever tokenizer.json says.
    """
    from tokenizers import pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

    fast = Qwen2Tokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - 16,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    fast.train_from_iterator(TEXT, trainer)
    if encoder:
        fast.post_processor = processors.TemplateProcessing(
            single="<bos> $A <eos>", pair="<bos> $A <eos> $B:1 <eos>:1", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
        )
    special = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": SPECIAL[PAD]}
    special |= {"cls_token": "<bos>", "sep_token": "<eos>"} if encoder else {}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=fast, **special)
    if not encoder:
        wrapped.chat_template = TEMPLATE
    return wrapped


def tiny_folder(path: Path, architecture: str = "qwen2", seed: int = 0, **overrides: Any) -> Path:
    """A model folder as `save_pretrained` writes it: config, weights, tokenizer with chat template, generation config."""
    tiny(architecture, seed, **overrides).save_pretrained(path)
    tokenizer(architecture in ENCODERS).save_pretrained(path)
    return path
