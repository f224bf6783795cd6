"""The replicas of a workload: what each runs, what waits in its queue, and how they come and go.

A replica is a queue of its own with so many places, served in order of arrival. When a request
begins and ends follows from the replica's earlier requests alone, so both are computed when it is
routed: there is no event for either, and a million requests take a second.
"""

from __future__ import annotations

import math
import random
from array import array
from heapq import heappop, heappush, heapreplace
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from drainproof.simulate.arrivals import Arrivals


class Service(Struct, frozen=True, kw_only=True):
    """How fast a replica answers, and how long it takes to come and to go."""

    concurrency: int
    """Streams that a replica runs at once (``--max-num-seqs``); others wait in its queue."""
    tokens_per_second: float
    """Of one stream, while the replica is full."""
    tokens_per_second_alone: float | None = None
    """Of the only stream of a replica; between the two it falls with the number of streams, which
    is taken as it is when a stream begins. None: it is the same however many there are."""
    prefill_s: float = 0.0
    """From a stream's begin to its first token."""
    cold_start_s: float
    """From a container's start until its engine answers."""
    schedule_s: float = 0.0
    """From a pod's creation until its container starts."""
    probe_delay_s: float = 0.0
    """``initialDelaySeconds``: the engine is not asked before, from the container's start."""
    probe_periods_s: tuple[float, ...] = ()
    """``periodSeconds`` of the probes that have to succeed, one after the other: a replica is ready
    up to so much later than its engine answers."""
    prestop_s: float = 0.0
    """From a pod's deletion until it may end, even without any stream."""
    gpus: int = 1
    """Of one replica."""


class Replica:
    """One pod."""

    __slots__ = ("asked_at", "drained_s", "ends", "gone_at", "ready_at")

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.ready_at: float | None = None
        self.gone_at: float | None = None
        """None as long as it is wanted."""
        self.ends: list[float] = []
        """When each place that is taken is free again: a heap."""
        self.drained_s = 0.0
        """Seconds that its streams took to end, from when it was taken away."""


class Fleet:
    """All replicas, and the requests that they were given.

    Args:
        service: How a replica works.
        arrivals: The requests.
        duration_s: When the run ends; counts are kept for each second until then.
        seed: Decides which replica gets which request.
    """

    def __init__(
        self, service: Service, arrivals: Arrivals, duration_s: float, seed: int = 0
    ) -> None:
        self.service = service
        self.ready: list[Replica] = []
        self.loading: list[Replica] = []
        self.draining: list[Replica] = []
        """Those that were taken away, gone ones included."""
        self.waits = array("d")
        """Seconds in a queue, of the requests that were routed and had to wait."""
        self.routed = 0
        """How many requests were routed; the rest has come to no replica yet."""
        self.duration_s = duration_s
        seconds = math.ceil(duration_s) + 1
        self.waiting = [0] * seconds
        """By how much the number of requests in replicas' queues changes up to each second."""
        self.running = [0] * seconds
        """The same of streams."""
        self.unrouted = [0] * seconds
        """The same of requests that come while no replica is ready."""
        self._arrivals = arrivals
        self._per_token_s = _per_token_s(service)
        self._levels = {"waiting": (0, 0), "running": (0, 0)}
        self._random = random.Random(f"routes {seed}")  # noqa: S311 - repeatable is the point

    def add(self, now: float) -> Replica:
        """Return a new replica that begins to load."""
        replica = Replica(now)
        self.loading.append(replica)
        return replica

    def set_ready(self, replica: Replica, now: float) -> None:
        """Let a replica that has loaded take requests, unless it was taken away before."""
        if replica.gone_at is None:
            self.advance(now)
            self.loading.remove(replica)
            self.ready.append(replica)
            replica.ready_at = now

    def remove(self, count: int, now: float) -> None:
        """Take replicas away, in the ReplicaSet controller's order.

        Those that still load go first, the newest of them before others; then by the order of
        magnitude of the time that they have been ready, and at random. They get no new requests,
        and are gone when they have answered those that they have.
        """
        self.advance(now)
        self.ready.sort(
            key=lambda one: (-_magnitude(now - (one.ready_at or 0.0)), self._random.random())
        )
        for _ in range(count):
            if self.loading:
                gone = self.loading.pop()
                gone.gone_at = now
            else:
                gone = self.ready.pop()
                gone.drained_s = max(0.0, max(gone.ends, default=0.0) - now)
                gone.gone_at = now + max(self.service.prestop_s, gone.drained_s)
            self.draining.append(gone)

    def advance(self, now: float) -> None:
        """Route the requests that have come by now; with no replica ready, they stay.

        Each goes to any replica that is ready, as kube-proxy has it: it does not know who is busy.
        """
        times, tokens, ready = self._arrivals.times_s, self._arrivals.tokens, self.ready
        if not ready:
            return
        uniform, count, places = self._random.random, len(ready), self.service.concurrency
        prefill_s, per_token_s = self.service.prefill_s, self._per_token_s
        waiting, running, over_s = self.waiting, self.running, self.duration_s
        since = ready[0].ready_at if count == 1 else None
        index, total = self.routed, len(times)
        while index < total and (came := times[index]) <= now:
            replica = ready[int(uniform() * count)]
            at = came
            if since is not None and came < since:
                self._note_unrouted(came, since)
                at = since
            ends = replica.ends
            while ends and ends[0] <= at:
                heappop(ends)
            if (batch := len(ends)) < places:
                begin = at
                end = begin + prefill_s + tokens[index] * per_token_s[batch]
                heappush(ends, end)
            else:
                begin = ends[0]
                end = begin + prefill_s + tokens[index] * per_token_s[places - 1]
                heapreplace(ends, end)
                waiting[int(at) + 1] += 1
                if begin < over_s:
                    waiting[int(begin) + 1] -= 1
            if begin > came:
                self.waits.append(begin - came)
            if begin < over_s:
                running[int(begin) + 1] += 1
            if end < over_s:
                running[int(end) + 1] -= 1
            index += 1
        self.routed = index

    def level(self, what: str, now: float) -> int:
        """Return how many requests are ``waiting`` or ``running`` in all replicas; never go back.

        It is exact at whole seconds, to which :meth:`advance` has been called.
        """
        changes: list[int] = getattr(self, what)
        second, level = self._levels[what]
        until = int(now) + 1
        level += sum(changes[second:until])
        self._levels[what] = (until, level)
        return level

    def finish(self) -> list[float]:
        """Route what has come until the end; return how long those had waited that no one took."""
        self.advance(math.nextafter(self.duration_s, 0.0))
        left = [at for at in self._arrivals.times_s[self.routed :] if at < self.duration_s]
        for came in left:
            self._note_unrouted(came, math.inf)
        return [self.duration_s - at for at in left]

    def _note_unrouted(self, came: float, until: float) -> None:
        self.unrouted[int(came) + 1] += 1
        if until < self.duration_s:
            self.unrouted[int(until) + 1] -= 1


def _magnitude(seconds: float) -> int:
    """Return the order of magnitude by which the controller compares how long pods were ready."""
    return int(math.log2(seconds * 1e9)) if seconds > 0 else -1


def _per_token_s(service: Service) -> list[float]:
    """Return the seconds that a token takes, by how many streams ran when its own began."""
    full, places = service.tokens_per_second, service.concurrency
    alone = service.tokens_per_second_alone or full
    steps = max(1, places - 1)
    shares = (others / steps for others in range(places))
    return [1 / (alone * (1 - share) + full * share) for share in shares]
