"""A run over time: what is on which step, and that nothing that was lost is left out."""

from __future__ import annotations

import pytest

from drainproof.judge.timeline import MOST_PODS, Passed, Series, _Steps
from drainproof.streams.history import Endpoints, Gauge, Workload
from tests.judge.story import HALF, T0, Fate, Killed, Story
from tests.streams.bodies import answer

GRID = _Steps(begin=10.0, step_s=2.0, number=4)


def told(series: Series) -> dict[int, float]:
    """Return the values that are known, by their step."""
    return {step: value for step, value in enumerate(series) if value is not None}


@pytest.mark.parametrize(
    ("at", "step"), [(3, 0), (10, 0), (11.9, 0), (12, 1), (17.9, 3), (18, 3), (99, 3)]
)
def test_a_moment_is_on_one_step_and_what_is_outside_on_the_nearest(at: float, step: int) -> None:
    assert GRID.of(at) == step


def test_the_last_that_was_said_holds_until_something_else_is_said() -> None:
    assert GRID.last([(13.9, 3), (12, 2), (17, 5)]) == (None, 3, 3, 5)


def test_the_most_of_a_step_is_kept() -> None:
    assert GRID.most([(12, 4), (13, 1), (17, 5), (17.5, 6)]) == (None, 4, None, 6)


def test_the_longest_gap_of_a_second_is_kept_in_whichever_part_it_was() -> None:
    ours, theirs = Passed(), Passed()
    ours.gap(5.2, 1.0)
    ours.gap(5.9, 3.0)
    ours.gap(None, None)
    theirs.gap(5.5, 2.0)
    theirs.gap(6.5, 4.0)
    ours.lost[5] = 1
    theirs.lost[5] = 2
    ours.merge(theirs)
    assert (ours.gaps_s, ours.lost[5]) == ({5: 3.0, 6: 4.0}, 3)


def test_each_stream_that_failed_is_counted_when_it_ended_excused_or_before_the_fault() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 1, {"raw": HALF}) if sent in {70.5, 71.5} else None

    verdict = Killed(fate=fate).judged()
    timeline = verdict.timeline
    assert timeline is not None
    excused = verdict.faults[0].excused
    assert (verdict.failed_before, excused) == (2, 11)
    assert {step: n for step, n in enumerate(timeline.lost) if n} == {11: 1, 12: 1, 60: 11}


def test_nothing_is_lost_where_nothing_failed() -> None:
    timeline = Story().judged().timeline
    assert timeline is not None
    assert set(timeline.lost) == {0}


def test_the_longest_gap_is_told_where_it_began() -> None:
    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        if sent != 80.5:
            return None
        reads = [len(event) for event in answer(5)]
        # a tenth of a second between two events, and three seconds before the third
        micros = [100_000, 200_000, *(3_200_000 + step for step in range(len(reads) - 2))]
        return end, {"read_sizes": reads, "micros": micros}

    verdict = Story(fate=fate).judged()
    assert verdict.timeline is not None
    gaps = told(verdict.timeline.gaps_s)
    assert max(gaps, key=lambda step: gaps[step]) == 20
    assert gaps[20] == verdict.longest_gap_s == 3.0


def test_pods_are_told_by_their_own_gauges_what_waits_included() -> None:
    def gauge(at: float, pod: str, running: float | None, waiting: float | None) -> Gauge:
        return Gauge(at=T0 + at, pod=pod, running=running, waiting=waiting, error="")

    story = Story(gauge=lambda _at, _running: None)
    story.extra = [
        gauge(62, "old", 3, 4),
        gauge(63, "new", 2, None),
        gauge(64, "old", None, 9),
        gauge(62.5, "new", 1, 1),
    ]
    timeline = story.judged().timeline
    assert timeline is not None
    assert {one.pod: told(one.counts) for one in timeline.pods} == {
        "old": {2: 7},
        "new": {2: 2, 3: 2},
    }
    assert told(timeline.waiting) == {2: 5, 4: 9}


def test_the_busiest_pods_are_told_one_by_one_and_the_others_together() -> None:
    number = MOST_PODS + 2
    story = Story(gauge=lambda _at, _running: None)
    story.extra = [
        Gauge(at=T0 + 70, pod=f"pod-{n}", running=float(n), waiting=0.0, error="")
        for n in range(number)
    ]
    timeline = story.judged().timeline
    assert timeline is not None
    # the gauge of old told nothing, so three are left over
    assert timeline.others == 3
    *shown, rest = timeline.pods
    assert [one.pod for one in shown] == [f"pod-{n}" for n in range(2, number)]
    assert (rest.pod, told(rest.counts)) == ("", {10: 1.0})


def test_replicas_are_those_that_are_ready_and_those_that_are_wanted() -> None:
    def workload(at: float, replicas: int, wanted: int | None) -> Workload:
        return Workload(
            at=T0 + at,
            generation=1,
            observed_generation=1,
            replicas=replicas,
            updated=0,
            ready=0,
            available=0,
            wanted=wanted,
        )

    story = Story()
    story.extra = [workload(59, 1, None), workload(100.5, 1, 2), workload(160, 2, 1)]
    timeline = story.judged().timeline
    assert timeline is not None
    wanted = timeline.wanted
    assert (wanted[0], wanted[39], wanted[40], wanted[99], wanted[100]) == (1, 1, 2, 2, 1)
    ready = timeline.ready
    assert (ready[0], ready[58], ready[59], ready[60]) == (1, 1, 2, 1)


def test_a_pod_is_told_each_time_that_it_comes_to_be_ready() -> None:
    story = Story()
    story.extra = [Endpoints(at=T0 + at, ready=ready, terminating=[]) for at, ready in (
        (130, []), (140, ["new"]),
    )]  # fmt: skip
    timeline = story.judged().timeline
    assert timeline is not None
    assert [(one.at - T0, one.pod) for one in timeline.became_ready] == [
        (119, "new"), (140, "new"),
    ]  # fmt: skip
    assert timeline.became_ready_more == 0


def test_without_streams_there_is_no_timeline() -> None:
    assert Story(first=170).judged().timeline is None


def test_a_run_of_any_length_has_as_many_points_as_streams_in_flight() -> None:
    verdict = Story(first=59, last=1400, stream_s=2.0, end=1300.0).judged()
    assert verdict.in_flight is not None
    assert verdict.timeline is not None
    number = len(verdict.in_flight.counts)
    timeline = verdict.timeline
    lengths = {len(one) for one in (timeline.lost, timeline.gaps_s, timeline.ready)}
    assert lengths == {number} == {448}
