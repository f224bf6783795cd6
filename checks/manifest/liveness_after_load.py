"""The liveness probe never kills an engine that loads or is busy.

What it checks
    If there is a liveness probe: it begins only after the load (a startup probe holds it back, or
    ``initialDelaySeconds + failureThreshold x periodSeconds`` is at least 120 s); it fails for at
    least 30 s before it kills; it is no less patient than the readiness probe; it asks a port and a
    path at which the engine answers (without an API key, unless the probe sends one), and not one
    that waits for inference. Its own
    ``terminationGracePeriodSeconds``, if there is one, is more than the preStop delay and the
    engine's drain.

Why
    A failed liveness probe kills the engine with all its streams. A loading engine does not answer,
    and a busy one answers late: killing it turns a slow minute into minutes without a replica, and
    its load makes the others slow next. The readiness probe should take it out of the Service
    first.

Fix
    Add a startup probe, which holds the liveness probe back, and give that ``periodSeconds: 30``
    and ``failureThreshold: 3`` or more; or leave it out. The startup probe ends when the engine
    has answered once. Leave out the probe's own ``terminationGracePeriodSeconds``: the pod's holds.

Source
    Module 1.5 (liveness ``initialDelaySeconds: 180``, ``periodSeconds: 30``). Kubernetes'
    documentation on probes: liveness waits for the startup probe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.answering import unanswered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container, Probe
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP203", severity=Severity.ERROR)
def liveness_spares_load(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what kills an engine that is only slow."""
    liveness, readiness = container.liveness, container.readiness
    if liveness is None:
        return
    if container.startup is None and liveness.budget_s < profile.startup_min_s:
        path = f"{liveness.path}.initialDelaySeconds"
        yield workload.finding(
            path,
            f"the liveness probe kills an engine that still loads after {liveness.budget_s} s "
            f"({liveness.initial_delay_s} + {liveness.failure_threshold} x {liveness.period_s}), "
            "so it may never serve; expected a startup probe, or at least "
            f"{profile.startup_min_s} s",
            repair={path: profile.startup_repair_s},
        )
    patience = max(profile.liveness_patience_min_s, readiness.patience_s if readiness else 0)
    path = f"{liveness.path}.failureThreshold"
    repair = {path: -(-patience // liveness.period_s)}
    if liveness.patience_s < profile.liveness_patience_min_s:
        yield workload.finding(
            path,
            f"{liveness.patience_s} s of late answers ({liveness.failure_threshold} x "
            f"{liveness.period_s}) kill a busy engine and all its streams; "
            f"expected at least {profile.liveness_patience_min_s} s",
            repair=repair,
        )
    elif readiness is not None and liveness.patience_s < readiness.patience_s:
        yield workload.finding(
            path,
            f"the liveness probe kills the engine after {liveness.patience_s} s of failing, "
            "before the readiness probe takes it out of the Service after "
            f"{readiness.patience_s} s",
            repair=repair,
        )
    yield from _cut_off(workload, engine, liveness, profile)
    if liveness.url_path in engine.facts.busy_paths:
        path = f"{liveness.path}.httpGet.path"
        yield workload.finding(
            path,
            f"{liveness.url_path} waits for inference, so a long queue kills the engine and all "
            f"its streams; expected {engine.health_path}",
            repair={path: engine.health_path},
        )
        return
    missed = unanswered(workload, engine, liveness)
    if missed is not None:
        path, wrong, right = missed
        yield workload.finding(
            path,
            f"{wrong}: the liveness probe kills the engine and all its streams every "
            f"{liveness.budget_s} s",
            repair={path: right} if right is not None else None,
        )


def _cut_off(
    workload: Workload, engine: Engine, liveness: Probe, profile: Profile
) -> Iterator[Finding]:
    """Yield a grace period of the probe's own that ends before the engine has drained."""
    grace, drain = liveness.grace_s, engine.drain_s or 0.0
    if grace is None:
        return
    if engine.prestop_drains or not math.isfinite(drain):
        drain = profile.drain_min_s  # as long as streams take
    needed = drain + (engine.prestop_s or 0.0)
    if grace <= needed:
        path = f"{liveness.path}.terminationGracePeriodSeconds"
        yield workload.finding(
            path,
            f"when the liveness probe fails, the engine is killed after {grace} s instead of the "
            f"pod's {workload.grace_period_s} s, and it needs {needed:g} s to drain: one that was "
            "only slow loses the streams that it would have ended",
            Severity.WARNING,
            repair={path: None},
        )
