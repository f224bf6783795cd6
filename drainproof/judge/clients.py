"""Says whether the streaming client kept up: nothing passes on the word of one that did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final, NamedTuple

from drainproof.streams.history import Client, ClientDone, Clock, Part, Sent, Stream, Withheld

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drainproof.streams.history import Record

MAX_LAG_MS: Final = 500.0
"""Above this, of the client's loop or of its sending, its times and its load can't be relied on. A
third of the shortest window in which a fault was seen to hit new requests (1.6 s after a pod's
switch to draining), so that a request due in such a window is sent in it."""
MAX_CPU_SHARE: Final = 0.95
"""A client whose one core is this busy has no room left for a burst."""
BUSY_RECORDS: Final = 3
"""How many ``Client`` records in a row (seconds) must be that busy: one is start-up or a burst."""


@dataclass(frozen=True, slots=True)
class ClientVerdict:
    """Whether the load was what it was meant to be, and all that the clients wrote is there."""

    missing: tuple[str, ...]
    """What was not sent, or is not here; each makes the run inconclusive, as does each of:"""
    slow: tuple[str, ...]
    """In what way the clients were too slow."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why they can't be relied on."""
        return *self.missing, *self.slow

    @property
    def kept_up(self) -> bool:
        """Whether they can."""
        return not self.reasons


class _Late(NamedTuple):
    """A sample of a client that was late, or the last of some in a row whose core was full."""

    since: float
    at: float
    send_lag_ms: float
    loop_lag_ms: float
    full_s: int


class ClientTally:
    """What the clients of a History say of themselves, and how many records of each kind it has."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.claimed = 0
        """Streams whose end the clients say that they recorded."""
        self._begun: set[str] = set()
        self._done: list[ClientDone] = []
        self._withheld = ""
        self._sampled: dict[str, float] = {}
        """When each client last said how it kept up."""
        self._busy: Counter[str] = Counter()
        self._late: list[_Late] = []

    def add(self, record: Record) -> None:
        """Take in one record."""
        self.seen[record.kind] += 1
        match record:
            case Clock():
                self._begun.add(record.client)
            case Client():
                self._sample(record)
            case ClientDone():
                self._done.append(record)
                self.claimed += record.recorded
            case Withheld():
                self._withheld = self._withheld or record.reason
            case _:
                pass

    def _sample(self, sample: Client) -> None:
        since = self._sampled.get(sample.client, -inf)
        self._sampled[sample.client] = sample.at
        self._busy[sample.client] += 1
        if sample.cpu_share < MAX_CPU_SHARE:
            self._busy[sample.client] = 0
        full_s = self._busy[sample.client]
        lag_ms = max(sample.send_lag_ms, sample.loop_lag_ms)
        if lag_ms > MAX_LAG_MS or full_s >= BUSY_RECORDS:
            late = _Late(since, sample.at, sample.send_lag_ms, sample.loop_lag_ms, full_s)
            self._late.append(late)

    def verdict(self, begin: float = -inf, end: float = inf) -> ClientVerdict:
        """Say whether they kept up, and whether their records are complete.

        Args:
            begin: Lateness that was over by then is of no matter (seconds since the epoch).
            end: Nor is any that only came later.
        """
        return ClientVerdict(tuple(self._missing()), tuple(self._slow(begin, end)))

    def _missing(self) -> Iterator[str]:
        begun, done = self._begun, self._done
        if not begun:
            yield "no client began"
        if len(done) < len(begun):
            yield f"{len(begun) - len(done)} of {len(begun)} clients did not finish their run"
        else:
            yield from self._lost()
        if not self._sampled:
            yield "no client recorded how it kept up"
        if self.seen[Withheld.kind]:
            yield f"{self.seen[Withheld.kind]} requests were not sent: {self._withheld}"

    def _lost(self) -> Iterator[str]:
        done = self._done
        claimed = {
            Sent.kind: sum(record.sent for record in done),
            Stream.kind: self.claimed,
            Withheld.kind: sum(record.withheld for record in done),
            Part.kind: sum(record.parts for record in done),
        }
        for kind, count in claimed.items():
            if self.seen[kind] != count:
                yield f"{count} {kind!r} records were written, and {self.seen[kind]} are here"

    def _slow(self, begin: float, end: float) -> Iterator[str]:
        late = [one for one in self._late if one.at >= begin and one.since < end]
        if not late:
            return
        _, _, send_lag_ms, loop_lag_ms, full_s = map(max, zip(*late, strict=True))
        if send_lag_ms > MAX_LAG_MS:
            yield f"a request was taken up {send_lag_ms:.0f} ms late (limit {MAX_LAG_MS:.0f})"
        if loop_lag_ms > MAX_LAG_MS:
            yield f"the client stood still for {loop_lag_ms:.0f} ms (limit {MAX_LAG_MS:.0f})"
        if full_s >= BUSY_RECORDS:
            yield f"the client's core was full for {full_s} s in a row"


def judge_client(records: Iterable[Record]) -> ClientVerdict:
    """Say whether the clients of a History kept up, and whether their records are complete.

    A stream that was dropped is dropped even if the client was slow: this only keeps a run from
    passing.
    """
    tally = ClientTally()
    for record in records:
        tally.add(record)
    return tally.verdict()
