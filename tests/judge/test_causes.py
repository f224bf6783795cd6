"""Causes at their edges: of each condition, a stream that it decides. Times are since :data:`T0`.

``old`` is deleted at 120 s, with a preStop delay of 15 s and 60 s of grace; its container ends at
150 s. ``new`` is ready from 119 s on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.causes import Cause, cause_of
from drainproof.judge.scene import Scene
from drainproof.judge.streams import Effect, Outcome, StreamVerdict
from drainproof.streams.history import Client, Event, Gauge
from tests.judge.story import T0, Story, event

if TYPE_CHECKING:
    from drainproof.streams.history import Record

TURNED_AWAY = {Outcome.REFUSED, Outcome.REJECTED, Outcome.NO_RESPONSE, Outcome.NOT_A_STREAM}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A failed stream, and why it failed."""

    cause: str
    says: str = ""
    """Part of the evidence."""
    outcome: Outcome = Outcome.RESET
    sent: float = 110.0
    ended: float | None = 135.5
    answered: float | None = None
    last: float | None = None
    """Its last token; by default it came until the end."""
    pods: tuple[str, ...] = ("old",)
    struck: dict[str, float] = field(default_factory=dict)
    silent: bool = False
    """Whether it ended cleanly."""
    done: bool = False
    story: dict[str, Any] = field(default_factory=dict)
    extra: tuple[Record, ...] = ()
    no_endpoints: bool = False

    def asked(self) -> tuple[Any, ...]:
        """Return what the judge would ask."""
        told = Story(last=60, **self.story)
        told.extra = list(self.extra)
        if self.no_endpoints:
            told.endpoints = []
        at = {pod: T0 + when for pod, when in self.struck.items()}
        return Scene(told.records()), self.stream(), T0 + self.sent, self.pods, at

    def stream(self) -> StreamVerdict:
        turned_away = self.outcome in TURNED_AWAY
        ended = None if self.ended is None else T0 + self.ended
        last = ended if self.last is None else T0 + self.last
        return StreamVerdict(
            id="0-0",
            outcome=self.outcome,
            detail="",
            effect=Effect.NOT_SERVED if turned_away else Effect.DROPPED,
            silently_truncated=self.silent,
            status=None if turned_away else 200,
            ending=None,
            finish_reason=None,
            done=self.done,
            expected_tokens=None,
            tokens=None,
            events=1,
            due=T0 + self.sent,
            sent=T0 + self.sent,
            answered=None if self.answered is None else T0 + self.answered,
            first_token=None,
            last_token=None if turned_away else last,
            ended=ended,
            ttft_s=None,
            longest_gap_s=None,
            longest_gap_at=None,
        )


def lag(at: float) -> Client:
    return Client(at=T0 + at, in_flight=1, send_lag_ms=1.0, loop_lag_ms=900.0, cpu_share=0.1)


def busy(at: float, pod: str, running: float | None) -> Gauge:
    return Gauge(at=T0 + at, pod=pod, running=running, waiting=0.0, error="")


def probe(
    at: float, pod: str = "old", words: str = "failed liveness probe", why: str = "Killing"
) -> Event:
    return event(at, pod, why, words)


def oom(at: float, pod: str = "old") -> Record:
    state = {"exit_code": 137, "reason": "OOMKilled", "finished_at": T0 + at}
    return Story().pod(at + 1, pod, container=state)


