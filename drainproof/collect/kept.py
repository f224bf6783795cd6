"""What is kept of an object that a cluster lists: what checks read, and no more.

A large cluster's pods, ReplicaSets and EndpointSlices would fill the memory, and what is not kept
can't leak into a saved Snapshot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.model.owners import controller_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from drainproof.model.shape import Raw

_NOISE = ("managedFields", "selfLink")
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_WITH_STATUS = frozenset({"ScaledObject", "HorizontalPodAutoscaler"})
"""Kinds whose status checks read as it is."""
_LINKS = frozenset({"Revision", "Configuration"})
_METADATA = ("name", "namespace", "labels", "creationTimestamp", "deletionTimestamp")


def kept(obj: Raw, listed: Collection[str]) -> Raw | None:
    """Return what is kept of an object; None if nothing is.

    Args:
        obj: As it was listed, with its ``kind``; it may be changed.
        listed: The kinds of which all objects are read. What is owned by one of another kind is
            kept whole, since its own pods are what can be judged.
    """
    kind = obj["kind"]
    controller = controller_of(obj)
    owned = controller is not None and controller[0] in listed
    if kind in _LINKS:
        return _only(obj, {})
    if kind == "ReplicaSet" and owned:
        return _only(obj, {}) if _get(obj, "spec", "replicas") else None  # an old one has no pods
    if kind == "Pod":
        return _pod(obj, whole=not owned)
    if kind == "Node":
        return _node(obj)
    if kind == "EndpointSlice":
        return _slice(obj)
    metadata = obj["metadata"]
    for name in _NOISE:
        metadata.pop(name, None)
    annotations = metadata.get("annotations")
    if annotations:
        annotations.pop(_LAST_APPLIED, None)
    if kind not in _WITH_STATUS:
        obj.pop("status", None)
    return obj


def _only(obj: Raw, rest: Mapping[str, Any]) -> Raw:
    """Return an object of its names, its controller and what else is given."""
    metadata = obj["metadata"]
    owners = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    return {
        "apiVersion": obj["apiVersion"],
        "kind": obj["kind"],
        "metadata": {
            **_some(metadata, *_METADATA),
            **(
                {
                    "ownerReferences": [
                        _some(owner, "kind", "name", "controller") for owner in owners
                    ]
                }
                if owners
                else {}
            ),
        },
        **rest,
    }


def _pod(obj: Raw, *, whole: bool) -> Raw:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    states = [
        _some(item, "name", "ready", "restartCount", "state", "lastState", "imageID")
        for item in status.get("containerStatuses") or ()
    ]
    for item in states:
        for state in (item.get("state"), item.get("lastState")):
            _strip_state(state)
    short = {
        "phase": status.get("phase"),
        "podIP": status.get("podIP"),
        "conditions": [
            _some(item, "type", "status", "reason", "message", "lastTransitionTime")
            for item in status.get("conditions") or ()
        ],
        "containerStatuses": states,
    }
    short = {key: value for key, value in short.items() if value}
    if whole:
        metadata = obj["metadata"]
        for name in _NOISE:
            metadata.pop(name, None)
        (metadata.get("annotations") or {}).pop(_LAST_APPLIED, None)
        return {**obj, "status": short}
    containers = {
        field: [
            {"name": item["name"], "resources": {"limits": devices}}
            for item in spec.get(field) or ()
            if (devices := _devices(item)) or field == "containers"
        ]
        for field in ("containers", "initContainers")
    }
    return _only(
        obj,
        {
            "spec": {
                **_some(spec, "nodeName"),
                **{field: items for field, items in containers.items() if items},
            },
            "status": short,
        },
    )


def _strip_state(state: Raw | None) -> None:
    """Leave out of a container's state what may be long, or hold what the container wrote."""
    for part in (state or {}).values():
        for name in ("message", "containerID"):
            part.pop(name, None)


def _devices(container: Raw) -> Raw:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: count for name, count in asked.items() if "/" in name}


def _node(obj: Raw) -> Raw:
    allocatable = _get(obj, "status", "allocatable") or {}
    return _only(
        obj,
        {
            "spec": _some(obj.get("spec") or {}, "taints", "unschedulable"),
            "status": {"allocatable": allocatable},
        },
    )


def _slice(obj: Raw) -> Raw:
    endpoints = [
        {
            "conditions": item.get("conditions") or {},
            **(
                {"targetRef": _some(item["targetRef"], "kind", "name")}
                if item.get("targetRef")
                else {}
            ),
        }
        for item in obj.get("endpoints") or ()
    ]
    return _only(obj, {"endpoints": endpoints})


def _some(parent: Mapping[str, Any], *names: str) -> Raw:
    return {name: parent[name] for name in names if name in parent}


def _get(obj: Raw, *path: str) -> Any:  # noqa: ANN401 - any part of an object
    at: Any = obj
    for key in path:
        at = at.get(key) if isinstance(at, dict) else None
    return at
