"""Faults against causes, case by case: which cause a run under each fault can fail with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.causes import FORESEEN, Cause
from drainproof.judge.verdict import Verdict
from drainproof.streams.history import Ending, Gauge
from tests.judge.story import ABORTED, HALF, SILENT, T0, Fate, Killed, Story, event

if TYPE_CHECKING:
    from collections.abc import Callable

STOPPING = ("rollout", "scale-down", "pod-delete", "evict", "node-drain", "endpoint-lag")
"""These delete pods gracefully: ``old`` goes, ``new`` stays."""
ABRUPT = ("container-kill", "force-delete", "node-loss")
"""These hit ``a``; ``b`` stays."""
SPARING = ("scale-up", "keda-away", "readiness-flap")
"""These end no pod."""
FAULTS = (*STOPPING, *ABRUPT, *SPARING)


def sound(fault: str) -> Story:
    """Return the story of a target that a fault costs nothing that it may not."""
    if fault in STOPPING:
        return Story(name=fault)
    if fault in ABRUPT:
        return Killed(name=fault)
    if fault == "readiness-flap":
        return Killed(name=fault, cost="graceful", kills=False)
    cost = "graceful" if fault == "scale-up" else "control-plane"
    both: list[tuple[float, list[str], list[str]]] = [
        (50.0, ["old"], []),
        (119.0, ["new", "old"], []),
    ]
    return Story(name=fault, cost=cost, stops=False, deleted=None, endpoints=both)


def survivor(story: Story) -> tuple[str, float]:
    """Return a pod that no fault touches, and a moment when streams can only be on it."""
    return ("b", 125.0) if isinstance(story, Killed) else ("new", 140.0)


Spoil = dict[str, Any]
CUT: Spoil = {"raw": HALF, "ending": Ending.RESET, "error": "reset"}
ERROR_500: Spoil = {"raw": b"", "status": 500, "content_type": "application/json"}


def cut_survivor(story: Story, **spoil: object) -> Story:
    name, moment = survivor(story)

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == name and moment - 2 < sent < moment < end:
            return moment + 0.1, CUT | spoil
        return None

    story.fate = fate
    return story


def aborted(story: Story) -> Story:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        return (135.2, {"raw": ABORTED}) if pod == "old" and sent < 135 < end else None

    story.fate, story.container_ended = fate, 136
    return story


def out_of_grace(story: Story) -> Story:
    def fate(pod: str, sent: float, end: float) -> Fate | None:
        return (130.1, dict(CUT)) if pod == "old" and sent < 130 < end else None

    story.fate, story.prestop_s, story.grace_s = fate, 2.0, 10.0
    story.exit_code, story.container_ended = 137, 130.0
    return story


def answered_at(story: Story, moment: float, spoil: Spoil) -> Story:
    """One request, sent at a moment, fails."""

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 0.1, dict(spoil)) if sent == moment else None

    story.fate = fate
    return story


def misrouted(story: Story) -> Story:
    story.prestop_s = 0.0
    if isinstance(story, Killed):
        story.recover_s = 0.2
        story.extra = [
            story.pod(120, "a", deletion_at=T0 + 120, grace_s=0.0),
            story.pod(120.4, "a", "DELETED", deletion_at=T0 + 120, grace_s=0.0),
        ]
    return answered_at(story, 121.5, ERROR_500)


def unrouted(story: Story) -> Story:
    if isinstance(story, Killed):
        story.endpoints = [(50, ["a", "b"], []), (120.6, [], []), (140, ["b"], [])]
        return answered_at(story, 135.5, ERROR_500)
    story.endpoints = [(50, ["old"], []), (120.1, [], ["old"]), (130, ["new"], [])]
    return answered_at(story, 121.5, ERROR_500)


def unready(story: Story) -> Story:
    """A pod is said to be ready before it is."""
    if isinstance(story, Killed):
        story.recover_s = 1.0
        story.endpoints = [(50, ["a", "b"], []), (120.6, [], []), (122.0, ["c"], [])]
        story.extra = [story.pod(121, "c", "ADDED")]
        return answered_at(story, 124.5, ERROR_500)
    story.endpoints = [(50, ["old"], []), (121.0, ["new"], [])]
    return answered_at(story, 124.5, ERROR_500)


def failed_probe(story: Story) -> Story:
    name, moment = survivor(story)
    story = cut_survivor(story)
    words = "Container vllm failed liveness probe, will be restarted"
    story.extra = [event(moment - 0.5, name, "Killing", words)]
    return story


def out_of_memory(story: Story) -> Story:
    name, moment = survivor(story)
    story = cut_survivor(story)
    state = {"exit_code": 137, "reason": "OOMKilled", "finished_at": T0 + moment, "restarts": 1}
    story.extra = [story.pod(moment + 1, name, container=state)]
    return story


def slow_client(story: Story) -> Story:
    story.lag_ms = 2000.0
    return cut_survivor(story, ending=Ending.STALLED, error="silent")


SPOILT: dict[Cause, Callable[[Story], Story]] = {
    Cause.ENGINE_ABORTS_ON_SIGTERM: aborted,
    Cause.GRACE_PERIOD_EXCEEDED: out_of_grace,
    Cause.ROUTED_TO_TERMINATING_POD: misrouted,
    Cause.NO_READY_ENDPOINT: unrouted,
    Cause.KILLED_BY_LIVENESS: failed_probe,
    Cause.OOM_KILLED: out_of_memory,
    Cause.CLIENT_TOO_SLOW: slow_client,
    Cause.UNKNOWN: cut_survivor,
}
NOT_SO = {
    **{(fault, Cause.ENGINE_ABORTS_ON_SIGTERM): "no SIGTERM comes" for fault in ABRUPT + SPARING},
    **{(fault, Cause.GRACE_PERIOD_EXCEEDED): "no grace is given" for fault in ABRUPT + SPARING},
    **{(fault, Cause.ROUTED_TO_TERMINATING_POD): "no pod goes" for fault in SPARING},
    ("container-kill", Cause.ROUTED_TO_TERMINATING_POD): "the pod stays, and its container is new",
}
"""What can't be, and why."""
TABLE = [(fault, cause) for fault in FAULTS for cause in Cause if (fault, cause) not in NOT_SO]


