"""A preStop delay keeps new requests away from a stopping engine.

What it checks
    The engine's container has a preStop hook that surely takes at least 5 s: a ``sleep`` action, or
    an exec hook that sleeps. Under 15 s it warns in the production profile, as it does if a hook
    only waits until nothing runs, which may be at once. What another httpGet hook or a script in
    the image takes can't be told, and is inconclusive. A proxy in the pod that a Service sends
    requests to, instead of to the engine, needs such a hook, too, that lasts as long as the engine
    takes to drain. That of Istio, if labels of the pods or of their Namespace have it injected, or
    if it is in a live cluster's pods, is inconclusive unless an annotation says that it drains or
    that it is a native sidecar.

Why
    A pod's deletion and its removal from the Service happen at the same time, not one after the
    other. For some seconds, proxies still send new requests to an engine that got SIGTERM. vLLM
    answers those with HTTP 500 while it drains, others refuse the connection, and ``/health`` stays
    200, so no probe helps. Only a delay before SIGTERM does. A proxy beside the engine gets SIGTERM
    at the same time; Envoy ends at once then, and Istio's after 5 s, with every stream through it.

Fix
    Add ``lifecycle: {preStop: {sleep: {seconds: 15}}}`` to the engine's container, and raise
    ``terminationGracePeriodSeconds`` by as much. Before Kubernetes 1.30 there is no ``sleep``
    action: use ``exec: {command: [sleep, "15"]}``. Make a proxy a native sidecar (an init container
    with ``restartPolicy: Always``), which ends after the engine; for Istio, annotate the pods with
    ``proxy.istio.io/config: '{"terminationDrainDuration": "150s"}'``.

Source
    Module 1.5, "Graceful Termination" (``sleep 5``); KServe's and llm-d's templates (15 s). While
    vLLM 0.32 drains, it was measured to answer new requests with HTTP 500.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import injected, shape, shell
from drainproof.model.routing import in_front, services_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.prestop import PreStop
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


@check(
    "DP104",
    severity=Severity.ERROR,
    admission="the proxy that a Service leads to, Istio's by its Namespace's label",
)
def prestop_delays_sigterm(
    workload: Workload,
    engine: Engine,
    container: Container,
    profile: Profile,
    snapshot: Snapshot,
) -> Iterator[Finding]:
    """Yield what sends new requests to an engine that stops, or ends a proxy before it."""
    if workload.serves:
        yield from _engine_delay(workload, engine, container, profile)
        for proxy in in_front(workload, engine, services_of(snapshot, workload)):
            yield from _proxy_delay(workload, engine, proxy, profile)
        why = injected.ends_early(workload, engine, profile.drain_min_s, snapshot)
        if why:
            yield workload.inconclusive(workload.pod_path, why, fix=injected.FIX)


def _proxy_delay(
    workload: Workload, engine: Engine, proxy: Container, profile: Profile
) -> Iterator[Finding]:
    hook = proxy.prestop
    who = f"container {proxy.name}, to which the Service sends requests"
    needed = (engine.prestop_s or 0.0) + (engine.drain_s or 0.0)
    if not hook.form or hook.broken:
        yield workload.finding(
            hook.path,
            f"{who}, has no preStop hook that works: it gets SIGTERM at once, new requests fail, "
            "and a proxy that does not drain cuts off every stream, however long the engine drains",
        )
    elif hook.delay_s is None:
        yield workload.inconclusive(
            f"{hook.path}.{hook.form}", f"how long {who}, outlasts SIGTERM can't be told"
        )
    elif hook.delay_s < profile.prestop_min_s:
        yield workload.finding(
            f"{hook.path}.{hook.form}",
            f"{who}, gets SIGTERM after {hook.delay_s:g} s, so requests that still come "
            f"after that fail; expected at least {profile.prestop_min_s:g} s",
        )
    elif math.isfinite(needed) and hook.delay_s < needed:
        yield workload.inconclusive(
            f"{hook.path}.{hook.form}",
            f"{who}, gets SIGTERM after {hook.delay_s:g} s, but the engine may stream for "
            f"{needed:g} s: whether it lets those streams end can't be told",
        )


def _engine_delay(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    hook = container.prestop
    path = f"{hook.path}.{hook.form}"
    delay = hook.delay_s
    if not hook.form:
        if workload.complete:
            yield workload.finding(
                hook.path,
                "no preStop hook: SIGTERM comes at once, while the Service still sends new "
                "requests, and those fail; expected a delay of at least "
                f"{profile.prestop_min_s:g} s",
                repair=_repair(container, profile),
            )
        else:
            yield workload.left_to_others(hook.path, "a preStop delay")
    elif hook.broken:
        yield workload.finding(
            path,
            "the preStop hook fails at once, so SIGTERM is not delayed and new requests fail: "
            f"{hook.broken}",
            repair=_repair(container, profile),
        )
    elif delay is None and hook.polls:
        yield workload.finding(
            path,
            "the preStop hook ends as soon as nothing runs, which may be at once: then requests "
            "that the Service still sends fail; expected a delay of at least "
            f"{profile.prestop_min_s:g} s before it looks",
            Severity.WARNING,
        )
    elif delay is None and _asks_engine(hook, container, engine):
        yield workload.finding(
            path,
            f"this hook asks {engine.title}, which answers at once, so SIGTERM is not delayed and "
            f"new requests fail; expected a delay of at least {profile.prestop_min_s:g} s",
            repair=_repair(container, profile),
        )
    elif delay is None:
        yield workload.inconclusive(
            path,
            f"how long this {hook.form} hook delays SIGTERM can't be told; "
            f"expected at least {profile.prestop_min_s:g} s",
        )
    elif delay < profile.prestop_min_s:
        yield workload.finding(
            path,
            f"SIGTERM is delayed by {delay:g} s only, so requests that the Service still sends "
            f"after that fail; expected at least {profile.prestop_min_s:g} s",
            repair=_repair(container, profile),
        )
    elif delay < profile.prestop_good_s:
        yield workload.finding(
            path,
            f"SIGTERM is delayed by {delay:g} s: where endpoints take longer to leave a load "
            f"balancer, new requests fail; {profile.prestop_good_s:g} s is what references ship",
            Severity.WARNING,
            repair=_repair(container, profile),
        )


def _asks_engine(hook: PreStop, container: Container, engine: Engine) -> bool:
    """Tell whether an httpGet hook asks the engine itself for its health or its metrics."""
    if hook.form != "httpGet":
        return False
    request = _hook(container).get("httpGet")
    asked = request.get("path") if isinstance(request, dict) else None
    return asked in (*engine.facts.health_paths, engine.facts.metrics_path)


def _repair(container: Container, profile: Profile) -> dict[str, object]:
    """Return a longer sleep in the form that the hook has; a script is its owner's to change."""
    hook = container.prestop
    seconds = int(profile.prestop_good_s)
    sleep: dict[str, object] = {f"{hook.path}.sleep.seconds": seconds}
    if hook.form in {"", "sleep"}:
        return sleep
    path = f"{hook.path}.{hook.form}"
    if hook.form != "exec" or hook.broken:
        return {path: None, **sleep}
    argv = shape.strings(shape.mapping(_hook(container), "exec", hook.path), "command", path)
    if shell.basename(argv[0]) == "sleep":
        return {f"{path}.command": [argv[0], str(seconds)]}
    words = (shell.script_of(argv) or "").split()
    if words[:1] == ["sleep"] and len(words) == 2:  # noqa: PLR2004 - sleep and its time
        return {f"{path}.command": [*argv[:-1], f"sleep {seconds}"]}
    return {}


def _hook(container: Container) -> shape.Raw:
    lifecycle = shape.mapping(container.raw, "lifecycle", container.path)
    return shape.mapping(lifecycle, "preStop", f"{container.path}.lifecycle")
