"""Runs the simulated engine as a process of its own, and reads its answers byte by byte."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
"""How long a test waits for what must come at once; long, since machines are busy."""


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S} s for {what}"
        threading.Event().wait(0.02)


@dataclass
class Response:
    """One HTTP response, as far as it came."""

    status: int
    body: bytes
    whole: bool
    """Whether it ended as its framing says."""
    reset: bool
    """Whether the connection was reset."""

    @property
    def events(self) -> list[str]:
        """The data of each event that came whole."""
        parts = self.body.decode().split("\n\n")[:-1]
        return [part.removeprefix("data:").lstrip() for part in parts if part]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The events that are JSON."""
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def texts(self) -> list[str]:
        """The text of each token, without the space in front."""
        texts = [
            choice["text"] if "text" in choice else choice["delta"]["content"]
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
        ]
        texts += [chunk["token"]["text"] for chunk in self.chunks if "token" in chunk]
        return [text.removeprefix(" ") for text in texts if text]

    @property
    def numbers(self) -> list[int]:
        """The number of each token."""
        return [int(text.partition("#")[2]) for text in self.texts]

    @property
    def reasons(self) -> list[str]:
        """Each finish reason that was given."""
        return [
            choice["finish_reason"]
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
            if choice["finish_reason"]
        ]


class Request:
    """A request on a connection of its own."""

    def __init__(
        self, port: int, method: str, path: str, body: object = None, *, key: str = ""
    ) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._raw = b""
        self._reset = False
        head = f"{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n"
        head += f"X-Request-Id: {key}\r\n" if key else ""
        head += f"Content-Length: {len(content)}\r\n\r\n"
        self._socket.sendall(head.encode() + content)

    def _read(self) -> bool:
        try:
            piece = self._socket.recv(65536)
        except ConnectionResetError:
            self._reset = True
            return False
        self._raw += piece
        return bool(piece)

    def started(self) -> Request:
        """Wait for the first token."""
        while b'#1"' not in self._raw:
            assert self._read(), f"ended before its first token: {self._raw!r}"
        return self

    def response(self) -> Response:
        """Wait for the end."""
        while self._read():
            pass
        self.close()
        return self.so_far()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def so_far(self) -> Response:
        """Return what came until now."""
        head, _, rest = self._raw.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head else 0
        if b"transfer-encoding: chunked" not in head.lower():
            length = re.search(rb"content-length: (\d+)", head.lower())
            return Response(status, rest, bool(length) and len(rest) == int(length[1]), self._reset)  # type: ignore[index]
        body, whole = b"", False
        while not whole:
            size, found, after = rest.partition(b"\r\n")
            if not found:
                break
            count = int(size, 16)
            whole = count == 0
            body += after[:count]
            rest = after[count + 2 :]
        return Response(status, body, whole, self._reset)


@dataclass
class Sim:
    """A running engine."""

    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    """Held, since a connection that nobody holds is closed."""

    def get(self, path: str) -> Response:
        return Request(self.port, "GET", path).response()

    def stream(self, tokens: int, *, key: str = "", **more: object) -> Request:
        """Ask for a streamed completion; ``key`` is the request's id."""
        body = {"prompt": "hello", "max_tokens": tokens, "stream": True, **more}
        body.setdefault("stream_options", {"include_usage": True})
        return self.post("/v1/completions", body, key=key)

    def post(self, path: str, body: object, *, key: str = "") -> Request:
        request = Request(self.port, "POST", path, body, key=key)
        self.requests.append(request)
        return request

    def sigterm(self) -> None:
        """Send SIGTERM, and wait until the engine has heard it."""
        self.process.send_signal(signal.SIGTERM)
        until(
            lambda: self.process.poll() is not None or any("SIGTERM" in line for line in self.log),
            "the engine to hear SIGTERM",
        )

    def ended(self) -> int:
        """Wait for the process's end and return its exit code."""
        return self.process.wait(PATIENCE_S)

    def metric(self, name: str) -> float | None:
        """Return the value of a metric; its labels do not count."""
        shown = self.get("/metrics").body.decode()
        found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", shown, re.MULTILINE)
        return float(found[1]) if found else None


@contextmanager
def sim(*flags: str, wait: bool = True) -> Iterator[Sim]:
    """Run the simulated engine on a free port of the loopback, until the test ends."""
    argv = [sys.executable, "-m", "fixtures.engines.sim", "serve", "sim/model"]
    argv += ["--host=127.0.0.1", "--port=0", *flags]
    process = subprocess.Popen(argv, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    engine = Sim(process)
    assert process.stderr is not None

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            engine.log.append(line)
            if found := re.search(r"running on http://127.0.0.1:(\d+)", line):
                engine.port = int(found[1])

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        if wait:
            until(lambda: bool(engine.port) or process.poll() is not None, "the engine to load")
            assert engine.port, "".join(engine.log)
        yield engine
    finally:
        process.kill()
        process.wait()
        follower.join()
        process.stderr.close()
        for request in engine.requests:
            request.close()
