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
    from collections.abc import Iterable, Iterator, Sequence

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

    def find(self, places: Iterable[tuple[Origin, str]]) -> dict[tuple[Origin, str], int]:
        """Return the line of each field, one document at a time.

        A field that is absent gets the line of its nearest parent.
        """
        by_document: dict[tuple[str, int], list[tuple[Origin, str]]] = defaultdict(list)
        for origin, path in dict.fromkeys(places):
            by_document[origin.file, origin.start].append((origin, path))
        found: dict[tuple[Origin, str], int] = {}
        for wanted in by_document.values():
            first = wanted[0][0]
            text = self._text(first.file)[first.start : first.end]
            inner = _lines_in(text, [(*origin.prefix, *steps(path)) for origin, path in wanted])
            for place, line in zip(wanted, inner, strict=True):
                found[place] = first.line + line - 1
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
    rows = text.split("\n")
    quick = [by_indentation(rows, path) for path in paths]
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


def by_indentation(rows: Sequence[str], path: Sequence[str | int]) -> int | None:
    """Return the line of a field, from 1, by indentation alone; of its nearest parent if absent.

    Args:
        rows: The document's lines.
        path: The field's steps.

    Returns:
        None if the way there is not plain block YAML.
    """
    try:
        return _descend(rows, path)
    except _NotBlock:
        return None


def _descend(rows: Sequence[str], path: Sequence[str | int]) -> int:
    at = _content(rows, 0)
    if at is None or (at[0] == 0 and at[1] > 0):  # nothing, or content beside the separator
        raise _NotBlock
    line = at[0] + 1
    for step in path:
        if isinstance(step, str):
            row = _key_row(rows, at, step)
            after = at[1] + len(step) + 1
        else:
            row = _item_row(rows, at, step)
            after = at[1] + 1
        if row is None:
            break  # absent
        line = row + 1
        value = _value(rows, row, at[1], after, in_item=not isinstance(step, str))
        if value is None:
            break  # null
        at = value
        if not isinstance(step, str):
            line = at[0] + 1
    return line


def _rows_of(rows: Sequence[str], at: _Position) -> Iterator[int]:
    """Yield the rows of a node at which its own entries may begin."""
    start, column = at
    yield start
    for index in range(start + 1, len(rows)):
        row = rows[index]
        indent = len(row) - len(row.lstrip(" "))
        if indent == column and indent < len(row) and row[indent] not in "#\r":
            yield index
        elif indent < column and not _blank(row):
            return


def _key_row(rows: Sequence[str], at: _Position, key: str) -> int | None:
    column = at[1]
    if rows[at[0]][column] in _NOT_BLOCK or rows[at[0]].startswith("- ", column):
        raise _NotBlock
    end = column + len(key)
    for index in _rows_of(rows, at):
        row = rows[index]
        if row.startswith(key, column) and row[end : end + 2].strip() == ":":
            return index
        if row[column] in _NOT_BLOCK:
            raise _NotBlock
    return None


def _item_row(rows: Sequence[str], at: _Position, number: int) -> int | None:
    column = at[1]
    if rows[at[0]][column] != "-":
        raise _NotBlock
    for index in _rows_of(rows, at):
        if rows[index][column : column + 2].strip() != "-":
            return None  # the next key of the mapping that holds the list
        if number == 0:
            return index
        number -= 1
    return None


def _value(
    rows: Sequence[str], row: int, column: int, after: int, *, in_item: bool
) -> _Position | None:
    """Return where the value after a key or a dash begins; None if there is none.

    A value on the key's own line is a scalar, or begins something that is not block style.
    """
    rest = rows[row][after:]
    bare = rest.strip()
    if bare and not bare.startswith("#"):
        return row, after + len(rest) - len(rest.lstrip())
    found = _content(rows, row + 1)
    if found is None or found[1] < column:
        return None
    if found[1] == column and (in_item or not rows[found[0]].startswith("-", column)):
        return None
    return found


def _content(rows: Sequence[str], start: int) -> _Position | None:
    """Return where the next content begins; None at the end."""
    for index in range(start, len(rows)):
        if not _blank(rows[index]):
            return index, len(rows[index]) - len(rows[index].lstrip(" "))
    return None


def _blank(row: str) -> bool:
    bare = row.strip()
    return not bare or bare.startswith("#")
