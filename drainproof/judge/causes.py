"""Why a stream failed: one name from a fixed list, and the evidence for it in words."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from drainproof.judge.clients import MAX_LAG_MS
from drainproof.judge.scene import FOREVER, ROUTING_LAG_S, SECOND_S
from drainproof.judge.streams import Effect, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.judge.scene import Life, Scene
    from drainproof.judge.streams import StreamVerdict

KILL_LATE_S: Final = 5.0
"""How late the end of a stream may be seen after its container was killed."""
SILENT_S: Final = 5.0
"""A lost stream without a token for longer was lost at its last token, not when it ended: a hung
engine keeps connections open until its client gives up or it is killed."""
YOUNG_S: Final = 30.0
"""How long after a pod is said to be ready what it turns away is laid to its readiness probe, where
its gauge does not tell when it first had a stream."""
TO_ITS_END: Final = frozenset({Outcome.LONG, Outcome.WRONG_TOKENS})
"""Outcomes of streams that nobody cut."""
SIGKILLED: Final = 137
"""Exit code of a process that SIGKILL ended: 128 + 9."""


class Cause(StrEnum):
    """Why a stream failed."""

    ENGINE_ABORTS_ON_SIGTERM = "engine-aborts-on-sigterm"
    GRACE_PERIOD_EXCEEDED = "grace-period-exceeded"
    ROUTED_TO_TERMINATING_POD = "routed-to-terminating-pod"
    NO_READY_ENDPOINT = "no-ready-endpoint"
    KILLED_BY_LIVENESS = "killed-by-liveness"
    OOM_KILLED = "oom-killed"
    CLIENT_TOO_SLOW = "client-too-slow"
    UNKNOWN = "unknown"


FORESEEN: Final = {
    Cause.ENGINE_ABORTS_ON_SIGTERM: "engine-drains",
    Cause.GRACE_PERIOD_EXCEEDED: "grace-period",
    Cause.ROUTED_TO_TERMINATING_POD: "prestop-delay",
    Cause.NO_READY_ENDPOINT: "rolling-update",
    Cause.KILLED_BY_LIVENESS: "liveness-after-load",
    Cause.OOM_KILLED: "host-memory",
}
"""The manifest check that foresees a cause."""


class Found(NamedTuple):
    """A cause, and what shows it."""

    cause: Cause
    evidence: str
    check: str | None
    """Slug of the manifest check that foresees it."""
    pod: str = ""
    """The pod that is to blame, if one is."""


def _found(cause: Cause, evidence: str, pod: str = "") -> Found:
    return Found(cause, evidence, FORESEEN.get(cause), pod)


class Failed(NamedTuple):
    """A failed stream, and what is known of where it was."""

    stream: StreamVerdict
    sent: float
    """When it was sent, or would have been."""
    ended: float
    lives: list[Life]
    """Pods that it can have been on."""
    struck: dict[str, float]
    """Those that an abrupt fault hit, and when."""

    @property
    def turned_away(self) -> bool:
        """Whether it was a new request that got no answer."""
        return self.stream.effect is Effect.NOT_SERVED

    @property
    def stopped(self) -> list[Life]:
        """Those of its pods that were deleted, and not by an abrupt fault."""
        return [
            life for life in self.lives if life.deleted is not None and life.name not in self.struck
        ]


def cause_of(
    scene: Scene,
    stream: StreamVerdict,
    sent: float,
    pods: tuple[str, ...],
    struck: Mapping[str, float] = MappingProxyType({}),
) -> Found:
    """Return why a stream failed, and the words for it; the first that fits.

    Args:
        scene: What happened in the cluster.
        stream: The stream.
        sent: When it was sent, or would have been.
        pods: Where it can have been.
        struck: Pods that an abrupt fault hit, and when.
    """
    lives = [scene.lives[name] for name in pods if name in scene.lives]
    ended = stream.ended if stream.ended is not None else sent
    failed = Failed(stream, sent, ended, lives, dict(struck))
    # what ends or turns away streams does not change what one says that came to its end
    for look in () if stream.outcome in TO_ITS_END else CAUSES:
        if found := look(scene, failed):
            return found
    return _unexplained(failed)


def _client_too_slow(scene: Scene, failed: Failed) -> Found | None:
    if failed.stream.outcome not in {Outcome.STALLED, Outcome.REFUSED}:
        return None
    if not any(failed.sent - SECOND_S <= at <= failed.ended + SECOND_S for at in scene.slow):
        return None
    return _found(
        Cause.CLIENT_TOO_SLOW,
        f"the client itself was more than {MAX_LAG_MS:.0f} ms behind meanwhile",
    )


def _oom_killed(_: Scene, failed: Failed) -> Found | None:
    for life in failed.lives:
        for at in life.oom:
            if at - SECOND_S <= failed.ended <= at + KILL_LATE_S:
                return _found(Cause.OOM_KILLED, f"the kernel killed pod/{life.name}, out of memory")
    return None


def _killed_by_liveness(scene: Scene, failed: Failed) -> Found | None:
    grace_s = 30.0 if scene.grace_s is None else scene.grace_s
    for life in failed.lives:
        for event in scene.events:
            if (
                event.object == f"Pod/{life.name}"
                and event.reason == "Killing"
                and "liveness" in event.message
                and event.at - SECOND_S <= failed.ended <= event.at + grace_s + KILL_LATE_S
            ):
                before = f"{max(0.0, failed.ended - event.at):.0f} s before"
                return _found(
                    Cause.KILLED_BY_LIVENESS,
                    f"pod/{life.name} failed its liveness probe and was restarted {before}",
                    life.name,
                )
    return None


def _hung(scene: Scene, failed: Failed) -> Found | None:
    """Return the cause of a stream that fell silent at SIGTERM and ended much later."""
    stream, ended = failed.stream, failed.ended
    last = stream.last_token
    if last is None or ended - last <= SILENT_S:
        return None
    for life in failed.stopped:
        sigterm = scene.sigterm(life)
        cut = sigterm if sigterm is not None else life.deleted or 0.0
        if failed.sent < cut and cut - SECOND_S <= last <= cut + SILENT_S:
            until = "its client gave up" if stream.outcome is Outcome.STALLED else "it ended"
            return _found(
                Cause.ENGINE_ABORTS_ON_SIGTERM,
                f"the last token came {_beside(last - cut)} SIGTERM to pod/{life.name}, and then "
                f"nothing for {ended - last:.0f} s, until {until}",
                life.name,
            )
    return None


def _beside(seconds: float) -> str:
    return f"{seconds:.1f} s after" if seconds >= 0 else f"{-seconds:.1f} s before"


def _stopped(scene: Scene, failed: Failed) -> Found | None:
    """Return the cause of a stream that was on a pod when that was stopped."""
    stream, sent, ended = failed.stream, failed.sent, failed.ended
    near = sorted(failed.stopped, key=lambda life: abs(ended - (scene.ended(life) or ended)))
    for life in near:
        deleted = life.deleted or 0.0
        killed = deleted + life.grace_s
        sigterm = scene.sigterm(life)
        over = scene.ended(life)
        if sent >= killed or (over and ended > over + KILL_LATE_S):
            continue
        end = scene.end(life)
        code = end.exit_code if end else None
        late = over is None or over >= killed - 2 * SECOND_S
        if ended >= killed - SECOND_S and late and code in {None, SIGKILLED}:
            return _found(
                Cause.GRACE_PERIOD_EXCEEDED,
                f"pod/{life.name} was killed {killed - deleted:.0f} s after its deletion, when its "
                f"grace period ended; the stream had run for {ended - sent:.0f} s"
                + (f" (exit code {code})" if code is not None else ""),
                life.name,
            )
        began = stream.effect is Effect.DROPPED or stream.outcome is Outcome.NO_RESPONSE
        cut = sigterm if sigterm is not None else deleted
        if began and sent < cut and ended >= cut - SECOND_S:
            said = f", which then ended with exit code {code}" if code is not None else ""
            return _found(
                Cause.ENGINE_ABORTS_ON_SIGTERM,
                f"cut {max(0.0, ended - cut):.1f} s after SIGTERM to pod/{life.name}, "
                f"{max(0.0, killed - ended):.0f} s before its grace period would have ended{said}",
                life.name,
            )
    return None


def _unrouted(scene: Scene, failed: Failed) -> Found | None:
    if not failed.turned_away or not scene.endpoints or scene.ready_at(failed.sent):
        return None
    return _found(Cause.NO_READY_ENDPOINT, "no pod of the Service was ready when it was sent")


def _misrouted(scene: Scene, failed: Failed) -> Found | None:
    """Return the cause of a request that came to a pod which had been told to end, or was gone.

    Or came before, and was not taken up until then.
    """
    sent, answered = failed.sent, failed.stream.answered
    met = [sent] if answered is None or not failed.turned_away else [sent, answered]
    deleted_ones = [life for life in failed.lives if life.deleted is not None]
    # a busy node may go on sending to a pod that left the endpoints longer ago than is usual
    late = scene.stopped if failed.turned_away else []
    for life in [*deleted_ones, *late]:
        deleted = life.deleted or 0.0
        gone = life.gone if life.gone is not None else FOREVER
        sigterm = scene.sigterm(life)
        # until SIGTERM it does not know that it ends, and serves
        since = deleted if sigterm is None else sigterm
        if any(since - SECOND_S <= at <= gone + ROUTING_LAG_S for at in met):
            removed = scene.removed(life.name)
            left = (
                f"; it had left the endpoints {sent - removed:.1f} s before"
                if removed is not None and removed <= sent
                else "; it was still among the endpoints"
            )
            what = failed.stream.detail or failed.stream.outcome.value
            return _found(
                Cause.ROUTED_TO_TERMINATING_POD,
                f"sent {_beside(sent - deleted)} pod/{life.name} was deleted{left}: {what}",
                life.name,
            )
    return None


def _not_ready_yet(scene: Scene, failed: Failed) -> Found | None:
    """Return the cause of a request that came to a pod which was ready only in name."""
    if not failed.turned_away or failed.stream.outcome is Outcome.NOT_A_STREAM:
        return None
    for life in failed.lives:
        since = scene.ready_since(life.name, failed.sent)
        if since is None or life.deleted is not None:
            continue
        struck = failed.struck.get(life.name, -FOREVER)
        if since <= struck:
            continue  # it is not known to be gone yet
        age = failed.sent - since
        busy = scene.busy_since(life.name, struck)
        served = busy <= failed.sent if busy is not None else age > YOUNG_S
        if not served and since > scene.began:
            return Found(
                Cause.NO_READY_ENDPOINT,
                f"sent {age:.1f} s after pod/{life.name} was said to be ready, and turned away: "
                "its readiness probe succeeds before it serves",
                "readiness-probe",
                life.name,
            )
    return None


CAUSES: Final = (
    _client_too_slow,
    _oom_killed,
    _killed_by_liveness,
    _hung,
    _stopped,
    _unrouted,
    _misrouted,
    _not_ready_yet,
)
"""What is looked for, the most telling first."""


def _unexplained(failed: Failed) -> Found:
    """Say what is known of a stream that none of the causes explains."""
    stream, ended = failed.stream, failed.ended
    words = "nothing in the evidence explains it"
    if stream.outcome in TO_ITS_END:
        words = "it came to its end, and nothing outside the engine changes what an answer says"
    hit = [life.name for life in failed.lives if life.name in failed.struck]
    if hit:
        pod = min(hit, key=lambda name: abs(ended - failed.struck[name]))
        late_s = ended - failed.struck[pod]
        words = (
            f"it ended {_beside(late_s)} pod/{pod} was hit, and an abrupt fault may not cost that"
        )
        if stream.silently_truncated and stream.outcome not in TO_ITS_END and late_s >= -SECOND_S:
            where = "on" if len(failed.lives) == 1 else "perhaps on"
            end = "[DONE]" if stream.done else "a clean end"
            words = (
                f"{where} pod/{pod}, cut {_beside(late_s)} that was hit: an engine's death must "
                f"end its answers with an error that every client sees, not with {end}"
            )
    return Found(Cause.UNKNOWN, words, None)
