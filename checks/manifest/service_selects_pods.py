"""Requests reach the engine, and only replicas that are ready.

What it checks
    A Service, an InferencePool or a router's own label selector selects the workload's pods, and
    leads to the port that the engine listens on, or to a proxy beside it, by TCP. The engine does
    not listen on the loopback interface (``--host=127.0.0.1``, and the default of SGLang and
    trtllm-serve) or a socket (``--uds``) only, unless the requests go to such a proxy. Named target
    ports exist. Pods that are not ready get no requests (``publishNotReadyAddresses``). The Service
    selects nothing else: no other model, no worker of a group, no Job, no workload that runs no
    engine; a canary with the same model is fine. A Service of type ExternalName selects nothing.
    Where a controller makes the Service (KServe, Knative, Ray, LeaderWorkerSet), none is asked for.

Why
    A Service whose selector or port has a typing error is accepted, and every request is refused.
    One that also selects other pods sends them a share of the requests, which fail at random. One
    that publishes addresses too early sends requests to replicas that still load their model.

Fix
    Give the Service the pod template's labels as ``selector``, and as ``targetPort`` the name of
    the container port that the engine listens on.
    Let the engine listen on all addresses (``--host=0.0.0.0``, without ``--uds``), or let a proxy
    beside it take the requests.

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
    from collections.abc import Iterator, Sequence

    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.routing import InferencePool, RoutedService
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_NEEDS_ONE = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod"})
"""Kinds for which no controller makes a Service."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@check("DP601", severity=Severity.ERROR, admission="it joins Services")
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
    yield from _unheard(workload, engine, services, pools)
    leading = [service for service in services if _leads(service, workload, engine)]
    for service in services:
        yield from _ports(service, workload, engine, served=bool(leading or pools))
        yield from _unready(service, workload, alone=leading == [service])
    if not pools:
        yield from _strays(leading, workload, snapshot)
    for pool in pools:
        for path, number in pool.ports:
            if routing.reached(workload, engine, number) == "nowhere":
                yield pool.finding(
                    path,
                    f"requests go to port {number}, and {engine.title} in {workload.ref} listens "
                    f"on {engine.port}: every one is refused",
                )


def _unheard(
    workload: Workload,
    engine: Engine,
    services: Sequence[RoutedService],
    pools: Sequence[InferencePool],
) -> Iterator[Finding]:
    """Yield what keeps the engine from hearing anyone outside its pod, where no proxy does."""
    container = workload.container
    if container is None:
        return
    default = engine.facts.host if engine.flags_known and engine.words else ""
    host, socket = engine.flags.get("--host", default).strip("[]"), engine.flags.get("--uds", "")
    if not (host in _LOOPBACK or socket):
        return
    targets = [port.target for service in services for port in service.ports]
    targets += [number for pool in pools for _, number in pool.ports]
    led = {routing.reached(workload, engine, target) for target in targets}
    if "engine" in led and not led & {"beside", "unknown"}:
        how = "--host" if "--host" in engine.flags else "its default without --host"
        where = "on a socket in its own files only (--uds)" if socket else f"on {host} only ({how})"
        yield workload.finding(
            f"{container.path}.args",
            f"{engine.title} listens {where}, so neither a Service nor the kubelet's probes reach "
            "it: every request is refused",
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
    external = next(routing.external_of(snapshot, workload), None)
    missed = next(routing.near_misses(snapshot, workload), None)
    if external is not None:
        yield external.finding(
            "spec.type",
            "an ExternalName Service is another name of a host elsewhere, and Kubernetes ignores "
            f"its selector: no request reaches {workload.ref}",
        )
    elif missed is not None:
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
        port.protocol == "TCP"
        and routing.reached(workload, engine, port.target) in {"engine", "beside", "unknown"}
        for port in service.ports
    )


def _ports(
    service: RoutedService, workload: Workload, engine: Engine, *, served: bool
) -> Iterator[Finding]:
    for port in service.ports:
        led = routing.reached(workload, engine, port.target)
        if led == "engine" and port.protocol != "TCP" and not served:
            # without a repair: a patch knows ports by their protocol, and would add another one
            yield service.finding(
                f"{port.path}.protocol",
                f"it forwards {port.protocol} to port {engine.port}, and {engine.title} in "
                f"{workload.ref} answers HTTP over TCP: every request is refused",
            )
        if led != "nowhere":
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


def _strays(
    leading: Sequence[RoutedService], workload: Workload, snapshot: Snapshot
) -> Iterator[Finding]:
    """Yield Services that send requests for the engine elsewhere too, if no other one is narrower.

    One beside a narrower one may be for monitoring, and a headless one for finding each other.
    """
    asked = [service for service in leading if not service.headless]
    others = [_others(service, workload, snapshot) for service in asked]
    if not all(others) or routing.found_by_router(snapshot, workload):
        return
    for service, found in zip(asked, others, strict=True):
        for other, why in found:
            sure = not (isinstance(other, Bystander) and other.accelerated)
            yield service.finding(
                "spec.selector",
                f"it also selects the pods of {other.ref}, {why}: a share of the requests for "
                f"{workload.ref} fails, or is answered by something else",
                None if sure else Severity.WARNING,
            )


def _others(
    service: RoutedService, workload: Workload, snapshot: Snapshot
) -> list[tuple[Workload | Bystander, str]]:
    """Return what else a Service sends requests to, and why they do not belong there."""
    if not ADDED_LABELS.isdisjoint(service.selector):
        return []  # narrowed down to some of the pods
    found: list[tuple[Workload | Bystander, str]] = []
    for other in routing.selected_by(snapshot, service):
        if other is workload:
            continue
        if isinstance(other, Bystander):
            why = _runs_none(service, other)
        elif not other.serves:
            why = "which answers no requests itself"
        else:
            mine, theirs = _served(workload), _served(other)
            differ = mine and theirs and mine != theirs
            why = f"which serves {theirs}, not {mine}" if differ else ""
        if why:
            found.append((other, why))
    return found


def _served(workload: Workload) -> str:
    """Return the name under which a workload serves its model; empty if it can't be told."""
    if workload.engine is None or workload.container is None:
        return ""
    told = workload.engine.flags.get("--served-model-name", "")
    name = told or language_model.of(workload).name
    return "" if "$" in name or name.startswith("/") else name


def _runs_none(service: RoutedService, other: Bystander) -> str:
    """Say why requests do not belong to a workload that runs no engine; empty if none get there."""
    targets = {port.target for port in service.ports}
    # pods without a port of that name are no endpoints
    reached = [one for one in targets if isinstance(one, int) or one in other.ports]
    if not reached:
        return ""
    if other.kind in {"Job", "CronJob"} and not other.ports:
        return "which serves nothing"
    if other.ports and other.ports.isdisjoint(targets):
        return f"which listens on {', '.join(sorted(str(port) for port in other.ports))}"
    return "which runs no engine" + (" that is known here" if other.accelerated else "")
