"""The deletion of a pod drops no stream and fails no request.

What it checks
    While one pod is deleted with its own grace period under a steady load of streams, each stream
    that had begun comes to its end, whole, and each new request is served.

Why
    Pods are deleted one by one by people, by node repairs and by operators. Unlike in a rollout,
    the new pod comes only after the old one began to end, so the others have to bear its share.

Fix
    Do what the check that the cause names says: ``engine-drains``, ``grace-period``,
    ``prestop-delay`` or ``enough-replicas``.

Source
    The way pods end is that of ``rollout``, where it was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP904", severity=Severity.ERROR)
def pod_deletion_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a pod's deletion cost, or why it can't be said."""
    yield from run.findings("pod-delete")
