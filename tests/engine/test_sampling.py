"""The picks against frequencies and sets worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seektune.engine.sampling import Sampling, choose

PROBABILITIES = torch.tensor([0.5, 0.3, 0.15, 0.05])


def drawn(sampling: Sampling, count: int = 20000) -> np.ndarray:
    """Share of each token among evenly spaced draws."""
    draws = ((np.arange(count) + 0.5) / count).tolist()
    ids = choose(PROBABILITIES.log().expand(count, 4), sampling, draws)
    return np.bincount(ids.numpy(), minlength=4) / count


def test_greedy_takes_the_likeliest() -> None:
    assert choose(torch.tensor([[0.0, 3.0, 1.0], [5.0, 1.0, 2.0]]), Sampling(), ()).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.5, 0.3, 0.15, 0.05]),
        ({"temperature": 0.5}, np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365),
        ({"top_k": 2}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.8}, [0.625, 0.375, 0, 0]),
        ({"top_p": 0.81}, np.array([0.5, 0.3, 0.15, 0]) / 0.95),
        ({"top_p": 0.1}, [1, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [1, 0, 0, 0]),
    ],
)
def test_frequencies(settings: dict[str, float], expected: list[float]) -> None:
    assert drawn(Sampling(**{"temperature": 1.0} | settings)) == pytest.approx(np.array(expected), abs=2e-3)  # type: ignore[arg-type]


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, 0.0, -torch.inf]])
    for draw in (0.0, 0.25, 0.5, 1 - 1e-16):
        assert int(choose(logits, Sampling(temperature=1.0), [draw])) in (1, 2)


def test_each_request_has_its_own_numbers() -> None:
    sampling = Sampling(seed=1)
    first, again, other = (sampling.generator(i).random(4).tolist() for i in (0, 0, 1))
    assert first == again != other
    assert first != Sampling(seed=2).generator(0).random(4).tolist()
