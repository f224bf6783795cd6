"""The autoscaler's query says what the replicas say themselves.

What it checks
    Each Prometheus query of a ScaledObject is asked as it is, and returns one number. Where it is a
    sum of the engine's metrics, it reads a series of each pod that has been ready for 120 s, once,
    and of no other workload's pods; and the number is the sum that the pods' own ``/metrics`` give.
    The queue moves: pods are read before and after the query, and anything from the least to the
    most that they say agrees. Where a pod differs, it and the query are asked again until they
    agree, for 75 s at most. Then it is a finding if Prometheus has scraped the pods meanwhile, and
    says more or less than the queue could become from one look to the next; else inconclusive. So
    is an agreement at 0: it would hold for a metric that is always 0. Needs ``--prometheus`` and
    ``get`` on ``pods/proxy``; the Prometheus is to be the one that the trigger names.

Why
    A query without an answer counts as 0, so replicas go while users wait. One that reads another
    model's pods adds replicas for a queue that they can't shorten, or hides the queue of its own.

Fix
    Filter by what all of this workload's pods have and no others', such as ``namespace`` and
    ``pod=~"NAME-.*"``; have each pod scraped once. Write windows as numbers: Grafana's variables
    (``$__interval``) don't exist in KEDA.

Source
    KEDA's Prometheus scaler ("query must return a vector or scalar single element response").
    Module 1.5, "Scaling vLLM on Queue Depth".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.chain import Answer, Chain, Series, Straight
    from drainproof.model.finding import Finding
    from drainproof.model.metrics import Metrics
    from drainproof.model.running import Pod
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.workload import Workload

_SOME = 1e-6
_GRAFANAS = "$__"


@check("DP710", severity=Severity.ERROR)
def query_says_what_pods_say(
    workload: Workload,
    scalers: Sequence[Scaler],
    pods: Sequence[Pod],
    metrics: Metrics,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield queries whose answer is none, or is not about this workload's pods."""
    there = running.settled(pods, metrics.at - profile.metric_age_max_s)
    held = frozenset(map(chain.key_of, there))
    for scaler in scalers:
        for trigger in chain.asked_by(scaler):
            links = metrics.chain
            answer = links.answers.get(trigger.promql) if links else None
            if links is None or answer is None:
                yield scaler.inconclusive(trigger.path, "Prometheus was not asked this query")
                continue
            # without any sample of these pods the chain broke before the query
            seen = any(held & ages.keys() for ages in metrics.ages.values())
            link = chain.TO_QUERY if seen else chain.TO_PROMETHEUS
            said = _answered(scaler, trigger, answer, link, waits=not there)
            if said is not None:
                yield said
                continue
            if not there:
                yield scaler.inconclusive(
                    trigger.path,
                    f"no pod has been ready for {profile.metric_age_max_s} s, so the query says "
                    "nothing yet",
                )
                continue
            straight = chain.straight(trigger.promql)
            if straight is None:
                yield scaler.assumption(
                    trigger.path,
                    f"it says {_number(answer)}, which is no sum that pods' own metrics could show",
                )
                continue
            counted = _Sum(workload, scaler, trigger, answer, straight, links, pods, held)
            yield from counted.judged(metrics)


def _answered(
    scaler: Scaler, trigger: Trigger, answer: Answer, link: str, *, waits: bool
) -> Finding | None:
    """Return what is wrong with the form of an answer; None if it is a number, or may be none."""
    if answer.refused:
        hint = "; Grafana's variables don't exist in KEDA" if _GRAFANAS in trigger.promql else ""
        return scaler.finding(
            trigger.path,
            chain.broken(chain.TO_QUERY, f"Prometheus refuses the query ({answer.error}){hint}"),
        )
    if answer.error:
        return scaler.inconclusive(trigger.path, answer.error)
    if not answer.values:
        return _empty(scaler, trigger, link, waits=waits)
    if len(answer.values) > 1:
        return scaler.finding(
            trigger.path,
            chain.broken(
                chain.TO_QUERY,
                f"the query has {len(answer.values)} answers where KEDA takes one: the number of "
                "replicas freezes",
            ),
        )
    if answer.values[0] is None:
        return scaler.inconclusive(
            trigger.path, "the answer is no number now, as a mean is without requests"
        )
    return None


def _empty(scaler: Scaler, trigger: Trigger, link: str, *, waits: bool) -> Finding:
    straight = chain.straight(trigger.promql)
    if waits or (straight is None and chain.may_be_empty(trigger.promql)):
        return scaler.inconclusive(trigger.path, "the query has no answer now, and may have none")
    effect = "counts as 0: replicas go although users wait"
    if not trigger.null_is_zero:
        effect = "is an error for KEDA: the number of replicas freezes"
    return scaler.finding(
        trigger.path,
        chain.broken(
            link,
            f"the query has no answer, although pods are ready, which {effect}; no series has "
            f"{' and '.join(trigger.metrics) or 'its metric'} with these labels",
        ),
    )


class _Own(Struct, frozen=True):
    """What all the pods say together."""

    low: float
    high: float
    step: float
    """How much further it may have gone unseen."""
    covered: bool
    """Whether Prometheus has scraped each of them meanwhile."""
    unread: str = ""
    """A pod that could not be read, and why."""


