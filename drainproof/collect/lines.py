"""Finds the line of a field, for what has findings only: positions must not cost the fast parse.

Most manifests are plain block YAML, where indentation alone leads to a field. Where it doesn't
(flow style, anchors, quoted keys, JSON), PyYAML's nodes do.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.collect import yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Origin

_STEP = re.compile(r"\[(\d+)\]|\[([^\[\]]+)\]|([^.\[\]]+)")
_NOT_BLOCK = frozenset("{[\"'&*!?|>@%`")
_Position = tuple[int, int]
"""Row and column, from 0, at which a node begins."""


@lru_cache(maxsize=1024)
def steps(path: str) -> tuple[str | int, ...]:
    """Return a field path's steps: ``a.b[0]`` is ``("a", "b", 0)``."""
    return tuple(
        int(found[1]) if found[1] else found[2] or found[3] for found in _STEP.finditer(path)
    )


class Lines:
    """Line numbers of fields, by a second look at the documents that they are in.

    Args:
        texts: Text of inputs that can't be read again, such as standard input, by file name.
    """

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self._texts = dict(texts or {})

    def find(self, places: Sequence[tuple[Origin, str]]) -> list[int]:
        """Return the line of each field, in the order of ``places``, one document at a time.

        A field that is absent gets the line of its nearest parent. What was rendered from a
        chart or a kustomization has no line in a file of the user: it gets 0.
        """
        by_document: dict[tuple[str, int], list[int]] = defaultdict(list)
        for index, (origin, _) in enumerate(places):
            if not origin.line:
                continue
            by_document[origin.file, origin.start].append(index)
        found = [0] * len(places)
        for wanted in by_document.values():
            first = places[wanted[0]][0]
            text = self._text(first.file)[first.start : first.end]
            paths = [(*places[index][0].prefix, *steps(places[index][1])) for index in wanted]
            for index, line in zip(wanted, _lines_in(text, paths), strict=True):
                found[index] = first.line + line - 1
        return found

    def _text(self, file: str) -> str:
        if file not in self._texts:
            try:
                read = Path(file).read_text(encoding="utf-8-sig", errors="replace")
            except OSError:
                read = ""
            self._texts = {file: read}  # one file at a time, so that memory stays small
        return self._texts[file]


def _lines_in(text: str, paths: Sequence[tuple[str | int, ...]]) -> list[int]:
    block = BlockText(text)
    quick = [block.line_of(path) for path in paths]
    found = [line for line in quick if line is not None]
    if len(found) == len(quick):
        return found
    node = None
    if text:
        try:
            node = yaml_text.compose(text)
        except yaml_text.YamlError:
            node = None  # JSON with tabs, or the file changed meanwhile: its first line will do
    return [1 if node is None else yaml_text.line_of(node, path) for path in paths]


class _NotBlock(Exception):  # noqa: N818 - a way out, not an error
    """The way to a field is not plain block YAML."""


class BlockText:
    """One document, in which indentation leads to fields.

    Args:
        text: The document's text.
    """

    def __init__(self, text: str) -> None:
        self._rows = text.split("\n")
        self._indents = [_indent(row) for row in self._rows]
        self._known: dict[tuple[str | int, ...], tuple[int, _Position | None]] = {}
        """The row that a path leads to, and where its value begins."""

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Return the line of a field, from 1; of its nearest parent if it is absent.

        Returns:
            None if the way there is not plain block YAML.
        """
        try:
            return self._find(tuple(path))[0] + 1
        except _NotBlock:
            return None

    def _find(self, path: tuple[str | int, ...]) -> tuple[int, _Position | None]:
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._step(path) if path else self._root()
        return found

    def _root(self) -> tuple[int, _Position]:
        at = self._content(0)
        if at is None or (at[0] == 0 and at[1] > 0):  # nothing, or content beside the separator
            raise _NotBlock
        return at[0], at

    def _step(self, path: tuple[str | int, ...]) -> tuple[int, _Position | None]:
        parent, at = self._find(path[:-1])
        if at is None:
            return parent, None
        step = path[-1]
        row = self._key(at, step) if isinstance(step, str) else self._item(at, step)
        if row is None:
            return parent, None
        if isinstance(step, str):
            return row, self._value(row, at[1], at[1] + len(step) + 1, in_item=False)
        value = self._value(row, at[1], at[1] + 1, in_item=True)
        return (row if value is None else value[0]), value

    def _entries(self, at: _Position) -> Iterator[int]:
        """Yield the rows at which a node's own entries may begin."""
        start, column = at
        yield start
        for index in range(start + 1, len(self._indents)):
            indent = self._indents[index]
            if indent == column:
                yield index
            elif 0 <= indent < column:
                return

    def _key(self, at: _Position, key: str) -> int | None:
        column = at[1]
        if self._rows[at[0]].startswith("- ", column):
            raise _NotBlock
        end = column + len(key)
        for index in self._entries(at):
            row = self._rows[index]
            if row.startswith(key, column) and row[end : end + 2].strip() == ":":
                return index
            if row[column] in _NOT_BLOCK:
                raise _NotBlock
        return None

    def _item(self, at: _Position, number: int) -> int | None:
        column = at[1]
        if self._rows[at[0]][column] != "-":
            raise _NotBlock
        for index in self._entries(at):
            if self._rows[index][column : column + 2].strip() != "-":
                return None  # the next key of the mapping that holds the list
            if number == 0:
                return index
            number -= 1
        return None

    def _value(self, row: int, column: int, after: int, *, in_item: bool) -> _Position | None:
        """Return where the value after a key or a dash begins; None if there is none.

        A value on the key's own line is a scalar, or begins something that is not block style.
        """
        rest = self._rows[row][after:]
        bare = rest.strip()
        if bare and not bare.startswith("#"):
            return row, after + len(rest) - len(rest.lstrip())
        found = self._content(row + 1)
        if found is None or found[1] < column:
            return None
        beside = found[1] == column
        if beside and (in_item or not self._rows[found[0]].startswith("-", column)):
            return None
        return found

    def _content(self, start: int) -> _Position | None:
        """Return where the next content begins; None at the end."""
        for index in range(start, len(self._indents)):
            if self._indents[index] >= 0:
                return index, self._indents[index]
        return None


def _indent(row: str) -> int:
    """Return how far a row is indented; -1 if it is blank or a comment."""
    bare = row.lstrip(" ")
    if not bare or bare[0] in "#\r" or (bare[0] == "\t" and not bare.strip()):
        return -1
    return len(row) - len(bare)
