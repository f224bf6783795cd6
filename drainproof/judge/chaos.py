"""The verdict on a fault: were streams caught in the act, what became of them, and why.

A pure function of a History. It asks no cluster and no clock, so the same evidence gives the same
verdict anywhere, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from drainproof.errors import UserError
from drainproof.judge.causes import FORESEEN, KILL_LATE_S, Cause, cause_of
from drainproof.judge.clients import judge_client
from drainproof.judge.scene import Scene
from drainproof.judge.streams import Effect, Outcome, StreamVerdict, judge_streams
from drainproof.judge.verdict import Verdict
from drainproof.model.finding import Finding, Located
from drainproof.streams.history import Gauge, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from drainproof.judge.scene import Life
    from drainproof.streams.history import Record

VERSION: Final = 1
HISTORY: Final = "history.jsonl"
VERDICT: Final = "verdict.json"

GAUGE_LATE_S: Final = 3.0
"""How old a gauge may be to speak for a moment; it is scraped once a second."""
GAUGE_OFF: Final = 2
"""Streams by which gauge and History may differ: one that begins and one that ends meanwhile."""
MOST_FAILURES: Final = 200
"""Failed streams that a verdict describes one by one; all of them are counted."""
MOST_BUCKETS: Final = 600
"""Points of the timeline of streams in flight."""


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
class Victim:
    """A pod that the fault stopped. Times are seconds since the epoch; None where unknown."""

    pod: str
    deleted: float
    endpoint_removed: float | None
    sigterm: float | None
    """Deletion and the preStop delay; None if the delay is not in the manifest."""
    killed_at: float
    """When its grace period ended: then the kubelet kills what still runs."""
    ended: float | None
    exit_code: int | None
    reason: str
    at_deletion: Count
    at_sigterm: Count | None

    @property
    def hit(self) -> Count:
        """Streams in flight when it was hit: at SIGTERM, or at deletion if that is not known."""
        return self.at_sigterm or self.at_deletion

    @property
    def known(self) -> bool:
        """Whether that number is more than a lower bound."""
        return self.hit.gauge is not None or self.hit.least == self.hit.most


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


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Streams in flight over time."""

    begin: float
    step_s: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosVerdict:
    """What a run proved."""

    version: int
    verdict: Verdict
    reasons: tuple[str, ...]
    """Of a failure: what was lost. Of an inconclusive run: its doubts."""
    doubts: tuple[str, ...]
    """Why a run without a failure would prove nothing; empty if it would."""
    cause: Cause | None
    evidence: str
    check: str | None
    """Slug of the manifest check that foresees the cause."""
    fault: str
    begin: float | None
    end: float | None
    completed: bool
    target: dict[str, Any]
    load: dict[str, Any]
    streams: int
    whole: int
    dropped: int
    not_served: int
    untold: int
    silently_truncated: int
    failed_before: int
    """Streams that failed before the fault began; not part of the counts above."""
    outcomes: dict[str, int]
    causes: dict[str, int]
    exposed: float
    gauge_agrees: bool
    victims: tuple[Victim, ...]
    failures: tuple[Failure, ...]
    longest_gap_s: float | None
    in_flight: InFlight | None

    def finding(self, message: str) -> Finding:
        """Return a finding about the target, for a check."""
        return self.subject.finding("", message)

    def inconclusive(self, message: str) -> Finding:
        """Return what says that a check can't be decided."""
        return self.subject.inconclusive("", message)

    @property
    def subject(self) -> Located:
        """The target as findings name it: ``Deployment/inference/vllm``."""
        kind, namespace, name = (
            str(self.target.get(key, "")) for key in ("kind", "namespace", "name")
        )
        return Located(kind=kind, namespace=namespace, name=name, object={})

    def to_json(self) -> bytes:
        """Return the same bytes for the same verdict."""
        return orjson.dumps(
            self, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        )


def judge_evidence(folder: Path) -> ChaosVerdict:
    """Judge an evidence folder.

    Raises:
        UserError: It holds no History, or a damaged one.
    """
    path = folder / HISTORY if folder.is_dir() else folder
    return judge(lambda: read(path))


def judge(records: Callable[[], Iterable[Record]]) -> ChaosVerdict:
    """Judge a History.

    Args:
        records: Gives the records from the start; called more than once, so that a long History
            need not be held in memory.

    Raises:
        UserError: There is no header.
    """
    scene = Scene(records())
    if scene.header is None:
        raise UserError("the History has no header, so it doesn't say what was run")
    tally = _Tally(scene)
    for stream in judge_streams(records()):
        tally.add(stream)
    return _conclude(scene, tally, judge_client(records()).reasons)


@dataclass(slots=True)
class _Moment:
    """A moment at which streams in flight on a pod are counted."""

    life: Life
    at: float
    gauge: float | None
    least: int = 0
    most: int = 0

    def count(self) -> Count:
        return Count(at=self.at, gauge=self.gauge, least=self.least, most=self.most)


