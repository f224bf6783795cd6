"""A cluster in memory, for thousands of runs that are killed at any call: no process, no socket.

It has the verbs of :class:`drainproof.faults.api.Api`, and one of each object that a fault changes.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING, Any, cast

from drainproof.faults.api import CONFLICT, NOT_FOUND, RESOURCES, UNREACHABLE, ApiError
from drainproof.faults.journal import VERSION, Entry
from drainproof.faults.undo import digest
from tests.faults.fake import NAMESPACE, _fits, _merged, deployment

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.faults.api import Api

Object = dict[str, Any]
Objects = list[Object]
Names = list[str]
TARGET = ("Deployment", NAMESPACE, "vllm")
HPA = ("HorizontalPodAutoscaler", NAMESPACE, "vllm")
SCALED = ("ScaledObject", NAMESPACE, "vllm")
NODE = ("Node", "", "node-1")
POD = ("Pod", NAMESPACE, "vllm-1-a")
ELSEWHERE = ("Prometheus", "monitoring", "k8s")
LASTING = (TARGET, HPA, SCALED, NODE, POD, ELSEWHERE)
ENTRY = Entry(
    version=VERSION,
    run="r",
    context="fake",
    namespace=NAMESPACE,
    target="deployment/vllm",
    lease="drainproof-deployment-vllm",
    created=0.0,
)
"""The journal's entry of a run that has changed nothing yet."""


class Killed(BaseException):
    """The process is gone: nothing catches this, nothing cleans up."""


