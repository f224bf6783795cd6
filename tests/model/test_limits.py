"""Durations as proxies write them, and how a limit is mended."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.finding import Located
from drainproof.model.limits import Limit, seconds

WHERE = Located(kind="Ingress", namespace="inference", name="llama", object={})


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("60", 60),
        ("60s", 60),
        ("5m", 300),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1m30.5s", 90.5),
        ("0s", 0),
        ("infinity", math.inf),
        (" 10m ", 600),
    ],
)
def test_a_duration_is_read_as_proxies_read_it(written: str, expected: float) -> None:
    assert seconds(written) == pytest.approx(expected)


@pytest.mark.parametrize("written", ["", "soon", "10 minutes", "m", "5x", "nan", "-"])
def test_what_is_no_duration_is_not_guessed(written: str) -> None:
    assert seconds(written) is None


def test_a_number_without_a_unit_counts_in_the_unit_that_is_given() -> None:
    assert seconds("60000", unit_s=0.001) == pytest.approx(60)


@given(st.text(max_size=20))
def test_no_text_breaks_the_reading_of_a_duration(written: str) -> None:
    found = seconds(written)
    assert found is None or not math.isnan(found)


@pytest.mark.parametrize(
    ("unit", "expected"), [("s", "600s"), ("text", "600"), ("ms", "600000"), ("number", 600)]
)
def test_a_limit_is_mended_in_the_form_that_its_proxy_reads(unit: str, expected: str | int) -> None:
    limit = Limit(WHERE, "a.b", 60, whole=True, by="a proxy", written=True, unit=unit)
    assert limit.repaired(600) == {"a.b": expected}


def test_a_limit_that_is_elsewhere_is_not_mended() -> None:
    assert Limit(WHERE, "", 60, whole=True, by="it", written=False, unit="").repaired(600) == {}
