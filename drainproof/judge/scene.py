"""The cluster's side of a History, joined into what a judge asks: which pods, from when to when."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from drainproof.judge.clients import MAX_LAG_MS, ClientTally
from drainproof.judge.streams import numbers_tokens
from drainproof.judge.watched import Watched
from drainproof.streams.history import (
    Client,
    Endpoints,
    Event,
    Fault,
    Gauge,
    Header,
    Part,
    Pod,
    Stream,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.streams.history import Record

ROUTING_LAG_S: Final = 2.0
"""How long nodes may go on sending new connections to an endpoint that was removed. kube-proxy
batches changes for 1 s by default (``minSyncPeriod``), and EndpointSlices arrive a little late."""
SECOND_S: Final = 1.0
"""Kubernetes writes its times in whole seconds, cut off."""
FOREVER: Final = float("inf")
_LOOKED_AT: Final = 20
"""Pieces of streams that are looked at for numbered tokens."""


class End(NamedTuple):
    """How a container ended."""

    at: float
    exit_code: int | None
    reason: str


@dataclass(slots=True)
class Life:
    """What is known of one pod."""

    name: str
    deleted: float | None = None
    deletion_timestamp: float | None = None
    """As the API server has it: when the grace period will be over, in whole seconds."""
    grace_s: float = 0.0
    gone: float | None = None
    ends: dict[str, dict[float, End]] = field(default_factory=dict)
    """By container, and by time."""

    def see(self, pod: Pod) -> None:
        """Take in one report of it."""
        if pod.deletion_at is not None and self.deleted is None:
            # seen as it happened, unless the watch was broken then
            late = pod.at - pod.deletion_at > 2 * SECOND_S
            self.deleted = pod.deletion_at if late else max(pod.at, pod.deletion_at)
            self.grace_s = pod.grace_s or 0.0
            self.deletion_timestamp = pod.deletion_at + self.grace_s
        for container in pod.containers:
            at = container.get("finished_at")
            if at:
                end = End(at, container.get("exit_code"), container.get("reason") or "")
                self.ends.setdefault(container["name"], {})[at] = end
        if pod.event == "DELETED":
            self.gone = pod.at

    @property
    def oom(self) -> list[float]:
        """When the kernel killed one of its containers, out of memory."""
        ends = (end for ended in self.ends.values() for end in ended.values())
        return [end.at for end in ends if end.reason == "OOMKilled"]

    def end(self, engine: str, since: float) -> End | None:
        """Return how the engine's container (else, the last one) first ended since a moment."""
        found = self.ends.get(engine)
        if found is None:
            found = max(self.ends.values(), key=max, default={})
        ends = [end for at, end in sorted(found.items()) if at >= since - SECOND_S]
        return ends[0] if ends else None


@dataclass(slots=True)
class Span:
    """One fault of the run, from its beginning to the next one's."""

    fault: str
    index: int
    cost: str
    begin: float
    recover_s: float
    stops: bool
    """Whether it is to stop pods."""
    end: float | None = None
    timeout: str | None = None
    """Why it did not get to its end; None if it did, or nothing was said."""
    undone: float | None = None
    since: float = -FOREVER
    """When the fault before it was over and undone."""
    until: float = FOREVER
    """When the next fault begins."""
    hits: dict[str, float] = field(default_factory=dict)
    """Pods that were hit, and when that was asked for."""
    done: dict[str, float] = field(default_factory=dict)
    """When it was known to be done."""
    aim: float | None = None
    """How many requests a crowd was to have waiting."""
    away: str = ""
    """Of an outage: of what."""
    gone: float | None = None
    """When that was gone."""
    back: float | None = None
    """When it was there again."""
    stated: dict[str, Any] = field(default_factory=dict)
    """What the user stated that it is judged by."""

    @property
    def over(self) -> float:
        """Until when pods that are deleted are deleted by it."""
        stops = [at for at in (self.end, self.undone) if at is not None]
        return min([*stops, self.until])

    @property
    def completed(self) -> bool:
        """Whether it got to its end."""
        return self.end is not None and self.timeout is None


