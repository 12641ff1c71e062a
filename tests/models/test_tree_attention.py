"""Shared prefixes against each document alone: same losses, log-probs and gradients, for every architecture that is packed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_forward import DECODERS, ENCODERS, LEAKING, gradients
from train import harness
from zoo import CLASSIFIERS, tiny

from seektune.contracts import Document, Loss
from seektune.data import trees
from seektune.data.pack import collate
from seektune.models import attention, forward, isolation
from seektune.models.trees import Trees
from seektune.train.options import Train
from seektune.train.trainer import Layout
from seektune.tuners.lora import LoRA

PACKED = [name for name in DECODERS if name not in LEAKING]
PAIRS = [(13, (9, 5)), (1, (3, 7)), (0, (4, 6)), (21, (30, 2)), (13, (6, 6))]  # (prefix, what follows in each)
FOURS = [(12, (9, 1, 14, 5)), (0, (3, 8, 2, 2)), (30, (7, 7, 8, 19))]
BINDING = ["qwen3", "mistral", "gemma2", "gpt_oss"]  # windows of 6 positions; soft cap; sinks


PAYS = trees.SHORTEST


@pytest.fixture(autouse=True)
def any_prefix(monkeypatch):
    monkeypatch.setattr(trees, "SHORTEST", 1)


def units(shapes, seed=0, learnt=0.5) -> list[Document]:
    """Documents that share exactly the prefix given, some of its tokens learnt, by one document more than by another."""
    random, made = np.random.default_rng(seed), []
    for record, (prefix, rest) in enumerate(shapes):
        first = random.integers(20, 300, prefix)
        for i, length in enumerate(rest):
            ids = np.r_[first, 10 + i, random.integers(20, 300, length - 1)].astype(np.int32)
            weights = (random.random(len(ids)) < learnt) * random.choice([1.0, 2.0], len(ids))
            weights[0], weights[prefix] = 0, 1 if prefix else 0
            made.append(Document(ids, weights.astype(np.float32), record))
    return made


def identical(count: int, length: int = 11) -> list[Document]:
    (one,) = units([(0, (length,))], seed=9, learnt=1.0)
    return [Document(one.ids.copy(), one.weights.copy(), 99) for _ in range(count)]


def compare(model: torch.nn.Module, documents: list[Document], unit: int, shared: bool = True) -> None:
    batch = collate(documents, share=unit)
    assert bool(batch.trees) == shared
    expected = forward.reference_losses(model, batch)
    reference = gradients(model, *expected)
    losses, weights = forward.token_losses(model, batch)
    torch.testing.assert_close(losses, expected[0], rtol=1e-5, atol=1e-5)
    assert torch.equal(weights, expected[1])
    found = gradients(model, losses, weights)
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    assert float((found[1] - reference[1]).norm()) <= 1e-5 * float(reference[1].norm())


def model_of(architecture: str) -> torch.nn.Module:
    model = tiny(architecture)
    assert isolation.isolate(model).packed
    return model.train()


@pytest.mark.parametrize("architecture", PACKED)
def test_pairs_and_groups_equal_each_document_alone(architecture):
    model = model_of(architecture)
    compare(model, units(PAIRS) + identical(2), 2)
    compare(model, units(FOURS) + identical(4), 4)


@pytest.mark.parametrize("architecture", PACKED)
def test_under_lora_too(architecture):
    model = LoRA(rank=4, alpha=8).apply(tiny(architecture))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(1)).mul_(0.1)
    assert isolation.isolate(model).packed
    compare(model.train(), units(PAIRS), 2)


@pytest.mark.parametrize("architecture", BINDING)
def test_windows_bind_across_the_end_of_the_prefix(architecture):
    """The model's own window, from the hidden states of each document alone; and that it would be seen if it did not bind."""
    model = model_of(architecture)
    compare(model, units([(20, (1, 12)), (3, (2, 9))]), 2)
    batch = collate(units([(20, (1, 12))]), share=2)
    with torch.no_grad():
        binding = forward.token_losses(model, batch)[0]
        wide = tiny(architecture, sliding_window=500)
        isolation.isolate(wide)
        assert float((forward.token_losses(wide, batch)[0] - binding).abs().max()) > 1e-2


def test_a_window_counts_positions():
    """The dense mask against one made document by document."""
    from transformers.masking_utils import sliding_window_causal_mask_function

    batch = collate(units(PAIRS), share=2)
    with attention.laid_out(batch.lengths, batch.segments, Trees.of(batch)):
        time = batch.ids.shape[1]
        function = sliding_window_causal_mask_function(6)
        found = attention.document_mask(1, time, time, function, attention_mask=torch.ones(1, time, dtype=torch.bool))
    expected = torch.zeros(time, time, dtype=torch.bool)
    for place in map(torch.from_numpy, trees.places(batch.lengths, batch.trees)):
        steps = torch.arange(len(place))
        expected[place[:, None], place[None, :]] |= (steps[:, None] >= steps) & (steps[:, None] - steps < 6)
    assert torch.equal(found[0, 0], expected)


shapes = st.lists(
    st.tuples(st.integers(0, 25), st.lists(st.integers(1, 20), min_size=3, max_size=3)), min_size=1, max_size=4
)
MODELS: dict[str, torch.nn.Module] = {}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(["llama", "gpt_oss", "gemma2", "deepseek_v3"]), shapes, st.integers(0, 1000))
def test_any_trees_equal_their_documents_alone(architecture, drawn, seed):
    model = MODELS.setdefault(architecture, model_of(architecture))
    compare(model, units(drawn, seed), 3, shared=any(prefix for prefix, _ in drawn))


