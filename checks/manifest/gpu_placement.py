"""Pods reach nodes with the GPUs that they ask for, and replicas don't share one.

What it checks
    What selects nodes (nodeSelector, required node affinity) doesn't contradict the GPUs that the
    container asks for: the vendor, their number on a node, MIG. Where the cluster's nodes are
    known, at least one with enough GPUs is selected and its taints are tolerated. Two replicas or
    more ask for different nodes (podAntiAffinity or topologySpreadConstraints whose selector
    counts them), unless each takes all eight GPUs of a node.

Why
    A pod that no node fits stays Pending: a rollout stops half way, and a scale-up adds nothing
    while users wait. Replicas on one node end together when it is drained or lost, and all streams
    with them.

Fix
    Select nodes by a label that GPU nodes have, tolerate their taint, and spread replicas over
    nodes. For example ``tolerations: [{key: nvidia.com/gpu, operator: Exists, effect:
    NoSchedule}]`` and ``topologySpreadConstraints: [{maxSkew: 1, topologyKey:
    kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: …}]``.

Source
    Module 1.5, "Tensor Parallelism for Inference" (affinity on ``nvidia.com/gpu.count``).
    Kubernetes' documentation, "Taints and Tolerations": GPU nodes are usually tainted, and the
    ExtendedResourceToleration admission plugin, as on GKE and EKS, tolerates a taint named as the
    resource is, such as ``nvidia.com/gpu``; without it, that is an assumption.
    NVIDIA's GPU feature discovery for the labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import placement as model
from drainproof.model.disruption import replica_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.accelerators import Accelerators, Device
    from drainproof.model.finding import Finding
    from drainproof.model.placement import Node, Placement, Requirement
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_OF_VENDOR = {
    "NVIDIA": ("nvidia.com/gpu", "nvidia.com/cuda", "nvidia.com/mig", "nvidia.com/vgpu"),
    "AMD": ("amd.com/gpu", "feature.node.kubernetes.io/amd-gpu"),
    "Google": ("cloud.google.com/gke-tpu",),
    "Habana": ("habana.ai/",),
}
"""Beginnings of labels that only nodes with a vendor's accelerators have."""
_COUNTS = frozenset({"nvidia.com/gpu.count", "cloud.google.com/gke-accelerator-count"})
_OF_NVIDIA = "cloud.google.com/gke-accelerator"
_NO_TAINT = "GPU nodes are taken to have no taint, or an admission plugin that adds tolerations"
_WHOLE_NODE = 8  # the most GPUs that usual nodes have
_ALIKE = frozenset({"Deployment", "StatefulSet", "Rollout", "ReplicaSet"})