class _Tally:
    """The streams' side: everything that is counted while they go by once."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.effects: Counter[Effect] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()
        self.words: dict[str, str] = {}
        self.silent = 0
        self.before = 0
        self.unaccounted = 0
        self.untold: Counter[str] = Counter()
        self.new = 0
        """Requests sent while the fault was on."""
        self.longest_gap: float | None = None
        self.failures: list[Failure] = []
        self.deltas: Counter[int] = Counter()
        self.at_deletion = {life.name: self._at_deletion(life) for life in scene.hit}
        self.at_sigterm = {life.name: self._at_sigterm(life) for life in scene.hit}
        self._moments = [*self.at_deletion.values()] + [
            moment for moment in self.at_sigterm.values() if moment
        ]
        deleted = [life.deleted for life in scene.hit if life.deleted is not None]
        self._first_hit = min(deleted, default=None)

    def _at_deletion(self, life: Life) -> _Moment:
        at = life.deleted or 0.0
        gauge = self.scene.gauge(life.name, at, at - GAUGE_LATE_S, at + GAUGE_LATE_S)
        sigterm = self.scene.sigterm(life)
        if gauge and sigterm is not None and gauge.at > sigterm:
            # what it says after SIGTERM is not what was there when it was deleted
            gauge = self.scene.gauge(life.name, at, at - GAUGE_LATE_S, sigterm)
        return _moment(life, at, gauge)

    def _at_sigterm(self, life: Life) -> _Moment | None:
        at = self.scene.sigterm(life)
        if at is None:
            return None
        return _moment(life, at, self.scene.gauge(life.name, at, at - GAUGE_LATE_S, at))

    def add(self, stream: StreamVerdict) -> None:
        scene = self.scene
        sent = stream.sent if stream.sent is not None else stream.due
        self._in_flight(stream, sent)
        if stream.longest_gap_s is not None:
            self.longest_gap = max(self.longest_gap or 0.0, stream.longest_gap_s)
        failed = stream.effect in {Effect.DROPPED, Effect.NOT_SERVED}
        began = scene.begin
        if failed and (began is None or (stream.ended is not None and stream.ended < began)):
            self.before += 1
            return
        slow = failed and self._fail(stream, sent) is Cause.CLIENT_TOO_SLOW
        self.effects[Effect.UNTOLD if slow else stream.effect] += 1
        self.outcomes[stream.outcome.value] += 1
        self.silent += stream.silently_truncated
        if stream.effect is Effect.UNTOLD:
            self.untold[stream.outcome.value] += 1
        if (
            self._first_hit is not None
            and sent >= self._first_hit
            and sent <= (scene.end or float("inf"))
        ):
            self.new += 1

    def _in_flight(self, stream: StreamVerdict, sent: float) -> None:
        if stream.ended is None or stream.sent is None:
            return
        self.deltas[int(sent)] += 1
        self.deltas[int(stream.ended) + 1] -= 1
        pods: list[str] | None = None
        for moment in self._moments:
            if not sent <= moment.at < stream.ended:
                continue
            if pods is None:
                pods = [
                    name for name in self.scene.pods_for(sent) if not self._over(name, stream.ended)
                ]
            if moment.life.name in pods:
                moment.most += 1
                moment.least += len(pods) == 1

    def _over(self, name: str, at: float) -> bool:
        """Tell whether a pod was gone well before a stream ended, which so was not on it."""
        life = self.scene.lives.get(name)
        ended = self.scene.ended(life) if life and life.deleted is not None else None
        return ended is not None and ended + KILL_LATE_S < at

    def _fail(self, stream: StreamVerdict, sent: float) -> Cause:
        pods = self.scene.pods_for(sent)
        cause, evidence = cause_of(self.scene, stream, sent, pods)
        self.causes[cause.value] += 1
        self.words.setdefault(cause.value, evidence)
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(
                Failure(
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
                    cause=cause,
                    evidence=evidence,
                )
            )
        return cause

    def victims(self) -> Iterator[Victim]:
        for life in sorted(self.scene.hit, key=lambda life: (life.deleted or 0.0, life.name)):
            container = life.main(self.scene.container)
            sigterm = self.at_sigterm[life.name]
            deleted = life.deleted or 0.0
            ended = self.scene.ended(life)
            yield Victim(
                pod=life.name,
                deleted=deleted,
                endpoint_removed=self.scene.removed(life.name),
                sigterm=self.scene.sigterm(life),
                killed_at=deleted + life.grace_s,
                ended=ended,
                exit_code=container.get("exit_code"),
                reason=container.get("reason") or "",
                at_deletion=self.at_deletion[life.name].count(),
                at_sigterm=sigterm.count() if sigterm else None,
            )

    def in_flight(self) -> InFlight | None:
        if not self.deltas:
            return None
        first, last = min(self.deltas), max(self.deltas)
        step = max(1, -(-(last - first) // MOST_BUCKETS))
        counts, now = [], 0
        for second in range(first, last):
            now += self.deltas[second]
            if (second - first) % step == 0:
                counts.append(now)
        return InFlight(begin=float(first), step_s=float(step), counts=tuple(counts))


def _moment(life: Life, at: float, gauge: Gauge | None) -> _Moment:
    """Count where the gauge was read, so that both sources speak of one moment."""
    if gauge is None or gauge.running is None:
        return _Moment(life, at, None)
    return _Moment(life, gauge.at, gauge.running + (gauge.waiting or 0.0))


# ── The verdict ─────────────────────────────────────────────────────────────────────────────────


def _conclude(scene: Scene, tally: _Tally, client: tuple[str, ...]) -> ChaosVerdict:
    header = scene.header
    if header is None:  # the caller has seen to it
        raise UserError("the History has no header")
    victims = tuple(tally.victims())
    exposed = sum(victim.hit.streams for victim in victims)
    failures = tuple(_failed(tally))
    doubts = tuple(_doubts(scene, tally, victims, exposed, client))
    if failures:
        verdict, reasons = Verdict.FAIL, failures
    elif doubts:
        verdict, reasons = Verdict.INCONCLUSIVE, doubts
    else:
        verdict, reasons = Verdict.PASS, ()
    ours = {name: n for name, n in tally.causes.items() if name != Cause.CLIENT_TOO_SLOW.value}
    cause = Cause(max(ours, key=lambda name: ours[name])) if failures and ours else None
    counts = [count for victim in victims for count in (victim.at_deletion, victim.at_sigterm)]
    return ChaosVerdict(
        version=VERSION,
        verdict=verdict,
        reasons=reasons,
        doubts=doubts,
        cause=cause,
        evidence=tally.words[cause.value] if cause else "",
        check=FORESEEN.get(cause) if cause else None,
        fault=header.fault,
        begin=scene.begin,
        end=scene.end,
        completed=scene.end is not None and not scene.timeout,
        target=header.target,
        load=header.load,
        streams=sum(tally.effects.values()),
        whole=tally.effects[Effect.WHOLE],
        dropped=tally.effects[Effect.DROPPED],
        not_served=tally.effects[Effect.NOT_SERVED],
        untold=tally.effects[Effect.UNTOLD],
        silently_truncated=tally.silent,
        failed_before=tally.before,
        outcomes=dict(sorted(tally.outcomes.items())),
        causes=dict(sorted(tally.causes.items())),
        exposed=exposed,
        gauge_agrees=all(count.agree for count in counts if count),
        victims=victims,
        failures=tuple(tally.failures),
        longest_gap_s=tally.longest_gap,
        in_flight=tally.in_flight(),
    )


def _failed(tally: _Tally) -> Iterator[str]:
    """Say what a graceful fault must not cost, and did."""
    streams = sum(tally.effects.values())
    if dropped := tally.effects[Effect.DROPPED]:
        yield f"{dropped} of {streams} streams were cut off"
        if tally.silent:
            yield (
                f"{tally.silent} of them silently: HTTP 200 and a clean end, so that a client "
                "takes them for whole"
            )
    if tally.effects[Effect.NOT_SERVED]:
        kinds = ", ".join(
            f"{tally.outcomes[outcome.value]} {outcome.value}"
            for outcome in Outcome
            if outcome
            in {Outcome.REFUSED, Outcome.NO_RESPONSE, Outcome.REJECTED, Outcome.NOT_A_STREAM}
            and tally.outcomes[outcome.value]
        )
        yield f"{tally.effects[Effect.NOT_SERVED]} new requests failed: {kinds}"


def _doubts(
    scene: Scene,
    tally: _Tally,
    victims: tuple[Victim, ...],
    exposed: float,
    client: tuple[str, ...],
) -> Iterator[str]:
    """Say why a run without a failure proves nothing."""
    if scene.begin is None:
        yield "the fault never began"
        return
    if not victims:
        why = f" ({scene.timeout})" if scene.timeout else ""
        yield f"no pod was stopped{why}, so no stream was put to the test"
    elif scene.end is None or scene.timeout:
        yield "the fault did not get to its end" + (f": {scene.timeout}" if scene.timeout else "")
    if victims:
        yield from _unexposed(tally, victims, exposed)
    for outcome, number in sorted(tally.untold.items()):
        yield f"{number} streams are {outcome}, so what became of them can't be said"
    if slow := tally.causes[Cause.CLIENT_TOO_SLOW.value]:
        yield f"{slow} streams failed while the client itself was too slow"
    if tally.before:
        yield f"{tally.before} streams failed before the fault, so the target was not steady"
    yield from client


def _unexposed(tally: _Tally, victims: tuple[Victim, ...], exposed: float) -> Iterator[str]:
    """Say why the pods that were stopped were not put to the test."""
    silent = [victim.pod for victim in victims if not victim.known]
    if exposed <= 0 and silent:
        yield (
            f"how many streams were in flight on {', '.join(silent)} can't be told: the engine's "
            "gauge did not say, and other pods were ready, too"
        )
    elif exposed <= 0:
        yield (
            "no stream was in flight on the pods that were stopped, when SIGTERM came: streams "
            "must outlast the preStop delay (more --tokens) and be many enough (more --rate)"
        )
    if not tally.new:
        yield "no new request was sent while pods were stopped (more --rate)"
