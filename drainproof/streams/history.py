"""The History: what happened to every stream and to the cluster, as lines of JSON on one clock.

A History is a file of JSON lines. The first is a :class:`Header`; every other line is one of the
records below, told apart by ``kind``, in the order in which they became known. Times (``at``,
``due``, ``sent`` …) are seconds since the Unix epoch. A record is written when it is known, so a
crash loses nothing that came before it. Whoever judges a History needs nothing else: no cluster,
no client.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

import lz4.block
import orjson

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

VERSION = 2
"""Version of the format. A reader refuses any other."""
BUFFER = 1 << 20
"""Bytes of a file that are read at a time."""


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
    ``drain_s``, ``replicas``; ``load_probe`` is the probe that kills an engine which loads too
    long, and ``load_budget_s`` what it allows; ``cluster_version`` is the API server's;
    ``max_model_len`` is the engine's context, the tokens of prompt and answer together, as the
    engine tells it or else its flags, and null or missing if neither does."""
    load: dict[str, Any]
    """The stream client's settings: rate (1/s), tokens asked for, path, seed, seconds."""

    @property
    def max_model_len(self) -> int | None:
        """The engine's context, in tokens; None if unknown."""
        length: int | None = self.target.get("max_model_len")
        return length


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
    skew_s: float = 0.0
    """What was taken off the times of all this client's records, so that the History is on the one
    clock of whoever heard the clients. See :mod:`drainproof.streams.listen`."""
    skew_low_s: float | None = None
    """The least that the skew could be when this was heard; None: nobody knew."""
    skew_high_s: float | None = None
    """The most that it could be."""


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
    waits: list[int]
    """As in :class:`Stream`."""
    sizes: list[int]
    """As in :class:`Stream`."""
    body: bytes
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
    waits: list[int]
    """For each read that brought part of the body: microseconds since the one before, those in
    parts included, and since ``sent`` for the first.

    Here, in ``sizes`` and in ``body``: what came after the last :class:`Part`."""
    sizes: list[int]
    """For each of these reads: the bytes of body that it brought."""
    body: bytes
    """The body without its transfer coding, an LZ4 block after its size (32 bits, the lowest byte
    first); empty if nothing came. See :func:`pack_body`. Base64 in its line."""
    expected_tokens: int | None
    """Completion tokens that the request fixed (``max_tokens`` with ``ignore_eos``), else None."""
    parts: int = 0
    """Number of :class:`Part` that went before, so that the loss of one shows."""
    api: str = "completions"
    """How the body is to be read: ``completions``, ``chat`` or ``tgi``, as the load says."""
    max_tokens: int | None = None
    """The most completion tokens that the request allowed."""


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
    ``reason``, ``started_at``, ``finished_at``, ``restarts``, and the ``image`` that it runs with
    its ``image_id`` (by digest), as the node has it."""
    created_at: float | None = None
    unschedulable: str = ""
    """Why no node takes it, in the scheduler's words; empty if one did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The Service's endpoints after a change, by pod name, over all its EndpointSlices."""

    kind: ClassVar[str] = "endpoints"
    at: float
    ready: list[str]
    terminating: list[str]
    slices: dict[str, list[str]] = field(default_factory=dict)
    """The ready ones by the name of the EndpointSlice that lists them; empty if nobody noted it."""


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
    tokens: float | None = None
    """Tokens that it has generated since it started; None if it does not say."""


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
    wanted: int | None = None
    """``spec.replicas``."""


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
class Autoscaler:
    """What a ScaledObject or a HorizontalPodAutoscaler of the target says, on each change."""

    kind: ClassVar[str] = "autoscaler"
    at: float
    object: str
    """``Kind/name``."""
    made_by: str = ""
    """``Kind/name`` of its owner: KEDA's HorizontalPodAutoscaler is made by a ScaledObject."""
    declared: dict[str, Any] | None = None
    """The object without its status; None if that is as it was in the record before."""
    conditions: dict[str, str] = field(default_factory=dict)
    """By type: ``True``, or the status with its reason and message, joined by ``: ``."""
    current: int | None = None
    """``status.currentReplicas``."""
    desired: int | None = None
    """``status.desiredReplicas``."""
    value: float | None = None
    """What the first of its metrics is that is no resource's, as it compares it with the threshold:
    an average over the replicas, or the value itself."""
    scaled_at: float | None = None
    """``status.lastScaleTime``."""
    gone: bool = False
    """Whether it was deleted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Prometheus answers an autoscaler's query with, about once a second."""

    kind: ClassVar[str] = "answer"
    at: float
    query: str
    value: float | None = None
    """None if there is no answer, or more than one."""
    sampled: float | None = None
    """When the newest sample was scraped that the query reads, by Prometheus' own clock less what
    that is ahead."""
    oldest: float | None = None
    """Likewise the oldest."""
    pods: int | None = None
    """Of how many of the target's pods the query reads a sample; None if that can't be told."""
    others: list[str] = field(default_factory=list)
    """Pods of others that it reads, no more than a few."""
    scraped: int | None = None
    """Of how many of the target's pods there is a sample of the engine's own queue, where the query
    has no answer; else None."""
    target: str = ""
    """Where there is none: ``none`` if Prometheus has no target in these pods, else what went wrong
    in the last scrape."""
    error: str = ""
    """Why Prometheus did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A step of one of the run's faults."""

    kind: ClassVar[str] = "fault"
    at: float
    fault: str
    phase: str
    """``steady`` (the target serves, and nothing is being done to it), ``begin``, ``hit`` (``pods``
    were hit), ``crowd`` (a crowd of requests comes beside the streams), ``calm`` (it is gone),
    ``away`` (what an outage takes away is gone), ``back`` (it is there again), ``end`` (its effect
    is complete), ``timeout`` (it did not get there), ``undone`` or ``not-undone``."""
    detail: str
    index: int = 0
    """Which fault of the run, from 0."""
    pods: list[str] = field(default_factory=list)
    """Of ``hit``: whose engine was killed, which were deleted by force or lost with their node."""
    cost: str = "graceful"
    """Of ``begin``: what the fault may cost, ``graceful``, ``abrupt`` or ``control-plane``."""
    node: str = ""
    """The node that is drained or lost."""
    recover_s: float = 0.0
    """Of ``begin``, if abrupt: within how many seconds new requests must succeed again."""
    stops: bool = True
    """Of ``begin``: whether it is to stop pods; else all streams are put to the test."""
    took_s: float = 0.0
    """Of ``hit``: it was asked for at ``at``, and known to be done so many seconds later."""
    aim: float | None = None
    """Of ``crowd``: how many requests it wants to have waiting."""
    away: str = ""
    """Of ``begin``, if it is an outage: of what, ``keda``, ``metrics-api`` or ``prometheus``."""
    stated: dict[str, Any] = field(default_factory=dict)
    """Of ``begin``: what the user stated that it is judged by, by the names of its options."""


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
    | Autoscaler
    | Answer
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
        Autoscaler,
        Answer,
        Fault,
    )
}
_FIELDS = {cls: tuple(one.name for one in fields(cls)) for cls in _KINDS.values()}


