"""Every replica is ready, and each of its Services sends it requests.

What it checks
    As many pods are ready as there are replicas, and each ready pod is a ready endpoint in the
    EndpointSlices of every Service that selects it.

Why
    A Service without a ready endpoint refuses every request. With fewer ready pods than
    replicas the others take their share of the load, and a ready pod that no Service knows is a
    GPU for nothing.

Fix
    See why a pod isn't ready with ``kubectl describe pod``. If pods are ready and are no
    endpoints, compare the Service's selector and ports with theirs (see
    ``service-selects-pods``).

Source
    Kubernetes' documentation of EndpointSlices. Module 1.5, "War Story": new replicas took 7
    minutes to be ready while one pod served all users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import routing, running
from drainproof.model.endpoints import endpoints_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.finding import Finding
    from drainproof.model.routing import RoutedService
    from drainproof.model.running import Pod
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

SETTLED_S = 30
"""Endpoints follow a pod's readiness within a second or two; a busy control plane takes longer."""


@check("DP703", severity=Severity.ERROR)
def replicas_receive_requests(workload: Workload, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what keeps users' requests from replicas."""
    if not workload.serves:
        return
    pods = [pod for pod in running.pods_of(snapshot, workload) if not pod.deleting]
    if not pods and ("Pod" in snapshot.unseen or workload.replicas == 0):
        yield workload.inconclusive(workload.replicas_path, running.why_none(snapshot, workload))
        return
    ready = [pod for pod in pods if pod.ready]
    if not ready:
        yield workload.finding(
            workload.replicas_path,
            f"none of {max(len(pods), workload.replicas)} replicas is ready{_why(pods)}: every "
            "request fails",
        )
        return
    if len(ready) < workload.replicas:
        yield workload.finding(
            workload.replicas_path,
            f"{len(ready)} of {workload.replicas} replicas are ready{_why(pods)}: they take the "
            "load of all",
            Severity.WARNING,
        )
    services = routing.services_of(snapshot, workload)
    if services and "EndpointSlice" in snapshot.unseen:
        yield workload.inconclusive("", "EndpointSlices could not be listed")
        return
    for service in services:
        yield from _reached(service, ready, snapshot)


def _why(pods: list[Pod]) -> str:
    """Return why some pods are not ready, as far as their status says; empty if it doesn't."""
    for pod in pods:
        if pod.unscheduled:
            return f" ({pod.name}: {pod.unscheduled[:200]})"
        for state in pod.containers.values():
            if state.waiting and not pod.ready:
                return f" ({pod.name}: {state.waiting})"
    return ""


def _reached(service: RoutedService, ready: list[Pod], snapshot: Snapshot) -> Iterator[Finding]:
    meant = [
        pod
        for pod in ready
        if all(pod.labels.get(key) == value for key, value in service.selector.items())
    ]
    if not meant:
        return  # it selects others of the group, such as the leader
    endpoints = endpoints_of(snapshot, service)
    settled = running.settled(meant, snapshot.taken_at - SETTLED_S)
    missing = [pod for pod in settled if endpoints is None or pod.name not in endpoints.ready]
    if endpoints is None or not endpoints.ready:
        if settled:
            yield service.finding(
                "spec.selector",
                f"no ready endpoint, though {len(settled)} pods that it selects are ready: every "
                "request through it fails",
            )
    elif missing:
        yield service.finding(
            "spec.selector",
            f"{len(missing)} of {len(settled)} ready pods ({missing[0].name}) are no endpoints of "
            "it: they get no requests, and the others get theirs",
        )
