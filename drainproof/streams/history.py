"""The History: what happened to every stream and to the cluster, as lines of JSON on one clock.

A History is a file of JSON lines. The first is a :class:`Header`; every other line is one of the
records below, told apart by ``kind``, in the order in which they became known. Times (``at``,
``due``, ``sent`` …) are seconds since the Unix epoch. A record is written when it is known, so a
crash loses nothing that came before it. Whoever judges a History needs nothing else: no cluster,
no client.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VERSION = 1
"""Version of the format. A reader refuses what is newer."""


class Ending(StrEnum):
    """How the transport ended, as the socket saw it. Says nothing about what the answer held."""

    COMPLETE = "complete"
    """The HTTP message ended as its framing says (last chunk, or Content-Length reached)."""
    CLOSED = "closed"
    """The server closed, and the message had no framing of its own but the close."""
    EOF = "eof"
    """The server closed in the middle of a framed message."""
    RESET = "reset"
    """The connection was reset, or broke in another way that the socket calls an error."""
    REFUSED = "refused"
    """No connection: refused, unreachable, name not resolved, or timed out while connecting."""
    NO_RESPONSE = "no-response"
    """Connected and sent, and the server closed before it answered with a single byte."""
    MALFORMED = "malformed"
    """What came is not HTTP."""
    STALLED = "stalled"
    """Nothing came for longer than the client's limit, and the client gave up."""
    CANCELLED = "cancelled"
    """The client itself stopped before the answer's end: its run was over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What was run, on what. ``target`` and ``load`` hold names and numbers, never secrets."""

    kind: ClassVar[str] = "header"
    version: int
    tool: str
    at: float
    fault: str
    target: dict[str, Any]
    """``kind``, ``namespace``, ``name``, ``context``, ``service``, and what the audit's model reads
    from its pod template: ``grace_period_s``, ``prestop_s``, ``engine``, ``engine_version``,
    ``drain_s``, ``replicas``."""
    load: dict[str, Any]
    """The stream client's settings: rate (1/s), tokens asked for, path, seed, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The client's first words, on its own clock, before any request is due.

    Whoever starts a client and follows its output bounds the skew between the two clocks with it
    (skew is the client's time less one's own): at least ``at`` less the time at which the line was
    seen, at most ``at`` less the time at which the client was asked for. Every later
    :class:`Client` can only tighten the first bound.
    """

    kind: ClassVar[str] = "clock"
    at: float
    """When the client's run began; arrivals count from here."""
    client: str
    """Which client, where several write to one History; the first part of its streams' ids."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request that left the client. A stream that has this and no :class:`Stream` is unaccounted.

    A request that never left, since there was no connection, has a :class:`Stream` only.
    """

    kind: ClassVar[str] = "sent"
    id: str
    due: float
    sent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Withheld:
    """A request that was due and that the client itself could not send. Says nothing of the server.

    A run that has any did not put the load on that it was meant to.
    """

    kind: ClassVar[str] = "withheld"
    id: str
    due: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A piece of a stream's body, recorded while the stream went on.

    It keeps the client's memory bounded, what a crash can lose to seconds, and lines short
    (container logs split lines at 16 KiB). A stream's parts come in order and before its
    :class:`Stream`, which holds the rest.
    """

    kind: ClassVar[str] = "part"
    id: str
    arrivals: list[list[int]]
    """As in :class:`Stream`."""
    body: str
    """As in :class:`Stream`; each piece is compressed on its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One streamed completion, from when it was due to how it ended."""

    kind: ClassVar[str] = "stream"
    id: str
    due: float
    """When the arrival process wanted it sent; latency counts from here."""
    connected: float | None
    sent: float | None
    answered: float | None
    """When the status line arrived."""
    ended: float
    ending: Ending
    error: str
    """The socket's or parser's own words; empty if the ending was orderly."""
    status: int | None
    content_type: str
    arrivals: list[list[int]]
    """``[microseconds since sent, bytes]`` for each read that brought part of the body.

    Here and in ``body``: what came after the last :class:`Part`."""
    body: str
    """The body without its transfer coding, zlib-compressed, base64. See :func:`pack_body`."""
    expected_tokens: int | None
    """Completion tokens that the request fixed (``max_tokens`` with ``ignore_eos``), else None."""
    parts: int = 0
    """Number of :class:`Part` that went before, so that the loss of one shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """How well the client itself kept up, about once a second."""

    kind: ClassVar[str] = "client"
    at: float
    in_flight: int
    send_lag_ms: float
    """Worst delay since the last record between a request's due time and the client's taking it up.

    Connecting is not in it: that time is the server's."""
    loop_lag_ms: float
    """Worst delay since the last record of the client's event loop behind its timer."""
    cpu_share: float
    """CPU time over wall time since the last record; 1.0 is one core."""
    client: str = "0"
    """As in :class:`Clock`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientDone:
    """The client's last words: how many records of each kind it wrote, so that loss shows."""

    kind: ClassVar[str] = "client-done"
    at: float
    sent: int
    """Number of :class:`Sent`."""
    recorded: int
    """Number of :class:`Stream`."""
    withheld: int = 0
    """Number of :class:`Withheld`."""
    parts: int = 0
    """Number of :class:`Part`."""
    client: str = "0"
    """As in :class:`Clock`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A pod of the target as the API server reported it, on each change."""

    kind: ClassVar[str] = "pod"
    at: float
    event: str
    """``ADDED``, ``MODIFIED`` or ``DELETED``, as the watch said."""
    name: str
    uid: str
    node: str
    phase: str
    ready: bool
    deletion_at: float | None
    """When deletion was asked for: deletionTimestamp less the grace period."""
    grace_s: float | None
    """deletionGracePeriodSeconds, once deletion was asked for."""
    containers: list[dict[str, Any]]
    """For each container: ``name``, ``state`` (waiting, running, terminated), ``exit_code``,
    ``reason``, ``started_at``, ``finished_at``, ``restarts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The Service's endpoints after a change, by pod name, over all its EndpointSlices."""

    kind: ClassVar[str] = "endpoints"
    at: float
    ready: list[str]
    terminating: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """The engine's own counts on one pod, scraped from its metrics."""

    kind: ClassVar[str] = "gauge"
    at: float
    pod: str
    running: float | None
    waiting: float | None
    error: str
    """Why there is no number; empty if there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The target's own status on each change."""

    kind: ClassVar[str] = "workload"
    at: float
    generation: int
    observed_generation: int
    replicas: int
    updated: int
    ready: int
    available: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A Kubernetes Event about the target or one of its pods."""

    kind: ClassVar[str] = "event"
    at: float
    object: str
    """``Kind/name``."""
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A step of the fault: ``begin``, ``end`` (its effect is complete), ``timeout``, ``undone``."""

    kind: ClassVar[str] = "fault"
    at: float
    fault: str
    phase: str
    detail: str


