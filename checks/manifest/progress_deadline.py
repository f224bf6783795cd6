"""A rollout is not called failed while a replica still loads.

What it checks
    ``progressDeadlineSeconds`` (600 s by default) is longer than what the probes allow a new
    replica to load: the startup probe's ``initialDelaySeconds + failureThreshold x periodSeconds``,
    or else the readiness probe's ``initialDelaySeconds``; ``minReadySeconds`` counts as well.

Why
    When the deadline passes without a new Ready replica, the rollout is marked as failed, though
    the replica may still load and is allowed to. ``kubectl rollout status``, Helm and Argo CD then
    give up or roll back: the load starts over, and the update never gets through. The deadline also
    counts scheduling and the pull of the image, before any probe begins.

Fix
    Set ``progressDeadlineSeconds`` to the startup budget plus 300 s: 900 for a startup probe of 60
    x 10 s.

Source
    Kubernetes' documentation on Deployments, "Progress Deadline Seconds". The vLLM production stack
    ships 1,200 s with a budget of 600 s, NIM 3,600 s with 1,840 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

DEFAULT_DEADLINE_S = 600
"""Kubernetes' and Argo Rollouts' own default."""


@check("DP108", severity=Severity.WARNING, kinds=("Deployment", "Rollout"))
def rollout_waits_for_load(
    workload: Workload, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what gives up on a rollout whose new replica still loads."""
    spec = shape.mapping(workload.object, "spec", "")
    deadline = shape.integer(spec, "progressDeadlineSeconds", "spec", DEFAULT_DEADLINE_S)
    startup, readiness = container.startup, container.readiness
    if startup is not None:
        budget, said = startup.budget_s, "the startup probe allows"
    elif readiness is not None:
        budget, said = readiness.initial_delay_s, "the readiness probe begins after"
    else:
        return
    ready = shape.integer(spec, "minReadySeconds", "spec", 0)
    if deadline > budget + ready:
        return
    default = "" if "progressDeadlineSeconds" in spec else " (default)"
    yield workload.finding(
        "spec.progressDeadlineSeconds",
        f"a rollout counts as failed after {deadline} s{default}, and {said} {budget} s"
        + (f" (minReadySeconds adds {ready} s)" if ready else "")
        + ": it is given up or rolled back while its new replica may still load",
        repair={"spec.progressDeadlineSeconds": budget + ready + profile.rollout_slack_s},
    )
