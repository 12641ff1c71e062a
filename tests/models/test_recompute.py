"""Recomputed, offloaded, in pieces: the same gradients as without, and less is kept. Counted by autograd, not by a clock."""

import gc

import numpy as np
import pytest
import torch
import zoo

from seektune.contracts import Document
from seektune.models import attention, forward, isolation, pieces, recompute
from seektune.models.offload import SMALLEST, Shelf
from seektune.tuners.freeze import Freeze
from seektune.tuners.full import Full
from seektune.tuners.lora import LoRA


def documents_of(lengths):
    random = np.random.default_rng(0)
    return [
        Document(random.integers(10, 300, n).astype(np.int32), np.r_[0, np.ones(n - 1)].astype(np.float32), i)
        for i, n in enumerate(lengths)
    ]


def model_of(architecture="qwen2", tuner=None, **sizes):
    model = (tuner or Full()).apply(zoo.tiny(architecture, **sizes))
    isolation.isolate(model)
    return model.train()


def gradients(model, micro):
    """(gradient by name, bytes that autograd kept outside of hooks of its own)."""
    kept = 0

    def count(tensor):
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    model.zero_grad()
    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        losses, weights = forward.token_losses(model, micro)
        total = (losses * weights).sum()
    total.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}, kept


def micro_of(lengths=(5, 12, 30), rows="packed"):
    from seektune.data import pack

    [micro] = pack.cut(documents_of(lengths), rows=rows)
    return micro


def near(found, expected):
    return float((found - expected).detach().norm() / expected.detach().norm()) < 1e-5


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("architecture", zoo.DECODERS)
def test_every_number_of_recomputing_blocks_gives_the_same_bits(architecture):
    model = model_of(architecture)
    rows = isolation.isolate(model).rows
    micro = micro_of(rows=rows) if rows != "equal" else micro_of((9, 9), rows)
    plain, kept = gradients(model, micro)
    blocks = len(recompute.recomputable(model))
    assert blocks == model.config.get_text_config().num_hidden_layers
    for count in range(1, blocks + 1):
        assert recompute.recompute(model, count) == recompute.recomputing(model) == count
        found, less = gradients(model, micro)
        assert same(found, plain)
        assert less < kept  # each more block keeps less
        kept = less
    recompute.recompute(model, 0)
    assert recompute.recomputing(model) == 0


def test_random_draws_are_repeated():
    model = model_of(tuner=LoRA(rank=4, dropout=0.5))
    plain, _ = gradients(model, micro_of())
    recompute.recompute(model, 3)
    assert same(gradients(model, micro_of())[0], plain)


def test_frozen_blocks_keep_nothing_and_are_left_alone():
    model = model_of(tuner=Freeze(layers=2))
    assert recompute.recomputable(model) == [2]
    assert recompute.recompute(model, 3) == 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_what_is_offloaded_comes_back_with_its_bits_and_its_place_is_used_again(tmp_path, precision):
    model = model_of("llama")
    micro = micro_of((300, 400))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        recompute.recompute(model, 3)
        plain, kept = gradients(model, micro)
        shelf = Shelf(tmp_path / "folder")
        recompute.recompute(model, 3, shelf.keeping)
        found, less = gradients(model, micro)
        assert same(found, plain)
        size = micro.tokens * 32 * 4
        assert size >= SMALLEST
        assert kept - less >= 3 * size  # the boundary of each block
        assert shelf.most == 3 * size
        gc.collect()
        assert (shelf.live, shelf.end) == (0, 0)
        assert same(gradients(model, micro)[0], plain)
        assert shelf.most == 3 * size
    assert list((tmp_path / "folder").iterdir()) == []  # the file has no name: nothing is left after a kill


def test_a_shelf_keeps_types_and_shapes(tmp_path):
    shelf = Shelf(tmp_path)
    for dtype in (torch.float32, torch.bfloat16, torch.int64):
        tensor = (torch.randn(7, 50, 200) * 100).to(dtype)
        kept = shelf.put(tensor.transpose(0, 1))
        assert torch.equal(kept(), tensor.transpose(0, 1))
        assert torch.equal(kept(), tensor.transpose(0, 1))  # a graph that is kept asks twice
    small = torch.ones(3)
    assert shelf.put(small)() is small


def test_a_disk_that_is_full_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        Shelf(tmp_path).put(torch.ones(SMALLEST))


# ---- MLPs in pieces

