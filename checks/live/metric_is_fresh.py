"""Prometheus has a fresh sample of each ready replica's queue.

What it checks
    For each pod that is ready, Prometheus has a sample of the engine's metric of waiting
    requests that is at most 120 s old. Needs ``--prometheus``. Where its target is up and has no
    sample, it is the engine that does not export the metric.

Why
    A replica that is not scraped does not count in the autoscaler's query. The sum over the
    others looks calm while users wait at this one; without any sample the query is empty, and
    KEDA and the HorizontalPodAutoscaler keep the number of replicas that they have.

Fix
    Mend what ``target-is-up`` says. The check ``monitor-selects-service`` finds the usual causes:
    labels, the port's name, the metrics path.

Source
    Module 1.5, "Scaling vLLM on Queue Depth": the query reads ``vllm:num_requests_waiting``.
    Prometheus scrapes once a minute by default and forgets a series after 5 minutes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.running import Pod
    from drainproof.model.workload import Workload


@check("DP701", severity=Severity.ERROR)
def queue_metric_is_fresh(
    workload: Workload,
    engine: Engine,
    pods: Sequence[Pod],
    metrics: Metrics,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield the replicas whose queue Prometheus does not see."""
    if not workload.serves:
        return
    names = engine.metric_names("waiting")
    failure = metrics.failure(names)
    if failure or not names:
        said = failure or f"{engine.label} exports no metric of waiting requests"
        yield workload.inconclusive("", said)
        return
    settled = running.settled(pods, metrics.at - profile.metric_age_max_s)
    if not settled:
        yield workload.inconclusive(
            "",
            f"no pod has been ready for {profile.metric_age_max_s} s, so none must have a sample "
            f"of {names[0]} yet",
        )
        return
    ages = {pod.name: metrics.age(names, pod) for pod in settled}
    missing = [name for name, age in ages.items() if age is None]
    stale = {
        name: age
        for name, age in ages.items()
        if age is not None and age > profile.metric_age_max_s
    }
    if missing:
        link, so = _where(metrics, [pod for pod in settled if pod.name in missing])
        yield workload.finding(
            "",
            chain.broken(
                link,
                f"Prometheus has no sample of {names[0]} of {len(missing)} of {len(ages)} ready "
                f"pods ({missing[0]}){so}: the autoscaler does not see the requests that wait "
                "there",
            ),
        )
    if stale:
        oldest = max(stale, key=lambda name: stale[name])
        yield workload.finding(
            "",
            chain.broken(
                chain.TO_PROMETHEUS,
                f"the last sample of {names[0]} of {len(stale)} of {len(ages)} ready pods is old "
                f"({oldest}: {stale[oldest]:.0f} s): the autoscaler acts on a queue of the past",
            ),
        )


def _where(metrics: Metrics, missing: Sequence[Pod]) -> tuple[str, str]:
    """Return the link that breaks where there is no sample, and what shows it, in words."""
    links = metrics.chain
    if links and all(any(one.health == "up" for one in links.targets_of(pod)) for pod in missing):
        return chain.TO_SERVICE, ", although they are scraped and up"
    return chain.TO_PROMETHEUS, ""
