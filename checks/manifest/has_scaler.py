"""The number of replicas follows the load.

What it checks
    An autoscaler targets the workload: a ScaledObject or HTTPScaledObject of KEDA, a
    HorizontalPodAutoscaler, AIBrix's PodAutoscaler, or what Knative and KServe bring. It is not
    paused. Not asked for in the dev profile.

Why
    A replica serves so many streams and no more. Without an autoscaler, requests beyond that wait
    in the engine's queue until clients give up.

Fix
    Add a ScaledObject whose ``scaleTargetRef`` names the workload, with a Prometheus trigger on the
    engine's queue depth, such as ``vllm:num_requests_waiting``.

Source
    Module 1.5, "Autoscaling LLM Inference with KEDA".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.scaler import scalable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_SCALERS = frozenset(
    {"ScaledObject", "HTTPScaledObject", "HorizontalPodAutoscaler", "PodAutoscaler"}
)


@check(
    "DP401",
    severity=Severity.ERROR,
    admission="it joins autoscalers, which may be written after the workload",
)
def has_scaler(
    workload: Workload, scalers: Sequence[Scaler], snapshot: Snapshot, profile: Profile
) -> Iterator[Finding]:
    """Yield a workload that stays at its number of replicas."""
    if not profile.needs_scaler or not scalable(workload):
        return
    for scaler in scalers:
        if scaler.paused_by:
            yield scaler.finding(
                f"metadata.annotations[{scaler.paused_by}]",
                f"the autoscaler of {workload.name} is paused, so under load no replica is added "
                "and requests wait in the queue",
                Severity.WARNING,
            )
    if scalers:
        return
    unread = _unread(workload, snapshot)
    if unread:
        yield workload.inconclusive(
            workload.replicas_path or "spec",
            f"whether {unread} scales {workload.kind}/{workload.name} can't be told: a field of it "
            "holds a wrong type",
        )
        return
    replicas = f"{workload.replicas} replica{'s' if workload.replicas != 1 else ''}"
    yield snapshot.absence(
        workload,
        workload.replicas_path or "spec",
        f"no autoscaler targets {workload.kind}/{workload.name}, so under load requests wait in "
        f"the queue of {replicas}",
    )


def _unread(workload: Workload, snapshot: Snapshot) -> str:
    """Return an autoscaler that could not be read and may target a workload; empty if none."""
    for namespace, kind, target, ref in snapshot.join(_written):
        if namespace and workload.namespace and namespace != workload.namespace:
            continue
        if target in {"", workload.name} and kind in {"", workload.kind}:
            return ref
    return ""


def _written(snapshot: Snapshot) -> list[tuple[str, str, str, str]]:
    """Return every autoscaler with a wrong type: namespace, its target's kind and name, its own.

    What has a wrong type itself is empty.
    """
    found = []
    refused = {problem.origin for problem in snapshot.problems if problem.origin is not None}
    for item in snapshot.items:
        kind = _text(item.object.get("kind"))
        if kind not in _SCALERS or item.origin not in refused:
            continue
        metadata, spec = (_mapping(item.object.get(key)) for key in ("metadata", "spec"))
        target = _mapping(spec.get("scaleTargetRef"))
        found.append(
            (
                _text(metadata.get("namespace")),
                _text(target.get("kind", "Deployment")),
                _text(target.get("name")),
                f"{kind}/{_text(metadata.get('name'))}",
            )
        )
    return found


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
