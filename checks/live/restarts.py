"""The engine does not restart.

What it checks
    No engine container restarted within the last day, nor waits to be started again
    (``CrashLoopBackOff``), as the pods' status has it.

Why
    Each restart cuts every stream of its pod at once and loads the model anew, for minutes in
    which the other replicas take its load. A limit or a probe may be behind it as well as a
    bug.

Fix
    Mend what the last run ended by: raise the memory limit after OOMKilled; after SIGKILL (137)
    give the liveness probe more patience. ``kubectl logs --previous`` shows the engine's own
    words.

Source
    Kubernetes' documentation of container states and exit codes. Module 1.5: pods take 1 to 7
    minutes to be ready again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.quantity import gibibytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.finding import Finding
    from drainproof.model.running import Ended, Pod
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_SIGKILL, _SIGTERM = 137, 143


@check("DP708", severity=Severity.ERROR)
def engine_stays_up(
    workload: Workload,
    container: Container,
    pods: Sequence[Pod],
    snapshot: Snapshot,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield the ways in which engines ended that should have gone on."""
    found: dict[str, list[Pod]] = {}
    known = False
    for pod in pods:
        state = pod.containers.get(container.name)
        if state is None:
            continue
        known = True
        recent = (
            state.last is not None
            and state.last.at is not None
            and state.last.at > snapshot.taken_at - profile.restart_recent_s
        )
        if state.waiting == "CrashLoopBackOff" or (state.restarts and recent):
            found.setdefault(_how(state.last, container), []).append(pod)
    if not known:
        yield workload.inconclusive("", "no pod has started its engine yet")
    for how, which in found.items():
        times = sum(pod.containers[container.name].restarts for pod in which)
        many = "1 pod" if len(which) == 1 else f"{len(which)} pods"
        yield workload.finding(
            container.path,
            f"the engine of {many} ({which[0].name}) restarted {times} times, the last time "
            f"{how}: each cut all streams of its pod, and loaded the model anew",
        )


def _how(last: Ended | None, container: Container) -> str:
    if last is None:
        return "for a reason that is no longer known"
    if last.reason == "OOMKilled":
        limit = container.memory_limit
        return "out of memory" + (f" (limit {gibibytes(limit)})" if limit else "")
    if last.exit_code == _SIGKILL:
        probe = " by its liveness or startup probe, or" if container.liveness else ""
        return f"killed (137){probe} by the node"
    if last.exit_code == _SIGTERM:
        return "told to stop (143), as a failed probe does"
    return f"with exit code {last.exit_code}"
