"""Only one thing sets the number of replicas.

What it checks
    No second ScaledObject or HorizontalPodAutoscaler has the same target, and the target exists:
    an autoscaler that names the workload, but with another kind, namespace, or without the
    ``apiVersion`` that a HorizontalPodAutoscaler needs, scales nothing. A manifest that is applied
    again and again has no ``spec.replicas`` beside an autoscaler; that is a warning.

Why
    Two autoscalers on one target pull it to and fro, and KEDA refuses the second one. Every
    ``kubectl apply`` or sync of a manifest with ``replicas: 1`` takes a deployment that has grown
    to 5 down to 1, with all the streams of the others.

Fix
    Put all triggers into one ScaledObject: the largest number of replicas wins. Leave
    ``spec.replicas`` out of the manifest, as Kubernetes' documentation says, and out of what the
    GitOps controller compares.

Source
    Module 1.5, "Autoscaling LLM Inference with KEDA". KEDA's admission webhook
    (``verifyScaledObjects``, ``verifyHpas``). Kubernetes, "Migrating Deployments and StatefulSets
    to horizontal autoscaling".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check("DP407", severity=Severity.ERROR, admission="it joins autoscalers")
def one_scaler_sets_replicas(
    workload: Workload, scalers: Sequence[Scaler], strays: Sequence[Scaler], snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield what pulls the number of replicas to and fro, or misses its target."""
    for second in scalers[1:]:
        yield second.finding(
            "spec.scaleTargetRef",
            f"{workload.kind}/{workload.name} already has an autoscaler, {scalers[0].ref}: "
            + (
                "KEDA refuses the second one, and its triggers count for nothing"
                if second.of_keda or scalers[0].of_keda
                else "they pull the number of replicas to and fro"
            ),
        )
    for scaler in scalers:
        if scaler.kind == "HorizontalPodAutoscaler" and not scaler.target_version:
            yield scaler.finding(
                "spec.scaleTargetRef.apiVersion",
                f"no apiVersion: Kubernetes looks for a {scaler.target_kind} of the core group, "
                f"finds none, and {workload.name} does not scale",
                repair={"spec.scaleTargetRef.apiVersion": workload.object["apiVersion"]},
                fix=f"Add apiVersion: {workload.object['apiVersion']}.",
            )
    for stray in strays:
        target = f"{stray.target_kind} {stray.target_name}"
        if stray.namespace != workload.namespace:
            target += f" in {stray.namespace}"
        yield snapshot.absence(
            stray,
            "spec.scaleTargetRef",
            f"its target, {target}, is not there: meant is {workload.ref}, which does not scale",
        )
    yield from _fixed(workload, scalers)


def _fixed(workload: Workload, scalers: Sequence[Scaler]) -> Iterator[Finding]:
    if not scalers or workload.origin is None or "status" in workload.object:
        return  # in a cluster it is the autoscaler that wrote the number
    if any(scaler.object is workload.object for scaler in scalers):
        return
    spec = workload.object.get("spec")
    written = spec.get("replicas") if isinstance(spec, dict) else None
    most = max(scaler.max_replicas for scaler in scalers)
    if type(written) is int and written < most:
        yield workload.finding(
            "spec.replicas",
            f"replicas {written} beside an autoscaler that goes up to {most}: each time the "
            f"manifest is applied, replicas go back to {written}, whatever the load",
            Severity.WARNING,
            fix="Leave spec.replicas out of the manifest, and out of what the GitOps controller "
            "compares.",
        )
