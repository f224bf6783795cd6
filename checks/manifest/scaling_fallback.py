"""The autoscaler says what happens while its metrics are away.

What it checks
    A ScaledObject has a ``fallback`` that KEDA accepts and that adds or keeps replicas:
    ``replicas`` not below the minimum, nor, with the static behaviour, below the maximum. A lost
    metric counts as lost (``ignoreNullValues: "false"``), not as zero load, and no ``or vector(0)``
    hides it; but for a quantile or a ratio of rates, which is no number while nobody asks for
    anything, it must count as zero. In the dev and module profiles only what KEDA refuses fails.

Why
    When Prometheus loses the engines, KEDA takes an empty answer for 0 by default, and the
    autoscaler removes busy replicas one after the other. When Prometheus itself is away, the number
    of replicas stays as it is, whatever the load, unless a fallback says more; a static fallback
    takes a busy deployment down to its number.

Fix
    Add ``fallback: {failureThreshold: 3, replicas: N, behavior: currentReplicasIfHigher}`` (KEDA
    2.17), and ``ignoreNullValues: "false"`` to triggers on queue depth. Set
    ``metricType: AverageValue`` as a word: KEDA 2.16 and 2.17 refuse fallbacks without it.

Source
    KEDA's reference of ScaledObject, "fallback"; its sources 2.16 to 2.20: ``CheckFallbackValid``,
    ``doFallback`` and the Prometheus scaler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Fallback, Scaler
    from drainproof.model.workload import Workload


@check(
    "DP408",
    severity=Severity.WARNING,
    admission="it joins an autoscaler with the engine that it scales",
)
def scaling_falls_back(
    workload: Workload, scalers: Sequence[Scaler], profile: Profile
) -> Iterator[Finding]:
    """Yield what takes replicas away, or adds none, while metrics are away."""
    for scaler in scalers:
        if not scaler.of_keda:
            continue
        if scaler.fallback is not None:
            yield from _fallback(workload, scaler, scaler.fallback, profile)
        elif profile.needs_fallback and any(item.promql for item in scaler.triggers):
            yield scaler.finding(
                "spec.fallback",
                "no fallback: while Prometheus is away the number of replicas stays as it is, so "
                "a rising load waits in the queue",
            )
        if profile.needs_fallback and not scaler.can_be_zero:
            yield from _nulls(workload, scaler)


def _fallback(
    workload: Workload, scaler: Scaler, fallback: Fallback, profile: Profile
) -> Iterator[Finding]:
    path = "spec.fallback"
    if not scaler.formula and all(item.type in {"cpu", "memory"} for item in scaler.triggers):
        yield scaler.finding(
            path,
            "a fallback beside nothing but CPU and memory triggers: KEDA refuses the "
            f"ScaledObject, and {workload.name} does not scale",
            Severity.ERROR,
        )
    if fallback.replicas < 0 or fallback.failure_threshold < 0:
        yield scaler.finding(
            path,
            f"replicas {fallback.replicas}, failureThreshold {fallback.failure_threshold}: KEDA "
            f"refuses a fallback below 0, and {workload.name} does not scale",
            Severity.ERROR,
        )
        return
    if scaler.formula and not scaler.formula_target.isdecimal():
        yield scaler.finding(
            "spec.advanced.scalingModifiers.target",
            f"target {scaler.formula_target or '(none)'} is no whole number, and then KEDA never "
            "falls back: while metrics are away the number of replicas stays as it is",
        )
    if not profile.needs_fallback:
        return
    if all(item.metric_type == "Value" for item in scaler.triggers) and not scaler.formula:
        yield scaler.assumption(
            path, "KEDA is 2.18 or later: earlier ones refuse a fallback for metricType Value"
        )
    if fallback.behavior in _KEEPS:
        return
    if fallback.replicas < max(1, scaler.min_replicas):
        yield scaler.finding(
            f"{path}.replicas",
            f"a fallback of {fallback.replicas} is below the minimum of {scaler.min_replicas}: it "
            "never takes effect, and while metrics are away replicas go down to the minimum",
        )
    elif fallback.replicas < scaler.max_replicas:
        yield scaler.finding(
            f"{path}.behavior",
            f"a fallback of {fallback.replicas} of up to {scaler.max_replicas} replicas "
            f"({fallback.behavior}): if metrics get lost under load, busy replicas are taken away",
            repair={f"{path}.behavior": "currentReplicasIfHigher"},
        )


_KEEPS = frozenset({"currentReplicas", "currentReplicasIfHigher", "scalingModifiers"})
"""Behaviours that take no replica away."""


def _nulls(workload: Workload, scaler: Scaler) -> Iterator[Finding]:
    for trigger in scaler.triggers:
        query = trigger.query
        if query is None or query.error:
            continue
        if query.idle_is_nan:
            if not trigger.null_is_zero:
                yield scaler.finding(
                    f"{trigger.at}.metadata.ignoreNullValues",
                    "without requests the answer is not a number, which counts as a failure here: "
                    f"after a quiet spell {workload.name} keeps its replicas, or falls back",
                )
        elif query.answer.never_empty:
            yield scaler.finding(
                trigger.path,
                "the query has an answer even without any series (vector or scalar), so when "
                f"Prometheus loses the engines of {workload.name}, that counts as no load and busy "
                "replicas are taken away",
            )
        elif trigger.null_is_zero:
            yield scaler.finding(
                f"{trigger.at}.metadata.ignoreNullValues",
                "an empty answer counts as 0 (KEDA's default): when Prometheus loses the engines "
                f"of {workload.name}, busy replicas are taken away",
                repair={f"{trigger.at}.metadata.ignoreNullValues": "false"},
            )
