"""What each kind of fault may cost, several of them in one run, and the numbers to plan with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from drainproof.judge.chaos import judge
from drainproof.judge.tally import RECOVERED
from drainproof.judge.verdict import Verdict
from drainproof.streams.history import Ending, Withheld
from tests.judge.story import ABORTED, HALF, KILL, T0, Fate, Killed, Story, sequence
from tests.streams.bodies import answer

if TYPE_CHECKING:
    from drainproof.judge.chaos import ChaosVerdict, FaultVerdict


def only(verdict: ChaosVerdict) -> FaultVerdict:
    (fault,) = verdict.faults
    return fault


def cuts(moment: float, pod_: str = "old", raw: bytes = ABORTED, **changes: object) -> Story:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == pod_ and sent < moment < end:
            return moment + 0.2, {"raw": raw, **changes}
        return None

    return Story(fate=fate, container_ended=moment + 1)


# ── Abrupt faults ───────────────────────────────────────────────────────────────────────────────


def test_an_abrupt_fault_may_cost_what_was_on_its_victim() -> None:
    fault = only(Killed().judged())
    assert (fault.verdict, fault.dropped, fault.not_served, fault.excused) == (
        Verdict.PASS,
        10,
        1,
        11,
    )
    assert (fault.failures, fault.causes, fault.silently_truncated) == ((), {}, 0)


def test_its_victims_and_their_exposure_are_known_from_the_hit() -> None:
    fault = only(Killed().judged())
    (victim,) = fault.victims
    assert (victim.pod, victim.hit_at, victim.deleted) == ("a", T0 + KILL, None)
    assert victim.at_hit is not None
    assert (victim.at_hit.gauge, fault.exposed, fault.gauge_agrees) == (10, 10, True)
    assert (victim.ended, victim.exit_code) == (T0 + KILL, 137)
    assert victim.endpoint_removed == T0 + 120.6


def test_a_stream_that_an_abrupt_fault_truncates_silently_fails() -> None:
    fault = only(Killed(ending=Ending.COMPLETE).judged())
    assert fault.verdict is Verdict.FAIL
    (reason,) = fault.reasons
    assert reason.startswith("10 streams were cut off silently: HTTP 200 and a clean end")
    assert "an engine's death must end its answers with an error" in fault.evidence


def test_a_stream_on_no_pod_that_was_hit_may_not_be_lost() -> None:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "b" and 123 < sent < 125 < end:
            return 125.1, {"raw": HALF, "ending": Ending.RESET, "error": "reset"}
        return None

    fault = only(Killed(fate=fate).judged())
    assert fault.verdict is Verdict.FAIL
    assert fault.reasons == ("2 of 110 streams were cut off that were on no pod that was hit",)


@pytest.mark.parametrize(("recover_s", "verdict"), [(0.4, Verdict.FAIL), (0.6, Verdict.PASS)])
def test_new_requests_must_succeed_again_in_time(recover_s: float, verdict: Verdict) -> None:
    fault = only(Killed(recover_s=recover_s).judged())
    assert fault.verdict is verdict
    assert fault.numbers.served_again_s == 0.5
    if verdict is Verdict.FAIL:
        assert "1 new requests failed, the last 0.5 s after the fault" in fault.reasons[0]
        assert "within 0.4 s" in fault.reasons[0]


@pytest.mark.parametrize(
    ("asked", "took_s", "verdict"),
    [
        (116.0, 4.0, Verdict.PASS),
        (116.0, 0.0, Verdict.FAIL),  # over two seconds before some of what was lost was sent
        (121.5, 0.0, Verdict.FAIL),  # when all of it had been lost already
    ],
)
def test_what_is_lost_while_a_hit_is_on_its_way_is_excused(
    asked: float, took_s: float, verdict: Verdict
) -> None:
    story = Killed(begin=115.0, hits=((asked, "a"),), took_s=took_s, gauge=lambda _at, _run: 10.0)
    assert only(story.judged()).verdict is verdict


@pytest.mark.parametrize(("took_s", "verdict"), [(3.4, Verdict.FAIL), (3.5, Verdict.PASS)])
def test_the_time_to_recover_counts_from_when_the_hit_was_done(
    took_s: float, verdict: Verdict
) -> None:
    story = Killed(begin=116.0, hits=((117.0, "a"),), took_s=took_s, recover_s=0.0)
    story.gauge = lambda _at, _running: 10.0
    assert only(story.judged()).verdict is verdict


def test_without_a_request_that_is_served_afterwards_nothing_has_recovered() -> None:
    fault = only(Killed(last=121).judged())
    assert fault.verdict is Verdict.INCONCLUSIVE
    assert any("only 0 new requests were served" in doubt for doubt in fault.doubts)


def test_one_request_that_is_served_after_a_failure_is_too_few_to_have_recovered() -> None:
    def half(pod: str, sent: float, _end: float) -> Fate | None:
        """What ``a`` does that is ready in name only, as seen while failing is excused."""
        refused = {"raw": b"", "status": 503, "content_type": "application/json"}
        return (sent + 0.1, refused) if pod == "a" and sent >= 126 else None

    assert only(Killed(last=129, fate=half).judged()).verdict is Verdict.INCONCLUSIVE
    assert only(Killed(last=170, fate=half).judged()).verdict is Verdict.FAIL
    enough = Killed(last=121 + RECOVERED).judged()
    assert only(enough).verdict is Verdict.PASS
    assert only(Killed(last=120 + RECOVERED).judged()).verdict is Verdict.INCONCLUSIVE


def test_more_streams_lost_than_the_engine_had_are_in_doubt() -> None:
    fault = only(Killed(gauge=lambda _at, running: running / 5).judged())
    assert fault.verdict is Verdict.INCONCLUSIVE
    assert "others may have been lost" in fault.doubts[0]


def test_an_abrupt_fault_that_hit_nothing_is_inconclusive() -> None:
    fault = only(Killed(hits=(), kills=False).judged())
    assert (fault.verdict, fault.doubts[0][:15]) == (Verdict.INCONCLUSIVE, "no pod was hit,")


def test_an_abrupt_fault_without_streams_on_its_victim_is_inconclusive() -> None:
    fault = only(Killed(first=119, gauge=lambda _at, _running: 0.0, kills=False).judged())
    assert fault.verdict is Verdict.INCONCLUSIVE
    assert "no stream was in flight on the pods that were hit" in fault.doubts[0]


def test_what_an_abrupt_fault_may_cost_a_graceful_one_may_not() -> None:
    fault = only(Killed(cost="graceful").judged())
    assert (fault.verdict, fault.excused) == (Verdict.FAIL, 0)
    assert fault.reasons[0] == "10 of 110 streams were cut off"


# ── Faults that stop no pod ─────────────────────────────────────────────────────────────────────


def away(**changes: object) -> Story:
    both: list[tuple[float, list[str], list[str]]] = [(50.0, ["old", "new"], [])]
    values = {"name": "keda-away", "cost": "control-plane", "stops": False, "deleted": None}
    return Story(**(values | {"endpoints": both} | changes))  # type: ignore[arg-type] # the fields of a story


def test_a_fault_of_the_control_plane_is_put_to_the_test_by_all_streams_in_flight() -> None:
    fault = only(away().judged())
    assert (fault.verdict, fault.victims) == (Verdict.PASS, ())
    assert fault.exposed == 20


def test_without_streams_it_is_inconclusive() -> None:
    fault = only(away(first=101).judged())
    assert fault.verdict is Verdict.INCONCLUSIVE
    assert "no stream was in flight when the fault began" in fault.doubts[0]


def test_without_new_requests_it_is_inconclusive() -> None:
    fault = only(away(last=99).judged())
    assert "no new request was sent while the fault was on" in fault.doubts[0]


# ── Several faults ──────────────────────────────────────────────────────────────────────────────


def three(first: Story, second: Story, third: Story) -> ChaosVerdict:
    for index, story in enumerate((first, second, third)):
        story.index, story.t0 = index, T0 + 400 * index
    records = sequence(first, second, third)
    return judge(lambda: records)


def test_each_fault_is_judged_with_its_own_streams_and_victims() -> None:
    verdict = three(Story(), Killed(), Story(name="pod-delete"))
    assert verdict.verdict is Verdict.PASS
    told = [(one.fault, one.index, one.streams, one.whole) for one in verdict.faults]
    # what ends before a fault begins belongs to the one before it
    assert told == [
        ("rollout", 0, 150, 150),
        ("container-kill", 1, 90, 79),
        ("pod-delete", 2, 90, 90),
    ]
    assert [[victim.pod for victim in one.victims] for one in verdict.faults] == [
        ["old-0"],
        ["a-1"],
        ["old-2"],
    ]


def test_the_worst_fault_is_the_verdict_of_the_run_and_is_named() -> None:
    verdict = three(Story(), Killed(), cuts(135))
    assert [one.verdict.value for one in verdict.faults] == ["pass", "pass", "fail"]
    assert verdict.verdict is Verdict.FAIL
    assert verdict.reasons[0].startswith("rollout: 4 of ")
    assert verdict.cause == "engine-aborts-on-sigterm"


def test_a_fault_that_proves_nothing_makes_the_run_inconclusive() -> None:
    verdict = three(Story(), Story(stream_s=10.0, name="evict"), Killed())
    assert [one.verdict.value for one in verdict.faults] == ["pass", "inconclusive", "pass"]
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert verdict.reasons[0].startswith("evict: no stream was in flight")


def test_what_is_in_doubt_of_all_faults_is_told_once() -> None:
    withheld = Withheld(id="0-9999", due=T0, reason="too many")
    verdict = three(Story(extra=[withheld]), Killed(), Story())
    assert [one.verdict.value for one in verdict.faults] == ["inconclusive"] * 3
    assert verdict.reasons[-1] == "1 requests were not sent: too many"
    assert len([one for one in verdict.reasons if "not sent" in one]) == 1


def test_a_client_that_stood_still_casts_doubt_on_the_fault_during_which_it_did() -> None:
    slow = replace(Story().client(T0 + 400.0 + 101.0), loop_lag_ms=2000.0)
    verdict = three(Story(), Story(extra=[slow], name="evict"), Killed())
    assert [one.verdict.value for one in verdict.faults] == ["pass", "inconclusive", "pass"]
    assert verdict.reasons == ("evict: the client stood still for 2000 ms (limit 500)",)


def test_a_client_that_stood_still_before_the_first_fault_casts_no_doubt() -> None:
    slow = replace(Story().client(T0 + 90.0), loop_lag_ms=2000.0)
    assert Story(extra=[slow]).judged().verdict is Verdict.PASS
    assert Story(extra=[replace(slow, at=T0 + 101.0)]).judged().verdict is Verdict.INCONCLUSIVE


def test_a_failure_before_a_later_fault_is_not_laid_to_it() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 1, {"raw": HALF}) if sent == 70.5 else None

    verdict = three(Story(), Killed(fate=fate), Story())
    assert [one.failed_before for one in verdict.faults] == [0, 0, 0]
    assert [one.dropped for one in verdict.faults] == [1, 10, 0]


def test_a_stream_that_its_client_gave_up_later_failed_when_it_fell_silent() -> None:
    def fate(pod: str, sent: float, _end: float) -> Fate | None:
        if pod != "old" or sent != 118.5:
            return None
        stalled = {"ending": Ending.STALLED, "error": "silent"}
        return 560.0, {"raw": HALF, "micros": [round(16.5e6)], **stalled}

    verdict = three(Story(fate=fate), Killed(), Story())
    assert [one.dropped for one in verdict.faults] == [1, 10, 0]
    assert verdict.faults[0].cause == "engine-aborts-on-sigterm"


def test_a_pod_that_one_fault_stopped_is_no_victim_of_the_next() -> None:
    """Even if the next begins within the second in which Kubernetes' times are cut off."""
    first, second = Story(end=120.4), Killed(index=1, begin=120.6, hits=((121.0, "a"),))
    records = sequence(first, second)
    victims = [[victim.pod for victim in fault.victims] for fault in judge(lambda: records).faults]
    assert victims == [["old-0"], ["a-1"]]


