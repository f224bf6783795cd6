"""What an autoscaler declares, as far as a load puts it to the test: threshold, tempo, bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from drainproof.model import chain, engines, limits, promql
from drainproof.model.following import Follows, followed
from drainproof.model.quantity import quantity
from drainproof.model.scaler import KEDA_POLLING_S, Scaler
from drainproof.model.shape import ShapeError
from drainproof.patterns import regex
from drainproof.simulate.hpa import SYNC_S, TOLERANCE, Hpa, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drainproof.model.engines import EngineFacts
    from drainproof.model.scaler import Pace, Trigger

_RANGE: Final = regex(r"\[(\w+)\]")
_OFF_S: Final = 2
"""Seconds by which two changes may be seen nearer to each other than they were made."""
_MOST_SYNCS: Final = 10_000
_ANSWER_S: Final = 3.0
"""KEDA's own default of ``KEDA_HTTP_DEFAULT_TIMEOUT``."""
_FALLBACKS: Final[dict[str, Callable[[int, int], int]]] = {
    "static": lambda _now, declared: declared,
    "currentReplicas": lambda now, _declared: now,
    "currentReplicasIfHigher": max,
    "currentReplicasIfLower": min,
}
"""What ``fallback.behavior`` makes of the replicas that there are and those that it declares;
after ``pkg/fallback`` of KEDA 2.21."""
_PHASES: Final = tuple(range(int(SYNC_S)))
"""When the HPA looked last before a load came, in seconds before it: nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One autoscaler."""

    scaler: Scaler
    query: str
    """Its query as PromQL; empty if it has none that is known."""
    metric_type: str
    threshold: float | None
    """None if it can't be read."""
    counts: tuple[float, float] | None
    """How much a request that waits, and one that runs, adds to what it follows; None if that
    counts no requests."""
    utilisation: str
    """The resource whose use it follows, such as ``CPU``; empty if it follows something else."""

    @classmethod
    def of(cls, obj: dict[str, Any], engine: str) -> Declared:
        """Read an autoscaler.

        Args:
            obj: The ScaledObject or HorizontalPodAutoscaler.
            engine: The engine's name.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        scaler = Scaler.from_object(obj)
        asked = next(iter([*chain.asked_by(scaler), *scaler.triggers]), None)
        busy = _utilisation(asked, engine) if asked else ""
        return cls(
            scaler=scaler,
            query=asked.promql if asked else "",
            metric_type=(asked.metric_type if asked else "") or "AverageValue",
            threshold=_threshold(scaler, asked) if asked else None,
            counts=_counts(asked, engine) if asked and not busy else None,
            utilisation=busy,
        )

    @property
    def span_s(self) -> float:
        """The longest range that its query looks back over, in seconds; 0 if it has none."""
        ranges = (limits.seconds(found) for found in _RANGE.findall(self.query))
        return max((found for found in ranges if found is not None), default=0.0)

    @property
    def polling_s(self) -> float:
        """How often KEDA looks; 0 where it is not KEDA that does."""
        return float(self.scaler.polling_s or KEDA_POLLING_S) if self.scaler.of_keda else 0.0

    @property
    def up_s(self) -> float:
        """Seconds for which more must be asked for until replicas rise."""
        return float(self.scaler.scale_up.window_s) if self.scaler.scale_up else 0.0

    @property
    def down_s(self) -> float:
        """Seconds for which fewer must be asked for until replicas fall."""
        return float(self.scaler.scale_down.window_s) if self.scaler.scale_down else 0.0

    @property
    def never_rises(self) -> bool:
        """Whether its policy forbids more replicas."""
        return self.scaler.scale_up is not None and self.scaler.scale_up.select == "Disabled"

    def asks(self, value: float, replicas: int) -> int:
        """Return how many replicas a value of its metric asks for."""
        if self.threshold is None or self.threshold <= 0:
            return replicas
        return wanted(self.metric_type, value, self.threshold, replicas=replicas, ready=replicas)

    def over(self, value: float, replicas: int) -> bool:
        """Tell whether a value asks for more replicas than there are."""
        return self.asks(value, replicas) > replicas

    def needed(self, replicas: int) -> float:
        """Return what the metric must exceed to ask for one replica more."""
        each = 1 if self.metric_type == "Value" else replicas
        return (self.threshold or 0.0) * each * (1 + TOLERANCE)

    def pods_say(self, waiting: float, running: float) -> float | None:
        """Return what its metric is by the engines' own gauges; None if it counts no requests."""
        if self.counts is None:
            return None
        return self.counts[0] * waiting + self.counts[1] * running

    def too_fast(self, changes: Iterable[tuple[float, int, int]]) -> tuple[float, int, int] | None:
        """Return the first change that no policy allows: when, from how many replicas, to how many.

        Windows are not looked at.
        """
        hpa = self._hpa(windows=False)
        for at, before, after in changes:
            if hpa.decide(at, before, after) != after:
                return at, before, after
        return None

    def falls_s(self, replicas: int) -> float:
        """Return how long its policies take from so many replicas to the fewest, once they fall."""
        return self.takes_s(replicas, self.scaler.min_replicas)

    def takes_s(self, replicas: int, wanted: int) -> float:
        """Return how long its policies take from a number of replicas to one that is asked for.

        Windows are not looked at.
        """
        hpa, at = self._hpa(windows=False), 0.0
        for _ in range(_MOST_SYNCS):
            replicas = hpa.decide(at, replicas, wanted)
            if replicas == wanted:
                return at
            at += SYNC_S
        return math.inf

    def falls_back_to(self, replicas: int) -> int | None:
        """Return how many replicas its ``fallback`` makes of so many; None if it makes none."""
        fallback = self.scaler.fallback
        if fallback is None or fallback.behavior not in _FALLBACKS:
            return None
        found = _FALLBACKS[fallback.behavior](replicas, fallback.replicas)
        return max(self.scaler.min_replicas, min(found, self.scaler.max_replicas))

    def falls_back_s(self, replicas: int) -> float:
        """Return within how many seconds of its metric's end that is done; 0 if it is not.

        KEDA falls back with the failure after ``failureThreshold`` in a row. It looks each
        ``pollingInterval``, waits 3 s for an answer, and does not count before its HPA has met the
        first failure, which takes a period of 15 s; with another one the HPA is told. Windows and
        policies come on top.
        """
        fallback, wanted = self.scaler.fallback, self.falls_back_to(replicas)
        if fallback is None or wanted is None:
            return 0.0
        each = self.polling_s + _ANSWER_S
        window_s = self.up_s if wanted > replicas else self.down_s if wanted < replicas else 0.0
        told_s = (fallback.failure_threshold + 1) * each + 2 * SYNC_S
        return told_s + window_s + self.takes_s(replicas, wanted)

    def most_changes(self, values: Sequence[tuple[float, float]], replicas: int) -> int:
        """Return the most changes that its policy makes of a metric that goes so.

        Args:
            values: When, and what it was then; in the order of time.
            replicas: How many there were at first.
        """
        return max((self._changes(values, replicas, phase) for phase in _PHASES), default=0)

    def _changes(self, values: Sequence[tuple[float, float]], replicas: int, phase: int) -> int:
        if not values:
            return 0
        hpa, changes, due = self._hpa(windows=True), 0, values[0][0] + phase
        for at, value in values:
            if at < due:
                continue
            due += SYNC_S
            new = hpa.decide(at, replicas, self.asks(value, replicas))
            changes += new != replicas
            replicas = new
        return changes

    def _hpa(self, *, windows: bool) -> Hpa:
        def pace(found: Pace | None) -> Pace | None:
            if found is None:
                return None
            policies = tuple(
                replace(policy, period_s=max(1, policy.period_s - _OFF_S))
                for policy in found.policies
            )
            return replace(
                found,
                policies=policies,
                **({} if windows else {"window_s": 0}),
            )

        scaler = self.scaler
        return Hpa(
            scaler.min_replicas,
            scaler.max_replicas,
            pace(scaler.scale_up),
            pace(scaler.scale_down),
        )


