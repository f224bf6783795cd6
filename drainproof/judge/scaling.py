"""Whether an autoscaler did what it declares under a load, and which link broke if it did not.

A pure function of a History, like the verdict that it is a part of: what the engines' gauges, the
query, the autoscaler and the pods said, and when.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from drainproof.judge import outage
from drainproof.judge.cold import Cold, cold_of, cold_steps, early_enough, fits_probe
from drainproof.judge.links import (
    BrokenError,
    DoubtfulError,
    Step,
    between,
    hpa_says,
    other_number,
    steps_of,
    why_not,
)
from drainproof.judge.tally import FROM_ZERO
from drainproof.judge.watched import REACHED, SEEN_S, Seen
from drainproof.judge.zero import (
    Zero,
    answered,
    came,
    users_see,
    went_to_zero,
    zero_of,
    zero_steps,
)
from drainproof.model import chain
from drainproof.simulate.hpa import SYNC_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.judge.scene import Scene, Span
    from drainproof.judge.tally import FaultTally
    from drainproof.streams.history import Pod

MOST_POINTS: Final = 600
"""Points of the queue over time that a verdict keeps."""
_LEAST_SWINGS: Final = 2
_LEAST_ANSWERS: Final = 2
"""How often a query must count other pods; once may be one that was just renamed or is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One thing that has to hold."""

    says: str
    holds: bool | None
    """None: it can't be said."""
    found: str
    """What was found; of a failure, the link that broke comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What one fault of scaling showed."""

    scaler: str
    """``Kind/name``."""
    threshold: float | None
    least: int
    most: int
    criteria: tuple[Criterion, ...]
    broken: str
    """The link that broke; empty if none did, or none can be named."""
    steps: tuple[Step, ...]
    """Of a rise: its reaction time, link by link. Of a cold start: its parts."""
    reaction_s: float | None
    """From the queue over the threshold, or from the first request at zero, to the first new
    replica that served."""
    changes: int
    """How often the number of replicas changed."""
    allowed: int | None
    """How often its policy may change it, of such a queue; None if that was not asked."""
    replicas: tuple[tuple[float, int], ...]
    """Over time."""
    queue: tuple[tuple[float, float], ...]
    """Requests that wait, over time, thinned."""
    cold: Cold | None = None
    """Of a cold start: what it means for a queue."""
    zero: Zero | None = None
    """Of a start from zero: what users met."""

    @property
    def failures(self) -> tuple[str, ...]:
        """What did not hold."""
        return tuple(one.found for one in self.criteria if one.holds is False)

    @property
    def doubts(self) -> tuple[str, ...]:
        """What can't be said."""
        return tuple(one.found for one in self.criteria if one.holds is None)