def grace(code: int | None = 137, over: float = 180.0, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields of a story
    return {"exit_code": code, "container_ended": over, **more}


ABORTS, GRACE, ROUTED, NONE, LIVENESS, OOM, SLOW, UNKNOWN = (cause.value for cause in Cause)
REFUSED, REJECTED, STALLED = Outcome.REFUSED, Outcome.REJECTED, Outcome.STALLED
NO_DELAY = {"prestop_s": 0.0}
UNSEEN: dict[str, Any] = {
    "story": {"deleted": None},
    "extra": (Story().pod(120, "old", deletion_at=T0 + 120, grace_s=60.0),),
}
"""How its pod ended was not seen."""


def twin(over_at: float = 132.0) -> tuple[Record, ...]:
    """Return what is known of a pod that was deleted ten seconds before ``old``."""
    story = Story()
    told: dict[str, Any] = {"deletion_at": T0 + 110, "grace_s": 60.0}
    over = {"state": "terminated", "exit_code": 0, "finished_at": T0 + over_at}
    return story.pod(110, "twin", **told), story.pod(over_at, "twin", container=over, **told)


ALONE: list[tuple[float, list[str], list[str]]] = [(50.0, ["old"], [])]
CASES = {
    # The client's own lag explains what it gave up itself, and while it lasted.
    "lag": Case(cause=SLOW, outcome=STALLED, extra=(lag(130),)),
    "lag, refused": Case(cause=SLOW, outcome=REFUSED, extra=(lag(130),)),
    "lag, but reset": Case(cause=ABORTS, extra=(lag(130),)),
    "lag before": Case(cause=ABORTS, outcome=STALLED, extra=(lag(108),)),
    "lag after": Case(cause=ABORTS, outcome=STALLED, extra=(lag(137),)),
    # The kernel.
    "out of memory": Case(cause=OOM, extra=(oom(135),)),
    "out of memory later": Case(cause=ABORTS, extra=(oom(137),)),
    "out of memory before": Case(cause=UNKNOWN, extra=(oom(129),)),
    "out of memory elsewhere": Case(cause=ABORTS, extra=(oom(135, "new"),)),
    # The kubelet's probes.
    "liveness": Case(cause=LIVENESS, says="5 s before", extra=(probe(130.5),)),
    "liveness of another pod": Case(cause=ABORTS, extra=(probe(130, "new"),)),
    "startup probe": Case(cause=ABORTS, extra=(probe(130, words="failed startup probe"),)),
    "liveness fails, and nobody kills": Case(cause=ABORTS, extra=(probe(130, why="Unhealthy"),)),
    "liveness later": Case(cause=ABORTS, extra=(probe(137),)),
    "liveness long before": Case(cause=ABORTS, extra=(probe(60),)),
    "liveness, within a long grace": Case(
        cause=LIVENESS, ended=120.0, pods=("new",), extra=(probe(70, "new"),)
    ),
    "liveness and an unknown grace": Case(
        cause=LIVENESS,
        ended=120.0,
        pods=("new",),
        extra=(probe(90, "new"),),
        story={"grace_s": None},
    ),
    "liveness before an unknown grace": Case(
        cause=UNKNOWN,
        ended=130.0,
        pods=("new",),
        extra=(probe(90, "new"),),
        story={"grace_s": None},
    ),
    # Hung at SIGTERM.
    "hung": Case(
        cause=ABORTS,
        says="0.5 s after SIGTERM to pod/old, and then nothing",
        last=135.5,
        ended=145.5,
    ),
    "hung a little before": Case(cause=ABORTS, says="0.5 s before SIGTERM", last=134.5, ended=145),
    "hung until the client gave up": Case(
        cause=ABORTS, says="until its client gave up", outcome=STALLED, last=135, ended=170
    ),
    "hung until it ended": Case(cause=ABORTS, says="until it ended", last=135, ended=170),
    "silent, but not for long": Case(cause=ABORTS, says="cut 0.5 s after", last=133, ended=135.5),
    "silent long before": Case(cause=ABORTS, says="cut 5.0 s after", last=120, ended=140),
    "silent long after": Case(cause=ABORTS, says="cut 13.0 s after", last=141, ended=148),
    "hung, sent after SIGTERM": Case(cause=ROUTED, sent=136, last=137, ended=147),
    "hung, no delay known": Case(
        cause=ABORTS, says="the last token", last=121, ended=130, story={"prestop_s": None}
    ),
    # Stopped.
    "cut at SIGTERM": Case(cause=ABORTS, says="which then ended with exit code 0"),
    "cut at SIGTERM, code unknown": Case(
        cause=ABORTS, says="would have ended", story={"exit_code": None}
    ),
    "cut without a known delay": Case(
        cause=ABORTS, says="cut 0.5 s after", ended=120.5, story={"prestop_s": None}
    ),
    "cut before the deletion": Case(cause=UNKNOWN, ended=119.0),
    "cut in the preStop delay": Case(cause=UNKNOWN, ended=130.0),
    "cut long after its pod's end": Case(cause=UNKNOWN, ended=156.0),
    "no answer at SIGTERM": Case(cause=ABORTS, outcome=Outcome.NO_RESPONSE),
    "refused at SIGTERM": Case(cause=UNKNOWN, outcome=REFUSED),
    "dropped, sent after SIGTERM": Case(cause=ROUTED, sent=136.0, ended=140.0),
    "wrong at its end": Case(cause=UNKNOWN, says="came to its end", outcome=Outcome.WRONG_TOKENS),
    "wrong at its end, sent just before SIGTERM": Case(
        cause=UNKNOWN, says="came to its end", outcome=Outcome.WRONG_TOKENS, sent=134.5, ended=140
    ),
    "longer than asked, from a pod that ran out of memory": Case(
        cause=UNKNOWN, says="came to its end", outcome=Outcome.LONG, extra=(oom(135.5),)
    ),
    "killed when grace ended": Case(
        cause=GRACE, says="(exit code 137)", ended=180.0, story=grace()
    ),
    "grace ended, code unknown": Case(
        cause=GRACE, says="had run for 70 s", ended=180.0, story=grace(None)
    ),
    "grace ended, and the engine ended itself": Case(cause=ABORTS, ended=180.0, story=grace(0)),
    "killed, but the stream was cut before": Case(cause=ABORTS, ended=170.0, story=grace()),
    "killed long before grace ended": Case(cause=ABORTS, ended=180.0, story=grace(over=176.0)),
    "sent after it was killed": Case(
        cause=ROUTED, sent=181.0, ended=181.5, story=grace(over=190.0)
    ),
    "killed when grace ended, but that was not seen": Case(cause=GRACE, ended=180.0, **UNSEEN),
    "cut at SIGTERM, but how the pod ended was not seen": Case(
        cause=ABORTS, says="44 s before its grace period would have ended", **UNSEEN
    ),
    "cut, and two pods may have been its own": Case(
        cause=ABORTS, says="SIGTERM to pod/twin", pods=("old", "twin"), extra=twin()
    ),
    "cut as the deletion was seen": Case(cause=ABORTS, ended=119.5, story=NO_DELAY),
    # New requests.
    "no pod was ready": Case(
        cause=NONE,
        outcome=REJECTED,
        sent=121.0,
        ended=121.1,
        story={"endpoints": [(50, ["old"], []), (120, [], ["old"])]},
    ),
    "no pod was ready, but it was dropped": Case(
        cause=UNKNOWN,
        sent=121.0,
        ended=122.0,
        story={"endpoints": [(50, ["old"], []), (120, [], ["old"])]},
    ),
    "no endpoints were seen": Case(
        cause=UNKNOWN, outcome=REFUSED, sent=100.0, ended=100.1, no_endpoints=True
    ),
    "came to a pod that drains": Case(
        cause=ROUTED,
        says="it had left the endpoints 0.9 s",
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        story=NO_DELAY,
    ),
    "came to a pod that drains and is an endpoint": Case(
        cause=ROUTED,
        says="it was still among",
        outcome=REJECTED,
        sent=120.05,
        ended=120.2,
        story=NO_DELAY,
    ),
    "came to a pod that drains, whose delay is not known": Case(
        cause=ROUTED, outcome=REJECTED, sent=121, ended=121.1, story={"prestop_s": None}
    ),
    "not taken up until its pod had to end": Case(
        cause=ROUTED,
        says="sent 10.0 s after pod/old was deleted",
        outcome=REJECTED,
        sent=130,
        answered=136,
        ended=136.1,
    ),
    "not taken up until its pod had to end, sent before the deletion": Case(
        cause=ROUTED,
        says="sent 5.0 s before pod/old was deleted; it was still among",
        outcome=REJECTED,
        sent=115,
        answered=134,
        ended=134.1,
    ),
    "turned away in the preStop delay, later": Case(
        cause=UNKNOWN, outcome=REJECTED, sent=115, answered=133.9, ended=134.1
    ),
    "turned away as its pod is gone": Case(
        cause=ROUTED,
        outcome=REJECTED,
        sent=115,
        answered=153.0,
        ended=153.1,
        story={"container_ended": 150.4},
    ),
    "turned away when its pod was long gone": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=115,
        answered=153.1,
        ended=153.2,
        story={"container_ended": 150.4},
    ),
    "answered at SIGTERM, and cut when its pod was long gone": Case(
        cause=UNKNOWN, answered=136.0, ended=156.0
    ),
    "came in the preStop delay": Case(cause=UNKNOWN, outcome=REJECTED, sent=125, ended=125.1),
    "came to a pod that was gone": Case(
        cause=ROUTED, outcome=REFUSED, sent=152, ended=152.1, story=NO_DELAY
    ),
    "came long after it was gone": Case(
        cause=UNKNOWN, outcome=REFUSED, sent=153, ended=153.1, story=NO_DELAY
    ),
    "came to a pod that was never gone": Case(
        cause=ROUTED,
        outcome=REJECTED,
        sent=1000.0,
        ended=1000.1,
        story=NO_DELAY | {"deleted": None},
        extra=(Story().pod(120, "old", deletion_at=T0 + 120, grace_s=60.0),),
    ),
    "a busy node sent it on": Case(
        cause=ROUTED, outcome=REJECTED, sent=125, ended=125.1, pods=("new",), story=NO_DELAY
    ),
    "dropped elsewhere meanwhile": Case(
        cause=UNKNOWN, sent=125.0, ended=126.0, pods=("new",), story=NO_DELAY
    ),
    # A pod that is ready in name only.
    "ready too early": Case(
        cause=NONE, says="1.0 s after", outcome=REJECTED, sent=120, ended=120.1, pods=("new",)
    ),
    "ready too early, dropped": Case(cause=UNKNOWN, sent=120, ended=120.1, pods=("new",)),
    "ready too early, an error page": Case(
        cause=UNKNOWN, outcome=Outcome.NOT_A_STREAM, sent=120, ended=120.1, pods=("new",)
    ),
    "ready too long ago": Case(
        cause=UNKNOWN, outcome=REJECTED, sent=155, ended=155.1, pods=("new",)
    ),
    "ready too early, and not busy for long": Case(
        cause=NONE,
        outcome=REJECTED,
        sent=160,
        ended=160.1,
        pods=("new",),
        extra=(busy(130, "new", 0.0),),
    ),
    "it has served": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        extra=(busy(120, "new", 1.0),),
    ),
    "it serves later": Case(
        cause=NONE,
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        extra=(busy(122, "new", 1.0),),
    ),
    "its gauge says nothing": Case(
        cause=NONE,
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        extra=(busy(120, "new", None),),
    ),
    "not among the endpoints": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        story={"endpoints": ALONE},
    ),
    "ready before the fault": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=101,
        ended=101.1,
        pods=("new",),
        story={"endpoints": [(99, ["new"], [])]},
    ),
    "ready early and deleted": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=125,
        ended=125.1,
        story={"endpoints": [(110, ["old"], [])]},
    ),
    "ready early and hit": Case(
        cause=UNKNOWN,
        says="was hit",
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        struck={"new": 120.5},
    ),
    # What an abrupt fault hits is not laid to SIGTERM.
    "hit": Case(cause=UNKNOWN, says="0.5 s after pod/old was hit", struck={"old": 135.0}),
    "hit, and ended with [DONE]": Case(
        cause=UNKNOWN,
        says="on pod/old, cut 0.5 s after that was hit: an engine's death must end its answers "
        "with an error that every client sees, not with [DONE]",
        struck={"old": 135.0},
        silent=True,
        done=True,
    ),
    "hit, and ended cleanly": Case(
        cause=UNKNOWN, says="sees, not with a clean end", struck={"old": 135.0}, silent=True
    ),
    "perhaps hit, and ended cleanly": Case(
        cause=UNKNOWN,
        says="perhaps on pod/old",
        pods=("new", "old"),
        struck={"old": 135.0},
        silent=True,
    ),
    "ended cleanly a little before the hit was noted": Case(
        cause=UNKNOWN, says="cut 1.0 s before", struck={"old": 136.5}, silent=True
    ),
    "ended cleanly, and was hit later": Case(
        cause=UNKNOWN, says="it ended 1.1 s before pod/old", struck={"old": 136.6}, silent=True
    ),
    "hit, and wrong at its end": Case(
        cause=UNKNOWN,
        says="it ended 0.5 s after pod/old was hit",
        outcome=Outcome.WRONG_TOKENS,
        struck={"old": 135.0},
        silent=True,
    ),
    "two pods were hit": Case(
        cause=UNKNOWN,
        says="0.5 s after pod/new was hit",
        pods=("new", "old"),
        struck={"new": 135.0, "old": 120.0},
    ),
    "hit elsewhere": Case(cause=UNKNOWN, says="nothing", ended=119.0, struck={"new": 118.0}),
    # At the very edge of each.
    "lag a second before": Case(cause=SLOW, outcome=STALLED, extra=(lag(109),)),
    "lag a second after": Case(cause=SLOW, outcome=STALLED, extra=(lag(136.5),)),
    "out of memory a second later": Case(cause=OOM, extra=(oom(136.5),)),
    "out of memory five seconds before": Case(cause=OOM, extra=(oom(130.5),)),
    "liveness a second later": Case(cause=LIVENESS, extra=(probe(136.5),)),
    "liveness, as its grace ended": Case(cause=LIVENESS, extra=(probe(70.5),)),
    "silent for five seconds": Case(cause=ABORTS, says="cut 5.5 s", last=135.5, ended=140.5),
    "hung, sent at SIGTERM": Case(cause=ROUTED, sent=135, last=136, ended=147),
    "hung a second before": Case(cause=ABORTS, says="1.0 s before SIGTERM", last=134, ended=145),
    "hung five seconds after": Case(cause=ABORTS, says="5.0 s after SIGTERM", last=140, ended=146),
    "sent as it was killed": Case(cause=ROUTED, sent=180.0, ended=180.5, story=grace(over=190.0)),
    "killed two seconds before grace ended": Case(
        cause=GRACE, ended=180.0, story=grace(over=178.0)
    ),
    "cut a second before grace ended": Case(cause=GRACE, ended=179.0, story=grace()),
    "sent at SIGTERM": Case(cause=ROUTED, sent=135.0, ended=140.0),
    "cut a second before SIGTERM": Case(cause=ABORTS, ended=134.0),
    "cut five seconds after its pod's end": Case(cause=ABORTS, ended=155.0),
    "cut, and the pod that ended later is nearer": Case(
        cause=ABORTS,
        says="SIGTERM to pod/old",
        ended=149.0,
        pods=("old", "twin"),
        extra=twin(145.0),
    ),
    "came a second before the deletion was seen": Case(
        cause=ROUTED, outcome=REJECTED, sent=119.0, ended=119.1, story=NO_DELAY
    ),
    "came two seconds after it was gone": Case(
        cause=ROUTED,
        outcome=REFUSED,
        sent=153.0,
        ended=153.1,
        story=NO_DELAY | {"container_ended": 150.4},
    ),
    "came as it left the endpoints": Case(
        cause=ROUTED,
        says="it had left the endpoints 0.0 s before",
        outcome=REJECTED,
        sent=120.1,
        ended=120.2,
        story=NO_DELAY,
    ),
    "it serves by now": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=121,
        ended=121.1,
        pods=("new",),
        extra=(busy(121, "new", 1.0),),
    ),
    "ready for half a minute": Case(
        cause=NONE,
        outcome=REJECTED,
        sent=149,
        ended=149.1,
        pods=("new",),
        story={"deleted": None},
    ),
    "ready as the fault began": Case(
        cause=UNKNOWN,
        outcome=REJECTED,
        sent=101,
        ended=101.1,
        pods=("new",),
        story={"endpoints": [(100, ["new"], [])]},
    ),
    "not recorded to its end": Case(cause=UNKNOWN, ended=None),
    "on a pod that nobody watched": Case(cause=UNKNOWN, pods=("nobody",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_has_its_cause(name: str) -> None:
    case = CASES[name]
    found = cause_of(*case.asked())
    assert found.cause.value == case.cause, found
    assert case.says in found.evidence
