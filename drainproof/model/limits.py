"""How long what stands between users and an engine lets an answer last, or be silent.

Every proxy bounds time in one of two ways: the whole answer, or the silence between two parts of
it. The first cuts long streams in the middle; the second ends requests that wait in a queue.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.model.finding import Located

_GO_DURATION = regex(r"(?:\d+(?:\.\d+)?(?:h|ms|us|m|s|d))+")
_GO_PART = regex(r"(\d+(?:\.\d+)?)(h|ms|us|m|s|d)")
_UNIT_S = {"us": 1e-6, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_GATEWAY_DURATION = regex(r"(?:\d{1,5}(?:h|m|s|ms)){1,4}")
"""What Gateway API takes as a duration (GEP-2257): whole numbers, each with its unit."""
_FOREVER = frozenset({"infinity", "infinite", "disabled"})


def seconds(written: str, *, unit_s: float = 1) -> float | None:
    """Return a duration in seconds; infinity if it has no bound, None if it can't be read.

    Args:
        written: ``60``, ``60s``, ``1h30m``, ``500ms``, ``infinity``.
        unit_s: Seconds of a number without a unit.
    """
    text = written.strip().lower()
    if text in _FOREVER:
        return math.inf
    try:
        bare = float(text)
    except ValueError:
        if not _GO_DURATION.fullmatch(text):
            return None
        return sum(float(number) * _UNIT_S[unit] for number, unit in _GO_PART.findall(text))
    return bare * unit_s if math.isfinite(bare) else None


def is_gateway_duration(written: str) -> bool:
    """Tell whether Gateway API takes a duration: ``1m30s``, but not ``90`` or ``1.5m``."""
    return bool(_GATEWAY_DURATION.fullmatch(written))


class Limit(Struct, frozen=True):
    """How long one proxy lets an answer last, or be silent."""

    where: Located
    path: str
    seconds: float
    """Infinity if it has no bound."""
    whole: bool
    """Whether it bounds the whole answer; otherwise the silence between two parts of it."""
    by: str
    """Who ends it, in words: ``ingress-nginx``."""
    written: bool
    """Whether it is in the manifest; otherwise it is that proxy's default."""
    unit: str = "s"
    """How a repair is written: ``s`` as ``600s``, ``text`` as ``"600"``, ``ms`` as ``"600000"``,
    ``number`` as ``600``; empty if there is none."""

    def repaired(self, to_s: int) -> Mapping[str, Any]:
        """Return what sets it to a number of seconds, by field path."""
        values = {"s": f"{to_s}s", "text": str(to_s), "ms": str(to_s * 1000), "number": to_s}
        return {self.path: values[self.unit]} if self.unit else {}


class Buffered(Struct, frozen=True):
    """A proxy that collects an answer before it passes it on."""

    where: Located
    path: str
    by: str
    written: bool
    repair: Mapping[str, Any]


class Draining(Struct, frozen=True):
    """How long a load balancer keeps connections to a pod that is taken away."""

    where: Located
    path: str
    seconds: float
    by: str
    repair: Mapping[str, Any]


class Unseen(Struct, frozen=True):
    """A part of the way whose limits are not in the input."""

    where: Located
    path: str
    what: str
    """What isn't there, in words: ``the Gateway main``."""


class Refused(Struct, frozen=True):
    """What the API server does not take, so that nothing of its object holds."""

    where: Located
    path: str
    why: str
    """What is wrong with it, and what belongs there, in words."""
    mended: bool = False
    """Whether any duration that is long enough mends it."""


Found = Limit | Buffered | Draining | Unseen | Refused


class Backend(Struct, frozen=True):
    """What a route sends requests to."""

    kind: str
    """``Service`` or ``InferencePool``."""
    name: str
    namespace: str
    """Empty if it is the route's own."""


class Hop(Struct, frozen=True):
    """A part of a route that sends requests to some backends, within some limits."""

    where: Located
    path: str
    backends: tuple[Backend, ...]
    found: tuple[Found, ...] = ()
    parents: tuple[str, ...] = ()
    """Names of the Gateways that it is attached to; only an HTTPRoute has them."""
    bounded: bool = False
    """Whether the route itself bounds the whole answer, or says that nothing does."""
