"""Prometheus scrapes each ready replica, and its scrapes succeed.

What it checks
    For each pod that has been ready for 120 s, Prometheus has a target at the engine's port, and
    that target is up. Needs ``--prometheus``. A finding holds the scrape's own error.

Why
    A monitor that nobody heeds, that selects no Service or that names a wrong port is no error
    anywhere: the replica's queue is missing in Prometheus, and the autoscaler takes it for 0.

Fix
    Mend the link that is named. Service → monitor: the labels, the namespace, the port's name or
    the path in the ServiceMonitor (``monitor-selects-service`` finds which). Monitor → Prometheus:
    the selectors of the Prometheus, its permissions, a NetworkPolicy, what the scrape's error says.

Source
    Prometheus' HTTP API, "Targets". Module 1.5, "Scaling vLLM on Queue Depth": the query reads what
    Prometheus scrapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, routing, running
from drainproof.model.monitoring import monitors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.chain import Target
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.running import Pod
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check("DP709", severity=Severity.ERROR)
def scrape_target_is_up(  # noqa: PLR0913, PLR0917 - a check asks for what it needs
    workload: Workload,
    engine: Engine,
    pods: Sequence[Pod],
    metrics: Metrics,
    snapshot: Snapshot,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield the replicas that are not scraped, and the link at which that fails."""
    if not workload.serves:
        return
    links = metrics.chain
    if links is None or links.targets_error:
        said = links.targets_error if links else "Prometheus was not asked for its targets"
        yield workload.inconclusive("", said)
        return
    there = running.settled(pods, metrics.at - profile.metric_age_max_s)
    if not there:
        yield workload.inconclusive(
            "",
            f"no pod has been ready for {profile.metric_age_max_s} s, so none must be a target yet",
        )
        return
    targets = {pod.name: links.targets_of(pod) for pod in there}
    none = [name for name, found in targets.items() if not found]
    if none:
        link, why = _why_none(snapshot, workload)
        yield workload.finding(
            "",
            chain.broken(
                link,
                f"Prometheus has no target in {len(none)} of {len(targets)} ready pods "
                f"({none[0]}): {why}",
            ),
        )
    scraped = {name: found for name, found in targets.items() if found}
    bad = {
        name: _worst(engine, found)
        for name, found in scraped.items()
        if not any(_is_engines(engine, one) and one.health == "up" for one in found)
    }
    down = {name: one for name, one in bad.items() if one.health == "down"}
    if down:
        name, one = next(iter(down.items()))
        wrong = _misled(engine, one)
        yield workload.finding(
            "",
            chain.broken(
                chain.TO_MONITOR if wrong else chain.TO_PROMETHEUS,
                f"the target in {len(down)} of {len(targets)} ready pods is down ({name}, "
                f"{one.address}{one.path} of {one.pool}: {one.error or 'no error is given'})"
                + (f": {wrong}" if wrong else ""),
            ),
        )
    elif bad:
        name, one = next(iter(bad.items()))
        if one.health == "up":
            said = f"is not the engine's: {_misled(engine, one)}"
            yield workload.finding(
                "",
                chain.broken(
                    chain.TO_MONITOR,
                    f"the only target in {len(bad)} of {len(targets)} ready pods ({name}, "
                    f"{one.address}{one.path} of {one.pool}) {said}",
                ),
            )
        else:
            yield workload.inconclusive("", f"the target in {name} has not been scraped yet")


def _why_none(snapshot: Snapshot, workload: Workload) -> tuple[str, str]:
    """Return the link that breaks where there is no target, and why, in words."""
    monitors = monitors_of(snapshot)
    selecting = [
        one
        for labels, of_services in (
            (workload.pod_labels, False),
            *((service.labels, True) for service in routing.services_of(snapshot, workload)),
        )
        for one in monitors.asking_for(labels)
        if one.of_services is of_services and one.looks_in(workload.namespace)
    ]
    if not selecting:
        return chain.TO_MONITOR, "no monitor selects them, and no query sees their queue"
    names = " and ".join(sorted({one.ref for one in selecting}))
    return (
        chain.TO_PROMETHEUS,
        f"{names} selects them, and this Prometheus does not act on it",
    )


def _is_engines(engine: Engine, target: Target) -> bool:
    return not _misled(engine, target)


def _misled(engine: Engine, target: Target) -> str:
    """Return how a target differs from where the engine has its metrics, in words."""
    if target.port is not None and engine.port and target.port != engine.port:
        return f"{engine.title} listens on port {engine.port}"
    if target.path.rstrip("/") != engine.metrics_path.rstrip("/"):
        return f"{engine.title} has its metrics at {engine.metrics_path}"
    return ""


def _worst(engine: Engine, targets: Sequence[Target]) -> Target:
    """Return the target that tells most: one that is meant for the engine, and down."""
    return min(targets, key=lambda one: (one.health != "down", bool(_misled(engine, one))))
