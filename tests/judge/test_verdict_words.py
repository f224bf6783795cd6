"""Each reason and doubt of a verdict, alone and word for word, and what findings make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.judge.chaos import _conclude as conclude
from drainproof.judge.chaos import judge, judge_evidence
from drainproof.judge.scene import Scene
from drainproof.judge.tally import Tally
from drainproof.judge.verdict import Verdict
from drainproof.streams.history import Ending, Endpoints, Gauge, Sent, Stream, to_line
from tests.judge.story import HALF, SILENT, T0, WHOLE, Fate, Killed, Story, sequence
from tests.judge.test_fault_causes import CUT, ERROR_500, misrouted, sound, unready
from tests.judge.test_fault_verdicts import away, cuts, only, three

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict

STALLED: dict[str, Any] = {"raw": HALF, "ending": Ending.STALLED, "error": "silent"}
CANCELLED: dict[str, Any] = {
    "raw": b"",
    "status": None,
    "answered": None,
    "ending": Ending.CANCELLED,
}
LOUD = {"raw": HALF, "ending": Ending.EOF, "error": "closed"}


def at(*moments: float, spoil: dict[str, Any] = ERROR_500) -> Callable[..., Fate | None]:
    """Spoil the requests of these moments."""

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 0.1, dict(spoil)) if sent in moments else None

    return fate


def since(moment: float, spoil: dict[str, Any]) -> Callable[..., Fate | None]:
    """Spoil all requests from a moment on."""

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 0.1, dict(spoil)) if sent >= moment else None

    return fate


def slow_and_cut(_pod: str, sent: float, _end: float) -> Fate | None:
    if sent in {140.5, 141.5}:
        return sent + 10, dict(STALLED)
    return (sent + 1, dict(CUT)) if sent == 142.5 else None


def cut_and_turned_away(_pod: str, sent: float, _end: float) -> Fate | None:
    reset = {"raw": b"", "ending": Ending.RESET, "error": "reset", "status": None, "answered": None}
    what = {121.5: ERROR_500, 122.5: reset, 123.5: CUT}.get(sent)
    return (sent + 0.1, dict(what)) if what else None


def both_lost(pod: str, sent: float, _end: float) -> Fate | None:
    return (130.1, dict(CUT)) if pod == "b" and 121 < sent < 130 else None


def lost_as_the_gauge_was_read(_pod: str, sent: float, _end: float) -> Fate | None:
    return (120.1, CUT | {"sent": T0 + 119 + 0.9}) if sent == 119.5 else None


NO_STREAM_AT_SIGTERM = (
    "no stream was in flight on the pods that were stopped, when SIGTERM came: streams must "
    "outlast the preStop delay (more --tokens) and be many enough (more --rate)"
)
NO_STREAM_ON = (
    "no stream was in flight {}: more streams are needed (more --rate or --tokens)".format
)
NO_NEW_REQUEST = "no new request was sent while {} (more --rate)".format
NO_RECOVERY = (
    "only 0 new requests were served after the last one that failed: 20 in a row show that it "
    "recovered (more --rate)"
)
UNGAUGED = (
    "how many streams were in flight on {} can't be told: the engine's gauge did not say, and "
    "other pods were ready, too"
).format
LATE = (
    "{} new requests failed, the last {} s after the fault; they must succeed again within {} s"
).format
LOST = (
    "{} streams were lost, and the engines that were hit had {} in flight: others may have been "
    "lost, too"
).format
SILENTLY = "silently: HTTP 200 and a clean end, so that a client takes them for whole"
STOOD_STILL = "the client stood still for 2000 ms (limit 500)"
BOTH_READY: list[tuple[float, list[str], list[str]]] = [
    (50, ["new", "old"], []),
    (120.1, ["new"], ["old"]),
]
NOT_READY_TO_START: list[tuple[float, list[str], list[str]]] = [(50, ["a", "b"], [])]
UNGAUGED_STORY: dict[str, Any] = {"gauge": lambda _at, _running: None}

FAILED: dict[str, tuple[Story, list[str], list[str]]] = {
    "cut": (cuts(135, raw=HALF, ending=Ending.EOF), ["4 of 110 streams were cut off"], []),
    "cut silently": (
        cuts(135, raw=SILENT),
        ["4 of 110 streams were cut off", f"4 of them {SILENTLY}"],
        [],
    ),
    "killed silently": (
        Killed(ending=Ending.COMPLETE),
        [f"10 streams were cut off {SILENTLY}"],
        [],
    ),
    "cut on another pod": (
        Killed(fate=at(125.5, spoil=CUT)),
        ["1 of 110 streams were cut off that were on no pod that was hit"],
        [],
    ),
    "turned away": (
        Story(prestop_s=0.0, fate=at(121.5)),
        ["1 new requests failed: 1 rejected"],
        [],
    ),
    "turned away in two ways, one of which others were cut in": (
        Story(prestop_s=0.0, fate=cut_and_turned_away),
        ["1 of 110 streams were cut off", "2 new requests failed: 1 rejected, 1 reset"],
        [],
    ),
    "turned away after a kill": (Killed(recover_s=0.4), [LATE(1, 0.5, 0.4)], []),
    "turned away after the second kill": (
        Killed(hits=((120.0, "a"), (122.0, "b")), recover_s=3.0, fate=at(126.5)),
        [LATE(1, 4.5, 3)],
        [],
    ),
    "turned away after a forced deletion whose moment was not noted": (
        Story(cost="abrupt", recover_s=10.0, fate=at(140.5)),
        [LATE(1, 20.5, 10)],
        [],
    ),
    "turned away, and nothing was hit": (
        Killed(hits=(), kills=False, fate=at(140.5)),
        ["1 new requests failed: 1 rejected"],
        ["no pod was hit, so no stream was put to the test"],
    ),
    "cut, and the client was slow": (
        Story(fate=slow_and_cut, lag_ms=2000.0),
        ["1 of 110 streams were cut off"],
        ["2 streams failed while the client itself was too slow", STOOD_STILL],
    ),
    "turned away to the end": (
        Killed(fate=since(123, ERROR_500), recover_s=28.0),
        [LATE(22, 49.5, 28)],
        [NO_RECOVERY],
    ),
}


@pytest.mark.parametrize("name", FAILED)
def test_what_a_fault_must_not_cost_is_told_in_these_words(name: str) -> None:
    story, reasons, doubts = FAILED[name]
    fault = only(story.judged())
    assert (fault.verdict, list(fault.reasons), list(fault.doubts)) == (
        Verdict.FAIL,
        reasons,
        doubts,
    )


IN_DOUBT: dict[str, tuple[Story, list[str]]] = {
    "no pod was stopped": (
        Story(deleted=None, timeout="late", endpoints=[(50, ["old"], [])]),
        ["no pod was stopped (late), so no stream was put to the test"],
    ),
    "no pod was stopped, and nobody says why": (
        Story(deleted=None, endpoints=[(50, ["old"], [])]),
        ["no pod was stopped, so no stream was put to the test"],
    ),
    "no pod was hit": (
        Killed(hits=(), kills=False),
        ["no pod was hit, so no stream was put to the test"],
    ),
    "not over in time": (
        Story(timeout="late"),
        ["the fault did not get to its end: late"],
    ),
    "never over": (Story(end=None), ["the fault did not get to its end"]),
    "too short": (Story(stream_s=10.0), [NO_STREAM_AT_SIGTERM]),
    "too short, and no gauge": (Story(stream_s=10.0, **UNGAUGED_STORY), [NO_STREAM_AT_SIGTERM]),
    "no gauge": (Story(endpoints=BOTH_READY, **UNGAUGED_STORY), [UNGAUGED("old")]),
    "no gauge on what was hit": (Killed(**UNGAUGED_STORY), [UNGAUGED("a")]),
    "nothing on what was hit": (
        Killed(first=119, gauge=lambda _at, _running: 0.0, kills=False),
        [NO_STREAM_ON("on the pods that were hit")],
    ),
    "nothing when it began": (away(first=101), [NO_STREAM_ON("when the fault began")]),
    "no new request": (Story(last=119), [NO_NEW_REQUEST("pods were stopped")]),
    "new requests before and after only": (
        Story(pause=(119.9, 155.1)),
        [NO_NEW_REQUEST("pods were stopped")],
    ),
    "no new request, and no pod stopped": (
        away(pause=(99.9, 155.1)),
        [NO_NEW_REQUEST("the fault was on")],
    ),
    "none served afterwards": (Killed(last=121), [NO_RECOVERY]),
    "none served since the last one that failed": (
        Killed(fate=since(123, ERROR_500), recover_s=60.0),
        [NO_RECOVERY],
    ),
    "none answered afterwards": (
        Killed(last=123, fate=since(121, CANCELLED)),
        [
            NO_RECOVERY,
            "2 streams are cancelled, so what became of them can't be said",
        ],
    ),
    "more lost than there were": (
        Killed(gauge=lambda _at, _running: 7.0),
        [LOST("10", "7")],
    ),
    "one more was lost, as the gauge was read": (
        Killed(gauge=lambda _at, _running: 8.0, fate=lost_as_the_gauge_was_read),
        [LOST("11", "8")],
    ),
    "the last one served came with the hit": (
        Killed(last=121, hits=((120.5, "a"),), endpoints=[(50, ["b", "a"], [])]),
        [NO_RECOVERY],
    ),
    "the client was slow": (
        Story(fate=at(140.5, spoil=STALLED), lag_ms=2000.0),
        ["1 streams failed while the client itself was too slow", STOOD_STILL],
    ),
    "failed before": (
        Story(fate=at(70.5, spoil=CUT)),
        ["1 streams failed before the fault, so the target was not steady"],
    ),
}


@pytest.mark.parametrize("name", IN_DOUBT)
def test_why_a_fault_proves_nothing_is_told_in_these_words(name: str) -> None:
    story, doubts = IN_DOUBT[name]
    fault = only(story.judged())
    assert (fault.verdict, list(fault.doubts), fault.reasons) == (
        Verdict.INCONCLUSIVE,
        doubts,
        fault.doubts,
    )


def lost_later(_pod: str, sent: float, _end: float) -> Fate | None:
    return (sent + 1, dict(CUT)) if sent == 121.5 else None


PASSED: dict[str, Story] = {
    "one more was turned away before the hit": Killed(
        begin=119.0, gauge=lambda _at, _running: 8.0, fate=at(119.5)
    ),
    "what was lost with the second pod came after the first gauge": Killed(
        hits=((120.0, "a"), (130.0, "b")),
        gauge=lambda _at, _running: 4.0,
        extra=[Gauge(at=T0 + 129.9, pod="b", running=4.0, waiting=None, error="")],
        fate=both_lost,
    ),
    "the only new request came with the deletion": Story(deleted=119.5, pause=(119.6, 200.0)),
    "the only new request came with the end": Story(end=155.5, pause=(119.9, 155.4)),
    "the engine had two less": Killed(gauge=lambda _at, _running: 8.0),
    "one more was lost that had been sent after the gauge was read": Killed(
        gauge=lambda _at, _running: 8.0, endpoints=NOT_READY_TO_START, fate=lost_later
    ),
    "the preStop delay is not known": Story(prestop_s=None),
    "it never left the endpoints": Story(endpoints=[(50, ["old"], []), (119, ["new", "old"], [])]),
    "what hits no pod hit none": Killed(stops=False, hits=(), kills=False),
    "it was killed when all streams had ended": Story(
        exit_code=137, container_ended=180.0, end=185.0
    ),
}


@pytest.mark.parametrize("name", PASSED)
def test_a_run_that_is_only_odd_passes(name: str) -> None:
    verdict = PASSED[name].judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())


# ── Runs ────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_whose_fault_never_began_has_no_times_no_cause_and_no_victims() -> None:
    verdict = Story(begin=None).judged()
    assert verdict.reasons == ("the fault never began",)
    assert (verdict.begin, verdict.end, verdict.completed, verdict.worst) == (None,) * 2 + (
        False,
        None,
    )
    assert (verdict.cause, verdict.evidence, verdict.check, verdict.causes) == (None, "", None, {})
    assert (verdict.exposed, verdict.victims, verdict.failures) == (0, (), ())
    assert (verdict.gauge_agrees, verdict.longest_gap_s, verdict.streams) == (True, None, 110)


def test_a_slow_client_is_told_of_even_if_no_fault_began() -> None:
    assert Story(begin=None, lag_ms=2000.0).judged().doubts == (
        "the fault never began",
        STOOD_STILL,
    )


def test_to_have_recovered_takes_enough_requests_and_enough_time() -> None:
    """Requests that come ten times a second are twenty in two."""

    def doubts(since: float, *served: float) -> list[str]:
        tally = Tally(Scene(Killed().records()))
        tally.faults[0].last_failed = since
        tally.faults[0].latest_served = [since + at for at in served]
        return [one for one in conclude(tally).doubts if "show that it recovered" in one]

    few = "only 19 new requests were served after the last one that failed: 20 in a row show that"
    soon = "new requests were served for only 9.0 s after the last one that failed: 10 s show that"
    late = [10.0 - number / 10 for number in range(20)]
    assert doubts(T0 + 121, *late) == []
    assert doubts(T0 + 121, *late[:-1]) == [f"{few} it recovered (more --rate)"]
    assert doubts(T0 + 121, *(at - 1 for at in late)) == [f"{soon} it recovered"]


def test_a_fault_without_an_answer_has_no_gap() -> None:
    records = sequence(Story(), Story(index=1, t0=T0 + 400, first=170))
    verdict = judge(lambda: records)
    assert ([one.longest_gap_s for one in verdict.faults], verdict.longest_gap_s) == ([0, None], 0)


def test_a_stream_whose_end_is_missing_is_counted_once() -> None:
    verdict = Story(lose=frozenset({20})).judged()
    assert (verdict.untold, verdict.streams) == (1, 110)


def test_what_a_sequence_did_not_get_to_is_named() -> None:
    """Nobody takes the faults that were done for all of them."""
    header, *rest = sequence(Story(), Killed(index=1, t0=T0 + 400))
    header = type(header)(
        **{name: getattr(header, name) for name in header.__slots__}
        | {"fault": "rollout,container-kill,evict"}
    )
    verdict = judge(lambda: [header, *rest])
    assert (verdict.verdict, verdict.reasons) == (Verdict.INCONCLUSIVE, ("evict never began",))
    assert verdict.fault == "rollout,container-kill,evict"


def test_a_run_is_as_bad_as_its_worst_fault_and_its_counts_are_over_all() -> None:
    waits, sizes = [0, 3_000_000], [200, len(HALF) - 200]
    verdict = three(
        cuts(135, raw=HALF, ending=Ending.EOF, waits=waits, sizes=sizes),
        Killed(timeout="late"),
        Story(gauge=lambda _at, running: running + 10.0),
    )
    assert verdict.reasons == ("rollout: 4 of 150 streams were cut off",)
    assert verdict.doubts == ("container-kill: the fault did not get to its end: late",)
    assert not verdict.completed
    assert not verdict.gauge_agrees
    assert (verdict.begin, verdict.end) == (T0 + 100, T0 + 955)
    assert verdict.outcomes == {"complete": 315, "refused": 1, "truncated_framing": 14}
    assert verdict.longest_gap_s == pytest.approx(3.0)
    assert len(verdict.victims) == 3
    assert len(verdict.failures) == 4
    assert verdict.causes == {"engine-aborts-on-sigterm": 4}
    assert verdict.exposed == 5 + 10 + 15
    assert (verdict.cause, verdict.check) == ("engine-aborts-on-sigterm", "engine-drains")
    assert "after SIGTERM to pod/old-0" in verdict.evidence


def test_what_two_of_three_faults_did_is_told_of_each() -> None:
    verdict = three(cuts(135, raw=SILENT), Killed(), cuts(135, raw=SILENT))
    assert [reason.split(":")[0] for reason in verdict.reasons] == ["rollout"] * 4


def test_what_all_faults_did_is_told_once() -> None:
    first, second = cuts(135), cuts(135)
    second.index, second.t0 = 1, T0 + 400
    records = sequence(first, second)
    reasons = judge(lambda: records).reasons
    assert reasons[-1] == f"4 of them {SILENTLY}"
    assert [reason.split(":")[0] for reason in reasons[:-1]] == ["rollout", "rollout"]


def test_a_stream_of_which_nothing_is_left_is_missed_by_the_clients_count() -> None:
    records = Story().records()
    kept = [r for r in records if not (isinstance(r, Sent | Stream) and r.id == "0-50")]
    verdict = judge(lambda: kept)
    assert (verdict.verdict, verdict.untold, verdict.streams) == (Verdict.INCONCLUSIVE, 1, 110)
    assert verdict.doubts[0] == "1 streams are unaccounted, so what became of them can't be said"


def test_a_gauge_that_is_wrong_at_one_of_two_moments_does_not_agree() -> None:
    fault = only(Story(gauge=lambda at, running: running + 9.0 * (at > 130)).judged())
    assert not fault.gauge_agrees


def test_no_records_at_all_are_a_clear_error() -> None:
    with pytest.raises(UserError, match="no header"):
        judge(list)


def test_a_history_is_read_by_its_own_name_too(tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    path.write_bytes(b"".join(map(to_line, Story().records())))
    assert judge_evidence(path).verdict is Verdict.PASS


def test_a_verdict_is_written_as_json() -> None:
    written = orjson.loads(cuts(135).judged().to_json())
    assert (written["verdict"], written["fault"], written["version"]) == ("fail", "rollout", 2)


# ── Findings ────────────────────────────────────────────────────────────────────────────────────


def told(verdict: ChaosVerdict, fault: str) -> list[tuple[str, str, str]]:
    return [(one.object, one.verdict.value, one.message) for one in verdict.findings(fault)]


def test_a_fault_that_failed_is_a_finding_for_each_reason() -> None:
    assert told(cuts(135, raw=SILENT).judged(), "rollout") == [
        ("Deployment/inference/vllm", "fail", "4 of 110 streams were cut off"),
        ("Deployment/inference/vllm", "fail", f"4 of them {SILENTLY}"),
    ]


def test_a_fault_that_passed_is_no_finding_whatever_the_others_did() -> None:
    verdict = three(cuts(135), Killed(), Story(name="evict"))
    assert told(verdict, "container-kill") == told(verdict, "evict") == []
    assert len(told(verdict, "rollout")) == 2


def test_a_fault_in_doubt_is_an_inconclusive_finding() -> None:
    assert told(Story(timeout="late").judged(), "rollout") == [
        ("Deployment/inference/vllm", "inconclusive", "the fault did not get to its end: late")
    ]


def test_a_fault_that_was_not_done_is_an_inconclusive_finding() -> None:
    assert told(Story().judged(), "evict") == [
        ("Deployment/inference/vllm", "inconclusive", "evict never began")
    ]


# ── Victims ─────────────────────────────────────────────────────────────────────────────────────


def test_what_is_known_of_a_pod_that_was_stopped() -> None:
    (victim,) = cuts(135).judged().victims
    assert (victim.pod, victim.hit_at, victim.deleted) == ("old", None, T0 + 120)
    assert (victim.endpoint_removed, victim.sigterm) == (T0 + 120.1, T0 + 135)
    assert (victim.killed_at, victim.ended) == (T0 + 180, T0 + 136)
    assert (victim.exit_code, victim.reason, victim.at_hit) == (0, "Completed", None)
    assert victim.at_deletion is not None
    assert victim.at_sigterm is not None
    counts = [(one.gauge, one.least, one.most) for one in (victim.at_deletion, victim.at_sigterm)]
    assert counts == [(19, 19, 20), (5, 5, 7)]


def test_a_pod_that_was_deleted_and_is_an_endpoint_to_the_end_never_left() -> None:
    (victim,) = misrouted(sound("force-delete")).judged().victims
    assert (victim.endpoint_removed, victim.killed_at) == (None, T0 + 120)


def test_what_is_not_known_of_a_pod_that_was_only_hit() -> None:
    (victim,) = Killed().judged().victims
    assert (victim.killed_at, victim.sigterm, victim.reason) == (None, None, "Error")


def test_a_gauge_that_was_read_after_sigterm_does_not_speak_for_the_deletion() -> None:
    """Without a delay, SIGTERM comes with the deletion."""
    (victim,) = Story(prestop_s=0.0).judged().victims
    assert victim.at_deletion is not None
    assert victim.at_deletion.at == T0 + 119.05


def test_without_a_known_delay_what_was_there_at_the_deletion_was_put_to_the_test() -> None:
    fault = only(Story(prestop_s=None).judged())
    assert (fault.exposed, fault.victims[0].sigterm) == (19, None)
    assert fault.victims[0].hit is not None
    assert fault.victims[0].hit.at == T0 + 120.05


def test_an_answer_that_outlived_its_pod_was_on_another_one() -> None:
    """A stream may be seen to end five seconds after its pod, and no later."""

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return {110.5: (155.0, {}), 111.5: (155.1, {})}.get(sent)

    story = Story(fate=fate, endpoints=BOTH_READY, end=170.0)
    (victim,) = story.judged().victims
    assert victim.at_deletion is not None
    assert victim.at_deletion.most == 19


def test_a_pod_that_was_gone_before_and_is_back_by_the_same_name_has_its_streams() -> None:
    story = Killed()
    story.extra = [story.pod(90, "a", "DELETED"), story.pod(91, "a", "ADDED")]
    fault = only(story.judged())
    (victim,) = fault.victims
    assert victim.at_hit is not None
    assert (victim.at_hit.gauge, victim.at_hit.most, fault.gauge_agrees) == (10, 20, True)


# ── Two pods at once ────────────────────────────────────────────────────────────────────────────


def two_stopped(**changes: Any) -> Story:  # noqa: ANN401 - fields of a story
    """``old`` goes at 120 s, ``twin`` at 160 s, after the last request."""
    story = Story(**({"last": 150, "end": 190.0} | changes))
    gone: dict[str, Any] = {"deletion_at": T0 + 160, "grace_s": 60.0}
    over = {"state": "terminated", "exit_code": 0, "finished_at": T0 + 165}
    story.extra = [
        story.pod(160, "twin", **gone),
        story.pod(165, "twin", "DELETED", container=over, **gone),
    ]
    return story


def test_requests_between_two_pods_ends_are_new_ones() -> None:
    fault = only(two_stopped().judged())
    assert [victim.pod for victim in fault.victims] == ["old", "twin"]
    assert (fault.verdict, fault.doubts) == (Verdict.PASS, ())


def test_the_grace_that_is_needed_is_that_of_the_pod_that_took_longest() -> None:
    assert only(two_stopped().judged()).numbers.grace_needed_s == 30


def test_requests_are_served_again_after_the_last_pod_was_hit() -> None:
    numbers = only(Killed(hits=((120.0, "a"), (122.0, "b")), fate=at(126.5)).judged()).numbers
    assert numbers.served_again_s == 4.5


# ── Numbers where little is known ───────────────────────────────────────────────────────────────


def planned(story: Story) -> tuple[float | None, ...]:
    numbers = only(story.judged()).numbers
    return (
        numbers.prestop_needed_s,
        numbers.prestop_margin_s,
        numbers.grace_needed_s,
        numbers.grace_margin_s,
    )


NUMBERS: dict[str, tuple[Story, tuple[float | None, ...]]] = {
    "it never left the endpoints": (PASSED["it never left the endpoints"], (None, None, 30, 30)),
    "nor kept its streams": (
        Story(
            fate=cuts(135).fate,
            container_ended=136,
            endpoints=[(50, ["old"], []), (119, ["new", "old"], [])],
        ),
        (None,) * 4,
    ),
    "the delay is not known": (Story(prestop_s=None), (2.1, None, 30, 30)),
    "the delay is not known, and streams were lost": (
        Story(fate=cuts(135).fate, container_ended=136, prestop_s=None),
        (2.1, None, 22.1, 37.9),
    ),
    "killed, and no stream lost": (
        PASSED["it was killed when all streams had ended"],
        (2.1, 12.9, 22.1, 37.9),
    ),
    "the delay is longer than a stream": (
        Story(stream_s=0.3, prestop_s=15.0, exit_code=137, container_ended=180, end=185),
        (2.1, 12.9, 15.0, 45.0),
    ),
    "a request met it early": (
        Story(prestop_s=1.0, fate=at(125.5), exit_code=137, container_ended=180, end=185),
        (5.5, -4.5, 21.0, 39.0),
    ),
    "its end was not seen": (
        Story(deleted=None, extra=[Story().pod(120, "old", deletion_at=T0 + 120, grace_s=60.0)]),
        (2.1, 12.9, 22.1, 37.9),
    ),
    "hit": (Killed(), (None,) * 4),
    "deleted by force": (misrouted(sound("force-delete")), (1.5, -1.5, None, None)),
    "no stream was whole": (
        Story(fate=lambda _pod, sent, _end: (sent + 1, dict(LOUD)), exit_code=137),
        (2.1, 12.9, None, None),
    ),
    "no answer": (unready(sound("scale-up")), (None,) * 4),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_delay_and_grace_that_are_needed_and_their_margins(name: str) -> None:
    story, numbers = NUMBERS[name]
    assert planned(story) == numbers


def test_what_stops_no_pod_has_no_time_to_be_served_again() -> None:
    assert only(away().judged()).numbers.served_again_s is None


def test_a_late_request_does_not_lengthen_the_grace_that_a_pod_took() -> None:
    assert planned(Story(prestop_s=0.0, fate=at(125.5)))[2] == 30


def test_a_silent_client_does_not_lengthen_the_longest_answer() -> None:
    """A stream that hung for a minute is none that a grace period must be enough for."""

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "old" and sent < 135 < end:
            last = round((135 - sent) * 1e6)
            return 175.0, STALLED | {"waits": [last], "sizes": [len(HALF)]}
        return None

    assert planned(Story(fate=fate, container_ended=160, end=180))[2] == 22.1


def test_a_cause_of_the_clients_own_is_not_the_faults_even_if_it_is_more_frequent() -> None:
    verdict = FAILED["cut, and the client was slow"][0].judged()
    assert (verdict.cause, verdict.causes) == ("unknown", {"client-too-slow": 2, "unknown": 1})
    assert (verdict.dropped, verdict.untold) == (1, 2)


def test_a_request_that_was_never_sent_is_judged_by_when_it_was_due_and_others_by_when_sent() -> (
    None
):
    spoil = ERROR_500 | {"due": T0 + 119.0}
    numbers = only(Story(prestop_s=0.0, fate=at(125.5, spoil=spoil)).judged()).numbers
    assert numbers.prestop_needed_s == 5.5


def test_the_longest_gap_of_a_fault_is_that_of_its_worst_answer() -> None:
    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        gap = {100.5: 3_000_000, 101.5: 2_000_000}.get(sent)
        sizes = [200, len(WHOLE) - 200]
        return (end, {"waits": [0, gap], "sizes": sizes}) if gap else None

    assert only(Story(fate=fate).judged()).longest_gap_s == pytest.approx(3.0)


# ── Timelines ───────────────────────────────────────────────────────────────────────────────────


def timeline(story: Story) -> list[tuple[float, str, str, str]]:
    failure = story.judged().failures[0]
    return [(round(one.at - T0, 1), one.what, one.pod, one.detail) for one in failure.timeline]


def test_a_stream_on_a_pod_that_was_hit_tells_of_the_hit() -> None:
    told = timeline(Killed(ending=Ending.COMPLETE))
    assert [step for step in told if step[2]] == [
        (120.0, "hit", "a", ""),
        (120.0, "container ended", "a", "exit code 137"),
    ]


def test_a_pod_without_a_delay_has_none_in_the_timeline() -> None:
    told = [step[1:] for step in timeline(Story(prestop_s=0.0, fate=at(121.5))) if step[2]]
    assert told == [
        ("deleted", "old", ""),
        ("SIGTERM", "old", ""),
        ("endpoint gone", "old", ""),
        ("container ended", "old", "exit code 0"),
        ("deletionTimestamp", "old", ""),
    ]


def test_a_container_that_ended_while_a_stream_was_on_it_is_told_and_an_earlier_end_is_not() -> (
    None
):
    story = Killed(kills=False, hits=(), fate=at(130.5, spoil=CUT), cost="graceful")
    ends = [{"exit_code": 1, "reason": "Error", "finished_at": T0 + when} for when in (100, 130)]
    story.extra = [story.pod(131, name, container=end) for name in "ab" for end in ends]
    told = [step for step in timeline(story) if step[2]]
    assert told == [(130.0, "container ended", name, "exit code 1") for name in "ab"]


def test_a_container_that_was_restarted_before_the_deletion_is_not_what_ended_then() -> None:
    story = cuts(135)
    restarted = {"exit_code": 1, "reason": "Error", "finished_at": T0 + 117}
    story.extra = [story.pod(117.5, "old", container=restarted)]
    told = [step for step in timeline(story) if step[1] == "container ended"]
    assert told == [(136.0, "container ended", "old", "exit code 0")]


def test_an_end_without_an_exit_code_is_told_without_one() -> None:
    told = timeline(Story(fate=cuts(135).fate, container_ended=136, exit_code=None))  # type: ignore[arg-type] # not seen
    assert (136.0, "container ended", "old", "") in told


def test_each_slice_that_listed_a_pod_is_told_of() -> None:
    story = cuts(135)
    story.endpoints = []  # they name no slices
    story.pod_for = lambda sent: "old"  # type: ignore[method-assign] # noqa: ARG005 - as it is called
    story.extra = [
        Endpoints(at=T0 + 50.1, ready=["old"], terminating=[], slices={"x": ["old"]}),
        Endpoints(at=T0 + 120.2, ready=["new"], terminating=["old"], slices={"x": []}),
    ]
    told = [step for step in timeline(story) if step[1] == "endpoint gone"]
    assert told == [(120.2, "endpoint gone", "old", "x")]
