"""How a HorizontalPodAutoscaler computes the number of replicas, formula by formula.

After ``pkg/controller/podautoscaler`` of Kubernetes 1.34: ``replica_calculator.go`` is
:func:`wanted`, ``horizontal.go`` is :class:`Hpa`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from drainproof.model.scaler import Pace, Policy

SYNC_S: Final = 15.0
"""``--horizontal-pod-autoscaler-sync-period``."""
TOLERANCE: Final = 0.1
"""``--horizontal-pod-autoscaler-tolerance``."""
WINDOW_DOWN_S: Final = 300
"""``--horizontal-pod-autoscaler-downscale-stabilization``, where there is no ``behavior``."""


def wanted(  # noqa: PLR0913 - all that the formula knows
    metric_type: str,
    value: float,
    threshold: float,
    *,
    replicas: int,
    ready: int,
    tolerance: float = TOLERANCE,
) -> int:
    """Return how many replicas a metric asks for, before windows, policies and bounds.

    Args:
        metric_type: ``AverageValue``: as many as it takes for each to have no more than the
            threshold. ``Value``: the number that is ready, times value by threshold.
            ``Pods``: as ``AverageValue``, but the metric is one of each pod.
        value: What the metric is: the query's answer; for ``Pods`` the sum over the pods.
        threshold: What it is compared with.
        replicas: How many there are, those that still load included.
        ready: How many are ready.
        tolerance: By how much the two may differ before anything is done.
    """
    usage, target = round(value * 1000), round(threshold * 1000)  # Kubernetes counts thousandths
    if metric_type == "Value":
        ratio = usage / target
        if replicas == 0:
            return math.ceil(ratio)
        return replicas if _within(ratio, tolerance) else math.ceil(ratio * ready)
    if metric_type == "Pods":
        return _of_pods(usage, target, replicas, ready, tolerance)
    if replicas and _within(usage / (target * replicas), tolerance):
        return replicas
    return math.ceil(usage / target)


def _of_pods(usage: int, target: int, replicas: int, ready: int, tolerance: float) -> int:
    """Return what a metric of type ``Pods`` asks for; pods that load have none of it yet.

    On the way up they count as idle, on the way down as just busy enough.
    """
    if ready == 0:
        return replicas
    ratio = usage / (target * ready)
    loading = replicas - ready
    if loading == 0 or ratio == 1:
        return replicas if _within(ratio, tolerance) else math.ceil(ratio * ready)
    filled = usage + (target * loading if ratio < 1 else 0)
    again = filled / (target * replicas)
    if _within(again, tolerance) or (ratio < 1) != (again < 1):
        return replicas
    return math.ceil(again * replicas)


def _within(ratio: float, tolerance: float) -> bool:
    return 1 - tolerance <= ratio <= 1 + tolerance


class Hpa:
    """What a HorizontalPodAutoscaler does with what its metric asks for.

    Args:
        least: ``minReplicas``.
        most: ``maxReplicas``.
        up: ``behavior.scaleUp``; None if it has no ``behavior``, for which other rules hold.
        down: ``behavior.scaleDown``; None likewise.
    """

    def __init__(self, least: int, most: int, up: Pace | None, down: Pace | None) -> None:
        self.least = least
        self.most = most
        self.up = up
        self.down = down
        self._asked: list[tuple[float, int]] = []
        self._changes: list[tuple[float, int]] = []

    def decide(self, now: float, replicas: int, asked: int) -> int:
        """Return the number of replicas from now on.

        Args:
            now: Seconds on any clock; it does not go back.
            replicas: How many there are.
            asked: What :func:`wanted` says.
        """
        if not self._asked:
            self._asked.append((now, replicas))
        if replicas == 0 and self.least != 0:
            return 0  # switched off: only KEDA, or a person, starts the first
        if replicas > self.most:
            new = self.most
        elif replicas < self.least:
            new = self.least
        elif self.up is None or self.down is None:
            new = self._without_behavior(now, replicas, asked)
        else:
            new = self._limited(now, replicas, self._stabilised(now, replicas, asked))
        if new != replicas:
            self._changes.append((now, new - replicas))
        return new

    def _stabilised(self, now: float, replicas: int, asked: int) -> int:
        """Return the safest of what was asked for within the stabilisation windows."""
        assert self.up is not None  # noqa: S101 - for the type checker
        assert self.down is not None  # noqa: S101 - same
        up = min([n for at, n in self._asked if at > now - self.up.window_s] + [asked])
        down = max([n for at, n in self._asked if at > now - self.down.window_s] + [asked])
        self._note(now, asked, max(self.up.window_s, self.down.window_s))
        return min(max(replicas, up), down)

    def _limited(self, now: float, replicas: int, target: int) -> int:
        """Return the target, as far as the policies let it be reached at once."""
        assert self.up is not None  # noqa: S101 - same
        assert self.down is not None  # noqa: S101 - same
        if target > replicas:
            limit = max(replicas, self._limit(now, replicas, self.up, +1))
            return min(target, self.most, limit)
        if target < replicas:
            limit = min(replicas, self._limit(now, replicas, self.down, -1))
            return max(target, self.least, limit)
        return target

    def _limit(self, now: float, replicas: int, pace: Pace, sign: int) -> int:
        """Return how far the policies of one direction let the number of replicas go."""
        if pace.select == "Disabled":
            return replicas
        limits = [
            _reach(policy, replicas - self._changed(now, policy.period_s), sign)
            for policy in pace.policies
        ]
        most_change = pace.select != "Min"
        return max(limits) if most_change == (sign > 0) else min(limits)

    def _changed(self, now: float, period_s: int) -> int:
        return sum(change for at, change in self._changes if at > now - period_s)

    def _without_behavior(self, now: float, replicas: int, asked: int) -> int:
        """Return what holds for an autoscaler without ``behavior``: doubled or 4, 300 s down."""
        kept = max([n for at, n in self._asked if at >= now - WINDOW_DOWN_S] + [asked])
        self._note(now, asked, WINDOW_DOWN_S)
        return max(self.least, min(kept, self.most, max(2 * replicas, 4)))

    def _note(self, now: float, asked: int, window_s: float) -> None:
        self._asked = [(at, n) for at, n in self._asked if at >= now - window_s]
        self._asked.append((now, asked))


def _reach(policy: Policy, begun_with: int, sign: int) -> int:
    """Return how far one policy goes from the replicas that there were a period ago.

    Percentages are rounded so that something changes: up on the way up, down on the way down.
    """
    if policy.type == "Pods":
        return begun_with + sign * policy.value
    share = begun_with * (1 + sign * policy.value / 100)
    return math.ceil(share) if sign > 0 else int(share)
