"""A busy engine has the time to answer its probes.

What it checks
    The readiness and the liveness probe wait for an answer for at least 2 s (Kubernetes' default is
    1 s; the module profile takes it), unless they fail for a minute before they act or come every
    second; and no longer than ``periodSeconds``.

Why
    Under load, an engine's HTTP server answers ``/health`` late: it shares a process with
    tokenising and streaming. Three answers that take longer than a second take the replica out of
    the Service, its load goes to the others, and those are next; or the liveness probe kills it
    with all its streams. A timeout over the period delays the next probe instead: an engine that
    hangs is found later than the numbers say.

Fix
    Set ``timeoutSeconds: 5`` on the readiness and the liveness probe, and ``periodSeconds`` to no
    less.

Source
    llm-d/llm-d-benchmark pull request 1734 (saturated vLLM missed three 1 s checks and left its
    pool empty); scaleapi/llm-engine pull request 255. KServe's template waits for 1 s, but its
    liveness probe fails for 100 s before it kills, and it asks for readiness every second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container, Probe
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP204", severity=Severity.WARNING)
def busy_engine_answers_probes(
    workload: Workload, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what takes a busy engine for a dead one, or a dead one for a busy one."""
    readiness, liveness = container.readiness, container.liveness
    if readiness is not None:
        yield from _probe(workload, readiness, ("takes", "take", "it out of the Service"), profile)
    if liveness is not None:
        yield from _probe(workload, liveness, ("kills", "kill", "it and all its streams"), profile)


def _probe(
    workload: Workload, probe: Probe, consequence: tuple[str, str, str], profile: Profile
) -> Iterator[Finding]:
    path = f"{probe.path}.timeoutSeconds"
    if probe.timeout_s > probe.period_s:
        found = probe.failure_threshold * probe.timeout_s
        yield workload.finding(
            path,
            f"each probe waits for {probe.timeout_s} s, though the next is due after "
            f"{probe.period_s} s: an engine that hangs is found after {found} s, not after "
            f"{probe.patience_s} s, and requests wait as long",
        )
    elif (
        probe.timeout_s < profile.probe_timeout_min_s <= probe.period_s
        and probe.patience_s < profile.probe_patience_s
    ):
        once = probe.failure_threshold == 1
        late = (
            "one answer that takes"
            if once
            else f"{probe.failure_threshold} answers in a row that take"
        )
        one, several, what = consequence
        yield workload.finding(
            path,
            f"{late} longer than {probe.timeout_s} s, as a busy engine's may, "
            f"{one if once else several} {what}; expected at least {profile.probe_timeout_min_s} s",
            repair={path: min(profile.probe_timeout_good_s, probe.period_s)},
        )