WHOLE = {"gpt_oss", "deepseek_v4"}  # experts in every block
SOME = {"qwen3_moe": 1, "deepseek_v2": 1, "deepseek_v3": 1, "deepseek_v32": 1}  # a dense block below the experts


@pytest.mark.parametrize("architecture", zoo.ARCHITECTURES)
def test_token_wise_mlps_are_found_and_experts_are_left_alone(architecture):
    model = zoo.tiny(architecture)
    found = [name for name, _ in pieces.token_wise(model)]
    expected = 0 if architecture in WHOLE or architecture in ("bert", "roberta") else SOME.get(architecture, 3)
    assert len(found) == expected


@pytest.mark.parametrize(
    "architecture", ["qwen2", "qwen3", "llama", "mistral", "gemma2", "gemma3", "qwen3_5", "modernbert"]
)
def test_pieces_give_what_the_whole_gives(architecture):
    model = zoo.tiny(architecture)
    hidden = torch.randn(2, 37, 32)
    for _, module in pieces.token_wise(model):
        whole = module(hidden.requires_grad_())
        [expected] = torch.autograd.grad(whole.square().sum(), hidden)
        module.forward = pieces.Pieces(module.forward, 8)
        found = module(hidden)
        [gradient] = torch.autograd.grad(found.square().sum(), hidden)
        assert near(found, whole)
        assert near(gradient, expected)
        with torch.no_grad():
            assert near(module(hidden), whole)


def test_a_training_step_with_pieces_has_the_gradients_and_keeps_less():
    model = model_of("llama", intermediate_size=256)
    micro = micro_of((20, 30, 40))
    plain, kept = gradients(model, micro)
    assert len(pieces.chunk(model, 16)) == 3
    found, less = gradients(model, micro)
    assert all(near(value, plain[name]) for name, value in found.items())
    assert less < 0.6 * kept
    recompute.recompute(model, 3)  # one inside of the other
    again, _ = gradients(model, micro)
    assert all(near(value, plain[name]) for name, value in again.items())
    pieces.chunk(model, None)
    recompute.recompute(model, 0)
    assert same(gradients(model, micro)[0], plain)


def test_short_rows_are_taken_whole_to_the_same_bits():
    model = model_of("llama")
    micro = micro_of()
    plain, _ = gradients(model, micro)
    pieces.chunk(model, 1000)
    assert same(gradients(model, micro)[0], plain)


class Mixing(torch.nn.Module):
    """Looks like an MLP and mixes tokens."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(32, 32)

    def forward(self, hidden):
        return self.linear(hidden) + hidden.mean(-2, keepdim=True)


class Several(Mixing):
    def forward(self, hidden):
        return self.linear(hidden), None


@pytest.mark.parametrize("other", [Mixing(), Several()])
def test_what_mixes_tokens_or_gives_more_is_refused_by_the_proof(other):
    model = zoo.tiny("llama")
    model.model.layers[1].mlp = other
    assert [name for name, _ in pieces.token_wise(model)] == ["model.layers.0.mlp", "model.layers.2.mlp"]


def test_the_proof_leaves_modes_and_random_states():
    model = model_of(tuner=LoRA(dropout=0.5))
    modes, state = [m.training for m in model.modules()], torch.get_rng_state()
    list(pieces.token_wise(model))
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


# ---- long documents and their mask


def masks(longest):
    """(mask function, whether it is plain) of a document of this length."""
    window, chunk = longest - 1, longest // 2 + 1

    def causal(batch, head, query, key):
        return key <= query

    return [
        (causal, True),
        (lambda b, h, q, k: torch.ones_like(q >= k), True),
        (lambda b, h, q, k: (k <= q) & (k > q - window), False),
        (lambda b, h, q, k: (k <= q) & (k // chunk == q // chunk), False),
        (lambda b, h, q, k: (k <= q) | (k < 6), False),
        (lambda b, h, q, k: (q - k).abs() < window, False),
    ]


@pytest.mark.parametrize("longest", [40, attention.ASKED, attention.ASKED + 1, 6000])
def test_masks_that_are_more_than_causal_are_seen_whatever_the_length(longest):
    for function, plain in masks(longest):
        assert attention.plain_inside(function, (3, longest), torch.device("cpu")) is plain


def test_the_look_at_the_mask_of_a_long_document_stays_small():
    asked = []

    def causal(batch, head, query, key):
        asked.append(query.numel() * key.numel())
        return key <= query

    assert attention.plain_inside(causal, (100_000,), torch.device("cpu"))
    assert max(asked) <= attention.ASKED * 100_000
