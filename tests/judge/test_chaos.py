from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.judge.chaos import judge, judge_evidence
from drainproof.judge.verdict import Verdict
from drainproof.streams.history import Ending, Fault, Gauge, to_line
from tests.judge.story import ABORTED, HALF, SILENT, T0, Fate, Story, event
from tests.streams.bodies import answer

if TYPE_CHECKING:
    from pathlib import Path


def aborts_at(moment: float, raw: bytes = ABORTED, **changes: object) -> Story:
    """Every stream on the old pod ends at a moment, not whole."""

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "old" and sent < moment < end:
            return moment + 0.2, {"raw": raw, **changes}
        return None

    return Story(fate=fate, container_ended=moment + 1)


def test_a_rollout_that_drains_with_streams_in_flight_passes() -> None:
    verdict = Story().judged()
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())
    assert (verdict.dropped, verdict.not_served, verdict.whole) == (0, 0, 110)


def test_streams_on_the_old_pod_are_counted_at_deletion_and_at_sigterm() -> None:
    (victim,) = Story().judged().victims
    assert victim.at_deletion is not None
    # 20 streams of 20 s are in flight; from 119 s on new ones go to the new pod
    assert victim.at_deletion.gauge == 19
    assert victim.at_deletion.least <= 19 <= victim.at_deletion.most
    assert victim.at_sigterm is not None
    assert victim.at_sigterm.gauge == 5
    assert victim.sigterm == T0 + 135


def test_an_engine_that_aborts_at_sigterm_fails_with_that_cause() -> None:
    verdict = aborts_at(135).judged()
    assert verdict.verdict is Verdict.FAIL
    assert (verdict.cause, verdict.check) == ("engine-aborts-on-sigterm", "engine-drains")
    assert verdict.dropped == 4
    assert verdict.causes == {"engine-aborts-on-sigterm": 4}


def test_streams_cut_with_http_200_and_done_are_counted_as_silently_truncated() -> None:
    assert aborts_at(135, SILENT).judged().silently_truncated == 4


@pytest.mark.parametrize(("context", "short"), [(10, 0), (11, 110), (None, 110)])
def test_answers_that_fill_the_context_are_whole(
    context: int | None, short: int, tmp_path: Path
) -> None:
    """And are not known as that in evidence that doesn't tell the context."""
    filled = b"".join(answer(4, prompt=6))
    story = Story(fate=lambda _pod, _sent, end: (end, {"raw": filled}), context=context)
    verdict = story.judged()
    failed = sum(fault.failed_before + fault.dropped for fault in verdict.faults)
    assert (verdict.whole, failed, verdict.silently_truncated > 0) == (
        110 - short,
        short,
        short > 0,
    )
    (tmp_path / "history.jsonl").write_bytes(b"".join(map(to_line, story.records())))
    assert judge_evidence(tmp_path).to_json() == verdict.to_json()


def test_an_answer_that_ends_early_is_cut_off_where_others_fill_the_context() -> None:
    filled, early = (b"".join(answer(tokens, prompt=6)) for tokens in (4, 3))

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        cut = pod == "old" and sent < 135 < end
        return (135.2, {"raw": early}) if cut else (end, {"raw": filled})

    verdict = Story(fate=fate, container_ended=136, context=10).judged()
    assert (verdict.verdict, verdict.dropped, verdict.silently_truncated) == (Verdict.FAIL, 4, 4)
    assert verdict.cause == "engine-aborts-on-sigterm"


def test_an_engine_that_hangs_at_sigterm_is_blamed_and_not_the_clients_patience() -> None:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "old" and sent < 135 < end:
            last = round((135 - sent) * 1e6)  # microseconds after the request was sent
            stalled = {"ending": Ending.STALLED, "error": "silent for 40 s"}
            return 175.0, {"raw": HALF, "micros": [last], **stalled}
        return None

    verdict = Story(fate=fate, container_ended=160, end=180).judged()
    assert verdict.causes == {"engine-aborts-on-sigterm": 4}
    assert "the last token came 0.0 s after SIGTERM to pod/old" in verdict.evidence
    assert "nothing for 40 s, until its client gave up" in verdict.evidence


