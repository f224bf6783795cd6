from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from drainproof.simulate.fleet import Fleet
from tests.simulate.runs import SERVICE, at, run


def fleet(*times: float, replicas: int = 1, duration_s: float = 1000) -> Fleet:
    """Return replicas that are ready from the start; each stream takes 10 s, 4 run at once."""
    made = Fleet(SERVICE, at(*times), duration_s)
    for _ in range(replicas):
        made.set_ready(made.add(0), 0)
    return made


def test_requests_over_the_concurrency_wait_for_the_first_place() -> None:
    series = run([0.1, 0.2, 0.3, 0.4, 1, 2], 60, least=1, most=1)
    assert list(series.waits_s) == pytest.approx([8.2, 9.1])
    assert series.waiting[1:4] == [0, 1, 2]
    assert series.running[1] == 4


def test_a_stream_takes_its_prefill_and_its_tokens() -> None:
    series = run([0.5], 60, prefill_s=2)
    assert [series.running[second] for second in (0, 1, 12, 13)] == [0, 1, 1, 0]


def test_tokens_come_faster_for_a_stream_that_is_alone() -> None:
    alone = run([0.5], 60, tokens_per_second_alone=100)
    assert alone.running.index(1) == 1
    assert sum(alone.running) == 1
    full = run([0.1, 0.2, 0.3, 0.4], 60, tokens_per_second_alone=100)
    assert full.running[5] == 1  # the fourth found three others, and takes 10 s


def test_requests_are_spread_over_replicas_whether_they_are_busy_or_not() -> None:
    """kube-proxy does not know who is busy: with 80 places in all, some of 80 requests wait."""
    series = run([0.01 * n for n in range(80)], 60, least=20, most=20)
    assert series.waits_s != []


def test_replicas_that_load_get_no_requests() -> None:
    made = fleet(5, 6, 7, 8, 9)
    made.add(1)
    made.advance(10)
    assert len(made.ready[0].ends) == 4
    assert list(made.waits) == pytest.approx([6])


def test_those_that_load_go_first() -> None:
    made = fleet(replicas=2)
    loading = made.add(1)
    made.remove(1, 2)
    assert made.draining == [loading]
    made.set_ready(loading, 60)
    assert loading not in made.ready


def test_of_those_that_load_the_newest_goes() -> None:
    made = fleet()
    first, newest = made.add(1), made.add(2)
    made.remove(1, 3)
    assert (made.loading, made.draining) == ([first], [newest])


def test_of_those_that_are_ready_the_newest_by_order_of_magnitude_goes() -> None:
    made = fleet(replicas=3)
    newest = made.add(900)
    made.set_ready(newest, 960)
    made.remove(1, 1000)
    assert made.draining == [newest]


def test_a_replica_that_goes_finishes_all_that_it_was_given() -> None:
    made = fleet(0.1, 0.2, 0.3, 0.4, 0.5, replicas=1)
    made.advance(1)
    made.remove(1, 1)
    (gone,) = made.draining
    assert gone.gone_at == pytest.approx(20.1)
    assert gone.drained_s == pytest.approx(19.1)


def test_a_replica_without_streams_is_gone_after_its_prestop_hook() -> None:
    series = run([], 3600, least=0, keda=True, replicas=1, prestop_s=30, cooldown_s=60)
    removed = series.replicas.index(0)
    assert series.gpu_hours * 3600 == pytest.approx(removed + 30, abs=1)


def test_requests_that_find_no_replica_wait_for_the_first() -> None:
    made = fleet(1, 2, 3, replicas=0, duration_s=100)
    replica = made.add(0)
    made.set_ready(replica, 60)
    made.advance(61)
    assert list(made.waits) == [59, 58, 57]
    assert made.routed == 3


@settings(max_examples=60, deadline=None)
@given(
    times=some.lists(some.floats(0, 500), max_size=120).map(sorted),
    threshold=some.floats(0.5, 20),
    least=some.integers(0, 3),
    keda=some.booleans(),
    mean=some.booleans(),
    kind=some.sampled_from(["AverageValue", "Value", "Pods"]),
    seed=some.integers(0, 5),
)
def test_every_request_is_answered_or_still_there(  # noqa: PLR0913, PLR0917 - all that may differ
    times: list[float],
    threshold: float,
    least: int,
    keda: bool,  # noqa: FBT001 - Hypothesis gives it
    mean: bool,  # noqa: FBT001 - same
    kind: str,
    seed: int,
) -> None:
    """However replicas come and go, and whatever they had when they went."""
    series = run(
        at(*times), 400, seed=seed, threshold=threshold, least=least, keda=keda, mean=mean,
        metric_type=kind, cooldown_s=30, cold_start_s=20,
    )  # fmt: skip
    came = sum(time < 400 for time in times)
    assert series.requests == came
    assert series.finished + series.waiting[-1] + series.running[-1] == came
    assert min(series.waiting) >= 0
    assert min(series.running) >= 0
    assert all(least <= replicas <= 10 for replicas in series.replicas)
    assert all(r <= n for r, n in zip(series.ready, series.replicas, strict=True))
    assert list(series.waits_s) == sorted(series.waits_s)
