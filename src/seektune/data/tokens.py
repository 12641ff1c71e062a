"""Records -> documents, once: tokenised by several processes and kept in memory-mapped files under a key.

The key is made of everything that the ids depend on, so that a cache is never wrong; files are written aside, renamed,
and checked when they are opened. In memory stands only what is being looked at: a million records stay flat.
"""

from __future__ import annotations

import array
import hashlib
import json
import os
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from .. import files
from ..contracts import Document, Record
from ..errors import DataError, problem
from .chat import Renderer
from .fingerprint import fingerprint
from .origins import Origins
from .store import Records
from .tags import pieces_of_spans
from .workers import Pool

VERSION = 2
FILES = {  # what a cache holds, and of what type
    "ids": np.int32,
    "offsets": np.int64,  # (documents + 1,) first token of each document
    "run_lengths": np.int32,  # runs of equal loss weight
    "run_weights": np.float32,
    "run_offsets": np.int64,  # (documents + 1,) first run of each document
    "records": np.int32,
    "pieces": np.int32,  # 0; of a text that was split, the number of the piece, from 1
    "supervised": np.float32,  # summed weights of each document
    "labels": np.int32,
    "label_offsets": np.int64,
}
BATCH = 256  # records that go to a process at a time
WORTH_PROCESSES = 4000  # fewer records are done sooner than processes start
NAMED = 1000  # dropped records that are listed by name; all are counted

TooLong = Literal["cut", "drop", "error", "split"]
ANOTHER_WAY = "or `data.too_long: cut` or `drop`"
Show = Callable[[int, int], None]
Anew = Callable[[int, int], list[Document] | None]  # (record, epoch) -> its documents; None where they are as they were


