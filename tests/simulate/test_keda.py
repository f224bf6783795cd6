"""KEDA's own steps, by the words of its documentation.

https://keda.sh/docs/latest/reference/scaledobject-spec/: ``cooldownPeriod`` "only applies when
scaling to 0", ``idleReplicaCount``, ``minReplicaCount``; "Activating and Scaling thresholds": the
scaler is active if its value is *greater than* the activation value.
"""

from __future__ import annotations

import pytest

from drainproof.simulate.keda import Keda


def keda(*, least: int = 0, idle: int | None = None, activation: float = 0) -> Keda:
    return Keda(least, idle, activation, cooldown_s=300)


@pytest.mark.parametrize(("value", "replicas"), [(0, 0), (2, 0), (2.1, 1)])
def test_the_first_replica_comes_when_the_value_is_over_the_activation(
    value: float, replicas: int
) -> None:
    assert keda(activation=2).decide(30, 0, value) == replicas


def test_the_last_replica_goes_a_cooldown_after_the_last_activity() -> None:
    one = keda()
    assert one.decide(100, 1, 1) == 1
    assert one.decide(390, 1, 0) == 1
    assert one.decide(400, 1, 0) == 1  # not before it is over
    assert one.decide(401, 1, 0) == 0


def test_all_replicas_go_at_once_to_zero() -> None:
    assert keda().decide(301, 7, 0) == 0


def test_with_a_minimum_it_leaves_the_way_down_to_the_hpa() -> None:
    assert keda(least=1).decide(1000, 7, 0) == 7


def test_too_few_become_the_minimum() -> None:
    assert keda(least=3).decide(30, 1, 0) == 3


def test_from_idle_it_goes_to_the_minimum_and_back() -> None:
    one = keda(least=2, idle=0)
    assert one.decide(30, 0, 1) == 2
    assert one.decide(60, 5, 0) == 5
    assert one.decide(331, 5, 0) == 0
