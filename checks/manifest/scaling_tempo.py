"""Replicas come in time, and go one at a time.

What it checks
    On the way down: one pod at a time, at most one in a grace period, after a stabilisation window
    of 300 s (120 s in the module profile, 60 s in dev). On the way up: a window that is no longer
    than a cold start, and scaling up not disabled. KEDA's ``pollingInterval`` is at most 30 s where
    it counts: at zero or idle replicas, and for cached metrics. No number that Kubernetes refuses.

Why
    Without policies of its own an autoscaler takes away all replicas that it calls superfluous at
    once, each of them busy with streams, and adds them again minutes later, one cold start each.
    KEDA's ``cooldownPeriod`` does not slow that down: it is only for the step to zero.

Fix
    Set ``behavior.scaleDown`` to ``stabilizationWindowSeconds: 300`` and the policy ``{type: Pods,
    value: 1, periodSeconds: 300}``. It is under ``spec`` of a HorizontalPodAutoscaler, and under
    ``spec.advanced.horizontalPodAutoscalerConfig`` of a ScaledObject.

Source
    Module 1.5, "Scaling vLLM on Queue Depth". Kubernetes' documentation on configurable scaling
    behaviour: 100 % per 15 s by default. KEDA 2.20's admission warnings on ``cooldownPeriod`` and
    ``pollingInterval``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Pace, Policy, Scaler
    from drainproof.model.workload import Workload

_WINDOW_MAX_S = 3600
"""Kubernetes refuses longer stabilisation windows."""
_PERIOD_MAX_S = 1800
"""Kubernetes refuses longer periods."""


@check(
    "DP406",
    severity=Severity.WARNING,
    admission="it joins an autoscaler with the engine that it scales",
)
def scaling_keeps_pace(
    workload: Workload, scalers: Sequence[Scaler], profile: Profile
) -> Iterator[Finding]:
    """Yield what takes replicas away too fast, or adds them too late."""
    for scaler in scalers:
        down, up = scaler.scale_down, scaler.scale_up
        if down is None or up is None or scaler.max_replicas <= max(1, scaler.min_replicas):
            continue
        written = [pace for pace in (down, up) if pace.window_written or pace.policies_written]
        refused = [said for pace in written for said in _refused(pace)]
        for path, said in refused:
            yield scaler.finding(
                path,
                f"{said}: Kubernetes refuses it, and {workload.name} does not scale",
                Severity.ERROR,
            )
        if not refused:
            yield from _down(workload, scaler, down, profile)
            yield from _up(workload, scaler, up, profile)
        if _polled(scaler) and (scaler.polling_s or 0) > profile.polling_max_s:
            yield scaler.finding(
                "spec.pollingInterval",
                f"KEDA looks every {scaler.polling_s} s: requests wait for that long before the "
                f"first replica even starts to load; expected at most {profile.polling_max_s} s",
            )


def _polled(scaler: Scaler) -> bool:
    """Tell whether KEDA's own polling counts; else Kubernetes asks every 15 s."""
    return (
        scaler.can_be_zero
        or scaler.idle_replicas is not None
        or any(item.cached for item in scaler.triggers)
    )


def _refused(pace: Pace) -> Iterator[tuple[str, str]]:
    if not 0 <= pace.window_s <= _WINDOW_MAX_S:
        yield (
            f"{pace.path}.stabilizationWindowSeconds",
            f"a stabilisation window of {pace.window_s} s ({_WINDOW_MAX_S} at most)",
        )
    for policy in pace.policies:
        if not 0 < policy.period_s <= _PERIOD_MAX_S:
            yield (
                f"{policy.path}.periodSeconds",
                f"a period of {policy.period_s} s (1 to {_PERIOD_MAX_S})",
            )
        if policy.value <= 0 or policy.type not in {"Pods", "Percent"}:
            yield policy.path, f"a policy of {policy.value} {policy.type or '(no type)'}"


def _down(workload: Workload, scaler: Scaler, down: Pace, profile: Profile) -> Iterator[Finding]:
    if down.select == "Disabled":
        return
    grace_s = workload.grace_period_s
    policy = _fastest(down, scaler.max_replicas, grace_s)
    most = policy.pods(scaler.max_replicas)
    spare = scaler.max_replicas - max(1, scaler.min_replicas)
    if most > profile.scale_down_pods and spare > profile.scale_down_pods:
        given = "" if down.policies_written else ", Kubernetes' default"
        yield scaler.finding(
            policy.path,
            f"up to {min(most, spare)} of {scaler.max_replicas} replicas go at once ({policy.value}"
            f"{' %' if policy.type == 'Percent' else ' pods'} every {policy.period_s} s{given}), "
            "and the others get all of their load"
            + ("" if scaler.can_be_zero or not scaler.cooldown_written else _COOLDOWN),
            repair={
                f"{down.path}.policies": [
                    {"type": "Pods", "value": 1, "periodSeconds": min(grace_s, _PERIOD_MAX_S)}
                ]
            }
            if not down.policies_written and grace_s > 0
            else None,
        )
    elif policy.period_s < grace_s and spare > 1:
        yield scaler.finding(
            f"{policy.path}.periodSeconds",
            f"a replica goes every {policy.period_s} s, and each may take {grace_s} s to finish "
            "its streams: several are on their way out at the same time",
            repair={f"{policy.path}.periodSeconds": grace_s} if grace_s <= _PERIOD_MAX_S else None,
        )
    if down.window_s < profile.scale_down_window_s:
        path = f"{down.path}.stabilizationWindowSeconds"
        yield scaler.finding(
            path,
            f"replicas go after a lull of {down.window_s} s, and to get them back takes a cold "
            f"start of minutes; expected at least {profile.scale_down_window_s} s",
            repair={path: profile.scale_down_window_s},
        )


_COOLDOWN = "; cooldownPeriod does not slow that down, it is only for the step to zero"


def _fastest(pace: Pace, replicas: int, grace_s: int) -> Policy:
    """Return the policy that counts: the one that takes most pods in a grace period, or least."""

    def rate(policy: Policy) -> float:
        return policy.pods(replicas) * max(1.0, grace_s / policy.period_s)

    return (min if pace.select == "Min" else max)(pace.policies, key=rate)


def _up(workload: Workload, scaler: Scaler, up: Pace, profile: Profile) -> Iterator[Finding]:
    if up.select == "Disabled":
        yield scaler.finding(
            f"{up.path}.selectPolicy",
            f"scaling up is disabled: {workload.name} never gets a replica more, and requests wait "
            "in the queue",
            Severity.ERROR,
        )
    elif up.window_s > profile.scale_up_window_max_s:
        yield scaler.finding(
            f"{up.path}.stabilizationWindowSeconds",
            f"a rising load is watched for {up.window_s} s before the first new replica even "
            f"starts to load; expected at most {profile.scale_up_window_max_s} s",
        )
