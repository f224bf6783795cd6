"""The streaming client: puts open-loop load on a server and writes down what its sockets saw.

What happens for each read is what the client costs, so it is little: a stamp, the HTTP parser, an
append. Nothing of an answer is looked at while the run goes on: that is for the stream checker.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import ssl
import time
from http import HTTPStatus
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httptools

from drainproof.errors import UserError
from drainproof.streams.arrivals import due_times
from drainproof.streams.history import (
    Client,
    ClientDone,
    Clock,
    Ending,
    Part,
    Sent,
    Stream,
    Withheld,
    pack_body,
)
from drainproof.streams.mask import without_text
from drainproof.streams.requests import Requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.streams.recorder import Recorder
    from drainproof.streams.settings import Load

TICK_S = 0.1
"""How often the client looks at its loop's lag."""
TICKS_PER_LOOK = 10
"""Each second it looks at its streams, and a ``Client`` record says how it kept up itself."""
PART_ITEMS = 128
"""Reads plus chunks after which a stream's body so far is recorded: about 64 tokens, 16 KB raw. It
bounds a stream's memory and keeps lines below the 16 KiB at which container logs split them."""
MOST_ITEMS = 4 * PART_ITEMS
"""Beyond this a body is recorded even in the middle of a line."""
PART_AGE_NS = 5_000_000_000
"""Age at which what came is recorded even if it is little: what a crash may lose. The next read
sees to it, so that streams of one age are not all recorded at once, or a look at streams that are
silent."""
SILENT_NS = 1_000_000_000
"""How much longer a look leaves it to the next read to record what came."""
OWN_FAULT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""Why a connection can't be made that say something of the client's machine, not of the server."""
INFORMATIONAL = range(100, 200)
"""Statuses that announce the real answer."""


class StreamClient:
    """Runs one :class:`Load` against one server.

    Args:
        load: What to do.
        record: Takes each record as soon as it is known.
        environ: Where the bearer token and the headers that may be secrets come from.

    Raises:
        UserError: The token, such a header or the authorities' file is missing.
    """

    def __init__(
        self, load: Load, record: Recorder, environ: Mapping[str, str] = os.environ
    ) -> None:
        url = urlsplit(load.url)
        self._host = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._tls = _tls(load) if url.scheme == "https" else None
        self.requests = Requests(load, environ)
        self.load = load
        self._recorder = record
        self._broken: UserError | None = None
        self._in_flight: set[Exchange] = set()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._epoch_s = 0.0
        self._start_ns = 0
        self._recorded_self = 0, 0.0
        self._send_lag_s = self._loop_lag_s = 0.0

    def stop(self) -> None:
        """Send nothing more and let streams in flight finish; called again, cancel them."""
        if self._stopping.is_set():
            self._idle.set()
        self._stopping.set()

    async def run(self) -> None:
        """Send until the load's duration is over or :meth:`stop` is called, then settle.

        Raises:
            UserError: The records could not be written.
        """
        self._epoch_s, self._start_ns = time.time(), monotonic_ns()
        self._recorded_self = self._start_ns, time.process_time()
        self.record(Clock(at=self._epoch_s, client=self.load.client))
        watch = asyncio.create_task(self._watch())
        arrive = asyncio.create_task(self._arrive())
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({arrive, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await _cancelled(arrive)
            await self._settle()
        finally:
            for exchange in list(self._in_flight):
                exchange.end(Ending.CANCELLED, "the client's run was over")
            for task in (arrive, stopped, watch):
                await _cancelled(task)
        self._record_self()
        written = self._recorder.written
        self.record(
            ClientDone(
                at=self.at(monotonic_ns()),
                sent=written[Sent.kind],
                recorded=written[Stream.kind],
                withheld=written[Withheld.kind],
                parts=written[Part.kind],
                client=self.load.client,
            )
        )
        if self._broken:
            raise self._broken

    def at(self, stamp_ns: int) -> float:
        """Turn a monotonic stamp into seconds since the epoch, on the clock of this run's start.

        A step of the machine's clock during the run doesn't show.
        """
        return self._epoch_s + (stamp_ns - self._start_ns) / 1e9

    def record(self, record: Clock | Sent | Withheld | Part | Stream | Client | ClientDone) -> None:
        """Write a record; if that fails, the run ends, since the load would go unjudged."""
        if self._broken:
            return
        try:
            self._recorder(record)
        except UserError as error:
            self._broken = error
            self._stopping.set()
            self._idle.set()

    def ended(self, exchange: Exchange) -> None:
        """Forget an exchange whose stream has been recorded."""
        self._in_flight.discard(exchange)
        if not self._in_flight:
            self._idle.set()

    async def _arrive(self) -> None:
        load = self.load
        start = self._start_ns / 1e9
        for number, offset_s in due_times(load.pattern, load.part, load.parts):
            wait_s = start + offset_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            self._send_lag_s = max(self._send_lag_s, time.monotonic() - start - offset_s)
            self._launch(number, self._epoch_s + offset_s)

    def _launch(self, number: int, due: float) -> None:
        stream = f"{self.load.client}-{number}"
        if len(self._in_flight) >= self.load.max_in_flight:
            if self.load.users:
                return
            reason = f"{self.load.max_in_flight} streams in flight, the client's own limit"
            self.record(Withheld(id=stream, due=due, reason=reason))
            return
        exchange = Exchange(self, stream, due, *self.requests.make(number, stream))
        self._in_flight.add(exchange)
        self._idle.clear()
        exchange.opening = asyncio.create_task(self._open(exchange))

    async def _open(self, exchange: Exchange) -> None:
        limit_s = self.load.connect_timeout_s
        try:
            async with asyncio.timeout(limit_s) as timeout:
                await asyncio.get_running_loop().create_connection(
                    lambda: exchange,
                    self._host,
                    self._port,
                    ssl=self._tls,
                )
        except (
            OSError,
            UnicodeError,
        ) as error:  # a timeout is an OSError, a bad name may be either
            if timeout.expired():
                exchange.end(Ending.REFUSED, f"no connection within {limit_s:g} s")
            elif isinstance(error, OSError) and error.errno in OWN_FAULT:
                exchange.withhold(str(error))
            else:
                exchange.end(Ending.REFUSED, str(error) or type(error).__name__)

    async def _settle(self) -> None:
        if not self._in_flight:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.load.settle_s):
                await self._idle.wait()

    async def _watch(self) -> None:
        """Look for stalls and at the client itself, for as long as the run lasts."""
        tick_at = time.monotonic()
        for tick in itertools.count(1):
            tick_at += TICK_S
            await asyncio.sleep(tick_at - time.monotonic())
            now_s = time.monotonic()
            self._loop_lag_s = max(self._loop_lag_s, now_s - tick_at)
            tick_at = max(tick_at, now_s - TICK_S)
            if tick % TICKS_PER_LOOK == 0:
                now_ns = monotonic_ns()
                for exchange in list(self._in_flight):
                    exchange.look(now_ns)
                self._record_self()

    def _record_self(self) -> None:
        """Record how well the client kept up since the last time."""
        now_ns, cpu_s = monotonic_ns(), time.process_time()
        last_ns, last_cpu_s = self._recorded_self
        self.record(
            Client(
                at=self.at(now_ns),
                in_flight=len(self._in_flight),
                send_lag_ms=self._send_lag_s * 1e3,
                loop_lag_ms=self._loop_lag_s * 1e3,
                cpu_share=(cpu_s - last_cpu_s) * 1e9 / max(now_ns - last_ns, 1),
                client=self.load.client,
            )
        )
        self._recorded_self = now_ns, cpu_s
        self._send_lag_s = self._loop_lag_s = 0.0


class Exchange(asyncio.Protocol):
    """One request and its answer, on a connection of its own."""

    __slots__ = (
        "_answered_ns",
        "_body_us",
        "_client",
        "_complete_at",
        "_connected_ns",
        "_content_type",
        "_due",
        "_framed",
        "_last_ns",
        "_log",
        "_over",
        "_parser",
        "_parts",
        "_request",
        "_sent_ns",
        "_status",
        "_stream",
        "_tokens",
        "_transport",
        "on_body",
        "opening",
    )

    def __init__(
        self, client: StreamClient, stream: str, due: float, request: bytes, tokens: int
    ) -> None:
        self._client = client
        self._stream = stream
        self._due = due
        self._request = request
        self._tokens = tokens
        self._transport: asyncio.Transport | None = None
        self._connected_ns: int | None = None
        self._sent_ns: int | None = None
        self._answered_ns: int | None = None
        self._last_ns = 0
        self._body_us = 0  # since the request was sent, to the last read that is recorded
        self._status: int | None = None
        self._content_type = ""
        self._framed = False
        self._complete_at: int | None = None
        self._over = False
        self._parts = 0
        self.opening: asyncio.Task[None] | None = None
        # A read's stamp, then the pieces of body that it brought, and so on: one list, so that
        # the parser can append to it without any Python code of ours between.
        self._log: list[Any] = []
        self.on_body = self._log.append

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own inherits nothing
        self._parser = httptools.HttpResponseParser(self)
        if self._over:
            self._transport.abort()
            return
        self._connected_ns = monotonic_ns()
        self._transport.write(self._request)
        self._request = b""
        self._sent_ns = self._last_ns = monotonic_ns()
        at = self._client.at(self._sent_ns)
        self._client.record(Sent(id=self._stream, due=self._due, sent=at))

    def data_received(self, data: bytes) -> None:
        """Stamp and keep what came."""
        log = self._log
        self._last_ns = now_ns = monotonic_ns()
        log.append(now_ns)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._complete_at is None:  # what follows a whole answer is nobody's
                self.end(Ending.MALFORMED, str(error) or type(error).__name__)
                return
        if self._complete_at is not None:
            del log[self._complete_at :]
            self.end(Ending.COMPLETE, "")
        elif len(log) >= PART_ITEMS or now_ns - log[0] > PART_AGE_NS:
            self._record_part()

    def connection_lost(self, exc: Exception | None) -> None:
        """Name the end that the server, or the network, made."""
        del self._parser  # which knows this exchange: the two go without a garbage collector
        if exc is not None:
            self.end(Ending.RESET, str(exc) or type(exc).__name__)
        elif self._status is None and not self._log:
            self.end(Ending.NO_RESPONSE, "the server closed without an answer")
        elif self._status is None:
            self.end(Ending.EOF, "the server closed within the answer's head")
        elif self._framed:
            self.end(Ending.EOF, "the server closed within the answer's body")
        else:
            self.end(Ending.CLOSED, "")

    # What the parser calls; on_body is the log's own append.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the content type, and whether the answer has a framing of its own."""
        name = name.lower()
        if name == b"content-type":
            self._content_type = value.decode("latin-1")
        elif name == b"content-length":
            self._framed = True
        elif name == b"transfer-encoding":
            self._framed = value.lower().rstrip().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        """Keep the status, unless it is an interim one."""
        status = self._parser.get_status_code()
        if status not in INFORMATIONAL:
            self._status = status
            self._answered_ns = self._last_ns

    def on_message_complete(self) -> None:
        """Keep where in the log the answer ended; what follows is not part of it."""
        if self._status is not None and self._complete_at is None:
            self._complete_at = len(self._log)

    # What the client calls.

    def look(self, now_ns: int) -> None:
        """Give up on a stream that stalls; record what came if the last time is long ago."""
        if self._sent_ns is None:
            return
        if now_ns - self._last_ns > self._client.load.stall_s * 1e9:
            self.end(Ending.STALLED, f"nothing came for {self._client.load.stall_s:g} s")
        elif self._log and now_ns - self._log[0] > PART_AGE_NS + SILENT_NS:
            self._record_part()

    def withhold(self, reason: str) -> None:
        """End an exchange that the client's own machine kept from starting."""
        self._over = True
        self._client.record(Withheld(id=self._stream, due=self._due, reason=reason))
        self._client.ended(self)

    def end(self, ending: Ending, error: str) -> None:
        """Record the stream, once, and let go of the connection."""
        if self._over:
            return
        self._over = True
        ended_ns = monotonic_ns()
        if self._transport is not None:
            if ending is Ending.COMPLETE:
                self._transport.close()
            else:
                self._transport.abort()
        elif self.opening is not None:
            self.opening.cancel()
        at = self._client.at
        waits, sizes, body = self._take()
        load, masked = self._client.load, self._client.requests.masked
        self._client.record(
            Stream(
                id=self._stream,
                due=self._due,
                connected=None if self._connected_ns is None else at(self._connected_ns),
                sent=None if self._sent_ns is None else at(self._sent_ns),
                answered=None if self._answered_ns is None else at(self._answered_ns),
                ended=at(ended_ns),
                ending=ending,
                error=masked(error.encode()).decode(),
                status=self._status,
                content_type=masked(self._content_type.encode()).decode(),
                waits=waits,
                sizes=sizes,
                body=body,
                expected_tokens=self._tokens if load.fixes_length else None,
                parts=self._parts,
                api=load.api,
                max_tokens=self._tokens,
            )
        )
        self._client.ended(self)

    def _record_part(self) -> None:
        log = self._log
        whole = isinstance(log[-1], bytes) and log[-1].endswith(b"\n")
        if not whole and len(log) < MOST_ITEMS:
            return  # the rest of the event belongs with it: what it says is masked as one
        if self._client.requests.may_cut(self._last):
            return
        waits, sizes, body = self._take()
        if body:
            self._parts += 1
            self._client.record(Part(id=self._stream, waits=waits, sizes=sizes, body=body))

    def _last(self, size: int) -> bytes:
        """Return the last so many bytes of body that are not recorded yet."""
        pieces: list[bytes] = []
        for item in reversed(self._log):
            if size <= 0:
                break
            if isinstance(item, bytes):
                pieces.append(item[-size:])
                size -= len(item)
        return b"".join(reversed(pieces))

    def _take(self) -> tuple[list[int], list[int], bytes]:
        """Take what came since the last time out of the log, as records want it."""
        log = self._log
        pieces: list[bytes] = []
        waits: list[int] = []
        sizes: list[int] = []
        read_ns, begun_ns, last_us = 0, self._sent_ns or 0, self._body_us
        for item in log:
            if not isinstance(item, bytes):
                read_ns = item
            else:
                pieces.append(item)
                if read_ns:
                    micros = (read_ns - begun_ns) // 1000
                    waits.append(micros - last_us)
                    sizes.append(len(item))
                    last_us, read_ns = micros, 0
                else:
                    sizes[-1] += len(item)
        log.clear()
        self._body_us = last_us
        if not pieces:
            return waits, sizes, b""
        load, requests = self._client.load, self._client.requests
        body = requests.masked(b"".join(pieces))
        if not load.keep_text:
            body = without_text(body, self._stream)
            if self._status != HTTPStatus.OK or b'"error"' in body:
                body = requests.without_prompts(body)
        return waits, sizes, pack_body(body)


def _tls(load: Load) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=load.ca_file or None)
    except OSError as error:
        raise UserError(f"ca_file: cannot read {load.ca_file}: {error.strerror or error}") from None


async def _cancelled(task: asyncio.Task[object]) -> None:
    """Cancel a task and wait until it is gone; an error of its own is raised here."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
