"""The one forward against the plain reference, for every architecture: same loss, same gradients, packed or padded."""

import numpy as np
import pytest
import torch
from zoo import ARCHITECTURES, tiny

from seektune.contracts import Document
from seektune.data.pack import collate, cut
from seektune.models import attention, forward, isolation
from seektune.objectives.classify import Classify

ENCODERS = {"bert", "roberta", "modernbert"}
DECODERS = [name for name in ARCHITECTURES if name not in ENCODERS]
LEAKING = {"qwen3_5", "deepseek_v32", "deepseek_v4"}  # what cannot be isolated runs one document a row
SPARSE = {"deepseek_v32", "deepseek_v4"}  # ties in the sparse index fall differently in a longer row


def documents(vocabulary: int, lengths=(5, 23, 11, 23, 31, 2, 40), seed=0) -> list[Document]:
    random = np.random.default_rng(seed)
    found = []
    for i, length in enumerate(lengths):
        weights = (random.random(length) < 0.4).astype(np.float32) * random.choice([1.0, 2.0], length).astype(
            np.float32
        )
        weights[0] = 0
        weights[-1] = 1
        found.append(Document(random.integers(10, vocabulary, length).astype(np.int32), weights, i))
    return found


def model_of(architecture: str) -> torch.nn.Module:
    model = tiny(architecture)
    isolation.isolate(model)
    return model.train()


def gradients(model: torch.nn.Module, losses: torch.Tensor, weights: torch.Tensor) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = (losses * weights).sum()
    total.backward()
    return total.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("architecture", DECODERS)
def test_padded_rows_equal_each_document_alone(architecture):
    model = model_of(architecture)
    made = documents(model.config.get_text_config().vocab_size)
    reference = gradients(model, *forward.reference_losses(model, collate(made)))
    rows = "equal" if architecture in SPARSE else "padded"
    parts = [forward.token_losses(model, batch) for batch in cut(made, rows=rows)]
    found = gradients(model, torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts]))
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    torch.testing.assert_close(found[1], reference[1], rtol=1e-4, atol=2e-5 * float(reference[1].abs().max()))


@pytest.mark.parametrize("architecture", [name for name in DECODERS if name not in LEAKING])
def test_packed_rows_equal_each_document_alone(architecture):
    model = model_of(architecture)
    made = documents(model.config.get_text_config().vocab_size)
    reference = gradients(model, *forward.reference_losses(model, collate(made)))
    found = gradients(model, *forward.token_losses(model, collate(made, packed=True)))
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    torch.testing.assert_close(found[1], reference[1], rtol=1e-4, atol=2e-5 * float(reference[1].abs().max()))


@pytest.mark.parametrize("architecture", sorted(ENCODERS))
def test_encoders_classify_packed_documents_as_each_alone(architecture):
    model = tiny(architecture)
    assert isolation.isolate(model).rows == "packed"
    made = documents(model.config.vocab_size)
    for number, document in enumerate(made):
        document.label = number % 2
    alone, packed = (
        [Classify().loss(model, batch).total for batch in batches]
        for batches in ([collate([d], packed=False) for d in made], [collate(made, packed=True)])
    )
    reference, found = (gradients(model, torch.stack(losses), torch.ones(len(losses))) for losses in (alone, packed))
    assert found[0] == pytest.approx(reference[0], rel=1e-5)
    torch.testing.assert_close(found[1], reference[1], rtol=1e-4, atol=2e-5 * float(reference[1].abs().max()))


def test_an_encoder_that_pools_all_tokens_gets_one_document_a_row():
    verdict = isolation.isolate(tiny("modernbert", classifier_pooling="mean"))
    assert (verdict.rows, verdict.reason) == ("padded", "its classifier pools whole rows")


def test_positions_begin_where_the_model_counts_from():
    assert forward.first_position(tiny("bert")) == 0
    assert forward.first_position(tiny("roberta")) == tiny("roberta").config.pad_token_id + 1


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_probe_finds_which_models_may_be_packed(architecture):
    verdict = isolation.isolate(tiny(architecture))
    expected = "equal" if architecture in SPARSE else "padded" if architecture in LEAKING else "packed"
    assert verdict.rows == expected, verdict


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_chosen_attention_gives_what_the_model_gave_before(architecture):
    ids = torch.randint(10, 300, (1, 33), generator=torch.Generator().manual_seed(0))
    model = tiny(architecture)
    with torch.no_grad():
        before = model(input_ids=ids, use_cache=False).logits
        isolation.isolate(model)
        after = model(input_ids=ids, use_cache=False).logits
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.abs().max()))


def test_a_leak_is_seen_by_the_probe(monkeypatch):
    real = attention.attend.attend_documents
    monkeypatch.setattr(attention.attend, "attend_documents", lambda *a: real(*a[:3], (sum(a[3]),), *a[4:]))
    monkeypatch.setattr(attention, "plain_inside", lambda *a: True)
    model = tiny("llama")
    verdict = isolation.isolate(model)
    assert verdict.rows == "padded"
    assert verdict.difference > 1e-2
    assert model.config._attn_implementation != attention.NAME


def test_an_attention_that_is_not_the_models_own_is_seen(monkeypatch):
    monkeypatch.setattr(attention, "_attend", lambda q, k, v, *rest: v)
    verdict = isolation.isolate(tiny("qwen2"))
    assert verdict.reason == "our attention is not the one that it was made with"


def test_log_probs_know_their_document():
    model = model_of("qwen2")
    made = documents(model.config.vocab_size)
    batch = collate(made)
    log_probs, owner = forward.token_log_probs(model, batch)
    for i, document in enumerate(batch.documents):
        alone, _ = forward.reference_losses(model, collate([document]))
        torch.testing.assert_close(-log_probs[owner == i], alone, rtol=1e-5, atol=1e-6)


def test_no_learnt_token_gives_a_zero_that_has_a_gradient():
    model = model_of("qwen2")
    document = Document(np.arange(10, 20, dtype=np.int32), np.zeros(10, np.float32))
    losses, weights = forward.token_losses(model, collate([document]))
    assert losses.shape == (0,)
    (losses * weights).sum().backward()


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_verdict_in_bfloat16_is_that_in_float32(architecture):
    """A router that chooses another expert by rounding alone is no leak; a leak is one in 16 bit, too."""
    verdicts = [isolation.isolate(tiny(architecture, seed).to(torch.bfloat16)).rows for seed in range(3)]
    assert set(verdicts) == {isolation.isolate(tiny(architecture)).rows}, verdicts
