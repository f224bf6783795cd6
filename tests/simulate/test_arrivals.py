from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.simulate.arrivals import Burst, of_lengths, poisson, read

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace.csv"


def test_requests_come_at_the_rate_and_gaps_are_as_their_mean() -> None:
    times = poisson(10, 10_000, (), 0)
    gaps = [later - before for before, later in pairwise(times)]
    assert len(times) == pytest.approx(100_000, rel=0.01)
    assert statistics.stdev(gaps) == pytest.approx(0.1, rel=0.02)


def test_a_burst_comes_on_top_and_ends_with_the_run() -> None:
    times = poisson(1, 1000, [Burst(9, 100, 200), Burst(50, 990, 100)], 0)
    assert list(times) == sorted(times)
    assert sum(100 <= at < 300 for at in times) == pytest.approx(2000, rel=0.1)
    assert max(times) < 1000


def test_more_requests_than_can_be_simulated_are_an_error() -> None:
    with pytest.raises(UserError, match="at most 20,000,000 requests, found 100,000,000"):
        poisson(100_000, 1000, (), 0)


def test_answers_have_one_length_or_one_on_average() -> None:
    times = poisson(10, 10_000, (), 0)
    assert set(of_lengths(times, 300, "fixed", 0).tokens) == {300}
    lengths = of_lengths(times, 300, "exponential", 0).tokens
    assert statistics.fmean(lengths) == pytest.approx(300, rel=0.02)
    assert statistics.stdev(lengths) == pytest.approx(300, rel=0.02)


def test_a_trace_of_seconds_is_taken_as_it_is(trace: Path) -> None:
    trace.write_text("0.5\n0.5\n7\n")
    assert list(read(trace, 0)) == [0.5, 0.5, 7]


def test_a_row_s_requests_come_before_the_next_row_s(trace: Path) -> None:
    trace.write_text("seconds,requests\n0,3\n\n60,0\n120,2\n")
    times = read(trace, 0)
    assert len(times) == 5
    assert all(at < 60 for at in times[:3])
    assert all(120 <= at < 180 for at in times[3:])


def test_seconds_since_1970_count_from_the_first(trace: Path) -> None:
    trace.write_text("1800000000\n1800000002.5\n")
    assert list(read(trace, 0)) == [0, 2.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected arrivals, found none"),
        ("seconds\n", "expected arrivals, found none"),
        ("0\nsoon\n", ":2: expected numbers, found 'soon'"),
        ("0,1,2\n", ":1: expected numbers, found '0,1,2'"),
        ("0,1.5\n", ":1: expected whole requests"),
        ("0,-1\n", ":1: expected whole requests"),
        ("-1\n", ":1: expected whole requests at a time of 0 or later"),
        ("0\nnan\n", ":2: expected numbers"),
        ("5\n4\n", ":2: expected seconds in order, found 4 after 5"),
        ("0,99999999999\n", "expected at most 20,000,000 requests"),
        ("\0\n", "expected"),
    ],
)
def test_what_is_no_trace_says_where_and_why(trace: Path, text: str, said: str) -> None:
    trace.write_text(text)
    with pytest.raises(UserError, match=said):
        read(trace, 0)


def test_a_trace_that_is_not_there_or_no_text_is_an_error(trace: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read(trace, 0)
    trace.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="expected CSV"):
        read(trace, 0)
