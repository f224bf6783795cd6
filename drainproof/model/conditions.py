"""What controllers say of an object: its ``status.conditions``, and when things happened."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape

if TYPE_CHECKING:
    from drainproof.model.shape import Raw


class Condition(Struct, frozen=True):
    """One of an object's conditions."""

    path: str
    """Its field path: ``status.conditions[0]``."""
    status: str
    """``True``, ``False`` or ``Unknown``."""
    reason: str
    message: str
    """On one line."""
    since: float | None
    """When the status last changed, in seconds since the Unix epoch."""

    @property
    def said(self) -> str:
        """Reason and message, as a part of a sentence; no user and password of a URL is in it."""
        return ": ".join(part for part in (self.reason, _without_login(self.message)) if part)


def conditions_of(obj: Raw) -> dict[str, Condition]:
    """Return an object's conditions by their type.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    status = shape.mapping(obj, "status", "")
    found = {}
    for index, item in enumerate(shape.mappings(status, "conditions", "status")):
        path = f"status.conditions[{index}]"
        found[shape.text(item, "type", path)] = Condition(
            path=path,
            status=shape.text(item, "status", path),
            reason=shape.text(item, "reason", path),
            message=" ".join(shape.text(item, "message", path).split()),
            since=moment(item, "lastTransitionTime", path),
        )
    return found


def moment(parent: Raw, key: str, path: str) -> float | None:
    """Return a field that holds a time, in seconds since the Unix epoch; None if it is absent.

    Raises:
        ShapeError: It holds anything else.
    """
    written = shape.text(parent, key, path)
    if not written:
        return None
    try:
        return datetime.fromisoformat(written).timestamp()
    except ValueError:
        raise shape.ShapeError(shape.join(path, key), "a time (RFC 3339)", written) from None


def _without_login(message: str) -> str:
    if "@" not in message:
        return message[:300]
    words = [
        f"{word.partition('://')[0]}://{word.rpartition('@')[2]}"
        if "://" in word and "@" in word
        else word
        for word in message.split()
    ]
    return " ".join(words)[:300]
