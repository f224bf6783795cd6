"""The autoscaler keeps at least one replica, and has room to grow.

What it checks
    ``minReplicaCount`` (``minReplicas``) is at least 1. KEDA's default is 0, and
    ``idleReplicaCount: 0`` comes to the same. ``maxReplicaCount`` is written, and larger than the
    minimum. In the dev profile zero is allowed, with a cooldown and with a trigger that can wake
    the workload up: an engine with no replica exports nothing, so its own metrics can't.

Why
    A cold start takes 1 to 5 minutes, and for that long the first request after a lull has nobody
    to answer it: most clients have gone by then. An autoscaler whose bounds are equal scales
    nothing, and one without an upper bound asks for up to 100 replicas, most of which stay Pending
    for want of GPUs.

Fix
    Set ``minReplicaCount`` to 1 or more and ``maxReplicaCount`` to what the GPUs allow. Where zero
    is wanted, add a trigger on requests at the gateway or the router, and a long
    ``cooldownPeriod``.

Source
    Module 1.5, "Scaling vLLM on Queue Depth" ("always keep 1 replica") and "Scale-to-Zero". KEDA
    2.16 to 2.20, ``CheckReplicaCountBoundsAreValid`` and the scale executor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.workload import Workload


@check(
    "DP405",
    severity=Severity.ERROR,
    admission="it joins an autoscaler with the engine that it scales",
)
def scaling_has_bounds(
    workload: Workload, engine: Engine, scalers: Sequence[Scaler], profile: Profile
) -> Iterator[Finding]:
    """Yield bounds that leave no replica, or no room."""
    for scaler in scalers:
        if not scaler.max_written:
            yield _unbounded(workload, scaler)
        elif scaler.max_replicas < max(1, scaler.min_replicas):
            yield scaler.finding(
                scaler.max_path,
                f"at most {scaler.max_replicas} replicas and at least {scaler.min_replicas}: the "
                f"{scaler.kind} is refused, and {workload.name} does not scale",
            )
        elif scaler.max_replicas == scaler.min_replicas:
            yield scaler.finding(
                scaler.max_path,
                f"at least and at most {scaler.max_replicas} replicas, so {workload.name} never "
                "scales: under load requests wait in the queue",
            )
        if scaler.idle_replicas is not None and _refused(scaler):
            yield scaler.finding(
                "spec.idleReplicaCount",
                f"idleReplicaCount {scaler.idle_replicas} is not below minReplicaCount "
                f"{scaler.min_replicas}: KEDA refuses the ScaledObject, and {workload.name} does "
                "not scale",
            )
        if scaler.can_be_zero:
            yield from _zero(workload, engine, scaler, profile)


def _unbounded(workload: Workload, scaler: Scaler) -> Finding:
    if scaler.kind in {"HorizontalPodAutoscaler", "PodAutoscaler"}:
        return scaler.finding(
            scaler.max_path,
            f"no maxReplicas: Kubernetes refuses the {scaler.kind}, and {workload.name} does not "
            "scale",
        )
    what = (
        f"the default is {scaler.max_replicas} replicas, each with a GPU of its own"
        if scaler.of_keda or scaler.kind == "HTTPScaledObject"
        else "replicas, each with a GPU of its own, are added without bound"
    )
    return scaler.finding(
        scaler.max_path,
        f"no maximum: {what}, so one burst can take every GPU that other models need",
        Severity.WARNING,
    )


def _refused(scaler: Scaler) -> bool:
    """Tell whether KEDA refuses ``idleReplicaCount``; an explicit minimum of 0 counts as 1."""
    spec = scaler.object.get("spec")
    written = isinstance(spec, dict) and spec.get("minReplicaCount") is not None
    least = max(1, scaler.min_replicas) if written else 0
    return scaler.idle_replicas is not None and scaler.idle_replicas >= least


def _zero(
    workload: Workload, engine: Engine, scaler: Scaler, profile: Profile
) -> Iterator[Finding]:
    path = scaler.min_path if scaler.min_replicas == 0 else "spec.idleReplicaCount"
    if not profile.allows_zero:
        given = "idleReplicaCount 0" if scaler.min_replicas else _least(scaler)
        yield scaler.finding(
            path,
            f"{given}: {workload.name} goes down to no replica, and the first request after a lull "
            "has nobody to answer it for as long as the model loads",
            repair={path: 1} if scaler.min_replicas == 0 and scaler.kind in _WRITABLE else None,
        )
    elif scaler.cooldown_s is not None and scaler.cooldown_s < profile.zero_cooldown_s:
        yield scaler.finding(
            "spec.cooldownPeriod" if scaler.of_keda else "spec.scaledownPeriod",
            f"the last replica goes {scaler.cooldown_s} s after the last request, and the next one "
            "waits until the model is loaded again; expected at least "
            f"{profile.zero_cooldown_s} s",
            Severity.WARNING,
        )
    if scaler.triggers and not any(_wakes(trigger, engine) for trigger in scaler.triggers):
        yield scaler.finding(
            scaler.triggers[0].path,
            f"nothing wakes {workload.name} up from zero: {scaler.triggers[0].written[:80]} comes "
            "from the engine itself, and without a replica nobody exports it",
        )


_WRITABLE = frozenset({"ScaledObject", "HTTPScaledObject", "HorizontalPodAutoscaler"})


def _least(scaler: Scaler) -> str:
    name = scaler.min_path.rpartition(".")[2]
    if name.endswith("]"):  # an annotation, whose name has dots in it
        return f"no {scaler.min_path.rpartition('[')[2].removesuffix(']')} over 0"
    spec = scaler.object.get("spec")
    if scaler.of_keda and isinstance(spec, dict) and spec.get(name) is None:
        return "no minReplicaCount, and KEDA's default is 0"
    return f"{name} 0"


def _wakes(trigger: Trigger, engine: Engine) -> bool:
    """Tell whether a trigger can have a value while there is no replica."""
    if trigger.type in {"cpu", "memory", "resource", "pods"}:
        return False
    names = trigger.metrics
    return not names or not all(engine.facts.knows_metric(name) for name in names)