class _Sum(Struct, frozen=True):
    """One query that is a sum, and what there is to hold it against."""

    workload: Workload
    scaler: Scaler
    trigger: Trigger
    answer: Answer
    straight: Straight
    links: Chain
    pods: Sequence[Pod]
    there: frozenset[str]
    """The pods that must be counted."""

    def judged(self, metrics: Metrics) -> Iterator[Finding]:
        """Yield what is wrong with the pods that it counts, else with the number."""
        wrong, known = False, self._known()
        for selector, factor in self.straight.selectors:
            found = self.links.series.get(selector)
            if found is None:
                yield self._unclear(f"what {selector} reads could not be asked for")
                return
            others = [
                one
                for one in found
                if one.pod not in known and not chain.is_of(self.workload, one.pod)
            ]
            counted = Counter(one.pod for one in found)
            missing = sorted(key for key in self.there if not counted[key])
            sampled = any(key in ages for key in missing for ages in metrics.ages.values())
            for link, said in (
                (chain.TO_QUERY, self._others(others, factor)),
                (
                    chain.TO_QUERY if sampled else chain.TO_PROMETHEUS,
                    self._missing(missing, len(self.there)),
                ),
                (chain.TO_PROMETHEUS, self._twice(_twice(found))),
            ):
                if said:
                    wrong = True
                    yield self.scaler.finding(
                        self.trigger.path, chain.broken(link, f"{said} ({self._both()})")
                    )
        if not wrong:
            yield from self._number()

    def _others(self, others: Sequence[Series], factor: float) -> str:
        if not others:
            return ""
        names = sorted({one.said for one in others})
        total = sum(one.value for one in others) * factor
        more = f" and {len(names) - 1} more" if names[1:] else ""
        return (
            f"the query also counts {names[0]}{more}, not of {self.workload.name}, with "
            f"{total:g}: load that is not its own moves its replicas"
        )

    @staticmethod
    def _missing(missing: Sequence[str], of: int) -> str:
        if not missing:
            return ""
        return (
            f"the query does not count {len(missing)} of {of} ready pods ({missing[0]}): requests "
            "that wait there count as none"
        )

    @staticmethod
    def _twice(twice: Mapping[str, int]) -> str:
        if not twice:
            return ""
        name, times = next(iter(twice.items()))
        return (
            f"{len(twice)} of the pods are counted more than once ({name}: {times} times, by as "
            "many scrape configurations): each request that waits counts as several"
        )

    def _number(self) -> Iterator[Finding]:
        """Judge the number, where the right pods are counted."""
        own = self._own()
        (value,) = self.answer.values
        if own.unread:
            yield self._unclear(
                f"the query says {_number(self.answer)}, and a pod itself can't be read "
                f"({own.unread})"
            )
        elif value is None or own.low - _SOME <= value <= own.high + _SOME:
            if own.high == 0:
                yield self._unclear(
                    "the query counts the right pods, and says 0 as they do: that proves little "
                    "until requests wait"
                )
        elif own.covered and not own.low - own.step <= value <= own.high + own.step:
            yield self.scaler.finding(
                self.trigger.path,
                chain.broken(
                    chain.TO_QUERY,
                    f"{self._both()}: the same pods, and another number; the autoscaler acts on "
                    "what is not so",
                ),
            )
        else:
            yield self._unclear(f"{self._both()}: the queue moves faster than both can be asked")

    def _own(self) -> _Own:
        """Return what the pods say.

        Of pods that are too new to be held to it, Prometheus' own sample is taken.
        """
        low, high, step, covered = 0.0, 0.0, 0.0, True
        for selector, factor in self.straight.selectors:
            samples: defaultdict[str, float] = defaultdict(float)
            for one in self.links.series.get(selector, ()):
                samples[one.pod] += one.value
            for key in self.there | (samples.keys() & self._known()):
                own = self.links.own.get(selector, {}).get(key)
                if own is not None and not own.error:
                    low, high = low + own.low * factor, high + own.high * factor
                    step, covered = step + own.step * factor, covered and own.covered
                elif key in self.there:
                    why = own.error if own else "it was not asked"
                    return _Own(0.0, 0.0, 0.0, covered=False, unread=f"{key}: {why}")
                else:
                    low, high = low + samples[key] * factor, high + samples[key] * factor
        return _Own(low, high, step, covered)

    def _both(self) -> str:
        own = self._own()
        pods = f"{own.low:g}" if own.low == own.high else f"{own.low:g} to {own.high:g}"
        return f"the query says {_number(self.answer)}, the pods themselves {own.unread or pods}"

    def _known(self) -> set[str]:
        return {chain.key_of(pod) for pod in self.pods}

    def _unclear(self, said: str) -> Finding:
        return self.scaler.inconclusive(self.trigger.path, said)


def _twice(found: Iterable[Series]) -> dict[str, int]:
    """Return the pods that are scraped more than once for the same, and how often."""
    targets: dict[str, set[str]] = {}
    for one in found:
        if one.pod:
            targets.setdefault(one.pod, set()).add(one.target)
    return {pod: len(several) for pod, several in sorted(targets.items()) if len(several) > 1}


def _number(answer: Answer) -> str:
    return ", ".join("no number" if value is None else f"{value:g}" for value in answer.values)
