"""The streams' side of a verdict: everything that is counted while they go by once.

Tallies of parts of a History add up to that of the whole, whichever way its streams are parted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from drainproof.judge.causes import KILL_LATE_S, SILENT_S, Cause, Found, cause_of
from drainproof.judge.latency import Latencies
from drainproof.judge.scene import FOREVER, ROUTING_LAG_S, SECOND_S
from drainproof.judge.streams import Effect, Outcome, StreamChecker
from drainproof.judge.timeline import Passed
from drainproof.judge.verdict import MOST_FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.scene import Life, Scene, Span
    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Gauge

GAUGE_LATE_S: Final = 3.0
"""How old a gauge may be to speak for a moment; it is scraped once a second."""
GAUGE_OFF: Final = 2
"""Streams by which gauge and History may differ: one that begins and one that ends meanwhile."""
RECOVERED: Final = 20
"""New requests in a row that are served and show that an abrupt fault is over. A pod of two that
turns its share away is then seen but once in a million runs."""
RECOVERED_S: Final = 10.0
"""Seconds that these span at least: what is too much for the pods that are left shows when the
streams that they were given have become many."""
MOST_BUCKETS: Final = 600
"""Points of the timeline of streams in flight."""
ABRUPT: Final = "abrupt"
LOST: Final = frozenset({Effect.DROPPED, Effect.NOT_SERVED})
FROM_ZERO: Final = "scale-from-zero"
_NEVER: Final = float("-inf")

Place = tuple[int, str]
"""Where a stream's end is in the History, and its id: the order in which streams are told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Streams in flight on one pod at one moment, from both sources."""

    at: float
    gauge: float | None
    """The engine's own running and waiting requests; None if it did not say."""
    least: int
    """From the History: streams that can have been on no other pod."""
    most: int
    """From the History: streams that can have been on this pod."""

    @property
    def agree(self) -> bool:
        """Whether the gauge is within what the History allows."""
        return self.gauge is None or self.least - GAUGE_OFF <= self.gauge <= self.most + GAUGE_OFF

    @property
    def streams(self) -> float:
        """What is held to be true: the gauge, else the least that the History proves."""
        return self.least if self.gauge is None else self.gauge


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One moment of a failed stream's timeline."""

    at: float
    what: str
    pod: str = ""
    """The pod to which it happened; empty if to the stream."""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A stream that its user did not get whole, and why. Times are seconds since the epoch."""

    id: str
    outcome: str
    detail: str
    effect: str
    silently_truncated: bool
    due: float
    sent: float | None
    first_token: float | None
    last_token: float | None
    ended: float | None
    tokens: int | None
    expected_tokens: int | None
    pods: tuple[str, ...]
    """Where it can have been."""
    cause: Cause
    evidence: str
    check: str | None
    """Slug of the manifest check that foresees the cause."""
    timeline: tuple[Step, ...]


@dataclass(slots=True)
class Moment:
    """A moment at which streams in flight are counted, on one pod or on all."""

    pod: str | None
    at: float
    gauge: float | None
    least: int = 0
    most: int = 0

    def count(self) -> Count:
        """Return what was counted."""
        return Count(at=self.at, gauge=self.gauge, least=self.least, most=self.most)


class Met(NamedTuple):
    """What a request met that came when there was no replica, or after that."""

    sent: float
    what: str
    """``answered``, or its outcome."""
    waited_s: float
    """From when it was due to its first token, else to its end."""
    answered: float | None
    """When its first token came."""


@dataclass(slots=True)
class FaultTally:
    """What is counted of one fault."""

    effects: Counter[Effect] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    before: int = 0
    """Streams that failed before the first fault began."""
    charged: Counter[Effect] = field(default_factory=Counter)
    """Streams that failed and that the fault may not cost."""
    charged_silent: int = 0
    turned_away: Counter[str] = field(default_factory=Counter)
    """Of those charged, new requests by what became of them."""
    excused_old: int = 0
    """Streams that an abrupt fault may cost, and that were in flight when the gauges were read."""
    causes: Counter[str] = field(default_factory=Counter)
    found: dict[str, tuple[Place, Found]] = field(default_factory=dict)
    """The first of each cause."""
    blamed: Counter[str] = field(default_factory=Counter)
    """Streams that were lost when a pod was stopped, by pod."""
    failures: list[tuple[Place, Failure]] = field(default_factory=list)
    """The first of them, one by one."""
    told: int = MOST_FAILURES
    """How many at most."""
    new: int = 0
    """Requests sent while the fault was on."""
    answered: int = 0
    """Whole answers that ended while the fault was on."""
    misrouted_s: float = 0.0
    """The longest time after a pod's deletion at which it was still sent a request."""
    last_failed: float = _NEVER
    """When the last request that was not served had been sent."""
    latest_served: list[float] = field(default_factory=list)
    """When the last requests that got an answer had been sent, no more than are needed."""
    longest_gap: float | None = None
    met: list[Met] = field(default_factory=list)
    """Requests that came when there was no replica, or after that; in no order."""

    def charge(self, stream: StreamVerdict, found: Found, where: Place) -> None:
        """Count a stream that failed, and why; the client's own lag is no fault of the target."""
        self.causes[found.cause.value] += 1
        self.found.setdefault(found.cause.value, (where, found))
        if found.cause is not Cause.CLIENT_TOO_SLOW:
            self.charged[stream.effect] += 1
            self.charged_silent += stream.silently_truncated
            if stream.effect is Effect.NOT_SERVED:
                self.turned_away[stream.outcome.value] += 1
        if found.cause in {Cause.ENGINE_ABORTS_ON_SIGTERM, Cause.GRACE_PERIOD_EXCEEDED}:
            self.blamed[found.pod] += 1

    def serve(self, sent: float) -> None:
        """Note a request that got an answer."""
        insort(self.latest_served, sent)
        del self.latest_served[:-RECOVERED]

    def merge(self, other: FaultTally) -> None:
        """Add what was counted in another part of the History."""
        for ours, theirs in (
            (self.effects, other.effects),
            (self.outcomes, other.outcomes),
            (self.untold, other.untold),
            (self.charged, other.charged),
            (self.turned_away, other.turned_away),
            (self.causes, other.causes),
            (self.blamed, other.blamed),
        ):
            ours.update(theirs)  # type: ignore[arg-type] # pairs of the same kind
        self.silent += other.silent
        self.before += other.before
        self.charged_silent += other.charged_silent
        self.excused_old += other.excused_old
        self.new += other.new
        self.answered += other.answered
        for cause, first in other.found.items():
            self.found[cause] = min(self.found.get(cause, first), first)
        self.failures = sorted([*self.failures, *other.failures], key=lambda item: item[0])
        del self.failures[self.told :]
        self.misrouted_s = max(self.misrouted_s, other.misrouted_s)
        self.last_failed = max(self.last_failed, other.last_failed)
        for at in other.latest_served:
            self.serve(at)
        self.met += other.met
        if other.longest_gap is not None:
            self.longest_gap = max(self.longest_gap or 0.0, other.longest_gap)


