"""A PodDisruptionBudget lets a node drain take one replica at a time.

What it checks
    Exactly one PodDisruptionBudget selects the pods, and at every number of replicas that the
    autoscaler allows it keeps at least one and lets at least one go. ``maxUnavailable: 0`` and a
    ``minAvailable`` of all replicas block drains for ever; ``maxUnavailable: 100%`` and
    ``minAvailable: 0`` protect nothing; a second budget makes every eviction fail. The dev and
    module profiles need none.

Why
    Cluster upgrades and autoscalers of nodes empty nodes by evicting pods. Without a budget all
    replicas may be evicted at once, and nothing answers until new ones have loaded their model. A
    budget that allows no eviction is no better: the drain hangs, until somebody deletes the pods by
    force and cuts off what they stream.

Fix
    Add a PodDisruptionBudget with ``maxUnavailable: 1`` and the pods' labels as its selector, and
    run at least 2 replicas. With ``unhealthyPodEvictionPolicy: AlwaysAllow``, a replica that never
    becomes Ready does not hold up drains.

Source
    Kubernetes' documentation, "Specifying a Disruption Budget" and "API-initiated Eviction" (500:
    several budgets on one pod).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.disruption import GUARDED, replica_counts, selectless_budgets

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.disruption import DisruptionBudget
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check(
    "DP106",
    severity=Severity.ERROR,
    kinds=GUARDED,
    admission="it joins PodDisruptionBudgets, which come and go by themselves",
)
def drains_take_one_replica_at_a_time(
    workload: Workload,
    budgets: Sequence[DisruptionBudget],
    scalers: Sequence[Scaler],
    snapshot: Snapshot,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield what evicts all replicas, or none."""
    if len(budgets) > 1:
        names = " and ".join(budget.ref for budget in budgets)
        yield budgets[1].finding(
            "spec.selector",
            f"{names} select the same pods of {workload.ref}: Kubernetes then refuses every "
            "eviction with an error, so node drains hang until somebody deletes the pods by force",
        )
    for budget in budgets:
        yield from _one(budget, workload, replica_counts(workload, scalers))
    if not budgets and profile.needs_disruption_budget:
        yield _none(workload, snapshot)


def _one(budget: DisruptionBudget, workload: Workload, counts: range) -> Iterator[Finding]:
    if budget.min_available is not None and budget.max_unavailable is not None:
        yield budget.finding(
            "spec.minAvailable",
            "minAvailable and maxUnavailable are both set: Kubernetes refuses this budget, so a "
            f"node drain may evict all replicas of {workload.ref} at once",
        )
        return
    if budget.min_available is None and budget.max_unavailable is None:
        yield budget.finding(
            "spec",
            "neither minAvailable nor maxUnavailable is set, so this budget protects nothing: a "
            f"node drain may evict all replicas of {workload.ref} at once",
            repair=_one_at_a_time(budget),
        )
        return
    for replicas in counts[:3]:  # what holds at 2, or at the fewest beyond, holds at all others
        evictable = budget.evictable(replicas)
        if replicas > 0 and evictable == 0:
            yield _blocks(budget, workload, replicas, counts)
            return
        if replicas > 1 and evictable == replicas:
            path, written = _field(budget)
            yield budget.finding(
                path,
                f"{written} lets all {replicas} replicas of {workload.ref} be evicted at once, so "
                "during a node drain nothing answers until new ones have loaded their model",
                repair=_one_at_a_time(budget),
            )
            return
    if budget.unhealthy_policy != "AlwaysAllow" and counts:
        yield budget.assumption(
            "spec.unhealthyPodEvictionPolicy",
            "every replica becomes Ready in time: while one does not, this budget may hold up "
            "drains, since unhealthyPodEvictionPolicy is not AlwaysAllow",
        )


def _blocks(budget: DisruptionBudget, workload: Workload, replicas: int, counts: range) -> Finding:
    path, written = _field(budget)
    at = "replica" if replicas == 1 else "replicas"
    return budget.finding(
        path,
        f"{written} lets none of {replicas} {at} of {workload.ref} be evicted, so a node drain "
        "hangs until somebody deletes the pod by force and cuts off what it streams",
        repair=_one_at_a_time(budget) if counts[0] > 1 else None,
    )


def _one_at_a_time(budget: DisruptionBudget) -> dict[str, int | None]:
    drop = {} if budget.min_available is None else {"spec.minAvailable": None}
    return {**drop, "spec.maxUnavailable": 1}


def _field(budget: DisruptionBudget) -> tuple[str, str]:
    """Return the path of what a budget says, and what it says."""
    if budget.max_unavailable is not None:
        return "spec.maxUnavailable", f"maxUnavailable {budget.max_unavailable.written}"
    written = budget.min_available.written if budget.min_available is not None else "none"
    return "spec.minAvailable", f"minAvailable {written}"


def _none(workload: Workload, snapshot: Snapshot) -> Finding:
    selectless = selectless_budgets(snapshot, workload)
    if selectless:
        return selectless[0].finding(
            "spec.selector",
            f"this budget selects no pod, and no other one selects those of {workload.ref}: a "
            "node drain may evict all its replicas at once",
        )
    return snapshot.absence(
        workload,
        "",
        "no PodDisruptionBudget selects its pods: a node drain may evict all replicas at once, "
        "and nothing answers until new ones have loaded their model",
    )
