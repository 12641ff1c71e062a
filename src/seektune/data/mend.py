"""Messy bytes to clean UTF-8, line by line, for whoever would rather lose a line than a file.

Each line is decoded by itself (UTF-8, else GB18030 where that gives Chinese, else Windows-1252); NUL bytes go, a line beyond
all measure becomes an empty one. `notes` counts what was mended, `lines` names the first of each.
"""

from __future__ import annotations

import codecs
import io
from collections import Counter
from typing import IO

from .inputs import BLOCK

LONGEST_LINE = 64 << 20
NAMED = 5


class Mended(io.RawIOBase):
    """A stream of clean UTF-8 around a stream of any bytes; as many lines as there were."""

    def __init__(self, stream: IO[bytes]):
        self._stream = io.BufferedReader(stream, BLOCK) if isinstance(stream, io.RawIOBase) else stream
        self._ready = b""
        self._line = 0
        self.notes: Counter[str] = Counter()
        self.lines: dict[str, list[int]] = {}

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            line = self._stream.readline(LONGEST_LINE)
            if not line:
                return 0
            self._line += 1
            self._ready = self._clean(line)
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def note(self, what: str) -> None:
        self.notes[what] += 1
        named = self.lines.setdefault(what, [])
        if len(named) < NAMED:
            named.append(self._line)

    def _clean(self, line: bytes) -> bytes:
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            return self._skip()
        if self._line == 1 and line.startswith(codecs.BOM_UTF8):
            line = line.removeprefix(codecs.BOM_UTF8)
        if b"\0" in line:
            self.note("NUL bytes, taken out")
            line = line.replace(b"\0", b"")
        try:
            line.decode()
        except UnicodeDecodeError:
            line = self._decoded(line).encode()
        return line

    def _skip(self) -> bytes:
        """The rest of a line that is too long to be a record."""
        self.note(f"longer than {LONGEST_LINE >> 20} MB, left out")
        while (part := self._stream.readline(BLOCK)) and not part.endswith(b"\n"):
            pass
        return b"\n"

    def _decoded(self, line: bytes) -> str:
        if (found := _gb18030(line)) is not None:
            self.note("GB18030 instead of UTF-8")
            return found
        broken = line.decode("utf-8", "replace")
        good = sum(c > "\x7f" for c in broken) - broken.count("\ufffd")
        if good > broken.count("\ufffd"):  # mostly UTF-8: a byte is spoilt, the rest is not Latin
            self.note("bytes that are not UTF-8, replaced")
            return broken
        self.note("Windows-1252 instead of UTF-8")
        return line.decode("cp1252", "replace")


def _gb18030(line: bytes) -> str | None:
    """The line where its bytes are Chinese in GB18030 for the most part."""
    try:
        text = line.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [c for c in text if c > "\x7f"]
    common = sum(c.encode("gb2312", "ignore") != b"" for c in beyond)
    return text if beyond and common > 0.6 * len(beyond) else None
