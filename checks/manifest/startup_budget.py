"""The engine gets the time that loading its model takes.

What it checks
    A startupProbe whose ``initialDelaySeconds + failureThreshold x periodSeconds`` covers the load
    (120 s at least; under 300 s it warns in the production profile) and that asks a port and a path
    at which the engine answers (without an API key, unless the probe sends one), or a readiness
    probe with ``initialDelaySeconds`` of at least 120.

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
from drainproof.model import shape
from drainproof.model.answering import unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container, Probe
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_DEADLINE = "progressDeadlineSeconds"
_PERIOD_S = 10


@check("DP202", severity=Severity.ERROR)
def startup_covers_load(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what gives up on an engine that still loads."""
    if not workload.serves:
        return
    if container.startup is not None:
        yield from _too_short(workload, container.startup, profile)
        missed = unanswered(workload, engine, container.startup)
        if missed is not None:
            path, wrong, right = missed
            yield workload.finding(
                path,
                f"{wrong}: the startup probe never succeeds, and kills the engine after "
                f"{container.startup.budget_s} s, again and again",
                repair={path: right} if right is not None else None,
                fix=f"Set {path} to {right}." if right is not None else "",
            )
        return
    readiness = container.readiness
    path = f"{container.path}.startupProbe"
    if readiness is None:
        if workload.complete:
            yield workload.finding(
                path,
                "no startup probe and no readiness probe: nothing waits until the model is loaded, "
                "so a rollout goes on while its new replicas can't serve",
                repair=_new(workload, engine, path, profile),
                fix=_fix(engine, profile),
            )
        else:
            yield workload.left_to_others(path, "a startup probe that covers the load")
    elif readiness.initial_delay_s < profile.startup_min_s:
        yield workload.finding(
            path,
            "no startup probe, and the readiness probe begins after "
            f"{readiness.initial_delay_s} s: nothing covers the minutes in which the model loads; "
            "expected a startup probe, or initialDelaySeconds of at least "
            f"{profile.startup_min_s}",
            repair=_new(workload, engine, path, profile),
            fix=_fix(engine, profile),
        )


def _too_short(workload: Workload, startup: Probe, profile: Profile) -> Iterator[Finding]:
    budget = startup.budget_s
    if budget >= profile.startup_good_s:
        return
    said = (
        f"the startup probe allows {budget} s ({startup.initial_delay_s} + "
        f"{startup.failure_threshold} x {startup.period_s}) and then kills the engine"
    )
    path = f"{startup.path}.failureThreshold"
    left = profile.startup_repair_s - startup.initial_delay_s
    repair = {path: -(-left // startup.period_s), **_deadline(workload, profile)}
    if budget < profile.startup_min_s:
        yield workload.finding(
            path,
            f"{said}, so a model that loads longer never serves; "
            f"expected at least {profile.startup_min_s} s",
            repair=repair,
        )
    else:
        yield workload.finding(
            path,
            f"{said}: cold starts take up to {profile.startup_good_s} s",
            Severity.WARNING,
            repair=repair,
        )


def _new(workload: Workload, engine: Engine, path: str, profile: Profile) -> dict[str, object]:
    """Return a startup probe, where it is known what to ask."""
    if engine.port is None or "--ssl-certfile" in engine.flags:
        return {}
    return {
        f"{path}.httpGet.path": engine.health_path,
        f"{path}.httpGet.port": engine.port,
        f"{path}.periodSeconds": _PERIOD_S,
        f"{path}.failureThreshold": profile.startup_repair_s // _PERIOD_S,
        **_deadline(workload, profile),
    }


def _fix(engine: Engine, profile: Profile) -> str:
    if engine.port is None:
        return ""
    return (
        f"Add startupProbe: {{httpGet: {{path: {engine.health_path}, port: {engine.port}}}, "
        f"periodSeconds: {_PERIOD_S}, failureThreshold: {profile.startup_repair_s // _PERIOD_S}}}, "
        f"which allows {profile.startup_repair_s // 60} minutes."
    )


def _deadline(workload: Workload, profile: Profile) -> dict[str, int]:
    """Return a rollout's deadline that is longer than a repaired startup probe."""
    if workload.kind not in {"Deployment", "Rollout"}:
        return {}
    spec = shape.mapping(workload.object, "spec", "")
    if shape.integer(spec, _DEADLINE, "spec", 0) > profile.startup_repair_s:
        return {}
    return {f"spec.{_DEADLINE}": profile.startup_repair_s + profile.rollout_slack_s}
