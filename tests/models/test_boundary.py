"""The top of every architecture over recorded states gives the bits of the whole; what would make that wrong is found."""

import numpy as np
import pytest
import torch
import zoo

from seektune.contracts import Document
from seektune.data.pack import collate
from seektune.models import boundary, forward, heads, isolation, layers
from seektune.models.boundary import Boundary, Unsuitable
from seektune.tuners.freeze import Freeze
from seektune.tuners.lora import LoRA


def batches(rows="packed", lengths=(5, 23), seed=0):
    """Rows of one document each."""
    random = np.random.default_rng(seed)
    made = [Document(random.integers(10, 300, n).astype(np.int32), np.ones(n, np.float32)) for n in lengths]
    return [collate([document], packed=rows == "packed") for document in made]


def frozen(architecture, layer, **overrides):
    model = zoo.tiny(architecture, **overrides)
    rows = isolation.isolate(model).rows
    for name, at in layers.depth_of(model).items():
        model.get_parameter(name).requires_grad_(at is not None and at >= layer)
    return model.train(), rows, tuple(layers.blocks(model)[1][:layer])


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
@pytest.mark.parametrize("layer", [1, 2])
def test_the_top_gives_the_bits_of_the_whole(architecture, layer):
    model, rows, below = frozen(architecture, layer)
    assert boundary.lowest_trained(model) == layer
    proof = boundary.prove(model, batches(rows), below)
    streams = 2 if architecture == "deepseek_v4" else 1
    assert proof.bytes_per_token == 4 * 32 * streams
    for batch in batches(rows, (17,), seed=1):
        whole = forward.run(forward.backbone(model), batch)[0]
        leaves, form = boundary.record(model, batch, below)
        batch.boundary = Boundary(below, leaves, form)
        assert torch.equal(forward.run(forward.backbone(model), batch)[0], whole)
        batch.boundary = Boundary(below, tuple(leaf + 1 for leaf in leaves), form)  # the states are what is read
        assert not torch.equal(forward.run(forward.backbone(model), batch)[0], whole)


@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_the_gradient_of_the_top_has_the_bits_of_the_whole(architecture):
    model, rows, below = frozen(architecture, 2)

    def gradient(batch):
        model.zero_grad()
        losses, given = forward.token_losses(model, batch)
        (losses * given).sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    (batch,) = batches(rows, (19,))
    whole = gradient(batch)
    batch.boundary = Boundary(below, *boundary.record(model, batch, below))
    top = gradient(batch)
    assert whole
    assert whole.keys() == top.keys()
    assert all(torch.equal(whole[name], top[name]) for name in whole)


def test_layers_below_are_not_run_and_are_themselves_again():
    model, rows, below = frozen("qwen2", 2)
    (batch,) = batches(rows, (9,))
    ran = []
    for number, block in enumerate(layers.blocks(model)[1]):
        block.input_layernorm.register_forward_hook(lambda *_, number=number: ran.append(number))
    leaves, form = boundary.record(model, batch, below)
    assert ran == [0, 1]  # nothing above is run while recording
    heads.tail_of(model)  # tried once, with the whole model
    ran.clear()
    batch.boundary = Boundary(below, leaves, form)
    forward.token_losses(model, batch)
    assert ran == [2]
    assert all("forward" not in module.__dict__ for module in model.modules())


def test_a_forward_that_another_library_has_put_on_a_layer_stays():
    model, rows, below = frozen("qwen2", 1)
    calls = []
    own = below[0].forward
    below[0].forward = wrapper = lambda *a, **k: calls.append(1) or own(*a, **k)
    boundary.prove(model, batches(rows), below)
    assert below[0].forward is wrapper
    assert len(calls) == 2 * 3  # each document is recorded twice and run once as a whole


@pytest.mark.parametrize("overrides", [{"attention_dropout": 0.1}], ids=str)
def test_dropout_in_the_frozen_layers_is_found(overrides):
    model, rows, below = frozen("qwen2", 2, **overrides)
    with pytest.raises(Unsuitable, match="random while training"):
        boundary.prove(model, batches(rows), below)
    boundary.prove(model.eval(), batches(rows), below)  # none while evaluating


def test_dropout_above_the_boundary_does_no_harm():
    model = zoo.tiny("qwen2")
    model = LoRA(dropout=0.0, target_modules=["layers.2.mlp.up_proj"]).apply(model).train()
    below = tuple(layers.blocks(model)[1][: boundary.lowest_trained(model)])
    assert len(below) == 2
    boundary.prove(model, batches("packed", (5, 9)), below)


def test_something_trained_below_is_found():
    model, rows, below = frozen("qwen2", 2)
    below[0].mlp.up_proj.weight.requires_grad_(True)
    assert boundary.lowest_trained(model) == 0
    with pytest.raises(Unsuitable, match="below the boundary learns"):
        boundary.prove(model, batches(rows), below)


def test_a_way_past_the_boundary_is_found():
    """An upper layer that also reads what the lowest one computed."""
    model, rows, below = frozen("qwen2", 2)
    kept = {}
    norm, top = below[0].input_layernorm, layers.blocks(model)[1][2]
    norm.register_forward_hook(lambda module, given, output: kept.update(value=output.detach()))
    top.register_forward_hook(lambda module, given, output: output + kept.pop("value", 0))
    with pytest.raises(Unsuitable, match="see more than what the lower ones hand on"):
        boundary.prove(model, batches(rows), below)


@pytest.mark.parametrize(
    ("tuner", "lowest"),
    [
        (Freeze(layers=2), 2),
        (Freeze(layers=2, embeddings=False), -1),
        (Freeze(layers=3), 3),
        (LoRA(), 0),
        (LoRA(target_modules=r".*layers\.[12]\..*_proj"), 1),
        (LoRA(target_modules=["layers.2.self_attn.q_proj"]), 2),
        (LoRA(target_modules=["layers.2.self_attn.q_proj"], also_train=["embed_tokens"]), -1),
    ],
    ids=str,
)
def test_the_lowest_trained_layer(tuner, lowest):
    assert boundary.lowest_trained(tuner.apply(zoo.tiny("llama"))) == lowest


def test_new_tokens_are_trained_embeddings():
    from seektune.models import heads

    model = zoo.tiny("llama")
    heads.add_tokens(model, zoo.tokenizer(), ["<ticker>"])
    assert boundary.lowest_trained(LoRA(target_modules=["layers.2.self_attn.q_proj"]).apply(model)) == -1


def test_outputs_in_tuples():
    one, two = torch.ones(1, 2), torch.zeros(1, 2)
    leaves, form = boundary.taken_apart((one, None, two))
    assert form == (0, None, 1)
    back = boundary.put_together(leaves, form)
    assert back[0] is one
    assert back[1] is None
    assert back[2] is two
    with pytest.raises(Unsuitable, match="return a dict"):
        boundary.taken_apart({"hidden": one})