class Tokens(Sequence[Document]):
    """Documents behind arrays that may be memory-mapped; a `select`ion shares them.

    `origins`: which inputs they came from. `anew`: makes the documents of a record for an epoch (data/anew.py); the arrays
    hold them as they are without.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        facts: dict[str, Any],
        indices: np.ndarray | None = None,
        origins: Origins | None = None,
        anew: Anew | None = None,
        epoch: int | None = None,
    ):
        self.arrays = arrays
        self.facts = facts
        self.indices = indices
        self.origins, self.anew, self.epoch = origins, anew, epoch

    @classmethod
    def of(cls, documents: Iterable[Document]) -> Tokens:
        """In memory, of documents at hand."""
        with tempfile.TemporaryDirectory() as folder:
            with _Writer(Path(folder)) as writer:
                for document in documents:
                    writer.add(document)
            return cls(_read(Path(folder), in_memory=True), writer.facts())

    @classmethod
    def open(cls, folder: Path) -> Tokens | None:
        """A cache as `tokenise` left it, or None where it is missing, of another version or damaged."""
        try:
            meta = files.read_json(folder / "tokens.json")
            intact = meta["version"] == VERSION and all(_intact(folder / name, meta["files"][name]) for name in FILES)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(_read(folder), meta["facts"]) if intact else None

    def __len__(self) -> int:
        return len(self.arrays["records"]) if self.indices is None else len(self.indices)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        return self._document(int(self._rows()[index]) if self.indices is not None else index % len(self))

    def __iter__(self) -> Iterator[Document]:
        return (self[i] for i in range(len(self)))

    def select(self, indices: Sequence[int] | np.ndarray) -> Tokens:
        """These documents, in this order; the facts stay those of the whole."""
        rows = self._rows()[np.asarray(indices, dtype=np.int64)]
        return Tokens(self.arrays, self.facts, rows, self.origins, self.anew, self.epoch)

    def at_epoch(self, epoch: int) -> Tokens:
        """The documents as this epoch has them; these themselves where all epochs have the same."""
        if self.anew is None:
            return self
        return Tokens(self.arrays, self.facts, self.indices, self.origins, self.anew, epoch)

    @property
    def lengths(self) -> np.ndarray:
        """(documents,) tokens of each."""
        return np.diff(self.arrays["offsets"])[self._rows()]

    @property
    def supervised(self) -> np.ndarray:
        """(documents,) summed loss weights of each; a labelled document counts 1."""
        return self.arrays["supervised"][self._rows()]

    @property
    def records(self) -> np.ndarray:
        """(documents,) index of the record of each."""
        return self.arrays["records"][self._rows()]

    @property
    def units(self) -> np.ndarray:
        """(documents,) number of what stays together in a step: the documents of a record, but each piece of a split text alone."""
        records = self.records
        apart = self.arrays["pieces"][self._rows()] > 0
        return np.cumsum((np.diff(records, prepend=records[:1] - 1) != 0) | apart) - 1

    def _rows(self) -> np.ndarray:
        return np.arange(len(self.arrays["records"])) if self.indices is None else self.indices

    def _document(self, row: int) -> Document:
        if self.anew is None or self.epoch is None:
            return self._held(row)
        record = int(self.arrays["records"][row])
        first, end = np.searchsorted(self.arrays["records"], [record, record + 1])
        made = self.anew(record, self.epoch)
        if made is None or len(made) != end - first:  # of another number, what stays together would change
            return self._held(row)
        document = made[row - int(first)]
        document.record = record
        return document

    def _held(self, row: int) -> Document:
        held = self.arrays
        start, end = held["offsets"][row : row + 2]
        first, last = held["run_offsets"][row : row + 2]
        weights = np.repeat(held["run_weights"][first:last], held["run_lengths"][first:last])
        return Document(np.array(held["ids"][start:end]), weights, int(held["records"][row]), self._label(row))

    def _label(self, row: int) -> Any:
        kind = self.facts["label"]
        if kind == "none":
            return None
        start, end = self.arrays["label_offsets"][row : row + 2]
        labels = [int(label) for label in self.arrays["labels"][start:end]]
        return labels if kind == "several" else labels[0]


@dataclass
class Work:
    """What a worker process needs to know; sent to it once."""

    renderer: Renderer
    train_on: str
    max_length: int
    too_long: TooLong
    labels: list[Any] | None
    tags: bool = False  # labels are those of the pieces of a text, by its spans

    def __call__(self, batch: list[Record]) -> list[Result]:
        return [self.one(record) for record in batch]

    def one(self, record: Record) -> Result:
        try:
            if self.tags:
                return self._tagged(record)
            if self.labels is not None:
                return self._labelled(record)
            return self._generated(record)
        except DataError as error:
            return Result(problems=error.problems)

    def _generated(self, record: Record) -> Result:
        result = Result()
        for document in self.renderer.documents(record, self.train_on):
            result.notes.update(document.extra.pop("notes", {}))
            if len(document) > self.max_length:
                result.long += 1
                result.longest = max(result.longest, len(document))
                if self.too_long == "split":
                    self._split(record, document, result)
                if self.too_long != "cut":
                    continue
                learnt = float(document.weights.sum())
                document.ids = document.ids[: self.max_length]
                document.weights = document.weights[: self.max_length]
                result.answers_cut += float(document.weights.sum()) < learnt
            if document.weights.any():
                result.documents.append(document)
            else:
                result.empty += 1
        return result

    def _split(self, record: Record, document: Document, result: Result) -> None:
        """A plain text becomes documents of nearly equal length. Of anything else a part would not mean what the whole does."""
        if reason := _indivisible(record):
            found = f"{len(document)} tokens; expected at most {self.max_length} (data.max_length)"
            result.problems.append(f"{found}; {reason}, so it is not split; {ANOTHER_WAY}")
            return
        made = _pieces(document, self.max_length)
        result.split += len(made)
        result.documents += [piece for piece in made if piece.weights.any()]
        result.empty += sum(not piece.weights.any() for piece in made)

    def _labelled(self, record: Record) -> Result:
        label, wrong = self._index(record.get("label"))
        if wrong:
            return Result(problems=[problem("label", wrong, ", ".join(map(repr, (self.labels or [])[:20])))])
        limit = self.max_length if self.too_long == "cut" else None
        ids, cut = self.renderer.classifier_ids(record["text"], record.get("text_pair"), limit)
        result = Result(long=int(cut or len(ids) > self.max_length), longest=len(ids))
        if result.long and self.too_long == "split":
            return Result(
                problems=[f"{len(ids)} tokens; a label belongs to the whole text, so it is not split; {ANOTHER_WAY}"]
            )
        if not result.long or self.too_long == "cut":
            ids_ = np.array(ids, dtype=np.int32)
            result.documents.append(Document(ids_, np.zeros(len(ids), np.float32), label=label))
        return result

    def _tagged(self, record: Record) -> Result:
        """One document; its label is a list with the class of every piece."""
        assert self.labels is not None
        text, spans = record["text"], record["spans"]
        ids, places = self.renderer.tagger_pieces(text)
        result = Result(long=int(len(ids) > self.max_length), longest=len(ids))
        if result.long and self.too_long == "split":
            return Result(problems=[f"{len(ids)} tokens; an entity could be parted, so it is not split; {ANOTHER_WAY}"])
        if not result.long or self.too_long == "cut":
            known = {str(name): index for index, name in enumerate(self.labels)}
            label = pieces_of_spans(text, places, spans, known)[: self.max_length]
            ids_ = np.array(ids[: self.max_length], dtype=np.int32)
            result.documents.append(Document(ids_, np.zeros(len(ids_), np.float32), label=label))
        return result

    def _index(self, label: Any) -> tuple[Any, str | None]:
        """The class id (or ids) of a label, or what is wrong with it."""
        assert self.labels is not None
        known = {str(name): index for index, name in enumerate(self.labels)}
        several = label if isinstance(label, list) else [label]
        unknown = [name for name in several if str(name) not in known]
        if unknown:
            return None, f"unknown label {unknown[0]!r}"
        found = [known[str(name)] for name in several]
        return (found if isinstance(label, list) else found[0]), None


def _indivisible(record: Record) -> str:
    """Why a record cannot be split; "" where it can."""
    if "text" not in record:
        return "an answer would stand without what it answers"
    return "its learnt spans would stand without what comes before them" if record.get("spans") is not None else ""


def _pieces(document: Document, longest: int) -> list[Document]:
    """A document in as few parts as `longest` allows, which follow each other. The first token of each is read and not learnt."""
    parts = -(-len(document) // longest)
    made = []
    for number, (ids, weights) in enumerate(
        zip(np.array_split(document.ids, parts), np.array_split(document.weights, parts), strict=True), 1
    ):
        weights = weights.copy()
        weights[0] = 0.0
        made.append(Document(ids, weights, document.record, extra={"piece": number}))
    return made


@dataclass
class Result:
    """What came of one record."""

    documents: list[Document] = field(default_factory=list)
    long: int = 0  # documents over max_length
    longest: int = 0  # tokens of the longest of them
    split: int = 0  # pieces that texts were split into
    answers_cut: int = 0  # of these, such as lost learnt tokens
    empty: int = 0  # documents without a learnt token
    notes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def tokenise(
    records: Sequence[Record],
    renderer: Renderer,
    *,
    train_on: str = "all_answers",
    max_length: int = 2048,
    too_long: TooLong = "cut",
    labels: list[Any] | None = None,
    tags: bool = False,
    cache: Path | None = None,
    processes: int | None = None,
    show: Show | None = None,
    digest: str | None = None,
) -> Tokens:
    """The documents of the records, from the cache folder where they have been made before.

    `digest` stands for the records in the key of the cache (the ordered fingerprint where it is not given); `processes`:
    None decides by the number of records. Raises DataError naming every record that cannot be learnt from.
    """
    work = Work(renderer, train_on, max_length, too_long, labels, tags)
    if cache is None:
        with tempfile.TemporaryDirectory() as folder:
            facts = _fill(Path(folder), records, work, processes, show)
            return Tokens(_read(Path(folder), in_memory=True), facts)
    if digest is None:
        digest = fingerprint(records if isinstance(records, Records) else Records.of(records))["order"]
    folder_ = cache / _key(digest, work)
    files.restore_folder(folder_)
    found = Tokens.open(folder_)
    if found is None:
        with files.new_folder(folder_) as aside:
            _fill(aside, records, work, processes, show)
        found = Tokens.open(folder_)
        assert found is not None, f"{folder_} does not open right after it was written"
    return found


def _fill(
    folder: Path, records: Sequence[Record], work: Work, processes: int | None, show: Show | None
) -> dict[str, Any]:
    tally = _Tally(records, work)
    total = len(records)
    batches = ([records[i] for i in range(start, min(start + BATCH, total))] for start in range(0, total, BATCH))
    done = 0
    with _Writer(folder) as writer, Pool(work, _processes(total, processes)) as pool:
        for results in pool.map(batches):
            for result in results:
                for document in result.documents:
                    document.record = done
                    writer.add(document)
                tally.add(done, result)
                done += 1
            if show:
                show(done, total)
    tally.check()
    facts = writer.facts() | tally.facts()
    sums = {name: _sum(folder / name) for name in FILES}
    files.write_json(folder / "tokens.json", {"version": VERSION, "files": sums, "facts": facts})
    return facts


def _processes(total: int, asked: int | None) -> int:
    """0 works in this process."""
    if asked is not None:
        return asked if asked > 1 else 0
    return min(len(os.sched_getaffinity(0)), 16) if total >= WORTH_PROCESSES else 0


class _Tally:
    """Counts what was cut, dropped or left out, in all and by source, and names the records."""

    def __init__(self, records: Sequence[Record], work: Work):
        self.records = records
        self.too_long = work.too_long
        self.max_length = work.max_length
        self.counts: Counter[str] = Counter()
        self.named: dict[str, list[dict[str, str]]] = {"dropped": [], "no_answer_left": [], "answers_cut": []}
        self.sources: dict[int, Counter[str]] = {}
        self.notes: Counter[str] = Counter()
        self.problems: list[str] = []

    def add(self, index: int, result: Result) -> None:
        source = self.sources.setdefault(_source(self.records, index), Counter())
        source["records"] += 1
        source["documents"] += len(result.documents)
        for document in result.documents:
            source["tokens"] += len(document)
            source["supervised_tokens"] += int(np.count_nonzero(document.weights))
        self.notes.update(result.notes)
        self.counts["problems"] += len(result.problems)
        if len(self.problems) < NAMED:
            self.problems += [f"{self._where(index)}: {line}" for line in result.problems]
        if result.long:
            self._long(index, result)
        if result.empty:
            reason = "no learnt token is left after cutting" if result.long else "no learnt token"
            self._name("no_answer_left", index, reason, result.empty)
        if result.answers_cut > 0 and result.documents:
            self._name("answers_cut", index, "an answer was cut", result.answers_cut)

    def _long(self, index: int, result: Result) -> None:
        if self.too_long == "error":
            self.counts["problems"] += 1
            found, allowed = f"{result.longest} tokens", f"at most {self.max_length} (data.max_length)"
            self.problems.append(problem(self._where(index), found, allowed, ANOTHER_WAY))
        self.counts["cut"] += result.long if self.too_long == "cut" else 0
        if self.too_long == "split" and result.split:
            self.counts["split"] += result.long
            self.counts["pieces"] += result.split
        if self.too_long == "drop":
            self._name("dropped", index, "longer than max_length", result.long)

    def _name(self, what: str, index: int, reason: str, count: int) -> None:
        self.counts[what] += count
        if len(self.named[what]) < NAMED:
            self.named[what].append({"where": self._where(index), "reason": reason})

    def _where(self, index: int) -> str:
        where = getattr(self.records, "where", None)
        return where(index) if where else f"record {index + 1}"

    def check(self) -> None:
        """Raises DataError with the problems of all records, the first 20 by name."""
        if self.problems:
            more = self.counts["problems"] - 20
            raise DataError(self.problems[:20] + ([f"… and {more} more"] if more > 0 else []))

    def facts(self) -> dict[str, Any]:
        """`split` texts became `pieces`. `dropped`, `no_answer_left`, `answers_cut`: records by name (the first 1,000); `counts` counts all documents."""
        sources = {str(source): dict(counts) for source, counts in sorted(self.sources.items())}
        counts = {name: self.counts[name] for name in self.named}
        return {
            "cut": self.counts["cut"],
            "split": self.counts["split"],
            "pieces": self.counts["pieces"],
            **self.named,
            "counts": counts,
            "notes": dict(self.notes),
            "sources": sources,
        }


def _source(records: Sequence[Record], index: int) -> int:
    source = getattr(records, "source", None)
    return source(index) if source else 0


class _Writer:
    """Appends documents to the files of a cache."""

    def __init__(self, folder: Path):
        self.folder = folder
        streams = ("ids", "run_lengths", "run_weights", "labels")
        self.streams: dict[str, IO[bytes]] = {name: open(folder / name, "wb") for name in streams}  # noqa: SIM115
        self.offsets, self.run_offsets, self.label_offsets = (array.array("q", [0]) for _ in range(3))
        self.records, self.pieces = array.array("i"), array.array("i")
        self.supervised = array.array("f")
        self.supervised_tokens = 0
        self.label = "none"

    def add(self, document: Document) -> None:
        weights = np.asarray(document.weights, dtype=np.float32)
        starts = np.flatnonzero(np.diff(weights, prepend=np.nan))  # nan differs from all: the first run begins at 0
        self._append("ids", document.ids)
        self._append("run_lengths", np.diff(starts, append=len(weights)))
        self._append("run_weights", weights[starts])
        self.offsets.append(self.offsets[-1] + len(weights))
        self.run_offsets.append(self.run_offsets[-1] + len(starts))
        self.records.append(document.record)
        self.pieces.append(document.extra.get("piece", 0))
        labels = self._labels(document.label)
        self._append("labels", np.array(labels))
        self.label_offsets.append(self.label_offsets[-1] + len(labels))
        self.supervised.append(float(weights.sum()) if document.label is None else 1.0)
        self.supervised_tokens += int(np.count_nonzero(weights))

    def _labels(self, label: Any) -> list[int]:
        if label is None:
            return []
        if isinstance(label, (list, tuple)):
            self.label = "several"
            return list(label)
        self.label = self.label if self.label == "several" else "one"
        return [label]

    def _append(self, name: str, values: np.ndarray) -> None:
        self.streams[name].write(np.ascontiguousarray(values, dtype=FILES[name]).tobytes())

    def facts(self) -> dict[str, Any]:
        return {
            "documents": len(self.records),
            "tokens": self.offsets[-1],
            "supervised_tokens": self.supervised_tokens,
            "label": self.label,
        }

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: Any) -> None:
        for stream in self.streams.values():
            stream.close()
        for name in ("offsets", "run_offsets", "label_offsets", "records", "pieces", "supervised"):
            (self.folder / name).write_bytes(np.array(getattr(self, name), dtype=FILES[name]).tobytes())


def _read(folder: Path, in_memory: bool = False) -> dict[str, np.ndarray]:
    def one(name: str, kind: Any) -> np.ndarray:
        path = folder / name
        if in_memory or not path.stat().st_size:  # an empty file cannot be mapped
            return np.fromfile(path, dtype=kind)
        return np.memmap(path, dtype=kind, mode="r")

    return {name: one(name, kind) for name, kind in FILES.items()}


def _sum(path: Path) -> dict[str, int]:
    """Size and CRC-32 of a file."""
    check = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            check = zlib.crc32(block, check)
    return {"size": path.stat().st_size, "crc32": check}


def _intact(path: Path, expected: dict[str, int]) -> bool:
    return path.stat().st_size == expected["size"] and _sum(path) == expected


def _key(digest: str, work: Work) -> str:
    """A name for everything that the ids, weights and labels depend on."""
    state = work.renderer.__getstate__()
    state.pop("name")
    parts = [VERSION, digest, state, work.train_on, work.max_length, work.too_long, work.labels, work.tags]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str).encode()).hexdigest()[:32]
