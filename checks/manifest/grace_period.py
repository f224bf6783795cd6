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
    a preStop delay of 15 s and ``--shutdown-timeout 120``, 155 is enough. A drained engine takes
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
    path = workload.grace_path
    grace = workload.grace_period_s
    if grace < profile.grace_period_min_s:
        if not workload.grace_written and not workload.complete:
            return
        yield workload.finding(
            path,
            f"the engine is killed {_written(workload)} after the pod's deletion, so longer "
            f"answers are cut off; expected at least {profile.grace_period_min_s} s",
            repair=_repair(engine, profile, path),
        )
        return
    if engine.prestop_s is None and not engine.prestop_drains:
        yield workload.inconclusive(
            path,
            "how long the preStop hook takes can't be told from "
            f"{engine.path}.lifecycle.preStop, so {_written(workload)} may or may not outlast it "
            "and the engine's drain",
        )
        return
    prestop, drain = engine.prestop_s or 0.0, engine.drain_s or 0.0
    if engine.prestop_drains or not math.isfinite(drain):
        drain = 0.0  # nothing is in flight any more, or the grace period itself is the bound
    needed = prestop + drain
    if grace <= needed:
        yield workload.finding(
            path,
            f"the engine is killed {_written(workload)} after the pod's deletion, but its preStop "
            f"hook takes {prestop:g} s and it drains for up to {drain:g} s: streams that still run "
            f"then are cut off; expected more than {needed:g} s",
            repair=_repair(engine, profile, path),
        )
    elif grace > profile.grace_period_long_s:
        yield workload.finding(
            path,
            f"a node drain or an upgrade may wait {grace} s for one pod; "
            f"expected at most {profile.grace_period_long_s} s",
            Severity.WARNING,
        )


def _written(workload: Workload) -> str:
    default = "" if workload.grace_written else " (default)"
    return f"{workload.grace_period_s} s{default}"


def _repair(engine: Engine, profile: Profile, path: str) -> dict[str, int]:
    """Return a period that is enough for what is set now, and for what a repair of that sets."""
    if engine.prestop_s is None or not math.isfinite(engine.prestop_s):
        return {}
    prestop = max(engine.prestop_s, profile.prestop_good_s)
    drain = engine.drain_s
    if drain is None or not math.isfinite(drain) or drain < profile.drain_min_s:
        drain = profile.drain_good_s
    needed = math.ceil(prestop + drain + profile.teardown_s)
    return {path: max(profile.grace_period_min_s, needed)}
