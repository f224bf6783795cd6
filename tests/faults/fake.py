"""A small API server with one Deployment in it, real enough to be disturbed by a chaos run.

It keeps objects, versions and watches as Kubernetes does, and does what its controllers would: it
rolls the Deployment when its pod template changes, scales it, replaces pods that go, respects
disruption budgets, and runs a client for a Job.
"""

from __future__ import annotations

import copy
import itertools
import json
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit

import urllib3

from drainproof.faults.api import RESOURCES, Api
from drainproof.faults.undo import digest
from drainproof.streams.history import Client, ClientDone, Clock, Sent, Stream, to_line
from tests.streams.bodies import DONE, answer, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import ApiClient

Object = dict[str, Any]
_T = TypeVar("_T")
NAMESPACE = "inference"
WHOLE = b"".join(answer(5))
CUT = b"".join([*answer(5)[:3], DONE])
_PLURALS = {resource.plural: kind for kind, resource in RESOURCES.items()}


def api_of(url: str) -> Api:
    """Return a connection as the official client would give it, without loading that."""
    config = SimpleNamespace(host=url, auth_settings=dict)
    pool = urllib3.PoolManager(maxsize=16, block=False)
    client = SimpleNamespace(configuration=config, rest_client=SimpleNamespace(pool_manager=pool))
    return Api(cast("ApiClient", client))


def deployment(**spec: Any) -> Object:  # noqa: ANN401 - JSON
    labels = {"app": "vllm"}
    container = {
        "name": "vllm",
        "image": "vllm/vllm-openai:v0.32.0",
        "args": ["--model=m", "--port=8000", "--shutdown-timeout=30"],
        "ports": [{"containerPort": 8000, "name": "http"}],
    }
    template = {
        "metadata": {"labels": labels, "annotations": {"team": "search"}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 40},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "vllm", "namespace": NAMESPACE, "generation": 1},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": template,
            **spec,
        },
        "status": status(1, 1),
    }


def status(generation: int, replicas: int, *, updated: int = -1, ready: int = -1) -> Object:
    """Return the status of a Deployment; all replicas are updated and ready by default."""
    ready = replicas if ready < 0 else ready
    return {
        "observedGeneration": generation,
        "replicas": replicas,
        "updatedReplicas": replicas if updated < 0 else updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def node(name: str, **labels: str) -> Object:
    """Return a node that takes pods."""
    ready = {"type": "Ready", "status": "True"}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"conditions": [ready]},
    }


