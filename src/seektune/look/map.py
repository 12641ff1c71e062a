"""Records as points of a plane, near where their words are alike: TF-IDF, then its strongest directions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ..stages._need import need
from ..stages._words import HAN, words

COVERED = 600  # characters of a text
DIRECTIONS = 50
_han = re.compile(f"[{HAN}]")
_words = re.compile(r"[^\W_]+")


def project(texts: Sequence[str]) -> np.ndarray | None:
    """(texts, 2) in [0, 1]; None where the words of the texts say nothing.

    Latent semantic analysis (Deerwester et al. 1990): truncated SVD of the TF-IDF matrix; of the directions, brought to one
    length for each text, the two principal components.
    """
    feature = need("sklearn.feature_extraction.text", "the map")
    decomposition = need("sklearn.decomposition", "the map")
    counted = feature.TfidfVectorizer(analyzer=_terms, sublinear_tf=True, min_df=2, max_df=0.5, max_features=20_000)
    try:
        weights = counted.fit_transform(texts)
    except ValueError:  # no word stands in two texts
        return None
    if min(weights.shape) < 4:
        return None
    some = decomposition.TruncatedSVD(min(DIRECTIONS, min(weights.shape) - 1), random_state=17).fit_transform(weights)
    some /= np.maximum(np.linalg.norm(some, axis=1, keepdims=True), 1e-9)
    some -= some.mean(axis=0)
    sides, sizes, _ = np.linalg.svd(some, full_matrices=False)
    plane = sides[:, :2] * sizes[:2]
    low, high = np.quantile(plane, [0.005, 0.995], axis=0)
    return np.asarray(np.clip((plane - low) / np.maximum(high - low, 1e-12), 0, 1))


def _terms(text: str) -> list[str]:
    shown = text[:COVERED].lower()
    return words(shown) if _han.search(shown) else _words.findall(shown)
