from __future__ import annotations

import pytest
import torch
import zoo

from seektune.errors import ModelError, RecipeError
from seektune.tuners.freeze import Freeze


def frozen(model: torch.nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize(
    ("layers", "expected"), [(0, 0), (1, 1), (3, 3), (0.0, 0), (0.3, 1), (0.5, 2), (0.99, 3), (1.0, 1), (2.0, 2)]
)
def test_number_or_share_of_three_layers(layers: float, expected: int) -> None:
    model = Freeze(layers=layers).apply(zoo.tiny("llama"))
    lowest = {f"model.layers.{i}." for i in range(expected)}
    names = {name for name, _ in model.named_parameters()}
    assert frozen(model) == {n for n in names if n.startswith(tuple(lowest))} | {"model.embed_tokens.weight"}


def test_what_is_neither_is_refused() -> None:
    from seektune import kinds

    for layers in (1.5, -1, -0.5):
        with pytest.raises(RecipeError, match="a whole number, or a share below 1"):
            kinds.build("tuner", {"kind": "freeze", "layers": layers})
    assert kinds.build("tuner", {"kind": "freeze", "layers": 0.25}) == Freeze(layers=0.25)


def test_embeddings_may_learn() -> None:
    assert frozen(Freeze(layers=0, embeddings=False).apply(zoo.tiny("llama"))) == set()
    tied = zoo.tiny("qwen2")
    assert frozen(Freeze(layers=0).apply(tied)) == {"model.embed_tokens.weight"}
    assert not tied.get_output_embeddings().weight.requires_grad


def test_classifier_keeps_its_head() -> None:
    model = Freeze(layers=3).apply(zoo.tiny("bert"))
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learns == {"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}


def test_more_layers_than_there_are() -> None:
    with pytest.raises(ModelError, match=r"tuner\.layers: found 4; expected at most 3, the layers of this model"):
        Freeze(layers=4).apply(zoo.tiny("llama"))


@pytest.mark.parametrize("architecture", ["llama", "deepseek_v4", "bert"])
def test_frozen_bytes_stay(architecture: str) -> None:
    """Steps with momentum and weight decay over all that learns; what is frozen keeps every bit."""
    model = Freeze(layers=2).apply(zoo.tiny(architecture)).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for seed in range(2):
        optimizer.zero_grad()
        model(input_ids=zoo.ids(1, 24, seed)).logits.logsumexp(-1).sum().backward()
        optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    learns = {name for name, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    assert changed == learns
    assert changed
    assert not changed & frozen(model)
