"""Records on disk for stages that read them more than once: memory stays flat, whatever stands in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from ..contracts import Record
from ..data.store import Records, Writer
from ._work import Work


def spool(records: Iterable[Record], work: Work) -> Records:
    """The records as a sequence that can be read again and again; itself where it is one. The folder goes with the object."""
    if isinstance(records, Records):
        return records
    folder = Path(tempfile.mkdtemp(prefix="seektune-spool-", dir=work.cache)) / "records"
    with Writer(folder, ["record"], [0], temporary=True) as writer:
        for number, record in enumerate(records, 1):
            writer.add(record, 0, number)
        if len(writer):
            return writer.finish({"records": len(writer)})
    return Records.of([])  # an empty file cannot be mapped
