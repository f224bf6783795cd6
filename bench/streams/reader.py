"""The peers in Python: read the same streams with aiohttp or httpx, as their documentation does.

usage: reader.py LIBRARY PORT STREAMS SECONDS [LAG]
Opens STREAMS connections evenly over SECONDS; prints how many streams ended whole and, if asked, by
how many ms the 99th percentile of events came later than they were sent, in the LAG seconds
once all were open.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine

    One = Callable[[], Coroutine[None, None, None]]
    OpenAll = Callable[[One], Awaitable[None]]


class Reader:
    """Keeps when each event came, and how late it was if somebody asks."""

    def __init__(self, opened_ns: int, over_ns: int) -> None:
        self.whole = 0
        self.late_ms: list[float] = []
        self._asked = over_ns > opened_ns
        self._opened_ns = opened_ns
        self._over_ns = over_ns

    async def read(self, lines: AsyncIterable[bytes]) -> None:
        """Read one stream."""
        arrivals: list[int] = []
        done = False
        async for line in lines:
            if line.startswith(b"data: "):
                now_ns = time.time_ns()
                arrivals.append(now_ns)
                done = line.startswith(b"data: [DONE]")
                if self._asked and (at := line.find(b"@")) >= 0:
                    sent_ns = int(line[at + 1 : at + 20])
                    if self._opened_ns <= sent_ns <= self._over_ns:
                        self.late_ms.append((now_ns - sent_ns) / 1e6)
        self.whole += done


async def with_aiohttp(url: str, reader: Reader, open_all: OpenAll) -> None:
    """Read with aiohttp."""
    import aiohttp  # noqa: PLC0415 - the one that is measured

    async def one() -> None:
        async with session.post(url, json={}) as answer:
            await reader.read(answer.content)

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await open_all(one)


async def with_httpx(url: str, reader: Reader, open_all: OpenAll) -> None:
    """Read with httpx."""
    import httpx  # noqa: PLC0415 - the one that is measured

    async def lines(answer: httpx.Response) -> AsyncIterator[bytes]:
        async for line in answer.aiter_lines():
            yield line.encode()

    async def one() -> None:
        async with client.stream("POST", url, json={}) as answer:
            await reader.read(lines(answer))

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=None, trust_env=False) as client:  # noqa: S113 - streams last
        await open_all(one)


LIBRARIES = {"aiohttp": with_aiohttp, "httpx": with_httpx}


async def main(library: str, port: str, streams: int, seconds: float, lag_s: float) -> None:
    """Open the streams, read them all, and say how it went."""
    opened_ns = time.time_ns() + round(seconds * 1e9)
    reader = Reader(opened_ns, opened_ns + round(lag_s * 1e9))
    start = time.monotonic()

    async def open_all(one: One) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(streams):
                await asyncio.sleep(start + number * seconds / streams - time.monotonic())
                group.create_task(one())

    await LIBRARIES[library](f"http://127.0.0.1:{port}/v1/completions", reader, open_all)
    lines = [str(reader.whole)]
    if reader.late_ms:
        reader.late_ms.sort()
        lines.append(f"{reader.late_ms[len(reader.late_ms) * 99 // 100]:.3f}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    name, at, count, over, *more = sys.argv[1:]
    uvloop.run(main(name, at, int(count), float(over), float(more[0]) if more else 0.0))
