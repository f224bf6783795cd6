"""A Kubernetes API server that answers list calls from a table, on loopback."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class FakeApi:
    """Answers by path; what is not in ``lists`` is an empty list."""

    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
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
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            return 200, {"kind": "Namespace"}
        found = self.lists.get(path, [])
        start = int(query.get("continue", ["0"])[0])
        if start and path in self.expire_once:
            self.expire_once.discard(path)
            return 410, {"kind": "Status", "message": "expired"}
        end = start + int(query["limit"][0])
        more = {"continue": str(end)} if end < len(found) else {}
        return 200, {"metadata": more, "items": found[start:end]}


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
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
