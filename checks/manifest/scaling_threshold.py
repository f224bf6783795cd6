"""The autoscaler's threshold is in the unit of its metric.

What it checks
    Each trigger's threshold is a number over 0 that KEDA keeps (it counts in thousandths), and one
    that the metric can reach: latencies are seconds, so 60 ms is 0.060; the share of the KV cache
    is 0 to 1; no more requests run than ``--max-num-seqs``. Factors in the query, such as
    ``* 1000``, count. ``activationThreshold`` is below the threshold.

Why
    A threshold of 60 on a latency in seconds is never reached: replicas are never added, and
    nothing says so. One that is always exceeded runs every GPU at all times.

Fix
    Write the threshold in the metric's own unit: ``threshold: "0.060"`` for 60 ms per token,
    ``threshold: "0.8"`` for 80 % of the KV cache, and an ``activationThreshold`` below it.

Source
    Module 1.5, "Scaling on Custom Latency Targets" (0.060 is 60 ms) and "Scaling vLLM on Queue
    Depth". KEDA's ``quantityFromFloat64``: three digits after the point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.workload import Workload

_LEAST = 0.001
"""What is less counts as 0 in KEDA and in Kubernetes' quantities, as far as autoscalers go."""
_SECONDS = {
    "tpot": (0.001, 1.0, "per token"),
    "latency": (0.001, 1.0, "per token"),
    "ttft": (0.005, 60.0, "to the first token"),
    "queue_time": (0.001, 600.0, "in the queue"),
    "e2e": (0.02, 3600.0, "per request"),
}
"""Latencies by meaning: what every request takes at least, in seconds, and what nobody waits for.
A GPU makes no more than 1,000 tokens a second for one stream, and 1 s per token is 20 times the
module's 50 ms; the module's longest answers take a minute."""
_CACHE_MIN = 0.02
"""Share of the KV cache that one long request takes."""
_PER_SECOND = {"ms": 1_000, "us": 1_000_000}
"""Units of latencies by the last word of their names; seconds otherwise."""


@check(
    "DP404",
    severity=Severity.ERROR,
    admission="it joins an autoscaler with the engine that it scales",
)
def threshold_fits_metric(
    workload: Workload, engine: Engine, scalers: Sequence[Scaler]
) -> Iterator[Finding]:
    """Yield thresholds that are never reached, or always."""
    for scaler in scalers:
        for trigger in scaler.triggers:
            if scaler.formula or trigger.type in {"cpu", "memory", "resource", "cron"}:
                continue  # a formula has a target of its own
            yield from _threshold(workload, engine, scaler, trigger)


def _threshold(
    workload: Workload, engine: Engine, scaler: Scaler, trigger: Trigger
) -> Iterator[Finding]:
    written = trigger.threshold
    if written is None:
        if trigger.type == "prometheus" and scaler.of_keda:
            yield scaler.finding(
                trigger.threshold_path,
                f"no threshold: KEDA refuses the trigger, and {workload.name} does not scale on it",
            )
        return
    number = _number(written, keda=scaler.of_keda)
    if number is None:
        if "{" in written or "$" in written:
            yield scaler.inconclusive(
                trigger.threshold_path, f"threshold {written} is a placeholder that nothing fills"
            )
        else:
            yield scaler.finding(
                trigger.threshold_path,
                f"threshold {written!r} is no number: {workload.name} does not scale on it",
            )
        return
    if number < _LEAST:
        yield scaler.finding(
            trigger.threshold_path,
            f"threshold {written} counts as {'0' if number >= 0 else 'less than 0'}, which "
            f"Kubernetes refuses: {workload.name} does not scale on it",
        )
        return
    said = _reach(engine, trigger, number)
    if said:
        yield scaler.finding(trigger.threshold_path, said)
    activation = _number(trigger.activation or "0", keda=scaler.of_keda)
    if activation is None and not (
        "{" in str(trigger.activation) or "$" in str(trigger.activation)
    ):
        yield scaler.finding(
            trigger.activation_path,
            f"activation threshold {trigger.activation!r} is no number: {workload.name} does not "
            "scale on it",
        )
    if activation is not None and activation >= number:
        happens = (
            f"{workload.name} stays at no replica while that many already wait"
            if scaler.can_be_zero
            else "KEDA calls the trigger inactive even at its threshold"
        )
        yield scaler.finding(
            trigger.activation_path,
            f"activation threshold {trigger.activation}, threshold {written}: {happens}",
            None if scaler.can_be_zero else Severity.WARNING,
        )


def _number(written: str, *, keda: bool) -> float | None:
    """Return a threshold; None if it is none. KEDA reads a number, Kubernetes a quantity."""
    try:
        number = float(written)
    except ValueError:
        if keda:
            return None
        try:
            number = quantity(written, "")
        except ValueError:
            return None
    return number if math.isfinite(number) else None


def _reach(engine: Engine, trigger: Trigger, number: float) -> str:
    """Return what is wrong with a threshold's size, as words; empty if nothing is."""
    metric, factor, per_replica = _measured(trigger)
    found = engine.facts.metric(metric) if metric else None
    if found is None or not factor:
        return ""
    unit = found.name.rpartition("_")[2]
    per_second = _PER_SECOND.get(unit, 1)
    value = number / factor / per_second
    stands = f"{found.name} is in {unit if unit in _PER_SECOND else 'seconds'}"
    meaning = next(
        (word for word, names in engine.facts.meanings.items() if found.name in names), ""
    )
    if meaning in _SECONDS:
        least, most, what = _SECONDS[meaning]
        if value >= most:
            return (
                f"threshold {trigger.threshold} is {value:g} s {what} ({stands}): it is never "
                "reached, so replicas are never added; "
                f"{value:g} ms is {value / 1000 * factor * per_second:.3f}"
            )
        if value < least:
            return (
                f"threshold {trigger.threshold} is {value * 1000:g} ms {what} ({stands}): every "
                "request takes longer, so all replicas run at all times"
            )
    if meaning == "kv_cache" and not _CACHE_MIN <= value < 1:
        never = value >= 1
        return (
            f"threshold {trigger.threshold} is {value:.{0 if never else 1}%} of the KV cache "
            f"({found.name} is 0 to 1): "
            + (
                "it is never exceeded, so replicas are never added"
                if never
                else "a single request exceeds it, so all replicas run at all times"
            )
        )
    if meaning == "running" and per_replica:
        most = engine.flag_number("--max-num-seqs") or 0
        if 0 < most <= value:
            return (
                f"threshold {trigger.threshold}, and no more than {most:g} requests run in a "
                "replica (--max-num-seqs): it is never exceeded, so replicas are never added"
            )
    return ""


def _measured(trigger: Trigger) -> tuple[str, float, bool]:
    """Return what the threshold is compared with: metric, factor, whether it is one replica's."""
    query = trigger.query
    if query is None:
        name = next(iter(trigger.metrics), "")
        return name, 1.0, trigger.metric_type == "AverageValue"
    answer = query.answer
    if query.error or answer.per_second:
        return "", 1.0, False
    each = {"total": "AverageValue", "level": "Value"}.get(answer.extent)
    return answer.measures, answer.factor, each == trigger.metric_type
