"""What manifests declare of an autoscaler and of a replica, as far as a simulation asks for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from drainproof.errors import UserError
from drainproof.model import arguments, monitoring, scaler, shape
from drainproof.model.limits import seconds
from drainproof.model.meant import meant
from drainproof.model.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.scaler import Pace, Scaler, Trigger
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

FOLLOWED: Final = {
    "waiting": ("waiting",),
    "running": ("running",),
    "waiting+running": ("waiting", "running"),
}
"""What a simulated metric may count, by what ``--metric`` calls it."""
_BATCH_FLAGS: Final = {
    "vllm": "--max-num-seqs",
    "sglang": "--max-running-requests",
    "trtllm-serve": "--max-batch-size",
}
"""The flag that bounds the streams that a replica runs at once, by engine."""
_OTHER_METRIC: Final = "To simulate another one: --metric waiting --thresholds 5"


def workload_of(snapshot: Snapshot, wanted: str, namespace: str) -> Workload:
    """Return the one workload that is meant.

    Args:
        snapshot: What was read.
        wanted: ``deployment/NAME``, or ``NAME``; empty if there is only one.
        namespace: Its namespace; empty if that is of no matter.

    Raises:
        UserError: There is none, or more than one.
    """
    among = [one for one in snapshot.workloads if scaler.scalable(one)]
    without = "Without manifests, give --thresholds, --max-replicas and --concurrency."
    return meant(snapshot, among, wanted, namespace, else_=without)


def scaler_of(snapshot: Snapshot, workload: Workload) -> Scaler | None:
    """Return the workload's autoscaler; None if it has none.

    Raises:
        UserError: It has more than one, or one that is not simulated.
    """
    try:
        found = scaler.of(snapshot, workload)
    except shape.ShapeError as error:
        raise UserError(f"{workload.ref}: {error}") from None
    if len(found) > 1:
        listed = ", ".join(one.ref for one in found)
        raise UserError(f"expected one autoscaler of {workload.ref}, found {len(found)}: {listed}")
    if found and found[0].kind not in {"ScaledObject", "HorizontalPodAutoscaler"}:
        raise UserError(
            f"expected a ScaledObject or a HorizontalPodAutoscaler, found {found[0].ref}, which is "
            "not simulated"
        )
    return found[0] if found else None


def policy_fields(
    one: Scaler, engine: Engine | None, metric: str | None, notes: list[str]
) -> dict[str, Any]:
    """Return the fields of :class:`~drainproof.simulate.policy.Policy` that an autoscaler declares.

    Args:
        one: The autoscaler.
        engine: Of its workload.
        metric: A key of :data:`FOLLOWED` if another metric is to be simulated than its own.
        notes: What is simulated otherwise than it is written is added to it.

    Raises:
        UserError: It follows nothing that can be simulated.
    """
    fields: dict[str, Any] = {"least": one.min_replicas, "most": one.max_replicas}
    for pace in (one.scale_up, one.scale_down):
        if pace is not None and not _accepted(pace):
            raise UserError(f"{one.ref}: {pace.path}: Kubernetes refuses it, so nothing is scaled")
    if _has_behavior(one.scale_up) or _has_behavior(one.scale_down):
        fields |= {"up": one.scale_up, "down": one.scale_down}
    if one.of_keda:
        fields |= {
            "keda": True,
            "idle": one.idle_replicas,
            "polling_s": float(one.polling_s or scaler.KEDA_POLLING_S),
            "cooldown_s": float(
                scaler.KEDA_COOLDOWN_S if one.cooldown_s is None else one.cooldown_s
            ),
        }
    if one.paused_by:
        notes.append(f"{one.paused_by} is set; simulated as if it were not")
    if metric is not None:
        return fields
    if one.formula:
        raise UserError(f"{one.ref}: scalingModifiers.formula is not simulated", hint=_OTHER_METRIC)
    return fields | _of_triggers(one, engine, notes)


def _accepted(pace: Pace) -> bool:
    return (
        pace.select in {"Max", "Min", "Disabled"}
        and pace.window_s >= 0
        and all(
            rule.type in {"Pods", "Percent"} and rule.value > 0 and rule.period_s > 0
            for rule in pace.policies
        )
    )


def _has_behavior(pace: Pace | None) -> bool:
    return pace is not None and (
        pace.window_written or pace.policies_written or pace.select != "Max"
    )


def _of_triggers(one: Scaler, engine: Engine | None, notes: list[str]) -> dict[str, Any]:
    """Return what the first trigger says that can be simulated."""
    refusals = []
    for trigger in one.triggers:
        counted = _counted(trigger, engine)
        if isinstance(counted, str):
            refusals.append(f"{trigger.written[:60]!r} ({counted})")
            continue
        others = [item.written[:60] for item in one.triggers if item is not trigger]
        if others:
            notes.append(f"only one trigger is simulated, and not {', '.join(map(repr, others))}")
        uses = trigger.query.uses if trigger.query else ()
        if any("over_time" in use.function for use in uses):
            notes.append("the metric is taken as it is at each scrape, not over its query's range")
        fields = {
            **counted,
            "metric_type": "Pods"
            if trigger.type == "pods"
            else trigger.metric_type or "AverageValue",
            "null_is_zero": trigger.null_is_zero,
            "cached": trigger.cached,
        }
        if trigger.threshold is not None:
            fields["threshold"] = _number(one, trigger.threshold_path, trigger.threshold)
        if trigger.activation is not None:
            fields["activation"] = _number(one, trigger.activation_path, trigger.activation)
        return fields
    said = ", ".join(refusals) or "nothing"
    raise UserError(
        f"{one.ref}: expected a trigger on requests that wait or run, found {said}",
        hint=_OTHER_METRIC,
    )


def _counted(trigger: Trigger, engine: Engine | None) -> dict[str, Any] | str:
    """Return what a trigger's metric counts, or why it is not simulated."""
    query = trigger.query
    if query is None:
        return _follows(trigger.metrics, engine)
    answer = query.answer
    mean = answer.extent == "level" and not query.text.startswith(("max", "min", "quantile"))
    refusal = ""
    if query.error:
        refusal = "it can't be parsed"
    elif answer.several:
        refusal = f"its answer is {answer.several}, which KEDA refuses"
    elif answer.per_second or not (mean or answer.extent == "total"):
        refusal = "neither a sum nor a mean over the replicas"
    elif answer.of_ratio and not answer.measures:
        refusal = "a ratio"
    found = refusal or _follows((answer.measures,) if answer.measures else query.metrics, engine)
    return found if isinstance(found, str) else found | {"mean": mean, "factor": answer.factor}


