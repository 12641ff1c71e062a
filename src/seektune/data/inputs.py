"""Which files an input names, how they are packed, and the encoding of their text, settled in one pass over the bytes."""

from __future__ import annotations

import codecs
import glob
import gzip
import hashlib
import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import DataError, nearest, problem

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".text": "text",
}
PACKINGS = (".gz", ".zst")
KNOWN = ", ".join(KINDS) + " (plain, .gz or .zst)"
BLOCK = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of an input: `name` is how messages call it."""

    path: Path
    name: str
    kind: str
    packing: str


@dataclass(frozen=True)
class Scan:
    """What a first pass over a file's bytes has found."""

    sha: str
    encoding: str  # utf-8 | utf-8-sig | gb18030 | none
    size: int


def expand(pattern: str) -> tuple[list[File], list[str]]:
    """The files behind a path, glob or folder, sorted, and the names in a folder that are of no kind we read.

    Raises DataError where there is none.
    """
    path = Path(pattern).expanduser()
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p, path))
        files = [file for p in inside if (file := _file(p))]
        if not files:
            raise DataError(problem(pattern, "no data file in this folder", KNOWN))
        return files, [str(p.relative_to(path)) for p in inside if not _file(p)]
    found = (
        [path]
        if path.exists()
        else [Path(p) for p in sorted(glob.glob(str(path), recursive=True)) if Path(p).is_file()]
    )
    if not found:
        raise DataError(problem(pattern, "no such file", "a file, a glob or a folder", _neighbours(path)))
    wrong = [p for p in found if not _file(p)]
    if wrong:
        raise DataError([problem(str(p), f"unknown kind of file {p.suffix!r}", KNOWN) for p in wrong])
    return [file for p in found if (file := _file(p))], []


def scan(file: File) -> Scan:
    """Hash a file and settle its encoding. Raises DataError: empty, damaged, or neither UTF-8 nor GB18030."""
    with open(file.path, "rb") as raw:
        if file.kind == "parquet":
            return Scan(hashlib.file_digest(raw, "sha256").hexdigest(), "none", file.path.stat().st_size)
        try:
            found = _scan_text(unpacked(file, raw))
        except unpacking_errors() as error:
            raise DataError(
                problem(file.name, f"cannot be unpacked ({error})", f"a whole {file.packing} file")
            ) from error
    if found.size == 0:
        raise DataError(problem(file.name, "empty file", "at least one record"))
    return found if found.encoding else _other_encoding(file, found)


def unpacked(file: File, raw: IO[bytes]) -> IO[bytes]:
    if file.packing == ".gz":
        return io.BufferedReader(gzip.GzipFile(fileobj=raw), BLOCK)
    if file.packing == ".zst":
        import zstandard

        reader = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True, closefd=False)
        return io.BufferedReader(reader, BLOCK)
    return raw


def unpacking_errors() -> tuple[type[Exception], ...]:
    """What a damaged .gz or .zst raises."""
    import zstandard

    return EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError


def _file(path: Path) -> File | None:
    suffixes = [s.lower() for s in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    kind = KINDS.get(suffixes[-1] if suffixes else "")
    return File(path, str(path), kind, packing) if kind and not (packing and kind == "parquet") else None


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _neighbours(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir() if p.is_dir() or _file(p)]
    except OSError:
        return f"{path.parent} is no folder"
    return nearest(path.name, names) if 0 < len(names) <= 20 else ""


# Encoding


def _scan_text(stream: IO[bytes]) -> Scan:
    """Hash and try UTF-8; `encoding` is empty where that fails."""
    digest, size, encoding = hashlib.sha256(), 0, "utf-8"
    decoder = codecs.getincrementaldecoder("utf-8")()
    while block := stream.read(BLOCK):
        if size == 0 and block.startswith(codecs.BOM_UTF8):
            encoding = "utf-8-sig"
        size += len(block)
        digest.update(block)
        encoding = encoding and _decodes(decoder, block) and encoding
    if encoding and not _decodes(decoder, b"", final=True):
        encoding = ""
    return Scan(digest.hexdigest(), encoding, size)


def _decodes(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> str:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return ""
    return "yes"


def _other_encoding(file: File, found: Scan) -> Scan:
    """GB18030 where every byte fits and the signs are those of Chinese text; else the line that is not UTF-8."""
    good = odd = 0
    first, line_number, chinese, signs = "", 0, 0, 0
    gb18030 = True
    with open(file.path, "rb") as raw:
        for line_number, line in enumerate(unpacked(file, raw), 1):
            if line.isascii():
                continue
            text = line.decode("utf-8", "replace")
            broken = text.count("\ufffd")
            if broken and not first:
                first = f"{file.name}:{line_number}"
            odd += broken
            good += sum(sign > "\x7f" for sign in text) - broken
            gb18030 = gb18030 and (counts := _gb18030_signs(line)) is not None
            if gb18030 and counts:
                chinese, signs = chinese + counts[0], signs + counts[1]
    # One spoilt byte in a UTF-8 file must not turn all of it into other characters; nor Latin-1 into Chinese.
    if gb18030 and odd > good and chinese > 0.3 * signs:
        return Scan(found.sha, "gb18030", found.size)
    if first and _is_utf16(file):
        raise DataError(problem(file.name, "UTF-16 text", "UTF-8", "convert it with `iconv -f UTF-16 -t UTF-8`"))
    fix = "convert it, for instance with `iconv -f LATIN1 -t UTF-8`" if odd > good else "correct the damaged bytes"
    raise DataError(problem(first or file.name, "bytes that are not UTF-8", "UTF-8 (or GB18030) text", fix))


def _is_utf16(file: File) -> bool:
    with open(file.path, "rb") as raw:
        return unpacked(file, raw).read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _gb18030_signs(line: bytes) -> tuple[int, int] | None:
    """(characters that the older GB2312 has too, characters beyond ASCII) of a line; None where it does not decode."""
    try:
        beyond = "".join(sign for sign in line.decode("gb18030") if sign > "\x7f")
    except UnicodeDecodeError:
        return None
    return len(beyond.encode("gb2312", "ignore")) // 2, len(beyond)
