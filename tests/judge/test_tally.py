"""What is counted of streams, at its edges; and in two parts, which add up to the whole."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from drainproof.judge.chaos import HISTORY, _conclude, judge_evidence
from drainproof.judge.evidence import tally_file
from drainproof.judge.latency import Latencies, _at
from drainproof.judge.scene import Life, Scene, Span
from drainproof.judge.streams import Effect, Outcome
from drainproof.judge.tally import (
    ABRUPT,
    Count,
    Tally,
    _excused,
    _moment,
    decided,
)
from drainproof.judge.verdict import MOST_FAILURES
from drainproof.streams.history import Ending, Gauge, Part, Sent, Stream, to_line
from tests.judge.story import ABORTED, HALF, SILENT, T0, WHOLE, Fate, Killed, Story, sequence
from tests.judge.test_causes import Case

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Record

# ── Streams in flight ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("gauge", "agrees"),
    [(None, True), (2.9, False), (3.0, True), (5.0, True), (9.0, True), (9.1, False)],
)
def test_a_gauge_agrees_within_two_streams_of_what_the_history_allows(
    gauge: float | None, *, agrees: bool
) -> None:
    assert Count(at=0.0, gauge=gauge, least=5, most=7).agree is agrees


def test_a_request_that_waits_in_the_engine_is_in_flight() -> None:
    waiting = Gauge(at=9.0, pod="a", running=2.0, waiting=3.0, error="")
    assert (_moment(Life("a"), 8.0, waiting).gauge, _moment(Life("a"), 8.0, waiting).at) == (5, 9)
    assert _moment(Life("a"), 8.0, None).gauge is None


def test_streams_in_flight_are_counted_second_by_second() -> None:
    story = Story(first=60, last=63, stream_s=2.0)
    flow = story.judged().in_flight
    assert flow is not None
    assert (flow.begin, flow.step_s, flow.counts) == (T0 + 60, 1, (1, 2, 3, 2, 1))


def test_a_stream_whose_end_or_beginning_is_not_known_is_not_in_flight() -> None:
    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        refused = {"raw": b"", "ending": Ending.REFUSED, "status": None, "sent": None}
        return (end, refused) if sent == 61.5 else None

    flow = Story(first=60, last=63, stream_s=2.0, fate=fate, lose=frozenset({0})).judged().in_flight
    assert flow is not None
    assert (flow.begin, flow.counts) == (T0 + 62, (1, 1, 1))


def test_without_streams_nothing_is_in_flight() -> None:
    assert Story(first=170).judged().in_flight is None


def test_a_long_run_is_told_in_steps_of_several_seconds() -> None:
    flow = Story(first=59, last=1400, stream_s=2.0, end=1300.0).judged().in_flight
    assert flow is not None
    assert (flow.begin, flow.step_s, len(flow.counts)) == (T0 + 59, 3, 448)
    assert flow.counts[:2] == (1, 3)


# ── What an abrupt fault excuses ────────────────────────────────────────────────────────────────


def stream(outcome: Outcome = Outcome.RESET, **changes: Any) -> StreamVerdict:  # noqa: ANN401 - fields of a verdict
    return msgspec.structs.replace(Case(cause="", outcome=outcome).stream(), **changes)


ON_A, ON_B = ("a",), ("b",)
EXCUSED = {
    # An answer is lost with the pod that it was on; the request may have been on its way.
    "on the victim": (Outcome.RESET, 110.0, 120.0, ON_A, True),
    "perhaps on the victim": (Outcome.RESET, 110.0, 120.0, ("a", "b"), True),
    "elsewhere": (Outcome.RESET, 110.0, 120.0, ON_B, False),
    "lost a second before": (Outcome.RESET, 110.0, 119.0, ON_A, True),
    "lost before that": (Outcome.RESET, 110.0, 118.9, ON_A, False),
    "sent two seconds later": (Outcome.RESET, 122.0, 123.0, ON_A, True),
    "sent after that": (Outcome.RESET, 122.1, 123.0, ON_A, False),
    "on the second victim": (Outcome.RESET, 122.1, 126.0, ("c",), True),
    # A new request may fail anywhere, until the time to recover has passed since the last hit.
    "refused": (Outcome.REFUSED, 119.9, 120.1, ON_B, True),
    "refused a second before": (Outcome.REFUSED, 119.0, 119.1, ON_B, True),
    "refused before that": (Outcome.REFUSED, 118.9, 119.1, ON_B, False),
    "refused at the end of that time": (Outcome.REFUSED, 135.0, 135.1, ON_B, True),
    "refused after it": (Outcome.REFUSED, 135.1, 135.2, ON_A, False),
    "sent to the victim before, and never answered": (Outcome.REFUSED, 110.0, 120.1, ON_A, True),
    "sent elsewhere before, and never answered": (Outcome.REFUSED, 110.0, 120.1, ON_B, False),
}


@pytest.mark.parametrize("name", EXCUSED)
def test_an_abrupt_fault_excuses_what_it_must_cost_and_no_more(name: str) -> None:
    outcome, sent, ended, pods, excused = EXCUSED[name]
    span = Span("f", 0, ABRUPT, 119.8, 10.0, stops=True)
    struck = {"a": 120.0, "c": 125.0}
    assert _excused(stream(outcome), sent, ended, pods, span, struck) is excused
    assert not _excused(stream(outcome), sent, ended, pods, span, {})


@pytest.mark.parametrize(
    ("outcome", "answered", "last", "ended", "expected"),
    [
        (Outcome.RESET, 101.0, 110.0, 140.0, 140),
        (Outcome.STALLED, 101.0, 110.0, 140.0, 115),
        (Outcome.STALLED, 101.0, 110.0, 112.0, 112),
        (Outcome.STALLED, 101.0, None, 140.0, 106),
        (Outcome.STALLED, None, None, 140.0, 105),
    ],
)
def test_a_stream_that_its_client_gave_up_failed_five_seconds_after_its_last_sign_of_life(
    outcome: Outcome, answered: float | None, last: float | None, ended: float, expected: float
) -> None:
    assert decided(stream(outcome, answered=answered, last_token=last), 100.0, ended) == expected


# ── Parts of a History ──────────────────────────────────────────────────────────────────────────


def tally_of(records: list[Record], share: int | None = None) -> Tally:
    """Count the streams with odd or with even numbers; else all."""
    tally = Tally(Scene(records))
    for place, record in enumerate(records):
        number = int(record.id[2:]) if isinstance(record, Sent | Part | Stream) else share
        if share is not None and number is not None and number % 2 != share:
            continue
        if verdict := tally.checker.take(record):
            tally.add(verdict, place)
    tally.left(len(records))
    return tally


def spoilt() -> dict[str, list[Record]]:
    """Return Histories of which each part has something that the other has less of."""

    def cut(at: float, odd: int, **spoil: Any) -> Any:  # noqa: ANN401 - how a stream ends
        """Let streams end so that are sent in odd seconds, or in even ones."""

        def fate(_pod: str, sent: float, end: float) -> Fate | None:
            if sent < at < end and int(sent) % 2 == odd:
                return at + 0.2 + sent / 1000, dict(spoil)
            return None

        return fate

    def late(odd: int) -> Any:  # noqa: ANN401 - how a stream ends
        def fate(_pod: str, sent: float, end: float) -> Fate | None:
            failed = {"raw": b"", "status": 500, "content_type": "application/json"}
            gap = {"waits": [0, 3_000_000], "sizes": [200, len(WHOLE) - 200]}
            if sent in {122.5 + odd, 127.5 - odd}:
                return sent + 0.1, failed
            return (end + 30 if sent == 130.5 + odd else end, gap if sent == 80.5 + odd else {})

        return fate

    both = (0, 1)
    stories: dict[str, Story] = {
        **{f"silent {odd}": Story(fate=cut(135, odd, raw=SILENT)) for odd in both},
        **{f"before {odd}": Story(fate=cut(90, odd, raw=HALF)) for odd in both},
        **{f"late {odd}": Story(prestop_s=0.0, fate=late(odd)) for odd in both},
        **{f"long {odd}": Story(fate=late(odd), exit_code=137) for odd in both},
        "one stream": Story(first=130, last=131),
        "killed": Killed(),
        "killed, silently": Killed(ending=Ending.COMPLETE),
        "killed, all on one part": Killed(first=61, gauge=lambda _at, running: running / 5),
        "killed, and never recovered": Killed(fate=cut(200, 0, raw=HALF), last=185, recover_s=0.2),
        "killed, and unserved": Killed(pause=(121.0, 139.0), last=140),
        "lost": Story(lose=frozenset({20, 31, 41})),
        "many": Story(last=400, end=420.0, fate=lambda _pod, sent, _end: (sent + 1, {"raw": HALF})),
        "no new request": Story(last=119),
    }
    told = {name: story.records() for name, story in stories.items()}
    aborted = Story(fate=cut(135, 0, raw=ABORTED), container_ended=136)
    told["two faults"] = sequence(aborted, Killed(index=1, t0=T0 + 400))
    told["strays"] = [
        *Story().records(),
        *(Part(id=f"9-{number}", waits=[], sizes=[], body=b"") for number in (1, 3)),
    ]
    return told


SPOILT = spoilt()


@pytest.mark.parametrize("name", SPOILT)
def test_parts_of_a_history_add_up_to_the_whole_whichever_is_first(name: str) -> None:
    records = SPOILT[name]
    whole = _conclude(tally_of(records)).to_json()
    for first, second in ((0, 1), (1, 0)):
        tally = tally_of(records, first)
        tally.merge(tally_of(records, second))
        assert _conclude(tally).to_json() == whole


def test_of_many_failed_streams_the_first_are_told_one_by_one() -> None:
    verdict = _conclude(tally_of(SPOILT["many"]))
    assert (len(verdict.failures), verdict.dropped) == (MOST_FAILURES, 301)
    ended = [failure.ended for failure in verdict.failures]
    assert ended == sorted(ended, key=lambda at: at or 0.0)


@pytest.mark.parametrize(("told", "listed"), [(3, 3), (1000, 301)])
def test_more_or_fewer_of_them_are_told_if_that_is_asked_for(
    tmp_path: Path, told: int, listed: int
) -> None:
    path = tmp_path / HISTORY
    path.write_bytes(b"".join(map(to_line, SPOILT["many"])))
    verdict, usual = (judge_evidence(path, told=most) for most in (told, MOST_FAILURES))
    assert (len(verdict.failures), verdict.dropped) == (listed, 301)
    assert verdict.failures[:3] == usual.failures[:3]
    assert verdict.failures == _conclude(tally_file(path, 2, told)).failures


# ── Latencies ───────────────────────────────────────────────────────────────────────────────────


def counted(begin: float, *, end: float | None = None, until: float = 300.0) -> Latencies:
    span = Span("f", 0, "graceful", begin, 0.0, stops=True, end=end)
    span.until = until
    return Latencies([span])


def seen(latencies: Latencies) -> list[tuple[int, int]]:
    """Return how many first tokens and how many further ones are counted in each period."""
    return [
        (one.ttft_s.streams, one.time_per_output_token_s.streams) for one in latencies.around(0)
    ]


def answer(due: float, first: float | None, last: float | None, **more: Any) -> StreamVerdict:  # noqa: ANN401 - fields of a verdict
    values = {"effect": Effect.WHOLE, "tokens": 5, **more}
    return stream(due=due, first_token=first, last_token=last, **values)


@pytest.mark.parametrize(
    ("due", "first", "last", "counts"),
    [
        (90.0, 91.0, 99.0, [(1, 1), (0, 0), (0, 0)]),
        (90.0, 91.0, 100.0, [(1, 0), (0, 1), (0, 0)]),
        (99.0, 100.0, 101.0, [(0, 0), (1, 1), (0, 0)]),
        (99.0, 130.0, 131.0, [(0, 0), (1, 0), (0, 1)]),
        (119.0, 121.0, 140.0, [(0, 0), (1, 0), (0, 1)]),
        (119.0, 119.5, 140.0, [(0, 0), (1, 1), (0, 0)]),
        (121.0, 122.0, 140.0, [(0, 0), (0, 0), (1, 1)]),
    ],
)
def test_what_touches_a_fault_is_counted_with_it(
    due: float, first: float, last: float, counts: list[tuple[int, int]]
) -> None:
    latencies = counted(100.0, end=120.0)
    latencies.add(answer(due, first, last), whole=True)
    assert seen(latencies) == counts


@pytest.mark.parametrize(
    ("first", "last", "tokens", "whole", "counts"),
    [
        (None, None, 5, True, (0, 0)),
        (91.0, 92.0, 5, False, (1, 0)),
        (91.0, 92.0, None, True, (1, 0)),
        (91.0, 92.0, 1, True, (1, 0)),
        (91.0, 92.0, 2, True, (1, 1)),
    ],
)
def test_only_whole_answers_of_several_tokens_have_a_time_between_two(
    first: float | None, last: float | None, tokens: int | None, counts: object, *, whole: bool
) -> None:
    latencies = counted(100.0, end=120.0)
    latencies.add(answer(90.0, first, last, tokens=tokens), whole=whole)
    assert seen(latencies)[0] == counts


@pytest.mark.parametrize(("end", "over"), [(None, 200.0), (120.0, 120.0), (250.0, 200.0)])
def test_a_fault_is_on_until_its_end_or_the_next_one(end: float | None, over: float) -> None:
    latencies = counted(100.0, end=end, until=200.0)
    latencies.add(answer(over - 0.1, over, over), whole=False)
    latencies.add(answer(over, over + 1, over + 1), whole=False)
    assert seen(latencies) == [(0, 0), (1, 0), (1, 0)]


def test_percentiles_are_those_of_the_ranks() -> None:
    assert _at(Counter(), 0) is None
    latencies = counted(100.0, end=120.0)
    for number in range(1, 101):
        latencies.add(answer(0.0, float(number), float(number)), whole=False)
    told = latencies.around(0)[0].ttft_s
    assert (told.p50, told.p95, told.p99) == pytest.approx((50, 95, 99), rel=0.006)
