from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.metrics import Histogram, Metrics

BOUNDS = (0.1, 0.5, 1.0, math.inf)


def histogram(*counts: float) -> Histogram:
    return Histogram.of(dict(zip(BOUNDS, counts, strict=True)))


@pytest.mark.parametrize(
    ("share", "seconds"), [(0.5, 0.1), (0.75, 0.3), (0.95, 0.46), (1.0, 0.5), (0.25, 0.05)]
)
def test_a_quantile_is_interpolated_between_bounds(share: float, seconds: float) -> None:
    found, at_least = histogram(50, 100, 100, 100).quantile(share)
    assert found == pytest.approx(seconds)
    assert not at_least


def test_what_is_over_the_last_bound_is_known_only_to_be_over_it() -> None:
    assert histogram(50, 60, 60, 100).quantile(0.99) == (1.0, True)


def test_a_histogram_without_observations_has_no_quantile() -> None:
    assert math.isnan(histogram(0, 0, 0, 0).quantile(0.5)[0])
    assert math.isnan(Histogram(()).quantile(0.5)[0])


def test_the_first_metric_with_observations_is_taken() -> None:
    from drainproof.model.running import Pod  # noqa: PLC0415 - only to name the pod

    raw = {"kind": "Pod", "metadata": {"namespace": "n", "name": "p"}}
    pod = Pod.from_object(raw)
    both = {"empty": {"n/p": histogram(0, 0, 0, 0)}, "full": {"n/p": histogram(1, 2, 3, 4)}}
    metrics = Metrics("x", 0.0, 60, histograms=both)
    assert metrics.histogram(["missing", "empty", "full"], [pod]).count == 4


counts = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(
    lambda steps: tuple(float(sum(steps[: at + 1])) for at in range(4))
)


@given(counts, st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_larger_share_never_takes_less_time(
    cumulated: tuple[float, ...], one: float, other: float
) -> None:
    found = histogram(*cumulated)
    if found.count == 0:
        return
    low, high = sorted((one, other))
    assert found.quantile(low)[0] <= found.quantile(high)[0] + 1e-9


@given(counts, counts)
def test_histograms_of_two_pods_add_up(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    together = Histogram.together([histogram(*one), histogram(*other)])
    assert together.count == one[-1] + other[-1]
