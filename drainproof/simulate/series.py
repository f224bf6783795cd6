"""What a run looks like over time, what it cost, and how far it is from a measured one."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.simulate.hpa import wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drainproof.simulate.fleet import Fleet
    from drainproof.simulate.policy import Policy


class Series(Struct, frozen=True, kw_only=True):
    """A run, second by second; lists begin at second 0."""

    waiting: list[int]
    """Requests that no replica has begun to answer, whether they are in a replica's queue or no
    replica was ready."""
    running: list[int]
    replicas: list[int]
    """What the autoscaler asked for."""
    ready: list[int]
    requests: int
    """How many came."""
    finished: int
    unrouted: int
    """How many came to no replica until the end."""
    waits_s: list[float]
    """How long requests were, or will be, in a queue, ascending; those that had not to wait are
    left out. For requests that came to no replica, how long they had waited at the end."""
    gpu_hours: float
    """From each pod's creation until it is gone."""
    longest_drain_s: float
    """From a pod's removal until its last stream had ended, of the one that took longest."""

    @classmethod
    def of(cls, fleet: Fleet, changes: Sequence[tuple[float, int, int]]) -> Series:
        """Return what a fleet has been through.

        Args:
            fleet: After its run.
            changes: Seconds, number of replicas and how many are ready, whenever one changed.
        """
        left_waits_s = fleet.finish()
        seconds = int(fleet.duration_s) + 1
        in_queues = list(accumulate(fleet.waiting))[:seconds]
        in_front = list(accumulate(fleet.unrouted))[:seconds]
        running = list(accumulate(fleet.running))[:seconds]
        pods = [*fleet.ready, *fleet.loading, *fleet.draining]
        lived_s = sum(
            min(fleet.duration_s, math.inf if pod.gone_at is None else pod.gone_at) - pod.asked_at
            for pod in pods
        )
        return cls(
            waiting=[queued + front for queued, front in zip(in_queues, in_front, strict=True)],
            running=running,
            replicas=_by_second([(at, number) for at, number, _ in changes], seconds),
            ready=_by_second([(at, number) for at, _, number in changes], seconds),
            requests=fleet.routed + len(left_waits_s),
            finished=fleet.routed - in_queues[-1] - running[-1],
            unrouted=len(left_waits_s),
            waits_s=sorted([*fleet.waits, *left_waits_s]),
            gpu_hours=lived_s * fleet.service.gpus / 3600,
            longest_drain_s=max((pod.drained_s for pod in fleet.draining), default=0.0),
        )

    @property
    def mean_wait_s(self) -> float:
        """The mean over all requests, those that had not to wait included."""
        return sum(self.waits_s) / self.requests if self.requests else 0.0

    def wait_s(self, share: float) -> float:
        """Return the seconds in a queue that a share of all requests did not exceed."""
        none = self.requests - len(self.waits_s)
        rank = math.ceil(share * self.requests) - 1 - none
        return self.waits_s[rank] if rank >= 0 else 0.0

    def share_over(self, seconds: float) -> float:
        """Return the share of all requests that were longer in a queue than that, from 0 to 1."""
        if seconds < 0:
            return 1.0
        over = len(self.waits_s) - bisect_right(self.waits_s, seconds)
        return over / self.requests if self.requests else 0.0


def _by_second(changes: Sequence[tuple[float, int]], seconds: int) -> list[int]:
    """Return the number that holds at each second."""
    found: list[int] = []
    number = 0
    for at, new in changes:
        found += [number] * (min(seconds, math.ceil(at)) - len(found))
        number = new
    return found + [number] * (seconds - len(found))


class Reactions(Struct, frozen=True):
    """What reacted when, in seconds from the start; None if it did not happen."""

    over_threshold_s: int | None
    """The metric asks for more replicas than there are."""
    asked_s: int | None
    """The autoscaler asks for more replicas than at the start."""
    ready_s: int | None
    """More are ready than at the start."""
    empty_s: int | None
    """Nobody waits any more, for the first time after the queue was longest."""


def reactions(series: Series, policy: Policy) -> Reactions:
    """Return what reacted when."""
    seconds = range(len(series.waiting))
    top = max(seconds, key=series.waiting.__getitem__)
    return Reactions(
        over_threshold_s=next((at for at in seconds if _asks_for_more(series, policy, at)), None),
        asked_s=_scale_out(series.replicas),
        ready_s=_scale_out(series.ready),
        empty_s=_first(series.waiting, lambda waiting: waiting == 0, top)
        if series.waiting[top]
        else None,
    )


def _asks_for_more(series: Series, policy: Policy, second: int) -> bool:
    counts = {"waiting": series.waiting, "running": series.running}
    value = sum(counts[what][second] for what in policy.follows) * policy.factor
    replicas, ready = series.replicas[second], series.ready[second]
    if policy.mean:
        value /= max(1, ready)
    asked = wanted(policy.metric_type, value, policy.threshold, replicas=replicas, ready=ready)
    return asked > replicas


def _first(values: Sequence[int], holds: Callable[[int], bool], begin: int = 0) -> int | None:
    return next((at for at in range(begin, len(values)) if holds(values[at])), None)


class Error(Struct, frozen=True):
    """How far a simulated number of replicas is from a measured one."""

    mean_replicas: float
    """Mean of the absolute difference, second by second."""
    most_replicas: int
    """The largest difference."""
    first_scale_out_s: float | None
    """Seconds that the first scale-out comes later than measured, negative if earlier. None if only
    one of the two has one; 0 if none has."""


def error(simulated: Sequence[int], measured: Sequence[tuple[float, int]]) -> Error:
    """Return how far off a simulation is.

    Args:
        simulated: Replicas at each second, such as :attr:`Series.replicas` or ``ready``.
        measured: Seconds from the same start and the number of replicas from then on, in order.
    """
    real = _by_second(measured, len(simulated))
    differences = [abs(one - other) for one, other in zip(simulated, real, strict=True)]
    out, real_out = _scale_out(simulated), _scale_out(real)
    late = 0.0 if out is real_out else None
    if out is not None and real_out is not None:
        late = float(out - real_out)
    return Error(sum(differences) / len(differences), max(differences), late)


def _scale_out(replicas: Sequence[int]) -> int | None:
    return _first(replicas, lambda now: now > replicas[0])
