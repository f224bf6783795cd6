"""Tells what a service mesh puts into pods that no manifest shows: Istio's proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.patterns import regex

if TYPE_CHECKING:
    from drainproof.model.engine import Engine
    from drainproof.model.workload import Workload

_INJECT = "sidecar.istio.io/inject"
_DRAINS = regex(r"terminationDrainDuration[\"']?\s*:\s*[\"']?(\d+)(s|m)\b")
_WAITS = regex(r"EXIT_ON_ZERO_ACTIVE_CONNECTIONS[\"']?\s*:\s*[\"']?true\b")


def ends_early(workload: Workload, engine: Engine, least_s: float) -> str:
    """Say why an injected Istio proxy may end before the engine's streams; empty if it doesn't.

    Args:
        workload: The pods.
        engine: Their engine.
        least_s: Seconds that it has to drain, at least.
    """
    annotations = workload.pod_annotations
    wanted = workload.pod_labels.get(_INJECT) or annotations.get(_INJECT)
    if wanted != "true" or annotations.get("sidecar.istio.io/nativeSidecar") == "true":
        return ""
    passed_by = annotations.get("traffic.sidecar.istio.io/excludeInboundPorts", "")
    if str(engine.port) in {port.strip() for port in passed_by.split(",")}:
        return ""
    config = annotations.get("proxy.istio.io/config", "")
    drains = _DRAINS.search(config)
    seconds = int(drains[1]) * (60 if drains[2] == "m" else 1) if drains else 5
    if _WAITS.search(config) or seconds >= least_s:
        return ""
    return (
        f"Istio's proxy is injected here; unless it is a native sidecar, it ends {seconds} s after "
        "the pod's deletion with every stream through it, however long the engine drains: whether "
        "it is one can't be told; expected terminationDrainDuration or "
        "EXIT_ON_ZERO_ACTIVE_CONNECTIONS in the annotation proxy.istio.io/config"
    )