def test_streams_cut_in_their_framing_are_dropped_but_not_silently() -> None:
    verdict = aborts_at(135, HALF, ending=Ending.EOF, error="closed").judged()
    assert (verdict.dropped, verdict.silently_truncated) == (4, 0)


def test_a_grace_period_shorter_than_the_streams_fails_with_that_cause() -> None:
    story = aborts_at(130, HALF, ending=Ending.RESET, error="reset")
    story.prestop_s, story.grace_s, story.exit_code, story.container_ended = 2.0, 10.0, 137, 130.0
    verdict = story.judged()
    assert (verdict.verdict, verdict.cause) == (Verdict.FAIL, "grace-period-exceeded")
    assert verdict.check == "grace-period"


def test_an_engine_that_gives_up_before_the_grace_period_ends_is_not_blamed_on_the_grace() -> None:
    story = aborts_at(130, HALF, ending=Ending.RESET, error="reset")
    story.prestop_s, story.grace_s, story.exit_code, story.container_ended = 2.0, 12.0, 0, 130.0
    assert story.judged().cause == "engine-aborts-on-sigterm"


def refuses_after_deletion(status: int | None = 500) -> Story:
    """One request reaches the pod that no longer takes any."""

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        if sent != 121.5:
            return None
        if status is None:
            return sent + 0.1, {"raw": b"", "ending": Ending.REFUSED, "status": None, "sent": None}
        return sent + 0.1, {"raw": b"", "status": status, "content_type": "application/json"}

    return Story(prestop_s=0.0, fate=fate)


def test_a_drain_without_a_delay_passes_if_no_request_met_it() -> None:
    assert Story(prestop_s=0.0).judged().verdict is Verdict.PASS


@pytest.mark.parametrize(("status", "words"), [(500, "1 rejected"), (None, "1 refused")])
def test_a_new_request_that_reaches_a_draining_pod_fails_and_says_which(
    status: int | None, words: str
) -> None:
    verdict = refuses_after_deletion(status).judged()
    assert (verdict.verdict, verdict.dropped, verdict.not_served) == (Verdict.FAIL, 0, 1)
    assert (verdict.cause, verdict.check) == ("routed-to-terminating-pod", "prestop-delay")
    assert words in verdict.reasons[0]


def test_a_request_that_a_busy_node_sends_late_to_a_terminating_pod_is_not_left_unexplained() -> (
    None
):
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        if sent != 125.5:
            return None
        return sent + 0.1, {"raw": b"", "status": 500, "content_type": "application/json"}

    verdict = Story(prestop_s=0.0, fate=fate).judged()
    assert verdict.cause == "routed-to-terminating-pod"
    assert "it had left the endpoints 5.4 s before" in verdict.evidence


def test_a_request_that_fails_long_after_the_old_pod_is_gone_is_not_blamed_on_it() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        if sent != 165.5:
            return None
        return sent + 0.1, {"raw": b"", "status": 500, "content_type": "application/json"}

    assert Story(prestop_s=0.0, fate=fate).judged().cause == "unknown"


def test_a_request_sent_while_no_pod_is_ready_fails_for_that() -> None:
    story = refuses_after_deletion(None)
    story.endpoints = [(50, ["old"], []), (120.1, [], ["old"]), (130, ["new"], [])]
    verdict = story.judged()
    assert (verdict.verdict, verdict.cause) == (Verdict.FAIL, "no-ready-endpoint")


def cut_on_new_at(moment: float) -> Story:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "new" and sent < moment < end:
            return moment + 0.1, {"raw": HALF, "ending": Ending.RESET, "error": "reset"}
        return None

    return Story(fate=fate)


def test_streams_cut_when_a_liveness_probe_restarts_their_pod_fail_for_that() -> None:
    story = cut_on_new_at(140)
    words = "Container vllm failed liveness probe, will be restarted"
    story.extra = [event(139.5, "new", "Killing", words)]
    assert story.judged().cause == "killed-by-liveness"


