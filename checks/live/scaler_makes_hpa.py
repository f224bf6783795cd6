"""KEDA's HorizontalPodAutoscaler is there, and scales this workload alone.

What it checks
    Each ScaledObject has the HorizontalPodAutoscaler that KEDA makes of it, which targets the same
    workload with the same bounds. No other HorizontalPodAutoscaler targets it.

Why
    KEDA only goes from zero to one replica and back; everything else its HorizontalPodAutoscaler
    does. If that is missing, replicas stay as they are. If there is another, both set the number of
    replicas, in turns.

Fix
    ``kubectl describe scaledobject NAME`` shows why KEDA makes none, or changes it no more; look at
    the operator too. Delete the HorizontalPodAutoscaler that is not KEDA's, or hand it over with
    the annotation ``scaledobject.keda.sh/transfer-hpa-ownership``.

Source
    KEDA's documentation, "Scaling Deployments": KEDA feeds a HorizontalPodAutoscaler. Module 1.5,
    "Scaling vLLM on Queue Depth".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import chain, scaler_status, shape
from drainproof.model.conditions import conditions_of, moment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Finding, Located
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_MAKES_WITHIN_S = 120


@check("DP712", severity=Severity.ERROR)
def keda_has_made_its_hpa(
    workload: Workload, scalers: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield ScaledObjects whose HorizontalPodAutoscaler is missing, other, or not alone."""
    for scaler in scalers:
        if not scaler.of_keda or scaler.object is workload.object or scaler.paused_by:
            continue
        if "HorizontalPodAutoscaler" in snapshot.unseen:
            yield scaler.inconclusive("", "HorizontalPodAutoscalers could not be listed")
            continue
        own = scaler_status.hpa_of(snapshot, scaler)
        if own is None:
            yield from _missing(scaler, snapshot)
        else:
            yield from _differs(scaler, own)
        for other in scaler_status.hpas_on(snapshot, scaler):
            if own is None or other.object is not own.object:
                yield other.finding(
                    "spec.scaleTargetRef",
                    chain.broken(
                        chain.TO_DEPLOYMENT,
                        f"it scales {scaler.target_kind} {scaler.target_name} too, beside KEDA's "
                        "own: both set the number of replicas, in turns",
                    ),
                )


def _missing(scaler: Scaler, snapshot: Snapshot) -> Iterator[Finding]:
    metadata = shape.mapping(scaler.object, "metadata", "")
    made = moment(metadata, "creationTimestamp", "metadata")
    if made is not None and snapshot.taken_at - made < _MAKES_WITHIN_S:
        yield scaler.inconclusive("", "it is new, and KEDA may not have looked at it yet")
        return
    ready = conditions_of(scaler.object).get("Ready")
    said = f" (Ready is {ready.status}: {ready.said})" if ready else ", nor looked at it"
    yield scaler.finding(
        "",
        chain.broken(
            chain.TO_HPA,
            f"KEDA has made no HorizontalPodAutoscaler of it{said}: the number of replicas stays "
            "as it is, whatever queues",
        ),
    )


def _differs(scaler: Scaler, own: Located) -> Iterator[Finding]:
    spec = shape.mapping(own.object, "spec", "")
    target = shape.mapping(spec, "scaleTargetRef", "spec")
    found = tuple(shape.text(target, key, "spec.scaleTargetRef") for key in ("kind", "name"))
    if found != (scaler.target_kind, scaler.target_name):
        yield own.finding(
            "spec.scaleTargetRef",
            chain.broken(
                chain.TO_DEPLOYMENT,
                f"it scales {' '.join(found)}, and the ScaledObject {scaler.name} is to scale "
                f"{scaler.target_kind} {scaler.target_name}, which stays as it is",
            ),
        )
        return
    for key, wanted in (
        ("minReplicas", max(scaler.min_replicas, 1)),
        ("maxReplicas", scaler.max_replicas),
    ):
        has = shape.integer(spec, key, "spec", 1)
        if has != wanted:
            yield own.finding(
                f"spec.{key}",
                chain.broken(
                    chain.TO_HPA,
                    f"it has {has}, and the ScaledObject {scaler.name} wants {wanted}: KEDA has "
                    "not acted on the change",
                ),
            )
