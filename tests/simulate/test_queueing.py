"""Waits agree with queueing theory, where there is a formula for them.

Each mean is taken over runs with seeds that are fixed, and has to be within three standard errors
of the formula: a right simulation would miss that with 3 seeds in 1,000, and these don't.
"""

from __future__ import annotations

import math
import statistics

import pytest

from drainproof.simulate.arrivals import of_lengths, poisson
from tests.simulate.runs import run

RUNS = 20
REQUESTS = 10_000


def erlang_c(load: float, places: int) -> float:
    """Return the probability that a request waits, of M/M/c with a load in Erlang."""
    terms = [load**n / math.factorial(n) for n in range(places)]
    last = load**places / math.factorial(places) / (1 - load / places)
    return last / (sum(terms) + last)


def mean_waits(rate: float, *, places: int, replicas: int, lengths: str) -> list[float]:
    """Return the mean wait of each run. A stream lasts a second on average."""
    found = []
    for seed in range(RUNS):
        duration_s = REQUESTS / rate
        requests = of_lengths(poisson(rate, duration_s, (), seed), 10, lengths, seed)
        series = run(
            requests, duration_s, seed=seed, least=replicas, most=replicas, concurrency=places
        )
        found.append(series.mean_wait_s)
    return found


def agrees(found: list[float], expected: float) -> bool:
    standard_error = statistics.stdev(found) / math.sqrt(len(found))
    return abs(statistics.fmean(found) - expected) <= 3 * standard_error


@pytest.mark.parametrize(("places", "busy"), [(1, 0.5), (4, 0.7), (8, 0.8), (32, 0.9)])
def test_one_replica_waits_as_erlang_c_says(places: int, busy: float) -> None:
    load = busy * places
    expected = erlang_c(load, places) / (places - load)
    assert agrees(mean_waits(load, places=places, replicas=1, lengths="exponential"), expected)


def test_replicas_with_queues_of_their_own_wait_as_each_of_them_alone() -> None:
    """What is routed at random is a Poisson stream for each: no replica helps another."""
    expected = erlang_c(2.8, 4) / (4 - 2.8)
    found = mean_waits(10 * 2.8, places=4, replicas=10, lengths="exponential")
    assert agrees(found, expected)
    one_queue = erlang_c(28, 40) / (40 - 28)
    assert not agrees(found, one_queue)


def test_answers_of_one_length_wait_half_as_long_as_pollaczek_and_khinchine_say() -> None:
    found = mean_waits(0.6, places=1, replicas=1, lengths="fixed")
    assert agrees(found, 0.6 / (1 - 0.6) / 2)


def test_the_share_that_waits_is_erlang_cs() -> None:
    shares = []
    for seed in range(RUNS):
        requests = of_lengths(poisson(2.8, REQUESTS / 2.8, (), seed), 10, "exponential", seed)
        series = run(requests, REQUESTS / 2.8, seed=seed, least=1, most=1)
        shares.append(series.share_over(0))
    assert agrees(shares, erlang_c(2.8, 4))