def test_streams_cut_by_the_kernel_for_lack_of_memory_fail_for_that() -> None:
    story = cut_on_new_at(140)
    state = {"exit_code": 137, "reason": "OOMKilled", "finished_at": T0 + 140, "restarts": 1}
    story.extra = [story.pod(141, "new", container=state)]
    assert story.judged().cause == "oom-killed"


def test_streams_cut_without_any_evidence_fail_for_an_unknown_cause() -> None:
    verdict = cut_on_new_at(140).judged()
    assert (verdict.verdict, verdict.cause, verdict.check) == (Verdict.FAIL, "unknown", None)


def test_a_stream_that_stalls_while_the_client_stands_still_proves_nothing() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        if sent == 140.5:
            return 150.0, {"raw": HALF, "ending": Ending.STALLED, "error": "silent"}
        return None

    story = Story(fate=fate, lag_ms=2000.0)
    verdict = story.judged()
    assert (verdict.verdict, verdict.cause) == (Verdict.INCONCLUSIVE, None)
    assert verdict.causes == {"client-too-slow": 1}


def test_a_stream_that_stalls_under_a_client_that_keeps_up_fails() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        if sent == 140.5:
            return 150.0, {"raw": HALF, "ending": Ending.STALLED, "error": "silent"}
        return None

    assert Story(fate=fate).judged().verdict is Verdict.FAIL


def inconclusive(story: Story, words: str) -> None:
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert any(words in reason for reason in verdict.reasons), verdict.reasons


def test_a_rollout_that_stopped_no_pod_is_inconclusive() -> None:
    story = Story(
        deleted=None,
        timeout="its progress deadline passed",
        endpoints=[(50, ["old"], [])],
    )
    inconclusive(story, "no pod was stopped")


def test_a_rollout_that_did_not_end_in_time_is_inconclusive() -> None:
    inconclusive(Story(timeout="not over in 55 s"), "did not get to its end")


def test_streams_shorter_than_the_prestop_delay_are_not_exposed() -> None:
    inconclusive(Story(stream_s=10.0), "no stream was in flight")


def test_streams_just_longer_than_the_prestop_delay_are_exposed() -> None:
    assert Story(stream_s=18.0).judged().verdict is Verdict.PASS


def test_a_fault_that_never_began_is_inconclusive() -> None:
    inconclusive(Story(begin=None), "never began")


def test_a_client_that_fell_behind_is_inconclusive() -> None:
    inconclusive(Story(lag_ms=2000.0), "2000 ms")


def test_a_stream_whose_end_was_never_recorded_is_inconclusive() -> None:
    inconclusive(Story(lose=frozenset({20})), "unaccounted")


def test_no_new_request_while_pods_were_stopped_is_inconclusive() -> None:
    inconclusive(Story(last=119), "no new request")


def test_streams_that_failed_before_the_fault_make_it_inconclusive() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 1, {"raw": HALF}) if sent == 70.5 else None

    story = Story(fate=fate)
    inconclusive(story, "before the fault")
    assert story.judged().failed_before == 1


def test_a_stream_that_the_client_itself_stopped_is_inconclusive() -> None:
    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (200.0, {"raw": HALF, "ending": Ending.CANCELLED}) if sent == 160.5 else None

    inconclusive(Story(fate=fate), "cancelled")


def test_a_dropped_stream_fails_even_if_the_client_fell_behind() -> None:
    story = aborts_at(135)
    story.lag_ms = 2000.0
    assert story.judged().verdict is Verdict.FAIL


def test_a_dropped_stream_fails_even_if_the_rollout_did_not_end() -> None:
    story = aborts_at(135)
    story.timeout = "not over in 55 s"
    assert story.judged().verdict is Verdict.FAIL