class MemoryCluster:
    """The cluster, and what happens to whoever calls it.

    Attributes:
        calls: How many calls came.
        before, after: Called with the number of each call, from 1, before and after its effect.
        rolled_after: How many calls a rollout takes.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.calls = 0
        self.before: Callable[[int], None] = lambda _number: None
        self.after: Callable[[int], None] = lambda _number: None
        self.rolled_after = 1
        self.rollouts = 0
        self._rolled_at: int | None = None
        self._numbers = itertools.count(1)
        self._put("Deployment", NAMESPACE, deployment(replicas=2))
        template = self.objects[TARGET]["spec"]["template"]
        template["spec"]["containers"][0]["env"] = [{"name": "MODE", "value": "fast"}]
        self._replica_set(2)
        target = {"kind": "Deployment", "name": "vllm"}
        hpa = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}
        self._put("HorizontalPodAutoscaler", NAMESPACE, {"metadata": {"name": "vllm"}, "spec": hpa})
        held = {"annotations": {"autoscaling.keda.sh/paused-replicas": "5", "team": "search"}}
        scaled = {"metadata": {"name": "vllm", **held}, "spec": {"scaleTargetRef": target}}
        self._put("ScaledObject", NAMESPACE, scaled)
        self._put("Node", "", {"metadata": {"name": "node-1", "labels": {"zone": "a"}}, "spec": {}})
        pod = {"metadata": {"name": "vllm-1-a", "labels": {"app": "vllm"}}, "spec": {}}
        self._put("Pod", NAMESPACE, pod)
        allowed = {"name": "monitoring", "labels": {"drainproof.dev/chaos": "allowed"}}
        self._put("Namespace", "", {"metadata": allowed})
        self._put("Prometheus", "monitoring", {"metadata": {"name": "k8s"}, "spec": {"shards": 1}})

    @property
    def api(self) -> Api:
        return cast("Api", self)

    def state(self) -> dict[str, Object]:
        """Return all that a run must leave as it was; absent and empty are the same."""
        kept = {}
        for key in LASTING:
            item = self.objects[key]
            meta = {name: item["metadata"].get(name) or {} for name in ("labels", "annotations")}
            kept[key[0]] = {**meta, "spec": copy.deepcopy(item["spec"])}
        found: Object = kept["Deployment"]["spec"]
        found["template"] = digest(found["template"])
        return kept

    def settle(self) -> None:
        """Let the Deployment's controller end what it does."""
        self._roll()
        self._finish()

    def residue(self) -> Names:
        return [name for kind, _, name in self.objects if kind in {"ConfigMap", "Job", "Lease"}]

    def running(self) -> Objects:
        """Return the ReplicaSets that have pods."""
        return [item for item in self._replica_sets() if item["spec"]["replicas"]]

    def someone_else(self, key: tuple[str, str, str], patch: Object) -> None:
        """Write as another user does."""
        item = copy.deepcopy(self.objects[key])
        self._put(key[0], key[1], _merged(item, copy.deepcopy(patch)))

    def calm(self) -> None:
        """Let nothing more happen to whoever calls."""
        self.before = self.after = lambda _number: None

    # ── the verbs ──

    def get(self, kind: str, namespace: str, name: str) -> Object:
        with _Call(self):
            return copy.deepcopy(self._known(kind, namespace, name))

    def find(self, kind: str, namespace: str, name: str) -> Object | None:
        try:
            return self.get(kind, namespace, name)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def list(self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> Object:
        assert not fields
        with _Call(self):
            items = [
                copy.deepcopy(item)
                for (found, where, _), item in self.objects.items()
                if found == kind
                and (not namespace or where == namespace)
                and _fits(item, {"labelSelector": labels})
            ]
            for item in items:
                item.pop("kind")  # as the API does
            return {"items": items[::-1]}  # in whatever order, not that of creation

    def create(self, kind: str, namespace: str, body: Object) -> Object:
        with _Call(self):
            if (kind, namespace, body["metadata"]["name"]) in self.objects:
                raise ApiError(CONFLICT, "already exists")
            return self._put(kind, namespace, copy.deepcopy(body))

    def replace(self, kind: str, namespace: str, body: Object) -> Object:
        with _Call(self):
            self._known(kind, namespace, body["metadata"]["name"])
            return self._put(kind, namespace, copy.deepcopy(body))

    def patch(self, kind: str, namespace: str, name: str, body: Object) -> Object:
        with _Call(self):
            known = self._known(kind, namespace, name)
            namespace = known["metadata"].get("namespace", "")
            version = body.get("metadata", {}).get("resourceVersion")
            if version and version != known["metadata"]["resourceVersion"]:
                raise ApiError(CONFLICT, "the object has been modified")
            return self._put(kind, namespace, _merged(copy.deepcopy(known), copy.deepcopy(body)))

    def delete(self, kind: str, namespace: str, name: str, *, uid: str = "") -> bool:
        with _Call(self):
            known = self.objects.get((kind, namespace, name))
            if known is None or (uid and known["metadata"]["uid"] != uid):
                return False
            del self.objects[kind, namespace, name]
            return True

    def allowed(self, *_: str) -> bool:
        return True

    # ── within ──

    def _known(self, kind: str, namespace: str, name: str) -> Object:
        within = namespace if RESOURCES[kind].namespaced else ""
        found = self.objects.get((kind, within, name))
        if found is None:
            raise ApiError(NOT_FOUND, f"{kind} {name} not found")
        return found

    def _put(self, kind: str, namespace: str, item: Object) -> Object:
        meta = item["metadata"]
        known = self.objects.get((kind, namespace, meta["name"]))
        number = str(next(self._numbers))
        meta["uid"] = known["metadata"]["uid"] if known else f"u{number}"
        meta["resourceVersion"] = number
        if namespace:
            meta["namespace"] = namespace
        self.objects[kind, namespace, meta["name"]] = {"kind": kind, **item}
        if kind in {"Deployment", "ReplicaSet"} and known:
            self._roll()
        return copy.deepcopy(self.objects[kind, namespace, meta["name"]])

    def _replica_sets(self) -> Objects:
        return [item for (kind, _, _), item in self.objects.items() if kind == "ReplicaSet"]

    def _replica_set(self, replicas: int) -> Object:
        owner = self.objects[TARGET]
        spec = {"replicas": replicas, "template": copy.deepcopy(owner["spec"]["template"])}
        meta = {
            "name": f"vllm-{next(self._numbers)}",
            "ownerReferences": [{"uid": owner["metadata"]["uid"]}],
        }
        return self._put("ReplicaSet", NAMESPACE, {"metadata": meta, "spec": spec})

    def _roll(self) -> None:
        """Begin to replace pods if the template is not that of the ReplicaSet that runs."""
        spec = self.objects[TARGET]["spec"]
        if spec.get("paused"):
            return
        new = self.current() or self._replica_set(0)
        if any(item is not new for item in self.running()) and not new["spec"]["replicas"]:
            new["spec"]["replicas"] = spec["replicas"]
            self.rollouts += 1
        self._rolled_at = self.calls + self.rolled_after

    def current(self) -> Object | None:
        """Return the ReplicaSet of the pod template."""
        wanted = digest(self.objects[TARGET]["spec"]["template"])
        return next(
            (item for item in self._replica_sets() if digest(item["spec"]["template"]) == wanted),
            None,
        )

    def _finish(self) -> None:
        """End a rollout."""
        if self.objects[TARGET]["spec"].get("paused"):
            return
        current = self.current()
        for item in self._replica_sets():
            item["spec"]["replicas"] = (
                self.objects[TARGET]["spec"]["replicas"] if item is current else 0
            )
        self._rolled_at = None

    def reach(self) -> None:
        """End a rollout whose time has come."""
        if self._rolled_at is not None and self.calls >= self._rolled_at:
            self._finish()


class _Call:
    """One call: it may never arrive, and its answer may never come back."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    def __enter__(self) -> None:
        cluster = self._cluster
        cluster.calls += 1
        cluster.reach()
        cluster.before(cluster.calls)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._cluster.after(self._cluster.calls)


def away(_number: int) -> None:
    """Be an API server that doesn't answer."""
    raise ApiError(UNREACHABLE, "no answer")
