"""What a chaos run of an autoscaler measured, as far as a simulation of the same asks for it."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

from drainproof.errors import UserError
from drainproof.judge.streams import Outcome, StreamChecker
from drainproof.simulate.arrivals import Arrivals
from drainproof.streams import history
from drainproof.streams.history import Fault, Part, Pod, Sent, Stream, Workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Record

FAULTS: Final = ("scale-out", "scale-in", "no-flapping", "cold-start")
"""Faults in which nothing but the autoscaler sets the replicas."""
_OVER: Final = ("end", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One run; times are seconds since its first request."""

    duration_s: float
    """Until its last fault was over."""
    arrivals: Arrivals
    """All requests, with the tokens that each got, or asked for where it did not get them."""
    tokens: float
    """Of an answer, in the median."""
    tokens_per_second: float
    """Of a stream, in the median."""
    cold_start_s: float
    """From a container's start until its pod was ready, in the median."""
    schedule_s: float
    """From a pod's creation until its container started, in the median."""
    replicas: list[tuple[float, int]]
    """What the autoscaler asked for: since when, and how many."""


@dataclass(slots=True)
class _Seen:
    """What a History says, record by record."""

    checker: StreamChecker = field(default_factory=StreamChecker)
    sent: dict[str, float] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    paces: list[float] = field(default_factory=list)
    replicas: list[tuple[float, int]] = field(default_factory=list)
    pods: dict[str, _Start] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def take(self, record: Record) -> None:
        match record:
            case Sent() | Part() | Stream():
                if isinstance(record, Sent):
                    self.sent[record.id] = record.sent
                verdict = self.checker.take(record)
                if verdict is not None and isinstance(record, Stream):
                    self._ended(verdict, record.max_tokens)
            case Workload() if record.wanted is not None:
                self.replicas.append((record.at, record.wanted))
            case Pod():
                self.pods.setdefault(record.name, _Start()).take(record)
            case Fault():
                self.faults.append(record)
            case _:
                pass

    def _ended(self, stream: StreamVerdict, most: int | None) -> None:
        whole = stream.outcome is Outcome.COMPLETE
        came = stream.tokens if whole else None  # fewer than asked for, where the model says so
        tokens = came or stream.expected_tokens or most
        if tokens is None:
            return
        self.tokens[stream.id] = tokens
        if not whole or stream.ended is None or stream.first_token is None:
            return
        took_s = stream.ended - stream.first_token
        if took_s > 0 and tokens > 1:
            self.paces.append((tokens - 1) / took_s)


@dataclass(slots=True)
class _Start:
    """How a pod came up; seconds since the epoch, None while it is not known."""

    created: float | None = None
    started: float | None = None
    ready: float | None = None

    def take(self, pod: Pod) -> None:
        self.created = self.created or pod.created_at
        for container in pod.containers:
            if container.get("state") == "running":
                self.started = self.started or container.get("started_at")
        if pod.ready:
            self.ready = self.ready or pod.at

    def took_s(self, begin: float) -> tuple[float, float] | None:
        """Return how long its schedule and its cold start took, if it was made after that."""
        if self.created is None or self.started is None or self.ready is None:
            return None
        if self.created < begin:
            return None
        return max(self.started - self.created, 0.0), max(self.ready - self.started, 0.0)


def read(path: Path) -> Measured:
    """Return what a History measured.

    Args:
        path: The History.

    Raises:
        UserError: It can't be read, or is not of a run in which an autoscaler added replicas.
    """
    seen = _Seen()
    for record in history.read(path):
        seen.take(record)
    others = sorted({fault.fault for fault in seen.faults} - set(FAULTS))
    if others or not seen.faults:
        raise UserError(
            f"{path}: expected a run of {', '.join(FAULTS)} alone, found "
            + (", ".join(others) or "no fault"),
            hint="Other faults set the replicas themselves, which a simulation does not know.",
        )
    if not seen.sent or not seen.paces:
        raise UserError(f"{path}: expected streams that came whole, found none")
    begin = min(seen.sent.values())
    fresh = [took for pod in seen.pods.values() if (took := pod.took_s(begin)) is not None]
    if not fresh:
        raise UserError(f"{path}: expected a new pod that became ready, found none")
    tokens = median(seen.tokens.values())
    asked = sorted(
        (at - begin, float(seen.tokens.get(name, tokens))) for name, at in seen.sent.items()
    )
    over = max((fault.at for fault in seen.faults if fault.phase in _OVER), default=begin)
    return Measured(
        duration_s=float(math.ceil(over - begin)),
        arrivals=Arrivals(array("d", (at for at, _ in asked)), array("d", (n for _, n in asked))),
        tokens=tokens,
        tokens_per_second=median(seen.paces),
        cold_start_s=median(cold_s for _, cold_s in fresh),
        schedule_s=median(schedule_s for schedule_s, _ in fresh),
        replicas=_since(seen.replicas, begin),
    )


def _since(replicas: Sequence[tuple[float, int]], begin: float) -> list[tuple[float, int]]:
    """Return the replicas at the beginning, and each change since."""
    found: list[tuple[float, int]] = []
    for at, number in sorted(replicas):
        if at <= begin or not found:
            found = [(0.0, number)]
        elif found[-1][1] != number:
            found.append((at - begin, number))
    return found