_MOST_SHRUNK = 255
"""Bytes that one byte of LZ4 can stand for."""
MOST_BODY = 2**28
"""Bytes of a stream's body that are unpacked at most: a million tokens and more."""


def pack_body(raw: bytes) -> bytes:
    """Compress a piece of a stream's body for its record; token events shrink tenfold and more.

    LZ4 takes a tenth of zlib's time, in the client as in the judge, for a fifth more bytes.
    """
    packed: bytes = lz4.block.compress(raw) if raw else b""
    return packed


def unpack_body(packed: bytes, most: int = MOST_BODY) -> bytes:
    """Return the raw body that :func:`pack_body` packed.

    Args:
        packed: The body as its record has it.
        most: Bytes that it may have.

    Raises:
        ValueError: It is damaged, or has more; then nothing was unpacked.
    """
    size = int.from_bytes(packed[:4], "little")
    if size > _MOST_SHRUNK * len(packed):
        raise ValueError("the size that its body states is more than it can hold")
    if size > most:
        raise ValueError(f"its body has more than the {MOST_BODY} bytes that are unpacked")
    try:
        raw: bytes = lz4.block.decompress(packed) if packed else b""
    except lz4.block.LZ4BlockError as error:
        raise ValueError(str(error)) from None
    return raw


def to_line(record: Record) -> bytes:
    """Write a record as one line of JSON, newline included."""
    values = {name: getattr(record, name) for name in _FIELDS[type(record)]}
    return orjson.dumps(
        {"kind": record.kind, **values}, default=_base64, option=orjson.OPT_APPEND_NEWLINE
    )


def _base64(body: bytes) -> str:
    return base64.b64encode(body).decode()


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
        if "body" in values:
            values["body"] = base64.b64decode(values["body"], validate=True)
        return cls(**values)
    except TypeError as error:
        raise ValueError(str(error)) from None


_TIMES = ("at", "due", "connected", "sent", "answered", "ended")


def earlier(record: Record, seconds: float) -> Record:
    """Return a client's record with all its times so much earlier: a clock's skew taken off."""
    names = ("at",) if isinstance(record, ClientDone) else _TIMES  # its ``sent`` is a count
    times = {name: getattr(record, name, None) for name in names}
    moved = {name: time - seconds for name, time in times.items() if time is not None}
    return replace(record, **moved) if moved else record


def read(
    path: Path, select: Callable[[Iterable[bytes]], Iterator[tuple[int, bytes]]] | None = None
) -> Iterator[Record]:
    """Yield the records of a History file, the header first, in bounded memory.

    A last line that was cut off by a crash is left out; any other line that can't be read is an
    error.

    Args:
        path: The file.
        select: Chooses lines, the first among them, and numbers them from 1; None takes them all.

    Raises:
        UserError: The file is missing, is no History, is of another version, or is damaged.
    """
    try:
        lines = path.open("rb", buffering=BUFFER)
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the History: {error.strerror}",
            hint="Name the evidence folder that `drainproof chaos` printed.",
        ) from None
    with lines:
        for number, line in select(lines) if select else enumerate(lines, 1):
            try:
                record = from_line(line)
            except (ValueError, KeyError) as error:
                if not line.endswith(b"\n") and number > 1:
                    return
                raise UserError(f"{path}:{number}: damaged History: {error}") from None
            if number == 1:
                _check_header(path, record)
            yield record


def _check_header(path: Path, record: object) -> None:
    if not isinstance(record, Header):
        raise UserError(f"{path}:1: not a History: its first line is no header")
    if record.version != VERSION:
        age = "a newer" if record.version > VERSION else "an older"
        raise UserError(
            f"{path}: History version {record.version}; this drainproof reads {VERSION}",
            hint=f"Judge it with {age} drainproof.",
        )
