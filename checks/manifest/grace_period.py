"""The grace period outlasts the preStop hook and the engine's drain.

What it checks
    ``terminationGracePeriodSeconds`` is more than the preStop delay plus the time that the engine
    drains, and at least 120 s (60 s in the dev profile). A hook that waits until no request runs
    counts with the most that it waits, if that has a bound. Over 600 s it warns. So it does where
    the pods select spot nodes whose cloud gives less notice than those 120 s when it takes a node
    back: GKE 15 s, Azure 30 s. The pods that work for the engine's, as those of a LeaderWorkerSet
    do, have at least as long.

Why
    The grace period counts from the pod's deletion, preStop hook included. When it is over, the
    kubelet kills the engine, and every answer that is still streaming ends in the middle of a
    sentence. A response of 2,000 tokens takes 30 to 60 s; Kubernetes' default is 30 s. On the
    other side, node drains and cluster upgrades wait for the whole period.

Fix
    Set ``terminationGracePeriodSeconds`` to the preStop delay plus the drain time plus 20 s: with
    a preStop delay of 15 s and ``--shutdown-timeout 120``, 155 is enough. A drained engine takes
    those 20 s to tear itself down. Run engines whose streams matter on nodes that are not spot, or
    beside enough replicas on such nodes.

Source
    Module 1.5, "Graceful Termination" and "Common Mistakes" (120 to 180 s). The teardown of 6 to
    14 s was measured on vLLM 0.32.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.placement import Placement
    from drainproof.model.workload import Workload

_SPOT: dict[str, tuple[str, str, int]] = {
    "cloud.google.com/gke-spot": ("true", "GKE", 15),
    "cloud.google.com/gke-preemptible": ("true", "GKE", 15),
    "kubernetes.azure.com/scalesetpriority": ("spot", "Azure", 30),
}
"""Labels of spot nodes, with whose they are and how many seconds pods have when one is reclaimed.
AWS gives 120 s."""


@check("DP101", severity=Severity.ERROR)
def grace_period_outlasts_drain(
    workload: Workload, engine: Engine, placement: Placement, profile: Profile
) -> Iterator[Finding]:
    """Yield what ends streams by SIGKILL."""
    yield from _reclaimed(workload, placement, profile)
    yield from _own(workload, engine, profile)
    if workload.serves and (engine.prestop_s is not None or engine.prestop_drains):
        yield from _workers(workload, engine, profile)


def _workers(workload: Workload, engine: Engine, profile: Profile) -> Iterator[Finding]:
    facts, needed = workload.kind_facts, sum(_prestop_and_drain(engine))
    for worker in workload.workers:
        path = shape.join(worker.path, facts.grace_field)
        grace = shape.integer(worker.spec, facts.grace_field, worker.path, facts.default_grace_s)
        written = facts.grace_field in worker.spec
        if grace <= needed and (written or workload.complete):
            yield workload.finding(
                path,
                f"the engine's {worker.role} pods are killed {grace} s"
                f"{'' if written else ' (default)'} after their deletion, but it may stream for "
                f"{needed:g} s, and no longer than all of its pods run; expected more than that",
                repair=_repair(engine, profile, path),
            )


def _own(workload: Workload, engine: Engine, profile: Profile) -> Iterator[Finding]:
    path = workload.grace_path
    grace = workload.grace_period_s
    if grace < profile.grace_period_min_s:
        if not workload.grace_written and not workload.complete:
            yield workload.left_to_others(path, "a grace period that outlasts the drain")
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
    prestop, drain = _prestop_and_drain(engine)
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


def _prestop_and_drain(engine: Engine) -> tuple[float, float]:
    """Return the seconds that the hook takes, and those that the engine may stream after it."""
    prestop, drain = engine.prestop_s or 0.0, engine.drain_s or 0.0
    if engine.prestop_drains and math.isfinite(engine.polling.most_s):
        prestop += engine.polling.most_s
    elif engine.prestop_drains:
        drain = 0.0  # nothing is in flight any more
    if not math.isfinite(drain):
        drain = 0.0  # the grace period itself is the bound
    return prestop, drain


def _reclaimed(workload: Workload, placement: Placement, profile: Profile) -> Iterator[Finding]:
    """Yield that a spot node goes sooner than the grace period ends, at most once."""
    for one in (one for way in placement.demands() for one in way):
        value, cloud, notice_s = _SPOT.get(one.key, ("", "", 0))
        if one.operator == "In" and value in one.values and notice_s < profile.grace_period_min_s:
            yield workload.finding(
                one.path,
                f"when {cloud} takes a spot node back, pods have {notice_s} s by default, whatever "
                f"their grace period: longer answers are cut off; expected at least "
                f"{profile.grace_period_min_s} s, or nodes that stay",
                Severity.WARNING,
            )
            return


def _written(workload: Workload) -> str:
    default = "" if workload.grace_written else " (default)"
    return f"{workload.grace_period_s} s{default}"


def _repair(engine: Engine, profile: Profile, path: str) -> dict[str, int]:
    """Return a period that is enough for what is set now, and for what a repair of that sets."""
    if engine.prestop_s is None or not math.isfinite(engine.prestop_s):
        return {}
    prestop = max(engine.prestop_s, profile.prestop_good_s)
    if engine.prestop_drains and math.isfinite(engine.polling.most_s):
        prestop += engine.polling.most_s
    drain = engine.drain_s
    if drain is None or not math.isfinite(drain) or drain < profile.drain_min_s:
        drain = profile.drain_good_s
    needed = math.ceil(prestop + drain + profile.teardown_s)
    return {path: max(profile.grace_period_min_s, needed)}
