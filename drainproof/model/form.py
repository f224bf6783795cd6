"""What documents have in common that differ in nothing but the number in a name.

Fleets are numbered: ``vllm-1``, ``vllm-2``, each with an autoscaler of its name. Of such documents
one is parsed, and of what is said of their workloads most is said once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.shape import Raw

MARK = "\0"
"""Stands for each digit of the number; no text that is read holds it."""
_NAME = regex(r"\n  name: ([a-z](?:[a-z0-9-]{0,99}[a-z-])?)([0-9]{1,9})(?![a-z0-9])")
"""The name of an object, up to the last number in it."""
_WORD = regex(r"[a-z0-9-]+")
_LONGEST = 2**16
"""Characters of the longest document that is compared with others."""
_QUOTED = regex(r"\"[^\"\\]*\"|'[^'\\]*'")
_MATCHER = regex(r"[=!]~(?:\s*\\?[\"']([^\"'\\]*)\\?[\"'])?")
_BLIND = regex(rf"(?:[a-z][a-z0-9{MARK}-]*[0-9{MARK}](?=-|\Z))?[A-Za-z_.*+-]*")
"""A pattern that tells numbers apart by a name at its beginning only."""
_PATTERNS = regex(r"[rR]eg(?:ular_?)?[eE]x|REGEX")

_Plan = list[tuple[Any, Any]]
"""The keys under which a part differs: of each what differs in it; None for a text."""
_LABELS = (("metadata", "labels"), ("spec", "selector"), ("spec", "template", "metadata", "labels"))


class Form(Struct, eq=False):
    """A document in which the number in its name may be any other one of as many digits."""

    text: str
    """With :data:`MARK` for the digits, wherever the name is."""
    name: str
    """Of the first such document, up to the number."""
    found: object
    """What the first such document holds."""
    plan: _Plan | None = None
    """Where in it the name is; None if it can't be told, or was not asked yet."""
    seen: bool = False
    blind: bool = False
    """Whether the name is only where it is nothing but a name: nothing is known by its number."""

    def of(self, name: str) -> Raw | None:
        """Return what the document of another name holds; None if it is to be parsed."""
        if not self.seen:
            self.seen = True
            self._look()
        if self.plan is None:
            return None
        return cast("Raw", _renamed(self.found, self.plan, self.name, name))

    def name_in(self, name: str) -> str:
        """Return the name of an object of this form, up to the number."""
        return name[: len(self.name)]

    def _look(self) -> None:
        mark = _marked_name(self.name)
        if not isinstance(self.found, dict) or _amid_a_word(self.text, mark):
            return
        places = list(_places(self.found, self.name))
        texts = sum(count for _, count in places)
        if texts != self.text.count(mark) or not all(path for path, _ in places):
            return  # it is in a comment, a key or a number too
        self.plan = _plan([path for path, _ in places])
        self.blind = (
            str(_at(self.found, ("metadata", "name"))).startswith(self.name)
            and all(_is_a_name(path, _at(self.found, path), self.name) for path, _ in places)
            and blind(self.text)
        )


def named(text: str) -> tuple[str, str] | None:
    """Return a document's name up to its number, and the text without the number; None if none."""
    found = _NAME.search(text) if len(text) < _LONGEST else None
    if found is None:
        return None
    name = found[1] + found[2]
    return name, text.replace(name, found[1] + MARK * len(found[2]))


def blind(text: str) -> bool:
    """Tell whether no pattern in a text can tell numbers apart, but those of names it begins with.

    A query that is for ``vllm-[1-3]`` says other things to ``vllm-1`` than to ``vllm-7``.
    """
    if _PATTERNS.search(text):
        return False
    return all(
        found[1] is not None and _BLIND.fullmatch(found[1]) for found in _MATCHER.finditer(text)
    )


def mentions(text: str) -> Iterator[str]:
    """Yield every name that a text may speak of: words with a number, and parts of them."""
    for found in _WORD.finditer(text):
        word = found[0]
        if word.isalpha():
            continue
        parts = word.split("-")
        for start in range(len(parts)):
            for end in range(start + 1, len(parts) + 1):
                if parts[end - 1][-1:].isdigit():
                    yield "-".join(parts[start:end])


def _marked_name(name: str) -> str:
    stem = name.rstrip("0123456789")
    return stem + MARK * (len(name) - len(stem))


def _amid_a_word(text: str, mark: str) -> bool:
    between = text.split(mark)
    ends = [part[-1:] for part in between[:-1]] + [part[:1] for part in between[1:]]
    return any(end.isalnum() or end == "_" for end in ends)


def _places(value: Any, name: str, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, int]]:  # noqa: ANN401 - any part of a manifest
    """Yield the path of each text with a name in it, and how often; without a path for a key."""
    if isinstance(value, str):
        if name in value:
            yield path, value.count(name)
        return
    pairs: Any = ()
    if isinstance(value, dict):
        pairs = value.items()
        if any(name in key for key in value):
            yield (), 0
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, part in pairs:
        yield from _places(part, name, (*path, key))


def _plan(paths: list[tuple[Any, ...]]) -> _Plan:
    by_key: dict[Any, list[tuple[Any, ...]]] = {}
    for path in paths:
        by_key.setdefault(path[0], []).append(path[1:])
    return [(key, _plan(rest) if rest[0] else None) for key, rest in by_key.items()]


def _renamed(value: Any, plan: _Plan, old: str, new: str) -> Any:  # noqa: ANN401 - any part of a manifest
    copy = value.copy()
    for key, inner in plan:
        part = copy[key]
        if inner is not None:
            copy[key] = _renamed(part, inner, old, new)
        else:
            copy[key] = new if part == old else part.replace(old, new)
    return copy


def _at(value: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any part of a manifest
    for key in path:
        value = value[key] if isinstance(value, list) else value.get(key)
        if value is None:
            return None
    return value


def _is_a_name(path: tuple[Any, ...], text: str, name: str) -> bool:
    """Tell whether a text at a path is a name, a label, or a query that compares labels with it."""
    if path in {("metadata", "name"), ("spec", "scaleTargetRef", "name")}:
        return True
    if any(path[: len(labels)] == labels for labels in _LABELS):
        return True
    return (
        path[:2] == ("spec", "triggers")
        and path[3:] == ("metadata", "query")
        and name not in _QUOTED.sub("", text)
    )