class FaultMoments:
    """The moments of one fault at which streams in flight on its victims are counted."""

    def __init__(self, scene: Scene, span: Span) -> None:
        self.victims = scene.victims(span)
        self.begin = Moment(None, span.begin, None)
        self.at_deletion: dict[str, Moment] = {}
        self.at_sigterm: dict[str, Moment] = {}
        self.at_hit: dict[str, Moment] = {}
        for life in self.victims:
            if (at := span.hits.get(life.name)) is not None:
                gauge = scene.gauge(life.name, at, at - GAUGE_LATE_S, at)
                self.at_hit[life.name] = _moment(life, at, gauge)
            if life.deleted is not None:
                self.at_deletion[life.name] = _at_deletion(scene, life, life.deleted)
            if (at := scene.sigterm(life)) is not None:
                gauge = scene.gauge(life.name, at, at - GAUGE_LATE_S, at)
                self.at_sigterm[life.name] = _moment(life, at, gauge)

    def __iter__(self) -> Iterator[Moment]:
        yield self.begin
        for moments in (self.at_deletion, self.at_sigterm, self.at_hit):
            yield from moments.values()


def _at_deletion(scene: Scene, life: Life, at: float) -> Moment:
    sigterm = scene.sigterm(life)
    # what it says after SIGTERM is not what was there when it was deleted
    until = at + GAUGE_LATE_S if sigterm is None else min(at + GAUGE_LATE_S, sigterm)
    gauge = scene.gauge(life.name, at, at - GAUGE_LATE_S, until)
    return _moment(life, at, gauge)


