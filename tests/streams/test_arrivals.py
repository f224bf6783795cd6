"""Due times come from the seed alone."""

from __future__ import annotations

from itertools import chain, groupby, islice, pairwise

import pytest

from drainproof.streams.arrivals import PROCESSES, Pattern, due_times


def due(process: str, rate: float, duration_s: float, seed: int) -> list[float]:
    pattern = Pattern(process=process, rate_per_s=rate, duration_s=duration_s, seed=seed)
    return [at for _, at in due_times(pattern)]


def spread(times: list[float]) -> tuple[float, float]:
    """Return the mean of the gaps between times, and their standard deviation."""
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    return mean, (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    assert due("constant", 4.0, 1.0, 0) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_same_seed_gives_the_same_times(process: str) -> None:
    assert due(process, 50.0, 5.0, 7) == due(process, 50.0, 5.0, 7) != []


@pytest.mark.parametrize("process", sorted(set(PROCESSES) - {"constant"}))
def test_another_seed_gives_other_times(process: str) -> None:
    assert due(process, 50.0, 5.0, 8) != due(process, 50.0, 5.0, 7)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_users() -> None:
    times = [at for _, at in islice(due_times(Pattern(rate_per_s=5.0)), 20_000)]
    assert spread(times) == pytest.approx((0.2, 0.2), rel=0.05)


def test_a_ramp_rises_in_a_straight_line_and_stays() -> None:
    pattern = Pattern(process="ramp", rate_per_s=100.0, ramp_s=100.0, duration_s=200.0)
    times = [at for _, at in due_times(pattern)]
    quarters = [sum(low <= at < low + 50 for at in times) for low in (0, 50, 100, 150)]
    assert quarters == pytest.approx([1250, 3750, 5000, 5000], rel=0.1)


def test_bursts_bring_so_many_at_once() -> None:
    pattern = Pattern(process="burst", rate_per_s=10.0, burst=20, duration_s=100.0)
    times = [at for _, at in due_times(pattern)]
    assert {len(list(crowd)) for _, crowd in groupby(times)} == {20}


def test_bursts_have_the_mean_rate() -> None:
    assert len(due("burst", 10.0, 10_000.0, 0)) == pytest.approx(100_000, rel=0.1)


@pytest.mark.parametrize("process", PROCESSES)
def test_due_times_are_in_order(process: str) -> None:
    times = due(process, 50.0, 100.0, 1)
    assert times == sorted(times)


@pytest.mark.parametrize("process", PROCESSES)
def test_no_request_is_due_after_the_duration(process: str) -> None:
    assert all(0 <= at < 3.0 for at in due(process, 50.0, 3.0, 1))


@pytest.mark.parametrize("process", PROCESSES)
def test_clients_that_share_a_load_send_together_what_one_would(process: str) -> None:
    pattern = Pattern(process=process, rate_per_s=50.0, duration_s=20.0)
    shares = chain.from_iterable(due_times(pattern, part, 4) for part in range(4))
    assert sorted(shares) == list(due_times(pattern))


def test_each_client_of_a_shared_load_has_its_share_of_independent_users() -> None:
    times = [at for _, at in islice(due_times(Pattern(rate_per_s=40.0), 1, 4), 20_000)]
    assert spread(times) == pytest.approx((0.1, 0.1), rel=0.05)
