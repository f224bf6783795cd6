"""Which link broke between a queue and its replicas, and how long each one took that did not."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from drainproof.judge.watched import SEEN_S
from drainproof.model import chain, promql
from drainproof.simulate.hpa import SYNC_S, TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drainproof.judge.watched import Seen
    from drainproof.streams.history import Answer, Autoscaler, Pod

_SAME: Final = 0.5
"""Of what pods say a query must say at least; it is a scrape behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One link between a queue that grew and the first token of a new replica."""

    what: str
    link: str
    """As findings of live checks name it; empty where it has no name there."""
    at: float | None
    """Seconds since the epoch; None: it did not happen, or nobody saw it."""
    took_s: float | None
    """Since the last one before it that is known."""
    unknown: bool = False
    """Whether it was not watched, as without Prometheus."""


class BrokenError(Exception):
    """Something does not hold: the link, and what is wrong there."""

    def __init__(self, link: str, what: str) -> None:
        super().__init__(chain.broken(link, what) if link else what)
        self.link = link


class DoubtfulError(Exception):
    """Something can't be said."""


# ── Why not ─────────────────────────────────────────────────────────────────────────────────────


def why_not(seen: Seen, since: float, until: float) -> tuple[str, str]:
    """Return the link that broke while a long queue made no replica, and what is wrong there.

    No link where none can be named.
    """
    for look in (_of_prometheus, _of_keda, _held, hpa_says):
        link, why = look(seen, since, until)
        if link:
            return link, why
    still = (
        f"still {seen.first} replicas {until - since:.0f} s after the queue was over the threshold"
    )
    if not seen.answers:
        return "", (
            f"{still}; which link before the HPA broke is not known without Prometheus "
            "(--prometheus)"
        )
    return "", f"{still}, and nothing says why"


def _of_prometheus(seen: Seen, since: float, until: float) -> tuple[str, str]:
    """Look at what the query answered while the queue was long."""
    told = [one for one in seen.answers if since + SEEN_S <= one.at <= until + SEEN_S]
    if told and all(one.error for one in told):
        return chain.TO_QUERY, told[-1].error
    said = [one for one in told if one.value is not None]
    waited = max((value for at, value in seen.queue if since <= at <= until), default=0.0)
    if told and not said:
        return _no_answer(told[-1], waited)
    over = [one for one in said if seen.known.over(one.value or 0.0, seen.first)]
    if not said or over or seen.known.counts is None:
        return "", ""
    pods = max((value for at, value in seen.signal if since <= at <= until), default=0.0)
    best = max(said, key=lambda one: one.value or 0.0)
    if not best.pods and best.scraped == 0:
        return _no_answer(best, waited)
    if (best.value or 0.0) < pods * _SAME or best.pods == 0:
        return chain.TO_QUERY, other_number(seen, best, pods)
    return "", ""


def _no_answer(told: Answer, waited: float) -> tuple[str, str]:
    """Say why a query has no answer about these pods."""
    metrics = " and ".join(promql.parse(told.query).metrics) or told.query
    if told.scraped:
        return chain.TO_QUERY, (
            f"the query has no answer about these pods with {waited:g} requests waiting, and "
            f"Prometheus has the queue of {told.scraped} of them: it asks for {metrics}, by a name "
            "or labels that they don't have"
        )
    if told.scraped is None:
        return chain.TO_QUERY, f"the query has no answer with {waited:g} requests waiting"
    if told.target == "none":
        return chain.TO_MONITOR, (
            "Prometheus has no target in these pods: no monitor selects them, or it does not act "
            "on it"
        )
    return chain.TO_MONITOR, f"Prometheus has nothing of these pods: {told.target or 'not scraped'}"


def other_number(seen: Seen, told: Answer, pods: float) -> str:
    """Say that a query and the pods themselves differ."""
    of = f"; it reads {told.pods} of {len(seen.scene.gauges)} pods" if told.pods is not None else ""
    return f"the query says {told.value:g}, the pods themselves {pods:g}{of}"


