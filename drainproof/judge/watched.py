"""What a History tells of an autoscaler, of its target, and of the queue that it follows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from drainproof.judge.declared import Declared
from drainproof.model.shape import ShapeError
from drainproof.simulate.hpa import SYNC_S
from drainproof.streams.history import Answer, Autoscaler, Pod, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.judge.scene import Scene, Span
    from drainproof.judge.tally import FaultTally
    from drainproof.streams.history import Record

SEEN_S: Final = 5.0
"""By how much what was seen may differ from when it was: gauges are read once a second, Kubernetes
writes whole seconds, and nodes are busy."""
UNKNOWN_SCRAPE_S: Final = 60.0
"""Prometheus' own default of ``scrape_interval``, where samples don't show another one."""
DIP_S: Final = 2.0
"""How long a queue may be short without a new beginning: one look in between."""
REACHED: Final = 0.8
"""How much of the queue that was wanted is as good as all of it."""
_MOST_AGES: Final = 0.9
"""How many of the ages of samples a scrape interval covers; the others are of scrapes that failed.
"""
NEAR_S: Final = 0.5
"""Gauges that are nearer to each other than this are of one look."""


@dataclass(slots=True)
class Watched:
    """The records that a verdict on scaling rests on, beside those of streams, as they came."""

    scalers: list[Autoscaler] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    targets: list[Workload] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)

    def see(self, record: Record) -> None:
        """Take in one record."""
        match record:
            case Autoscaler():
                self.scalers.append(record)
            case Answer():
                self.answers.append(record)
            case Workload():
                self.targets.append(record)
            case Pod():
                self.pods.append(record)
            case _:
                pass


class Seen:
    """What a fault's time showed of queue, autoscaler and replicas."""

    def __init__(self, scene: Scene, span: Span, counted: FaultTally) -> None:
        watched: Watched = scene.watched
        self.scene = scene
        self.span = span
        self.streams = counted
        self.begin = span.begin
        self.end = span.end if span.end is not None else span.until
        self.scalers = sorted(watched.scalers, key=lambda one: one.at)
        self.answers = sorted(
            (one for one in watched.answers if self.begin <= one.at <= self.end),
            key=lambda one: one.at,
        )
        self.pods = sorted(watched.pods, key=lambda one: one.at)
        self.declared: Declared | None = None
        self.scaler_name = self.undeclared = ""
        self._read_declared()
        self.counted = [
            (one.at, one.replicas if one.wanted is None else one.wanted)
            for one in sorted(watched.targets, key=lambda one: one.at)
        ]
        self.replicas = self._replicas()
        if self.declared and not self.replicas:
            self.declared, self.undeclared = None, "how many replicas there were was not seen"
        self.changes = [(at, before, after) for (_, before), (at, after) in pairwise(self.replicas)]
        # what was asked for before the fault counts for how long replicas have to stay
        self.queue, self.all_signal = self._queues()
        since = self.begin - SEEN_S
        self.queue = [(at, waiting) for at, waiting in self.queue if at >= since]
        self.signal = [(at, value) for at, value in self.all_signal if at >= since]
        self.allowed: int | None = None

    def _read_declared(self) -> None:
        """Take what KEDA's ScaledObject declares, else what a HorizontalPodAutoscaler does."""
        declaring = [one for one in self.scalers if one.declared is not None and one.at <= self.end]
        # while a fault holds it, it does not declare what is its own
        declaring = [one for one in declaring if one.at <= self.begin] or declaring
        own = [one for one in declaring if one.object.startswith("ScaledObject/")]
        header = self.scene.header
        engine = str(header.target.get("engine", "")) if header else ""
        for one in reversed(own or declaring):
            try:
                self.declared = Declared.of(one.declared or {}, engine)
            except (ShapeError, KeyError) as error:
                self.undeclared = f"what {one.object} declares can't be read: {error}"
                continue
            self.scaler_name = one.object
            return
        self.undeclared = self.undeclared or "the autoscaler was not seen"

    def _replicas(self) -> list[tuple[float, int]]:
        """Return the replicas that the target was to have, at the beginning and at each change."""
        found: list[tuple[float, int]] = []
        for at, wanted in self.counted:
            if at > self.end:
                break
            if not found or at <= self.begin:
                found = [(max(at, self.begin), wanted)]
            elif found[-1][1] != wanted:
                found.append((at, wanted))
        return found

    def _queues(self) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
        """Return how many requests waited, and what the autoscaler's metric is by the gauges."""
        gauges = sorted(
            (
                gauge
                for found in self.scene.gauges.values()
                for gauge in found
                if gauge.running is not None
            ),
            key=lambda gauge: gauge.at,
        )
        last: dict[str, tuple[float, float, float]] = {}
        queue: list[tuple[float, float]] = []
        signal: list[tuple[float, float]] = []
        for gauge in gauges:
            last[gauge.pod] = gauge.at, gauge.waiting or 0.0, gauge.running or 0.0
            if gauge.at > self.end:
                break
            fresh = [(w, r) for when, w, r in last.values() if when >= gauge.at - SEEN_S]
            waiting, running = sum(w for w, _ in fresh), sum(r for _, r in fresh)
            at = gauge.at
            if queue and at - queue[-1][0] < NEAR_S:
                at = queue.pop()[0]
                del signal[-1:]
            queue.append((at, waiting))
            said = self.declared.pods_say(waiting, running) if self.declared else None
            if said is not None:
                signal.append((at, said))
        if self.declared and self.declared.counts is None:
            signal = self._told()
        return queue, signal

    def _told(self) -> list[tuple[float, float]]:
        """Return what the autoscaler's metric is where no gauge tells: as the query answers.

        Else as the HPA says, where nobody knows of a query.
        """
        declared = self.known
        if declared.query:
            return [(one.at, one.value) for one in self.answers if one.value is not None]
        return [
            (one.at, one.value * (1 if declared.metric_type == "Value" else one.current or 1))
            for one in self.own_hpa
            if one.value is not None and one.at <= self.end
        ]

    @property
    def first(self) -> int:
        """Replicas at the beginning."""
        return self.replicas[0][1] if self.replicas else 0

    @property
    def rise(self) -> float | None:
        """When the replicas first rose."""
        return next((at for at, before, after in self.changes if after > before), None)

    @property
    def emptied(self) -> float | None:
        """When no replica was left, where a fault waited for that."""
        return min(self.span.hits.values(), default=None)

    @property
    def own_hpa(self) -> list[Autoscaler]:
        """What the HorizontalPodAutoscaler said that this autoscaler is, or has made."""
        return [
            one
            for one in self.scalers
            if one.object.startswith("HorizontalPodAutoscaler/")
            and self.scaler_name in {one.object, one.made_by}
        ]

    @property
    def of_keda(self) -> list[Autoscaler]:
        """What the ScaledObject said."""
        return [one for one in self.scalers if one.object.startswith("ScaledObject/")]

    @property
    def scrape_s(self) -> float:
        """How old samples get before the next ones come, else Prometheus' default interval."""
        ages = sorted(one.at - one.oldest for one in self.answers if one.oldest is not None)
        if not ages:
            return UNKNOWN_SCRAPE_S
        return float(math.ceil(ages[int(len(ages) * _MOST_AGES)]))

    def spells(self) -> list[tuple[float, float]]:
        """Return since when and until when the queue asked for more replicas than there were first.

        Until the replicas rose, if they did.
        """
        until = self.end if self.rise is None else self.rise
        points, long = self._long()
        found: list[tuple[float, float]] = []
        last = -1
        for index, (at, value) in enumerate(points):
            if at > until or not long(value):
                continue
            if found and (index == last + 1 or at - found[-1][1] <= DIP_S):
                found[-1] = found[-1][0], at
            else:
                found.append((at, at))
            last = index
        return found

    def _long(self) -> tuple[list[tuple[float, float]], Callable[[float], bool]]:
        """Return what tells of a load over time, and when it asks for more replicas.

        What is followed tells, if it counts requests. Else the queue does: users wait from then on.
        Replicas may have risen before it was as long as was wanted: then what is followed tells.
        """
        aim = self.span.aim
        if self.known.counts is None and aim is not None:
            until = self.end if self.rise is None else self.rise
            if any(waiting >= aim * REACHED for at, waiting in self.queue if at <= until):
                return self.queue, lambda waiting: waiting >= aim * REACHED
        return self.signal, lambda value: self.known.over(value, self.first)

    @property
    def is_long(self) -> str:
        """What makes a queue one that asks for more, in words."""
        return "over the threshold" if self.known.counts is not None else "long"

    @property
    def longest(self) -> tuple[float, float]:
        """The longest of these spells; there is one."""
        return max(self.spells(), key=lambda spell: spell[1] - spell[0])

    @property
    def known(self) -> Declared:
        """What is declared."""
        assert self.declared is not None  # noqa: S101 - for the type checker: asked before
        return self.declared

    @property
    def grew(self) -> float | None:
        """When the queue began to ask for more: before the replicas rose, or for the longest."""
        spells = self.spells()
        if not spells:
            return None
        return spells[-1][0] if self.rise is not None else self.longest[0]

    @property
    def allowed_s(self) -> float:
        """Within how many seconds of a long queue the replicas have to rise."""
        declared = self.known
        looks_back_s = declared.span_s if declared.counts is None else 0.0
        return declared.up_s + declared.polling_s + self.scrape_s + looks_back_s + SYNC_S

    @property
    def fresh(self) -> dict[str, list[Pod]]:
        """What was seen of pods that were made since the fault began, by name."""
        found: dict[str, list[Pod]] = {}
        old = {pod.name for pod in self.pods if (pod.created_at or pod.at) < self.begin - 1.0}
        for pod in self.pods:
            if pod.name not in old and self.begin - 1.0 <= pod.at <= self.end:
                found.setdefault(pod.name, []).append(pod)
        return found

    def killed_by(self, name: str) -> str:
        """Return which probe killed a pod's container: ``liveness``, ``startup``; empty: none."""
        for event in self.scene.events:
            if event.object == f"Pod/{name}" and event.reason == "Killing":
                for probe in ("liveness", "startup"):
                    if f"{probe} probe" in event.message:
                        return probe
        return ""

    def answering(self, name: str) -> float | None:
        """Return when a pod's engine first told its gauges; None if it never did."""
        told = self.scene.gauges.get(name, [])
        return next((one.at for one in told if one.running is not None), None)

    def generating(self, name: str) -> float | None:
        """Return when a pod's engine first told of a token; None if it never did.

        Where it does not count tokens, when it first told of a request.
        """
        told = self.scene.gauges.get(name, [])
        if all(one.tokens is None for one in told):
            return self.serving(name)
        return next((one.at for one in told if one.tokens), None)

    def serving(self, name: str) -> float | None:
        """Return when a pod's own gauge first told of a request; None if it never did."""
        return next(
            (
                one.at
                for one in self.scene.gauges.get(name, [])
                if one.running and one.at >= self.begin
            ),
            None,
        )