def _follows(names: Sequence[str], engine: Engine | None) -> dict[str, Any] | str:
    meanings = [_meaning(name, engine) for name in names]
    if not meanings or "" in meanings:
        return "no number of requests that wait or run"
    return {"follows": tuple(dict.fromkeys(meanings))}


def _meaning(name: str, engine: Engine | None) -> str:
    """Return ``waiting`` or ``running``; empty if a metric is neither."""
    found = engine.facts.metric(name) if engine is not None else None
    if engine is None or found is None:
        return ""
    known = engine.facts.meanings
    return next((word for word in ("waiting", "running") if found.name in known.get(word, ())), "")


def _number(one: Scaler, path: str, written: str) -> float:
    try:
        number = float(written) if one.of_keda else quantity(written, path)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{one.ref}: {path}: expected a number, found {written!r}")
    return number


def service_fields(workload: Workload, notes: list[str]) -> dict[str, Any]:
    """Return the fields of :class:`~drainproof.simulate.fleet.Service` that a workload declares."""
    engine, container = workload.engine, workload.container
    if engine is None or container is None:
        return {}
    fields: dict[str, Any] = {"prestop_s": engine.prestop_s or 0.0}
    written = arguments.setting(engine, container, _BATCH_FLAGS.get(engine.name, ""))
    if written.isdecimal() and int(written):
        fields["concurrency"] = int(written) * (engine.data_parallel_local or engine.data_parallel)
    if container.gpus:
        fields["gpus"] = container.gpus * engine.nodes
    else:
        notes.append("no GPU is asked for; costs are of one for each replica")
    probes = [probe for probe in (container.startup, container.readiness) if probe is not None]
    fields["probe_delay_s"] = float(max((probe.initial_delay_s for probe in probes), default=0))
    fields["probe_periods_s"] = tuple(float(probe.period_s) for probe in probes)
    return fields


def scrape_s(snapshot: Snapshot) -> float | None:
    """Return the scrape interval that all monitors agree on, in seconds; None if they don't."""
    found = {seconds(written) for written in _intervals(snapshot)}
    return found.pop() if len(found) == 1 else None


def _intervals(snapshot: Snapshot) -> Iterator[str]:
    for (group, kind), facts in monitoring.KINDS.items():

        def read(obj: Raw, _: object, field: str = facts.endpoints) -> list[str]:
            endpoints = shape.mappings(shape.mapping(obj, "spec", ""), field, "spec")
            return [str(endpoint.get("interval") or "") for endpoint in endpoints]

        for found in snapshot.read(group, kind, read):
            yield from found
