from __future__ import annotations

from drainproof.judge.chaos import judge
from drainproof.report.chaos import render
from tests.judge.story import HALF, SILENT, T0, Killed, Story, sequence
from tests.report.runs import cut


def told(story: Story) -> str:
    return render(story.judged(), "evidence/x")


def test_a_pass_says_what_it_rests_on() -> None:
    text = told(Story())
    assert "PASS" in text
    assert "110 streams, 5 of them in flight on pods that were stopped: 0 dropped" in text


def test_a_failure_says_how_many_why_and_what_would_have_foreseen_it() -> None:
    text = told(cut())
    assert "FAIL" in text
    assert "4 of 110 streams were cut off" in text
    assert "cause: engine-aborts-on-sigterm (4) · foreseen by the check engine-drains" in text
    assert "drainproof audit evidence/x/snapshot.json" in text


def test_silent_truncation_is_called_out_by_itself() -> None:
    assert "4 silently truncated" in told(cut(SILENT))
    assert "silently truncated" not in told(Story())


def test_the_worst_streams_are_told_as_a_timeline_with_their_pod() -> None:
    text = told(cut())
    assert "old deleted" in text
    assert text.index("+20.0 s old deleted") < text.index("+35.0 s SIGTERM")
    assert "can have been on old" in text


def test_the_pods_that_were_stopped_are_shown_with_both_counts() -> None:
    row = next(line for line in told(Story()).splitlines() if line.startswith("old"))
    assert "19 (19 to 20)" in row
    assert "5 (5 to 8)" in row


def test_streams_in_flight_are_drawn_with_the_fault_on_the_same_columns() -> None:
    lines = told(cut()).splitlines()
    bars = next(line for line in lines if "█" in line)
    marks = next(line for line in lines if line.strip().startswith("F") and "D" in line)
    lost = next(line for line in lines if set(line.strip()) == {"x"})
    assert len(marks) <= len(bars)
    # SIGTERM and the streams that it cut fall into one column or the next
    assert 0 <= lost.index("x") - marks.index("T") <= 1


def test_what_is_inconclusive_says_why() -> None:
    text = told(Story(stream_s=10.0))
    assert "INCONCLUSIVE" in text
    assert "no stream was in flight" in text


def test_no_text_of_an_answer_is_in_the_report() -> None:
    assert "wörd" not in told(cut(HALF))


def test_colours_are_left_out_unless_asked_for() -> None:
    verdict = Story().judged()
    assert "\x1b[" not in render(verdict, "x")
    assert "\x1b[" in render(verdict, "x", colour=True)


def test_the_numbers_to_plan_with_come_with_what_is_to_spare() -> None:
    text = told(Story())
    assert "fault: 55.0 s; capacity was full throughout" in text
    assert "preStop delay: 2.1 s would have been enough (12.9 s to spare)" in text
    assert "grace period: 30.0 s would have been enough (30.0 s to spare)" in text
    assert "time to first token" in text


def test_what_is_missing_is_said_to_be() -> None:
    assert "(2.1 s more than there are)" in told(Story(prestop_s=0.0))


def test_an_abrupt_fault_shows_what_it_hit_and_what_it_may_cost() -> None:
    text = told(Killed())
    row = next(line for line in text.splitlines() if line.startswith("a "))
    assert row.split() == ["a", "10", "(0", "to", "20)", "0.6", "s", "0.0", "s", "137"]
    assert "11 streams and requests lost that the fault may cost" in text
    assert "11 lost, as an abrupt fault may" in text
    assert "F fault, H pod hit, E fault over" in text


def test_several_faults_are_told_one_after_the_other() -> None:
    second = cut()
    second.index, second.t0, second.name = 1, T0 + 400, "evict"
    records = sequence(Story(), second)
    text = render(judge(lambda: records), "evidence/x")
    assert "evict: 4 of " in text
    assert text.index("1. rollout (graceful, 55 s): PASS") < text.index("2. evict (graceful, 55 s)")
    assert "old-1 deleted" in text
