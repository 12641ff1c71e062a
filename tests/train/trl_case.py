"""The case on which our losses and TRL's are compared: model, adapters and token sequences by integer arithmetic.

Nothing is drawn from a library's generator, so that every machine and every version begins with the same numbers.
`bench/trl_losses.py` trains it with TRL and stores the losses; `test_equals_trl.py` trains it with our loop.
"""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
import torch

STEPS, BATCH = 20, 8
VOCABULARY, PAD = 211, 0
LORA = {"rank": 8, "alpha": 16}
RATES = {"lora": 1e-2, "full": 2e-3}
DECAY = 0.05  # large enough that decaying a bias or a norm would show
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "attention_dropout": 0.0,
}
TIED = {"qwen2": True, "llama": False}
SERIES = [(architecture, tuner) for architecture in TIED for tuner in RATES]


def uniform(name: str, count: int) -> np.ndarray:
    """(count,) float64 in [0, 1): the generator SplitMix64 (Steele, Lea & Flood 2014), started from the name."""
    with np.errstate(over="ignore"):
        z = np.uint64(crc32(name.encode())) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) * 2.0**-53


def model(architecture: str) -> torch.nn.Module:
    """A small causal model in float32 whose weights follow from their names."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, **SHAPE, tie_word_embeddings=TIED[architecture])
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    fill(made)
    return made


@torch.no_grad()
def fill(model: torch.nn.Module, only: str = "") -> None:
    """Matrices uniform with the deviation 1 / sqrt(inputs), vectors near what they are; LoRA's B stays zero."""
    for name, parameter in model.named_parameters():
        if only not in name or "lora_B" in name:
            continue
        values = (uniform(name, parameter.numel()).reshape(parameter.shape) - 0.5) * 12**0.5  # deviation 1
        scale = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.2
        start = parameter.double().numpy() if parameter.ndim == 1 else 0.0
        parameter.copy_(torch.from_numpy(start + values * scale).float())


def sequences() -> list[tuple[list[int], int]]:
    """(token ids, how many of the first are not learnt) of STEPS × BATCH records: short and long answers, one token too."""
    made = []
    for i in range(STEPS * BATCH):
        length = 4 + int(45 * uniform(f"length {i}", 1)[0] ** 2)
        prompt = 1 + int((length - 1) * uniform(f"prompt {i}", 1)[0])
        start, noise = int(24 * uniform(f"start {i}", 1)[0]), (uniform(f"noise {i}", length) * 3).astype(int)
        ids = 3 + (start + 5 * np.arange(length) + noise) % 24  # few tokens in half an order: losses fall fast
        made.append((ids.tolist(), prompt))
    return made
