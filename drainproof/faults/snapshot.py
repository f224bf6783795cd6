"""The target's manifest as evidence: what it was, without what may be secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from drainproof.faults.api import Object

SNAPSHOT = "snapshot.json"
REDACTED = "(redacted)"
_NOISE = {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
"""Repeats of the manifest, secrets included."""
_SECRET = r"[\w.-]*(?:key|token|secret|passw|credential)[\w.-]*"  # noqa: S105 - what secrets are called
_FLAG = re.compile(rf"(--?{_SECRET})([= ]+)\S+", re.IGNORECASE)
_VARIABLE = re.compile(rf"\b({_SECRET})=\S+", re.IGNORECASE)
_BARE_FLAG = re.compile(rf"--?{_SECRET}", re.IGNORECASE)


def snapshot(*objects: Object) -> bytes:
    """Return objects as one List that kubectl and ``drainproof audit`` can read.

    No value of an environment variable is in it, and no argument that is named like a secret.
    """
    items = [_redacted(item) for item in objects]
    kept = {"apiVersion": "v1", "kind": "List", "items": items}
    return orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def _redacted(value: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {name: _redacted(item, name) for name, item in value.items() if name not in _NOISE}
    if isinstance(value, list) and key == "env":
        return [{**item, "value": REDACTED} if "value" in item else item for item in value]
    if isinstance(value, list) and key in {"args", "command"}:
        return _words(value)
    return [_redacted(item) for item in value] if isinstance(value, list) else value


def _words(words: list[str]) -> list[str]:
    kept: list[str] = []
    for word in words:
        if kept and _BARE_FLAG.fullmatch(kept[-1]) and not word.startswith("-"):
            kept.append(REDACTED)
        else:
            text = _FLAG.sub(rf"\1\2{REDACTED}", word)
            kept.append(_VARIABLE.sub(rf"\1={REDACTED}", text))
    return kept
