"""The pods of a workload in a live cluster: when they were ready, and what became of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.conditions import conditions_of, moment
from drainproof.model.finding import Located, Origin, named
from drainproof.model.owners import above, controllers, key_of
from drainproof.model.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from drainproof.model.owners import Key
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_BY_LABEL = {
    "leaderworkerset.sigs.k8s.io/name": "LeaderWorkerSet",
    "serving.kserve.io/inferenceservice": "InferenceService",
    "serving.knative.dev/service": "Service",
}
"""Labels that operators put on pods, and the kind of object that each names."""
_WORKER_INDEX = "leaderworkerset.sigs.k8s.io/worker-index"
_RAY_GROUP = "ray.io/group"
_ENDED = frozenset({"Succeeded", "Failed"})


class Ended(Struct, frozen=True):
    """How a container's last run ended."""

    reason: str
    """``OOMKilled``, ``Error``, ``Completed`` …"""
    exit_code: int
    at: float | None
    """Seconds since the Unix epoch."""


class ContainerState(Struct, frozen=True):
    """One container of a pod that was started."""

    path: str
    """Its field path: ``status.containerStatuses[0]``."""
    ready: bool
    restarts: int
    running_since: float | None
    """Seconds since the Unix epoch; None if it does not run."""
    waiting: str
    """Why it waits to run (``CrashLoopBackOff``); empty if it doesn't."""
    last: Ended | None
    """How the run before this one ended."""


class Pod(Located, frozen=True, kw_only=True):
    """A pod that a cluster has."""

    labels: Mapping[str, str]
    node: str
    """Empty until it is scheduled."""
    ip: str
    phase: str
    deleting: bool
    ready: bool
    ready_since: float | None
    """When its readiness last changed, in seconds since the Unix epoch; None if it isn't ready."""
    unscheduled: str
    """Why the scheduler finds no node for it, in its words; empty if it found one."""
    containers: Mapping[str, ContainerState]
    devices: Mapping[str, int]
    """Extended resources that it asks for, by name."""

    @property
    def ended(self) -> bool:
        """Whether it ran to its end."""
        return self.phase in _ENDED

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Pod:
        """Read a Pod with its status.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        metadata = shape.mapping(obj, "metadata", "")
        spec = shape.mapping(obj, "spec", "")
        status = shape.mapping(obj, "status", "")
        conditions = conditions_of(obj)
        ready = conditions.get("Ready")
        scheduled = conditions.get("PodScheduled")
        lost = scheduled is not None and scheduled.status == "False"
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            labels=shape.string_map(metadata, "labels", "metadata"),
            node=shape.text(spec, "nodeName", "spec"),
            ip=shape.text(status, "podIP", "status"),
            phase=shape.text(status, "phase", "status"),
            deleting=metadata.get("deletionTimestamp") is not None,
            ready=ready is not None and ready.status == "True",
            ready_since=ready.since if ready is not None and ready.status == "True" else None,
            unscheduled=scheduled.message if scheduled is not None and lost else "",
            containers={
                shape.text(item, "name", f"status.containerStatuses[{index}]"): _state(
                    item, f"status.containerStatuses[{index}]"
                )
                for index, item in enumerate(shape.mappings(status, "containerStatuses", "status"))
            },
            devices=_devices(spec),
        )


def settled(pods: Iterable[Pod], by: float) -> list[Pod]:
    """Return the pods that were ready at a time already, and still are."""
    return [pod for pod in pods if pod.ready_since is not None and pod.ready_since <= by]


def pods_of(snapshot: Snapshot, workload: Workload) -> tuple[Pod, ...]:
    """Return the pods of a workload that have not ended; none if the Snapshot is of files."""
    found = snapshot.join(_index).get(key_of(workload.object), ())
    return tuple(pod for pod in found if not pod.ended and _plays(pod, workload))


def why_none(snapshot: Snapshot, workload: Workload) -> str:
    """Return why a workload without pods can't be judged by them, in words."""
    if "Pod" in snapshot.unseen:
        return "its pods could not be listed"
    if workload.replicas == 0:
        return "it has 0 replicas now, so nothing can be seen of its pods"
    return "it has no pods now"


def every_pod(snapshot: Snapshot) -> tuple[Pod, ...]:
    """Return all pods of a live cluster, whatever they run."""
    return snapshot.join(_pods)


def _pods(snapshot: Snapshot) -> tuple[Pod, ...]:
    if snapshot.partial:
        return ()
    return tuple(snapshot.read("", "Pod", Pod.from_object))


def _index(snapshot: Snapshot) -> dict[Key, list[Pod]]:
    """Return pods by each object above them, and by themselves."""
    pods = every_pod(snapshot)
    parents = controllers(snapshot.objects) if pods else {}
    index: dict[Key, list[Pod]] = {}
    for pod in pods:
        own = ("Pod", pod.namespace, pod.name)
        keys = {own, *above(own, parents)}
        for label, kind in _BY_LABEL.items():
            if label in pod.labels:
                keys.add((kind, pod.namespace, pod.labels[label]))
        for key in keys:
            index.setdefault(key, []).append(pod)
    return index


def _plays(pod: Pod, workload: Workload) -> bool:
    """Tell whether a pod is of a workload's own template, where its object has several."""
    role = getattr(workload, "role", "")
    if not role:
        return True
    index = pod.labels.get(_WORKER_INDEX)
    if index is not None and role in {"leader", "worker"}:
        return (index == "0") == (role == "leader")
    group = pod.labels.get(_RAY_GROUP)
    if group is not None:
        return group == ("headgroup" if role == "head" else role)
    labels = pod.labels
    return all(labels.get(key) == value for key, value in workload.pod_labels.items())


def _state(item: Raw, path: str) -> ContainerState:
    state = shape.mapping(item, "state", path)
    last = shape.mapping(shape.mapping(item, "lastState", path), "terminated", f"{path}.lastState")
    waiting = shape.mapping(state, "waiting", f"{path}.state")
    running = shape.mapping(state, "running", f"{path}.state")
    where = f"{path}.lastState.terminated"
    return ContainerState(
        path=path,
        ready=item.get("ready") is True,
        restarts=shape.integer(item, "restartCount", path, 0),
        running_since=moment(running, "startedAt", f"{path}.state.running"),
        waiting=shape.text(waiting, "reason", f"{path}.state.waiting"),
        last=Ended(
            shape.text(last, "reason", where),
            shape.integer(last, "exitCode", where, 0),
            moment(last, "finishedAt", where),
        )
        if last
        else None,
    )


def _devices(spec: Raw) -> dict[str, int]:
    """Return what the scheduler counts: containers together, or the largest init container."""
    together: Counter[str] = Counter()
    for item, path in _containers(spec, "containers"):
        together.update(_asked(item, path))
    for item, path in _containers(spec, "initContainers"):
        for name, count in _asked(item, path).items():
            together[name] = max(together[name], count)
    return dict(together)


def _containers(spec: Raw, field: str) -> list[tuple[Raw, str]]:
    found = shape.mappings(spec, field, "spec")
    return [(item, f"spec.{field}[{index}]") for index, item in enumerate(found)]


def _asked(item: Raw, path: str) -> dict[str, int]:
    resources = shape.mapping(item, "resources", path)
    path = f"{path}.resources"
    asked = {
        **shape.mapping(resources, "limits", path),
        **shape.mapping(resources, "requests", path),
    }
    return {
        name: int(quantity(count, shape.join(path, name)))
        for name, count in asked.items()
        if "/" in name
    }
