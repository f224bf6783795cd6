from __future__ import annotations

import pytest

from drainproof.model.quantity import Share, gibibytes, quantity
from drainproof.model.shape import ShapeError


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("8Gi", 8 * 2**30),
        ("1.5Gi", 1.5 * 2**30),
        ("512Mi", 2**29),
        ("1G", 10**9),
        ("500m", 0.5),
        ("1e3", 1000),
        ("2", 2),
        (2, 2),
        (0.5, 0.5),
        ("9007199254740993", 9007199254740992),
    ],
)
def test_quantities_are_read_as_kubernetes_does(written: object, number: float) -> None:
    assert quantity(written, "x") == number


@pytest.mark.parametrize("written", ["8Gib", "", "Gi", "8 Gi", "1e9999", None, True, [], "८Gi x"])
def test_what_is_no_quantity_is_named_with_its_path(written: object) -> None:
    with pytest.raises(ShapeError, match=r"spec\.limit: expected a quantity"):
        quantity(written, "spec.limit")


def test_sizes_are_written_for_people() -> None:
    assert gibibytes(2**33) == "8 Gi"
    assert gibibytes(64 * 2**20) == "64 Mi"


@pytest.mark.parametrize(
    ("value", "replicas", "down", "up"),
    [("25%", 3, 0, 1), ("25%", 4, 1, 1), ("25%", 5, 1, 2), (2, 10, 2, 2), ("100%", 7, 7, 7)],
)
def test_a_percentage_is_rounded_down_for_missing_and_up_for_extra_pods(
    value: object, replicas: int, down: int, up: int
) -> None:
    share = Share(value, "x")
    assert (share.of(replicas, up=False), share.of(replicas, up=True)) == (down, up)


@pytest.mark.parametrize("value", ["1", "a%", "%", 1.5, None, True])
def test_what_is_neither_a_count_nor_a_percentage_is_named(value: object) -> None:
    with pytest.raises(ShapeError):
        Share(value, "x")
