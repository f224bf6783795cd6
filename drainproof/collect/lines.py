"""Finds the line of a field, for what has findings only: positions must not cost the fast parse.

Most manifests are plain block YAML, where indentation alone leads to a field. Where it doesn't
(flow style, anchors, quoted keys, JSON), PyYAML's nodes do.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from drainproof.collect import yaml_text
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drainproof.model.finding import Origin

_STEP = regex(r"\[(\d+)\]|\[([^\[\]]+)\]|([^.\[\]]+)")
_NOT_BLOCK = "{[\"'&*!?|>@%`"
_FAR = 4096
"""Characters up to which a key is looked for before it is known where its mapping ends."""
_MAX_COMPOSED = 4 * 2**20
"""Longest document, in characters, whose nodes are all made to find lines."""
_JSON_TOKEN = regex(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],":]+')
_BLOCK = 2**17
_MAX_ALIKE = 1000
"""Most rows of a document that is compared with others."""
_HEAD = regex(r"( *(?:- +)*(?:[^\s#-].*?:(?=\s|$))?[ \t]*)(.?)")
"""A row up to its value, and the value's first character."""


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
        by_file: dict[str, dict[int, list[int]]] = {}
        for index, (origin, _) in enumerate(places):
            if origin.line:
                in_file = by_file.setdefault(origin.file, defaultdict(list))
                in_file[origin.start].append(index)
        found = [0] * len(places)
        alike = _Alike()
        for file, documents in by_file.items():
            with _source(file, self._texts.get(file)) as text_between:
                for wanted in documents.values():
                    first = places[wanted[0]][0]
                    paths = [
                        (*origin.prefix, *steps(path)) if origin.prefix else steps(path)
                        for origin, path in (places[index] for index in wanted)
                    ]
                    text = text_between(first.start, first.end)
                    lines = _lines_in(text, paths, alike.known(text))
                    for index, line in zip(wanted, lines, strict=True):
                        found[index] = first.line + line - 1
        return found


@contextmanager
def _source(file: str, text: str | None) -> Iterator[Callable[[int, int], str]]:
    """Give what returns the part of a file between two places, in characters.

    Only that part is in memory, unless characters aren't bytes. A file that can't be read any more
    is empty.
    """
    if text is not None:
        yield lambda start, end: text[start:end]
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below
    except OSError:
        yield lambda _start, _end: ""
        return
    with stream:
        if all(block.isascii() for block in iter(partial(stream.read, _BLOCK), b"")):

            def read(start: int, end: int) -> str:
                stream.seek(start)
                return stream.read(end - start).decode("ascii", errors="replace")

            yield read
        else:
            stream.seek(0)
            whole = stream.read().decode("utf-8-sig", errors="replace")
            yield lambda start, end: whole[start:end]


