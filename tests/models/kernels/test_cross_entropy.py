"""Cross-entropy in chunks against torch's over whole logits: losses, and gradients however an objective weighs the losses."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from seektune.models.kernels import cross_entropy as kernel
from seektune.models.kernels import native

pytestmark = pytest.mark.usefixtures("both_ways")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LOGITS_BYTES", 4 * 50 * 7)  # 7 tokens of a vocabulary of 50, in float32


def case(dtype: torch.dtype = torch.float64, bias: bool = True) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden = torch.randn(23, 12, dtype=dtype).requires_grad_()
    weight = torch.randn(50, 12, dtype=dtype).requires_grad_()
    offset = torch.randn(50, dtype=dtype).requires_grad_() if bias else None
    return hidden, weight, offset, torch.randint(50, (23,)), torch.rand(23)  # type: ignore[return-value]


def plain(hidden, weight, bias, targets, softcap):
    logits = F.linear(hidden, weight, bias)
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return F.cross_entropy(logits, targets, reduction="none")


def weighings(likely: torch.Tensor) -> dict[str, torch.Tensor]:
    """Factors that an objective may put on the losses: the weights themselves, a multiple, some others, none, a sign."""
    return {
        "weights": likely,
        "scaled": 0.25 * likely,
        "others": likely.flip(0) ** 2,
        "zeros": 0 * likely,
        "minus": -likely,
    }


@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("name", ["weights", "scaled", "others", "zeros", "minus"])
def test_losses_and_gradients_are_those_of_whole_logits(name: str, softcap: float | None) -> None:
    hidden, weight, bias, targets, likely = case(torch.float32)
    factors = weighings(likely)[name]
    found = kernel.cross_entropy(hidden, weight, bias, targets, likely, softcap)
    expected = plain(hidden, weight, bias, targets, softcap)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad((found * factors).sum(), (hidden, weight, bias))
    theirs = torch.autograd.grad((expected * factors).sum(), (hidden, weight, bias))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_an_objective_of_another_weighing_needs_the_second_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses' weights are a guess: a gradient that was found with them must not be taken where they are others."""
    hidden, weight, bias, targets, likely = case(torch.float32)
    again = []
    monkeypatch.setattr(kernel, "_again", lambda ctx, factors, old=kernel._again: again.append(1) or old(ctx, factors))
    (kernel.cross_entropy(hidden, weight, bias, targets, likely) * (2 * likely)).sum().backward()
    assert not again
    (kernel.cross_entropy(hidden, weight, bias, targets, likely) * (likely + 0.1)).sum().backward()
    assert again


def test_a_frozen_head_gets_no_gradient_and_keeps_no_matrix_of_its_size() -> None:
    hidden, weight, _, targets, likely = case(torch.float32, bias=False)
    weight.requires_grad_(False)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        found = kernel.cross_entropy(hidden, weight, None, targets, likely)
    found.sum().backward()
    assert not kept
    torch.testing.assert_close(
        hidden.grad,
        torch.autograd.grad(plain(hidden, weight, None, targets, None).sum(), hidden)[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_logits_never_exceed_the_set_size(both_ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = kernel._errors
    monkeypatch.setattr(kernel, "_errors", lambda x, *a: sizes.append(len(x)) or real(x, *a))
    hidden, weight, bias, targets, likely = case(torch.float32)
    kernel.cross_entropy(hidden, weight, bias, targets, likely)
    assert sizes == [6, 6, 6, 5]
    in_place = kernel.is_in_place("cpu", torch.float32, None)
    assert in_place == (both_ways == "compiled")
    assert kernel.chunk_of(50, torch.float32, in_place) == (7, 4 * 50 * kernel.LIVE)
    assert not kernel.is_in_place("cpu", torch.float32, softcap=3.0)
    assert kernel.is_in_place("cuda", torch.float32, None) == (
        not torch.cuda.is_available() or not native.why_not("cuda")
    )
    assert kernel.chunk_of(50, torch.float32, in_place, "cuda")[0] == kernel.ON_GPU // 200
    assert kernel.chunk_of(50, torch.bfloat16, True) == (14, 2 * 50 * kernel.LIVE)


def test_half_precision_stays_within_the_spread_of_two_plain_orders() -> None:
    hidden, weight, _, targets, likely = case(torch.float32, bias=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = kernel.cross_entropy(hidden, weight, None, targets, likely)
        theirs = F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="none")
    exact = plain(hidden, weight, None, targets, None)
    spread, other_spread = ((x - exact).detach().abs().max() for x in (ours, theirs))
    assert spread <= 1.05 * other_spread + 1e-6
    one, other = (torch.autograd.grad((x * likely).sum(), (hidden, weight)) for x in (ours, theirs))
    truth = torch.autograd.grad((exact * likely).sum(), (hidden, weight))
    for a, b, t in zip(one, other, truth, strict=True):
        assert float((a - t).norm()) <= 1.5 * float((b - t).norm())


def test_no_token_gives_a_sum_that_has_a_gradient() -> None:
    hidden, weight, bias, _, _ = case(torch.float32)
    empty = torch.zeros(0, dtype=torch.long)
    found = kernel.cross_entropy(hidden[:0], weight, bias, empty, torch.zeros(0))
    found.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()


def test_a_target_that_is_all_but_impossible_keeps_its_loss() -> None:
    """Its probability is zero in float32; its loss is not infinite."""
    weight = torch.eye(4) * 200
    hidden = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    targets = torch.tensor([1, 1])
    losses = kernel.cross_entropy(hidden, weight, None, targets, torch.ones(2))
    assert torch.allclose(losses, torch.tensor([200.0, 0.0]), atol=1e-5)
