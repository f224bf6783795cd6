"""Says whether the streaming client kept up: nothing passes on the word of one that did not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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

    kept_up: bool
    reasons: tuple[str, ...]
    """Why not; each makes the run inconclusive."""


def judge_client(records: Iterable[Record]) -> ClientVerdict:
    """Say whether the clients of a History kept up, and whether their records are complete.

    A stream that was dropped is dropped even if the client was slow: this only keeps a run from
    passing.
    """
    begun: set[str] = set()
    samples: list[Client] = []
    done: list[ClientDone] = []
    seen: Counter[str] = Counter()
    withheld = ""
    for record in records:
        seen[record.kind] += 1
        if isinstance(record, Clock):
            begun.add(record.client)
        elif isinstance(record, Client):
            samples.append(record)
        elif isinstance(record, ClientDone):
            done.append(record)
        elif isinstance(record, Withheld):
            withheld = withheld or record.reason
    reasons = [*_missing(begun, done, seen), *_late(samples)]
    if seen[Withheld.kind]:
        reasons.append(f"{seen[Withheld.kind]} requests were not sent: {withheld}")
    return ClientVerdict(kept_up=not reasons, reasons=tuple(reasons))


def _missing(begun: set[str], done: list[ClientDone], seen: Counter[str]) -> Iterator[str]:
    if not begun:
        yield "no client began"
    if len(done) < len(begun):
        yield f"{len(begun) - len(done)} of {len(begun)} clients did not finish their run"
        return
    claimed = {
        Sent.kind: sum(record.sent for record in done),
        Stream.kind: sum(record.recorded for record in done),
        Withheld.kind: sum(record.withheld for record in done),
        Part.kind: sum(record.parts for record in done),
    }
    for kind, count in claimed.items():
        if seen[kind] != count:
            yield f"{count} {kind!r} records were written, and {seen[kind]} are here"


def _late(samples: list[Client]) -> Iterator[str]:
    if not samples:
        yield "no client recorded how it kept up"
        return
    send_ms = max(sample.send_lag_ms for sample in samples)
    if send_ms > MAX_LAG_MS:
        yield f"a request was taken up {send_ms:.0f} ms late (limit {MAX_LAG_MS:.0f})"
    loop_ms = max(sample.loop_lag_ms for sample in samples)
    if loop_ms > MAX_LAG_MS:
        yield f"the client stood still for {loop_ms:.0f} ms (limit {MAX_LAG_MS:.0f})"
    busy: Counter[str] = Counter()
    longest = 0
    for sample in samples:
        busy[sample.client] += 1
        if sample.cpu_share < MAX_CPU_SHARE:
            busy[sample.client] = 0
        longest = max(longest, busy[sample.client])
    if longest >= BUSY_RECORDS:
        yield f"the client's core was full for {longest} s in a row"
