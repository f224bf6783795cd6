"""Keeps one of equal parts of manifests, so that thousands of them fit into little memory.

Fleets are written from templates: the probes, ports and limits of a thousand Deployments are a few
different ones. Nobody may change an object that was read, since others may hold the same part.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from drainproof.model.shape import Raw

_MOST = 20_000
"""How many different parts are known at a time; names make some of them different for ever."""


class Sharing:
    """The parts of pod templates that were read so far, by what they are in JSON."""

    def __init__(self) -> None:
        self._known: dict[bytes, Any] = {}

    def share(self, found: object) -> object:
        """Return an equal document that shares its keys, and what is in pods, with those before.

        The document itself is used up: it may be changed.
        """
        if not isinstance(found, dict):
            return found
        items = found.get("items")
        if isinstance(items, list):
            for index, item in enumerate(items):  # so that a long list is never there twice
                items[index] = self.share(item)
            return found
        if len(self._known) > _MOST:
            self._known.clear()
        try:
            return self._object(found)
        except (TypeError, ValueError):  # JSON can't say it: numbers beyond 64 bits, deep nesting
            return found

    def _object(self, found: Raw) -> Raw:
        holder = _holder(found)
        if holder is None:
            copy: Raw = orjson.loads(orjson.dumps(found))
            return copy
        pods = holder["spec"]
        shared = self._part(pods, 3)
        holder["spec"] = None
        try:
            copy = orjson.loads(orjson.dumps(found))
        finally:
            holder["spec"] = pods
        at = copy if holder is found else copy["spec"]["template"]
        at["spec"] = shared
        return copy

    def _part(self, value: Any, depth: int) -> Any:  # noqa: ANN401 - any part of a manifest
        """Return the one of a part; of what is as deep in it, that part's own parts are the ones.

        A pod's spec holds lists of containers and volumes, which hold probes, limits and so on.
        """
        kind = type(value)
        if kind is not dict and kind is not list:
            return value
        written = orjson.dumps(value)
        known = self._known.get(written)
        if known is None:
            if not depth:
                known = orjson.loads(written)
            elif kind is dict:
                known = {intern(key): self._part(part, depth - 1) for key, part in value.items()}
            else:
                known = [self._part(part, depth - 1) for part in value]
            self._known[written] = known
        return known


def _holder(found: Raw) -> Raw | None:
    """Return the part of an object whose ``spec`` is that of pods; None if it has none."""
    spec = found.get("spec")
    if not isinstance(spec, dict):
        return None
    template = spec.get("template")
    if isinstance(template, dict) and isinstance(template.get("spec"), dict):
        return template
    return found if "containers" in spec else None