def test_histories_of_before_there_were_sequences_are_read_as_one_graceful_fault() -> None:
    fault = only(Story().judged())
    assert (fault.index, fault.cost, fault.recover_s) == (0, "graceful", 0.0)


# ── Numbers ─────────────────────────────────────────────────────────────────────────────────────


def test_how_long_a_fault_took_and_when_capacity_was_back() -> None:
    numbers = only(Killed().judged()).numbers
    assert (numbers.duration_s, numbers.recovered_s) == (10.2, 6.2)
    assert only(Story().judged()).numbers.recovered_s == 0


def test_capacity_that_does_not_come_back_has_no_number() -> None:
    story = Killed(endpoints=[(50, ["a", "b"], []), (120.6, ["b"], [])])
    assert only(story.judged()).numbers.recovered_s is None


def test_a_fault_that_did_not_end_has_no_duration() -> None:
    assert only(Story(timeout="late").judged()).numbers.duration_s is None


def test_the_delay_and_the_grace_that_would_have_been_enough_come_with_their_margin() -> None:
    numbers = only(Story().judged()).numbers
    # endpoints changed 0.1 s after the deletion, and nodes follow within 2 s
    assert (numbers.prestop_needed_s, numbers.prestop_margin_s) == (2.1, 12.9)
    # the pod ended by itself after 30 s
    assert (numbers.grace_needed_s, numbers.grace_margin_s) == (30, 30)