@check("DP304", severity=Severity.ERROR, admission="it joins nodes and autoscalers")
def pods_reach_gpu_nodes(  # noqa: PLR0913, PLR0917 - a check asks for what it needs by name
    workload: Workload,
    accelerators: Accelerators,
    placement: Placement,
    scalers: Sequence[Scaler],
    snapshot: Snapshot,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield what keeps pods off GPU nodes, or puts all replicas on one."""
    devices = accelerators.devices
    if devices and not placement.pinned:
        contradictions = []
        if placement.selector or placement.terms:
            contradictions = [
                found
                for device in devices
                for found in _contradictions(workload, placement, device)
            ]
            yield from contradictions
        nodes = snapshot.join(model.nodes)
        if nodes and not contradictions:
            yield from _unreachable(workload, placement, devices, nodes)
        if workload.complete and not placement.tolerations:
            yield workload.assumption(f"{workload.pod_path}.tolerations", _NO_TAINT)
    if (
        profile.needs_spread
        and not placement.spreads
        and workload.kind in _ALIKE
        and workload.complete
        and (accelerators.count or 0) < _WHOLE_NODE
    ):
        replicas = max(workload.replicas, replica_counts(workload, scalers)[0])
        if replicas > 1:
            yield workload.finding(
                f"{workload.pod_path}.topologySpreadConstraints",
                f"nothing keeps the {replicas} replicas on different nodes: when a node that holds "
                "all of them is drained or lost, every stream ends and nobody answers",
                Severity.WARNING,
            )


def _contradictions(workload: Workload, placement: Placement, device: Device) -> Iterator[Finding]:
    """Yield requirements that no node which offers the device meets."""
    ways = list(placement.demands())
    if not any(ways):
        return
    against = [next((one for one in way if _excludes(one, device)), None) for way in ways]
    found = [one for one in against if one is not None]
    if len(found) < len(ways):
        return  # one way is left
    one = found[0]
    written = " or ".join(one.values) or one.operator
    yield workload.finding(
        one.path,
        f"nodes with {one.key} {one.operator} {written} don't offer {device.count} x "
        f"{device.resource}, which the engine's container asks for: its pods stay Pending",
    )


def _excludes(one: Requirement, device: Device) -> bool:
    """Tell whether a node that meets a requirement surely lacks the device."""
    if one.key in _COUNTS and not device.kind.mig:
        return _too_few(one, device.count)
    if one.operator not in {"In", "Exists"} or one.values == ("false",):
        return False
    vendor = next((name for name, labels in _OF_VENDOR.items() if one.key.startswith(labels)), "")
    if vendor and device.kind.vendor in _OF_VENDOR:
        return vendor != device.kind.vendor
    if one.key == _OF_NVIDIA:
        return bool(device.kind.vendor) and device.kind.vendor != "NVIDIA"
    return False


def _too_few(one: Requirement, count: int) -> bool:
    """Tell whether a requirement on a node's number of GPUs allows only less than ``count``."""
    numbers = [int(value) for value in one.values if value.isdecimal() and len(value) < 6]  # noqa: PLR2004 - no node has more
    if not numbers or len(numbers) < len(one.values):
        return False
    if one.operator == "Lt":
        return numbers[0] <= count
    return one.operator == "In" and max(numbers) < count


def _unreachable(
    workload: Workload, placement: Placement, devices: tuple[Device, ...], nodes: list[Node]
) -> Iterator[Finding]:
    """Yield why no node of the cluster can take a pod."""
    wanted = " and ".join(f"{device.count} x {device.resource}" for device in devices)
    able = [
        node
        for node in nodes
        if all(node.devices.get(device.resource, 0) >= device.count for device in devices)
    ]
    if not able:
        yield workload.inconclusive(
            f"{workload.pod_path}.nodeSelector",
            f"no node of the cluster has {wanted}: pods stay Pending unless one is added",
        )
        return
    selected = [node for node in able if placement.accepts(node)]
    if not selected:
        ways = next(iter(placement.demands()))
        one = next((one for one in ways if not any(one.holds(node.labels) for node in able)), None)
        yield workload.finding(
            one.path if one else f"{workload.pod_path}.nodeSelector",
            f"{len(able)} nodes have {wanted}, and none has the labels that are asked for"
            + (f" ({one.key} {one.operator} {' or '.join(one.values)})" if one else "")
            + ": pods stay Pending unless such a node is added",
            Severity.WARNING,
        )
        return
    own = {device.resource for device in devices}  # an admission plugin may tolerate these
    blocking = [_blocking(placement, node, own) for node in selected]
    if all(blocking):
        key, value, effect = blocking[0] or ("", "", "")
        taint = f"{key}={value}:{effect}" if value else f"{key}:{effect}"
        yield workload.finding(
            f"{workload.pod_path}.tolerations",
            f"all {len(selected)} nodes with {wanted} have a taint that is not tolerated "
            f"({taint}): pods stay Pending",
        )


def _blocking(placement: Placement, node: Node, own: set[str]) -> tuple[str, str, str] | None:
    """Return a taint of a node that keeps the pods off."""
    return next(
        (taint for taint in node.taints if taint[0] not in own and not placement.tolerates(*taint)),
        None,
    )
