"""A Kubernetes API server that answers GET requests from a table, on loopback."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

from drainproof.collect.resources import RESOURCES
from tests.collect import loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSIONS = {"autoscaling": "v2", "keda.sh": "v1alpha1"}
"""Versions by group that this server has; ``v1`` of all others."""
CLUSTER_SCOPED = {"nodes", "ingressclasses", "gatewayclasses", "clusterservingruntimes"}


@dataclass
class FakeApi:
    """Answers by path; what is in neither ``lists`` nor ``objects`` is an empty list."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What a path without ``limit`` answers with; an object that is not here is missing (404)."""
    absent: set[str] = field(default_factory=set)
    """API groups that this server does not have."""
    aggregated: bool = True
    """Whether it tells of all groups in one answer, as Kubernetes 1.27 and later do."""
    statuses: dict[str, int] = field(default_factory=dict)
    texts: dict[str, list[str]] = field(default_factory=dict)
    """What a path answers with that is no JSON, one after the other; the last one stays."""
    expire_once: set[str] = field(default_factory=set)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Method and path, with its query, of every request."""
    tokens: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return status and body."""
        status = self.statuses.get(path, 200)
        if status != 200:
            return status, {"kind": "Status", "message": f"said {status}"}
        if path.startswith("/apis") and path.count("/") in {1, 3}:
            return self.discovery(path)
        namespace = path.startswith("/api/v1/namespaces/") and path.count("/") == 4
        if namespace or path in self.objects:
            return 200, self.objects.get(path, {"kind": "Namespace"})
        if "limit" not in query and path not in self.lists:
            return 404, {"kind": "Status", "message": "not found"}
        return self.page(path, query)

    def page(self, path: str, query: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """Return a page of a list."""
        found = self.lists.get(path, [])
        start = int(query.get("continue", ["0"])[0])
        if start and path in self.expire_once:
            self.expire_once.discard(path)
            return 410, {"kind": "Status", "message": "expired"}
        end = start + int(query.get("limit", ["500"])[0])
        more = {"continue": str(end)} if end < len(found) else {}
        return 200, {"metadata": more, "items": found[start:end]}

    def discovery(self, path: str) -> tuple[int, dict[str, Any]]:
        """Return which resources there are, or, at a group's path, which it has."""
        groups: dict[str, list[str]] = {}
        for resource in RESOURCES:
            if resource.group and resource.group not in self.absent:
                groups.setdefault(resource.group, []).append(resource.plural)
        if path != "/apis":
            group = path.split("/")[2]
            listed = [
                {"name": name, "namespaced": name not in CLUSTER_SCOPED} for name in groups[group]
            ]
            return 200, {"kind": "APIResourceList", "resources": listed}
        if not self.aggregated:
            plain = [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                }
                for group in groups
                for version in [VERSIONS.get(group, "v1")]
            ]
            return 200, {"kind": "APIGroupList", "groups": plain}
        items = [
            {
                "metadata": {"name": group},
                "versions": [
                    {
                        "version": VERSIONS.get(group, "v1"),
                        "resources": [
                            {
                                "resource": name,
                                "scope": "Cluster" if name in CLUSTER_SCOPED else "Namespaced",
                            }
                            for name in plurals
                        ],
                    }
                ],
            }
            for group, plurals in groups.items()
        ]
        return 200, {"kind": "APIGroupDiscoveryList", "items": items}


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    """Serve on a free port of loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            api.seen.append((self.command, self.path))
            api.tokens.append(self.headers.get("Authorization", ""))
            status, body = api.answer(parts.path, parse_qs(parts.query))
            raw = orjson.dumps(body)
            texts = api.texts.get(parts.path)
            if texts:
                status, raw = 200, (texts.pop(0) if len(texts) > 1 else texts[0]).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *args: object) -> None:
            pass

    with loopback.serving(Handler) as api.url:
        yield api
