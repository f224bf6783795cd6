"""Puts an autoscaler, a fleet and requests on one clock: :func:`simulate`.

What happens by the clock (scrapes, the HPA's and KEDA's looks, replicas that become ready) is a
process of SimPy; requests are routed in between, as far as the clock has come.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import simpy

from drainproof.simulate import hpa
from drainproof.simulate.fleet import Fleet, Replica, Service
from drainproof.simulate.keda import Keda
from drainproof.simulate.series import Series

if TYPE_CHECKING:
    from collections.abc import Generator

    from drainproof.simulate.arrivals import Arrivals
    from drainproof.simulate.policy import Policy

    Process = Generator[simpy.Event, None, None]


def simulate(  # noqa: PLR0913 - all that a run is a function of
    policy: Policy,
    service: Service,
    arrivals: Arrivals,
    *,
    duration_s: float,
    replicas: int | None = None,
    seed: int = 0,
) -> Series:
    """Return what happens: replicas, queue and waits over time. It is a function of its arguments.

    Args:
        policy: The autoscaler.
        service: What one replica does, and how long it takes to come.
        arrivals: The requests.
        duration_s: When it ends, rounded up to a second.
        replicas: How many are ready at the start; by default as few as the policy allows.
        seed: Decides by chance: which replica gets which request, when scrapes, looks and probes
            happen within their periods.
    """
    duration_s = float(math.ceil(duration_s))
    run = _Run(policy, service, arrivals, duration_s, seed)
    run.begin(policy.least if replicas is None else replicas)
    run.clock.run(until=duration_s)
    return Series.of(run.fleet, run.changes)


class _Run:
    """One simulation under way."""

    def __init__(
        self, policy: Policy, service: Service, arrivals: Arrivals, duration_s: float, seed: int
    ) -> None:
        self.clock = simpy.Environment()
        self.policy = policy
        self.fleet = Fleet(service, arrivals, duration_s, seed)
        self.changes: list[tuple[float, int, int]] = []
        """Whenever a number of replicas changes: seconds, all replicas, those that are ready."""
        self._hpa = hpa.Hpa(
            max(1, policy.least) if policy.keda else policy.least,
            policy.most,
            policy.up,
            policy.down,
        )
        self._keda = Keda(policy.least, policy.idle, policy.activation, policy.cooldown_s)
        self._answer: float | None = None
        """The query's answer of the last scrape; None if there is none."""
        self._polled: float | None = None
        """The same when KEDA last looked."""
        self._random = random.Random(f"periods {seed}")  # noqa: S311 - repeatable is the point

    @property
    def replicas(self) -> int:
        """All that are wanted, those that load included."""
        return len(self.fleet.ready) + len(self.fleet.loading)

    def begin(self, replicas: int) -> None:
        """Start with so many replicas that are ready, and let the clock's processes begin."""
        for _ in range(replicas):
            self.fleet.set_ready(self.fleet.add(0.0), 0.0)
        self._note()
        # where in their periods things happen is left to chance, as in a cluster
        scrape_at = self._random.randrange(int(self.policy.scrape_s))
        sync_at, poll_at = self._random.random(), self._random.random()
        self.clock.process(self._scrape(scrape_at))
        if self.policy.keda:
            self.clock.process(self._poll(poll_at * self.policy.polling_s))
        self.clock.process(self._sync(sync_at * hpa.SYNC_S))

    def _scrape(self, first_s: float) -> Process:
        """Let Prometheus look at every replica's queue, again and again."""
        yield self.clock.timeout(first_s)
        while True:
            self.fleet.advance(self.clock.now)
            self._answer = self._asked()
            yield self.clock.timeout(self.policy.scrape_s)

    def _asked(self) -> float | None:
        now, policy = self.clock.now, self.policy
        draining = sum((one.gone_at or 0.0) > now for one in self.fleet.draining)
        answering = len(self.fleet.ready) + draining
        total = sum(self.fleet.level(what, now) for what in policy.follows) * policy.factor
        if not answering:
            return 0.0 if policy.null_is_zero else None
        return total / answering if policy.mean else total

    def _sync(self, first_s: float) -> Process:
        """Let the HorizontalPodAutoscaler look and decide, again and again."""
        yield self.clock.timeout(first_s)
        while True:
            value = self._polled if self.policy.cached else self._answer
            if value is not None:
                asked = hpa.wanted(
                    self.policy.metric_type,
                    value,
                    self.policy.threshold,
                    replicas=self.replicas,
                    ready=len(self.fleet.ready),
                )
                self._scale(self._hpa.decide(self.clock.now, self.replicas, asked))
            yield self.clock.timeout(hpa.SYNC_S)

    def _poll(self, first_s: float) -> Process:
        """Let KEDA look and decide, again and again."""
        yield self.clock.timeout(first_s)
        while True:
            self._polled = self._answer
            if self._polled is not None:
                self._scale(self._keda.decide(self.clock.now, self.replicas, self._polled))
            yield self.clock.timeout(self.policy.polling_s)

    def _scale(self, replicas: int) -> None:
        more = replicas - self.replicas
        if more < 0:
            self.fleet.remove(-more, self.clock.now)
        for _ in range(more):
            self.clock.process(self._load(self.fleet.add(self.clock.now)))
        if more:
            self._note()

    def _load(self, replica: Replica) -> Process:
        """Let a replica load, and be ready when its probes have found out."""
        service = self.fleet.service
        probes_s = sum(self._random.random() * period for period in service.probe_periods_s)
        answers_s = max(service.cold_start_s, service.probe_delay_s)
        yield self.clock.timeout(service.schedule_s + answers_s + probes_s)
        self.fleet.set_ready(replica, self.clock.now)
        self._note()

    def _note(self) -> None:
        self.changes.append((self.clock.now, self.replicas, len(self.fleet.ready)))
