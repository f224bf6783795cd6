"""Keeps the layout of a document around what changed in it, whoever laid it out.

A writer of YAML lays a document out by its own rules: one indentation for all lists, no anchor that
nothing refers to. What it would change by writing alone is told apart from what was mended, and
only the latter is taken over.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DASHES = re.compile(r" *(?:- +)*")


def kept(original: str, rewritten: str, mended: str, newline: str) -> str:
    """Return the original with what changed from the rewritten to the mended text.

    The result may be wrong where the layouts differ too much: read it back, and take the mended
    text then.

    Args:
        original: A document as it stands in its file.
        rewritten: The same document as a writer lays it out, with nothing changed.
        mended: The changed document as that writer lays it out.
        newline: How lines end that are new.
    """
    old, base, new = original.split("\n"), rewritten.split("\n"), mended.split("\n")
    in_old, in_new = _places(base, old), _places(base, new)
    common = [index for index in range(len(base)) if index in in_old and index in in_new]
    indents = _Indents()
    written: list[str] = []
    at_old = at_base = at_new = 0
    for index in [*common, len(base)]:
        to_old, to_new = in_old.get(index, len(old)), in_new.get(index, len(new))
        if base[at_base:index] == new[at_new:to_new]:
            written += old[at_old:to_old]
        else:
            written += [indents.placed(line) + newline[:-1] for line in new[at_new:to_new]]
        if index < len(base):
            written.append(old[to_old])
            indents.note(base[index], old[to_old])
        at_old, at_base, at_new = to_old + 1, index + 1, to_new + 1
    return "\n".join(written)


def _places(lines: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """Return where in other lines each line is, whatever its indentation and spaces."""
    first, second = ([" ".join(line.split()) for line in one] for one in (lines, others))
    matcher = SequenceMatcher(None, first, second)
    return {
        block.a + step: block.b + step
        for block in matcher.get_matching_blocks()
        for step in range(block.size)
    }


_Level = tuple[int, bool]
"""A column, and whether a dash stands there. A dash is deeper than a key in its column: lists need
not be indented."""


class _Indents:
    """How far the original indents what a writer indents otherwise, at one place in a text."""

    def __init__(self) -> None:
        self._open: list[tuple[_Level, int]] = [((0, False), 0)]
        """The levels around the last line, outermost first, as the writer indents them, each with
        its column in the original."""

    def note(self, written: str, original: str) -> None:
        """Note a line that both have."""
        if not written.strip() or written.lstrip().startswith("#"):
            return
        for level, (column, _) in zip(_levels(written), _levels(original), strict=False):
            while len(self._open) > 1 and self._open[-1][0] >= level:
                self._open.pop()
            self._open.append((level, column))

    def placed(self, line: str) -> str:
        """Return a new line as the original would indent it."""
        if not line.strip():
            return line
        level = _levels(line)[0]
        while len(self._open) > 1 and self._open[-1][0] > level:
            self._open.pop()
        (around, _), column = self._open[-1]
        moved = " " * (column + level[0] - around) + line.lstrip(" ")
        self.note(line, moved)
        return moved


def _levels(line: str) -> list[_Level]:
    """Return where a line's content begins: each of its dashes, and what follows them."""
    found = _DASHES.match(line)
    marks = found[0] if found else ""
    return [
        *((index, True) for index, mark in enumerate(marks) if mark == "-"),
        (len(marks), False),
    ]