class FakeCluster:
    """The server and its controllers. Use as a context manager.

    Args:
        replicas: How many pods the Deployment has, each on a node of its own.

    Attributes:
        groups: Paths of API groups that are served beside Kubernetes' own.
        cut_after_write: Streams that end once the target, a pod or a node was touched look whole to
            a client, and are not.
        back_after_s: How long after a pod went another one is ready in its place.
        scaled_after_s: How long after a crowd came an autoscaler adds a replica.
        waiting: How many requests wait on each pod.
        sleeps: An autoscaler takes all pods away when a client stops, and makes them when one
            comes; requests are refused meanwhile.
        denied: ``(verb, plural or plural/subresource)`` that the user may not do.
        context: The engine's, in tokens.
        stuck: The rollout's new pod never gets ready.
        deleted_after_s: How long after the rollout began the old pod is deleted.
        before_write, after_write: Called with the number of the write, from 1.
        writes: Method and path of each write that was asked for.
    """

    def __init__(self, replicas: int = 1) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.groups: set[str] = set()
        self.back_after_s = 0.2
        self.scaled_after_s = 2.5
        self.waiting = 0.0
        self.sleeps = False
        self.cut_after_write = False
        self.lost: set[str] = set()
        """Nodes that are lost, and may not have been missed yet."""
        self.struck = False
        self.denied: set[tuple[str, str]] = set()
        self.stuck = False
        self.unschedulable = False
        self.pull_error = ""
        self.broken_client = False
        self.context: int | None = 8192
        self.deleted_after_s = 0.3
        self.before_write: Callable[[int], None] = lambda _number: None
        self.after_write: Callable[[int], None] = lambda _number: None
        self.writes: list[str] = []
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.versions = itertools.count(1)
        self.uids = itertools.count(1)
        self.log: list[tuple[int, Object, str]] = []
        self.clients: dict[str, FakeClient] = {}
        self.closed = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.cluster = self  # type: ignore[attr-defined] # how the handler finds it
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._populate(replicas)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.closed = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    @property
    def api(self) -> Api:
        return api_of(self.url)

    @property
    def touched(self) -> bool:
        """Whether anything but what belongs to the run was written to."""
        return self.struck or any(
            kind in write
            for write in self.writes
            for kind in ("deployments", "/pods", "/nodes", "poddisr")
        )

    @property
    def template(self) -> Object:
        """The Deployment's pod template."""
        found: Object = self.objects["Deployment", NAMESPACE, "vllm"]["spec"]["template"]
        return found

    def names(self, kind: str) -> list[str]:
        with self.lock:
            return sorted(name for found, _, name in self.objects if found == kind)

    def residue(self) -> list[str]:
        """Return what drainproof left behind."""
        with self.lock:
            return [
                f"{kind}/{name}"
                for (kind, _, name), item in self.objects.items()
                if "drainproof" in (item["metadata"].get("labels") or {}).values() and kind != "Pod"
            ]

    def _populate(self, replicas: int) -> None:
        labels = {"drainproof.dev/chaos": "allowed"}
        self.put("Namespace", "", {"metadata": {"name": NAMESPACE, "labels": labels}})
        self.put("Node", "", node("n0", **{"node-role.kubernetes.io/control-plane": ""}))
        item = deployment(replicas=replicas) | {"status": status(1, replicas)}
        stored = self.put("Deployment", NAMESPACE, item)
        self._replica_set("vllm-1", stored, replicas)
        for letter in "abcdefgh"[:replicas]:
            self.put("Node", "", node(f"n-{letter}"))
            self._pod(f"vllm-1-{letter}", ready=True, node=f"n-{letter}")
        port = {"port": 80, "targetPort": "http", "name": "http"}
        service = {"selector": {"app": "vllm"}, "ports": [port], "clusterIP": "10.0.0.1"}
        self.put("Service", NAMESPACE, {"metadata": {"name": "vllm"}, "spec": service})
        self._endpoints(self.pods(), [])

    # ── storage ──

    def put(self, kind: str, namespace: str, item: Object, event: str = "") -> Object:
        """Store an object as a controller would."""
        with self.lock:
            meta = item["metadata"]
            key = (kind, namespace, meta["name"])
            known = self.objects.get(key)
            if namespace:
                meta.setdefault("namespace", namespace)
            meta["uid"] = known["metadata"]["uid"] if known else f"u{next(self.uids)}"
            meta["resourceVersion"] = str(next(self.versions))
            stored = {"kind": kind, **item}
            self.objects[key] = stored
            self._tell(kind, stored, event or ("MODIFIED" if known else "ADDED"))
            return copy.deepcopy(stored)

    def drop(self, kind: str, namespace: str, name: str) -> None:
        with self.lock:
            item = self.objects.pop((kind, namespace, name), None)
            if item:
                item["metadata"]["resourceVersion"] = str(next(self.versions))
                self._tell(kind, item, "DELETED")

    def _tell(self, kind: str, item: Object, event: str) -> None:
        version = int(item["metadata"]["resourceVersion"])
        self.log.append((version, {"type": event, "object": copy.deepcopy(item)}, kind))
        self.changed.notify_all()

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Allow one write at a time, with what tests want to happen around it."""
        with self.lock:
            self.writes.append(what)
            number = len(self.writes)
            self.before_write(number)
            try:
                yield
            finally:
                self.after_write(number)

    # ── controllers ──

    def written(self, method: str, kind: str, item: Object) -> None:
        """Do what controllers do about a write."""
        if kind == "Job" and method == "POST":
            self._start_client(item)
        elif kind == "Job" and item["spec"].get("suspend"):
            client = self.clients[item["metadata"]["name"]]
            client.over = True
            if self.sleeps:
                self.later(lambda: self._set_replicas(-self.wanted), 1.0)
            if client.users:
                self.waiting = 0.0
                self._set_replicas(-1)
            self.changed.notify_all()
        elif kind == "PodDisruptionBudget":
            self.put(kind, NAMESPACE, item | {"status": {"observedGeneration": 1}})
        elif kind in {"Deployment", "Prometheus"} and item["metadata"]["name"] != "vllm":
            self.later(lambda: self._elsewhere(item))
        elif kind == "Deployment":
            self._observe(item)
            if not item["spec"].get("paused"):
                self._roll(item)
                self._scale(item)

    def install(self, kind: str, namespace: str, name: str, **labels: str) -> None:
        """Put a part of the control plane there that allows chaos, and its pod."""
        consent = {"drainproof.dev/chaos": "allowed"}
        self.put("Namespace", "", {"metadata": {"name": namespace, "labels": consent}})
        spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}}
        item = {"metadata": {"name": name, "labels": labels}, "spec": spec}
        self._elsewhere(self.put(kind, namespace, item))

    def _elsewhere(self, item: Object) -> None:
        """Let a part of the control plane have its pod or not, and the HPA notice it."""
        meta = item["metadata"]
        if item["spec"]["replicas"]:
            labels = {"app": meta["name"], "operator.prometheus.io/name": meta["name"]}
            ready = {"conditions": [{"type": "Ready", "status": "True"}]}
            pod = {"metadata": {"name": f"{meta['name']}-0", "labels": labels}, "spec": {}}
            self.put("Pod", meta["namespace"], pod | {"status": ready})
        else:
            self.drop("Pod", meta["namespace"], f"{meta['name']}-0")
        working = "True" if item["spec"]["replicas"] else "False"
        for (found, _, name), hpa in list(self.objects.items()):
            if found == "HorizontalPodAutoscaler" and name.startswith("keda-hpa-"):
                active = {"conditions": [{"type": "ScalingActive", "status": working}]}
                self.put(found, NAMESPACE, hpa | {"status": active})

    def _replica_set(self, name: str, owner: Object, replicas: int) -> None:
        spec = {"replicas": replicas, "template": copy.deepcopy(owner["spec"]["template"])}
        meta = {"name": name, "ownerReferences": [{"uid": owner["metadata"]["uid"]}]}
        body = {"metadata": meta, "spec": spec, "status": {"replicas": replicas}}
        self.put("ReplicaSet", NAMESPACE, body)

    def pods(self, *, ready: bool = True) -> list[str]:
        """Return the engine's pods, those that are ready and stay or the others."""
        with self.lock:
            found = [
                item
                for (kind, _, _), item in self.objects.items()
                if kind == "Pod" and item["metadata"]["labels"].get("app") == "vllm"
            ]
        return sorted(
            item["metadata"]["name"]
            for item in found
            if ready
            == (
                item["status"]["conditions"][0]["status"] == "True"
                and "deletionTimestamp" not in item["metadata"]
            )
        )

    def _pod(
        self, name: str, *, ready: bool, deleted: bool = False, node: str = "", restarted: int = 0
    ) -> None:
        known = self.objects.get(("Pod", NAMESPACE, name))
        restarts = restarted
        if known:
            restarts += known["status"]["containerStatuses"][0]["restartCount"]
        node = node or (known["spec"].get("nodeName", "") if known else "n-new")
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        meta: Object = {"name": name, "labels": {"app": "vllm"}}
        if deleted:
            meta["deletionGracePeriodSeconds"] = 40
            later = datetime.fromtimestamp(int(time.time()) + 40, UTC)
            meta["deletionTimestamp"] = later.strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {
            "name": "vllm",
            "state": {"running": {}},
            "restartCount": restarts,
            "containerID": f"containerd://{name}",
        }
        status = {"phase": "Running", "conditions": [condition], "containerStatuses": [state]}
        spec = {"nodeName": node}
        self.put("Pod", NAMESPACE, {"metadata": meta, "spec": spec, "status": status})

    def later(self, action: Callable[[], None], after_s: float | None = None) -> None:
        """Do something in a moment, as controllers and kubelets do."""

        def act() -> None:
            with self.lock:
                if not self.closed:
                    action()

        timer = threading.Timer(self.back_after_s if after_s is None else after_s, act)
        timer.daemon = True
        timer.start()

    def stop_pod(self, name: str, *, replace: bool = True, at_once: bool = False) -> None:
        """Delete a pod as its kubelet would, and make another one in its place."""
        with self.lock:
            if at_once:
                self.drop("Pod", NAMESPACE, name)
            else:
                self._pod(name, ready=False, deleted=True)
                self.later(lambda: self._gone(name))
            self._endpoints(self.pods(), [] if at_once else [name])
            self._count()
            if replace:
                self.later(self._another)

    @contextmanager
    def crowd(self) -> Iterator[None]:
        """Let the target have a replica more for a while, as an autoscaler would under a crowd."""
        self._set_replicas(1)
        try:
            yield
        finally:
            self._set_replicas(-1)

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """Let the target have no replica for a while, as an autoscaler would without requests."""
        many = self.wanted
        self._set_replicas(-many)
        try:
            yield
        finally:
            self._set_replicas(many)

    @property
    def wanted(self) -> int:
        """How many replicas the Deployment is to have."""
        return int(self.objects["Deployment", NAMESPACE, "vllm"]["spec"]["replicas"])

    def _set_replicas(self, more: int) -> None:
        with self.lock:
            item = self.objects["Deployment", NAMESPACE, "vllm"]
            item["spec"]["replicas"] += more
            self._scale(self.put("Deployment", NAMESPACE, item))

    def kill_container(self, name: str) -> None:
        """End a pod's container, and start it again as its kubelet would."""
        with self.lock:
            self.struck = True
            self._pod(name, ready=False)
            self._endpoints(self.pods(), [])
            self.later(lambda: self._restarted(name))

    def find_node(self, node: str) -> None:
        """Let a node that was lost come back, its pods with it."""
        with self.lock:
            self.lost.discard(node)
            for (kind, _, name), item in list(self.objects.items()):
                if kind == "Pod" and item["spec"].get("nodeName") == node:
                    self._pod(name, ready=True, restarted=1)
            self._endpoints(self.pods(), [])
            self._count()

    def lose_node(self, node: str) -> None:
        """Let a node go silent: its pods leave the Service, and are not deleted."""
        with self.lock:
            self.struck = True
            self.lost.add(node)
        self.later(lambda: self._silent(node))  # Kubernetes notices late

    def _silent(self, node: str) -> None:
        if node in self.lost:
            for (kind, _, name), item in list(self.objects.items()):
                if kind == "Pod" and item["spec"].get("nodeName") == node:
                    self._pod(name, ready=False)
            self._endpoints(self.pods(), [])
            self._count()

    def _restarted(self, name: str) -> None:
        self._pod(name, ready=True, restarted=1)
        self._endpoints(self.pods(), [])

    def _gone(self, name: str) -> None:
        self.drop("Pod", NAMESPACE, name)
        self._endpoints(self.pods(), [])
        self._count()

    def _another(self) -> None:
        (running,) = [
            item["metadata"]["name"]
            for (kind, _, _), item in self.objects.items()
            if kind == "ReplicaSet" and item["spec"]["replicas"]
        ]
        self._pod(f"{running}-{next(self.uids)}", ready=True, node=self._free_node())
        self._endpoints(self.pods(), [])
        self._count()

    def _free_node(self) -> str:
        """Return the node that takes pods and has the fewest."""
        taken = [
            item["spec"].get("nodeName")
            for (kind, _, _), item in self.objects.items()
            if kind == "Pod"
        ]
        free = [
            name
            for (kind, _, name), item in self.objects.items()
            if kind == "Node" and name != "n0" and not item["spec"].get("unschedulable")
        ]
        return min(free, key=taken.count)

    def _observe(self, item: Object) -> None:
        """Say that a change was seen, as the controller does at once."""
        now = item["status"] | {"observedGeneration": item["metadata"]["generation"]}
        self.put("Deployment", NAMESPACE, item | {"status": now})

    def _scale(self, item: Object) -> None:
        """Make as many pods as are wanted, or stop some."""
        wanted, there = item["spec"]["replicas"], self.pods()
        name = item["metadata"]["name"]
        if len({pod.rpartition("-")[0] for pod in there}) > 1 or self.stuck:
            return  # a rollout is on
        for pod in there[wanted:]:
            self.stop_pod(pod, replace=False)
        for _ in range(wanted - len(there)):
            self.later(self._another)
        if len(there) != wanted and self.objects.get(("Deployment", NAMESPACE, name)):
            self._count()

    def _count(self) -> None:
        """Write the Deployment's status."""
        current = self.objects["Deployment", NAMESPACE, "vllm"]
        count = len(self.pods())
        now = status(current["metadata"]["generation"], count)
        self.put("Deployment", NAMESPACE, current | {"status": now})

    def _endpoints(self, ready: list[str], terminating: list[str], service: str = "vllm") -> None:
        endpoints = [
            {"targetRef": {"name": name}, "conditions": {"ready": True}} for name in ready
        ] + [
            {"targetRef": {"name": name}, "conditions": {"ready": False, "terminating": True}}
            for name in terminating
        ]
        labels = {"kubernetes.io/service-name": service}
        body = {"metadata": {"name": f"{service}-x", "labels": labels}, "endpoints": endpoints}
        self.put("EndpointSlice", NAMESPACE, body)

    def _roll(self, item: Object) -> None:
        """Make the ReplicaSet of the current template the one that runs."""
        wanted = digest(item["spec"]["template"])
        sets = [found for (kind, _, _), found in self.objects.items() if kind == "ReplicaSet"]
        same = [found for found in sets if digest(found["spec"]["template"]) == wanted]
        running = next((found for found in sets if found["spec"]["replicas"]), None)
        if same and same[0] is running:
            return
        number = len(sets) + 1 if not same else int(same[0]["metadata"]["name"].split("-")[1])
        new = f"vllm-{number}"
        count = item["spec"]["replicas"]
        if not same:
            self._replica_set(new, item, count)
        pods = [f"{new}-{next(self.uids)}" for _ in range(count)]
        for pod in pods:
            self._pod(pod, ready=not self.stuck, node=self._free_node())
        if self.stuck:
            self._status(item, updated=count, replicas=2 * count, available=count)
            return
        old = [name for name in self.names("Pod") if name.startswith("vllm-") and name not in pods]
        self._endpoints([*old, *pods], [])
        self._status(item, updated=count, replicas=2 * count, available=2 * count)
        timer = threading.Timer(self.deleted_after_s, self._finish, (item, new, pods, old))
        timer.daemon = True
        timer.start()

    def _finish(self, item: Object, new: str, pods: list[str], old: list[str]) -> None:
        with self.lock:
            for name in old:
                self._pod(name, ready=False, deleted=True)
            self._endpoints(pods, old)
            self.changed.wait_for(lambda: self.closed, 0.3)
            for name in self.names("ReplicaSet"):
                found = self.objects["ReplicaSet", NAMESPACE, name]
                count = len(pods) if name == new else 0
                self.put(
                    "ReplicaSet",
                    NAMESPACE,
                    found
                    | {"spec": found["spec"] | {"replicas": count}, "status": {"replicas": count}},
                )
            for name in old:
                self.drop("Pod", NAMESPACE, name)
            self._endpoints(pods, [])
            count = len(pods)
            self._status(item, updated=count, replicas=count, available=count)

    def _status(self, item: Object, *, updated: int, replicas: int, available: int) -> None:
        current = self.objects["Deployment", NAMESPACE, item["metadata"]["name"]]
        generation = current["metadata"]["generation"]
        now = status(generation, replicas, updated=updated, ready=available)
        self.put("Deployment", NAMESPACE, current | {"status": now})

    # ── the client ──

    def _start_client(self, job: Object) -> None:
        state: Object = {"running": {}}
        conditions = []
        if self.unschedulable:
            state = {"waiting": {"reason": "Pending"}}
            words = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
            conditions = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": words,
                }
            ]
        elif self.pull_error:
            state = {"waiting": {"reason": self.pull_error, "message": "not found"}}
        template = job["spec"]["template"]
        name = job["metadata"]["name"]
        meta = {"name": f"{name}-p", "labels": template["metadata"]["labels"]}
        status = {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{"name": "client", "state": state}],
        }
        self.put("Pod", NAMESPACE, {"metadata": meta, "spec": {}, "status": status})
        if "running" in state:
            (settings,) = template["spec"]["containers"][0]["env"][:1]
            load = json.loads(settings["value"])
            client = self.clients[name] = FakeClient(self, load["client"], load["duration_s"])
            client.users = load["users"]
            if self.sleeps and not self.wanted:
                self.later(lambda: self._set_replicas(1), self.scaled_after_s)
            if client.users:
                self.struck, self.waiting = True, 10.0
                self.later(lambda: self._set_replicas(1), self.scaled_after_s)
            threading.Thread(target=client.run, daemon=True).start()


