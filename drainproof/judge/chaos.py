"""The verdict on a run: were streams caught in the act, what became of them, and why.

A pure function of a History. It asks no cluster and no clock, so the same evidence gives the same
verdict anywhere, byte for byte.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson

from drainproof.errors import UserError
from drainproof.judge.causes import SIGKILLED, Cause
from drainproof.judge.evidence import tally_file
from drainproof.judge.scaling import scaling_of
from drainproof.judge.scene import ROUTING_LAG_S, Scene
from drainproof.judge.streams import Effect, missing
from drainproof.judge.tally import (
    ABRUPT,
    RECOVERED,
    RECOVERED_S,
    Count,
    Failure,
    Tally,
    stops_no_pod,
)
from drainproof.judge.timeline import timeline_of
from drainproof.judge.verdict import MOST_FAILURES, Verdict
from drainproof.model.finding import Finding, Located
from drainproof.report.text import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from drainproof.judge.latency import Latency
    from drainproof.judge.scaling import Scaling
    from drainproof.judge.scene import Life, Span
    from drainproof.judge.tally import FaultMoments, FaultTally
    from drainproof.judge.timeline import Timeline
    from drainproof.streams.history import Record

VERSION: Final = 2
"""Version of the verdict's form; ``chaos.schema.json`` describes it."""
HISTORY: Final = "history.jsonl"
VERDICT: Final = "verdict.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A pod that the fault stopped or hit. Times are seconds since the epoch; None is unknown."""

    pod: str
    hit_at: float | None
    """When it was killed, deleted by force or lost with its node; None if it was only deleted."""
    deleted: float | None
    endpoint_removed: float | None
    sigterm: float | None
    """Deletion and the preStop delay; None if the delay is not in the manifest."""
    killed_at: float | None
    """When its grace period ended: then the kubelet kills what still runs."""
    ended: float | None
    exit_code: int | None
    reason: str
    at_deletion: Count | None
    at_sigterm: Count | None
    at_hit: Count | None

    @property
    def struck(self) -> float:
        """When it was hit, or deleted."""
        return next((at for at in (self.hit_at, self.deleted) if at is not None), 0.0)

    @property
    def hit(self) -> Count | None:
        """Streams in flight when it was hit: else at SIGTERM, or at deletion if that is unknown."""
        return self.at_hit or self.at_sigterm or self.at_deletion

    @property
    def known(self) -> bool:
        """Whether that number is more than a lower bound."""
        return self.hit is not None and (
            self.hit.gauge is not None or self.hit.least == self.hit.most
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Streams in flight over time."""

    begin: float
    step_s: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What people plan with. Seconds; None where the History can't tell."""

    duration_s: float | None
    """From the fault's beginning to its end."""
    recovered_s: float | None
    """From its beginning until as many pods were ready again as before; 0 if there never were
    fewer, None if there were fewer to the end."""
    served_again_s: float | None
    """From when pods were hit until the last new request was sent that failed; 0 if none did."""
    before: Latency
    during: Latency
    after: Latency
    prestop_needed_s: float | None
    """The preStop delay that would have been enough: until no node sent requests to a pod that was
    deleted."""
    prestop_margin_s: float | None
    """What was declared less what was needed."""
    grace_needed_s: float | None
    """The grace period that would have been enough: what a pod took that lost no stream; else the
    time until its last request came, and the longest whole answer of the run."""
    grace_margin_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultVerdict:
    """What one fault of a run proved; streams belong to the fault in whose window they ended."""

    fault: str
    index: int
    cost: str
    """What it may cost: ``graceful``, ``abrupt`` or ``control-plane``."""
    recover_s: float
    """Of an abrupt one: within how many seconds new requests must succeed again."""
    verdict: Verdict
    reasons: tuple[str, ...]
    """Of a failure: what was lost. Of an inconclusive run: its doubts."""
    doubts: tuple[str, ...]
    """Why a run without a failure would prove nothing; empty if it would."""
    cause: Cause | None
    evidence: str
    check: str | None
    """Slug of the manifest check that foresees the cause."""
    begin: float
    end: float | None
    completed: bool
    streams: int
    whole: int
    dropped: int
    not_served: int
    untold: int
    excused: int
    """Of those dropped or not served: what an abrupt fault may cost."""
    silently_truncated: int
    failed_before: int
    """Streams that failed before the first fault began; not part of the counts above."""
    outcomes: dict[str, int]
    causes: dict[str, int]
    exposed: float
    gauge_agrees: bool
    victims: tuple[Victim, ...]
    failures: tuple[Failure, ...]
    longest_gap_s: float | None
    """The longest time between two events of an answer that a user saw."""
    numbers: Numbers
    scaling: Scaling | None = None
    """Of a fault of scaling: what the autoscaler made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosVerdict:
    """What a run proved: the worst that any of its faults did. Counts are over all of them."""

    version: int
    verdict: Verdict
    reasons: tuple[str, ...]
    doubts: tuple[str, ...]
    fault: str
    """The fault's name, or names joined by commas."""
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
    outcomes: dict[str, int]
    in_flight: InFlight | None
    timeline: Timeline | None
    """Everything else over time, on the same steps."""
    faults: tuple[FaultVerdict, ...]

    @property
    def worst(self) -> FaultVerdict | None:
        """The first fault that has the run's verdict."""
        return next((fault for fault in self.faults if fault.verdict is self.verdict), None)

    @property
    def cause(self) -> Cause | None:
        """The worst fault's cause, if it failed."""
        return self.worst.cause if self.worst else None

    @property
    def evidence(self) -> str:
        """The evidence for that cause, in words."""
        return self.worst.evidence if self.worst else ""

    @property
    def check(self) -> str | None:
        """Slug of the manifest check that foresees it."""
        return self.worst.check if self.worst else None

    @property
    def causes(self) -> dict[str, int]:
        """Failed streams by cause."""
        causes: Counter[str] = Counter()
        for fault in self.faults:
            causes.update(fault.causes)
        return dict(sorted(causes.items()))

    @property
    def exposed(self) -> float:
        """Streams in flight on the victims, when they were hit."""
        return sum(fault.exposed for fault in self.faults)

    @property
    def gauge_agrees(self) -> bool:
        """Whether gauge and History agree on that everywhere."""
        return all(fault.gauge_agrees for fault in self.faults)

    @property
    def victims(self) -> tuple[Victim, ...]:
        """The pods that were stopped or hit."""
        return tuple(victim for fault in self.faults for victim in fault.victims)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Failed streams, the first of each fault one by one."""
        return tuple(failure for fault in self.faults for failure in fault.failures)

    @property
    def longest_gap_s(self) -> float | None:
        """The longest time between two events of an answer."""
        gaps = [fault.longest_gap_s for fault in self.faults if fault.longest_gap_s is not None]
        return max(gaps, default=None)

    def finding(self, message: str) -> Finding:
        """Return a finding about the target, for a check."""
        return self.subject.finding("", message)

    def inconclusive(self, message: str) -> Finding:
        """Return what says that a check can't be decided."""
        return self.subject.inconclusive("", message)

    def findings(self, fault: str) -> Iterator[Finding]:
        """Yield what a fault cost each time that it was done, or why it can't be said."""
        done = [one for one in self.faults if one.fault == fault]
        if not done:
            yield self.inconclusive(f"{fault} never began")
        for one in done:
            failed = one.verdict is Verdict.FAIL
            yield from map(self.finding if failed else self.inconclusive, one.reasons)

    @property
    def subject(self) -> Located:
        """The target as findings name it: ``Deployment/inference/vllm``."""
        kind, namespace, name = (
            str(self.target.get(key, "")) for key in ("kind", "namespace", "name")
        )
        return Located(kind=kind, namespace=namespace, name=name, object={})

    def to_json(self) -> bytes:
        """Return the same bytes for the same verdict; nothing in them acts on what shows them."""
        written = orjson.dumps(
            self, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
        )
        return inert(written.decode()).encode()


def judge_evidence(folder: Path, told: int = MOST_FAILURES) -> ChaosVerdict:
    """Judge an evidence folder.

    Args:
        folder: The folder, or its History.
        told: How many failed streams of each fault are told one by one.

    Raises:
        UserError: It holds no History, or a damaged one.
    """
    path = folder / HISTORY if folder.is_dir() else folder
    return _conclude(tally_file(path, told=told))


def judge(records: Callable[[], Iterable[Record]]) -> ChaosVerdict:
    """Judge a History.

    Args:
        records: Gives the records from the start; called twice, so that a long History need not be
            held in memory.

    Raises:
        UserError: There is no header.
    """
    tally = Tally(Scene(records()))
    place = 0
    for place, record in enumerate(records()):
        if stream := tally.checker.take(record):
            tally.add(stream, place)
    tally.left(place + 1)
    return _conclude(tally)


# ── The verdict ─────────────────────────────────────────────────────────────────────────────────


def _conclude(tally: Tally) -> ChaosVerdict:
    scene = tally.scene
    header = scene.header
    if header is None:
        raise UserError("the History has no header, so it doesn't say what was run")
    lost = missing(scene.clients.claimed, tally.seen, tally.unended, tally.strays)
    if lost:
        tally.add(lost, -1)
    faults = tuple(_of_fault(tally, index) for index in range(len(scene.spans)))
    alone = () if faults else scene.clients.verdict().reasons
    first = [*_never_begun(scene, header.fault), *alone]
    doubts = tuple(_together(first, faults, "doubts"))
    failed = [fault for fault in faults if fault.verdict is Verdict.FAIL]
    if failed:
        verdict, reasons = Verdict.FAIL, tuple(_together([], failed, "reasons", len(faults)))
    elif doubts:
        verdict, reasons = Verdict.INCONCLUSIVE, doubts
    else:
        verdict, reasons = Verdict.PASS, ()
    flow = tally.in_flight()
    effects: Counter[Effect] = Counter()
    outcomes: Counter[str] = Counter()
    for one in tally.faults:
        effects.update(one.effects)
        outcomes.update(one.outcomes)
    return ChaosVerdict(
        version=VERSION,
        verdict=verdict,
        reasons=reasons,
        doubts=doubts,
        fault=header.fault,
        begin=faults[0].begin if faults else None,
        end=faults[-1].end if faults else None,
        completed=bool(faults) and all(fault.completed for fault in faults),
        target=header.target,
        load=header.load,
        streams=effects.total(),
        whole=effects[Effect.WHOLE],
        dropped=effects[Effect.DROPPED],
        not_served=effects[Effect.NOT_SERVED],
        untold=effects[Effect.UNTOLD],
        silently_truncated=sum(one.silent for one in tally.faults),
        failed_before=sum(one.before for one in tally.faults),
        outcomes=dict(sorted(outcomes.items())),
        in_flight=InFlight(begin=flow[0], step_s=flow[1], counts=flow[2]) if flow else None,
        timeline=timeline_of(scene, tally.passed, flow[0], flow[1], len(flow[2])) if flow else None,
        faults=faults,
    )


def _never_begun(scene: Scene, faults: str) -> Iterator[str]:
    """Say what was to be done and was not, as in a sequence that was cut short."""
    if not scene.spans:
        yield "the fault never began"
        return
    begun = {span.index for span in scene.spans}
    for index, name in enumerate(faults.split(",")):
        if index not in begun:
            yield f"{name} never began"


def _together(
    first: Iterable[str], faults: Collection[FaultVerdict], what: str, of: int | None = None
) -> Iterator[str]:
    """Yield what is said of several faults: what all of them share once, the rest by fault."""
    yield from first
    of = len(faults) if of is None else of
    said: Counter[str] = Counter(one for fault in faults for one in getattr(fault, what))
    shared = {one for one, times in said.items() if times == of}
    for fault in faults:
        for one in getattr(fault, what):
            if one not in shared:
                yield f"{fault.fault}: {one}"
    yield from (one for one in said if one in shared)


def _of_fault(tally: Tally, index: int) -> FaultVerdict:
    scene, counted, moments = tally.scene, tally.faults[index], tally.moments[index]
    span = scene.spans[index]
    victims = tuple(_victim(scene, span, moments, life) for life in moments.victims)
    counts = [victim.hit for victim in victims if victim.hit]
    exposed = sum(count.streams for count in counts)
    if stops_no_pod(span):  # whatever its undoing stopped
        exposed = max(exposed, moments.begin.most)
    numbers = _numbers(tally, index)
    scaling = scaling_of(scene, span, counted)
    failures = tuple(_failed(span, counted, victims))
    failures += scaling.failures if scaling else ()
    client = scene.clients.verdict(span.begin, span.until)
    doubts = (*_doubts(span, counted, victims, exposed), *client.reasons)
    doubts += scaling.doubts if scaling else ()
    if failures:
        verdict, reasons = Verdict.FAIL, failures
    elif doubts:
        verdict, reasons = Verdict.INCONCLUSIVE, doubts
    else:
        verdict, reasons = Verdict.PASS, ()
    ours = {name: n for name, n in counted.causes.items() if name != Cause.CLIENT_TOO_SLOW.value}
    most = min(ours, key=lambda name: (-ours[name], name), default=None)
    found = counted.found[most][1] if most else None
    effects = counted.effects
    all_counts = [
        count
        for victim in victims
        for count in (victim.at_deletion, victim.at_sigterm, victim.at_hit)
    ]
    return FaultVerdict(
        fault=span.fault,
        index=span.index,
        cost=span.cost,
        recover_s=span.recover_s,
        verdict=verdict,
        reasons=reasons,
        doubts=doubts,
        cause=found.cause if found else None,
        evidence=found.evidence if found else "",
        check=found.check if found else None,
        begin=span.begin,
        end=span.end,
        completed=span.completed,
        streams=effects.total(),
        whole=effects[Effect.WHOLE],
        dropped=effects[Effect.DROPPED],
        not_served=effects[Effect.NOT_SERVED],
        untold=effects[Effect.UNTOLD],
        excused=effects[Effect.DROPPED] + effects[Effect.NOT_SERVED] - counted.charged.total(),
        silently_truncated=counted.silent,
        failed_before=counted.before,
        outcomes=dict(sorted(counted.outcomes.items())),
        causes=dict(sorted(counted.causes.items())),
        exposed=exposed,
        gauge_agrees=all(count.agree for count in all_counts if count),
        victims=victims,
        failures=tuple(failure for _, failure in counted.failures),
        longest_gap_s=counted.longest_gap,
        numbers=numbers,
        scaling=scaling,
    )


def _victim(scene: Scene, span: Span, moments: FaultMoments, life: Life) -> Victim:
    name = life.name
    hit_at = span.hits.get(name)
    since = scene.struck(span, life)
    end = scene.end(life, since)
    at_deletion, at_sigterm, at_hit = (
        one.get(name) for one in (moments.at_deletion, moments.at_sigterm, moments.at_hit)
    )
    return Victim(
        pod=name,
        hit_at=hit_at,
        deleted=life.deleted,
        endpoint_removed=scene.removed(name, since if life.deleted is None else 0.0),
        sigterm=scene.sigterm(life),
        killed_at=None if life.deleted is None else life.deleted + life.grace_s,
        ended=scene.ended(life, since),
        exit_code=end.exit_code if end else None,
        reason=end.reason if end else "",
        at_deletion=at_deletion.count() if at_deletion else None,
        at_sigterm=at_sigterm.count() if at_sigterm else None,
        at_hit=at_hit.count() if at_hit else None,
    )


# ── What failed, and what is in doubt ───────────────────────────────────────────────────────────


def _failed(span: Span, counted: FaultTally, victims: tuple[Victim, ...]) -> Iterator[str]:
    """Say what a fault must not cost, and did."""
    streams = counted.effects.total()
    dropped, turned_away = counted.charged[Effect.DROPPED], counted.charged[Effect.NOT_SERVED]
    abrupt = span.cost == ABRUPT
    silent = counted.charged_silent
    elsewhere = " that were on no pod that was hit" if abrupt else ""
    loud = dropped - silent if abrupt else dropped
    if loud:
        yield f"{loud} of {streams} streams were cut off{elsewhere}"
    if silent:
        which = f"{silent} streams were cut off" if abrupt else f"{silent} of them"
        yield f"{which} silently: HTTP 200 and a clean end, so that a client takes them for whole"
    if not turned_away:
        return
    if abrupt and victims:
        late = counted.last_failed - max(victim.struck for victim in victims)
        yield (
            f"{turned_away} new requests failed, the last {late:.1f} s after the fault; they must "
            f"succeed again within {span.recover_s:g} s"
        )
        return
    kinds = ", ".join(f"{many} {kind}" for kind, many in sorted(counted.turned_away.items()))
    yield f"{turned_away} new requests failed: {kinds}"


def _doubts(
    span: Span, counted: FaultTally, victims: tuple[Victim, ...], exposed: float
) -> Iterator[str]:
    """Say why a fault without a failure proves nothing."""
    bare = stops_no_pod(span)
    if not victims and not bare:
        why = f" ({span.timeout})" if span.timeout else ""
        done = "hit" if span.cost == ABRUPT else "stopped"
        yield f"no pod was {done}{why}, so no stream was put to the test"
    elif not span.completed:
        yield "the fault did not get to its end" + (f": {span.timeout}" if span.timeout else "")
    if victims or bare:
        yield from _unexposed(span, counted, victims, exposed)
    for outcome, number in sorted(counted.untold.items()):
        yield f"{number} streams are {outcome}, so what became of them can't be said"
    if slow := counted.causes[Cause.CLIENT_TOO_SLOW.value]:
        yield f"{slow} streams failed while the client itself was too slow"
    if counted.before:
        yield f"{counted.before} streams failed before the fault, so the target was not steady"


def _unexposed(
    span: Span, counted: FaultTally, victims: tuple[Victim, ...], exposed: float
) -> Iterator[str]:
    """Say why what was stopped was not put to the test."""
    silent = [victim.pod for victim in victims if not victim.known]
    abrupt = span.cost == ABRUPT
    if exposed <= 0 and silent:
        yield (
            f"how many streams were in flight on {', '.join(silent)} can't be told: the engine's "
            "gauge did not say, and other pods were ready, too"
        )
    elif exposed <= 0 and (abrupt or not victims):
        what = "when the fault began" if not victims else "on the pods that were hit"
        yield f"no stream was in flight {what}: more streams are needed (more --rate or --tokens)"
    elif exposed <= 0:
        yield (
            "no stream was in flight on the pods that were stopped, when SIGTERM came: streams "
            "must outlast the preStop delay (more --tokens) and be many enough (more --rate)"
        )
    if not counted.new:
        on = "pods were stopped" if victims else "the fault was on"
        yield f"no new request was sent while {on} (more --rate)"
    if not abrupt or not victims:
        return
    gauges = [victim.hit.gauge for victim in victims if victim.hit]
    told = sum(gauge for gauge in gauges if gauge is not None)
    if None not in gauges and counted.excused_old > told + len(victims) * 2:
        yield (
            f"{counted.excused_old} streams were lost, and the engines that were hit had {told:g} "
            "in flight: others may have been lost, too"
        )
    since = max(counted.last_failed, *(victim.struck for victim in victims))
    served = [at for at in counted.latest_served if at > since]
    if len(served) < RECOVERED:
        yield (
            f"only {len(served)} new requests were served after the last one that failed: "
            f"{RECOVERED} in a row show that it recovered (more --rate)"
        )
    elif (lasted_s := max(served) - since) < RECOVERED_S:
        yield (
            f"new requests were served for only {lasted_s:.1f} s after the last one that failed: "
            f"{RECOVERED_S:g} s show that it recovered"
        )


# ── Numbers to plan with ────────────────────────────────────────────────────────────────────────


def _numbers(tally: Tally, index: int) -> Numbers:
    scene, counted, moments = tally.scene, tally.faults[index], tally.moments[index]
    span = scene.spans[index]
    before, during, after = tally.latencies.around(index)
    struck = [scene.struck(span, life) for life in moments.victims]
    failed_s = counted.last_failed - max(struck) if struck else 0.0
    deleted = [life for life in moments.victims if life.grace_s]
    prestop_s = _prestop_needed(scene, counted, deleted)
    grace_s = _grace_needed(tally, counted, deleted, prestop_s)
    return Numbers(
        duration_s=_rounded(span.end - span.begin if span.completed and span.end else None),
        recovered_s=_rounded(scene.recovered(span)),
        served_again_s=_rounded(max(failed_s, 0.0)) if struck else None,
        before=before,
        during=during,
        after=after,
        prestop_needed_s=_rounded(prestop_s),
        prestop_margin_s=_margin(scene.prestop_s, prestop_s),
        grace_needed_s=_rounded(grace_s),
        grace_margin_s=_margin(scene.grace_s, grace_s),
    )


def _prestop_needed(scene: Scene, counted: FaultTally, deleted: list[Life]) -> float | None:
    """Return how long after its deletion a pod may still be sent new requests, at most."""
    found = [counted.misrouted_s] if counted.misrouted_s else []
    for life in deleted:
        removed = scene.removed(life.name)
        if removed is not None and life.deleted is not None:
            found.append(max(removed - life.deleted, 0.0) + ROUTING_LAG_S)
    return max(found, default=None)


def _grace_needed(
    tally: Tally, counted: FaultTally, deleted: list[Life], prestop_s: float | None
) -> float | None:
    scene = tally.scene
    found = []
    for life in deleted:
        end = scene.end(life)
        since = life.deleted or 0.0
        if end and not counted.blamed[life.name] and end.exit_code != SIGKILLED:
            found.append(end.at - since)
        elif prestop_s is not None and tally.longest_stream:
            last_request_s = (
                prestop_s if scene.prestop_s is None else min(prestop_s, scene.prestop_s)
            )
            found.append(max(last_request_s + tally.longest_stream, scene.prestop_s or 0.0))
    return max(found, default=None)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _margin(declared_s: float | None, needed_s: float | None) -> float | None:
    if declared_s is None or needed_s is None:
        return None
    return round(declared_s - needed_s, 3)
