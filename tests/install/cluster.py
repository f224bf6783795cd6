"""An API server that keeps what is applied to it, as far as server-side apply needs one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.collect import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = {
    "v1": ["Namespace", "ServiceAccount", "ConfigMap", "Service", "PersistentVolumeClaim"],
    "apps/v1": ["Deployment"],
    "batch/v1": ["CronJob"],
    "networking.k8s.io/v1": ["NetworkPolicy"],
    "rbac.authorization.k8s.io/v1": ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
    "wgpolicyk8s.io/v1alpha2": ["PolicyReport"],
}
CLUSTER_WIDE = {"Namespace", "ClusterRole", "ClusterRoleBinding"}


def plural(kind: str) -> str:
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("cy") else "s")


@dataclass
class Cluster:
    stored: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Objects by path."""
    refuse: dict[str, int] = field(default_factory=dict)
    """Status by path, for what changes something."""
    changes: list[tuple[str, str]] = field(default_factory=list)
    queries: list[dict[str, list[str]]] = field(default_factory=list)
    url: str = ""

    def answer(self, verb: str, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if verb == "GET":
            return self._read(path)
        self.changes.append((verb, path))
        status = self.refuse.get(path, 200)
        if status != 200:
            return status, {"kind": "Status", "message": f"said {status}"}
        if verb == "DELETE":
            return 200, self.stored.pop(path)
        before = self.stored.get(path)
        new = orjson.loads(body)
        version = "1"
        if before is not None:
            old = before["metadata"].pop("resourceVersion")
            version = old if before == new else str(int(old) + 1)
        new["metadata"]["resourceVersion"] = version
        self.stored[path] = new
        return (200 if before else 201), new

    def _read(self, path: str) -> tuple[int, dict[str, Any]]:
        told: dict[str, dict[str, Any]] = {
            "/version": {"major": "1", "minor": "35"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [_group(name) for name in KINDS if "/" in name],
            },
        }
        if path in told:
            return 200, told[path]
        served = path.removeprefix("/apis/").removeprefix("/api/")
        if served in KINDS:
            return 200, {
                "kind": "APIResourceList",
                "resources": [_resource(kind) for kind in KINDS[served]],
            }
        if path in self.stored:
            return 200, self.stored[path]
        if path.endswith("policyreports"):
            listed = [obj for at, obj in self.stored.items() if "policyreports" in at]
            return 200, {"kind": "PolicyReportList", "items": listed}
        return 404, {"kind": "Status", "message": "not found"}


def _group(name: str) -> dict[str, Any]:
    group, _, version = name.partition("/")
    served = {"groupVersion": name, "version": version}
    return {"name": group, "versions": [served], "preferredVersion": served}


def _resource(kind: str) -> dict[str, Any]:
    verbs = ["get", "list", "patch", "delete"]
    namespaced = kind not in CLUSTER_WIDE
    return {
        "name": plural(kind),
        "singularName": kind.lower(),
        "kind": kind,
        "namespaced": namespaced,
        "verbs": verbs,
    }


@contextmanager
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """Serve on a free port of loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            cluster.queries.append(parse_qs(parts.query))
            length = int(self.headers.get("Content-Length", "0"))
            status, body = cluster.answer(self.command, parts.path, self.rfile.read(length))
            raw = orjson.dumps(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *args: object) -> None:
            pass

    with loopback.serving(Handler) as cluster.url:
        yield cluster
