"""A small API server with one Deployment in it, real enough to be disturbed by a chaos run.

It keeps objects, versions and watches as Kubernetes does, and does what its controllers would: it
rolls the Deployment when its pod template changes, and runs a client for a Job.
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
from tests.streams.bodies import answer, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.client import ApiClient

Object = dict[str, Any]
_T = TypeVar("_T")
NAMESPACE = "inference"
WHOLE = b"".join(answer(5))
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
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": 1,
            "availableReplicas": 1,
        },
    }


class FakeCluster:
    """The server and its controllers. Use as a context manager.

    Attributes:
        denied: ``(verb, plural or plural/subresource)`` that the user may not do.
        stuck: The rollout's new pod never gets ready.
        deleted_after_s: How long after the rollout began the old pod is deleted.
        before_write, after_write: Called with the number of the write, from 1.
        writes: Method and path of each write that was asked for.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.denied: set[tuple[str, str]] = set()
        self.stuck = False
        self.unschedulable = False
        self.pull_error = ""
        self.broken_client = False
        self.deleted_after_s = 0.3
        self.before_write: Callable[[int], None] = lambda _number: None
        self.after_write: Callable[[int], None] = lambda _number: None
        self.writes: list[str] = []
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.versions = itertools.count(1)
        self.uids = itertools.count(1)
        self.log: list[tuple[int, Object, str]] = []
        self.lines: list[bytes] = []
        self.client_over = False
        self.closed = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.cluster = self  # type: ignore[attr-defined] # how the handler finds it
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._populate()

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

    def _populate(self) -> None:
        labels = {"drainproof.dev/chaos": "allowed"}
        self.put("Namespace", "", {"metadata": {"name": NAMESPACE, "labels": labels}})
        stored = self.put("Deployment", NAMESPACE, deployment())
        self._replica_set("vllm-1", stored, 1)
        self._pod("vllm-1-a", ready=True)
        port = {"port": 80, "targetPort": "http", "name": "http"}
        service = {"selector": {"app": "vllm"}, "ports": [port], "clusterIP": "10.0.0.1"}
        self.put("Service", NAMESPACE, {"metadata": {"name": "vllm"}, "spec": service})
        self._endpoints(["vllm-1-a"], [])

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
            self.client_over = True
            self.changed.notify_all()
        elif kind == "Deployment" and not item["spec"].get("paused"):
            self._roll(item)

    def _replica_set(self, name: str, owner: Object, replicas: int) -> None:
        spec = {"replicas": replicas, "template": copy.deepcopy(owner["spec"]["template"])}
        meta = {"name": name, "ownerReferences": [{"uid": owner["metadata"]["uid"]}]}
        body = {"metadata": meta, "spec": spec, "status": {"replicas": replicas}}
        self.put("ReplicaSet", NAMESPACE, body)

    def _pod(self, name: str, *, ready: bool, deleted: bool = False) -> None:
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        meta: Object = {"name": name, "labels": {"app": "vllm"}}
        if deleted:
            meta["deletionGracePeriodSeconds"] = 40
            later = datetime.fromtimestamp(int(time.time()) + 40, UTC)
            meta["deletionTimestamp"] = later.strftime("%Y-%m-%dT%H:%M:%SZ")
        state = {"name": "vllm", "state": {"running": {}}, "restartCount": 0}
        status = {"phase": "Running", "conditions": [condition], "containerStatuses": [state]}
        self.put("Pod", NAMESPACE, {"metadata": meta, "spec": {}, "status": status})

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
        if not same:
            self._replica_set(new, item, 1)
        pod = f"{new}-{next(self.uids)}"
        self._pod(pod, ready=not self.stuck)
        if self.stuck:
            self._status(item, updated=1, replicas=2, available=1)
            return
        old = [name for name in self.names("Pod") if name.startswith("vllm-") and name != pod]
        self._endpoints([*old, pod], [])
        self._status(item, updated=1, replicas=2, available=2)
        timer = threading.Timer(self.deleted_after_s, self._finish, (item, new, pod, old))
        timer.daemon = True
        timer.start()

    def _finish(self, item: Object, new: str, pod: str, old: list[str]) -> None:
        with self.lock:
            for name in old:
                self._pod(name, ready=False, deleted=True)
            self._endpoints([pod], old)
            self.changed.wait_for(lambda: self.closed, 0.3)
            for name in self.names("ReplicaSet"):
                found = self.objects["ReplicaSet", NAMESPACE, name]
                count = 1 if name == new else 0
                self.put(
                    "ReplicaSet",
                    NAMESPACE,
                    found
                    | {"spec": found["spec"] | {"replicas": count}, "status": {"replicas": count}},
                )
            for name in old:
                self.drop("Pod", NAMESPACE, name)
            self._endpoints([pod], [])
            self._status(item, updated=1, replicas=1, available=1)

    def _status(self, item: Object, *, updated: int, replicas: int, available: int) -> None:
        current = self.objects["Deployment", NAMESPACE, item["metadata"]["name"]]
        status = {
            "observedGeneration": current["metadata"]["generation"],
            "replicas": replicas,
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        self.put("Deployment", NAMESPACE, current | {"status": status})

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
        meta = {"name": f"{job['metadata']['name']}-p", "labels": template["metadata"]["labels"]}
        status = {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": [{"name": "client", "state": state}],
        }
        self.put("Pod", NAMESPACE, {"metadata": meta, "spec": {}, "status": status})
        if "running" in state:
            threading.Thread(target=self._client, daemon=True).start()

    def _client(self) -> None:
        """Send a stream of 0.5 s each 50 ms until told to stop, and let those in flight end."""
        open_: list[Sent] = []
        sent = recorded_ = 0
        begun = time.time()
        self._print(Clock(at=begun, client="0"))
        while not (self.client_over and not open_) and not self.closed:
            now = time.time()
            if not self.client_over:
                open_.append(Sent(id=f"0-{sent}", due=now, sent=now))
                self._print(open_[-1])
                self._print(Client(at=now, in_flight=1, send_lag_ms=0, loop_lag_ms=0, cpu_share=0))
                sent += 1
            for one in [one for one in open_ if one.sent < now - 0.5]:
                open_.remove(one)
                recorded_ += 1
                self._print(self._stream(one, now))
            with self.lock:
                self.changed.wait_for(lambda: self.closed, 0.05)
        self._print(ClientDone(at=time.time(), sent=sent, recorded=recorded_))

    def _stream(self, one: Sent, now: float) -> Stream:
        changes: Object = {"status": 404, "raw": b""} if self.broken_client else {}
        return recorded(
            changes.pop("raw", WHOLE),
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
        with self.lock:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
            self.lines.append(stamp + b" " + to_line(record))
            self.changed.notify_all()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def cluster(self) -> FakeCluster:
        return cast("FakeCluster", self.server.cluster)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        kind, namespace, name, rest = self._where()
        query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        if rest == "log":
            self._stream_log()
        elif rest.startswith("proxy/"):
            self._proxied(rest)
        elif query.get("watch"):
            self._watch(kind, namespace, int(query["resourceVersion"]), query)
        elif name:
            self._one(kind, namespace, name)
        else:
            self._list(kind, namespace, query)

    def do_POST(self) -> None:
        kind, namespace, name, _ = self._where()
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
            refused = _refusal(self.command, known, body)
            if refused:
                self._fail(*refused)
                return
            if self.command == "DELETE":
                cluster.drop(*key)
                answer: Object = {"kind": "Status", "status": "Success"}
            else:
                item = _patched(known, body) if known and self.command == "PATCH" else body
                answer = cluster.put(kind, namespace, item)
                cluster.written(self.command, kind, answer)
        self._send(201 if self.command == "POST" else 200, answer)

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

    def _stream_log(self) -> None:
        with self._chunks():
            for fresh in self._grown(self.cluster.lines):
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
            self._send(200, {"data": [{"id": "m"}]})
            return
        text = b"vllm:num_requests_running 9.0\nvllm:num_requests_waiting 0.0\n"
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
    if method == "PUT" and version and version != meta["resourceVersion"]:
        return 409, "the object has been modified"
    uid = body.get("preconditions", {}).get("uid")
    if method == "DELETE" and uid and uid != meta["uid"]:
        return 409, "another identity"
    return None


def _patched(known: Object, body: Object) -> Object:
    patched = _merged(copy.deepcopy(known), body)
    if patched["spec"] != known["spec"]:
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