Record = (
    Header
    | Clock
    | Sent
    | Withheld
    | Part
    | Stream
    | Client
    | ClientDone
    | Pod
    | Endpoints
    | Gauge
    | Workload
    | Event
    | Fault
)

_KINDS: dict[str, type[Record]] = {
    cls.kind: cls
    for cls in (
        Header,
        Clock,
        Sent,
        Withheld,
        Part,
        Stream,
        Client,
        ClientDone,
        Pod,
        Endpoints,
        Gauge,
        Workload,
        Event,
        Fault,
    )
}
_FIELDS = {cls: tuple(field.name for field in fields(cls)) for cls in _KINDS.values()}


def pack_body(raw: bytes) -> str:
    """Compress a piece of a stream's body for its record; token events shrink tenfold and more."""
    return base64.b64encode(zlib.compress(raw, 1)).decode()


def unpack_body(packed: str) -> bytes:
    """Return the raw body that :func:`pack_body` packed."""
    return zlib.decompress(base64.b64decode(packed)) if packed else b""


def to_line(record: Record) -> bytes:
    """Write a record as one line of JSON, newline included."""
    values = {name: getattr(record, name) for name in _FIELDS[type(record)]}
    return orjson.dumps({"kind": record.kind, **values}, option=orjson.OPT_APPEND_NEWLINE)


def from_line(line: bytes) -> Record:
    """Read one line of JSON back.

    Raises:
        ValueError: The line is not a record of this version.
    """
    values = orjson.loads(line)
    cls = _KINDS.get(str(values.pop("kind", ""))) if isinstance(values, dict) else None
    if cls is None:
        raise ValueError("not a record of a History")
    if cls is Stream:
        values["ending"] = Ending(values.get("ending"))
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a History file, the header first, in bounded memory.

    A last line that was cut off by a crash is left out; any other line that can't be read is an
    error.

    Raises:
        UserError: The file is missing, is no History, is newer than this reader, or is damaged.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the History: {error.strerror}",
            hint="Name the evidence folder that `drainproof chaos` printed.",
        ) from None
    with lines:
        for number, line in enumerate(lines, 1):
            try:
                record = from_line(line)
            except (ValueError, KeyError) as error:
                if not line.endswith(b"\n") and number > 1:
                    return
                raise UserError(f"{path}:{number}: damaged History: {error}") from None
            if number == 1:
                if not isinstance(record, Header):
                    raise UserError(f"{path}:1: not a History: its first line is no header")
                if record.version > VERSION:
                    raise UserError(
                        f"{path}: History version {record.version}; "
                        f"this drainproof reads {VERSION}",
                        hint="Judge it with a newer drainproof.",
                    )
            yield record
