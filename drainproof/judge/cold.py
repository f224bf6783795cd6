"""What one more replica took from pod to first token, and what that means for a queue.

With ``T`` requests waiting when the autoscaler asks for a replica, a queue that grows by ``g`` a
second, a reaction of ``R`` and a cold start of ``C`` seconds, ``T + g (R + C)`` requests wait when
the replica serves. By Little's law the last of them waits that number divided by ``s``, what the
replicas that are there answer in a second. So that it waits for no more than ``W`` seconds, the
autoscaler has to ask with no more than ``s W - g (R + C)`` waiting.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drainproof.judge.links import BrokenError, DoubtfulError, Step, between, first_fresh, starts
from drainproof.judge.profiles import PROFILES
from drainproof.model import chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.watched import Seen

    Queue = Sequence[tuple[float, float]]

USED_MAX: Final = PROFILES["production"].startup_used_max
"""Share of a probe's budget that a load may take, as in every profile."""
WAIT_S: Final = 30.0
"""How long a request may wait, where the user does not say: module 1.5, "War Story": at 45 s users
saw timeouts."""
_GROWS_S: Final = 10.0
"""How long a queue must grow until its growth can be told."""
_BUSY: Final = 0.9
"""In how much of the time requests must wait, so that what is answered is all that can be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """What a cold start means for a queue. Seconds, and requests; None: it is not known."""

    pod: str
    took_s: float | None
    """From when the pod was made to the first token that it served."""
    load_s: float | None
    """From its container's start until its engine answered."""
    probe: str
    """Which probe kills an engine that loads too long; empty if none is known to."""
    budget_s: float | None
    """What that one allows."""
    reaction_s: float
    """What the autoscaler may take, as it is declared, from a long queue to one replica more."""
    growth_per_s: float | None
    """Requests by which the queue grows in a second."""
    growth_stated: bool
    """Whether the user stated that; else it was seen."""
    answers_per_s: float
    """Requests that the replicas before it answered in a second."""
    answers_at_least: bool
    """Whether they could have answered more: no queue was there all the time."""
    wait_s: float
    """How long a request may wait."""
    asks_at: float | None
    """Requests that wait when the autoscaler asks for one replica more, as it is declared."""
    waiting: float | None
    """Requests that wait when that one serves."""
    last_waits_s: float | None
    """How long the last of them waits."""
    early: float | None
    """At how many that wait it would have been early enough to ask; less than 0: at none."""
    early_threshold: float | None
    """The threshold that asks then, as the autoscaler has it; None as well if none would."""


def cold_steps(seen: Seen) -> Iterator[Step]:
    """Yield the parts of a cold start, each with the seconds that it took."""
    name, pods = first_fresh(seen)
    made, taken, started = starts(pods, seen.begin)
    answers = seen.answering(name)
    listed = next((one.at for one in seen.scene.endpoints if name in one.ready), None)
    before = made
    for what, link, at in (
        ("pod made", chain.TO_POD, made),
        ("scheduling", "", taken),
        ("image", "", started),
        ("load", "", None if answers is None or started is None else max(answers, started)),
        ("readiness", "", listed if answers is None else _later(listed, answers)),
        ("first token", chain.TO_STREAMS, _later(seen.generating(name), listed)),
    ):
        yield Step(what=what, link=link, at=at, took_s=between(before, at))
        before = before if at is None else at


def _later(at: float | None, floor: float | None) -> float | None:
    """Return a moment, or one before which it can't have been: gauges are read once a second."""
    return at if at is None or floor is None else max(at, floor)


def cold_of(seen: Seen) -> Cold:
    """Return what a cold start means for a queue."""
    stated, (name, _) = seen.span.stated, first_fresh(seen)
    steps = {step.what: step for step in cold_steps(seen)}
    target = seen.scene.header.target if seen.scene.header else {}
    served = steps["first token"].at
    took_s, reaction_s = between(steps["pod made"].at, served), seen.allowed_s
    joined = seen.serving(name)
    # what the others do, until it takes its share
    queue = [point for point in seen.queue if joined is None or point[0] < joined]
    growth, wait_s = stated.get("growth"), stated.get("wait") or WAIT_S
    if growth is None:
        growth = _growth(queue)
    answers = stated.get("answers")
    if answers is None:
        answers = seen.streams.answered / max(seen.end - seen.begin, 1.0)
    asks_at, base = _asks_at(seen, queue)
    early = waiting = threshold = None
    if growth is not None and took_s is not None:
        come = growth * (reaction_s + took_s)
        early = answers * wait_s - come
        waiting = None if asks_at is None else asks_at + come
    if early is not None and early > 0 and asks_at is not None:
        threshold = _threshold(seen, early, base)
    return Cold(
        pod=name,
        took_s=took_s,
        load_s=steps["load"].took_s,
        probe=target.get("load_probe") or "",
        budget_s=target.get("load_budget_s"),
        reaction_s=reaction_s,
        growth_per_s=_rounded(growth),
        growth_stated="growth" in stated,
        answers_per_s=round(answers, 3),
        answers_at_least="answers" not in stated and not _busy(seen, queue),
        wait_s=wait_s,
        asks_at=_rounded(asks_at),
        waiting=_rounded(waiting),
        last_waits_s=_rounded(waiting / answers if waiting is not None and answers else None),
        early=_rounded(early),
        early_threshold=threshold,
    )