def _threshold(scaler: Scaler, trigger: Trigger) -> float | None:
    if trigger.threshold is None:
        return None
    try:
        written = trigger.threshold
        found = float(written) if scaler.of_keda else quantity(written, trigger.threshold_path)
    except (ValueError, ShapeError):
        return None
    return found if math.isfinite(found) else None


def _counts(trigger: Trigger, engine: str) -> tuple[float, float] | None:
    """Return what a request adds to a trigger's query, if that is a plain sum of requests."""
    if not trigger.promql or promql.parse(trigger.promql).error:
        return None
    found = chain.straight(trigger.promql)
    if found is None:
        return None
    facts = _facts(engine)
    waiting = running = 0.0
    for selector, factor in found.selectors:
        (parsed,) = promql.parse(selector).selectors
        metric = facts.metric(parsed.use.metric) if facts else None
        if facts is None or metric is None:
            waiting += factor  # a name that no version has is meant for the queue
        elif metric.name in facts.meanings.get("running", ()):
            running += factor
        elif metric.name in facts.meanings.get("waiting", ()):
            waiting += factor
        else:
            return None
    return waiting, running


def _utilisation(trigger: Trigger, engine: str) -> str:
    """Return the resource whose use a trigger follows; empty if it follows something else."""
    facts = _facts(engine)
    follows, what = followed(trigger, facts.prefix if facts else "")
    return what if follows is Follows.UTILISATION else ""


def _facts(engine: str) -> EngineFacts | None:
    return next((one for one in engines.ENGINES if one.name == engine), None)
