"""The grace period outlasts the 99th percentile of requests.

What it checks
    99 % of the last hour's requests, by the engine's own histogram in Prometheus, took no
    longer than is left after the preStop delay: of the grace period, and of the engine's drain.
    Needs ``--prometheus``.

Why
    A request that comes in just before the preStop hook ends has what is left to finish. With
    20 in flight on each pod, one in a hundred that takes longer is an answer cut off in every
    fifth stop.

Fix
    Raise ``terminationGracePeriodSeconds``, and the engine's drain (``--shutdown-timeout``)
    with it, over the measured time, or bound answers by ``max_tokens``.

Source
    Module 1.5, "Graceful Termination": a response of 2,000 tokens takes 30 to 60 s, and killing
    that request means a truncated answer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.running import Pod
    from drainproof.model.workload import Workload

SHARE = 0.99


@check("DP705", severity=Severity.ERROR)
def grace_outlasts_requests(
    workload: Workload,
    engine: Engine,
    pods: Sequence[Pod],
    metrics: Metrics,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield a grace period, or a drain, that the slowest requests outlast."""
    if not workload.serves:
        return
    path = workload.grace_path
    names = engine.metric_names("e2e")
    observed = metrics.histogram(names, pods)
    least = profile.latency_requests_min
    unknown = metrics.too_few(names, observed, least, "request times", engine.label)
    if unknown:
        yield workload.inconclusive(path, unknown)
        return
    if engine.prestop_s is None:
        yield workload.inconclusive(
            path, "how long the preStop hook takes can't be told, so neither can what is left"
        )
        return
    left = workload.grace_period_s - engine.prestop_s
    what = (
        f"{left:g} s of the grace period ({workload.grace_period_s} s) are left after the preStop "
        "delay"
    )
    if engine.drain_s is not None and 0 < engine.drain_s < left and math.isfinite(engine.drain_s):
        left, path = engine.drain_s, f"{engine.path}.args"
        what = f"the engine drains for {left:g} s"
    took, at_least = observed.quantile(SHARE)
    said = f"1 in 100 requests takes {'over ' if at_least else ''}{took:.0f} s"
    if took > left:
        yield workload.finding(
            path, f"{said}, but {what}: such answers are cut off when their pod is stopped"
        )
    elif at_least:
        yield workload.inconclusive(
            path, f"{said}, which is as much as the histogram can tell, and {what}"
        )