def _growth(queue: Queue) -> float | None:
    """Return how fast a queue grew until it was longest; None if that can't be told."""
    longest = max((count for _, count in queue), default=0.0)
    (until, most), *_ = [point for point in queue if point[1] == longest] or [(0.0, 0.0)]
    grew = [point for point in queue if point[0] <= until]
    least = min((count for _, count in grew), default=0.0)
    since = max((at for at, count in grew if count == least), default=until)
    return (most - least) / (until - since) if until - since >= _GROWS_S else None


def _busy(seen: Seen, queue: Queue) -> bool:
    """Tell whether requests waited all the time, so that what is answered is all that can be."""
    counts = [count for at, count in queue if at >= seen.begin]
    return sum(count > 0 for count in counts) >= _BUSY * max(len(counts), 1)


def _asks_at(seen: Seen, queue: Queue) -> tuple[float | None, float]:
    """Return at how many requests that wait one replica more is asked for.

    None if that can't be told; and what requests that run add to the metric meanwhile.
    """
    counts = seen.known.counts
    if counts is None or counts[0] <= 0:
        return None, 0.0
    base = 0.0
    if counts[1]:
        full = [
            value - counts[0] * waiting
            for (_, waiting), (_, value) in zip(queue, seen.signal, strict=False)
            if waiting
        ]
        if not full:
            return None, 0.0
        base = max(full)
    return max(seen.known.needed(seen.first) - base, 0.0) / counts[0], base


def _threshold(seen: Seen, early: float, base: float) -> float:
    """Return the threshold that asks for one replica more when so many requests wait."""
    counts, threshold = seen.known.counts or (1.0, 0.0), seen.known.threshold or 1.0
    each = seen.known.needed(seen.first) / threshold
    return math.floor(10 * (counts[0] * early + base) / each) / 10


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


# ── What has to hold ────────────────────────────────────────────────────────────────────────────


def fits_probe(seen: Seen) -> str:
    """See that the probe does not kill an engine that loads as long as this one, or a bit longer.

    Raises:
        BrokenError: It did, or would.
        DoubtfulError: How long it loaded is not known.
    """
    cold = cold_of(seen)
    killed = seen.killed_by(cold.pod)
    if killed:
        raise BrokenError(chain.TO_POD, f"its {killed} probe killed pod/{cold.pod} while it loaded")
    if cold.budget_s is None:
        return "no startup probe or liveness probe is known to end it"
    if cold.load_s is None:
        raise DoubtfulError(f"how long pod/{cold.pod} loaded can't be told")
    said = f"{cold.load_s:.0f} s, of {cold.budget_s:g} s that its {cold.probe} allows"
    if cold.load_s > USED_MAX * cold.budget_s:
        raise BrokenError(
            chain.TO_POD,
            f"pod/{cold.pod} loaded for {said}: more than {USED_MAX:.0%}, so that one which loads "
            "a bit longer is killed",
        )
    return said


def early_enough(seen: Seen) -> str:
    """See that the autoscaler asks for a replica early enough for the queue to be short.

    Raises:
        BrokenError: It asks too late.
        DoubtfulError: Something is not known that this follows from.
    """
    cold = cold_of(seen)
    if cold.growth_per_s is None:
        raise DoubtfulError(
            "how fast a queue grows is not known: none grew for "
            f"{_GROWS_S:g} s meanwhile (growth=REQUESTS_PER_SECOND)"
        )
    if cold.asks_at is None:
        raise DoubtfulError(
            f"at how many requests that wait {seen.scaler_name} asks for a replica is not known: "
            "its metric is no plain sum of them, or none waited"
        )
    if cold.waiting is None or cold.early is None:
        raise DoubtfulError(f"when pod/{cold.pod} served its first token is not known")
    least = "at least " if cold.answers_at_least else ""
    said = (
        f"{cold.asks_at:.1f} wait when it is asked for, {cold.waiting:.0f} when it serves; the "
        f"others answer {least}{cold.answers_per_s:.2f} a second"
    )
    if cold.asks_at <= cold.early:
        return f"{said}: {cold.last_waits_s or 0.0:.0f} s for the last, of {cold.wait_s:g} s"
    if cold.answers_at_least:
        raise DoubtfulError(
            f"{said}, which may be enough for a wait of {cold.wait_s:g} s or not: no queue was "
            "there (answers=REQUESTS_PER_SECOND)"
        )
    waits = "" if cold.last_waits_s is None else f": {cold.last_waits_s:.0f} s for the last"
    if cold.early_threshold:
        what = f"the threshold {seen.known.threshold:g} is too late: {cold.early_threshold:g}"
        what += f" would be early enough for {cold.wait_s:g} s"
    else:
        what = f"no threshold is early enough for {cold.wait_s:g} s"
    raise BrokenError(chain.TO_KEDA, f"{what}; {said}{waits}")
