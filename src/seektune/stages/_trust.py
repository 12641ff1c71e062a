"""How likely is it that a label is right? Out-of-fold classifiers and confident learning (Northcutt et al. 2021, JAIR 70).

Every text is classified by a model that has not seen it, nor a copy of it. What comes out are probabilities of the *given*
labels, wrong ones among them; with the confusion of labels that confident learning estimates from them, Bayes' rule turns
them into the probability that the true class of a text is the one that was given to it. That is the trust: it means the same
for two classes as for a thousand. A plain p(label) below 0.8 would throw away most of a set with 77 classes.
"""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..contracts import Record
from ._need import need
from ._texts import label_of, text_of
from ._words import words
from ._work import Work

LEARNT_FROM = 50_000  # records that the classifiers learn from, at most: memory stays bounded
BATCH = 2_000
STRENGTH = 1.0  # inverse of the L2 penalty; weaker penalties learn wrong labels by heart
TEMPERATURES = [float(t) for t in np.geomspace(0.1, 2, 25)]
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
STAGE = "filter_noise"


class Features(Protocol):
    """Texts to rows of numbers."""

    def fit(self, texts: list[str]) -> Any: ...  # and their rows
    def rows(self, texts: list[str]) -> Any: ...


@dataclass
class Labels:
    """What is found about the labels of records. `at[i]` is the record of row i; the others are not judged."""

    classes: list[str]
    at: np.ndarray  # (rows,) of the records
    given: np.ndarray  # (rows,) class ids
    right: np.ndarray  # (rows, classes) probability that each class is the true one, knowing text and label
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def trust(self) -> np.ndarray:
        """(rows,) probability that the given label is right."""
        return self.right[np.arange(len(self.given)), self.given]


def judged(
    records: Sequence[Record], features: Features, work: Work, label: str, column: str | None, folds: int
) -> Labels:
    """The labels of all records that can be judged; where the classifiers find nothing in the texts, none is."""
    ids, prints, names = _table(records, label, column)
    at = np.flatnonzero(_common(ids, prints))
    classes, given = np.unique(ids[at], return_inverse=True)
    found = Labels([names[i] for i in classes], at, given, np.zeros((0, len(classes))))
    if len(classes) < 2:
        found.facts["not judged because"] = "fewer than two classes have two different texts"
        return _none(found)
    fold = dealt(given, prints[at], folds, work.seed)
    texts = lambda rows: [text_of(records[int(at[row])], column) for row in rows]  # noqa: E731
    probabilities = _out_of_fold(texts, given, fold, features, work)
    return _bayes(found, probabilities)


def estimated(
    records: Sequence[Record], work: Work, label: str = "label", column: str | None = None, folds: int = 5
) -> dict[str, Any]:
    """{"accuracy": share of right labels, "classifier": out-of-fold agreement, …}, or {"skipped": why there is none}."""
    found = judged(records, Words(), work, label, column, folds)
    if "not judged because" in found.facts:
        return {"skipped": found.facts["not judged because"]}
    return {
        "accuracy": round(1 - found.facts["estimated_wrong_labels"], 4),
        "classifier": found.facts["out_of_fold_agreement"],
        "records": len(found.at),
        "classes": len(found.classes),
        "not_judged": len(records) - len(found.at),
    }