def test_without_a_gauge_the_history_alone_tells_the_exposure() -> None:
    verdict = Story(gauge=lambda _at, _running: None).judged()
    assert verdict.verdict is Verdict.PASS
    assert verdict.exposed > 0
    assert verdict.gauge_agrees


def test_without_a_gauge_and_with_two_pods_ready_the_exposure_cannot_be_told() -> None:
    both = [(50, ["new", "old"], []), (120.1, ["new"], ["old"]), (151, ["new"], [])]
    story = Story(gauge=lambda _at, _running: None, endpoints=both)
    inconclusive(story, "in flight on old can't be told")


def test_a_gauge_that_says_more_than_the_history_allows_does_not_agree() -> None:
    assert Story().judged().gauge_agrees
    assert not Story(gauge=lambda _at, running: running + 10.0).judged().gauge_agrees


def test_a_gauge_read_after_sigterm_does_not_speak_for_the_moment_before_it() -> None:
    story = aborts_at(121)
    story.prestop_s = 1.0
    late = Gauge(at=T0 + 121.4, pod="old", running=0.0, waiting=None, error="")
    story.extra = [late]
    (victim,) = story.judged().victims
    assert victim.at_deletion is not None
    assert victim.at_deletion.gauge == 19


def test_pods_deleted_before_the_fault_are_no_victims() -> None:
    story = Story()
    story.extra = [
        story.pod(80, "other", deletion_at=T0 + 80, grace_s=60.0),
        story.pod(90, "other", "DELETED", deletion_at=T0 + 80, grace_s=60.0),
    ]
    assert [victim.pod for victim in story.judged().victims] == ["old"]


def test_pods_deleted_by_the_undoing_are_no_victims() -> None:
    story = Story()
    undone = Fault(at=T0 + 250, fault="rollout", phase="undone", detail="")
    story.extra = [undone, story.pod(260, "new", deletion_at=T0 + 260, grace_s=60.0)]
    assert [victim.pod for victim in story.judged().victims] == ["old"]


def test_a_stream_is_not_blamed_on_a_pod_that_was_gone_long_before() -> None:
    """With two victims, the one that was alive when the stream was cut is the one."""

    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        if sent < 119 and sent < 135 < end:
            return 135.2, {"raw": ABORTED}
        return None

    story = Story(fate=fate, container_ended=136)
    at = T0 + 110
    over = {"state": "terminated", "exit_code": 137, "reason": "Error", "finished_at": T0 + 125}
    story.endpoints = [(50, ["old", "twin"], []), (110.1, ["old"], ["twin"])]
    story.endpoints += [(119, ["new", "old"], []), (120.1, ["new"], ["old"])]
    story.extra = [
        story.pod(50, "twin", "ADDED"),
        story.pod(110, "twin", deletion_at=at, grace_s=15.0),
        story.pod(125.5, "twin", "DELETED", deletion_at=at, grace_s=15.0, container=over),
    ]
    verdict = story.judged()
    assert verdict.causes == {"engine-aborts-on-sigterm": 4}
    assert "pod/old" in verdict.evidence


def test_the_same_evidence_gives_the_same_bytes() -> None:
    assert aborts_at(135).judged().to_json() == aborts_at(135).judged().to_json()


def test_evidence_on_disk_gives_the_verdict_of_its_records(tmp_path: Path) -> None:
    story = aborts_at(135)
    (tmp_path / "history.jsonl").write_bytes(b"".join(map(to_line, story.records())))
    assert judge_evidence(tmp_path).to_json() == story.judged().to_json()


def test_a_folder_without_a_history_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"history\.jsonl"):
        judge_evidence(tmp_path)


def test_records_without_a_header_are_a_clear_error() -> None:
    with pytest.raises(UserError, match="no header"):
        judge(lambda: Story().records()[1:])


def test_a_failed_stream_tells_its_timeline_and_where_it_was() -> None:
    failure = aborts_at(135).judged().failures[0]
    assert failure.pods == ("old",)
    assert failure.ended == pytest.approx(T0 + 135.2)
    assert "after SIGTERM to pod/old" in failure.evidence