def test_every_cause_has_a_story() -> None:
    assert set(SPOILT) == set(Cause)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_sound_target_passes(fault: str) -> None:
    verdict = sound(fault).judged()
    assert (verdict.verdict, verdict.reasons, verdict.causes) == (Verdict.PASS, (), {})


@pytest.mark.parametrize(("fault", "cause"), TABLE)
def test_a_run_fails_with_its_cause_and_the_check_that_foresees_it(
    fault: str, cause: Cause
) -> None:
    verdict = SPOILT[cause](sound(fault)).judged()
    assert set(verdict.causes) == {cause.value}, verdict.failures
    if cause is Cause.CLIENT_TOO_SLOW:
        assert (verdict.verdict, verdict.cause) == (Verdict.INCONCLUSIVE, None)
    else:
        assert (verdict.verdict, verdict.cause) == (Verdict.FAIL, cause)
        assert verdict.check == FORESEEN.get(cause)
        assert verdict.evidence


@pytest.mark.parametrize("fault", FAULTS)
def test_a_pod_that_is_ready_in_name_only_is_found(fault: str) -> None:
    verdict = unready(sound(fault)).judged()
    assert (verdict.cause, verdict.check) == ("no-ready-endpoint", "readiness-probe")
    assert "was said to be ready, and turned away" in verdict.evidence


@pytest.mark.parametrize(("serves", "cause"), [(False, "no-ready-endpoint"), (True, "unknown")])
def test_a_killed_engine_that_is_back_in_name_only_is_found(*, serves: bool, cause: str) -> None:
    story = answered_at(Killed(), 136.5, ERROR_500)  # it is "ready" again since 126 s
    told = Gauge(at=T0 + 127, pod="a", running=float(serves), waiting=0.0, error="")
    story.extra = [told]
    verdict = story.judged()
    assert (verdict.verdict, verdict.cause) == (Verdict.FAIL, cause)


@pytest.mark.parametrize("fault", ABRUPT)
@pytest.mark.parametrize(
    ("raw", "end"), [(ABORTED, "[DONE]"), (SILENT, "[DONE]"), (HALF, "a clean end")]
)
def test_an_answer_that_ends_cleanly_as_its_engine_dies_is_told_in_words(
    fault: str, raw: bytes, end: str
) -> None:
    """So does a front end that outlives its engine: an error in the stream, and ``[DONE]``."""

    def fate(pod: str, sent: float, ended: float) -> Fate | None:
        return (120.4, {"raw": raw}) if pod == "a" and sent < 120 < ended else None

    verdict = Killed(name=fault, fate=fate).judged()
    assert (verdict.verdict, verdict.cause, verdict.check) == (Verdict.FAIL, "unknown", None)
    assert verdict.evidence == (
        "perhaps on pod/a, cut 0.4 s after that was hit: an engine's death must end its answers "
        f"with an error that every client sees, not with {end}"
    )
    (reason,) = verdict.reasons
    assert reason.startswith("10 streams were cut off silently")
