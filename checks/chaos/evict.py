"""An eviction drops no stream and fails no request.

What it checks
    While one pod is evicted through the Eviction API under a steady load of streams, each stream
    that had begun comes to its end, whole, and each new request is served. The target's
    PodDisruptionBudgets are asked, and respected while they refuse.

Why
    Drains, the cluster's autoscaler and the descheduler all evict. A budget limits how many pods go
    at once; it saves no stream on the one that goes.

Fix
    Do what the check that the cause names says: ``engine-drains``, ``grace-period``,
    ``prestop-delay``. If the eviction was refused all the time: ``disruption-budget``.

Source
    Kubernetes, "API-initiated Eviction": a refusal is answered with 429.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP905", severity=Severity.ERROR)
def eviction_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what an eviction cost, or why it can't be said."""
    yield from run.findings("evict")
