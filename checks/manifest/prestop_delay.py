"""A preStop delay keeps new requests away from a stopping engine.

What it checks
    The engine's container has a preStop hook that surely takes at least 5 s: a ``sleep`` action, or
    an exec hook that sleeps. Under 15 s it warns in the production profile. What an httpGet hook or
    a script in the image takes can't be told, and is inconclusive.

Why
    A pod's deletion and its removal from the Service happen at the same time, not one after the
    other. For some seconds, proxies still send new requests to an engine that got SIGTERM. vLLM
    answers those with HTTP 500 while it drains, others refuse the connection, and ``/health`` stays
    200, so no probe helps. Only a delay before SIGTERM does.

Fix
    Add ``lifecycle: {preStop: {sleep: {seconds: 15}}}`` to the engine's container, and raise
    ``terminationGracePeriodSeconds`` by as much. Before Kubernetes 1.30 there is no ``sleep``
    action: use ``exec: {command: [sleep, "15"]}``.

Source
    Module 1.5, "Graceful Termination" (``sleep 5``); KServe's and llm-d's templates (15 s). While
    vLLM 0.32 drains, it was measured to answer new requests with HTTP 500.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP104", severity=Severity.ERROR)
def prestop_delays_sigterm(
    workload: Workload, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what sends new requests to an engine that stops."""
    hook = container.prestop
    if not hook.form:
        yield workload.finding(
            hook.path,
            "no preStop hook: SIGTERM comes at once, while the Service still sends new requests, "
            "and "
            f"those fail; expected a delay of at least {profile.prestop_min_s:g} s",
        )
    elif hook.broken:
        yield workload.finding(
            f"{hook.path}.{hook.form}",
            f"the preStop hook fails at once, so SIGTERM is not delayed and new requests fail: "
            f"{hook.broken}",
        )
    elif hook.delay_s is None:
        yield workload.inconclusive(
            f"{hook.path}.{hook.form}",
            f"how long this {hook.form} hook delays SIGTERM can't be told; "
            f"expected at least {profile.prestop_min_s:g} s",
        )
    elif hook.delay_s < profile.prestop_min_s:
        yield workload.finding(
            f"{hook.path}.{hook.form}",
            f"SIGTERM is delayed by {hook.delay_s:g} s only, so requests that the Service still "
            f"sends "
            f"after that fail; expected at least {profile.prestop_min_s:g} s",
        )
    elif hook.delay_s < profile.prestop_good_s:
        yield workload.finding(
            f"{hook.path}.{hook.form}",
            f"SIGTERM is delayed by {hook.delay_s:g} s: where endpoints take longer to leave a "
            f"load "
            f"balancer, new requests fail; {profile.prestop_good_s:g} s is what references ship",
            Severity.WARNING,
        )
