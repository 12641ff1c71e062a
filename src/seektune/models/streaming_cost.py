"""The arithmetic of layer streaming from a config alone: bytes of a layer, traffic and seconds of a step, memory of the device.

Nothing is opened and nothing is timed: what a base of any size would need on a device that may not be here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LINKS = {"PCIe 5": 50e9, "PCIe 4": 25e9, "NVMe": 7e9}  # bytes a second that arrive in practice, about
SLOTS = 2  # layers on the device at once
SPARE = 1 << 30  # bytes: context, kernels and workspaces of a GPU
KEPT = 2.0  # of what a layer's products give (in and out), what autograd keeps of one chunk, gradients of it included


@dataclass(frozen=True)
class Shape:
    """A decoder of equal layers, with a gated MLP and grouped keys."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    head: int  # width of one head
    tied: bool = False

    @classmethod
    def of(cls, config: Any) -> Shape:
        """From a config of transformers."""
        text = config.get_text_config()
        heads = text.num_attention_heads
        return cls(
            text.hidden_size,
            text.num_hidden_layers,
            heads,
            getattr(text, "num_key_value_heads", None) or heads,
            text.intermediate_size,
            text.vocab_size,
            getattr(text, "head_dim", None) or text.hidden_size // heads,
            bool(getattr(text, "tie_word_embeddings", False)),
        )

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(out, in) of a layer's linear layers."""
        wide, narrow = self.heads * self.head, self.kv_heads * self.head
        return {
            "q_proj": (wide, self.hidden),
            "k_proj": (narrow, self.hidden),
            "v_proj": (narrow, self.hidden),
            "o_proj": (self.hidden, wide),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
        }

    @property
    def layer_elements(self) -> int:
        """With the two norms."""
        return sum(out * into for out, into in self.matrices.values()) + 2 * self.hidden

    def adapter_elements(self, rank: int) -> int:
        """Of LoRA on all linear layers of all layers."""
        return self.layers * sum(rank * (out + into) for out, into in self.matrices.values())


LLAMA_70B = Shape(8192, 80, 64, 8, 28672, 128256, 128)  # Llama-3.3-70B, DeepSeek-R1-Distill-Llama-70B


@dataclass(frozen=True)
class Device:
    """What a device holds and does, and how fast weights reach it."""

    memory: int  # bytes
    flops: float  # a second that are reached in the arithmetic
    links: Mapping[str, float] = field(default_factory=lambda: dict(LINKS))


GPU_16G = Device(16 << 30, 60e12)


@dataclass(frozen=True)
class Streaming:
    """A step of LoRA on a streamed base. Bytes and seconds."""

    layer_bytes: int
    frozen_bytes: int  # of all layers
    traffic_bytes: int  # a step: every layer comes once forward and once backward
    adapter_parameters: int
    transfer_seconds: dict[str, float]  # a step, by link
    compute_seconds: float  # a step: forward twice, and the gradient of activations
    memory: dict[str, int]  # of the device, by part
    host_bytes: int  # of the CPU: pinned slots, inputs of the layers
    device: Device

    @property
    def peak_bytes(self) -> int:
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        return self.peak_bytes <= self.device.memory

    def step_seconds(self, link: str) -> float:
        """Transfer and computation run beside each other; the longer one counts."""
        return max(self.transfer_seconds[link], self.compute_seconds)


def streaming_arithmetic(
    shape: Shape,
    device: Device = GPU_16G,
    *,
    tokens: int = 8192,
    chunk: int = 1024,
    rank: int = 16,
    learnt: int = 1024,
    width: int = 2,
) -> Streaming:
    """`tokens` of a step, `chunk` of them in a layer at once, `learnt` logits at once; `width`: bytes of a frozen number.

    Left out, being small: the attention's pairs in the FLOPs, and cos, sin and masks in the memory.
    """
    layer, adapter = shape.layer_elements * width, shape.adapter_elements(rank)
    ends = shape.vocab * shape.hidden * (1 if shape.tied else 2) + shape.hidden
    flow = sum(out + into for out, into in shape.matrices.values())
    frozen = layer * shape.layers
    memory = {
        "two layers": SLOTS * layer,
        "embedding, norm, head": ends * width,
        "adapter": 4 * adapter,
        "gradients": 4 * adapter,
        "optimizer": 8 * adapter,
        "hidden states and their gradient": 4 * tokens * shape.hidden * width,  # in and out of a layer, both ways
        "one chunk in one layer": int(KEPT * chunk * flow * width),
        "logits": 3 * 4 * learnt * shape.vocab,
        "spare": SPARE,
    }
    flops = tokens * (6 * shape.layer_elements * shape.layers) + learnt_flops(shape, tokens)
    return Streaming(
        layer_bytes=layer,
        frozen_bytes=frozen,
        traffic_bytes=2 * frozen,
        adapter_parameters=adapter,
        transfer_seconds={name: 2 * frozen / speed for name, speed in device.links.items()},
        compute_seconds=flops / device.flops,
        memory=memory,
        host_bytes=SLOTS * layer + shape.layers * tokens * shape.hidden * width,
        device=device,
    )


def told(traffic_bytes: int) -> str:
    """Seconds that weights are on their way in one step, by link."""
    return ", ".join(f"{traffic_bytes / speed:.3g} s a step over {name}" for name, speed in LINKS.items())


def learnt_flops(shape: Shape, tokens: int) -> float:
    """Of the head, forward and back to the hidden states, as if every token were learnt."""
    return 4.0 * tokens * shape.vocab * shape.hidden
