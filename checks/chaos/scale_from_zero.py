"""From zero, a replica comes when requests do, and in time.

What it checks
    The autoscaler takes the last replica away by itself, requests come, and a replica is asked for,
    becomes Ready and answers one within 300 s (``within``). What requests meet until then is
    counted by kind, with its times. In a profile that wants a replica always (``production``, the
    default, and ``module``) it fails in any case, and says what users saw.

Why
    At zero there is no engine, so nothing answers: a Service without endpoints refuses, a proxy
    says 503. And a ScaledObject that asks for the engine's own queue can't see the requests that
    find no engine. Its query has no answer, and it stays at zero for ever.

Fix
    Keep one replica in production. For development use a trigger that is there without the engine:
    requests that wait at a gateway or an ingress, KEDA's HTTP add-on, or ``cron``.

Source
    Module 1.5, "Scale-to-Zero"; KEDA's documentation, "Scaling Deployments" (activation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP917", severity=Severity.ERROR)
def a_replica_comes_from_zero(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield why no replica came, or what users saw, or why it can't be said."""
    yield from run.findings("scale-from-zero")
