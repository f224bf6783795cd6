"""How a chaos run stands while it goes on: its fault, streams, pods and queue, counted as it goes.

It hears what the History is told and asks nobody. What it counts is no verdict: that is reached
when the run is over, from all of the History.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from typing import TYPE_CHECKING

from drainproof.judge.streams import Effect, StreamChecker, numbers_tokens
from drainproof.judge.tally import ABRUPT, LOST, decided
from drainproof.progress import Row
from drainproof.report.text import plural
from drainproof.streams.history import Fault, Gauge, Header, Part, Pod, Sent, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from drainproof.faults.observe import View
    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Record

MOST_WAITING = 100_000
"""Records that may wait to be counted; who asks twice a second keeps them far below that."""
_NAMED = 3
"""Pods of a state, and faults that lost nothing, that are named; of more there is their number."""
_OVER = ("end", "timeout", "undone", "not-undone")
_PHASES = {
    "begin": "under way",
    "hit": "pods were hit",
    "crowd": "a crowd of requests is there",
    "calm": "the crowd is gone",
    "away": "what it takes away is gone",
    "back": "what it took away is back",
    "end": "its effect is complete",
    "timeout": "it did not get to its end",
    "undone": "undone",
    "not-undone": "could not be undone",
}
_STATES = ("ready", "not ready", "terminating")


class SlowError(Exception):
    """Records came faster than they were counted."""


class SoFar:
    """Counts a run from its records. They are only kept as they come; who asks does the work.

    Args:
        view: What the run knows; it is listened to from here on.
        faults: The run's faults, in order, in the user's words.
        target: The name with which those of its pods begin.
    """

    def __init__(self, view: View, faults: Sequence[str], target: str) -> None:
        self._view = view
        self._faults = faults
        self._prefix = f"{target}-"
        self._records: deque[Record] = deque()
        self._checker = StreamChecker()
        self._sent = self._unsent = 0
        self._effects: Counter[Effect] = Counter()
        self._silent = 0
        self._pods: dict[str, Pod] = {}
        self._waiting: dict[str, float | None] = {}
        self._phases: dict[int, str] = {}
        self._costs: dict[int, str] = {}
        self._begun: list[tuple[float, int]] = []
        """When each fault began, and which."""
        self._lost: dict[int, Counter[Effect]] = {}
        view.listeners = (*view.listeners, self._hear)

    def close(self) -> None:
        """Listen no more."""
        view = self._view
        view.listeners = tuple(one for one in view.listeners if one != self._hear)
        self._records.clear()

    def rows(self) -> list[Row]:
        """Return how the run stands, what matters most first.

        Raises:
            SlowError: There is too much to count.
        """
        waiting = len(self._records)
        if waiting > MOST_WAITING:
            raise SlowError(f"{waiting} records came faster than they could be counted")
        for _ in range(waiting):
            self._take(self._records.popleft())
        return [*self._on(), self._streams(), *self._over(), self._states(), *self._queue()]

    def _hear(self, record: Record) -> None:
        if len(self._records) <= MOST_WAITING:
            self._records.append(record)

    def _take(self, record: Record) -> None:
        match record:
            case Header():
                self._checker.context = record.max_model_len
            case Sent() | Part() | Stream():
                self._sent += isinstance(record, Sent)
                self._check(record)
            case Pod(event="DELETED"):
                self._pods.pop(record.uid, None)
            case Pod():
                self._pods[record.uid] = record
            case Gauge():
                self._waiting[record.pod] = record.waiting
            case Fault(phase=phase) if phase in _PHASES:
                self._phases[record.index] = phase
                if phase == "begin":
                    self._begun.append((record.at, record.index))
                    self._costs[record.index] = record.cost
            case _:
                pass

    def _check(self, record: Sent | Part | Stream) -> None:
        checker = self._checker
        if not (isinstance(record, Sent) or checker.seen or checker.numbered):
            checker.numbered = numbers_tokens(record)
        if verdict := checker.take(record):
            self._count(verdict)

    def _count(self, stream: StreamVerdict) -> None:
        """Count a stream that ended; one that failed counts to the fault that had begun then."""
        self._unsent += stream.sent is None
        self._effects[stream.effect] += 1
        self._silent += stream.silently_truncated
        if stream.effect not in LOST:
            return
        sent = stream.due if stream.sent is None else stream.sent
        at = decided(stream, sent, sent if stream.ended is None else stream.ended)
        before = bisect_right(self._begun, at, key=lambda begun: begun[0])
        if before:
            _, index = self._begun[before - 1]
            self._lost.setdefault(index, Counter())[stream.effect] += 1

    def _on(self) -> Iterator[Row]:
        """Yield the fault that is on, or was last, or comes first."""
        of = len(self._faults)
        if not self._phases:
            yield Row("fault", f"next is 1 of {of}: {self._faults[0]}")
            return
        index, phase = max(self._phases.items())
        words = f"{index + 1} of {of}: {self._faults[index]}; {_PHASES[phase]}"
        yield Row("fault", words, phase in {"timeout", "not-undone"})

    def _streams(self) -> Row:
        effects = self._effects
        ended = effects.total()
        lost = _lost(effects, self._silent)
        words = f"{max(self._sent - ended + self._unsent, 0)} in flight, {ended} ended: "
        words += f"{effects[Effect.WHOLE]} whole, {lost or '0 cut off'}"
        if untold := effects[Effect.UNTOLD]:
            words += f", {untold} can't be told"
        return Row("streams", words, bool(lost))

    def _over(self) -> Iterator[Row]:
        """Yield what the faults that are over have cost so far."""
        over = [index for index, phase in sorted(self._phases.items()) if phase in _OVER]
        if not over:
            return
        costly = [index for index in over if self._lost.get(index)]
        calm = [self._faults[index] for index in over if index not in costly]
        told = []
        for index in costly:
            abrupt = " (may cost those on its victims)" * (self._costs.get(index) == ABRUPT)
            told.append(f"{self._faults[index]}: {_lost(self._lost[index])}{abrupt}")
        if calm:
            named = ", ".join(calm) if len(calm) <= _NAMED else f"{len(calm)} faults"
            told.append(f"{named}: nothing lost")
        yield Row("so far", f"{'; '.join(told)} (no verdict yet)", bool(costly))

    def _states(self) -> Row:
        pods: dict[str, list[str]] = {state: [] for state in _STATES}
        for pod in self._pods.values():
            pods[_state(pod)].append(pod.name.removeprefix(self._prefix))
        told = [f"{len(names)} {state} ({_some(names)})" for state, names in pods.items() if names]
        return Row("pods", ", ".join(told) or "none")

    def _queue(self) -> Iterator[Row]:
        """Yield what waits, where an engine says it."""
        said = [self._waiting.get(pod.name) for pod in self._pods.values()]
        known = [waiting for waiting in said if waiting is not None]
        if known:
            silent = len(said) - len(known)
            words = f"{sum(known):g} waiting"
            yield Row("queue", words + (f"; {plural(silent, 'pod')} did not say" * bool(silent)))


def _state(pod: Pod) -> str:
    ready, not_ready, terminating = _STATES
    if pod.deletion_at is not None:
        return terminating
    return ready if pod.ready else not_ready


def _some(names: Iterable[str]) -> str:
    first, rest = sorted(names)[:_NAMED], sorted(names)[_NAMED:]
    return ", ".join(first) + (", …" if rest else "")


def _lost(effects: Counter[Effect], silent: int = 0) -> str:
    """Say what was lost; nothing if nothing was."""
    cut, failed = effects[Effect.DROPPED], effects[Effect.NOT_SERVED]
    words = []
    if cut:
        words.append(f"{cut} cut off" + (f" ({silent} silently)" if silent else ""))
    if failed:
        words.append(f"{plural(failed, 'new request')} failed")
    return ", ".join(words)