def scaling_of(scene: Scene, span: Span, counted: FaultTally) -> Scaling | None:
    """Judge a fault of scaling; None if it is no such fault.

    Args:
        scene: The History.
        span: The fault.
        counted: What is counted of its streams.
    """
    criteria = CRITERIA.get(span.fault)
    if criteria is None:
        return None
    seen = Seen(scene, span, counted)
    found, broken = [], ""
    for says, holds in criteria if seen.declared else ():
        try:
            said = holds(seen)
        except BrokenError as problem:
            broken = broken or problem.link
            found.append(Criterion(says=says, holds=False, found=str(problem)))
            break
        except DoubtfulError as problem:
            found.append(Criterion(says=says, holds=None, found=str(problem)))
            break
        if said:
            found.append(Criterion(says=says, holds=True, found=said))
    if seen.declared is None:
        found = [Criterion(says=criteria[0][0], holds=None, found=seen.undeclared)]
    scaler = seen.declared.scaler if seen.declared else None
    way = _STEPS.get(span.fault) if seen.declared else None
    steps = tuple(way(seen)) if way else ()
    rises = span.fault != "cold-start"
    served = steps[-1].at if steps and rises else None
    began = steps[0].at if steps and rises else None
    return Scaling(
        scaler=seen.scaler_name,
        threshold=seen.declared.threshold if seen.declared else None,
        least=scaler.min_replicas if scaler else 0,
        most=scaler.max_replicas if scaler else 0,
        criteria=tuple(found),
        broken=broken,
        steps=steps,
        reaction_s=between(began, served),
        changes=len(seen.changes),
        allowed=seen.allowed,
        replicas=tuple(seen.replicas),
        queue=tuple(seen.queue[:: max(1, -(-len(seen.queue) // MOST_POINTS))]),
        cold=cold_of(seen) if seen.declared and span.fault == "cold-start" else None,
        zero=zero_of(seen) if span.fault == FROM_ZERO else None,
    )


# ── What has to hold ────────────────────────────────────────────────────────────────────────────


def _alone(seen: Seen) -> str:
    """See that nothing else scales the target."""
    gone = {one.object for one in seen.scalers if one.gone}
    others = {
        one.object
        for one in seen.scalers
        if one.at <= seen.end and seen.scaler_name not in {one.object, one.made_by}
    } - gone
    if others:
        raise BrokenError(
            chain.TO_DEPLOYMENT,
            f"{', '.join(sorted(others))} scales it too, beside {seen.scaler_name}, and they undo "
            "what the other does",
        )
    return f"{seen.scaler_name} alone"


def _query_is_its_own(seen: Seen) -> str:
    """See that the query counts no other pods; nothing is said where nobody knows."""
    told = [one for one in seen.answers if one.others and one.value is not None]
    if len(told) >= _LEAST_ANSWERS:
        last = told[-1]
        own = [value for at, value in seen.signal if at <= last.at]
        raise BrokenError(
            chain.TO_QUERY,
            f"the query also counts {', '.join(last.others)}: it says {last.value:g}"
            + (f", the pods themselves {own[-1]:g}" if own else ""),
        )
    known = [one for one in seen.answers if one.pods]
    return f"{known[-1].pods} of its pods, and no other" if known else ""


def _queue_grew(seen: Seen) -> str:
    """See that the load was enough to ask for another replica."""
    known = seen.known
    needed = known.needed(seen.first)
    most = max((value for _, value in seen.signal), default=0.0)
    waited = max((value for _, value in seen.queue), default=0.0)
    if any(known.over(value, seen.first) for _, value in seen.signal):
        return f"at most {most:g}, and {needed:g} asks for more than {seen.first} replicas"
    if known.counts is None and known.query and not seen.answers:
        raise DoubtfulError(
            "what the autoscaler follows is not known without Prometheus (--prometheus)"
        )
    if known.counts is None and not seen.signal and seen.spells():
        link, why = why_not(seen, *seen.longest)
        if link:
            raise BrokenError(link, why)
    aim = seen.span.aim
    if aim is not None and waited >= aim * REACHED and (known.counts is None or aim < needed):
        if known.utilisation and seen.signal:
            raise BrokenError(
                chain.TO_QUERY,
                f"{known.utilisation} does not follow the queue: it was at most {most:.3g} with "
                f"{waited:g} requests waiting, and more than {needed:g} asks for another replica",
            )
        raise BrokenError(
            chain.TO_KEDA,
            f"the threshold {known.threshold:g} was not reached with {waited:g} requests "
            f"waiting: the metric was at most {most:g}, and more than {needed:g} asks for another "
            "replica: is it in the metric's unit?",
        )
    if not seen.queue:
        raise DoubtfulError("the engines' gauges did not tell how many requests waited")
    raise DoubtfulError(
        f"the queue did not go over the threshold: at most {most:g}, and more than {needed:g} asks "
        f"for more than {seen.first} replicas (more users)"
    )


def _rose(seen: Seen) -> str:
    """See that replicas rose in time."""
    grew, rise = seen.grew, seen.rise
    allowed_s = seen.allowed_s
    if grew is None and rise is not None:  # it was over the threshold, so after they rose
        over = next(at for at, value in seen.signal if seen.known.over(value, seen.first))
        if over - rise > SEEN_S:
            raise DoubtfulError(
                f"replicas rose {over - rise:.0f} s before what is followed was seen over the "
                "threshold, so what made them rise is not known"
            )
        grew = over
    assert grew is not None  # noqa: S101 - for the type checker: the criterion before
    if rise is not None and rise - grew <= allowed_s + SEEN_S:
        return f"after {max(rise - grew, 0.0):.1f} s; {allowed_s:.0f} s are allowed"
    if rise is None:
        since, until = seen.longest
        link, why = why_not(seen, since, until)
        if until - since < allowed_s and not link:
            raise DoubtfulError(
                f"the queue was over the threshold for only {until - since:.0f} s, and replicas "
                f"may take {allowed_s:.0f} s to rise"
            )
        raise BrokenError(link, why)
    slow = max(
        (
            step
            for step in steps_of(seen)
            if step.took_s is not None and step.link and (step.at or 0.0) <= rise
        ),
        key=lambda step: step.took_s or 0.0,
        default=None,
    )
    raise BrokenError(
        slow.link if slow else "",
        f"replicas rose {rise - grew:.1f} s after the queue was {seen.is_long}, and "
        f"{allowed_s:.0f} s are allowed"
        + (f"; {slow.took_s:.1f} s of them until {slow.what}" if slow and slow.took_s else ""),
    )


def _as_allowed(seen: Seen) -> str:
    """See that replicas changed no faster than the policies let them."""
    fast = seen.known.too_fast(seen.changes)
    if fast is not None:
        at, before, after = fast
        raise BrokenError(
            chain.TO_DEPLOYMENT,
            f"from {before} to {after} replicas at once, {at - seen.begin:.0f} s after it began: "
            f"no policy of {seen.scaler_name} allows that, so something else scales it too",
        )
    return ", ".join(f"{before} to {after}" for _, before, after in seen.changes) or "no change"


def _new_pods_serve(seen: Seen) -> str:
    """See that what was added became Ready, and served."""
    fresh = seen.fresh
    if not fresh:
        raise BrokenError(chain.TO_POD, f"replicas rose, and no pod was made{_refused(seen)}")
    served = {name: at for name in fresh if (at := seen.serving(name)) is not None}
    ready = {name for name, told in fresh.items() if any(pod.ready for pod in told)}
    for name in sorted(ready & served.keys(), key=lambda name: served[name]):
        since = seen.emptied or seen.grew or seen.begin
        return f"pod/{name} after {served[name] - since:.1f} s"
    if ready:
        name = min(ready)
        if not any(one.running is not None for one in seen.scene.gauges.get(name, [])):
            raise DoubtfulError(f"whether pod/{name} serves can't be told: its gauges did not say")
        raise BrokenError(chain.TO_STREAMS, f"pod/{name} is Ready, and was given no request")
    for name, told in fresh.items():
        _not_ready(seen, name, told)
    raise AssertionError  # pragma: no cover - one of them was told of


def _not_ready(seen: Seen, name: str, told: list[Pod]) -> None:
    """Say why a new pod did not become Ready."""
    last = told[-1]
    if not last.node and last.unschedulable:
        raise DoubtfulError(
            f"there was no room for pod/{name}, which stayed Pending: {last.unschedulable}"
        )
    probe = seen.killed_by(name)
    restarts = max((int(one.get("restarts") or 0) for one in last.containers), default=0)
    if probe:
        raise BrokenError(
            chain.TO_POD,
            f"its {probe} probe kills pod/{name} while it loads: restarted {restarts} times, and "
            "never Ready",
        )
    why = next((str(one["reason"]) for one in last.containers if one.get("reason")), "")
    if restarts:
        raise BrokenError(
            chain.TO_POD,
            f"pod/{name} was restarted {restarts} times and never Ready"
            + (f": {why}" if why else ""),
        )
    if why:
        raise BrokenError(chain.TO_POD, f"pod/{name} does not run: {why}")
    raise BrokenError(
        chain.TO_POD,
        f"pod/{name} was not Ready {seen.end - told[0].at:.0f} s after it was made: its model "
        "never loads, or takes longer than that",
    )


def _one_more_serves(seen: Seen) -> str:
    """See that a replica was added, and served."""
    if not seen.fresh:
        raise DoubtfulError(f"no new pod was made{_refused(seen)}")
    return _new_pods_serve(seen)


def _refused(seen: Seen) -> str:
    """Return why pods could not be made, in Kubernetes' words."""
    for event in reversed(seen.scene.events):
        if event.reason == "FailedCreate" and seen.begin <= event.at <= seen.end:
            return f": {event.message}"
    return ""


def _queue_fell(seen: Seen) -> str:
    """See that the queue is short again."""
    peak = max((value for _, value in seen.queue), default=0.0)
    last = seen.queue[-1][1] if seen.queue else 0.0
    if not seen.span.completed or (peak and last >= peak):
        raise BrokenError(
            chain.TO_STREAMS,
            f"the queue did not fall: {last:g} requests wait, of at most {peak:g}",
        )
    return f"from {peak:g} to {last:g} requests"


def _was_up(seen: Seen) -> str:
    """See that there were replicas to take away."""
    least = seen.known.scaler.min_replicas
    most = max((count for _, count in seen.replicas), default=0)
    if most > least:
        return f"{most} replicas, of at least {least}"
    if not seen.spells():
        _queue_grew(seen)
    since, until = seen.longest
    link, why = why_not(seen, since, until)
    raise (BrokenError(link, why) if link else DoubtfulError(why))


def _not_early(seen: Seen) -> str:
    """See that replicas stayed for as long as was declared."""
    declared, said = seen.known, []
    for at, before, after in seen.changes:
        if after >= before:
            continue
        asked = [
            when
            for when, value in seen.all_signal
            if when <= at and declared.asks(value, before) >= before
        ]
        if not asked:
            continue
        since = at - asked[-1]
        if since < declared.down_s - SYNC_S - SEEN_S:
            raise BrokenError(
                chain.TO_DEPLOYMENT,
                f"from {before} to {after} replicas {since:.0f} s after the queue last asked for "
                f"{before}: {seen.scaler_name} declares {declared.down_s:g} s, so something else "
                "scales it too",
            )
        said.append(f"{before} to {after} after {since:.0f} s")
    return ", ".join(said) + f"; {declared.down_s:g} s are declared" if said else "nothing fell"


def _returned(seen: Seen) -> str:
    """See that the fewest replicas are left, in time."""
    declared = seen.known
    least = declared.scaler.min_replicas
    last_at, last = seen.replicas[-1]
    busy = [at for at, value in seen.signal if declared.asks(value, max(last, least + 1)) > least]
    calm = max([seen.begin, *busy[-1:]])
    if last <= least:
        return f"{last} replicas {max(last_at - calm, 0.0):.0f} s after the queue was short"
    most = max(count for _, count in seen.replicas)
    allowed_s = declared.down_s + declared.falls_s(most) + declared.polling_s + seen.scrape_s
    allowed_s += 2 * SYNC_S
    quiet_s = seen.end - calm
    if quiet_s < allowed_s:
        raise DoubtfulError(
            f"the queue was short for only {quiet_s:.0f} s, and replicas may take {allowed_s:.0f} "
            "s to fall"
        )
    answers = [one for one in seen.answers if one.at >= calm and one.value is not None]
    high = [one for one in answers if declared.asks(one.value or 0.0, last) >= last]
    if answers and high and high[-1] is answers[-1]:
        raise BrokenError(chain.TO_QUERY, other_number(seen, answers[-1], 0.0))
    link, why = hpa_says(seen)
    if not link:
        link, why = chain.TO_DEPLOYMENT, f"still {last} replicas, and nothing says why"
    raise BrokenError(
        link, f"still {last} replicas {quiet_s:.0f} s after the queue was short: {why}"
    )


def _swung(seen: Seen) -> str:
    """See that the queue went over the threshold and back, more than once."""
    declared = seen.known
    states = [declared.over(value, seen.first) for _, value in seen.signal]
    times = sum(after and not before for before, after in pairwise([False, *states]))
    if times < _LEAST_SWINGS:
        _queue_grew(seen)
        raise DoubtfulError(f"the queue went over the threshold {times} times, and twice is needed")
    return f"over the threshold {times} times"


def _steady(seen: Seen) -> str:
    """See that replicas changed no more often than the policy lets them."""
    made = len(seen.changes)
    # the HPA looks at other moments than these gauges do
    seen.allowed = seen.known.most_changes(seen.signal, seen.first) + 1
    lasted_s = seen.end - seen.begin
    if made > seen.allowed:
        raise BrokenError(
            chain.TO_DEPLOYMENT,
            f"{made} changes of the number of replicas in {lasted_s:.0f} s, and the policy of "
            f"{seen.scaler_name} makes at most {seen.allowed} of such a queue: something else "
            "scales it too",
        )
    return f"{made} changes in {lasted_s:.0f} s; the policy allows {seen.allowed}"


CRITERIA: Final[dict[str, tuple[tuple[str, Callable[[Seen], str]], ...]]] = {
    "scale-out": (
        ("one autoscaler", _alone),
        ("the query counts these pods alone", _query_is_its_own),
        ("the queue goes over the threshold", _queue_grew),
        ("replicas rise in time", _rose),
        ("no faster than the policy allows", _as_allowed),
        ("new replicas become Ready and serve", _new_pods_serve),
        ("the queue falls", _queue_fell),
    ),
    "scale-in": (
        ("one autoscaler", _alone),
        ("the query counts these pods alone", _query_is_its_own),
        ("there are replicas to take away", _was_up),
        ("no earlier than is declared", _not_early),
        ("no faster than the policy allows", _as_allowed),
        ("replicas return to the fewest", _returned),
    ),
    "no-flapping": (
        ("one autoscaler", _alone),
        ("the query counts these pods alone", _query_is_its_own),
        ("the queue swings around the threshold", _swung),
        ("no more changes than the policy allows", _steady),
        ("no faster than the policy allows", _as_allowed),
    ),
    "scaler-outage": outage.CRITERIA,
    "cold-start": (
        ("one more replica serves", _one_more_serves),
        ("its load fits what the probe allows", fits_probe),
        ("the threshold is early enough", early_enough),
    ),
    FROM_ZERO: (
        ("one autoscaler", _alone),
        ("replicas go to zero by themselves", went_to_zero),
        ("a replica is asked for", came),
        ("it becomes Ready and serves", _new_pods_serve),
        ("a request is answered in time", answered),
        ("what users see meanwhile", users_see),
    ),
}
"""What has to hold of each fault, in this order: the first that does not is told of."""

_STEPS: Final[dict[str, Callable[[Seen], Iterator[Step]]]] = {
    "scale-out": steps_of,
    "cold-start": cold_steps,
    FROM_ZERO: zero_steps,
}
"""Of which faults the time is split into its parts, and how."""
