"""A scale-down drops no stream and fails no request.

What it checks
    While one replica is taken away under a steady load of streams, each stream that had begun comes
    to its end, whole, and each new request is served. What scales the target is held meanwhile, and
    at most one replica less than its own floor is left.

Why
    An autoscaler takes replicas away several times a day, when load falls, and Kubernetes chooses
    which. Whatever streams are on it are cut unless its engine drains, and nobody deployed anything
    that they could be blamed on.

Fix
    Do what the check that the cause names says: ``engine-drains``, ``grace-period`` or
    ``prestop-delay``.

Source
    Module 1.5, "Graceful Shutdown", which has no answer for scaling in; the way pods end is that of
    ``rollout``, where it was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP902", severity=Severity.ERROR)
def scale_down_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a scale-down cost, or why it can't be said."""
    yield from run.findings("scale-down")
