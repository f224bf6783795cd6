"""A server that writes exactly the bytes it is told to, and ends connections as it is told to."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import uvloop

from drainproof.streams import history
from drainproof.streams.client import StreamClient
from drainproof.streams.recorder import Recorder
from drainproof.streams.settings import Load
from tests.streams.bodies import SSE

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """One connection of the server, its request already read."""

    def __init__(
        self, request: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self.port: int = writer.get_extra_info("peername")[1]
        self._reader = reader
        self._writer = writer

    async def send(self, *pieces: bytes) -> None:
        """Send each piece as a segment of its own."""
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def head(self, framing: str = "Transfer-Encoding: chunked", media: str = SSE) -> None:
        await self.send(f"HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n{framing}\r\n\r\n".encode())

    async def chunks(self, *pieces: bytes) -> None:
        await self.send(*(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces))

    async def last_chunk(self) -> None:
        await self.send(b"0\r\n\r\n")

    def reset(self) -> None:
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def until_closed(self) -> None:
        while await self._reader.read(65536):
            pass


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port of loopback; a connection ends, in order, when its script returns."""

    talks: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            await script(Peer(head + await reader.readexactly(size), reader, writer))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        if talks:
            await asyncio.wait_for(asyncio.gather(*talks), timeout=20)


def settings(port: int, **changes: object) -> Load:
    """Return the load of one stream of 5 tokens, unless changed."""
    values: dict[str, Any] = {
        "url": f"http://127.0.0.1:{port}",
        "model": "tiny",
        "max_tokens": 5,
        "arrivals": "constant",
        "rate_per_s": 20.0,
        "duration_s": 0.05,
        "stall_s": 20.0,
        "settle_s": 20.0,
    }
    return Load(**(values | changes))


def play(
    script: Script,
    folder: Path,
    recorder: Callable[[int], Recorder] = Recorder,
    **changes: object,
) -> list[history.Record]:
    """Run the client against a server with this script; return what its History holds."""

    async def run() -> None:
        async with serving(script) as port:
            await StreamClient(settings(port, **changes), recorder(file.fileno())).run()

    path = folder / "history.jsonl"
    with path.open("wb") as file:
        file.write(history.to_line(header()))
        file.flush()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())
    return list(history.read(path))


def header(**target: object) -> history.Header:
    return history.Header(
        version=history.VERSION, tool="test", at=0.0, fault="none", target=target, load={}
    )
