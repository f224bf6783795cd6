"""How a run stands while it goes on: the numbers are the judge's, and none of them is a verdict."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.faults import so_far
from drainproof.faults.observe import View
from drainproof.faults.so_far import SlowError, SoFar
from drainproof.judge.chaos import judge
from drainproof.judge.streams import judge_streams
from drainproof.streams.history import Ending, Fault, Gauge, Pod, Sent
from tests.judge.story import HALF, Story
from tests.report.runs import cut, three
from tests.streams.bodies import answer, recorded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drainproof.progress import Row
    from drainproof.streams.history import Record
    from tests.judge.story import Fate


@pytest.fixture
def view(tmp_path: Path) -> Iterator[View]:
    made = View(tmp_path / "history.jsonl")
    yield made
    made.close()


def told(view: View, records: Iterable[Record], *faults: str) -> dict[str, Row]:
    """Return the rows once the run has got as far as these records."""
    found = SoFar(view, faults or ("rollout",), "vllm")
    for record in records:
        view.add(record)
    return {row.label: row for row in found.rows()}


def pod(name: str, event: str = "ADDED", *, ready: bool = True, gone: bool = False) -> Pod:
    return Pod(
        at=1.0,
        event=event,
        name=name,
        uid=name,
        node="n",
        phase="Running",
        ready=ready,
        deletion_at=1.0 if gone else None,
        grace_s=30 if gone else None,
        containers=[],
    )


def gauge(name: str, waiting: float | None, error: str = "") -> Gauge:
    return Gauge(at=1.0, pod=name, running=1.0, waiting=waiting, error=error)


def fault(phase: str, index: int = 0, at: float = 1.0, cost: str = "graceful") -> Fault:
    return Fault(at=at, fault="rollout", phase=phase, detail="", index=index, cost=cost)


def early(story: Story, until: float) -> list[Record]:
    """Return what is known so many seconds after the story's beginning."""
    at = story.t0 + until
    return [one for one in story.records() if getattr(one, "ended", getattr(one, "sent", 0)) < at]


def test_streams_are_counted_as_they_are_judged(view: View) -> None:
    records = cut().records()
    effects = Counter(stream.effect.value for stream in judge_streams(records))
    assert effects == {"whole": 106, "dropped": 4}
    row = told(view, records)["streams"]
    assert row.words == "0 in flight, 110 ended: 106 whole, 4 cut off (4 silently)"
    assert row.alarm


def test_a_stream_that_fills_the_context_is_whole_as_it_is_for_the_judge(view: View) -> None:
    filled = b"".join(answer(4, prompt=6))
    story = Story(fate=lambda _pod, _sent, end: (end, {"raw": filled}), context=10)
    row = told(view, story.records())["streams"]
    assert row.words == "0 in flight, 110 ended: 110 whole, 0 cut off"


def test_streams_in_flight_are_those_that_were_sent_and_have_not_ended(view: View) -> None:
    """One begins each second from 60 s on and takes 20 s."""
    row = told(view, early(Story(), 95))["streams"]
    assert row.words == "20 in flight, 15 ended: 15 whole, 0 cut off"
    assert not row.alarm


def test_requests_that_no_connection_was_made_for_failed_and_are_not_in_flight(view: View) -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        gone: dict[str, Any] = {
            "connected": None,
            "sent": None,
            "answered": None,
            "ending": "refused",
        }
        gone |= {"status": None, "content_type": "", "raw": b""}
        return (sent, gone) if sent < 62 else None

    row = told(view, early(Story(fate=fate), 70))["streams"]
    assert row.words == "8 in flight, 2 ended: 0 whole, 2 new requests failed"


def test_a_loss_counts_to_the_fault_that_the_judge_counts_it_to(view: View) -> None:
    records = three()
    judged = [(fault.dropped, fault.not_served) for fault in judge(lambda: records).faults]
    assert judged == [(4, 0), (4, 0), (10, 1)]
    row = told(view, records, "rollout", "evict", "container-kill")["so far"]
    assert row.words == (
        "rollout: 4 cut off; evict: 4 cut off; "
        "container-kill: 10 cut off, 1 new request failed (may cost those on its victims) "
        "(no verdict yet)"
    )
    assert row.alarm