def test_log_probs_know_their_document():
    model = model_of("qwen2")
    batch = collate(units(FOURS, learnt=0.8), share=4)
    log_probs, owner = forward.token_log_probs(model, batch)
    for i, document in enumerate(batch.documents):
        alone, _ = forward.reference_losses(model, collate([document]))
        assert len(alone) == int((document.weights != 0).sum())
        torch.testing.assert_close(-log_probs[owner == i], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", [name for name in PACKED if name in CLASSIFIERS])
def test_scores_of_answers_are_read_where_each_ends(architecture):
    model = tiny(architecture, head="classifier")
    assert isolation.isolate(model).packed
    batch = collate(units(FOURS), share=4)
    with torch.no_grad():
        found = forward.class_logits(model, batch)
        alone = torch.cat([forward.class_logits(model, collate([d])) for d in batch.documents])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-5)


def test_recomputed_activations_give_the_same_gradient():
    model = model_of("qwen2")
    batch = collate(units(PAIRS), share=2)
    kept = gradients(model, *forward.token_losses(model, batch))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = gradients(model, *forward.token_losses(model, batch))
    torch.testing.assert_close(again[1], kept[1], rtol=1e-6, atol=1e-7)


def test_what_is_run_next_does_not_meet_the_trees():
    model = model_of("qwen2")
    made = units(PAIRS)
    apart = collate(made)
    with torch.no_grad():
        before = forward.token_losses(model, apart)[0]
        forward.token_losses(model, collate(made, share=2))
        assert torch.equal(forward.token_losses(model, apart)[0], before)
        forward.token_losses(model, collate(made, share=2))
        assert torch.isfinite(forward.token_losses(model, collate(made, packed=False))[0]).all()


@pytest.mark.parametrize("lengths", [(7, 4), (200, 100), (60, 300)])
def test_the_short_way_of_half_precision_is_as_near_as_the_fused_one(lengths):
    keys, own = sum(lengths), lengths[1]
    random = torch.Generator().manual_seed(0)
    query = torch.randn(2, 3, own, 8, generator=random)
    key, value = (torch.randn(2, 3, keys, 8, generator=random) for _ in range(2))
    mask = torch.ones(own, keys, dtype=torch.bool).tril(lengths[0])
    exact = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    half = (x.bfloat16() for x in (query, key, value))
    found = attention._attend(*half, mask, False, 0.0, None, {})
    assert found.dtype == torch.bfloat16
    assert float((found.float() - exact).abs().max()) < 3e-2


# ---- the proof ----


@pytest.mark.parametrize("architecture", DECODERS + sorted(ENCODERS))
def test_the_probe_finds_which_models_may_share(architecture, monkeypatch):
    monkeypatch.setattr(trees, "SHORTEST", PAYS)
    verdict = isolation.isolate(tiny(architecture), share=True)
    assert verdict.shares == (architecture in PACKED), verdict
    assert verdict.against or verdict.shares


def test_sharing_is_proved_only_where_it_is_asked_for():
    assert not isolation.isolate(tiny("qwen2")).shares


def test_a_branch_that_misses_its_prefix_is_seen_by_the_probe(monkeypatch):
    sighted = Trees.attend

    def attend(self, query, key, value, one):
        return sighted(self, query, key, value, lambda q, k, v, mask: one(q, k, v, mask.tril()))

    monkeypatch.setattr(Trees, "attend", attend)
    monkeypatch.setattr(trees, "SHORTEST", PAYS)
    verdict = isolation.isolate(tiny("llama"), share=True)
    assert verdict.packed
    assert verdict.against == "a shared prefix changes what its documents get"


def test_a_model_that_looks_ahead_shares_nothing():
    model = tiny("llama")
    isolation.isolate(model)
    for layer in model.model.layers:
        layer.self_attn.is_causal = False
    with pytest.raises(ValueError, match="causal"):
        forward.run(model, collate(units(PAIRS), share=2))


# ---- in the loop ----


class Pairs:
    """The least objective that has a unit: the sum of -log p."""

    unit, head = 2, "lm"

    def loss(self, model, batch):
        losses, weights = forward.token_losses(model, batch)
        return Loss((losses * weights).sum(), float(weights.sum()), {"row": (batch.ids.numel(), 1.0)})


def test_the_loop_trains_alike_with_and_without(tmp_path):
    documents = [d for i in range(6) for d in units([(17, (5, 9))], seed=i, learnt=0.3)]
    for i, document in enumerate(documents):
        document.record = i // 2
    trained, rows, losses = [], [], []
    for share in (False, True):
        made = harness.trainer(
            tmp_path, name=f"share-{share}", objective=Pairs(), documents=documents, valid=documents[:4],
            options=Train(steps=3, batch_size=2, validate_every=2), layout=Layout("packed", share=share),
        )  # fmt: skip
        made.fit()
        trained.append(harness.weights(made.model))
        lines = made.run.metrics()
        rows.append([line["row"] for line in lines])
        losses.append([line["loss"] for line in lines])
    assert rows[0] == [2 * 48] * len(rows[0])
    assert rows[1] == [2 * 31] * len(rows[1])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert float((trained[1] - trained[0]).norm() / trained[0].norm()) < 1e-5