def _of_keda(seen: Seen, since: float, until: float) -> tuple[str, str]:
    """Look at what KEDA said of itself, and told the HPA."""
    last = _last(seen.of_keda, until)
    if last is None:
        return "", ""
    for kind, bad in (("Paused", "True"), ("Ready", "False"), ("Fallback", "True")):
        if last.conditions.get(kind, "").startswith(bad):
            return chain.TO_KEDA, f"KEDA says {kind} {last.conditions[kind]}"
    hpa = _last(seen.own_hpa, until + SYNC_S)
    if hpa is None:
        return chain.TO_HPA, "KEDA made no HorizontalPodAutoscaler of it, or it is not running"
    active = hpa.conditions.get("ScalingActive", "")
    if active and not active.startswith("True"):
        return chain.TO_KEDA, f"KEDA gives its HPA no metric: {active}"
    return _told_hpa(seen, hpa, since, until) if until - since >= seen.allowed_s else ("", "")


def _told_hpa(seen: Seen, hpa: Autoscaler, since: float, until: float) -> tuple[str, str]:
    """Look at what KEDA told its HPA while the queue was long; it says so when that changes."""
    told = [one for one in seen.own_hpa if since <= one.at <= until + SYNC_S]
    values = [one.value for one in [hpa, *told] if one.value is not None]
    if not values or any(_over_average(seen, value) for value in values):
        return "", ""
    said = f"at most {max(values):g} for each replica"
    if not told:
        return chain.TO_KEDA, f"KEDA was silent while the queue was long; {said} before"
    unknown = "" if seen.answers else "; what the query answers is not known without Prometheus"
    return chain.TO_KEDA, (
        f"KEDA told its HPA {said}, of a threshold of {seen.known.threshold:g}{unknown}"
    )


def _over_average(seen: Seen, value: float) -> bool:
    """Tell whether what an HPA compares with its threshold is over that."""
    return value > (seen.known.threshold or 0.0) * (1 + TOLERANCE)


def _held(seen: Seen, _since: float, _until: float) -> tuple[str, str]:
    """Look at what the autoscaler itself declares."""
    declared = seen.known
    if seen.first >= declared.scaler.max_replicas:
        return chain.TO_DEPLOYMENT, (
            f"held by maxReplicas {declared.scaler.max_replicas}: there are {seen.first} replicas"
        )
    if declared.never_rises:
        return chain.TO_DEPLOYMENT, "scaleUp.selectPolicy is Disabled: replicas never rise"
    return "", ""


def hpa_says(seen: Seen, _since: float = 0.0, until: float | None = None) -> tuple[str, str]:
    """Look at what the HPA did with what it was told, at last."""
    hpa = _last(seen.own_hpa, seen.end if until is None else until + SYNC_S)
    if hpa is None:
        return "", ""
    able, active = (hpa.conditions.get(name, "True") for name in ("AbleToScale", "ScalingActive"))
    if not able.startswith("True"):
        return chain.TO_DEPLOYMENT, f"AbleToScale {able}"
    if None not in {hpa.desired, hpa.current} and hpa.desired != hpa.current:
        return chain.TO_DEPLOYMENT, (
            f"the HPA wants {hpa.desired} replicas, and the Deployment has {hpa.current}"
        )
    if not active.startswith("True"):
        return chain.TO_KEDA if seen.of_keda else chain.METRICS_TO_HPA, f"ScalingActive {active}"
    return "", ""


def _last(told: Sequence[Autoscaler], until: float) -> Autoscaler | None:
    found = [one for one in told if one.at <= until]
    return found[-1] if found else None


# ── The way from a queue to a first token ───────────────────────────────────────────────────────


def steps_of(seen: Seen) -> Iterator[Step]:
    """Yield what happened between a queue that grew and a new replica that served."""
    grew = seen.grew
    before = grew
    for what, link, at, unknown in _moments(seen, grew):
        yield Step(what=what, link=link, at=at, took_s=between(before, at), unknown=unknown)
        before = before if at is None else at


