"""The engine gets the time that loading its model takes.

What it checks
    A startupProbe whose ``initialDelaySeconds + failureThreshold x periodSeconds`` covers the load
    (120 s at least; under 300 s it warns in the production profile), or a readiness probe with
    ``initialDelaySeconds`` of at least 120.

Why
    Models load for 1 to 7 minutes. A startup probe that gives up earlier kills the engine again and
    again, and a rollout or a scale-up never completes. Without either, nothing tells a loading
    replica from a broken one: liveness probes and rollouts judge it too early.

Fix
    Add ``startupProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 10,
    failureThreshold: 60}``, which allows 10 minutes. Then the readiness probe may be fast. A
    readiness ``initialDelaySeconds`` of 120 or more satisfies the rule too, but delays replicas
    that load faster, and gives those that load more slowly nothing.

Source
    Module 1.5, "Common Mistakes" (``initialDelaySeconds`` 120 at least), "War Story" (7 minutes).
    KServe and the vLLM production stack allow 600 s, llm-d and NIM 1,800 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP202", severity=Severity.ERROR)
def startup_covers_load(
    workload: Workload, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what gives up on an engine that still loads."""
    startup, readiness = container.startup, container.readiness
    if startup is not None:
        budget = startup.budget_s
        said = (
            f"the startup probe allows {budget} s ({startup.initial_delay_s} + "
            f"{startup.failure_threshold} x {startup.period_s}) and then kills the engine"
        )
        if budget < profile.startup_min_s:
            yield workload.finding(
                f"{startup.path}.failureThreshold",
                f"{said}, so a model that loads longer never serves; "
                f"expected at least {profile.startup_min_s} s",
            )
        elif budget < profile.startup_good_s:
            yield workload.finding(
                f"{startup.path}.failureThreshold",
                f"{said}: cold starts take up to {profile.startup_good_s} s",
                Severity.WARNING,
            )
    elif readiness is None:
        yield workload.finding(
            f"{container.path}.startupProbe",
            "no startup probe and no readiness probe: nothing waits until the model is loaded, "
            "so a "
            "rollout goes on while its new replicas can't serve",
        )
    elif readiness.initial_delay_s < profile.startup_min_s:
        yield workload.finding(
            f"{container.path}.startupProbe",
            f"no startup probe, and the readiness probe begins after {readiness.initial_delay_s} "
            f"s: "
            f"nothing covers the minutes in which the model loads; expected a startup probe, or "
            f"initialDelaySeconds of at least {profile.startup_min_s}",
        )
