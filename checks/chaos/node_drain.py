"""A node's drain drops no stream and fails no request.

What it checks
    While a node is cordoned and the target's pods on it are evicted under a steady load, each
    stream that had begun comes to its end, whole, and each new request is served.

Why
    Every upgrade of a node drains it. Its pods have to find another node with a free GPU and to
    load their model there, while the rest of the target bears the load.

Fix
    Do what the check that the cause names says: ``engine-drains``, ``grace-period``,
    ``prestop-delay``; ``disruption-budget`` and ``surge-has-a-gpu`` for what comes in place.

Source
    Kubernetes, "Safely Drain a Node".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP906", severity=Severity.ERROR)
def node_drain_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a node's drain cost, or why it can't be said."""
    yield from run.findings("node-drain")
