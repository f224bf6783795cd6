"""Keeps one of equal parts of manifests, so that thousands of them fit into little memory.

Fleets are written from templates: the probes, ports and limits of a thousand Deployments are a few
different ones. Nobody may change an object that was read, since others may hold the same part.
"""

from __future__ import annotations

from typing import Any, cast

import orjson

_LARGEST = 4096
"""Bytes, as JSON, of the largest part that is kept for others: a container with all it has."""
_MOST = 20_000
"""How many different parts are known at a time. Names make some of them different for ever."""


class Sharing:
    """The different parts of what was read so far."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def share(self, found: object) -> object:
        """Return an equal object that shares its parts and its keys with those before it."""
        if isinstance(found, dict) and isinstance(found.get("items"), list):
            items = found["items"]
            for index, item in enumerate(items):  # so that a long list is never there twice
                items[index] = self.share(item)
            return found
        try:
            return self._shared(found) if isinstance(found, dict) else found
        except (TypeError, ValueError):  # JSON can't say it: numbers beyond 64 bits, deep nesting
            return found

    def _shared(self, parent: dict[str, Any]) -> dict[str, Any]:
        """Return a mapping whose small parts are shared, and whose large ones are in turn."""
        shared = {}
        for key, value in parent.items():
            kind = type(value)
            if kind is dict or kind is list:
                written = orjson.dumps(value)
                if len(written) > _LARGEST:
                    ...
        return shared
