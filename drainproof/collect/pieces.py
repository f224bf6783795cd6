"""Reads files in pieces that end between documents: a large one is never in memory as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 2**17
"""Bytes of a piece, roughly; one that holds a longer document is longer."""

_BOM = b"\xef\xbb\xbf"
_TEXT = bytes(set(range(256)) - set(range(9)) - {11, 12} - set(range(14, 32)))
_SEPARATOR = b"\n---"
_AFTER = frozenset(b" \t\r\n")


class Piece(Struct, frozen=True):
    """A part of a file, with whole documents in it."""

    text: str
    start: int
    """Where it begins in the file, in characters."""
    line: int
    """Its first line, from 1."""


class NotTextError(ValueError):
    """A file holds what is no text.

    Args:
        line: Where, from 1.
        message: What it holds.
    """

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


class TooLargeError(ValueError):
    """A file is larger than it may be."""


def pieces(stream: BinaryIO, limit: int) -> Iterator[Piece]:
    """Yield the pieces of a file.

    Args:
        stream: The file, opened for bytes.
        limit: The largest file that is read, in bytes.

    Raises:
        NotTextError: It holds control characters, or is not UTF-8.
        TooLargeError: It holds more bytes than ``limit``.
    """
    held = bytearray()
    start, line, left = 0, 1, limit
    while True:
        block = stream.read(SIZE)
        left -= len(block)
        if left < 0:
            raise TooLargeError
        stray = block.translate(None, _TEXT)
        if stray:
            at = line + held.count(b"\n") + block.count(b"\n", 0, block.index(stray[:1]))
            raise NotTextError(at, f"it holds the byte 0x{stray[0]:02x}")
        if left == limit - len(block):
            block = block.removeprefix(_BOM)
        seen = len(held)
        held += block
        cut = _last_separator(held, seen) if block else len(held)
        if cut:
            text = _decode(held[:cut], line)
            yield Piece(text, start, line)
            start += len(text)
            line += held.count(b"\n", 0, cut)
            del held[:cut]
        if not block:
            return


def _last_separator(data: bytearray, seen: int) -> int:
    """Return where the last document begins of those whose beginning is there; 0 if nowhere.

    None begins in the first ``seen`` bytes.
    """
    at = len(data) - 1
    while True:
        at = data.rfind(_SEPARATOR, max(0, seen - len(_SEPARATOR)), at)
        if at < 0:
            return 0
        if data[at + len(_SEPARATOR)] in _AFTER:
            return at + 1


def _decode(data: bytearray, line: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        at = line + data.count(b"\n", 0, error.start)
        raise NotTextError(at, "it is not UTF-8") from None