def test_a_pod_that_lost_streams_needed_the_time_of_the_longest_whole_one() -> None:
    numbers = only(cuts(135).judged()).numbers
    assert (numbers.grace_needed_s, numbers.grace_margin_s) == (22.1, 37.9)


def test_a_request_that_came_late_to_a_terminating_pod_says_how_long_a_delay_it_needed() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        failed = {"raw": b"", "status": 500, "content_type": "application/json"}
        return (sent + 0.1, failed) if sent == 125.5 else None

    numbers = only(Story(prestop_s=0.0, fate=fate).judged()).numbers
    assert (numbers.prestop_needed_s, numbers.prestop_margin_s) == (5.5, -5.5)


def test_latencies_are_told_before_during_and_after() -> None:
    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        first = 100_000 if sent < 100 else 400_000 if sent < 155 else 200_000
        size = len(b"".join(answer(5)))
        return end, {"read_sizes": [200, size - 200], "micros": [first, first + 4_000_000]}

    numbers = only(Story(fate=fate).judged()).numbers
    p50 = [one.ttft_s.p50 for one in (numbers.before, numbers.during, numbers.after)]
    assert p50 == pytest.approx([0.1, 0.4, 0.2], rel=0.01)
    assert numbers.before.ttft_s.streams == 40
    assert numbers.during.time_per_output_token_s.p99 == pytest.approx(1.0, rel=0.01)


# ── Timelines ───────────────────────────────────────────────────────────────────────────────────


def test_a_failed_stream_tells_what_happened_to_it_and_to_its_pod_in_order() -> None:
    failure = cuts(135).judged().failures[0]
    told = [(round(step.at - T0, 1), step.what, step.pod, step.detail) for step in failure.timeline]
    assert told == [
        (115.5, "due", "", ""),
        (115.5, "sent", "", ""),
        (115.5, "first token", "", ""),
        (115.5, "last token", "", ""),
        (120.0, "deleted", "old", ""),
        (120.0, "preStop", "old", "15 s"),
        (120.1, "endpoint gone", "old", ""),
        (135.0, "SIGTERM", "old", ""),
        (135.2, "end", "", ""),
        (136.0, "container ended", "old", "exit code 0"),
        (180.0, "deletionTimestamp", "old", ""),
    ]
