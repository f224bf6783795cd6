"""Reads fields of raw manifests as the API server's types, and says where one has another type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Mapping

Raw = dict[str, Any]
"""A manifest, or a part of one, as it was written."""


_SECRETIVE = frozenset({"env", "envFrom", "args", "command", "data", "stringData", "annotations"})
"""Fields that hold people's own texts: what is in them is not shown, whatever its type."""
_WORD = regex(r"\w+")


class ShapeError(ValueError):
    """A field holds another type than Kubernetes wants there; the API server would refuse it too.

    Args:
        path: The field, from the object's root, such as ``spec.replicas``.
        expected: What Kubernetes wants, as words: ``a whole number``.
        found: The value.
    """

    def __init__(self, path: str, expected: str, found: object) -> None:
        self.path = path
        secretive = not _SECRETIVE.isdisjoint(_WORD.findall(path)) and not isinstance(
            found, (bool, dict, list, type(None))
        )
        shown = "a value that may be a secret" if secretive else describe(found)
        self.message = f"expected {expected}, found {shown}"
        super().__init__(f"{path}: {self.message}")


def describe(value: object) -> str:
    """Write a value as people name it: ``the string "two"``, ``null``, ``a list``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{value[:40]}"'
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a mapping"


def mapping(parent: Mapping[str, Any], key: str, path: str) -> Raw:
    """Return a field that holds a mapping; empty if it is absent or null.

    Raises:
        ShapeError: It holds anything else.
    """
    value = parent.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise ShapeError(join(path, key), "a mapping", value)


def mappings(parent: Mapping[str, Any], key: str, path: str) -> list[Raw]:
    """Return a field that holds a list of mappings; empty if it is absent or null.

    Raises:
        ShapeError: It, or one of its items, holds anything else.
    """
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise ShapeError(join(path, key), "a list", value)
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise ShapeError(f"{join(path, key)}[{index}]", "a mapping", item)
    return value


def strings(parent: Mapping[str, Any], key: str, path: str) -> tuple[str, ...]:
    """Return a field that holds a list of strings; empty if it is absent or null.

    Raises:
        ShapeError: It, or one of its items, holds anything else.
    """
    value = parent.get(key)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ShapeError(join(path, key), "a list of strings", value)
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise ShapeError(f"{join(path, key)}[{index}]", "a string (quote it)", item)
    return tuple(value)


def text(parent: Mapping[str, Any], key: str, path: str, default: str = "") -> str:
    """Return a field that holds a string.

    Raises:
        ShapeError: It holds anything else.
    """
    value = parent.get(key)
    if isinstance(value, str):
        return value
    if value is None:
        return default
    raise ShapeError(join(path, key), "a string", value)


def integer(parent: Mapping[str, Any], key: str, path: str, default: int) -> int:
    """Return a field that holds a whole number.

    Raises:
        ShapeError: It holds anything else.
    """
    value = parent.get(key)
    if type(value) is int:
        return value
    if value is None:
        return default
    raise ShapeError(join(path, key), "a whole number", value)


def string_map(parent: Mapping[str, Any], key: str, path: str) -> dict[str, str]:
    """Return a field that holds a mapping of strings to strings, such as labels.

    Raises:
        ShapeError: It, or one of its values, holds anything else.
    """
    value = mapping(parent, key, path)
    for name, item in value.items():
        if not isinstance(item, str):
            raise ShapeError(join(join(path, key), str(name)), "a string (quote it)", item)
    return value


def join(path: str, key: str) -> str:
    """Append a key to a field path; keys with dots or slashes are put in brackets."""
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key