def _moment(life: Life, at: float, gauge: Gauge | None) -> Moment:
    """Count where the gauge was read, so that both sources speak of one moment."""
    if gauge is None or gauge.running is None:
        return Moment(life.name, at, None)
    return Moment(life.name, gauge.at, gauge.running + (gauge.waiting or 0.0))


class Tally:
    """What is counted of a History's streams.

    Args:
        scene: Its cluster's side.
        told: How many failed streams of each fault are told one by one.
    """

    def __init__(self, scene: Scene, told: int = MOST_FAILURES) -> None:
        self.scene = scene
        self.faults = [FaultTally(told=told) for _ in range(max(1, len(scene.spans)))]
        self.moments = [FaultMoments(scene, span) for span in scene.spans]
        self.latencies = Latencies(scene.spans)
        self.deltas: Counter[int] = Counter()
        self.passed = Passed()
        self.longest_stream = 0.0
        """The longest time from sending a request to the end of its answer, of whole ones."""
        self.checker = StreamChecker(numbered=scene.numbered, context=scene.context)
        self.seen = self.unended = self.strays = 0
        self._gone = {
            life.name: gone + KILL_LATE_S
            for life in scene.lives.values()
            if life.deleted is not None and (gone := scene.ended(life)) is not None
        }
        """Until when a stream may go on that was on a pod that was deleted."""
        self._timed = sorted((one for all_ in self.moments for one in all_), key=lambda one: one.at)
        self._times = [moment.at for moment in self._timed]
        self._struck = [_struck(scene, span) for span in scene.spans]
        self._first = [min(struck.values(), default=None) for struck in self._struck]
        self._first = [
            span.begin if stops_no_pod(span) else first
            for span, first in zip(scene.spans, self._first, strict=True)
        ]

    def merge(self, other: Tally) -> None:
        """Add what was counted in another part of the History."""
        for ours, theirs in zip(self.faults, other.faults, strict=True):
            ours.merge(theirs)
        for moment, counted in zip(self._timed, other._timed, strict=True):
            moment.least += counted.least
            moment.most += counted.most
        self.latencies.merge(other.latencies)
        self.deltas.update(other.deltas)
        self.passed.merge(other.passed)
        self.longest_stream = max(self.longest_stream, other.longest_stream)
        self.seen += other.seen
        self.unended += other.unended
        self.strays += other.strays

    def left(self, place: int) -> None:
        """Take in what is left when the last record was read."""
        for stream in self.checker.left():
            self.add(stream, place)
        self.seen = self.checker.seen
        self.unended, self.strays = self.checker.unended, self.checker.strays

    def add(self, stream: StreamVerdict, place: int) -> None:
        """Count a stream.

        Args:
            stream: What became of it.
            place: Which line of the History told of its end.
        """
        scene = self.scene
        sent = stream.due if stream.sent is None else stream.sent
        ended = sent if stream.ended is None else stream.ended
        effect = stream.effect
        whole = effect is Effect.WHOLE
        if stream.ended is not None and stream.sent is not None:
            self._in_flight(sent, ended)
        self.latencies.add(stream, whole=whole)
        if whole:
            self._answer(sent, ended)
        self.passed.gap(stream.longest_gap_at, stream.longest_gap_s)
        failed = effect in LOST
        self.passed.lost[int(ended)] += failed
        began = scene.span_at(ended)
        index = (scene.span_at(decided(stream, sent, ended)) if failed else began) or 0
        fault = self.faults[index]
        if stream.longest_gap_s is not None:
            fault.longest_gap = max(fault.longest_gap or 0.0, stream.longest_gap_s)
        self._meet(stream, sent, ended)
        if failed and began is None:
            fault.before += 1
            return
        if failed and self._fail(fault, index, stream, sent, ended, place):
            effect = Effect.UNTOLD
        fault.effects[effect] += 1
        fault.outcomes[stream.outcome.value] += 1
        fault.silent += stream.silently_truncated
        if stream.effect is Effect.UNTOLD:
            fault.untold[stream.outcome.value] += 1
        if not scene.spans:
            return
        if effect is Effect.NOT_SERVED:
            fault.last_failed = max(fault.last_failed, sent)
        elif stream.answered is not None:
            self.faults[scene.span_at(sent) or 0].serve(sent)
        self._new(sent)

    def _answer(self, sent: float, ended: float) -> None:
        """Count a stream that came whole."""
        self.longest_stream = max(self.longest_stream, ended - sent)
        index = self.scene.span_at(ended)
        if index is not None and ended <= self.scene.spans[index].over:
            self.faults[index].answered += 1

    def _meet(self, stream: StreamVerdict, sent: float, ended: float) -> None:
        """Note what a request met that came when no replica was left."""
        index = self.scene.span_at(sent)
        if index is None or self.scene.spans[index].fault != FROM_ZERO:
            return
        if sent >= min(self.scene.spans[index].hits.values(), default=FOREVER):
            first = stream.first_token
            what = stream.outcome.value if first is None else "answered"
            waited_s = (ended if first is None else first) - stream.due
            self.faults[index].met.append(Met(sent, what, waited_s, first))

    def _new(self, sent: float) -> None:
        """Count a request that was sent while a fault was on."""
        index = self.scene.span_at(sent)
        if index is None:
            index = 0  # a deletion may be told as of the second in which it was asked for
        first = self._first[index]
        end = self.scene.spans[index].end
        if first is not None and first <= sent and (end is None or sent <= end):
            self.faults[index].new += 1

    def _in_flight(self, sent: float, ended: float) -> None:
        self.deltas[int(sent)] += 1
        self.deltas[int(max(sent, ended)) + 1] -= 1
        times = self._times
        first = bisect_left(times, sent)
        last = bisect_left(times, ended, first)
        if first == last:
            return
        pods = [
            name for name in self.scene.pods_for(sent) if self._gone.get(name, FOREVER) >= ended
        ]
        for moment in self._timed[first:last]:
            if moment.pod is None or moment.pod in pods:
                moment.most += 1
                moment.least += len(pods) == 1

    def _fail(  # noqa: PLR0913, PLR0917 - a stream, and where it belongs
        self,
        fault: FaultTally,
        index: int,
        stream: StreamVerdict,
        sent: float,
        ended: float,
        place: int,
    ) -> bool:
        """Charge a failed stream to a fault, or excuse it; return whether it says nothing."""
        scene = self.scene
        span = scene.spans[index]
        struck = self._struck[index] if span.cost == ABRUPT else {}
        pods = scene.pods_for(sent)
        if not stream.silently_truncated and _excused(stream, sent, ended, pods, span, struck):
            was_counted = all(sent <= one.at for one in self.moments[index].at_hit.values())
            fault.excused_old += stream.effect is Effect.DROPPED and was_counted
            return False
        found = cause_of(scene, stream, sent, pods, struck)
        where = place, stream.id
        fault.charge(stream, found, where)
        if found.cause is Cause.ROUTED_TO_TERMINATING_POD:
            deleted = scene.lives[found.pod].deleted or sent
            fault.misrouted_s = max(fault.misrouted_s, sent - deleted)
        if len(fault.failures) < fault.told:
            fault.failures.append((where, _failure(scene, stream, sent, pods, struck, found)))
        return found.cause is Cause.CLIENT_TOO_SLOW

    def in_flight(self) -> tuple[float, float, tuple[int, ...]] | None:
        """Return streams in flight over time: since when, at what step in seconds, how many."""
        if not self.deltas:
            return None
        first, last = min(self.deltas), max(self.deltas)
        step = max(1, -(-(last - first) // MOST_BUCKETS))
        counts, now = [], 0
        changes = deque(sorted(self.deltas.items()))
        for second in range(first, last, step):
            while changes[0][0] <= second:  # the last one is at ``last``
                now += changes.popleft()[1]
            counts.append(now)
        return float(first), float(step), tuple(counts)


def stops_no_pod(span: Span) -> bool:
    """Tell whether a fault is one that leaves all pods alone."""
    return not span.stops


def _struck(scene: Scene, span: Span) -> dict[str, float]:
    """Return the pods that a fault hit, else those that it stopped, and when."""
    return span.hits or {
        life.name: life.deleted for life in scene.victims(span) if life.deleted is not None
    }


def decided(stream: StreamVerdict, sent: float, ended: float) -> float:
    """Return when a stream failed: if its client gave it up, long before it ended."""
    if stream.outcome is not Outcome.STALLED:
        return ended
    last = next((at for at in (stream.last_token, stream.answered) if at is not None), sent)
    return min(ended, last + SILENT_S)


def _excused(  # noqa: PLR0913, PLR0917 - a stream, and a fault
    stream: StreamVerdict,
    sent: float,
    ended: float,
    pods: tuple[str, ...],
    span: Span,
    struck: dict[str, float],
) -> bool:
    """Tell whether an abrupt fault may cost a stream that its client saw fail."""
    if not struck:
        return False
    dropped = stream.effect is Effect.DROPPED
    # a pod takes no new request once it is hit, but one may have been on its way to it
    later_s = ROUTING_LAG_S if dropped else 0.0
    done = {pod: span.done.get(pod, at) for pod, at in struck.items()}
    if any(
        sent <= done[pod] + later_s and ended >= at - SECOND_S
        for pod, at in struck.items()
        if pod in pods
    ):
        return True
    since, until = min(struck.values()) - SECOND_S, max(done.values()) + span.recover_s
    return not dropped and since <= sent <= until


def _failure(  # noqa: PLR0913, PLR0917 - a stream, where it was and why it failed
    scene: Scene,
    stream: StreamVerdict,
    sent: float,
    pods: tuple[str, ...],
    struck: dict[str, float],
    found: Found,
) -> Failure:
    return Failure(
        id=stream.id,
        outcome=stream.outcome.value,
        detail=stream.detail,
        effect=stream.effect.value,
        silently_truncated=stream.silently_truncated,
        due=stream.due,
        sent=stream.sent,
        first_token=stream.first_token,
        last_token=stream.last_token,
        ended=stream.ended,
        tokens=stream.tokens,
        expected_tokens=stream.expected_tokens,
        pods=pods,
        cause=found.cause,
        evidence=found.evidence,
        check=found.check,
        timeline=_timeline(scene, stream, sent, sorted({*pods, found.pod} - {""}), struck),
    )


def _timeline(
    scene: Scene,
    stream: StreamVerdict,
    sent: float,
    pods: list[str],
    struck: dict[str, float],
) -> tuple[Step, ...]:
    """Return what happened to a stream, and to the pods that it can have been on, in order."""
    marks = (
        ("due", stream.due),
        ("sent", stream.sent),
        ("first token", stream.first_token),
        ("last token", stream.last_token),
        ("end", stream.ended),
    )
    steps = [Step(at=at, what=what) for what, at in marks if at is not None]
    for name in pods:
        if life := scene.lives.get(name):
            steps += _steps(scene, life, sent, struck)
    return tuple(sorted(steps, key=lambda step: step.at))


def _steps(scene: Scene, life: Life, sent: float, struck: dict[str, float]) -> Iterator[Step]:
    pod = life.name
    if pod in struck:
        yield Step(at=struck[pod], what="hit", pod=pod)
    if life.deleted is not None:
        yield Step(at=life.deleted, what="deleted", pod=pod)
        if scene.prestop_s:
            yield Step(at=life.deleted, what="preStop", pod=pod, detail=f"{scene.prestop_s:g} s")
        if (sigterm := scene.sigterm(life)) is not None:
            yield Step(at=sigterm, what="SIGTERM", pod=pod)
        if life.deletion_timestamp is not None:
            yield Step(at=life.deletion_timestamp, what="deletionTimestamp", pod=pod)
    removed = scene.removed_by_slice(pod)
    if not removed and (at := scene.removed(pod)) is not None:
        removed = {"": at}
    for name, at in removed.items():
        yield Step(at=at, what="endpoint gone", pod=pod, detail=name)
    since = struck.get(pod, sent if life.deleted is None else life.deleted)
    if end := scene.end(life, since):
        code = "" if end.exit_code is None else f"exit code {end.exit_code}"
        yield Step(at=end.at, what="container ended", pod=pod, detail=code)
