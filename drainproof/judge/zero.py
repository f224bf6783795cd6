"""What users meet while there is no replica, whether one comes, and why one never can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from drainproof.judge.cold import cold_steps
from drainproof.judge.links import BrokenError, DoubtfulError, Step, between
from drainproof.judge.profiles import PROFILES
from drainproof.model import chain, engines, promql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.watched import Seen

_PRODUCTION: Final = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Requests that met the same. Seconds since the first one that came to no replica."""

    what: str
    """``answered``, or an outcome of streams: ``refused``, ``rejected``, …"""
    requests: int
    first_s: float
    """When the first of them was sent."""
    last_s: float
    longest_s: float
    """The longest wait for a first token, else for the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zero:
    """What users met from when no replica was left."""

    first_answer_s: float | None
    """From the first request to the first token of any; None: none came."""
    within_s: float
    """How long that may take."""
    kinds: tuple[Kind, ...]


def zero_of(seen: Seen) -> Zero:
    """Return what users met."""
    met = seen.streams.met
    began = min((one.sent for one in met), default=0.0)
    answers = [one.answered - began for one in met if one.answered is not None]
    kinds = []
    for what in sorted({one.what for one in met}):
        these = [one for one in met if one.what == what]
        times = [one.sent - began for one in these]
        kinds.append(
            Kind(
                what=what,
                requests=len(these),
                first_s=round(min(times), 3),
                last_s=round(max(times), 3),
                longest_s=round(max(one.waited_s for one in these), 3),
            )
        )
    return Zero(
        first_answer_s=round(min(answers), 3) if answers else None,
        within_s=seen.span.recover_s,
        kinds=tuple(kinds),
    )


def zero_steps(seen: Seen) -> Iterator[Step]:
    """Yield what happened from the first request at zero to the first token."""
    emptied, rise = seen.emptied, _rise(seen)
    yield Step(what="requests come", link="", at=emptied, took_s=between(emptied, emptied))
    yield Step(what="replica asked for", link=chain.TO_KEDA, at=rise, took_s=between(emptied, rise))
    for step in cold_steps(seen):
        took_s = between(rise, step.at) if step.what == "pod made" else step.took_s
        yield Step(what=step.what, link=step.link, at=step.at, took_s=took_s)


# ── What has to hold ────────────────────────────────────────────────────────────────────────────


def went_to_zero(seen: Seen) -> str:
    """See that the last replica went by itself, and that requests came then.

    Raises:
        DoubtfulError: It did not, or none came.
    """
    if seen.emptied is None:
        raise DoubtfulError(
            f"replicas did not go to zero in {seen.end - seen.begin:.0f} s without a stream: the "
            "cooldown may be longer, or someone else sends requests"
        )
    if not seen.streams.met:
        raise DoubtfulError("no request came while there was no replica (more --rate)")
    return f"after {seen.emptied - seen.begin:.0f} s without a stream"


def came(seen: Seen) -> str:
    """See that a replica is asked for when requests come.

    Raises:
        BrokenError: None is, with the link that broke.
    """
    emptied, rise = seen.emptied or seen.begin, _rise(seen)
    if rise is not None:
        return f"asked for after {rise - emptied:.1f} s"
    link, why = _why_none(seen, emptied)
    raise BrokenError(link, f"no replica came in {seen.end - emptied:.0f} s of requests: {why}")


def answered(seen: Seen) -> str:
    """See that a request is answered in time.

    Raises:
        BrokenError: None is, or too late.
    """
    zero = zero_of(seen)
    if zero.first_answer_s is None:
        raise BrokenError(chain.TO_STREAMS, "a replica came, and no request was answered")
    said = f"the first answer came after {zero.first_answer_s:.1f} s"
    if zero.first_answer_s > zero.within_s:
        raise BrokenError(chain.TO_STREAMS, f"{said}, and {zero.within_s:g} s are allowed")
    return f"{said}; {zero.within_s:g} s are allowed"


def users_see(seen: Seen) -> str:
    """Say what users saw meanwhile; in a profile that wants a replica always, that fails.

    Raises:
        BrokenError: It is such a profile.
    """
    kinds = [
        f"{kind.requests} {kind.what} ({kind.first_s:.1f} to {kind.last_s:.1f} s)"
        for kind in zero_of(seen).kinds
        if kind.what != "answered"
    ]
    longest = max((kind.longest_s for kind in zero_of(seen).kinds), default=0.0)
    said = f"{', '.join(kinds) or 'no error'}; the longest wait was {longest:.1f} s"
    profile = PROFILES.get(str(seen.span.stated.get("profile")), PROFILES[_PRODUCTION])
    if not profile.allows_zero:
        raise BrokenError("", f"users see errors while there is no replica: {said}")
    return said


def _rise(seen: Seen) -> float | None:
    """Return when a replica was asked for after the last one had gone."""
    emptied = seen.emptied
    return next(
        (
            at
            for at, before, after in seen.changes
            if after > before and emptied is not None and at >= emptied
        ),
        None,
    )


def _why_none(seen: Seen, since: float) -> tuple[str, str]:
    """Return the link that broke while requests came and no replica did."""
    told = [one for one in seen.of_keda if one.at <= seen.end]
    last = told[-1].conditions if told else {}
    for kind, bad in (("Paused", "True"), ("Ready", "False")):
        if last.get(kind, "").startswith(bad):
            return chain.TO_KEDA, f"KEDA says {kind} {last[kind]}"
    own = _own_metrics(seen)
    answers = [one for one in seen.answers if one.at >= since]
    if own:
        value = next((one.value for one in reversed(answers) if one.value is not None), None)
        said = "has no answer" if value is None else f"says {value:g}"
        return chain.TO_QUERY, (
            f"its query {f'{said}, and ' if answers else ''}asks for {' and '.join(own)}, which "
            "only its own engines tell: without a replica there is none to be asked, so it can "
            "never leave zero"
        )
    if answers and all(one.error for one in answers):
        return chain.TO_QUERY, answers[-1].error
    if not last.get("Active", "").startswith("True"):
        return chain.TO_KEDA, (
            f"KEDA says Active {last.get('Active') or 'Unknown'}: no trigger sees requests that "
            "find no replica"
        )
    return chain.TO_DEPLOYMENT, "KEDA says Active, and replicas did not rise"


def _own_metrics(seen: Seen) -> list[str]:
    """Return the metrics that its triggers ask for, if all of them are the engine's own."""
    header = seen.scene.header
    engine = str(header.target.get("engine", "")) if header else ""
    facts = next((one for one in engines.ENGINES if one.name == engine), None)
    found: list[str] = []
    for trigger in seen.known.scaler.triggers:
        names = list(promql.parse(trigger.promql).metrics) if trigger.promql else []
        if facts is None or not names or any(facts.metric(name) is None for name in names):
            return []
        found += names
    return sorted(set(found))
