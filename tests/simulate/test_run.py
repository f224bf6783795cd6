from __future__ import annotations

from statistics import fmean

import pytest

from drainproof.simulate.series import error, reactions
from tests.simulate.runs import POLICY, load, pace, run


def test_a_burst_brings_replicas_and_they_are_ready_a_cold_start_later() -> None:
    series = run(load(2, 600), 600)
    asked = next(second for second, n in enumerate(series.replicas) if n > 1)
    ready = next(second for second, n in enumerate(series.ready) if n > 1)
    assert 60 <= ready - asked <= 61
    assert asked < 60


def test_a_threshold_that_is_too_high_never_scales() -> None:
    """Must fail for its user: the queue grows, and nothing happens."""
    series = run(load(2, 600), 600, threshold=100_000)
    assert set(series.replicas) == {1}
    assert series.waiting[-1] > 500
    assert series.share_over(30) > 0.9


def test_running_requests_never_exceed_a_threshold_at_the_batch_size() -> None:
    """Must fail as well: what DP404 says of a threshold on running requests."""
    series = run(load(2, 600), 600, threshold=4, follows=("running",))
    assert set(series.replicas) == {1}


def test_a_mean_of_the_queues_stops_asking_long_before_a_sum() -> None:
    """The module's query: with AverageValue a mean is divided by the threshold all the same."""
    total = run(load(3, 600), 600, threshold=60)
    mean = run(load(3, 600), 600, threshold=60, mean=True)
    assert max(mean.replicas) < max(total.replicas)


def test_a_lower_threshold_reacts_earlier_and_costs_more() -> None:
    low, high = (run(load(1, 1800), 1800, threshold=n) for n in (2, 40))
    assert sum(low.waiting) < sum(high.waiting)
    assert low.gpu_hours > high.gpu_hours


def test_no_replica_comes_faster_than_the_policy_says() -> None:
    slow = pace(("Pods", 1, 60))
    series = run(load(5, 900), 900, up=slow, down=pace(("Pods", 1, 60), window_s=300))
    n = series.replicas
    assert all(n[at + 60] - n[at] <= 1 for at in range(len(n) - 60))
    assert max(n) > 5


def test_scale_in_loses_no_stream_of_a_replica_that_goes() -> None:
    series = run(load(3, 600), 3600, down=pace(("Percent", 100, 15)), up=pace(("Pods", 9, 15)))
    assert max(series.replicas) > series.replicas[-1] == 1
    assert series.longest_drain_s > 0
    assert series.finished == series.requests


def test_gpus_are_paid_for_from_a_pods_creation() -> None:
    series = run([], 3600, least=2, most=2, gpus=4)
    assert series.gpu_hours == pytest.approx(8)
    loading = run(load(50, 120), 120, cold_start_s=7200)
    assert set(loading.ready) == {1}
    assert loading.gpu_hours * 3600 == pytest.approx(sum(loading.replicas), rel=0.05)


def test_from_zero_the_engines_own_metric_wakes_nothing() -> None:
    """Must fail: without a replica nobody exports the queue (DP405 says so too)."""
    series = run(load(1, 600), 600, least=0, keda=True)
    assert set(series.replicas) == {0}
    assert series.unrouted == series.requests > 0
    assert series.waiting[-1] == series.requests


def test_idle_replicas_go_a_cooldown_after_the_last_activity() -> None:
    series = run([], 900, least=0, keda=True, replicas=1, cooldown_s=300, polling_s=30)
    gone = series.replicas.index(0)
    assert 300 < gone <= 331


def test_cached_metrics_are_as_old_as_keda_s_last_look() -> None:
    quick = run(load(5, 600), 600, keda=True)
    slow = run(load(5, 600), 600, keda=True, cached=True, polling_s=300)
    first = [series.replicas.index(max(series.replicas)) for series in (quick, slow)]
    assert first[1] > first[0] + 60


def test_a_metric_is_up_to_a_scrape_old() -> None:
    """Where in its periods things happen is chance: over some runs the mean tells."""

    def asked_s(scrape_s: float) -> float:
        every = [run(load(5, 600), 600, scrape_s=scrape_s, seed=seed) for seed in range(10)]
        return fmean(reactions(series, POLICY).asked_s or 600 for series in every)

    assert asked_s(1) < 20
    assert asked_s(300) > 100


def test_probes_delay_a_replica_by_up_to_their_periods() -> None:
    series = run(load(5, 600), 600, probe_delay_s=90, probe_periods_s=(10, 20))
    found = reactions(series, POLICY)
    assert found.asked_s is not None
    assert found.ready_s is not None
    assert 90 <= found.ready_s - found.asked_s <= 121


def test_a_pod_s_way_to_its_node_comes_before_the_cold_start() -> None:
    found = reactions(run(load(5, 600), 600, schedule_s=100), POLICY)
    assert found.asked_s is not None
    assert found.ready_s is not None
    assert 160 <= found.ready_s - found.asked_s <= 161


def test_a_query_s_factor_counts() -> None:
    requests = load(2, 600)
    assert run(requests, 600, factor=3.0, threshold=15) == run(requests, 600, threshold=5)


def test_the_share_that_waited_longer_is_of_all_requests() -> None:
    series = run([0.1, 0.2, 0.3, 0.4, 1, 2], 60, least=1, most=1)  # two wait: 9.1 s and 8.2 s
    assert [series.share_over(s) for s in (-1, 0, 8.5, 10)] == [1, 2 / 6, 1 / 6, 0]
    assert [series.wait_s(share) for share in (0.5, 0.8, 0.99)] == pytest.approx([0, 8.2, 9.1])


def test_what_reacted_when_comes_in_that_order() -> None:
    found = reactions(run(load(1, 600), 3600), POLICY)
    assert found.over_threshold_s is not None
    assert found.asked_s is not None
    assert found.ready_s is not None
    assert found.empty_s is not None
    assert found.over_threshold_s < found.asked_s < found.ready_s < found.empty_s


def test_the_same_seed_is_the_same_run_and_another_one_another() -> None:
    requests = load(2, 300)
    assert run(requests, 300) == run(requests, 300)
    assert run(requests, 300) != run(requests, 300, seed=1)


# ── Against measured runs ───────────────────────────────────────────────────────────────────────


def test_a_run_is_not_off_from_itself() -> None:
    found = error([1, 1, 2, 2], [(0, 1), (2, 2)])
    assert (found.mean_replicas, found.most_replicas, found.first_scale_out_s) == (0, 0, 0)


def test_the_error_is_the_mean_difference_and_how_late_the_first_scale_out_is() -> None:
    found = error([1, 1, 1, 3, 3, 3, 3, 3], [(0, 1), (1.5, 2), (6, 3)])
    assert found.mean_replicas == pytest.approx((1 + 1 + 1 + 1) / 8)
    assert found.most_replicas == 1
    assert found.first_scale_out_s == 1


def test_without_a_scale_out_in_one_of_the_two_there_is_no_lateness() -> None:
    assert error([1, 1, 1], [(0, 1), (1, 2)]).first_scale_out_s is None
    assert error([1, 1, 1], [(0, 1)]).first_scale_out_s == 0
