"""Whether an autoscaler leaves its target alone while a part of its chain is away, and recovers.

What counts is what KEDA, its HorizontalPodAutoscaler and the Deployment said: that they noticed,
how many replicas there were, and when all was in order again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drainproof.judge.links import BrokenError, DoubtfulError
from drainproof.judge.watched import SEEN_S, UNKNOWN_SCRAPE_S
from drainproof.model import chain
from drainproof.simulate.hpa import SYNC_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drainproof.judge.declared import Declared
    from drainproof.judge.watched import Seen
    from drainproof.streams.history import Autoscaler

KEDA: Final = "keda"
METRICS_API: Final = "metrics-api"
PROMETHEUS: Final = "prometheus"
NAMES: Final = {
    KEDA: "KEDA's operator",
    METRICS_API: "KEDA's metrics API server",
    PROMETHEUS: "Prometheus",
}
"""What an outage can take away, in words."""
_NOTICED_S: Final = {KEDA: 60.0, METRICS_API: 0.0, PROMETHEUS: 3.0}
"""How long a request for the metric may take to fail. KEDA's metrics API server waits for the
operator until the API server's own deadline (``--request-timeout``, 60 s); KEDA's operator waits
3 s for Prometheus."""
_RETURNS_S: Final = {KEDA: 120.0, METRICS_API: 30.0, PROMETHEUS: UNKNOWN_SCRAPE_S}
"""How long its clients may take to see that it is back: gRPC's greatest backoff between KEDA's
metrics API server and the operator; how often the API server looks at an APIService; the first
scrape."""
_LINKS: Final = {
    KEDA: chain.TO_HPA,
    METRICS_API: chain.TO_HPA,
    PROMETHEUS: chain.TO_KEDA,
}
"""What does not work while it is away."""
_UNSOUND: Final = {
    "Ready": ("False", "Unknown"),
    "Fallback": ("True",),
    "HPAActive": ("False",),
    "ScalingActive": ("False", "Unknown"),
}
"""What conditions of a ScaledObject and of its HPA say where something is not in order."""


def noticed_s(away: str) -> float:
    """Return within how many seconds the conditions say that something is away."""
    return _NOTICED_S[away] + SYNC_S


def returns_s(away: str, declared: Declared) -> float:
    """Return within how many seconds of its return everything must be in order again."""
    return _RETURNS_S[away] + declared.polling_s + 2 * SYNC_S


def unsound(conditions: dict[str, str]) -> str:
    """Return what conditions say that is not in order; empty if nothing."""
    return next(
        (
            f"{kind} {conditions[kind]}"
            for kind, bad in _UNSOUND.items()
            if conditions.get(kind, "").startswith(bad)
        ),
        "",
    )


def _worked(seen: Seen) -> str:
    """See that all was in order before."""
    if seen.span.away not in NAMES:
        raise DoubtfulError("the History does not say what was taken away")
    for told in _told(seen):
        last = _last(told, seen.begin)
        if last is None or not last.conditions:
            raise DoubtfulError(f"what KEDA and its HPA of {seen.scaler_name} said is not known")
        if words := unsound(last.conditions):
            raise DoubtfulError(f"{last.object} was not in order before: {words}")
    return f"{seen.scaler_name} and its HPA were in order"


def _stayed(seen: Seen) -> str:
    """See that replicas never fell below what they were, or what the fallback makes of that."""
    declared, first = seen.known, seen.first
    wanted = declared.falls_back_to(first)
    for at, before, after in seen.changes:
        back = seen.span.back is not None and at >= seen.span.back
        least = first
        if wanted is not None and _falling_back(seen, at):
            least = min(first, wanted)
        if after >= min(least, before) or (back and _asked_for(seen, at, before, after)):
            continue
        when = at - (seen.span.gone or seen.begin)
        said = f"from {before} to {after} replicas {when:.0f} s after {_name(seen)} was gone"
        if least < first:
            said += f", and the fallback is {wanted}"
        if back:
            raise BrokenError(
                chain.TO_KEDA,
                f"{said}, and back: requests ask for no fewer than {before}{_as_told(seen, at)}",
            )
        raise BrokenError(chain.TO_DEPLOYMENT, f"{said}, with no metric that asks for it")
    counts = [count for _, count in seen.replicas]
    return f"{first} at first, {min(counts)} to {max(counts)} then"


def _noticed(seen: Seen) -> str:
    """See that KEDA or its HPA said that something was away."""
    gone, back = seen.span.gone, seen.span.back
    if gone is None:
        raise DoubtfulError(f"{_name(seen)} was never gone")
    until = seen.end if back is None else back + SYNC_S
    found = [
        (one.at, f"{one.object} says {words}")
        for told in _told(seen)
        for one in told
        if seen.begin <= one.at <= until and (words := unsound(one.conditions))
    ]
    if found:
        at, words = min(found)
        return f"after {max(at - gone, 0.0):.0f} s: {words}"
    lasted_s = (seen.end if back is None else back) - gone
    raise DoubtfulError(
        f"{_name(seen)} was away for {lasted_s:.0f} s, and neither KEDA nor its HPA noticed: it "
        f"takes them {noticed_s(seen.span.away):.0f} s (for=SECONDS)"
    )


def _fell_back(seen: Seen) -> str:
    """See that what is declared for that was done; nothing is said where nothing is declared."""
    declared, gone = seen.known, seen.span.gone
    wanted = declared.falls_back_to(seen.first)
    if wanted is None or gone is None or seen.span.away != PROMETHEUS:
        return ""
    lasted_s = (seen.end if seen.span.back is None else seen.span.back) - gone
    allowed_s = declared.falls_back_s(seen.first)
    said = [one.at for one in seen.of_keda if _falls_back(one) and one.at >= seen.begin]
    there = [at for at, count in seen.replicas if count == wanted]
    reached_s = max(said[0], there[0]) - gone if said and there else None
    if reached_s is not None and reached_s <= allowed_s + SEEN_S:
        return f"{wanted} replicas after {max(reached_s, 0.0):.0f} s; {allowed_s:.0f} s are allowed"
    if reached_s is not None:
        raise BrokenError(
            chain.TO_DEPLOYMENT if said[0] - gone <= allowed_s else chain.TO_KEDA,
            f"the fallback of {wanted} replicas came {reached_s:.0f} s after {_name(seen)} was "
            f"gone, and {allowed_s:.0f} s are allowed",
        )
    if lasted_s < allowed_s:
        raise DoubtfulError(
            f"{_name(seen)} was away for {lasted_s:.0f} s, and the fallback may take "
            f"{allowed_s:.0f} s (for=SECONDS)"
        )
    if not said:
        raise BrokenError(
            chain.TO_KEDA,
            f"KEDA did not fall back to {wanted} replicas in the {lasted_s:.0f} s in which "
            f"{_name(seen)} was away; {allowed_s:.0f} s are allowed",
        )
    raise BrokenError(
        chain.TO_DEPLOYMENT,
        f"KEDA fell back, and there were {seen.replicas[-1][1]} replicas, not {wanted}, "
        f"{lasted_s:.0f} s after {_name(seen)} was gone",
    )


def _recovered(seen: Seen) -> str:
    """See that all was in order again, in time."""
    back = seen.span.back
    if back is None and seen.span.timeout:
        raise BrokenError(
            _LINKS[seen.span.away], f"{_name(seen)} did not come back: {seen.span.timeout}"
        )
    if back is None:
        raise DoubtfulError(f"nobody saw whether {_name(seen)} came back")
    allowed_s, took_s = returns_s(seen.span.away, seen.known), 0.0
    for told in _told(seen):
        since = [one for one in told if seen.begin <= one.at <= seen.end]
        bad = [place for place, one in enumerate(since) if unsound(one.conditions)]
        if bad and bad[-1] == len(since) - 1:
            waited_s, last = seen.end - back, since[-1]
            words = f"{last.object} says {unsound(last.conditions)} {waited_s:.0f} s after"
            if waited_s < allowed_s:
                raise DoubtfulError(
                    f"{words} {_name(seen)} was back; it may take {allowed_s:.0f} s"
                )
            raise BrokenError(
                _LINKS[seen.span.away],
                f"{words} {_name(seen)} was back, and {allowed_s:.0f} s are allowed",
            )
        if bad:
            took_s = max(took_s, since[bad[-1] + 1].at - back)
    if took_s > allowed_s + SEEN_S:
        raise BrokenError(
            _LINKS[seen.span.away],
            f"all was in order only {took_s:.0f} s after {_name(seen)} was back, and "
            f"{allowed_s:.0f} s are allowed",
        )
    return f"after {took_s:.0f} s; {allowed_s:.0f} s are allowed"


CRITERIA: Final[tuple[tuple[str, Callable[[Seen], str]], ...]] = (
    ("the autoscaler was in order before", _worked),
    ("replicas stay, or go to the fallback", _stayed),
    ("KEDA or its HPA notices", _noticed),
    ("the fallback is reached in time", _fell_back),
    ("all is in order again in time", _recovered),
)
"""What has to hold of an outage, in this order."""


def _name(seen: Seen) -> str:
    return NAMES[seen.span.away]


def _told(seen: Seen) -> tuple[list[Autoscaler], list[Autoscaler]]:
    """Return what the ScaledObject said, and what its HPA did."""
    return seen.of_keda, seen.own_hpa


def _last(told: Sequence[Autoscaler], until: float) -> Autoscaler | None:
    return next((one for one in reversed(told) if one.at <= until), None)


def _falls_back(one: Autoscaler) -> bool:
    return one.conditions.get("Fallback", "").startswith("True")


def _falling_back(seen: Seen, at: float) -> bool:
    """Tell whether the HPA can have been told the fallback at a moment, or a period before."""
    since = at - SYNC_S - SEEN_S
    before = _last(seen.of_keda, since)
    late = [one for one in seen.of_keda if since < one.at <= at + SEEN_S]
    return any(map(_falls_back, [before, *late] if before else late))


def _asked_for(seen: Seen, at: float, before: int, after: int) -> bool:
    """Tell whether requests are so few that fewer replicas were asked for."""
    declared = seen.known
    if declared.counts is not None:
        since = at - SYNC_S - SEEN_S
        told = [value for when, value in seen.all_signal if since <= when <= at]
        return any(declared.asks(value, before) <= after for value in told)
    # nobody knows what it counts: then as its HPA was told before it was away
    last = _last(seen.own_hpa, seen.begin)
    if last is None or last.value is None:
        return False
    value = last.value * (1 if declared.metric_type == "Value" else last.current or 1)
    return declared.asks(value, seen.first) <= after


def _as_told(seen: Seen, at: float) -> str:
    """Say what the HPA was told when it took replicas away."""
    last = _last(seen.own_hpa, at + SEEN_S)
    if last is None or last.value is None:
        return ""
    said = f", and KEDA told its HPA {last.value:g}"
    if not last.value and any(trigger.null_is_zero for trigger in seen.known.scaler.triggers):
        said += ": a query without an answer counts as 0 (ignoreNullValues)"
    return said
