"""What every optimizer promises: it goes down, treats the groups as they are given, and goes on from its state exactly."""

from __future__ import annotations

from typing import Any

import every
import pytest
import torch

from seektune import kinds
from seektune.optimizers._groups import parameter_groups

SPECS = every.all_variants("optimizer")
CENTRE = 0.5


class Hill(torch.nn.Module):
    """A quadratic with one matrix and one vector."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(4, 3, generator=generator))
        self.bias = torch.nn.Parameter(torch.randn(4, generator=generator))

    def forward(self) -> torch.Tensor:
        scale = torch.tensor([1.0, 3.0, 10.0])
        return (scale * (self.weight - CENTRE) ** 2).sum() + ((self.bias - CENTRE) ** 2).sum()


def opened(spec: dict[str, Any], **more: Any) -> tuple[Hill, torch.optim.Optimizer]:
    model, optimizer = Hill(), kinds.build("optimizer", spec | more)
    return model, optimizer.build(parameter_groups(model, getattr(optimizer, "weight_decay", 0.0)))


def step(model: Hill, optimizer: torch.optim.Optimizer, count: int = 1) -> list[float]:
    values = []
    for _ in range(count):
        optimizer.zero_grad()
        value = model()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    return values


@pytest.mark.parametrize("spec", SPECS)
def test_it_goes_down_a_hill(spec: dict[str, Any]) -> None:
    values = step(*opened(spec, learning_rate=0.02), count=200)
    assert values[-1] < 0.2 * values[0]


@pytest.mark.parametrize("spec", SPECS)
def test_the_peak_rate_stands_in_every_group(spec: dict[str, Any]) -> None:
    """The loop multiplies each group's `lr` by the schedule; a rate of 0 moves nothing."""
    model, optimizer = opened(spec, learning_rate=0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.02]
    before = [p.detach().clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    step(model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_only_matrices_decay(spec: dict[str, Any]) -> None:
    model, optimizer = opened(spec)
    decays = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    assert decays["bias"] == 0.0
    assert decays["weight"] == getattr(kinds.build("optimizer", spec), "weight_decay", 0.0)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer.step()
    assert torch.equal(model.bias, before["bias"])
    assert bool((model.weight.abs() < before["weight"].abs()).all()) == (decays["weight"] > 0)


@pytest.mark.parametrize("spec", SPECS)
def test_goes_on_from_its_state_to_the_same_bits(spec: dict[str, Any]) -> None:
    whole = opened(spec)
    step(*whole, count=6)
    first = opened(spec)
    step(*first, count=3)
    second = opened(spec)
    second[0].load_state_dict(first[0].state_dict())
    second[1].load_state_dict(first[1].state_dict())
    step(*second, count=3)
    for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)
