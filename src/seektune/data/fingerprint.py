"""What data this was: digests that tell in a later run, or on another machine, whether the records are the same."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from .store import Records


def fingerprint(records: Records) -> dict[str, Any]:
    """{"content": sha256 whatever the order, "order": sha256 in this order, "records": n}, over all columns."""
    return of_digests(np.ascontiguousarray(records.whole_digests))


def of_digests(digests: np.ndarray) -> dict[str, Any]:
    """The same from (records, 2) uint64, 16 bytes of each record (store.digest of all columns)."""
    ordered = digests[np.lexsort((digests[:, 1], digests[:, 0]))]
    return {
        "content": hashlib.sha256(ordered.tobytes()).hexdigest(),
        "order": hashlib.sha256(digests.tobytes()).hexdigest(),
        "records": len(digests),
    }