class FakeClient:
    """The streaming client of one Job."""

    def __init__(self, cluster: FakeCluster, name: str, duration_s: float | None) -> None:
        self.cluster = cluster
        self.name = name
        self.duration_s = duration_s
        self.lines: list[bytes] = []
        self.over = False
        self.users = False
        """Whether they make a queue, and an autoscaler adds a replica meanwhile."""

    def run(self) -> None:
        """Send a stream of 0.5 s each 50 ms for so long, or until told to stop; let them end."""
        cluster = self.cluster
        open_: list[Sent] = []
        sent = recorded_ = 0
        begun = time.time()
        self._print(Clock(at=begun, client=self.name))
        while not (self.over and not open_) and not cluster.closed:
            now = time.time()
            if self.duration_s is not None and now - begun >= self.duration_s:
                self.over = True
            if not self.over:
                open_.append(Sent(id=f"{self.name}-{sent}", due=now, sent=now))
                self._print(open_[-1])
                self._print(
                    Client(
                        at=now,
                        in_flight=1,
                        send_lag_ms=0,
                        loop_lag_ms=0,
                        cpu_share=0,
                        client=self.name,
                    )
                )
                sent += 1
            for one in [one for one in open_ if one.sent < now - 0.5]:
                open_.remove(one)
                recorded_ += 1
                self._print(self._stream(one, now))
            with cluster.lock:
                cluster.changed.wait_for(lambda: cluster.closed, 0.05)
        done = ClientDone(at=time.time(), sent=sent, recorded=recorded_, client=self.name)
        self._print(done)

    def _stream(self, one: Sent, now: float) -> Stream:
        changes: Object = {"reads": [len(piece) for piece in answer(5)]}
        if self.cluster.broken_client or (self.cluster.sleeps and not self.cluster.pods()):
            changes = {"status": 404, "raw": b""}
        if self.cluster.cut_after_write and self.cluster.touched:
            changes = {"raw": CUT}
        return recorded(
            changes.pop("raw", WHOLE),
            read_sizes=changes.pop("reads", None),
            **{
                "id": one.id,
                "due": one.due,
                "connected": one.sent,
                "sent": one.sent,
                "answered": one.sent,
                "ended": now,
                **changes,
            },
        )

    def _print(self, record: Any) -> None:  # noqa: ANN401 - any record
        with self.cluster.lock:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
            self.lines.append(stamp + b" " + to_line(record))
            self.cluster.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def cluster(self) -> FakeCluster:
        return cast("FakeCluster", self.server.cluster)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.count("/") == 3 and path.startswith("/apis/"):
            self._send(200 if path in self.cluster.groups else 404, {})
            return
        if path == "/version":
            self._send(200, {"gitVersion": "v1.34.1"})
            return
        kind, namespace, name, rest = self._where()
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if rest == "log":
            self._stream_log(name)
        elif rest.startswith("proxy/"):
            self._proxied(rest)
        elif query.get("watch"):
            self._watch(kind, namespace, int(query["resourceVersion"]), query)
        elif name:
            self._one(kind, namespace, name)
        else:
            self._list(kind, namespace, query)

    def do_POST(self) -> None:
        kind, namespace, name, rest = self._where()
        body = self._body()
        if kind == "SelfSubjectAccessReview":
            asked = body["spec"]["resourceAttributes"]
            plural = "/".join(filter(None, (asked["resource"], asked["subresource"])))
            allowed = (asked["verb"], plural) not in self.cluster.denied
            self._send(201, {"status": {"allowed": allowed}})
            return
        cluster = self.cluster
        with cluster.writing(f"{self.command} {urlsplit(self.path).path}"):
            key = (kind, namespace, name or body["metadata"]["name"])
            known = cluster.objects.get(key)
            if rest:
                self._send(*self._subresource(known, rest, body))
                return
            refused = _refusal(self.command, known, body)
            if refused:
                self._fail(*refused)
                return
            if self.command == "DELETE":
                if kind == "Pod":
                    cluster.stop_pod(name, at_once=body.get("gracePeriodSeconds") == 0)
                else:
                    cluster.drop(*key)
                answer: Object = {"kind": "Status", "status": "Success"}
            else:
                item = _patched(known, body) if known and self.command == "PATCH" else body
                answer = cluster.put(kind, namespace, item)
                cluster.written(self.command, kind, answer)
        self._send(201 if self.command == "POST" else 200, answer)

    def _subresource(self, pod: Object | None, rest: str, body: Object) -> tuple[int, Object]:
        """Evict a pod, or patch its status, as far as that is allowed."""
        cluster = self.cluster
        if pod is None:
            return 404, {"kind": "Status", "message": "not found"}
        name = pod["metadata"]["name"]
        budgets = cluster.names("PodDisruptionBudget")
        if rest == "eviction":
            if budgets:
                words = f"The disruption budget {budgets[0]} needs 2 healthy pods and has 2"
                return 429, {"kind": "Status", "message": words}
            cluster.stop_pod(name)
        else:
            (condition,) = body["status"]["conditions"]
            assert condition["type"] == "Ready"
            cluster._pod(name, ready=condition["status"] == "True")  # noqa: SLF001 - its own
            cluster._endpoints(cluster.pods(), [])  # noqa: SLF001 - same
            cluster.later(lambda: cluster._restarted(name))  # noqa: SLF001 - its kubelet
        return 201, {"kind": "Status"}

    do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - as http.server calls them

    def _where(self) -> tuple[str, str, str, str]:
        """Return kind, namespace, name and what follows."""
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        parts = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        name = parts[1] if len(parts) > 1 else ""
        return _PLURALS[parts[0]], namespace, name, "/".join(parts[2:])

    def _body(self) -> Object:
        length = int(self.headers.get("Content-Length") or 0)
        found: Object = json.loads(self.rfile.read(length) or b"{}")
        return found

    def _one(self, kind: str, namespace: str, name: str) -> None:
        with self.cluster.lock:
            found = copy.deepcopy(self.cluster.objects.get((kind, namespace, name)))
        if found is None:
            self._fail(404, f'{kind} "{name}" not found')
        else:
            self._send(200, found)

    def _list(self, kind: str, namespace: str, query: dict[str, str]) -> None:
        with self.cluster.lock:
            items = [
                copy.deepcopy(item)
                for (found, where, _), item in self.cluster.objects.items()
                if found == kind and (not namespace or where == namespace) and _fits(item, query)
            ]
            version = str(next(self.cluster.versions))
        self._send(200, {"metadata": {"resourceVersion": version}, "items": items})

    def _watch(self, kind: str, namespace: str, version: int, query: dict[str, str]) -> None:
        with self._chunks():
            for fresh in self._grown(self.cluster.log, 2):
                for number, event, found in fresh:
                    item = event["object"]
                    here = found == kind and item["metadata"].get("namespace", "") == namespace
                    if number > version and here and _fits(item, query):
                        self._chunk(json.dumps(event).encode() + b"\n")

    def _stream_log(self, pod: str) -> None:
        client = self.cluster.clients[pod.removesuffix("-p")]
        with self._chunks():
            for fresh in self._grown(client.lines):
                for line in fresh:
                    self._chunk(line)
                if b"client-done" in fresh[-1]:
                    break

    def _grown(self, whole: list[_T], give_up_s: float = float("inf")) -> Iterator[list[_T]]:
        """Return what is in a list, then what was added, again and again."""
        cluster = self.cluster
        seen = 0
        give_up = time.monotonic() + give_up_s
        while time.monotonic() < give_up and not cluster.closed:
            with cluster.lock:
                fresh = whole[seen:]
                if not fresh:
                    cluster.changed.wait(0.2)
                    continue
            seen += len(fresh)
            yield fresh

    def _proxied(self, rest: str) -> None:
        if rest.endswith("v1/models"):
            self._send(200, {"data": [{"id": "m", "max_model_len": self.cluster.context}]})
            return
        waiting = f"vllm:num_requests_waiting {self.cluster.waiting}\n"
        text = b"vllm:num_requests_running 9.0\n" + waiting.encode()
        self._raw(200, text)

    @contextmanager
    def _chunks(self) -> Iterator[None]:
        """Answer in chunks, unless whoever asked goes away."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with suppress(OSError):
            yield
            self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _fail(self, status: int, message: str) -> None:
        self._send(status, {"kind": "Status", "message": message})

    def _send(self, status: int, body: Object) -> None:
        self._raw(status, json.dumps(body).encode())

    def _raw(self, status: int, data: bytes) -> None:
        with suppress(OSError):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


def _refusal(method: str, known: Object | None, body: Object) -> tuple[int, str] | None:
    """Return the status and the message with which a write is refused, if it is."""
    if method == "POST":
        return (409, "already exists") if known else None
    if known is None:
        return 404, "not found"
    meta = known["metadata"]
    version = body.get("metadata", {}).get("resourceVersion")
    if method in {"PUT", "PATCH"} and version and version != meta["resourceVersion"]:
        return 409, "the object has been modified"
    uid = body.get("preconditions", {}).get("uid")
    if method == "DELETE" and uid and uid != meta["uid"]:
        return 409, "another identity"
    return None


def _patched(known: Object, body: Object) -> Object:
    patched = _merged(copy.deepcopy(known), body)
    if patched.get("spec") != known.get("spec"):
        patched["metadata"]["generation"] = known["metadata"].get("generation", 0) + 1
    return patched


def _merged(item: Object, patch: Object) -> Object:
    """Apply a JSON merge patch (RFC 7386)."""
    for key, value in patch.items():
        if value is None:
            item.pop(key, None)
        elif isinstance(value, dict):
            known = item.get(key)
            item[key] = _merged(known if isinstance(known, dict) else {}, value)
        else:
            item[key] = value
    return item


def _fits(item: Object, query: dict[str, str]) -> bool:
    labels = item["metadata"].get("labels") or {}
    wanted = [pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair]
    if any(labels.get(key) != value for key, value in wanted):
        return False
    fields = dict(pair.split("=") for pair in query.get("fieldSelector", "").split(",") if pair)
    name: str = item["metadata"]["name"]
    return fields.get("metadata.name", name) == name
