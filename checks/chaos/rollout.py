"""A rollout drops no stream and fails no request.

What it checks
    While every pod is replaced by a rolling update under a steady load of streams, each stream
    that had begun comes to its end, whole, and each new request is served. Streams must be in
    flight on the pods that are stopped, when they are stopped; otherwise it is inconclusive.

Why
    Every deployment of a new version, a new setting or a new node image rolls. An engine that cuts
    its streams at SIGTERM, a grace period that is too short, or a pod that still gets requests when
    it no longer takes any, cuts answers off in front of users: each time, and mostly in silence.

Fix
    Do what the check that the cause names says: ``engine-drains``, ``grace-period``,
    ``prestop-delay``, ``rolling-update`` or ``liveness-after-load``.

Source
    Measured on vLLM 0.32: with default flags a rollout cuts every stream in flight on the old pods;
    with a drain, a preStop delay and enough grace it cuts none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP901", severity=Severity.ERROR)
def rollout_drops_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what a rollout cost, or why it can't be said."""
    yield from run.findings("rollout")
