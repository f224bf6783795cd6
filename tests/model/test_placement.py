"""Which nodes a pod accepts and tolerates, as the scheduler decides it."""

from __future__ import annotations

from typing import Any

import pytest

from drainproof.model import placement
from drainproof.model.placement import Node, Requirement
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from drainproof.model.workload import Workload
from tests.manifests import deployment


def node(**labels: str) -> Node:
    return Node.from_object({"kind": "Node", "metadata": {"name": "n", "labels": labels}})


def placed(**pod: object) -> placement.Placement:
    raw = deployment()
    raw["spec"]["template"]["spec"].update(pod)
    return placement.of(Snapshot.of([raw]), Workload.from_object(raw))


def affinity(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": term} for term in terms]
            }
        }
    }


@pytest.mark.parametrize(
    ("operator", "values", "label", "holds"),
    [
        ("In", ("a", "b"), "a", True),
        ("In", ("a", "b"), "c", False),
        ("In", ("a",), None, False),
        ("NotIn", ("a",), "b", True),
        ("NotIn", ("a",), None, True),
        ("Exists", (), "x", True),
        ("Exists", (), None, False),
        ("DoesNotExist", (), None, True),
        ("Gt", ("4",), "8", True),
        ("Gt", ("4",), "4", False),
        ("Lt", ("4",), "2", True),
        ("Lt", ("4",), "many", False),
    ],
)
def test_a_requirement_holds_as_kubernetes_has_it(
    operator: str, values: tuple[str, ...], label: str | None, *, holds: bool
) -> None:
    labels = {} if label is None else {"key": label}
    assert Requirement("", "key", operator, values).holds(labels) is holds


def test_a_pod_that_asks_nothing_accepts_every_node() -> None:
    assert placed().accepts(node(zone="a"))


def test_a_node_selector_and_one_term_of_the_affinity_must_hold() -> None:
    found = placed(
        nodeSelector={"pool": "gpu"},
        affinity=affinity(
            [{"key": "zone", "operator": "In", "values": ["a"]}],
            [{"key": "zone", "operator": "In", "values": ["b"]}],
        ),
    )
    assert found.accepts(node(pool="gpu", zone="b"))
    assert not found.accepts(node(pool="gpu", zone="c"))
    assert not found.accepts(node(zone="a"))


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "nvidia.com/gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "nvidia.com/gpu", "value": "present"}, True),
        ({"key": "nvidia.com/gpu", "value": "true"}, False),
        ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "other", "operator": "Exists"}, False),
    ],
)
def test_a_toleration_matches_key_value_and_effect(
    toleration: dict[str, Any], *, tolerated: bool
) -> None:
    found = placed(tolerations=[toleration])
    assert found.tolerates("nvidia.com/gpu", "present", "NoSchedule") is tolerated


def test_a_taint_that_only_discourages_keeps_no_pod_off() -> None:
    taints = [{"key": "a", "effect": "PreferNoSchedule"}, {"key": "b", "effect": "NoExecute"}]
    found = Node.from_object({"metadata": {}, "spec": {"taints": taints}})
    assert found.taints == (("b", "", "NoExecute"),)


def test_a_selector_of_a_wrong_type_is_refused() -> None:
    with pytest.raises(ShapeError, match="nodeSelector"):
        placed(nodeSelector={"gpu": True})