class _Alike:
    """Lines that are known from documents whose rows differ in nothing but values.

    Fleets are written from templates: what is on line 30 of one is on line 30 of the next.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[list[str], dict[tuple[str | int, ...], int]]] = {}
        """By how many rows it has: the last document, and the lines that are known of it."""

    def known(self, text: str) -> dict[tuple[str | int, ...], int]:
        """Return the lines that are known of a document, in which new ones may be noted."""
        rows = text.split("\n")
        if len(rows) > _MAX_ALIKE:
            return {}
        rows_before, lines = self._last.get(len(rows), ([], {}))
        pairs = zip(rows, rows_before, strict=False)
        if not rows_before or any(one != other and not _alike(one, other) for one, other in pairs):
            lines = {}
        self._last[len(rows)] = rows, lines
        return lines


def _alike(one: str, other: str) -> bool:
    """Tell whether two rows have the same indentation, the same key and values of one style."""
    mine, its = _HEAD.match(one), _HEAD.match(other)
    return (
        mine is not None
        and its is not None
        and mine[1] == its[1]
        and (mine[2] == its[2] or (mine[2].isalnum() and its[2].isalnum()))
    )


def _lines_in(
    text: str, paths: Sequence[tuple[str | int, ...]], known: dict[tuple[str | int, ...], int]
) -> list[int]:
    block: BlockText | None = None
    found: list[int] = []
    for path in paths:
        line = known.get(path)
        if line is None:
            block = block or BlockText(text)
            line = block.line_of(path)
            if line is None:
                break
            known[path] = line
        found.append(line)
    if len(found) == len(paths):
        return found
    if text.lstrip()[:1] in {"{", "["}:
        in_json = _lines_in_json(text, paths)
        if in_json is not None:
            return in_json
    node = None
    if 0 < len(text) < _MAX_COMPOSED:
        try:
            node = yaml_text.compose(text)
        except yaml_text.YamlError:
            node = None  # the file changed meanwhile: its first line will do
    return [1 if node is None else yaml_text.line_of(node, path) for path in paths]


class _NotBlock(Exception):  # noqa: N818 - a way out, not an error
    """The way to a field is not plain block YAML."""


class BlockText:
    """One document, in which indentation leads to fields.

    Args:
        text: The document's text.
    """

    def __init__(self, text: str) -> None:
        self._text = f"\n{text}\n"  # so that every row has a newline before and after it
        self._known: dict[tuple[str | int, ...], tuple[int, _Node | None]] = {}
        """Where the row that a path leads to begins, and the node that is its value."""
        self._rows: list[int] = []

    def line_of(self, path: Sequence[str | int]) -> int | None:
        """Return the line of a field, from 1; of its nearest parent if it is absent.

        Returns:
            None if the way there is not plain block YAML.
        """
        try:
            return self._line(self._find(tuple(path))[0])
        except _NotBlock:
            return None

    def _line(self, at: int) -> int:
        if len(self._text) <= _FAR:
            return self._text.count("\n", 0, at)
        if not self._rows:
            self._rows = [found.start() for found in re.finditer("\n", self._text)]
        return bisect_left(self._rows, at)

    def _find(self, path: tuple[str | int, ...]) -> tuple[int, _Node | None]:
        found = self._known.get(path)
        if found is None:
            found = self._known[path] = self._step(path) if path else self._root()
        return found

    def _root(self) -> tuple[int, _Node]:
        at = _CONTENT.match(self._text)
        if at is None:  # nothing, or content beside the separator
            raise _NotBlock
        return at.end(), _Node(self._text, at.end(), len(at[1]), len(self._text))

    def _step(self, path: tuple[str | int, ...]) -> tuple[int, _Node | None]:
        parent, node = self._find(path[:-1])
        if node is None:
            return parent, None
        step = path[-1]
        if isinstance(step, str):
            at = self._key(node, step)
            if at < 0:
                return parent, None
            return at, self._value(at + len(step) + 1, node, in_item=False)
        at = self._item(node, step)
        if at < 0:
            return parent, None
        value = self._value(at + 1, node, in_item=True)
        return (at if value is None else value.at), value

    def _key(self, node: _Node, key: str) -> int:
        """Return where a key of a mapping is; -1 if it is not there."""
        if node.form != _MAPPING:
            raise _NotBlock
        text, start, column = self._text, node.at, node.column
        if text.startswith(f"{key}:", start) and text[start + len(key) + 1] in " \t\r\n":
            return start
        if node.end - start > _FAR:
            self._close(node)
        row = f"\n{' ' * column}{key}:"
        at = text.find(row, start, node.end)
        while at >= 0 and text[at + len(row)] not in " \t\r\n":
            at = text.find(row, at + 1, node.end)
        if at >= 0 and (node.closed or not _outside(column).search(text, start, at + 1)):
            return at + 1 + column
        self._close(node)
        if _unsure(column).search(text, start, node.end):
            raise _NotBlock
        return -1

    def _item(self, node: _Node, number: int) -> int:
        """Return where an item of a list is; -1 if it is not there."""
        if node.form != _LIST:
            raise _NotBlock
        self._close(node)
        if not node.items:
            node.items.append(node.at)
        row = f"\n{' ' * node.column}-"
        while len(node.items) <= number:
            at = self._text.find(row, node.items[-1], node.end)
            if at < 0:
                return -1
            node.items.append(at + len(row) - 1)
        return node.items[number]

    def _close(self, node: _Node) -> None:
        """Find where a node ends: at the first row that is not in it."""
        if not node.closed:
            pattern = (_outside_list if node.form == _LIST else _outside)(node.column)
            found = pattern.search(self._text, node.at, node.end)
            node.end = found.start() if found else node.end
            node.closed = True

    def _value(self, after: int, parent: _Node, *, in_item: bool) -> _Node | None:
        """Return the node after a key or a dash; None if there is none.

        A value on the key's own line is a scalar, or begins something that is not block style.
        """
        text = self._text
        if text[after] != "\n":
            beside = _BESIDE.match(text, after)
            if beside is not None:
                at = beside.end()
                return _Node(text, at, at - text.rfind("\n", 0, at) - 1, parent.end)
            after = text.index("\n", after)
        found = _CONTENT.match(text, after)
        if found is None or found.end() >= parent.end:
            return None
        at, column = found.end(), len(found[1])
        if column > parent.column or (column == parent.column and not in_item and text[at] == "-"):
            return _Node(text, at, column, parent.end)
        return None


_MAPPING, _LIST, _OTHER = range(3)


class _Node:
    """A value: where it begins, its column, what it is, and where it ends at the latest."""

    __slots__ = ("at", "closed", "column", "end", "form", "items")

    def __init__(self, text: str, at: int, column: int, end: int) -> None:
        self.at = at
        self.column = column
        self.end = end
        self.closed = False
        """Whether ``end`` is where it ends."""
        self.items: list[int] = []
        """Where its first items begin, as far as they were looked for."""
        first = text[at]
        if first == "-" and text[at + 1] in " \r\n":
            self.form = _LIST
        else:
            self.form = _OTHER if first in _NOT_BLOCK else _MAPPING


_CONTENT = regex(r"(?:\n[ \t]*(?:#[^\n]*|\r)?(?=\n))*\n( *)(?=[^\s#])")
"""From a newline to the next content: blank rows and comments between them are left out."""
_BESIDE = regex(r"[ \t]*(?=[^\s#])")


@lru_cache(maxsize=256)
def _outside(column: int) -> re.Pattern[str]:
    """Match the beginning of a row that is less indented than a mapping."""
    if not column:
        return re.compile(r"(?!)")
    return re.compile(rf"\n {{0,{column - 1}}}[^\s#]")


@lru_cache(maxsize=256)
def _unsure(column: int) -> re.Pattern[str]:
    """Match a row of a mapping that may say a key in other than plain words."""
    return re.compile(rf"\n {{{column}}}[{re.escape(_NOT_BLOCK)}]")


@lru_cache(maxsize=256)
def _outside_list(column: int) -> re.Pattern[str]:
    """Match the beginning of a row that is less indented than a list, or beside its dashes."""
    beside = rf" {{{column}}}(?!-[ \r\n])[^\s#]"
    return re.compile(rf"\n(?:{beside}| {{0,{column - 1}}}[^\s#])" if column else rf"\n{beside}")


def _lines_in_json(text: str, paths: Sequence[tuple[str | int, ...]]) -> list[int] | None:
    """Return the lines of fields in JSON, in one walk over it; None if it is no JSON."""
    wanted = {path[:length] for path in paths for length in range(len(path) + 1)}
    found: dict[tuple[str | int, ...], int] = {(): 1}
    line = counted = 0
    at: list[str | int] = []
    """The key or the index in each mapping and list that is open."""
    near = [True]
    """Whether a wanted field can be in each of them, the document itself first."""
    key_next = False
    try:
        for token in _JSON_TOKEN.finditer(text):
            first = token[0][0]
            if first == ",":
                last = at[-1]
                key_next = isinstance(last, str)
                if isinstance(last, int):
                    at[-1] = last + 1
                continue
            if first in "}]":
                at.pop()
                near.pop()
                key_next = False
                continue
            if key_next:
                at[-1] = orjson.loads(token[0])
                key_next = False
            elif at and isinstance(at[-1], str) and first not in "{[":
                continue  # a key's value: the key's own line counts
            if near[-1] and (path := tuple(at)) in wanted and path not in found:
                line += text.count("\n", counted, token.start())
                counted = token.start()
                found[path] = line + 1
            if first in "{[":
                near.append(near[-1] and tuple(at) in wanted)
                at.append("" if first == "{" else 0)
                key_next = first == "{"
    except (IndexError, TypeError, orjson.JSONDecodeError):
        return None
    return [
        next(found[path[:length]] for length in range(len(path), -1, -1) if path[:length] in found)
        for path in paths
    ]
