"""Whether the target is in a steady state: streams come whole, one after another.

Streams are followed all the time, and judged only while a steady state is waited for. So the
streams that were in flight during a fault prove it as soon as they end, and nothing waits for new
ones.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from drainproof.judge.streams import Effect, judge_stream
from drainproof.judge.tally import RECOVERED, RECOVERED_S
from drainproof.streams.history import Part, Sent, Stream
from drainproof.streams.pace import pace

if TYPE_CHECKING:
    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Record

STREAMS = 3
"""Whole streams that prove that the target serves. By the first, streams have been coming for as
long as one takes, so as many are in flight as ever will be."""
_BAD = {Effect.DROPPED, Effect.NOT_SERVED}


class Steady:
    """Counts streams by what became of them. Safe to use from several threads."""

    def __init__(self) -> None:
        self.context: int | None = None
        """Tokens that the engine allows prompt and answer together; None if unknown."""
        self._lock = threading.Lock()
        self._parts: dict[str, list[Part]] = {}
        self._ended: list[tuple[Stream, list[Part]]] = []
        self._verdicts: list[StreamVerdict] = []
        self._sent: deque[float] = deque(maxlen=RECOVERED)
        self._counts = False
        self._since = 0.0

    def hear(self, record: Record) -> None:
        """Take in a client's record about a stream."""
        with self._lock:
            if isinstance(record, Sent):
                self._sent.append(record.sent)
            elif isinstance(record, Part):
                self._parts.setdefault(record.id, []).append(record)
            elif isinstance(record, Stream):
                parts = self._parts.pop(record.id, [])
                if self._counts:
                    self._ended.append((record, parts))

    def begin(self, since: float = 0.0) -> None:
        """Count anew from here; of streams that were sent before ``since``, only those whole."""
        with self._lock:
            self._since, self._counts = since, True
            self._ended, self._verdicts = [], []

    def end(self) -> None:
        """Count no more."""
        with self._lock:
            self._counts = False

    @property
    def whole(self) -> int:
        """How many came whole."""
        return self.whole_since(0.0)

    def whole_since(self, at: float) -> int:
        """Return how many of those that were sent since a moment came whole."""
        return sum(
            verdict.effect is Effect.WHOLE and (verdict.sent or 0.0) >= at
            for verdict in self._judged()
        )

    @property
    def bad(self) -> list[StreamVerdict]:
        """Those that failed."""
        return [
            verdict
            for verdict in self._judged()
            if verdict.effect in _BAD
            and (verdict.due if verdict.sent is None else verdict.sent) >= self._since
        ]

    @property
    def recovered(self) -> bool:
        """Whether enough requests in a row were sent that are not known as lost."""
        since = max([self._since, *self._lost])
        with self._lock:
            sent = tuple(self._sent)
        return (
            len(sent) == RECOVERED and min(sent) > since and max(sent) >= since + RECOVERED_S + 1.0
        )

    def lost_since(self, at: float) -> bool:
        """Tell whether one that was sent since a moment failed."""
        return any(sent >= at for sent in self._lost)

    @property
    def _lost(self) -> list[float]:
        """When those that failed were sent, or due."""
        return [verdict.due if verdict.sent is None else verdict.sent for verdict in self.bad]

    @property
    def ended(self) -> int:
        """How many ended."""
        return len(self._judged())

    @property
    def pace_per_s(self) -> float | None:
        """Tokens per second of the fastest; None if none says."""
        return pace(
            (verdict.tokens, verdict.last_token - verdict.first_token)
            for verdict in self._judged()
            if verdict.tokens and verdict.last_token and verdict.first_token
        )

    def _judged(self) -> list[StreamVerdict]:
        with self._lock:
            fresh, self._ended = self._ended, []
        self._verdicts += [
            judge_stream(stream, parts, context=self.context) for stream, parts in fresh
        ]
        return self._verdicts
