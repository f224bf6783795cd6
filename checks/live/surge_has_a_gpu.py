"""A rolling update finds a free GPU for its surge pod.

What it checks
    On a node that the pods may run on (selectors, affinity, taints), as many accelerators are
    free, by what nodes can allocate and what their pods ask for, as one more replica needs.

Why
    With ``maxUnavailable: 0`` a rollout starts a new pod before it stops an old one. Without a
    free GPU that pod is Pending for ever, the rollout hangs until its deadline, and so does the
    fix that it was to bring. Whoever then deletes a pod by hand cuts its streams.

Fix
    Keep one GPU free for the surge, by a spare node, a low-priority placeholder pod, or a
    cluster autoscaler that adds one.

Source
    Module 1.5, "Rolling Update Strategy": a new pod is ready before an old one is stopped, so
    both hold a GPU for a while. Extended resources can't be overcommitted (Kubernetes'
    documentation).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.placement import nodes
from drainproof.model.running import every_pod

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.model.accelerators import Accelerators
    from drainproof.model.finding import Finding
    from drainproof.model.placement import Node, Placement
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_MANAGED = (
    "karpenter.sh/nodepool",
    "eks.amazonaws.com/nodegroup",
    "cloud.google.com/gke-nodepool",
    "kubernetes.azure.com/agentpool",
    "cluster-autoscaler.kubernetes.io/enabled",
)
"""Labels of nodes of groups that a cluster autoscaler may enlarge."""


@check("DP707", severity=Severity.ERROR)
def surge_pod_fits(
    workload: Workload, accelerators: Accelerators, placement: Placement, snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield a rollout that would wait for a GPU."""
    update = workload.rolling_update
    if update is None or update.type != "RollingUpdate" or workload.replicas == 0:
        return
    if update.at(workload.replicas)[1] == 0 or placement.pinned:
        return
    needed: Counter[str] = Counter()
    for device in accelerators.devices:
        needed[device.resource] += device.count
    if not needed:
        if accelerators.claims:
            yield workload.inconclusive(
                update.surge_path, "whether resource claims leave a device free can't be told"
            )
        return
    if {"Node", "Pod"} & snapshot.unseen.keys():
        yield workload.inconclusive(
            update.surge_path, "nodes or pods could not be listed, so free GPUs can't be counted"
        )
        return
    every = nodes(snapshot)
    if not every:
        yield workload.inconclusive(update.surge_path, "no node is known, so none can be free")
        return
    able = [node for node in every if _may_run(node, placement, needed)]
    free = snapshot.join(_free)
    if any(_fits(node, free, needed) for node in able):
        if snapshot.namespaces:
            yield workload.inconclusive(
                update.surge_path,
                "a GPU seems to be free, but pods in other namespaces, which may have it, were not "
                "listed: audit with -A",
            )
        return
    wanted = " and ".join(f"{count} x {name}" for name, count in needed.items())
    grows = any(label in node.labels for node in able for label in _MANAGED)
    yield workload.finding(
        update.surge_path,
        f"a rollout starts one more pod, which asks for {wanted}, and {_lacking(able)}: the "
        f"rollout hangs{' unless a cluster autoscaler adds a node' if grows else ''}",
        Severity.WARNING if grows else None,
    )


def _lacking(able: list[Node]) -> str:
    if not able:
        return "it may run on no node that has so many"
    if len(able) == 1:
        return f"the one node that it may run on ({able[0].name}) does not have that free"
    return f"none of {len(able)} nodes that it may run on has that free"


def _may_run(node: Node, placement: Placement, needed: Mapping[str, int]) -> bool:
    """Tell whether the scheduler may put the pods on a node, room aside."""
    return (
        node.schedulable
        and all(node.devices.get(name, 0) >= count for name, count in needed.items())
        and placement.accepts(node)
        and all(
            # admission adds the toleration of a taint that is named like the resource
            key in needed or placement.tolerates(key, value, effect)
            for key, value, effect in node.taints
        )
    )


def _fits(node: Node, free: Mapping[tuple[str, str], int], needed: Mapping[str, int]) -> bool:
    return all(free.get((node.name, name), 0) >= count for name, count in needed.items())


def _free(snapshot: Snapshot) -> dict[tuple[str, str], int]:
    """Return what is free of each extended resource, by node and resource."""
    free = {
        (node.name, name): count for node in nodes(snapshot) for name, count in node.devices.items()
    }
    for pod in every_pod(snapshot):
        for name, count in pod.devices.items():
            if (pod.node, name) in free and not pod.ended:
                free[pod.node, name] -= count
    return free
