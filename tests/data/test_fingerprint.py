"""Fingerprints tell the same records, the same order, and neither."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from seektune.data.fingerprint import fingerprint
from seektune.data.store import Records

rows = st.lists(st.fixed_dictionaries({"text": st.text(max_size=3), "n": st.integers(0, 3)}), max_size=12)


@settings(deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_order_changes_only_the_order(rows: list[dict[str, Any]], shuffler: random.Random) -> None:
    shuffled = shuffler.sample(rows, len(rows))
    a, b = fingerprint(Records.of(rows)), fingerprint(Records.of(shuffled))
    assert a["content"] == b["content"]
    assert (a["order"] == b["order"]) == (rows == shuffled)
    assert a["records"] == len(rows)


@settings(deadline=None)
@given(rows, rows)
def test_content_is_equal_exactly_where_the_records_are(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> None:
    same = sorted(sorted(row.items()) for row in a) == sorted(sorted(row.items()) for row in b)
    assert (fingerprint(Records.of(a))["content"] == fingerprint(Records.of(b))["content"]) == same


def test_any_column_and_any_copy_counts() -> None:
    base = [{"text": "a", "id": 1}, {"text": "b", "id": 2}]
    others = [
        [{"text": "a", "id": 1}, {"text": "b", "id": 3}],
        [*base, base[0]],
        base[:1],
        [{"text": "a"}, {"text": "b", "id": 2}],
    ]
    found = {fingerprint(Records.of(rows))["content"] for rows in [base, *others]}
    assert len(found) == 5


def test_views_and_field_order() -> None:
    rows = [{"text": "a", "id": 1}, {"text": "b", "id": 2}, {"text": "c", "id": 3}]
    assert fingerprint(Records.of(rows).select([2, 0])) == fingerprint(Records.of([rows[2], rows[0]]))
    turned = [dict(reversed(row.items())) for row in rows]
    assert fingerprint(Records.of(turned)) == fingerprint(Records.of(rows))


def test_known_value() -> None:
    """The figure is stored with runs: it must not change between versions."""
    found = fingerprint(Records.of([{"text": "a"}, {"text": "ä", "label": "x", "n": 1.5}]))
    assert found == {
        "content": "2abf5fa1b4795530de23fbb69ce9a7c86165c5ed3c1a364c357228965b7b022f",
        "order": "4c25d215c76cbbc57af01d68b2c183268601bd9030db78baf20d36922840a791",
        "records": 2,
    }
