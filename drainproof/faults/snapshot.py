"""The target's manifest as evidence: what it was, without what may be secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from drainproof.model.secrets import is_value_of_secret, names_a_secret, redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.faults.api import Object

SNAPSHOT = "snapshot.json"
REDACTED = "(redacted)"
_NOISE = {"managedFields", "kubectl.kubernetes.io/last-applied-configuration"}
"""Repeats of the manifest, secrets included."""


def snapshot(*objects: Object) -> bytes:
    """Return objects as one List that kubectl and ``drainproof audit`` can read.

    No value of an environment variable is in it, and no argument that is named like a secret.
    """
    items = [_redacted(item) for item in objects]
    kept = {"apiVersion": "v1", "kind": "List", "items": items}
    return orjson.dumps(kept, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)


def undressed(item: Object) -> Object:
    """Return what an object declares: no status, nothing that only its server needs, no secret."""
    meta = item["metadata"]
    kept = {key: meta[key] for key in ("name", "namespace", "annotations") if key in meta}
    rest = {key: item[key] for key in ("apiVersion", "kind", "spec") if key in item}
    found: Object = _words_of(_redacted(rest | {"metadata": kept}))
    return found


def _words_of(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Hide what is a secret within any text: as a password in the address of a server."""
    if isinstance(value, dict):
        return {name: _words_of(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_words_of(item) for item in value]
    return redacted(value) if isinstance(value, str) else value


def _redacted(value: Any, key: str = "") -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        kept = {name: _redacted(item, name) for name, item in value.items() if name not in _NOISE}
        if key == "httpHeaders" and names_a_secret(str(value.get("name", ""))):
            kept["value"] = REDACTED
        return kept
    if isinstance(value, list) and key == "env":
        return [{**item, "value": REDACTED} if "value" in item else item for item in value]
    if isinstance(value, list) and key in {"args", "command"}:
        return _words(value)
    return [_redacted(item, key) for item in value] if isinstance(value, list) else value


def secret_words(words: Sequence[str]) -> set[int]:
    """Return the indices of words of a command line that are, or hold, a secret."""
    return {index for index, word in enumerate(_words(words)) if word != words[index]}


def _words(words: Sequence[str]) -> list[str]:
    before = ("", *words)
    return [
        REDACTED if is_value_of_secret(before[index], word) else redacted(word)
        for index, word in enumerate(words)
    ]
