"""Reads YAML as Kubernetes does, fast where YAML 1.1 and 1.2 agree, exactly where they don't.

Kubernetes reads YAML 1.1 with Go's rules: ``yes`` and ``on`` are booleans, ``0644`` is octal,
``<<`` merges, duplicate keys are an error. The fast parser follows YAML 1.2. So its answer counts
only if nothing in the text could mean something else in 1.1; otherwise, and whenever it refuses a
document, PyYAML's nodes are read by Go's rules. That also gives errors their line.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml_rs

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAX_VALUES = 1_000_000
"""Values that a document may hold once its aliases are expanded; a YAML bomb has more."""

MAX_EXACT = 16 * 2**20
"""Longest document, in characters, that is read by PyYAML's nodes, which take 50 times as much."""

_SEPARATOR = "---"
_AFTER_SEPARATOR = frozenset(" \t\r\n")
# Plain scalars that YAML 1.1 reads in another way, after what can come before a value. One pattern
# for each, since a search for a literal first character is several times faster than for a class.
_BEFORE = (r":[ \t]+", r"-[ \t]+", r",[ \t]*", r"\[[ \t]*", r"\{[ \t]*")
_DIFFERS = (
    r"(?:(?:[yYnNoO](?:|es|ES|o|O|n|N|ff|FF)|=)(?=[\s,\]}:#]|\Z)"
    r"|[-+]?0[0-9_xXoObB]|[-+]?[0-9]+_|[-+]?\.[inIN]|!|<<|\*\w)"
)
_BEGINS = r"(?=[yYnNoO=+\-0-9.!<*])"  # of what differs: most values are told by their first letter
_AMBIGUOUS = tuple(regex(before + _BEGINS + _DIFFERS) for before in _BEFORE)
_ANCHOR = regex(r"(?:^|[-:?,\[{])[ \t]*&[\w-]*[^\w\s-]", re.MULTILINE)
"""An anchor whose name YAML 1.1 does not allow, such as ``&a:``."""
_END_MARKER = regex(r"^\.\.\.", re.MULTILINE)
_DEEP_ROW = tuple(regex(rf"{first}[ \t]+(?:[-?:][ \t]+){{150}}") for first in ("-", r"\?"))
_BRACKET = regex(r"[\[\]{}]")
_MAX_BRACKETS = 1000
"""How deep brackets may nest. Deeper ones overflow the stack of PyYAML's parser."""
_PLACE = regex(r"at line (\d+)|line (\d+), column")

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE"), False),
    **dict.fromkeys(("on", "On", "ON"), True),
    **dict.fromkeys(("off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_INTEGER = regex(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+|0[bB][01_]+|[1-9][0-9_]*|0)")
_FLOAT = regex(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


class YamlError(ValueError):
    """A document that Kubernetes would not read.

    Args:
        line: Its line in the document, from 1; None if it can't be told.
        message: What is wrong.
    """

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def documents(text: str) -> Iterator[tuple[int, int]]:
    """Yield where each document begins and ends, in characters; ``---`` splits, as in kubectl."""
    start = 0
    at = 0 if text.startswith(_SEPARATOR) else _next_separator(text, 0)
    while at >= 0:
        end = at + len(_SEPARATOR)
        if end == len(text) or text[end] in _AFTER_SEPARATOR:
            yield start, at
            start = end
        at = _next_separator(text, end)
    yield start, len(text)


def _next_separator(text: str, after: int) -> int:
    found = text.find(f"\n{_SEPARATOR}", after)
    return found + 1 if found >= 0 else -1


def plain(text: str) -> bool:
    """Tell whether YAML 1.1 and 1.2 agree on all of a text, so that the fast parser counts."""
    return (
        "<<" not in text
        and "{{" not in text  # a Helm template: to the fast parser, a mapping with a mapping as key
        and not any(pattern.search(text) for pattern in _AMBIGUOUS)
        and not ("&" in text and _ANCHOR.search(text))
        and not ("\n..." in text and _END_MARKER.search(text))
        and not _has_deep_row(text)
    )


def parse(text: str, *, is_plain: bool) -> object:
    """Return what one document holds; None if it is empty.

    Args:
        text: The document.
        is_plain: What :func:`plain` said of it, or of the whole file.

    Raises:
        YamlError: Kubernetes would not read it, or it is a bomb.
    """
    if not is_plain and _has_deep_row(text):
        raise YamlError(None, "nested too deeply")
    try:
        found: object = yaml_rs.loads(text, parse_datetime=False)
    except ValueError as error:
        said = str(error)
        if "recursion limit" in said or "alias replay" in said:
            raise YamlError(_line_in(said), _limit(said)) from None
        if len(text) > MAX_EXACT:
            raise YamlError(_line_in(said), "it can't be parsed") from None
        return _parse_exactly(text)
    except RecursionError:
        raise YamlError(None, "nested too deeply") from None
    return found if is_plain else _parse_exactly(text)


def _has_deep_row(text: str) -> bool:
    """Tell whether a row holds so many markers that either parser's stack would overflow."""
    return any(pattern.search(text) for pattern in _DEEP_ROW)


def _limit(said: str) -> str:
    if "alias" in said:
        return f"its aliases expand to more than {MAX_VALUES:,} values"
    return "nested too deeply"


def _line_in(said: str) -> int | None:
    place = _PLACE.search(said)
    return int(place[1] or place[2]) if place else None


def compose(text: str) -> Any:  # noqa: ANN401 - PyYAML's node, loaded when it is needed
    """Return PyYAML's node of one document, with lines; None if it is empty.

    Raises:
        YamlError: The document can't be read.
    """
    import yaml  # noqa: PLC0415 - slow to load, and only needed for lines and rare documents

    if _deep_brackets(text):
        raise YamlError(None, "nested too deeply")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(mark.line + 1 if mark else None, said) from None
    except yaml.YAMLError as error:
        raise YamlError(None, " ".join(str(error).split())) from None
    except (ValueError, RecursionError) as error:
        raise YamlError(None, str(error)) from None


def _deep_brackets(text: str) -> bool:
    """Tell whether brackets nest too deeply, those in strings counted with the others."""
    if text.count("[") + text.count("{") <= _MAX_BRACKETS:
        return False
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += 1 if found[0] in "[{" else -1
        if depth > _MAX_BRACKETS:
            return True
    return False


def _parse_exactly(text: str) -> object:
    if len(text) > MAX_EXACT:
        raise _too_long(text)
    node = compose(text)
    return None if node is None else _Reader().value(node)


def _too_long(text: str) -> YamlError:
    places = [found.start() for pattern in _AMBIGUOUS if (found := pattern.search(text))]
    line = text.count("\n", 0, min(places)) + 1 if places else None
    return YamlError(
        line,
        f"a document of more than {MAX_EXACT // 2**20} MiB with what versions of YAML read in "
        "different ways (yes, on, 0644, <<, *alias and the like): quote that, or split it",
    )


class _Reader:
    """Makes values of PyYAML's nodes by the rules of Kubernetes' own parser."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[object, int]] = {}
        self._open: set[int] = set()

    def value(self, node: Any) -> object:  # noqa: ANN401 - PyYAML's node
        try:
            return self._read(node)[0]
        except RecursionError:
            raise YamlError(node.start_mark.line + 1, "nested too deeply") from None

    def _read(self, node: Any) -> tuple[object, int]:  # noqa: ANN401 - same
        """Return a node's value, and how many values it holds once its aliases are expanded."""
        key = id(node)
        if key in self._done:
            return self._done[key]
        if key in self._open:
            raise YamlError(node.start_mark.line + 1, "an alias that contains itself")
        self._open.add(key)
        result: tuple[object, int]
        if node.id == "scalar":
            result = _scalar(node), 1
        elif node.id == "sequence":
            parts = [self._read(item) for item in node.value]
            result = [part for part, _ in parts], 1 + sum(size for _, size in parts)
        else:
            result = self._mapping(node)
        self._open.discard(key)
        if result[1] > MAX_VALUES:
            raise YamlError(node.start_mark.line + 1, _limit("alias"))
        self._done[key] = result
        return result

    def _mapping(self, node: Any) -> tuple[object, int]:  # noqa: ANN401 - same
        own: dict[str, object] = {}
        merged: dict[str, object] = {}
        size = 1
        for key_node, value_node in node.value:
            value, count = self._read(value_node)
            size += count
            if key_node.id == "scalar" and key_node.value == "<<" and not key_node.style:
                for part in value if isinstance(value, list) else [value]:
                    if not isinstance(part, dict):
                        raise YamlError(value_node.start_mark.line + 1, "<< merges a mapping only")
                    merged = {**part, **merged}
                continue
            if key_node.id != "scalar":
                raise YamlError(key_node.start_mark.line + 1, "a key that is no scalar")
            key = _key(_scalar(key_node))
            if key in own:
                raise YamlError(key_node.start_mark.line + 1, f'the key "{key}" is there twice')
            own[key] = value
        return {**merged, **own}, size


def _key(value: object) -> str:
    """Write a key as it is in JSON, which is what the API server gets."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _scalar(node: Any) -> object:  # noqa: ANN401 - PyYAML's node
    written: str = node.value
    if node.style or node.tag == "tag:yaml.org,2002:binary":
        return written
    if written in _WORDS:
        return _WORDS[written]
    if len(written) < 400:  # noqa: PLR2004 - longer digits are no number that Go reads
        if _INTEGER.fullmatch(written):
            return _integer(written.replace("_", ""))
        if _FLOAT.fullmatch(written):
            return float(written)
    return written


def _integer(digits: str) -> object:
    """Read digits as Go's ``ParseInt`` does with base 0: a leading 0 is octal."""
    sign, body = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    if len(body) > 1 and body[0] == "0" and body[1].isdigit():
        body = f"0o{body[1:]}"
    try:
        return int(sign + body, 0)
    except ValueError:
        return digits


def line_of(node: Any, path: Sequence[str | int]) -> int:  # noqa: ANN401 - PyYAML's node
    """Return the line of a field in a document, from 1; of its nearest parent if it is absent."""
    line = int(node.start_mark.line) + 1
    for step in path:
        if node.id == "mapping" and isinstance(step, str):
            found = next((pair for pair in node.value if pair[0].value == step), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif node.id == "sequence" and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line
