"""Due times come from the seed alone."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from drainproof.streams.arrivals import PROCESSES, due_times


def test_constant_arrivals_are_evenly_spaced_from_the_start() -> None:
    assert list(due_times("constant", 4.0, 1.0, 0, "0")) == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_same_seed_gives_the_same_times(process: str) -> None:
    runs = [list(due_times(process, 10.0, 5.0, 7, "0")) for _ in range(2)]
    assert runs[0] == runs[1] != []


@pytest.mark.parametrize(("seed", "client"), [(8, "0"), (7, "1")])
def test_another_seed_or_client_gives_other_poisson_times(seed: int, client: str) -> None:
    assert list(due_times("poisson", 10.0, 5.0, seed, client)) != list(
        due_times("poisson", 10.0, 5.0, 7, "0")
    )


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_users() -> None:
    times = list(islice(due_times("poisson", 5.0, None, 0, "0"), 20_000))
    gaps = [after - before for before, after in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert (mean, spread) == pytest.approx((0.2, 0.2), rel=0.05)


@pytest.mark.parametrize("process", PROCESSES)
def test_no_request_is_due_after_the_duration(process: str) -> None:
    assert all(0 <= due < 3.0 for due in due_times(process, 50.0, 3.0, 1, "0"))
