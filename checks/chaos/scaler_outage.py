"""An outage of KEDA, its metrics API or Prometheus costs no stream, and all recovers.

What it checks
    While one of them is away, under load and also during a rollout, no stream is dropped and no new
    request fails. Replicas stay as they are, or go to the ScaledObject's declared ``fallback``, in
    the time that ``failureThreshold``, ``pollingInterval`` and the HPA's period take. Once it is
    back, KEDA says Ready and its HPA ScalingActive again in a stated time, and replicas are no
    fewer than before.

Why
    What scales a model is a chain of parts that are upgraded, evicted and lost as all others are.
    A fallback with too few replicas stops engines under full load; a query that answers nothing
    when Prometheus comes back empty counts as 0, and the fewest replicas are left.

Fix
    Declare a ``fallback`` that carries the usual load, with ``behavior: currentReplicasIfHigher``;
    give ``scaleDown`` a window that outlasts Prometheus' first scrape, or set ``ignoreNullValues``
    to false. For streams that were cut, do what ``engine-drains`` and ``grace-period`` say.

Source
    Module 1.5, "Queue-Based Autoscaling"; ``pkg/fallback`` and ``pkg/metricsservice`` of KEDA 2.21.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP915", severity=Severity.ERROR)
def outage_of_the_scaler_costs_no_stream(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield what an outage cost, or why it can't be said."""
    yield from run.findings("scaler-outage")
