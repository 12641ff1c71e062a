"""How many labels are right, estimated by confident learning (Northcutt et al. 2021, arXiv:1911.00068).

A TF-IDF classifier is trained on four fifths of the records and asked about the rest, five times. A record counts as wrongly
labelled where the model is surer of another class than it usually is of records of that class; cleanlab does the counting.
The estimate takes some of the classifier's own errors for wrong labels, so its out-of-fold accuracy is told beside it.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._need import need
from ._tfidf import terms

FOLDS = 5
VOCABULARY = 50_000  # most frequent words and pairs of words


def estimated_accuracy(texts: Sequence[str], labels: Sequence[str], seed: int, asked_by: str) -> dict[str, Any]:
    """{"accuracy": share of right labels, "classifier": out-of-fold accuracy, …}, or {"skipped": why there is none}."""
    counts = Counter(labels)
    rare = {label for label, count in counts.items() if count < FOLDS}
    if len(counts) - len(rare) < 2:
        return {"skipped": f"fewer than two classes of at least {FOLDS} records"}
    held = [i for i, label in enumerate(labels) if label not in rare]
    names = sorted(set(counts) - rare)
    given = np.array([names.index(labels[i]) for i in held])
    found = out_of_fold([texts[i] for i in held], given, len(names), seed, asked_by)
    if found is None:
        return {"skipped": "the texts have no words"}
    wrong = need("cleanlab.count", asked_by).num_label_issues(given, found)
    return {
        "accuracy": round(1 - int(wrong) / len(held), 4),
        "classifier": round(float((found.argmax(1) == given).mean()), 4),
        "records": len(held),
        "classes": len(names),
        "rare_classes": sorted(rare)[:20],
    }


def out_of_fold(texts: Sequence[str], given: np.ndarray, classes: int, seed: int, asked_by: str) -> np.ndarray | None:
    """(records, classes): the probabilities that a model gives which has not seen the record. None where no text has words."""
    vectors = _vectors(texts, asked_by)
    if vectors is None:
        return None
    linear, split = need("sklearn.linear_model", asked_by), need("sklearn.model_selection", asked_by)
    found = np.zeros((len(given), classes))
    for train, test in split.StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32).split(vectors, given):
        # Newton's method: with 77 classes fifteen times as fast as the usual solver, at the same accuracy
        model = linear.LogisticRegression(C=3.0, solver="newton-cg", tol=1e-3)
        found[test] = model.fit(vectors[train], given[train]).predict_proba(vectors[test])
    return found


def _vectors(texts: Sequence[str], asked_by: str) -> Any:
    made = need("sklearn.feature_extraction.text", asked_by).TfidfVectorizer(
        analyzer=_words_and_pairs, max_features=VOCABULARY, min_df=2, sublinear_tf=True, dtype=np.float32
    )
    try:
        return made.fit_transform(texts)
    except ValueError:  # an empty vocabulary
        return None


def _words_and_pairs(text: str) -> list[str]:
    found = terms(text)
    return found + [f"{a} {b}" for a, b in itertools.pairwise(found)]
