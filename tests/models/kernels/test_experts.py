"""Experts on sorted tokens: the outputs and gradients of a loop over tokens, whatever is filled up and whoever is not chosen."""

from __future__ import annotations

import pytest
import torch

from seektune.models.kernels import experts as kernel


def one_by_one(hidden, gate_up, down, index, weights):  # type: ignore[no-untyped-def]
    """The definition: each token through each of its experts."""
    rows = []
    for token, chosen, shares in zip(hidden, index, weights, strict=True):
        found = torch.zeros_like(token)
        for expert, share in zip(chosen.tolist(), shares, strict=True):
            gate, up = (gate_up[expert] @ token).chunk(2)
            found = found + share * (down[expert] @ (torch.nn.functional.silu(gate) * up))
        rows.append(found)
    return torch.stack(rows)


def case(tokens: int = 23, experts: int = 5, dtype: torch.dtype = torch.float64):  # type: ignore[no-untyped-def]
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731
    index = torch.rand(tokens, experts - 1, generator=generator).topk(2).indices  # the last expert is never chosen
    shares = torch.rand(tokens, 2, generator=generator, dtype=torch.float64).to(dtype)
    return draw(tokens, 6), draw(experts, 8, 6), draw(experts, 6, 4), index, shares


def gradients(function, given):  # type: ignore[no-untyped-def]
    inputs = [x.clone().requires_grad_(x.is_floating_point()) for x in given]
    y = function(*inputs)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
    return [y.detach(), *(x.grad for x in inputs if x.requires_grad)]


@pytest.mark.parametrize("tokens", [0, 1, 23])
def test_equals_the_definition(tokens: int) -> None:
    given = case(tokens)
    if tokens == 0:
        assert kernel.experts(*given).shape == (0, 6)
        return
    for ours, expected in zip(gradients(kernel.experts, given), gradients(one_by_one, given), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("step", [1, 8, 64])
def test_rows_that_fill_up_have_weight_zero_and_every_pair_its_place(step: int) -> None:
    index = torch.tensor([[0, 3], [3, 1], [0, 1], [3, 0]])
    found = kernel.sort_pairs(index, 5, step)
    assert [expert for expert, *_ in found.bounds] == [0, 1, 3]
    assert all((last - first) % step == 0 for _, first, last in found.bounds)
    assert found.tokens[found.pairs].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    where = {row: expert for expert, first, last in found.bounds for row in range(first, last)}
    assert [where[row] for row in found.pairs.tolist()] == index.flatten().tolist()
    assert len(set(found.pairs.tolist())) == 8


def test_bfloat16_is_no_further_from_the_truth_than_a_loop_is() -> None:
    given = case(200)
    truth = gradients(one_by_one, given)
    rounded = [x.to(torch.bfloat16) if x.is_floating_point() else x for x in given]
    ours, loop = gradients(kernel.experts, rounded), gradients(one_by_one, rounded)
    for found, plain, exact in zip(ours, loop, truth, strict=True):
        assert (found - exact).norm() <= 1.2 * (plain - exact).norm()


def test_an_expert_that_nobody_chose_gets_no_gradient() -> None:
    _, _, grad_gate_up, grad_down, _ = gradients(kernel.experts, case())
    assert not grad_gate_up[-1].any()
    assert not grad_down[-1].any()
    assert grad_gate_up[:-1].flatten(1).any(1).all()


def test_frozen_experts_pass_the_gradient_on() -> None:
    hidden, gate_up, down, index, shares = case()
    hidden.requires_grad_()
    kernel.experts(hidden, gate_up, down, index, shares).sum().backward()
    assert hidden.grad is not None
    assert gate_up.grad is None
