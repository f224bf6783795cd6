"""The HorizontalPodAutoscaler's algorithm, by the words and examples of its documentation.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/: "Algorithm
details", "Scaling policies", "Stabilization window", "Default behavior". The expected numbers were
worked out by hand from those words, and are not of its tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as some

from drainproof.simulate.hpa import SYNC_S, Hpa, wanted
from tests.simulate.runs import pace

if TYPE_CHECKING:
    from drainproof.model.scaler import Pace

DEFAULT_UP = pace(("Percent", 100, 15), ("Pods", 4, 15))
DEFAULT_DOWN = pace(("Percent", 100, 15), window_s=300)


# ── The formula ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "replicas", "expected"),
    [
        (0.2, 3, 6),  # the documentation's 200m where 100m is desired: doubled
        (0.05, 6, 3),  # its 50m: halved
        (0.11, 4, 4),  # within the tolerance of 0.1
        (0.09, 4, 4),
        (0.111, 4, 5),  # 4.44, and it is rounded up
        (0.089, 4, 4),  # 3.56, up again
        (0.07, 4, 3),  # 2.8
    ],
)
def test_a_value_changes_the_number_of_replicas_by_its_ratio(
    value: float, replicas: int, expected: int
) -> None:
    assert wanted("Value", value, 0.1, replicas=replicas, ready=replicas) == expected


@pytest.mark.parametrize(
    ("value", "replicas", "expected"),
    [
        (10, 1, 2),  # 5 for each
        (11, 2, 2),  # 5.5 for each is 1.1 of it: within the tolerance
        (11.1, 2, 3),
        (9, 2, 2),
        (8.9, 2, 2),  # 1.78, rounded up
        (5, 2, 1),
        (0, 7, 0),  # the minimum is not the formula's affair
        (5000, 10, 1000),
        (12, 0, 3),
    ],
)
def test_an_average_value_is_divided_by_the_threshold(
    value: float, replicas: int, expected: int
) -> None:
    assert wanted("AverageValue", value, 5, replicas=replicas, ready=replicas) == expected


def test_a_value_counts_only_replicas_that_are_ready() -> None:
    assert wanted("Value", 20, 5, replicas=8, ready=2) == 8
    assert wanted("Value", 10, 5, replicas=8, ready=2) == 4


def test_an_average_value_does_not_care_how_many_are_ready() -> None:
    assert wanted("AverageValue", 20, 5, replicas=8, ready=2) == 4


@pytest.mark.parametrize(
    ("total", "replicas", "ready", "expected"),
    [
        (20, 2, 2, 4),  # 10 for each, 5 wanted
        (20, 4, 2, 4),  # "missing" pods count as 0 on the way up: 5 for each of 4
        (40, 4, 2, 8),
        (12, 4, 2, 4),  # 6 for each, but 3 for each of 4 would turn up into down
        (2, 4, 2, 3),  # "100 % of the desired value" on the way down: 12 of 20 for 4
        (4, 1, 0, 1),  # nobody says anything
    ],
)
def test_of_pods_that_load_the_safe_value_is_assumed(
    total: float, replicas: int, ready: int, expected: int
) -> None:
    assert wanted("Pods", total, 5, replicas=replicas, ready=ready) == expected


def test_less_than_a_thousandth_is_nothing() -> None:
    assert wanted("AverageValue", 0.0004, 0.001, replicas=1, ready=1) == 0


# ── Policies ────────────────────────────────────────────────────────────────────────────────────


def path(
    hpa: Hpa, replicas: int, asked: int | list[int], steps: int, every_s: float = SYNC_S
) -> list[int]:
    """Return the number of replicas after each of some looks."""
    found = []
    for step in range(steps):
        one = asked if isinstance(asked, int) else asked[min(step, len(asked) - 1)]
        replicas = hpa.decide(step * every_s, replicas, one)
        found.append(replicas)
    return found


def hpa(up: Pace = DEFAULT_UP, down: Pace = DEFAULT_DOWN, least: int = 1, most: int = 100) -> Hpa:
    return Hpa(least, most, up, down)


def test_80_replicas_go_by_10_percent_and_then_by_4_pods() -> None:
    """The documentation's example: the policy that changes most counts.

    Of 80 go 8, of 72 go 8 (7.2, rounded up), … and at 40 and fewer 4 pods are more than 10 %.
    """
    down = pace(("Pods", 4, 60), ("Percent", 10, 60))
    found = path(hpa(down=down), 80, 10, 14, every_s=60)
    assert found == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10]


def test_of_several_policies_the_one_that_changes_least_can_be_chosen() -> None:
    """'allows … 5 Pods or 10 %, whichever is less, per minute'."""
    down = pace(("Percent", 10, 60), ("Pods", 5, 60), select="Min")
    assert path(hpa(down=down), 80, 10, 4, every_s=60) == [75, 70, 65, 60]
    assert path(hpa(down=down), 40, 10, 3, every_s=60) == [36, 32, 28]


def test_a_policy_counts_what_changed_within_its_period() -> None:
    up = pace(("Pods", 2, 60))
    assert path(hpa(up=up), 1, 50, 9) == [3, 3, 3, 3, 5, 5, 5, 5, 7]


def test_what_came_within_the_period_may_go_again_beside_what_the_policy_lets_go() -> None:
    quick = hpa(up=pace(("Pods", 10, 15)), down=pace(("Pods", 1, 60)))
    assert path(quick, 5, [10, 10, 1], 3) == [10, 10, 9 - 5]


def test_disabled_means_that_nothing_changes() -> None:
    off = pace(("Pods", 9, 15), select="Disabled")
    assert path(hpa(up=off), 3, 9, 5) == [3] * 5
    assert path(hpa(down=off), 3, 1, 30) == [3] * 30


def test_by_default_4_pods_or_as_many_as_there_are_come_every_15_s() -> None:
    assert path(hpa(), 1, 100, 6) == [5, 10, 20, 40, 80, 100]


def test_without_behavior_the_number_doubles_or_becomes_4() -> None:
    assert path(Hpa(1, 100, None, None), 1, 100, 7) == [4, 8, 16, 32, 64, 100, 100]


def test_without_behavior_all_go_at_once_after_5_minutes() -> None:
    found = path(Hpa(1, 100, None, None), 10, [10, 1], 24)
    assert found[:21] == [10] * 21
    assert found[21:] == [1] * 3


def test_bounds_hold_whatever_policies_say() -> None:
    assert path(hpa(least=5, most=20), 1, 1, 1) == [5]
    assert path(hpa(most=20), 50, 100, 1) == [20]


def test_none_stays_none_where_the_minimum_is_more() -> None:
    assert path(hpa(), 0, 50, 4) == [0] * 4


# ── Windows ─────────────────────────────────────────────────────────────────────────────────────


def test_on_the_way_down_the_highest_of_the_window_counts() -> None:
    """'all desired states from the past 5 minutes will be considered'."""
    found = path(hpa(), 8, [8, 6, 2], 22)
    assert found[:20] == [8] * 20  # what was asked 300 s ago counts no more
    assert found[20:] == [6, 2]


def test_on_the_way_up_the_lowest_of_the_window_counts() -> None:
    slow = hpa(up=pace(("Pods", 100, 15), window_s=60))
    assert path(slow, 1, [9, 9, 5, 9, 9, 9, 9], 7) == [1, 1, 1, 1, 5, 5, 9]


def test_a_spike_within_the_window_adds_nothing() -> None:
    slow = hpa(up=pace(("Pods", 100, 15), window_s=60))
    assert path(slow, 1, [1, 9, 9, 1, 1, 1], 6) == [1] * 6


# ── Whatever is asked ───────────────────────────────────────────────────────────────────────────

RULES = some.lists(
    some.tuples(
        some.sampled_from(["Pods", "Percent"]), some.integers(1, 150), some.integers(1, 90)
    ),
    min_size=1,
    max_size=3,
)
PACES = some.builds(
    lambda rules, window_s, select: pace(*rules, window_s=window_s, select=select),
    RULES,
    some.integers(0, 120),
    some.sampled_from(["Max", "Min", "Disabled"]),
)
ASKED = some.lists(some.integers(0, 300), min_size=1, max_size=60)


@given(
    up=some.none() | PACES,
    down=PACES,
    asked=ASKED,
    least=some.integers(1, 20),
    spare=some.integers(0, 80),
)
def test_replicas_are_always_within_the_bounds(
    up: Pace | None, down: Pace, asked: list[int], least: int, spare: int
) -> None:
    one = Hpa(least, least + spare, up, None if up is None else down)
    found = path(one, least, asked, len(asked))
    assert all(least <= replicas <= least + spare for replicas in found)


@given(rate=some.integers(1, 20), period_s=some.integers(1, 120), asked=ASKED)
def test_replicas_come_no_faster_than_the_policy_allows(
    rate: int, period_s: int, asked: list[int]
) -> None:
    """In every period, as many may come as the policy says, and those that went within it."""
    off = pace(("Pods", 1, 15), select="Disabled")
    found = [1, *path(Hpa(1, 300, pace(("Pods", rate, period_s)), off), 1, asked, len(asked))]
    looks = max(1, -(-period_s // int(SYNC_S)))
    assert all(later - before <= rate for before, later in zip(found, found[looks:], strict=False))


@given(rate=some.integers(1, 20), period_s=some.integers(1, 120), asked=ASKED)
def test_replicas_go_no_faster_than_the_policy_allows(
    rate: int, period_s: int, asked: list[int]
) -> None:
    off = pace(("Pods", 1, 15), select="Disabled")
    found = [300, *path(Hpa(1, 300, off, pace(("Pods", rate, period_s))), 300, asked, len(asked))]
    looks = max(1, -(-period_s // int(SYNC_S)))
    assert all(before - later <= rate for before, later in zip(found, found[looks:], strict=False))