def _table(records: Sequence[Record], label: str, column: str | None) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Class id (-1: none), 64 bits of the text, and the classes by id."""
    ids, prints, names = np.full(len(records), -1, np.int64), np.zeros(len(records), np.uint64), dict[str, int]()
    for i, record in enumerate(records):
        name, text = label_of(record, label), text_of(record, column)
        if name is not None and text.strip():
            ids[i] = names.setdefault(name, len(names))
        prints[i] = int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    order = sorted(names)  # ids do not depend on which record comes first
    places = {name: i for i, name in enumerate(order)}
    ranks = np.array([places[name] for name in names] or [0])
    return np.where(ids >= 0, ranks[ids], -1), prints, order


def _common(ids: np.ndarray, prints: np.ndarray) -> np.ndarray:
    """Which records have a class with two different texts: of fewer, nothing can be learnt without the text itself."""
    pairs = np.unique(np.stack([ids.astype(np.uint64), prints], 1), axis=0)[:, 0].astype(np.int64)
    texts = np.bincount(pairs[pairs >= 0], minlength=max(1, int(ids.max(initial=0)) + 1))
    return (ids >= 0) & (texts[np.maximum(ids, 0)] >= 2)


def dealt(given: np.ndarray, prints: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(rows,) the fold of each: equal texts together, each class spread evenly, whatever the order of the records."""
    mixed = (prints ^ np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)  # wraps around: another order for another seed
    made, place = dict[int, int](), dict[int, Iterator[int]]()
    for row in np.lexsort((mixed, given)):
        turn = place.setdefault(int(given[row]), itertools.cycle(range(folds)))
        if int(prints[row]) not in made:
            made[int(prints[row])] = next(turn)
    return np.array([made[int(text)] for text in prints])


def _out_of_fold(
    texts: Callable[[Any], list[str]], given: np.ndarray, fold: np.ndarray, features: Features, work: Work
) -> np.ndarray:
    """(rows, classes) float32: probabilities by the classifier that learnt from the other folds."""
    learnt = _sample(given, work)
    known = features.fit(texts(learnt))
    made = np.zeros((len(given), int(given.max()) + 1), np.float32)
    show = work.show("classifying")
    for done, part in enumerate(sorted(set(fold.tolist())), 1):
        model = _fitted(known[fold[learnt] != part], given[learnt][fold[learnt] != part])
        inside = fold[learnt] == part
        if inside.any():
            made[np.ix_(learnt[inside], model.classes_)] = model.predict_proba(known[inside])
        others = np.setdiff1d(np.flatnonzero(fold == part), learnt)
        for start in range(0, len(others), BATCH):
            rows = others[start : start + BATCH]
            made[np.ix_(rows, model.classes_)] = model.predict_proba(features.rows(texts(rows)))
        show(done, int(fold.max()) + 1)
    return made


def _sample(given: np.ndarray, work: Work) -> np.ndarray:
    if len(given) <= LEARNT_FROM:
        return np.arange(len(given))
    return np.sort(work.random("learnt").choice(len(given), LEARNT_FROM, replace=False))


def _fitted(rows: Any, given: np.ndarray) -> Any:
    linear = need("sklearn.linear_model", STAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hundred steps are enough, converged or not
        return linear.LogisticRegression(C=STRENGTH, max_iter=100, tol=1e-3).fit(rows, given)


class Words:
    """TF-IDF of words and pairs of them (Chinese is segmented), and of runs of two to four characters."""

    def fit(self, texts: list[str]) -> Any:
        text = need("sklearn.feature_extraction.text", STAGE)
        more: dict[str, Any] = {"sublinear_tf": True, "dtype": np.float32, "min_df": 2 if len(texts) > 200 else 1}
        self._parts = [
            text.TfidfVectorizer(analyzer=_terms, max_features=200_000, **more),
            text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=200_000, **more),
        ]
        return self._joined([part.fit_transform(texts) for part in self._parts])

    def rows(self, texts: list[str]) -> Any:
        return self._joined([part.transform(texts) for part in self._parts])

    def _joined(self, parts: list[Any]) -> Any:
        return need("scipy.sparse", STAGE).hstack(parts).tocsr()


def _terms(text: str) -> list[str]:
    found = [word.lower() for word in words(text)] or [""]  # a text of signs alone is a text too
    return [*found, *map(" ".join, itertools.pairwise(found))]


# From probabilities of given labels to the probability that a label is right


def _none(found: Labels) -> Labels:
    found.at = found.given = np.zeros(0, np.int64)
    return found


