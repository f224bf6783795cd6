"""Simulates one policy with several thresholds, and says which is enough at the least cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from drainproof.simulate.run import simulate
from drainproof.simulate.series import Error, Reactions, Series, error, reactions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.simulate.arrivals import Arrivals
    from drainproof.simulate.fleet import Service
    from drainproof.simulate.policy import Policy

MAY_WAIT: Final = 0.01
"""The share of requests that may wait longer than the objective."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What one threshold leads to."""

    threshold: float
    declared: bool
    """Whether it is the one in the manifests."""
    peak_waiting: int
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    over_slo: float
    """The share of requests that waited longer than the objective, from 0 to 1."""
    meets_slo: bool
    peak_replicas: int
    changes: int
    """How often the number of replicas changed."""
    gpu_hours: float
    reactions: Reactions
    series: Series


def outcomes(  # noqa: PLR0913 - all that runs are a function of
    policy: Policy,
    service: Service,
    arrivals: Arrivals,
    thresholds: Sequence[float],
    *,
    duration_s: float,
    slo_s: float,
    declared: float | None = None,
    replicas: int | None = None,
    seed: int = 0,
) -> list[Outcome]:
    """Return what each threshold leads to, with the same requests.

    Args:
        policy: Its own threshold is not looked at.
        service: What a replica does.
        arrivals: The requests.
        thresholds: What is tried.
        duration_s: How long each run lasts.
        slo_s: How long a request may wait for its first token, in seconds.
        declared: The threshold in the manifests.
        replicas: How many are ready at the start.
        seed: As for :func:`~drainproof.simulate.run.simulate`.
    """
    found = []
    for threshold in thresholds:
        one = replace(policy, threshold=threshold)
        series = simulate(
            one, service, arrivals, duration_s=duration_s, replicas=replicas, seed=seed
        )
        found.append(
            _outcome(
                series,
                one,
                slo_s=slo_s,
                prefill_s=service.prefill_s,
                declared=threshold == declared,
            )
        )
    return found


def _outcome(
    series: Series, policy: Policy, *, slo_s: float, prefill_s: float, declared: bool
) -> Outcome:
    over = series.share_over(slo_s - prefill_s)
    steps = zip(series.replicas, series.replicas[1:], strict=False)
    return Outcome(
        threshold=policy.threshold,
        declared=declared,
        peak_waiting=max(series.waiting),
        wait_p50_s=series.wait_s(0.5) + prefill_s,
        wait_p95_s=series.wait_s(0.95) + prefill_s,
        wait_p99_s=series.wait_s(0.99) + prefill_s,
        over_slo=over,
        meets_slo=over <= MAY_WAIT,
        peak_replicas=max(series.replicas),
        changes=sum(before != after for before, after in steps),
        gpu_hours=series.gpu_hours,
        reactions=reactions(series, policy),
        series=series,
    )


def cheapest(found: Sequence[Outcome]) -> Outcome | None:
    """Return the outcome that meets the objective with the fewest GPU-hours; None if none does."""
    meeting = [one for one in found if one.meets_slo]
    return min(meeting, key=lambda one: one.gpu_hours, default=None)


class Simulation(Struct, frozen=True, kw_only=True):
    """What was simulated, and what came of it: all that a report says."""

    subject: str
    """The workload; empty without manifests."""
    policy: Policy
    service: Service
    requests: int
    load: str
    """In words: what comes when."""
    duration_s: float
    slo_s: float
    seed: int
    notes: list[str]
    """What is simulated otherwise than it is written."""
    measured: list[tuple[float, int]] | None = None
    """Of the same load, in a cluster: since when, and how many replicas; None if it was not."""
    outcomes: list[Outcome]

    def error_of(self, outcome: Outcome) -> Error | None:
        """Return how far off an outcome is; None if its threshold was not the measured one's."""
        ran = outcome.declared or len(self.outcomes) == 1
        if self.measured is None or not ran:
            return None
        return error(outcome.series.replicas, self.measured)
