"""A Prometheus that answers instant queries from a table, on loopback."""

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

NOW = 1_793_620_800.0


@dataclass
class FakePrometheus:
    """Answers a query by the first text of ``series`` that is in it; else with no series."""

    series: dict[str, list[tuple[dict[str, str], str]]] = field(default_factory=dict)
    """By a part of the query: labels and value of each series."""
    statuses: dict[str, int] = field(default_factory=dict)
    """By a part of the query: an HTTP status instead."""
    body: bytes | None = None
    """What everything is answered with, as by a server that is no Prometheus."""
    targets: list[dict[str, Any]] | None = None
    """The active targets; None is a server that has none to tell of."""
    queries: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, query: str) -> tuple[int, bytes]:
        """Return status and body."""
        if self.body is not None:
            return 200, self.body
        for part, status in self.statuses.items():
            if part in query:
                return status, orjson.dumps({"status": "error", "error": f"said {status}"})
        if query == "time()":
            return 200, answered("scalar", [NOW, str(NOW)])
        found = next((found for part, found in self.series.items() if part in query), [])
        return 200, answered(
            "vector", [{"metric": labels, "value": [NOW, value]} for labels, value in found]
        )


def answered(kind: str, result: Any) -> bytes:  # noqa: ANN401 - JSON
    """Return a successful answer's body."""
    return orjson.dumps({"status": "success", "data": {"resultType": kind, "result": result}})


def answered_targets(active: list[dict[str, Any]]) -> bytes:
    """Return the body that tells of targets."""
    return orjson.dumps({"status": "success", "data": {"activeTargets": active}})


@contextmanager
def asked(prometheus: FakePrometheus) -> Iterator[FakePrometheus]:
    """Serve on a free port of loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            prometheus.authorizations.append(self.headers.get("Authorization", ""))
            if parts.path.endswith("/api/v1/targets") and prometheus.targets is not None:
                self.said(200, answered_targets(prometheus.targets))
                return
            query = parse_qs(parts.query).get("query", [""])[0]
            prometheus.queries.append(query)
            status, body = prometheus.answer(query)
            if not parts.path.endswith("/api/v1/query"):
                status, body = 404, b"not found"
            self.said(status, body)

        def said(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with loopback.serving(Handler) as prometheus.url:
        yield prometheus
