"""A lost node costs its own streams only, and users can see it.

What it checks
    When a node is gone at once, only streams on its pods are lost, each with an error that its
    client can see, and new requests are served again within the time that Kubernetes takes to give
    the node up. On the embedded cluster only: nothing in Kubernetes can stop a machine.

Why
    Spot nodes, kernel panics and power: a node that goes without a word is noticed after 40 to
    50 s, and until then its pods get their share of new requests.

Fix
    Spread replicas over nodes (``enough-replicas``, topologySpreadConstraints), and let clients and
    gateways retry requests that could not connect.

Source
    ``--node-monitor-grace-period`` of the controller manager: 50 s since Kubernetes 1.32, 40 s
    before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP911", severity=Severity.ERROR)
def node_loss_costs_only_its_own_streams(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a lost node cost, or why it can't be said."""
    yield from run.findings("node-loss")
