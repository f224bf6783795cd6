"""A simulation of what a chaos run measured, and how far off it is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.judge.chaos import HISTORY
from drainproof.simulate import measured
from drainproof.streams.history import Fault, Pod, Stream, pack_body, to_line, unpack_body
from tests.judge.climb import Climb
from tests.judge.story import T0, Story
from tests.simulate.test_command import ALONE, SERVICE, report, said

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.streams.history import Record


def evidence(folder: Path, records: list[Record]) -> Path:
    """Save a History as chaos does."""
    (folder / HISTORY).write_bytes(b"".join(map(to_line, records)))
    return folder


@pytest.fixture
def climb(tmp_path: Path) -> Path:
    return evidence(tmp_path, Climb().records())


def test_what_a_run_measured_is_taken_from_its_history(climb: Path) -> None:
    found = measured.read(climb / HISTORY)
    streams = [one for one in Climb().records() if isinstance(one, Stream)]
    assert len(found.arrivals) == len(streams)
    assert found.arrivals.times_s[0] == 0.0
    assert (found.cold_start_s, found.schedule_s) == (4.0, 1.0)  # 116 made, 117 runs, 121 ready
    begin = min(one.sent for one in streams if one.sent is not None)
    assert found.replicas == [(0.0, 1), (pytest.approx(T0 + 116 - begin), 2)]
    assert T0 + 130 <= begin + found.duration_s < T0 + 131


def test_how_far_off_the_prediction_is_is_said(climb: Path) -> None:
    options = ("--measured", climb, *ALONE[:4], "--thresholds", "2")
    found = report(*options)
    (outcome,) = found["thresholds"]
    assert found["measured"][0] == [0.0, 1]
    assert outcome["error"]["most_replicas"] >= 1
    text = said(*options)
    assert "requests: as measured in" in text
    assert "  measured: off by" in text


def test_a_threshold_that_was_not_measured_has_no_error(climb: Path) -> None:
    found = report("--measured", climb, *ALONE[:4], "--thresholds", "2,20")
    assert [one["error"] for one in found["thresholds"]] == [None, None]
    assert report("--rate", 1, *SERVICE, *ALONE)["measured"] is None


def without_new_pods(record: Record) -> bool:
    return not (isinstance(record, Pod) and record.name == "new")


BAD: dict[str, tuple[list[Record], str]] = {
    "another fault": (
        Story().records(),
        "expected a run of scale-out, scale-in, no-flapping, cold-start alone, found rollout",
    ),
    "no fault": (
        [one for one in Climb().records() if not isinstance(one, Fault)],
        "alone, found no fault",
    ),
    "no new pod": (
        [one for one in Climb().records() if without_new_pods(one)],
        "expected a new pod that became ready, found none",
    ),
    "no whole stream": (
        [one for one in Climb().records() if not isinstance(one, Stream)],
        "expected streams that came whole, found none",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_can_not_be_simulated_is_one_clear_error(tmp_path: Path, name: str) -> None:
    records, expected = BAD[name]
    with pytest.raises(UserError, match=expected):
        measured.read(evidence(tmp_path, records) / HISTORY)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--rate", 1), "brings its own requests"),
        (("--arrivals", "x.csv"), "brings its own requests"),
    ],
)
def test_a_run_that_was_measured_has_its_own_load(
    climb: Path, more: tuple[object, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        said("--measured", climb, *ALONE, *more)


def test_what_is_given_goes_before_what_was_measured(climb: Path) -> None:
    given = ("--cold-start", "7m", "--tokens", 50, "--tokens-per-second", 10, "--replicas", 2)
    found = report("--measured", climb, *ALONE, *given)
    service = found["service"]
    assert (service["cold_start_s"], service["tokens_per_second"]) == (420.0, 10.0)
    assert found["thresholds"][0]["series"]["replicas"][0] == 2


def test_an_answer_that_its_model_ends_early_has_the_tokens_that_came(tmp_path: Path) -> None:
    def stops(one: Record) -> Record:
        if not isinstance(one, Stream):
            return one
        body = unpack_body(one.body).replace(b'"length"', b'"stop"  ')
        return replace(one, body=pack_body(body), expected_tokens=None, max_tokens=4000)

    found = measured.read(evidence(tmp_path, list(map(stops, Climb().records()))) / HISTORY)
    fixed = tmp_path / "fixed"
    fixed.mkdir()
    same = measured.read(evidence(fixed, Climb().records()) / HISTORY)
    assert (found.tokens, found.tokens_per_second) == (same.tokens, same.tokens_per_second)
    assert max(found.arrivals.tokens) < 4000


def test_a_pace_is_of_the_tokens_after_the_first(climb: Path) -> None:
    one = next(one for one in Climb().records() if isinstance(one, Stream))
    assert one.sent is not None
    took_s = one.ended - one.sent - one.waits[0] / 1e6
    pace = ((one.expected_tokens or 0) - 1) / took_s
    assert measured.read(climb / HISTORY).tokens_per_second == pytest.approx(pace, rel=0.05)
