"""Requests reach the engine, and only replicas that are ready.

What it checks
    A Service, an InferencePool or a router's own label selector selects the workload's pods, and
    leads to the port that the engine listens on, or to a proxy beside it. Named target ports exist.
    Pods that are not ready get no requests (``publishNotReadyAddresses``). The Service selects
    nothing else: no other model, no worker of a group, no Job. Where a controller makes the Service
    (KServe, Knative, Ray, LeaderWorkerSet), none is asked for.

Why
    A Service whose selector or port has a typing error is accepted, and every request is refused.
    One that also selects other pods sends them a share of the requests, which fail at random. One
    that publishes addresses too early sends requests to replicas that still load their model.

Fix
    Give the Service the pod template's labels as ``selector``, and as ``targetPort`` the name of
    the container port that the engine listens on.

Source
    Kubernetes' documentation on Services; Module 1.5 has a Service beside each Deployment. Gateway
    API Inference Extension: an InferencePool selects pods without a Service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import language_model, routing
from drainproof.model.routing import ADDED_LABELS, Bystander
from drainproof.model.selector import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.routing import RoutedService
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_NEEDS_ONE = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod"})
"""Kinds for which no controller makes a Service."""


@check("DP601", severity=Severity.ERROR)
def requests_reach_ready_engines(
    workload: Workload, engine: Engine, snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield what keeps requests from the engine, or sends them elsewhere."""
    if not workload.serves:
        return
    services = routing.services_of(snapshot, workload)
    pools = routing.pools_of(snapshot, workload)
    if not services and not pools:
        if workload.kind in _NEEDS_ONE:
            yield from _nothing_selects(workload, snapshot)
        return
    leading = [service for service in services if _leads(service, workload, engine)]
    for service in services:
        yield from _ports(service, workload, engine, served=bool(leading or pools))
        if leading == [service] and not pools:
            yield from _others(service, workload, snapshot)
        yield from _unready(service, workload, alone=leading == [service])
    for pool in pools:
        for path, number in pool.ports:
            if routing.reached(workload, engine, number) == "nowhere":
                yield pool.finding(
                    path,
                    f"requests go to port {number}, and {engine.title} in {workload.ref} listens "
                    f"on {engine.port}: every one is refused",
                )


def _unready(service: RoutedService, workload: Workload, *, alone: bool) -> Iterator[Finding]:
    path = service.unready_path
    if not path or (service.headless and not alone):
        return
    yield service.finding(
        path,
        f"it sends requests to pods of {workload.ref} that are not ready: they are refused while "
        "the model loads",
        Severity.WARNING if service.headless else None,  # it may be for finding each other
        repair={path: False if path.startswith("spec.") else "false"},
    )


def _nothing_selects(workload: Workload, snapshot: Snapshot) -> Iterator[Finding]:
    if routing.found_by_router(snapshot, workload):
        return
    labels = f"{workload.pod_path.removesuffix('spec')}metadata.labels"
    missed = next(routing.near_misses(snapshot, workload), None)
    if missed is not None:
        yield missed.finding(
            "spec.selector",
            f"it selects pods labelled {in_words(missed.selector)}, and those of {workload.ref} "
            f"are labelled {in_words(workload.pod_labels) or 'nothing'}: every request is refused",
        )
    else:
        yield snapshot.absence(
            workload,
            labels,
            f"no Service and no InferencePool selects the pods of {workload.ref}, so no request "
            "reaches them",
        )


def _leads(service: RoutedService, workload: Workload, engine: Engine) -> bool:
    """Tell whether a Service has a port that leads to the engine, or to a proxy beside it."""
    if service.headless and not service.ports:
        return True
    return any(
        routing.reached(workload, engine, port.target) in {"engine", "beside", "unknown"}
        for port in service.ports
    )


def _ports(
    service: RoutedService, workload: Workload, engine: Engine, *, served: bool
) -> Iterator[Finding]:
    for port in service.ports:
        if routing.reached(workload, engine, port.target) != "nowhere":
            continue
        path = f"{port.path}.targetPort"
        names = _names_of(workload, engine)
        repair = {path: names[0] if names else engine.port} if len(service.ports) == 1 else {}
        if isinstance(port.target, str):
            yield service.finding(
                path,
                f"no container of {workload.ref} has a port named {port.target!r}: the Service has "
                "no endpoints there, and what asks for it is refused",
                Severity.WARNING if served else None,
                repair=repair if engine.port else None,
            )
        elif not served:
            yield service.finding(
                path,
                f"requests go to port {port.target}, and {engine.title} in {workload.ref} listens "
                f"on {engine.port}: every one is refused",
                repair=repair,
            )


def _names_of(workload: Workload, engine: Engine) -> list[str]:
    """Return the names that the engine's container gives to the port it listens on."""
    ports = workload.container.ports if workload.container else {}
    return [name for name, number in ports.items() if number == engine.port and not name.isdigit()]


def _others(service: RoutedService, workload: Workload, snapshot: Snapshot) -> Iterator[Finding]:
    if service.headless or not ADDED_LABELS.isdisjoint(service.selector):
        return  # for finding each other, or narrowed down to some of the pods
    mine = _served(workload)
    for other in routing.selected_by(snapshot, service):
        if other is workload:
            continue
        if isinstance(other, Bystander):
            why = _strays(service, other)
        elif not other.serves:
            why = "which answers no requests itself"
        else:
            theirs = _served(other)
            differ = mine and theirs and mine != theirs
            why = f"which serves {theirs}, not {mine}" if differ else ""
        if why and not routing.found_by_router(snapshot, workload):
            yield service.finding(
                "spec.selector",
                f"it also selects the pods of {other.ref}, {why}: a share of the requests for "
                f"{workload.ref} fails",
            )


def _served(workload: Workload) -> str:
    """Return the name under which a workload serves its model; empty if it can't be told."""
    if workload.engine is None or workload.container is None:
        return ""
    told = workload.engine.flags.get("--served-model-name", "")
    name = told or language_model.of(workload).name
    return "" if "$" in name or name.startswith("/") else name


def _strays(service: RoutedService, other: Bystander) -> str:
    """Say why requests to a workload that runs no engine fail; empty if they may not."""
    targets = {port.target for port in service.ports}
    if not targets or any(isinstance(target, str) for target in targets):
        return ""  # pods without a port of that name are no endpoints
    if other.kind in {"Job", "CronJob"} and not other.ports:
        return "which serves nothing"
    if other.ports and other.ports.isdisjoint(targets):
        return f"which listens on {', '.join(sorted(str(port) for port in other.ports))}"
    return ""