def _bayes(found: Labels, probabilities: np.ndarray) -> Labels:
    given, count = found.given, len(found.classes)
    agreed = float((probabilities.argmax(1) == given).mean())
    commonest = float(np.bincount(given).max() / len(given))
    found.facts |= {"out_of_fold_agreement": round(agreed, 4), "commonest_class": round(commonest, 4)}
    if agreed <= commonest + 2 * (commonest * (1 - commonest) / len(given)) ** 0.5:
        found.facts["not judged because"] = "the classifiers do no better than always naming the commonest class"
        return _none(found)
    wrong, confusion = confused(probabilities, given, count)
    level, temperature = likeliest(probabilities, given, confusion)
    found.right = right(probabilities, given, weakened(confusion, level), temperature)
    found.facts |= {"temperature": round(temperature, 4), "level": level, "confident_learning": round(wrong, 4)}
    found.facts["estimated_wrong_labels"] = round(float(1 - found.trust.mean()), 4)
    return found


def confused(probabilities: np.ndarray, given: np.ndarray, classes: int) -> tuple[float, np.ndarray]:
    """(share of wrong labels, (given, true) p(given | true)) by confident learning.

    The cells of a confusion are counted from few records each, so half of what is wrong is spread evenly over the classes.
    """
    count = need("cleanlab.count", STAGE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        joint = count.compute_confident_joint(given, probabilities)
        _, found, _ = count.estimate_latent(joint, given)
    wrong = float(1 - np.trace(joint) / joint.sum())
    even = np.full((classes, classes), wrong / (classes - 1))
    np.fill_diagonal(even, 1 - wrong)
    mixed = np.nan_to_num(found) + even
    return wrong, mixed / mixed.sum(0)


def weakened(confusion: np.ndarray, level: float) -> np.ndarray:
    """The same with a share of the errors."""
    errors = confusion * level
    np.fill_diagonal(errors, 0)
    return errors + np.diag(1 - errors.sum(0))


def likeliest(probabilities: np.ndarray, given: np.ndarray, confusion: np.ndarray) -> tuple[float, float]:
    """(level, temperature) under which the given labels are likeliest; of levels that cannot be told apart, the highest.

    A classifier that learnt from wrong labels is less sure of the true classes than it could be: divided by the temperature
    (Guo et al. 2017, arXiv:1706.04599), its log-probabilities are those of the true classes. And confident learning takes
    texts that fit several classes for errors, so perhaps only a share of them, the level, are any.
    """
    some = slice(None, None, 1 + len(given) // LEARNT_FROM)
    rows, labels = probabilities[some], given[some]
    best = dict[float, tuple[float, np.ndarray]]()  # level -> temperature, loss of each row
    for temperature in TEMPERATURES:
        true = _true(rows, temperature)
        for level in LEVELS:
            losses = -np.log((true * weakened(confusion, level)[labels]).sum(1) + 1e-12)
            if level not in best or losses.mean() < best[level][1].mean():
                best[level] = temperature, losses
    least = min((losses for _, losses in best.values()), key=np.mean)
    near = [level for level, (_, losses) in best.items() if _within_its_error(losses - least)]
    return max(near), best[max(near)][0]


def _within_its_error(differences: np.ndarray) -> bool:
    """Whether a mean is no further from 0 than its standard error."""
    return bool(differences.mean() <= differences.std() / len(differences) ** 0.5)


def right(probabilities: np.ndarray, given: np.ndarray, confusion: np.ndarray, temperature: float) -> np.ndarray:
    """(rows, classes) p(true | text, given) = p(given | true) p(true | text) / sum over the true."""
    made = np.empty(probabilities.shape, np.float32)
    for start in range(0, len(given), BATCH):
        part = slice(start, start + BATCH)
        joint = confusion[given[part]] * _true(probabilities[part], temperature)
        made[part] = joint / np.maximum(joint.sum(1, keepdims=True), 1e-30)
    return made


def _true(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """(rows, classes) p(true | text)."""
    logs = np.log(probabilities + 1e-9) / temperature
    made = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(made / made.sum(1, keepdims=True))