class Scene:
    """The cluster's side of a History."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.header: Header | None = None
        self.spans: list[Span] = []
        self.lives: dict[str, Life] = {}
        self.endpoints: list[Endpoints] = []
        self.events: list[Event] = []
        self.gauges: dict[str, list[Gauge]] = {}
        self.slow: list[float] = []
        self.clients = ClientTally()
        self.watched = Watched()
        self.numbered = False
        """Whether the engine numbers its tokens."""
        self._pieces = 0
        steps: list[Fault | Pod | Endpoints | Gauge] = []
        for record in records:
            self.clients.add(record)
            self.watched.see(record)
            if isinstance(record, Fault | Pod | Endpoints | Gauge):
                steps.append(record)
            else:
                self._add(record)
        for step in sorted(steps, key=lambda step: step.at):
            self._step(step)
        self._changes = [record.at for record in self.endpoints]
        for span, later in pairwise(self.spans):
            span.until = later.begin
            later.since = max(span.over, span.undone or span.over)
        target: dict[str, Any] = self.header.target if self.header else {}
        self.prestop_s: float | None = target.get("prestop_s")
        self.grace_s: float | None = target.get("grace_period_s")
        self.container: str = target.get("container") or ""
        self.context = self.header.max_model_len if self.header else None
        """Tokens that the engine allows prompt and answer together; None if unknown."""
        self.begins = [span.begin for span in self.spans]
        self.began = self.begins[0] if self.begins else FOREVER
        """When the first fault began."""
        self.stopped = [
            life
            for life in self.lives.values()
            if life.deleted is not None and life.deleted >= self.began - SECOND_S
        ]
        """Every pod that was deleted since the first fault began, whoever did it."""

    def _add(self, record: Record) -> None:
        match record:
            case Part() | Stream():
                self._piece(record)
            case Header():
                self.header = self.header or record
            case Event():
                self.events.append(record)
            case Client() if max(record.loop_lag_ms, record.send_lag_ms) > MAX_LAG_MS:
                self.slow.append(record.at)
            case _:
                pass

    def _step(self, record: Fault | Pod | Endpoints | Gauge) -> None:
        """Take in one of the records whose order matters, in the order of time."""
        match record:
            case Fault():
                self._fault(record)
            case Pod():
                self.lives.setdefault(record.name, Life(record.name)).see(record)
            case Endpoints():
                self.endpoints.append(record)
            case Gauge():
                self.gauges.setdefault(record.pod, []).append(record)

    def _piece(self, record: Part | Stream) -> None:
        if self._pieces < _LOOKED_AT and not self.numbered:
            self._pieces += 1
            self.numbered = numbers_tokens(record)

    def _fault(self, record: Fault) -> None:
        spans = self.spans
        if record.phase == "begin" and all(span.index != record.index for span in spans):
            spans.append(
                Span(
                    record.fault,
                    record.index,
                    record.cost,
                    record.at,
                    record.recover_s,
                    record.stops,
                    away=record.away,
                    stated=record.stated,
                )
            )
        for span in spans:
            if span.index == record.index:
                self._follow(span, record)

    @staticmethod
    def _follow(span: Span, record: Fault) -> None:
        match record.phase:
            case "hit":
                for pod in record.pods:
                    span.hits.setdefault(pod, record.at)
                    span.done.setdefault(pod, record.at + record.took_s)
            case "crowd":
                span.aim = record.aim
            case "away":
                span.gone = record.at
            case "back":
                span.back = record.at
            case "end":
                span.end = record.at
            case "timeout":
                span.end, span.timeout = record.at, record.detail
            case "undone" | "not-undone":
                span.undone = span.undone or record.at
            case _:
                pass

    # Which fault.

    def span_at(self, at: float) -> int | None:
        """Return which fault a moment belongs to, None before the first one; as an index."""
        index = bisect_right(self.begins, at) - 1
        return index if index >= 0 else None

    def victims(self, span: Span) -> list[Life]:
        """Return the pods that a fault stopped or hit, in the order in which it did."""
        found = {
            life.name: life
            for life in self.lives.values()
            if life.deleted is not None
            and max(span.since, span.begin - SECOND_S) <= life.deleted <= span.over
        }
        for name in span.hits:
            found.setdefault(name, self.lives.get(name) or Life(name))
        return sorted(found.values(), key=lambda life: (self.struck(span, life), life.name))

    @staticmethod
    def struck(span: Span, life: Life) -> float:
        """Return when a victim was hit, else when its deletion was asked for."""
        return span.hits.get(life.name, life.deleted or 0.0)

    # Which pod, when.

    def sigterm(self, life: Life) -> float | None:
        """Return when SIGTERM came: after the preStop delay, or when the grace period ended."""
        if self.prestop_s is None or life.deleted is None:
            return None
        return life.deleted + min(self.prestop_s, life.grace_s)

    def end(self, life: Life, since: float | None = None) -> End | None:
        """Return how the engine's container ended once the pod was deleted, or since a moment."""
        since = life.deleted if since is None else since
        return None if since is None else life.end(self.container, since)

    def ended(self, life: Life, since: float | None = None) -> float | None:
        """Return when that was, at the latest when the pod was gone."""
        end = self.end(life, since)
        return life.gone if end is None else end.at

    def removed(self, name: str, since: float = 0.0) -> float | None:
        """Return when a pod left the Service's ready endpoints, for good or since a moment."""
        last = None
        for record in self.endpoints:
            if name in record.ready:
                if last is not None and since and last >= since:
                    break  # it came back
                last = None
            elif last is None:
                last = record.at
        return last

    def removed_by_slice(self, name: str) -> dict[str, float]:
        """Return when each EndpointSlice that listed a pod as ready last did so no more."""
        found: dict[str, float] = {}
        listed: set[str] = set()
        for record in self.endpoints:
            now = {key for key, pods in record.slices.items() if name in pods}
            for key in listed - now:
                found[key] = record.at
            for key in now:
                found.pop(key, None)
            listed = now
        return found

    def ready_at(self, at: float) -> list[str]:
        """Return the ready endpoints at a moment."""
        index = bisect_right(self._changes, at) - 1
        return self.endpoints[index].ready if index >= 0 else []

    def ready_since(self, name: str, at: float) -> float | None:
        """Return since when a pod had been among the ready endpoints at a moment."""
        since = None
        for record in self.endpoints[: bisect_right(self._changes, at)]:
            if name not in record.ready:
                since = None
            elif since is None:
                since = record.at
        return since

    def pods_for(self, sent: float) -> tuple[str, ...]:
        """Return the pods that a request sent at a moment can have reached."""
        first = max(0, bisect_right(self._changes, sent - ROUTING_LAG_S) - 1)
        window = self.endpoints[first : max(bisect_right(self._changes, sent), first + 1)]
        names = {name for record in window for name in record.ready}
        if not names:
            # with no endpoint ready, kube-proxy falls back to those that terminate
            names = {name for record in window for name in record.terminating}
        return tuple(sorted(names))

    def gauge(self, name: str, at: float, after: float, before: float) -> Gauge | None:
        """Return the gauge with a number that is nearest to a moment, within an interval."""
        found = [
            gauge
            for gauge in self.gauges.get(name, [])
            if gauge.running is not None and after <= gauge.at <= before
        ]
        return min(found, key=lambda gauge: abs(gauge.at - at), default=None)

    def busy_since(self, name: str, start: float) -> float | None:
        """Return when a pod's gauge told of a stream from ``start`` on; None: it never spoke."""
        told = [
            gauge
            for gauge in self.gauges.get(name, [])
            if gauge.running is not None and gauge.at >= start
        ]
        if not told:
            return None
        return next((gauge.at for gauge in told if gauge.running), FOREVER)

    def recovered(self, span: Span) -> float | None:
        """Return how long after a fault began as many pods were ready again as before; None: never.

        0 if there never were fewer.
        """
        before = len(self.ready_at(span.begin))
        back: float | None = span.begin
        for record in self.endpoints:
            if span.begin < record.at < span.until:
                if len(record.ready) < before:
                    back = None
                elif back is None:
                    back = record.at
        return None if back is None else back - span.begin
