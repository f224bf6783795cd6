"""Keeps what manifests say from acting on what shows it: terminals, CI logs and markup."""

from __future__ import annotations

import re

_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ACTIVE = re.compile(r"[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_BIDIRECTIONAL = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


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


def inert(json: str) -> str:
    """Return JSON with the same values, in which nothing acts on a terminal or a CI log."""
    json = _ACTIVE.sub(lambda found: f"\\u{ord(found[0]):04x}", json)
    return json.replace("##[", "#\\u0023[")


def plural(count: int, word: str) -> str:
    """Write a count with its word: ``1 error``, ``2 errors``."""
    return f"{count} {word}" + ("" if count == 1 else "s")
