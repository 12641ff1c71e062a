"""IBM model 1 beside loops written from the paper's formulas, and what its links make of a language made up for the purpose."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest

from seektune.stages import _ibm1
from seektune.stages._ibm1 import Alignment, align, learn

PAIRS = [("the house", "das haus"), ("the book", "das buch"), ("a book", "ein buch"), ("the the book", "das buch hier")]


def numbered() -> tuple[list[np.ndarray], list[np.ndarray], list[str], list[str]]:
    sides = []
    for side in (0, 1):
        names = [""]
        texts = []
        for pair in PAIRS:
            row = pair[side].split()
            names += [word for word in dict.fromkeys(row) if word not in names]
            texts.append(np.array([names.index(word) for word in row]))
        sides += [texts, names]
    return sides[0], sides[2], sides[1], sides[3]


def table_of(found: Alignment) -> dict[tuple[int, int], float]:
    return {(e, f): t for (e, f), t in zip(found.words.tolist(), found.t.tolist(), strict=True)}


def by_loops(iterations: int) -> dict[tuple[str, str], float]:
    """t(f | e) as figure 1 of Brown et al. has it, NULL written as the empty word."""
    pairs = [(["", *a.split()], b.split()) for a, b in PAIRS]
    width = len({word for _, b in pairs for word in b})
    t: dict[tuple[str, str], float] = defaultdict(lambda: 1 / width)
    for _ in range(iterations):
        count: dict[tuple[str, str], float] = defaultdict(float)
        total: dict[str, float] = defaultdict(float)
        for es, fs in pairs:
            for f in fs:
                norm = sum(t[e, f] for e in es)
                for e in es:
                    count[e, f] += t[e, f] / norm
                    total[e] += t[e, f] / norm
        t = defaultdict(float, {(e, f): value / total[e] for (e, f), value in count.items()})
    return dict(t)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_the_table_is_that_of_the_loops(iterations: int) -> None:
    source, target, names, others = numbered()
    found = table_of(align(source, target, iterations))
    expected = by_loops(iterations)
    assert {(names[e], others[f]) for e, f in found} == set(expected)
    for (e, f), value in found.items():
        assert value == pytest.approx(expected[names[e], others[f]], rel=1e-12)


def test_one_step_by_hand() -> None:
    """Two records: `a b` with `x`, `a` with `x`. With NULL each x is one third, one half: a has 5/6 in all, all of it x."""
    found = align([np.array([1, 2]), np.array([1])], [np.array([1]), np.array([1])], 1)
    assert table_of(found) == pytest.approx({(0, 1): 1.0, (1, 1): 1.0, (2, 1): 1.0})
    assert found.posterior.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2])


def test_the_likelihood_never_falls() -> None:
    source, target, *_ = numbered()
    told = align(source, target, 20).log_likelihood
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(told))
    assert told[-1] > told[0]


def test_a_made_up_language_is_learnt_back() -> None:
    """Each English word has one word of the other language; places are shuffled."""
    random = np.random.default_rng(3)
    english = [f"w{i}" for i in range(40)]
    pairs = []
    for _ in range(300):
        row = random.choice(english, 6, replace=False).tolist()
        pairs.append((row, random.permutation([f"x{word[1:]}" for word in row]).tolist()))
    found = learn(pairs)
    assert {word: entries[0][0] for word, entries in found.entries.items()} == {
        word: f"x{word[1:]}" for word in english
    }
    assert found.agreement > 0.95
    assert found.records == 300


def test_thresholds_and_what_is_too_long_or_empty() -> None:
    pairs = [(["one"], ["moja"])] * 3 + [(["two"], ["mbili"])]
    assert learn(pairs).entries == {"one": [("moja", 1.0)]}
    assert set(learn(pairs, count=1).entries) == {"one", "two"}
    assert learn(pairs, count=4).entries == {}
    half = [(["one"], ["moja"])] * 2 + [(["one"], ["mmoja"])] * 2
    assert learn(half, probability=0.6).entries == {}
    assert dict(learn(half, probability=0.5).entries["one"]) == {"moja": 0.5, "mmoja": 0.5}
    assert learn([([], ["moja"]), (["one"] * 61, ["moja"])]).records == 0
    assert learn([]).entries == {}


def test_records_beyond_the_room_are_not_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ibm1, "MOST", 50)
    assert learn([(["one", "two"], ["moja", "mbili"])] * 9).records == 5  # 9 pairs of words each, NULL among them
