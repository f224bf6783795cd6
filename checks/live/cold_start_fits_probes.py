"""The measured cold start fits what the probes allow.

What it checks
    The time from the start of the engine's container until the pod was ready, as the pod's
    conditions have it, is at most 80 % of what the startup probe allows; without a startup
    probe, of what a liveness probe at the same place does.

Why
    Loading takes longer from a cold cache, a slow volume or beside a busy neighbour. A probe
    whose budget is almost used up today kills the engine tomorrow, in the middle of a scale-up
    or of a rollout, and again at each restart.

Fix
    Raise the startup probe's ``failureThreshold`` until ``failureThreshold x periodSeconds`` is
    twice the measured time. The readiness probe decides when requests come, so this costs
    nothing.

Source
    Module 1.5, "War Story" (7 minutes) and question 4 (1 to 7 minutes). Measured on vLLM 0.32
    with 2 cores: 60 to 100 s alone, 2 to 4 minutes beside busy replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.finding import Finding
    from drainproof.model.running import Pod
    from drainproof.model.workload import Workload

_SLACK_S = 30
"""What a first readiness probe may take after the startup probe's last."""


@check("DP704", severity=Severity.ERROR)
def cold_start_fits(
    workload: Workload, container: Container, pods: Sequence[Pod], profile: Profile
) -> Iterator[Finding]:
    """Yield the probe that a measured load almost, or more than, used up."""
    probe = container.load_probe
    measured = sorted(_loads(container, pods))
    if probe is None:
        if not measured:
            yield workload.inconclusive("", "no pod is ready, so no cold start can be measured")
        return
    budget = probe.budget_s
    # A pod that was ready, was not and is again has a later time, which is no cold start.
    longest = budget + _SLACK_S + (container.readiness.budget_s if container.readiness else 0)
    plausible = [seconds for seconds in measured if seconds <= longest]
    if not plausible:
        yield workload.inconclusive(
            probe.path,
            "no pod is ready, so no cold start can be measured"
            if not measured
            else "every pod's readiness changed again after it had started, so no cold start can "
            "be measured",
        )
        return
    took = plausible[-1] if probe is container.startup else plausible[0]
    said = f"a replica took {took:.0f} s from its start until it was ready, of {budget} s that "
    if took > budget:
        yield workload.finding(
            f"{probe.path}.failureThreshold",
            f"{said}this probe allows: one that takes longer is killed while it loads",
        )
    elif took > profile.startup_used_max * budget:
        yield workload.finding(
            f"{probe.path}.failureThreshold",
            f"{said}this probe allows: a slower load is killed before it is done",
            Severity.WARNING,
        )


def _loads(container: Container, pods: Sequence[Pod]) -> Iterator[float]:
    """Yield the seconds from each ready pod's start of the engine until it was ready."""
    for pod in pods:
        state = pod.containers.get(container.name)
        if state is not None and state.running_since is not None and pod.ready_since is not None:
            yield pod.ready_since - state.running_since
