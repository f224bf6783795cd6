"""The grace period outlasts the preStop hook and the engine's drain.

What it checks
    ``terminationGracePeriodSeconds`` is more than the preStop delay plus the time that the engine
    drains, and at least 120 s (60 s in the dev profile). Over 600 s it warns.

Why
    The grace period counts from the pod's deletion, preStop hook included. When it is over, the
    kubelet kills the engine, and every answer that is still streaming ends in the middle of a
    sentence. A response of 2,000 tokens takes 30 to 60 s; Kubernetes' default is 30 s. On the
    other side, node drains and cluster upgrades wait for the whole period.

Fix
    Set ``terminationGracePeriodSeconds`` to the preStop delay plus the drain time plus 20 s: with
    a preStop delay of 15 s and ``--shutdown-timeout 120``, 160 is enough. A drained engine takes
    those 20 s to tear itself down.

Source
    Module 1.5, "Graceful Termination" and "Common Mistakes" (120 to 180 s). The teardown of 6 to
    14 s was measured on vLLM 0.32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP101", severity=Severity.ERROR)
def grace_period_outlasts_drain(
    workload: Workload, engine: Engine, profile: Profile
) -> Iterator[Finding]:
    """Yield what ends streams by SIGKILL."""
    path = f"{workload.pod_path}.terminationGracePeriodSeconds"
    grace = workload.grace_period_s
    written = (
        f"{grace} s"
        if "terminationGracePeriodSeconds" in workload.pod_spec
        else f"{grace} s (default)"
    )
    if grace < profile.grace_period_min_s:
        yield workload.finding(
            path,
            f"the engine is killed {written} after the pod's deletion, so longer answers are cut "
            f"off; "
            f"expected at least {profile.grace_period_min_s} s",
        )
        return
    if engine.prestop_s is not None and engine.drain_s is not None:
        needed = engine.prestop_s + (engine.drain_s if math.isfinite(engine.drain_s) else 0)
        if grace <= needed:
            yield workload.finding(
                path,
                f"the engine is killed {written} after the pod's deletion, but its preStop hook "
                f"takes "
                f"{engine.prestop_s:g} s and it drains for up to {engine.drain_s:g} s: streams "
                f"that "
                f"still run then are cut off; expected more than {needed:g} s",
            )
            return
    elif engine.prestop_s is None:
        yield workload.inconclusive(
            path,
            f"how long the preStop hook takes can't be told from "
            f"{engine.path}.lifecycle.preStop, so "
            f"{written} may or may not outlast it and the engine's drain",
        )
        return
    if grace > profile.grace_period_long_s:
        yield workload.finding(
            path,
            f"a node drain or an upgrade may wait {grace} s for one pod; "
            f"expected at most {profile.grace_period_long_s} s",
            Severity.WARNING,
        )
