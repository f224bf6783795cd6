"""Replicas rise when the queue is long, in the time that is declared, and they serve.

What it checks
    While a crowd makes the queue go over the autoscaler's threshold, the number of replicas rises,
    at most the polling interval, the scrape interval and one period of the HPA (15 s) later than
    its scale-up window asks for, and no faster than its policies allow. The new replicas become
    Ready and serve, and the queue falls. No stream is dropped meanwhile, and no request fails.

Why
    Between an engine's queue and a new replica are seven hands: Service, monitor, Prometheus,
    query, KEDA, HPA, Deployment. Each can be in order by itself, and the next one not see what it
    says: a metric that was renamed, a port that is not scraped, a threshold in another unit. What
    shows that all of them work is a replica that serves.

Fix
    The finding begins with the link that broke; the table of links says how long each one took.
    ``drainproof audit --prometheus auto`` looks at the same links without a load.

Source
    Module 1.5, "Queue-Based Autoscaling"; ``pkg/controller/podautoscaler`` of Kubernetes 1.34.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.model.finding import Finding


@check("DP912", severity=Severity.ERROR)
def scale_out_adds_replicas_that_serve(run: ChaosVerdict) -> Iterator[Finding]:
    """Yield the link that broke under a long queue, or why it can't be said."""
    yield from run.findings("scale-out")
