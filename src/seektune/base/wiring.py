"""The start of pretraining: random weights, and a copying circuit wired by hand into the first layers.

What a small model needs most, and learns last, is to look up what followed the present token before (an induction head,
Olsson et al. 2022, arXiv:2209.11895). Left to itself it had not appeared after 4 million tokens; wired in, it is there from
the first step, and training only has to make use of it. The parts, for embeddings that fill the lower half of the width:

layer 0   two heads look one token back, by position alone (query and key biases under RoPE, weights zero), and copy that
          token's embedding into the upper half
layer 1   all heads compare the present token (lower half) with the token before each earlier one (upper half), in the
          dimensions that RoPE hardly turns, and copy the embedding found to the output
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LOOKUP_LAYERS = (1,)
SLOW = 0.02  # radians a token: dimensions that turn more slowly compare contents, the quickest ones compare positions
QUICK = 5  # frequencies that tell positions apart
POSITION_GAIN = 10.0  # amplitude of each in the scores
MATCH_GAIN = 12.0  # score of equal tokens above that of unequal ones
COPY_GAIN = 5.0
EMBEDDING_STD = 0.08


def wire(model: Any, seed: int = 17) -> None:
    """Write the circuit into a fresh Qwen2 with as many key as query heads. In place; all else stays random."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    config = model.config
    width, dim = config.hidden_size, config.hidden_size // config.num_attention_heads
    assert config.num_key_value_heads == config.num_attention_heads and width // 2 == 2 * dim
    frequencies = config.rope_parameters["rope_theta"] ** (-torch.arange(dim // 2) * 2 / dim)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding.normal_(0, EMBEDDING_STD, generator=generator)
        embedding[:, width // 2 :] = 0
        _look_back(model.model.layers[0].self_attn, dim, width, frequencies)
        for layer in LOOKUP_LAYERS:
            _look_up(model.model.layers[layer].self_attn, dim, width, frequencies, generator)


def _look_back(attention: Any, dim: int, width: int, frequencies: torch.Tensor) -> None:
    """Heads 0 and 1: attend to the token before; head h carries dimensions h * dim ... of the lower half to the upper half."""
    import torch

    amplitude = (POSITION_GAIN * dim**0.5) ** 0.5
    for head in (0, 1):
        rows = slice(head * dim, (head + 1) * dim)
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[rows] = 0
            projection.bias[rows] = 0
        first, second = head * dim, head * dim + dim // 2  # RoPE turns dimension j against dimension j + dim / 2
        for j in range(QUICK):
            attention.k_proj.bias[first + j] = amplitude
            attention.q_proj.bias[first + j] = amplitude * torch.cos(frequencies[j])
            attention.q_proj.bias[second + j] = -amplitude * torch.sin(frequencies[j])  # turned back by one token
        attention.v_proj.weight[rows] = 0
        attention.v_proj.weight[rows, rows] = torch.eye(dim)
        attention.o_proj.weight[:, rows] = 0
        upper = slice(width // 2 + head * dim, width // 2 + (head + 1) * dim)
        attention.o_proj.weight[upper, rows] = torch.eye(dim) * EMBEDDING_STD / 2**0.5


def _look_up(attention: Any, dim: int, width: int, frequencies: torch.Tensor, generator: torch.Generator) -> None:
    """Each head compares another random projection of both halves; value and output carry one quarter of the lower half each."""
    import torch

    half = width // 2
    slow = [j + part for part in (0, dim // 2) for j in range(dim // 2) if frequencies[j] < SLOW]
    heads = width // dim
    for head in range(heads):
        rows = head * dim
        for projection in (attention.q_proj, attention.k_proj):
            projection.weight[rows : rows + dim] = 0
        chosen, _ = torch.linalg.qr(torch.randn(half, len(slow), generator=generator))
        scale = (MATCH_GAIN * dim**0.5 / len(slow)) ** 0.5
        for i, j in enumerate(slow):
            attention.q_proj.weight[rows + j, :half] = chosen[:, i] * scale
            attention.k_proj.weight[rows + j, half:] = chosen[:, i] * scale
        part = half // heads
        attention.v_proj.weight[rows : rows + dim] = 0
        attention.v_proj.weight[rows : rows + part, head * part : (head + 1) * part] = torch.eye(part)
        attention.o_proj.weight[:, rows : rows + dim] = 0
        attention.o_proj.weight[head * part : (head + 1) * part, rows : rows + part] = (
            torch.eye(part) * COPY_GAIN * EMBEDDING_STD
        )