def test_a_stream_that_fell_silent_counts_to_the_fault_that_was_on_then(view: View) -> None:
    """Its client gives it up a minute later, when the next fault has begun."""
    silent = recorded(
        HALF,
        ending=Ending.STALLED,
        due=100.0,
        connected=100.0,
        sent=100.0,
        answered=100.1,
        ended=161.0,
    )
    records: list[Record] = [
        fault("begin", 0, 99.0),
        fault("end", 0, 120.0),
        fault("begin", 1, 150.0),
        silent,
    ]
    words = "rollout: 1 cut off (no verdict yet)"
    assert told(view, records, "rollout", "evict")["so far"].words == words


def test_nothing_is_said_of_a_fault_that_is_not_over(view: View) -> None:
    assert "so far" not in told(view, [fault("begin"), fault("hit")])


def test_many_faults_that_lost_nothing_are_counted_not_named(view: View) -> None:
    records = [fault(phase, index) for index in range(4) for phase in ("begin", "end")]
    row = told(view, records, *"abcd")["so far"]
    assert row == ("so far", "4 faults: nothing lost (no verdict yet)", False)


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([], "next is 1 of 2: rollout"),
        ([("steady", 0)], "next is 1 of 2: rollout"),
        ([("begin", 0)], "1 of 2: rollout; under way"),
        ([("begin", 0), ("hit", 0)], "1 of 2: rollout; pods were hit"),
        ([("begin", 0), ("end", 0), ("steady", 0)], "1 of 2: rollout; its effect is complete"),
        ([("begin", 0), ("undone", 0), ("steady", 1)], "1 of 2: rollout; undone"),
        ([("begin", 0), ("undone", 0), ("begin", 1)], "2 of 2: evict:pod=a; under way"),
    ],
)
def test_the_fault_under_way_is_named(
    view: View, phases: list[tuple[str, int]], words: str
) -> None:
    records = [fault(phase, index) for phase, index in phases]
    assert told(view, records, "rollout", "evict:pod=a")["fault"].words == words


def test_a_fault_that_does_not_get_to_its_end_alarms(view: View) -> None:
    row = told(view, [fault("begin"), fault("timeout")])["fault"]
    assert row == ("fault", "1 of 1: rollout; it did not get to its end", True)


def test_pods_are_told_by_state(view: View) -> None:
    records = [
        *(pod(f"vllm-{name}") for name in "edcba"),
        pod("vllm-f", ready=False),
        pod("vllm-g", ready=False, gone=True),
        pod("vllm-e", "DELETED"),
    ]
    words = "4 ready (a, b, c, …), 1 not ready (f), 1 terminating (g)"
    assert told(view, records)["pods"].words == words


def test_the_queue_is_told_where_engines_say_it(view: View) -> None:
    records: list[Record] = [pod("vllm-a"), pod("vllm-b"), gauge("vllm-a", 3), gauge("vllm-b", 4.0)]
    assert told(view, records)["queue"].words == "7 waiting"


def test_what_an_engine_no_longer_says_is_not_shown(view: View) -> None:
    records: list[Record] = [
        pod("vllm-a"),
        pod("vllm-b"),
        gauge("vllm-a", 3.0),
        gauge("vllm-b", 4.0),
    ]
    records += [gauge("vllm-b", None, "connection refused"), gauge("vllm-gone", 9.0)]
    assert told(view, records)["queue"].words == "3 waiting; 1 pod did not say"


def test_no_engine_says_nothing_of_a_queue(view: View) -> None:
    assert "queue" not in told(view, [pod("vllm-a"), gauge("vllm-a", None)])


def test_it_keeps_no_record_once_it_is_closed(view: View) -> None:
    found = SoFar(view, ["rollout"], "vllm")
    others = view.listeners[:-1]
    view.add(pod("vllm-a"))
    found.close()
    view.add(pod("vllm-b"))
    assert view.listeners == others
    assert {row.label: row.words for row in found.rows()}["pods"] == "none"


def test_more_than_can_be_counted_ends_it_and_not_the_memory(
    view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(so_far, "MOST_WAITING", 5)
    found = SoFar(view, ["rollout"], "vllm")
    for number in range(100):
        view.add(Sent(id=str(number), due=1.0, sent=1.0))
    with pytest.raises(SlowError, match="6 records came faster"):
        found.rows()
