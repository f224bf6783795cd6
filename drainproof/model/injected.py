"""Tells what a service mesh puts into pods that no manifest shows: Istio's proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.model import shape
from drainproof.model.owners import key_of
from drainproof.model.running import pods_of
from drainproof.patterns import regex

if TYPE_CHECKING:
    from drainproof.model.engine import Engine
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

FIX = (
    'Annotate the pods with proxy.istio.io/config: \'{"terminationDrainDuration": "150s"}\', or '
    'with sidecar.istio.io/nativeSidecar: "true".'
)
"""What is to be done about a proxy that may end early."""
_PROXY = "istio-proxy"
_INJECT = "sidecar.istio.io/inject"
_REVISION = "istio.io/rev"
_DRAINS = regex(r"terminationDrainDuration[\"']?\s*:\s*[\"']?(\d+)(s|m)\b")
_WAITS = regex(r"EXIT_ON_ZERO_ACTIVE_CONNECTIONS[\"']?\s*:\s*[\"']?true\b")


def ends_early(workload: Workload, engine: Engine, least_s: float, snapshot: Snapshot) -> str:
    """Say why an injected Istio proxy may end before the engine's streams; empty if it doesn't.

    A live cluster's pods show whether there is one that is no native sidecar. In files, labels and
    annotations of the pods and of their Namespace say that there will be one, of either kind. What
    the mesh tells all proxies is seen in neither.

    Args:
        workload: The pods.
        engine: Their engine.
        least_s: Seconds that it has to drain, at least.
        snapshot: What else is known.
    """
    annotations = workload.pod_annotations
    passed_by = annotations.get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    if str(engine.port) in {port.strip() for port in passed_by.split(",")}:
        return ""
    config = annotations.get("proxy.istio.io/config", "")
    drains = _DRAINS.search(config)
    seconds = int(drains[1]) * (60 if drains[2] == "m" else 1) if drains else 5
    if _WAITS.search(config) or seconds >= least_s:
        return ""
    # of one that has not been started, nothing is seen yet
    pods = [pod for pod in pods_of(snapshot, workload) if pod.containers and not pod.deleting]
    who = next((pod for pod in pods if _PROXY in pod.containers), None)
    if who is not None:
        unless = "unless the mesh tells all proxies otherwise"
        return f"Istio's proxy runs in {who.ref}; {unless}, {_ends(seconds)}"
    native = annotations.get("sidecar.istio.io/nativeSidecar") == "true"
    if pods or native or not _wanted(workload, snapshot):
        return ""
    return f"Istio's proxy is injected here; unless it is a native sidecar, {_ends(seconds)}"


def _ends(seconds: int) -> str:
    return (
        f"it ends {seconds} s after the pod's deletion with every stream through it, however long "
        "the engine drains: that can't be told from here; expected terminationDrainDuration or "
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS in the annotation proxy.istio.io/config"
    )


def _wanted(workload: Workload, snapshot: Snapshot) -> bool:
    said = workload.pod_labels.get(_INJECT) or workload.pod_annotations.get(_INJECT)
    if said:
        return said == "true"
    if _REVISION in workload.pod_labels:
        return True
    # a live audit lists no Namespaces: pods show more
    return snapshot.partial and workload.namespace in snapshot.join(_namespaces)


def _namespaces(snapshot: Snapshot) -> frozenset[str]:
    """Return the Namespaces among the objects into whose pods Istio puts its proxy."""
    return frozenset(snapshot.read("", "Namespace", _injects)) - {""}


def _injects(obj: Raw, _origin: object) -> str:
    """Return a Namespace's name if Istio puts its proxy into the pods there."""
    labels = shape.string_map(shape.mapping(obj, "metadata", ""), "labels", "metadata")
    said = labels.get("istio-injection")
    wanted = said == "enabled" or (said is None and _REVISION in labels)
    return key_of(obj)[2] if wanted else ""
