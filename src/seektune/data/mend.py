"""Messy bytes to clean UTF-8, line by line, for whoever would rather lose a line than a file.

Each line is decoded by itself (UTF-8, else GB18030 where that gives Chinese, else Windows-1252); NUL bytes go, a line beyond
all measure becomes an empty one and stands in `left`. `notes` counts what was mended, `lines` names the first of each.
"""

from __future__ import annotations

import codecs
import io
from collections import Counter
from typing import IO

from .inputs import BLOCK

LONGEST_LINE = 64 << 20
NAMED = 5
PARTS = b'",} '  # bytes that are no second half of a character, in UTF-8 and in GB18030


class Mended(io.RawIOBase):
    """A stream of clean UTF-8 around a stream of any bytes; as many lines as there were.

    `whole`: a line may be as long as the file, as in a JSON array without line breaks; it comes in pieces.
    """

    def __init__(self, stream: IO[bytes], whole: bool = False):
        self.notes: Counter[str] = Counter()
        self.lines: dict[str, list[int]] = {}
        self._line = 1
        self._stream = self._of_two_bytes(io.BufferedReader(stream, BLOCK))  # type: ignore[arg-type]
        self._line = 0
        self._whole, self._rest = whole, b""
        self._ready = b""
        self.left: list[int] = []  # numbers of lines that were too long, until the reader has taken them

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._ready:
            line = self._piece() if self._whole else self._stream.readline(LONGEST_LINE)
            if not line:
                return 0
            self._line += 1
            self._ready = self._clean(line)
            self._line -= self._whole and not line.endswith(b"\n")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def note(self, what: str) -> None:
        self.notes[what] += 1
        named = self.lines.setdefault(what, [])
        if len(named) < NAMED:
            named.append(self._line)

    def _of_two_bytes(self, stream: io.BufferedReader) -> IO[bytes]:
        """UTF-16, as its byte order mark tells it, in UTF-8."""
        if stream.peek(2)[:2] not in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return stream
        self.note("UTF-16 instead of UTF-8")
        return io.BufferedReader(_Recoded(stream), BLOCK)

    def _piece(self) -> bytes:
        """A line, or what fits of it up to a byte where no character is cut in two."""
        piece = self._rest + self._stream.readline(BLOCK)
        end = len(piece)
        if len(piece) >= BLOCK and not piece.endswith(b"\n"):
            end = max(piece.rfind(part) for part in (bytes([byte]) for byte in PARTS)) + 1 or end
        piece, self._rest = piece[:end], piece[end:]
        return piece

    def _clean(self, line: bytes) -> bytes:
        if not self._whole and len(line) >= LONGEST_LINE and not line.endswith(b"\n"):
            return self._skip()
        if self._line == 1 and line.startswith(codecs.BOM_UTF8):
            line = line.removeprefix(codecs.BOM_UTF8)
            self.note("a byte order mark, taken out")
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
        self.left.append(self._line)
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


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8; halves of characters become replacement characters."""

    def __init__(self, stream: IO[bytes]):
        self._text = io.TextIOWrapper(stream, "utf-16", errors="replace", newline="")
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._ready:
            self._ready = self._text.read(BLOCK).encode("utf-8", "replace")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _gb18030(line: bytes) -> str | None:
    """The line where its bytes are Chinese in GB18030 for the most part."""
    try:
        text = line.decode("gb18030")
    except UnicodeDecodeError:
        return None
    beyond = [c for c in text if c > "\x7f"]
    common = sum(c.encode("gb2312", "ignore") != b"" for c in beyond)
    return text if beyond and common > 0.6 * len(beyond) else None
