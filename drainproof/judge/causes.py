"""Why a stream failed: one name from a fixed list, and the evidence for it in words."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from drainproof.judge.clients import MAX_LAG_MS
from drainproof.judge.scene import ROUTING_LAG_S, SECOND_S
from drainproof.judge.streams import Effect, Outcome

if TYPE_CHECKING:
    from drainproof.judge.scene import Life, Scene
    from drainproof.judge.streams import StreamVerdict

KILL_LATE_S: Final = 5.0
"""How late the end of a stream may be seen after its container was killed."""
SILENT_S: Final = 5.0
"""A lost stream without a token for longer was lost at its last token, not when it ended: a hung
engine keeps connections open until its client gives up or it is killed."""
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
}
"""The manifest check that foresees a cause."""


def cause_of(
    scene: Scene, stream: StreamVerdict, sent: float, pods: tuple[str, ...]
) -> tuple[Cause, str]:
    """Return why a stream failed, and the words for it; the first that fits."""
    ended = stream.ended if stream.ended is not None else sent
    lives = [scene.lives[name] for name in pods if name in scene.lives]
    hit = [life for life in lives if life in scene.hit]
    # a busy node may go on sending to a pod that left the endpoints longer ago than is usual
    turned_away = stream.effect is Effect.NOT_SERVED
    late = [life for life in scene.hit if life not in hit] if turned_away else []
    for found in (
        _client_too_slow(scene, stream, sent, ended),
        _oom_killed(lives, ended),
        _killed_by_liveness(scene, lives, ended),
        _hung(scene, stream, sent, ended, hit),
        _stopped(scene, stream, sent, ended, hit),
        _unrouted(scene, stream, sent),
        _misrouted(scene, stream, sent, [*hit, *late]),
    ):
        if found:
            return found
    return Cause.UNKNOWN, "nothing in the evidence explains it"


def _client_too_slow(
    scene: Scene, stream: StreamVerdict, sent: float, ended: float
) -> tuple[Cause, str] | None:
    if stream.outcome not in {Outcome.STALLED, Outcome.REFUSED}:
        return None
    if not any(sent - SECOND_S <= at <= ended + SECOND_S for at in scene.slow):
        return None
    return (
        Cause.CLIENT_TOO_SLOW,
        f"the client itself was more than {MAX_LAG_MS:.0f} ms behind meanwhile",
    )


def _oom_killed(lives: list[Life], ended: float) -> tuple[Cause, str] | None:
    for life in lives:
        for at in life.oom:
            if at - SECOND_S <= ended <= at + KILL_LATE_S:
                return Cause.OOM_KILLED, f"the kernel killed pod/{life.name}, out of memory"
    return None


def _killed_by_liveness(scene: Scene, lives: list[Life], ended: float) -> tuple[Cause, str] | None:
    for life in lives:
        for event in scene.events:
            if (
                event.object == f"Pod/{life.name}"
                and event.reason == "Killing"
                and "liveness" in event.message
                and event.at - SECOND_S <= ended <= event.at + _grace(scene) + KILL_LATE_S
            ):
                before = f"{max(0.0, ended - event.at):.0f} s before"
                return (
                    Cause.KILLED_BY_LIVENESS,
                    f"pod/{life.name} failed its liveness probe and was restarted {before}",
                )
    return None


def _hung(
    scene: Scene, stream: StreamVerdict, sent: float, ended: float, hit: list[Life]
) -> tuple[Cause, str] | None:
    """Return the cause of a stream that fell silent at SIGTERM and ended much later."""
    last = stream.last_token
    if stream.effect is not Effect.DROPPED or last is None or ended - last <= SILENT_S:
        return None
    for life in hit:
        sigterm = scene.sigterm(life)
        cut = sigterm if sigterm is not None else life.deleted or 0.0
        if sent < cut and cut - SECOND_S <= last <= cut + SILENT_S:
            until = "its client gave up" if stream.outcome is Outcome.STALLED else "it ended"
            words = (
                f"the last token came {_beside(last - cut)} SIGTERM to pod/{life.name}, and then "
                f"nothing for {ended - last:.0f} s, until {until}"
            )
            return Cause.ENGINE_ABORTS_ON_SIGTERM, words
    return None


def _beside(seconds: float) -> str:
    return f"{seconds:.1f} s after" if seconds >= 0 else f"{-seconds:.1f} s before"


def _stopped(
    scene: Scene, stream: StreamVerdict, sent: float, ended: float, hit: list[Life]
) -> tuple[Cause, str] | None:
    """Return the cause of a stream that was on a pod when that was stopped."""
    for life in sorted(hit, key=lambda life: abs(ended - (scene.ended(life) or ended))):
        deleted = life.deleted or 0.0
        killed = deleted + life.grace_s
        sigterm = scene.sigterm(life)
        over = scene.ended(life)
        if sent >= killed or ended < deleted or (over and ended > over + KILL_LATE_S):
            continue
        code = life.main(scene.container).get("exit_code")
        late = over is None or over >= killed - 2 * SECOND_S
        if ended >= killed - SECOND_S and late and code in {None, SIGKILLED}:
            return (
                Cause.GRACE_PERIOD_EXCEEDED,
                f"pod/{life.name} was killed {killed - deleted:.0f} s after its deletion, when its "
                f"grace period ended; the stream had run for {ended - sent:.0f} s"
                + (f" (exit code {code})" if code is not None else ""),
            )
        began = stream.effect is Effect.DROPPED or stream.outcome is Outcome.NO_RESPONSE
        cut = sigterm if sigterm is not None else deleted
        if began and sent < cut and ended >= cut - SECOND_S:
            said = f", which then ended with exit code {code}" if code is not None else ""
            words = (
                f"cut {max(0.0, ended - cut):.1f} s after SIGTERM to pod/{life.name}, "
                f"{max(0.0, killed - ended):.0f} s before its grace period would have ended{said}"
            )
            return Cause.ENGINE_ABORTS_ON_SIGTERM, words
    return None


def _unrouted(scene: Scene, stream: StreamVerdict, sent: float) -> tuple[Cause, str] | None:
    if stream.effect is not Effect.NOT_SERVED or not scene.endpoints or scene.ready_at(sent):
        return None
    return Cause.NO_READY_ENDPOINT, "no pod of the Service was ready when it was sent"


def _misrouted(
    scene: Scene, stream: StreamVerdict, sent: float, hit: list[Life]
) -> tuple[Cause, str] | None:
    for life in hit:
        deleted = life.deleted or 0.0
        gone = life.gone if life.gone is not None else float("inf")
        if deleted - SECOND_S <= sent <= gone + ROUTING_LAG_S:
            removed = scene.removed(life.name)
            left = (
                f"; it had left the endpoints {sent - removed:.1f} s before"
                if removed is not None and removed <= sent
                else "; it was still among the endpoints"
            )
            what = stream.detail or stream.outcome.value
            words = f"sent {max(0.0, sent - deleted):.1f} s after pod/{life.name} was deleted{left}"
            return Cause.ROUTED_TO_TERMINATING_POD, f"{words}: {what}"
    return None


def _grace(scene: Scene) -> float:
    value = scene.header.target.get("grace_period_s") if scene.header else None
    return float(value or 30.0)
