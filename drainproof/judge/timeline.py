"""What happened when: the parts of a run over time, in as many points as a picture can show.

A pure function of a History. However long the run, no part has more than ``MOST_BUCKETS`` points
(:mod:`drainproof.judge.tally`), one for each step of the streams in flight; what is rare and
matters, a lost stream or a long gap, is added up or kept as the worst of its step, never skipped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from drainproof.judge.scene import Scene
    from drainproof.streams.history import Gauge

MOST_PODS: Final = 24
"""Pods that are told one by one; others are added up."""
MOST_READY: Final = 600
"""Pods becoming ready that are told one by one."""

Series = tuple[float | None, ...]
"""One value for each step; None is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFlow:
    """Requests that an engine had in hand over time, by its own gauges: running and waiting."""

    pod: str
    """Its name; empty for all pods that are not told one by one."""
    counts: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A pod that came to be among the Service's ready endpoints."""

    at: float
    pod: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A run over time, on the steps of :class:`drainproof.judge.chaos.InFlight`."""

    pods: tuple[PodFlow, ...]
    """The busiest, no more than :data:`MOST_PODS`, by when they were first heard of."""
    others: int
    """How many more pods there were."""
    waiting: Series
    """Requests that wait in all engines together."""
    ready: Series
    """Ready endpoints of the Service."""
    wanted: Series
    """Replicas that the target was to have."""
    lost: tuple[int, ...]
    """All streams and requests that failed, by when they ended; those that were excused, too."""
    gaps_s: Series
    """The longest gap between two events of one answer that began in each step."""
    became_ready: tuple[Ready, ...]
    """The first of them, no more than :data:`MOST_READY`."""
    became_ready_more: int
    """How many there were after these."""


class Passed:
    """What a timeline takes of streams as they go by, second by second."""

    def __init__(self) -> None:
        self.lost: Counter[int] = Counter()
        self.gaps_s: dict[int, float] = {}

    def gap(self, at: float | None, seconds: float | None) -> None:
        """Note the longest gap of a stream, if it has one, and when it began."""
        if at is not None and seconds is not None:
            self.gaps_s[int(at)] = max(self.gaps_s.get(int(at), 0.0), seconds)

    def merge(self, other: Passed) -> None:
        """Add what another part of the History told."""
        self.lost.update(other.lost)
        for second, gap in other.gaps_s.items():
            self.gap(second, gap)


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps of time that all parts share."""

    begin: float
    step_s: float
    number: int

    def of(self, at: float) -> int:
        """Return the step of a moment; what is outside belongs to the first or the last one."""
        return min(self.number - 1, max(0, int((at - self.begin) // self.step_s)))

    def last(self, told: Iterable[tuple[float, float]]) -> Series:
        """Return the last of each step; as before where nothing was said."""
        found: list[float | None] = [None] * self.number
        for at, value in sorted(told):
            found[self.of(at)] = value
        for step in range(1, self.number):
            if found[step] is None:
                found[step] = found[step - 1]
        return tuple(found)

    def most(self, told: Iterable[tuple[float, float]]) -> Series:
        """Return the most of each step; None where nothing was said."""
        found: list[float | None] = [None] * self.number
        for at, value in told:
            step = self.of(at)
            known = found[step]
            found[step] = value if known is None else max(known, value)
        return tuple(found)


def timeline_of(scene: Scene, passed: Passed, begin: float, step_s: float, steps: int) -> Timeline:
    """Return a run's timeline.

    Args:
        scene: The cluster's side of its History.
        passed: What its streams told.
        begin: When the first step begins, in seconds since the epoch.
        step_s: How long a step is, in seconds.
        steps: How many there are.
    """
    grid = _Steps(begin, step_s, steps)
    in_hand = {pod: _gauged(grid, gauges, _in_hand) for pod, gauges in scene.gauges.items()}
    waiting = [_gauged(grid, gauges, _waiting) for gauges in scene.gauges.values()]
    shown, others = _busiest(in_hand)
    lost = [0] * steps
    for second, number in passed.lost.items():
        lost[grid.of(second)] += number
    became_ready = tuple(_became_ready(scene))
    return Timeline(
        pods=shown,
        others=others,
        waiting=_added(waiting, steps),
        ready=grid.last((one.at, len(one.ready)) for one in scene.endpoints),
        wanted=grid.last(
            (one.at, one.replicas if one.wanted is None else one.wanted)
            for one in scene.watched.targets
        ),
        lost=tuple(lost),
        gaps_s=grid.most(passed.gaps_s.items()),
        became_ready=became_ready[:MOST_READY],
        became_ready_more=max(0, len(became_ready) - MOST_READY),
    )


def _in_hand(gauge: Gauge) -> float | None:
    return None if gauge.running is None else gauge.running + (gauge.waiting or 0.0)


def _waiting(gauge: Gauge) -> float | None:
    return gauge.waiting


def _gauged(grid: _Steps, gauges: list[Gauge], value: Callable[[Gauge], float | None]) -> Series:
    told = ((gauge.at, value(gauge)) for gauge in gauges)
    return grid.most((at, number) for at, number in told if number is not None)


def _busiest(in_hand: dict[str, Series]) -> tuple[tuple[PodFlow, ...], int]:
    """Return the pods that had most in hand, in the order given, and how many more there are."""
    most = sorted(in_hand, key=lambda pod: -max((one or 0.0 for one in in_hand[pod]), default=0.0))
    rest = set(most[MOST_PODS:])
    shown = [PodFlow(pod=pod, counts=in_hand[pod]) for pod in in_hand if pod not in rest]
    if rest:
        steps = len(in_hand[most[0]])
        together = _added([in_hand[pod] for pod in in_hand if pod in rest], steps)
        shown.append(PodFlow(pod="", counts=together))
    return tuple(shown), len(rest)


def _added(several: list[Series], steps: int) -> Series:
    """Return the sum of what is known of each step; None where nothing is."""
    found: list[float | None] = [None] * steps
    for series in several:
        for step, value in enumerate(series):
            if value is not None:
                found[step] = (found[step] or 0.0) + value
    return tuple(found)


def _became_ready(scene: Scene) -> Iterable[Ready]:
    """Yield each time at which a pod came to be ready that was not so before."""
    before: set[str] | None = None
    for record in scene.endpoints:
        now = set(record.ready)
        if before is not None:
            for pod in sorted(now - before):
                yield Ready(at=record.at, pod=pod)
        before = now
