"""Keeps what manifests say from acting on what shows it: terminals, CI logs and markup."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from drainproof.patterns import regex

_Value = TypeVar("_Value")

_UNPRINTABLE = regex(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ACTIVE = regex(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_BIDIRECTIONAL = regex(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor or change its colours or reading order.

    Old workflow commands (``##[``) act wherever they are in a line of a CI log: they are escaped
    too.
    """
    if text.isascii() and text.isprintable() and "##[" not in text:
        return text
    text = _BIDIRECTIONAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    text = text.replace("##[", "#\\x23[")
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def shown(value: _Value) -> _Value:
    """Return a value in which every text is :func:`printable`.

    Args:
        value: A text, or dataclasses, dicts, tuples and lists that hold some; anything else is
            returned as it is.
    """
    found: Any = value
    if isinstance(value, str):
        found = printable(value)
    elif isinstance(value, dict):
        found = {shown(key): shown(one) for key, one in value.items()}
    elif isinstance(value, (tuple, list)):
        found = type(value)(map(shown, value))
    elif is_dataclass(value) and not isinstance(value, type):
        texts = {one.name: shown(getattr(value, one.name)) for one in fields(value) if one.init}
        found = replace(value, **texts)
    return cast("_Value", found)


def harmless(text: str) -> str:
    """Return a text of several lines that neither a terminal nor a CI log acts on."""
    return "\n".join(map(no_command, map(printable, text.split("\n"))))


def no_command(line: str) -> str:
    """Return a line that can't be taken for one of GitHub's workflow commands."""
    bare = line.lstrip()
    return f"{line[: -len(bare)]}\\x3a{bare[1:]}" if bare.startswith("::") else line


def inert(json: str) -> str:
    """Return JSON with the same values, in which nothing acts on a terminal or a CI log."""
    json = _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
    return json.replace("##[", "#\\u0023[")


def plural(count: int, word: str) -> str:
    """Write a count with its word: ``1 error``, ``2 errors``."""
    return f"{count} {word}" + ("" if count == 1 else "s")
