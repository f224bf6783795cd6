"""One replica can go, and another still answers.

What it checks
    At least 2 replicas, at all times: the autoscaler's minimum, or ``replicas`` where there is no
    autoscaler. The dev and module profiles are content with 1.

Why
    A node that fails or is drained takes its replica along, and a new one loads its model for
    minutes. With one replica, nothing answers for that long, and every stream on it is lost.

Fix
    Set the autoscaler's ``minReplicaCount`` (``minReplicas`` of a HorizontalPodAutoscaler) to 2, or
    ``replicas: 2`` where there is none. Where only one node can mount a volume of the pods, share
    or replace that first. In staging, use the dev profile.

Source
    Kubernetes' documentation, "Disruptions" ("Replicate your application"); module 1.5 (a replica
    takes 1 to 7 minutes to be Ready; its own examples keep 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.disruption import replica_counts
from drainproof.model.volumes import claim_of_one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check(
    "DP107",
    severity=Severity.WARNING,
    admission="it joins autoscalers, which set the number of replicas",
)
def another_replica_answers(
    workload: Workload, scalers: Sequence[Scaler], profile: Profile, snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield what leaves one replica alone."""
    if not (workload.serves and workload.replicas_path) or workload.kind in {"Job", "CronJob"}:
        return
    lowest = replica_counts(workload, scalers)[0]
    if lowest >= profile.replicas_min:
        return
    happens = (
        "when its node fails or is drained, every stream is lost or moved, and nothing answers "
        "until another has loaded the model"
    )
    claim = claim_of_one(snapshot, workload)
    if claim is not None:
        happens += (
            f". More need another volume first: {claim.ref} is {', '.join(claim.access_modes)}, "
            "and a replica that can't mount it waits for ever"
        )
    fix = "Give the replicas a volume that all can mount, then keep 2 of them." if claim else ""
    if not scalers:
        yield workload.finding(
            workload.replicas_path,
            f"{_count(workload.replicas)}, and no autoscaler that keeps more: {happens}",
            repair={workload.replicas_path: profile.replicas_min}
            if lowest == 1 and claim is None
            else None,
            fix=fix,
        )
        return
    scaler = min(scalers, key=lambda found: found.min_replicas)
    if scaler.min_replicas > 0:  # whether it may go down to none is for scaling-bounds to say
        yield scaler.finding(
            scaler.min_path,
            f"{scaler.kind} {scaler.name} may go down to {_count(lowest)}: {happens}",
            repair={scaler.min_path: profile.replicas_min} if claim is None else None,
            fix=fix,
        )


def _count(replicas: int) -> str:
    return "1 replica" if replicas == 1 else f"{replicas} replicas"
