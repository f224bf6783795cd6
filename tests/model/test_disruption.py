"""Budgets and replica numbers, as Kubernetes' disruption controller counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.disruption import (
    MOST_REPLICAS,
    DisruptionBudget,
    budgets_for,
    replica_counts,
    selectless_budgets,
)
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNTS = st.integers(0, 12)
PERCENTS = st.integers(0, 100).map(lambda percent: f"{percent}%")


def budget(spec: Mapping[str, object], *, version: str = "policy/v1") -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"selector": {"matchLabels": {"app": "llama"}}, **spec},
    }


def read(spec: Mapping[str, object], *, version: str = "policy/v1") -> DisruptionBudget:
    return DisruptionBudget.from_object(budget(spec, version=version))


@pytest.mark.parametrize(
    ("spec", "replicas", "expected"),
    [
        ({"maxUnavailable": 1}, 3, 1),
        ({"maxUnavailable": 5}, 3, 3),
        ({"maxUnavailable": 0}, 3, 0),
        ({"maxUnavailable": "25%"}, 2, 1),
        ({"maxUnavailable": "51%"}, 2, 2),
        ({"minAvailable": 2}, 3, 1),
        ({"minAvailable": 3}, 3, 0),
        ({"minAvailable": "50%"}, 3, 1),
        ({"minAvailable": "34%"}, 3, 1),
        ({"minAvailable": "100%"}, 3, 0),
        ({}, 3, 3),
    ],
)
def test_how_many_may_go_is_counted_as_the_controller_does(
    spec: dict[str, Any], replicas: int, expected: int
) -> None:
    assert read(spec).evictable(replicas) == expected


@given(st.booleans(), st.one_of(COUNTS, PERCENTS), st.integers(0, 6), st.integers(0, 40))
def test_the_fewest_replicas_tell_of_all_others(
    least: bool,  # noqa: FBT001 - drawn by Hypothesis
    value: int | str,
    lowest: int,
    more: int,
) -> None:
    """The check looks at the three smallest numbers only."""
    found = read({"minAvailable" if least else "maxUnavailable": value})
    counts = range(lowest, lowest + more + 1)

    def wrong(numbers: range) -> bool:
        return any(
            (count > 0 and found.evictable(count) == 0)
            or (count > 1 and found.evictable(count) == count)
            for count in numbers
        )

    assert wrong(counts[:3]) == wrong(counts)


@pytest.mark.parametrize(
    ("selector", "selects"),
    [
        ({"matchLabels": {"app": "llama"}}, True),
        ({"matchLabels": {"app": "llama", "tier": "web"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["llama"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["llama"]}]}, False),
        ({"matchExpressions": [{"key": "canary", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "canary", "operator": "DoesNotExist"}]}, True),
        ({}, True),
        (None, False),
    ],
)
def test_a_budget_selects_pods_as_kubernetes_does(selector: object, selects: bool) -> None:  # noqa: FBT001 - a case
    snapshot = Snapshot.of([deployment(), budget({"maxUnavailable": 1, "selector": selector})])
    (workload,) = snapshot.workloads
    assert bool(budgets_for(snapshot, workload)) is selects


def test_an_empty_selector_selected_nothing_before_policy_v1() -> None:
    assert not read({"selector": {}}, version="policy/v1beta1").selects({"app": "llama"})


def test_a_budget_without_a_selector_is_found_by_its_namespace() -> None:
    snapshot = Snapshot.of([deployment(), budget({"maxUnavailable": 1, "selector": None})])
    (workload,) = snapshot.workloads
    assert [found.name for found in selectless_budgets(snapshot, workload)] == ["llama"]


def test_a_budget_without_a_selector_is_blamed_at_one_of_several_workloads() -> None:
    other = deployment()
    other["metadata"] = {**other["metadata"], "name": "other"}
    snapshot = Snapshot.of([deployment(), other, budget({"maxUnavailable": 1, "selector": None})])
    blamed = [len(selectless_budgets(snapshot, workload)) for workload in snapshot.workloads]
    assert blamed == [1, 0]


def test_a_budget_of_another_namespace_is_not_of_these_pods() -> None:
    other = budget({"maxUnavailable": 1})
    other["metadata"]["namespace"] = "training"
    snapshot = Snapshot.of([deployment(), other])
    (workload,) = snapshot.workloads
    assert budgets_for(snapshot, workload) == ()


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"maxUnavailable": "one"}, "spec.maxUnavailable"),
        ({"minAvailable": 1.5}, "spec.minAvailable"),
        ({"selector": []}, "spec.selector"),
        ({"selector": {"matchLabels": {"app": 1}}}, "spec.selector.matchLabels.app"),
        ({"unhealthyPodEvictionPolicy": 1}, "spec.unhealthyPodEvictionPolicy"),
    ],
)
def test_a_wrong_type_is_named_with_its_path(spec: dict[str, Any], path: str) -> None:
    with pytest.raises(ShapeError) as error:
        read(spec)
    assert error.value.path == path


def test_a_budget_that_cannot_be_read_is_a_problem_of_the_snapshot() -> None:
    snapshot = Snapshot.of([deployment(), budget({"maxUnavailable": "one"})])
    (workload,) = snapshot.workloads
    assert budgets_for(snapshot, workload) == ()
    assert [problem.path for problem in snapshot.problems] == ["spec.maxUnavailable"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, range(2, 4)),
        ({"minReplicaCount": 0, "maxReplicaCount": 1}, range(2)),
        ({"minReplicaCount": 5, "maxReplicaCount": 1}, range(5, 6)),
        ({"minReplicaCount": 1, "maxReplicaCount": 10**9}, range(1, MOST_REPLICAS + 1)),
    ],
)
def test_the_scaler_says_how_many_replicas_there_may_be(
    spec: dict[str, Any], expected: range
) -> None:
    snapshot = Snapshot.of([deployment(), scaled_object(**spec)])
    (workload,) = snapshot.workloads
    assert replica_counts(workload, snapshot.scalers_for(workload)) == expected


def test_without_a_scaler_there_are_as_many_replicas_as_written() -> None:
    (workload,) = Snapshot.of([deployment()]).workloads
    assert replica_counts(workload, ()) == range(2, 3)
