"""A forced deletion costs its own streams only, and users can see it.

What it checks
    When one pod is deleted without a grace period, only streams on that pod are lost, each with an
    error that its client can see, and new requests are served again within the stated time.

Why
    ``kubectl delete --force`` is what people do when a pod hangs, and what a node that is given up
    does to its pods.

Fix
    Have more than one replica (``enough-replicas``), and clients that check ``finish_reason``.

Source
    Kubernetes, "Pod Lifecycle", "Forced Pod termination".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP910", severity=Severity.ERROR)
def forced_deletion_costs_only_its_own_streams(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a forced deletion cost, or why it can't be said."""
    yield from run.findings("force-delete")
