"""The autoscaler works: its own conditions say so.

What it checks
    A ScaledObject's conditions ``Ready``, ``Active`` and ``Fallback``, and the
    HorizontalPodAutoscaler's (KEDA's own too) ``AbleToScale``, ``ScalingActive`` and
    ``ScalingLimited``.

Why
    An autoscaler whose metric can't be read does nothing, and says so in its status only.
    Requests queue while the number of replicas stays what it was.

Fix
    Read the condition's message, and mend what it names: the address of Prometheus, the query,
    the target. ``kubectl describe scaledobject NAME`` and ``kubectl describe hpa NAME`` show
    events too.

Source
    KEDA's and Kubernetes' documentation of these conditions. Module 1.5, "Scaling vLLM on Queue
    Depth".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, scaler_status
from drainproof.model.conditions import conditions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.conditions import Condition
    from drainproof.model.finding import Finding, Located
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check("DP702", severity=Severity.ERROR)
def scaler_works(
    workload: Workload, scalers: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield what keeps an autoscaler from acting."""
    for scaler in scalers:
        if scaler.object is workload.object:
            continue  # Knative's and KServe's own is not an object with conditions of its own
        if scaler.kind == "ScaledObject":
            yield from _keda(scaler)
            own = scaler_status.hpa_of(snapshot, scaler)
            if own is not None:
                yield from _horizontal(own, conditions_of(own.object), chain.TO_HPA)
        elif scaler.kind == "HorizontalPodAutoscaler":
            conditions = conditions_of(scaler.object)
            if not conditions:
                yield scaler.inconclusive(
                    "status.conditions", "no controller has looked at this autoscaler yet"
                )
            yield from _horizontal(scaler, conditions, chain.METRICS_TO_HPA)


def _keda(scaler: Scaler) -> Iterator[Finding]:
    conditions = conditions_of(scaler.object)
    ready = conditions.get("Ready")
    if ready is None or ready.status not in {"True", "False"}:
        yield scaler.inconclusive(
            "status.conditions", "KEDA has not said yet whether this ScaledObject is ready"
        )
        return
    if ready.status == "False":
        yield scaler.finding(
            ready.path,
            chain.broken(
                chain.TO_KEDA,
                f"KEDA is not ready to scale ({ready.said}): the number of replicas stays as it "
                "is, whatever queues",
            ),
        )
        return
    fallback = conditions.get("Fallback")
    if fallback is not None and fallback.status == "True":
        yield scaler.finding(
            fallback.path,
            chain.broken(
                chain.TO_KEDA,
                f"KEDA can't read its metrics and runs on its fallback ({fallback.said}): "
                "replicas don't follow the load",
            ),
        )
        return
    for trigger, failures in scaler_status.failing(scaler):
        yield scaler.finding(
            "status.health",
            chain.broken(
                chain.TO_KEDA,
                f"the trigger {trigger} has failed {failures} times in a row: replicas don't "
                "follow the load",
            ),
        )
    active = conditions.get("Active")
    if active is not None and active.status == "Unknown":
        yield scaler.inconclusive(
            active.path, f"KEDA can't tell whether a trigger is active ({active.said})"
        )


def _horizontal(where: Located, conditions: dict[str, Condition], link: str) -> Iterator[Finding]:
    able = conditions.get("AbleToScale")
    if able is not None and able.status == "False":
        yield where.finding(
            able.path,
            chain.broken(
                chain.TO_DEPLOYMENT,
                f"it can't change the number of replicas ({able.said}), whatever queues",
            ),
        )
    active = conditions.get("ScalingActive")
    if active is not None and active.status == "False" and active.reason != "ScalingDisabled":
        yield where.finding(
            active.path,
            chain.broken(
                link,
                f"it can't read its metric ({active.said}): the number of replicas stays as it "
                "is, whatever queues",
            ),
        )
    limited = conditions.get("ScalingLimited")
    if limited is not None and limited.status == "True" and limited.reason == "TooManyReplicas":
        yield where.finding(
            limited.path,
            chain.broken(
                chain.TO_DEPLOYMENT,
                "it wants more replicas than its maximum: requests queue at full size",
            ),
            Severity.WARNING,
        )