def _moments(seen: Seen, grew: float | None) -> Iterator[tuple[str, str, float | None, bool]]:
    declared = seen.known
    since = seen.begin if grew is None else grew
    asked = bool(seen.answers)
    over = [
        one
        for one in seen.answers
        if one.value is not None and one.at >= since and declared.over(one.value, seen.first)
    ]
    scraped = max(over[0].sampled, since) if over and over[0].sampled is not None else None
    yield f"queue {seen.is_long}", "", grew, False
    if declared.counts is None:  # a sample that is over it shows when what is followed was
        since_when = over[0].at if over and scraped is None else scraped
        yield "metric over the threshold", chain.TO_QUERY, since_when, not asked
    else:
        yield "sample scraped", chain.TO_PROMETHEUS, scraped, not asked
    yield "query says so", chain.TO_QUERY, over[0].at if over else None, not asked
    told = [
        one.at
        for one in seen.own_hpa
        if one.at >= since and one.value is not None and _over_average(seen, one.value)
    ]
    woke = [
        one.at
        for earlier, one in pairwise(seen.of_keda)
        if declared.counts is not None
        and one.at >= since
        and one.conditions.get("Active", "").startswith("True")
        and not earlier.conditions.get("Active", "").startswith("True")
    ]
    keda = min([*told[:1], *woke[:1]], default=None)
    acted = min(
        [
            *(
                one.at
                for one in seen.own_hpa
                if one.at >= since and (one.desired or 0) > seen.first
            ),
            *([seen.rise] if seen.rise is not None else []),
        ],
        default=None,
    )
    if keda is not None and acted is not None:
        keda = min(keda, acted)
    yield "KEDA saw it", chain.TO_KEDA, keda, not seen.own_hpa and not seen.of_keda
    yield "HPA asks for more", chain.TO_HPA, acted, not seen.own_hpa
    yield "Deployment has more", chain.TO_DEPLOYMENT, seen.rise, False
    name, pods = first_fresh(seen)
    made, taken, started = starts(pods, acted if acted is not None else since)
    yield "pod made", chain.TO_POD, made, False
    yield "node took it", "", taken, False
    yield "container started", "", started, False
    yield "Ready, model loaded", "", _when(pods, lambda pod: pod.ready, acted or since), False
    yield "it serves", chain.TO_STREAMS, seen.serving(name) if name else None, False


def starts(pods: Sequence[Pod], floor: float) -> tuple[float | None, float | None, float | None]:
    """Return when a pod was made, a node took it, and its container started.

    Args:
        pods: What was seen of it.
        floor: It can't have been earlier.
    """
    made = pods[0].at if pods else None
    return made, _when(pods, lambda pod: bool(pod.node), floor), _started(pods, floor)


def first_fresh(seen: Seen) -> tuple[str, list[Pod]]:
    """Return the new pod that served first, else that came furthest."""
    fresh = seen.fresh
    if not fresh:
        return "", []
    never = float("inf")

    def rank(name: str) -> tuple[float, bool, float]:
        served = seen.serving(name)
        told = fresh[name]
        return never if served is None else served, not any(pod.ready for pod in told), told[0].at

    name = min(fresh, key=rank)
    return name, fresh[name]


def _when(pods: Sequence[Pod], holds: Callable[[Pod], bool], floor: float) -> float | None:
    at = next((pod.at for pod in pods if holds(pod)), None)
    return None if at is None else max(at, floor)


def _started(pods: Sequence[Pod], floor: float) -> float | None:
    """Return when the first container ran; Kubernetes writes whole seconds, cut off."""
    for pod in pods:
        for container in pod.containers:
            if container.get("state") == "running":
                return max(min(pod.at, (container.get("started_at") or pod.at) + 1.0), floor)
    return None


def between(since: float | None, at: float | None) -> float | None:
    """Return the seconds between two moments, None if one of them is not known."""
    return None if since is None or at is None else round(max(at - since, 0.0), 3)
