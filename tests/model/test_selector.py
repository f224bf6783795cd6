"""Label selectors select as Kubernetes' do."""

from __future__ import annotations

from typing import Any

import pytest

from drainproof.model.selector import Selector
from drainproof.model.shape import ShapeError


def selector(**fields: Any) -> Selector:  # noqa: ANN401 - a manifest
    return Selector.read({"selector": fields}, "selector", "spec")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [({"app": "a"}, True), ({"app": "b"}, False), ({}, False), ({"app": "a", "x": "y"}, True)],
)
def test_match_labels_asks_for_every_pair(labels: dict[str, str], *, expected: bool) -> None:
    assert selector(matchLabels={"app": "a"}).selects(labels) is expected


@pytest.mark.parametrize(
    ("operator", "values", "selected"),
    [
        ("In", ["a", "b"], [True, False, False]),
        ("NotIn", ["a", "b"], [False, True, True]),
        ("Exists", [], [True, True, False]),
        ("DoesNotExist", [], [False, False, True]),
    ],
)
def test_match_expressions_mean_what_kubernetes_says(
    operator: str, values: list[str], selected: list[bool]
) -> None:
    asked = selector(matchExpressions=[{"key": "app", "operator": operator, "values": values}])
    assert [asked.selects(one) for one in ({"app": "a"}, {"app": "c"}, {})] == selected


def test_an_empty_selector_selects_everything() -> None:
    assert selector().selects({"app": "a"})


def test_one_that_is_absent_is_told_from_an_empty_one() -> None:
    assert not Selector.read({}, "selector", "spec").written
    assert selector().written


def test_a_wrong_type_names_its_field() -> None:
    with pytest.raises(ShapeError, match=r"selector\.matchExpressions"):
        selector(matchExpressions={"key": "app"})
