"""How requests reach a workload's pods: Services with their ports, InferencePools, routers.

A Snapshot's own view of a Service is enough to know that one selects a workload; this one knows
which of its ports lead to the engine, and what else it selects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from drainproof.model import shape
from drainproof.model.container import is_accelerator
from drainproof.model.finding import Located, Origin, named
from drainproof.model.owners import controller_of
from drainproof.model.selector import Asking, same_namespace
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

ADDED_LABELS = frozenset(
    {
        "apps.kubernetes.io/pod-index",
        "statefulset.kubernetes.io/pod-name",
        "pod-template-hash",
        "rollouts-pod-template-hash",
        "controller-revision-hash",
        "leaderworkerset.sigs.k8s.io/name",
        "leaderworkerset.sigs.k8s.io/worker-index",
        "leaderworkerset.sigs.k8s.io/group-index",
    }
)
"""Labels that controllers put on pods, so that no template has them."""
_UNREADY = "service.alpha.kubernetes.io/tolerate-unready-endpoints"
"""What ``publishNotReadyAddresses`` was before Kubernetes 1.11."""
_MORE_PORTS = {"triton": ("--grpc-port", 8001)}
"""Engines that answer requests on a second port, the flag that sets it, and its default."""
_FOR_METRICS = regex(r"metric|monitor|prom|admin|stat")
"""Names of ports that take no requests for the engine."""
_TGI_IMAGE = "huggingface/text-generation-inference"
POOL_GROUPS = ("inference.networking.k8s.io", "inference.networking.x-k8s.io")
_ROUTER_SELECTORS = frozenset(
    {"--k8s-label-selector", "--selector", "--prefill-selector", "--decode-selector"}
)
"""Flags of the vLLM and SGLang routers that select pods without a Service."""


class ServicePort(Struct, frozen=True):
    """One port of a Service."""

    path: str
    name: str
    port: int
    target: int | str
    """Port of the pods, or the name of one; the Service's own number if it says nothing."""
    protocol: str = "TCP"


class RoutedService(Located, frozen=True, kw_only=True):
    """A Service with its ports."""

    selector: Mapping[str, str]
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    headless: bool
    external: bool
    """Whether it is another name of a host elsewhere, so that its selector counts for nothing."""
    unready_path: str
    """Field path of what makes it send requests to pods that are not ready; empty if nothing."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> RoutedService:
        """Read a Service.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        metadata = shape.mapping(obj, "metadata", "")
        annotations = shape.string_map(metadata, "annotations", "metadata")
        spec = shape.mapping(obj, "spec", "")
        unready = ""
        if spec.get("publishNotReadyAddresses") is True:
            unready = "spec.publishNotReadyAddresses"
        elif annotations.get(_UNREADY) == "true":
            unready = f"metadata.annotations[{_UNREADY}]"
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            selector=shape.string_map(spec, "selector", "spec"),
            labels=shape.string_map(metadata, "labels", "metadata"),
            annotations=annotations,
            ports=tuple(
                _port(item, f"spec.ports[{index}]")
                for index, item in enumerate(shape.mappings(spec, "ports", "spec"))
            ),
            headless=spec.get("clusterIP") == "None",
            external=spec.get("type") == "ExternalName",
            unready_path=unready,
        )


def _port(raw: Raw, path: str) -> ServicePort:
    number = shape.integer(raw, "port", path, 0)
    target = raw.get("targetPort")
    if target is None or target == 0:
        target = number
    if isinstance(target, str) and target.isdecimal():
        target = int(target)
    if type(target) is not int and not isinstance(target, str):
        raise shape.ShapeError(f"{path}.targetPort", "a port number or name", target)
    protocol = shape.text(raw, "protocol", path) or "TCP"
    return ServicePort(path, shape.text(raw, "name", path), number, target, protocol)


class InferencePool(Located, frozen=True, kw_only=True):
    """A pool of pods that a gateway's endpoint picker chooses from, without a Service."""

    selector: Mapping[str, str]
    ports: tuple[tuple[str, int], ...]
    """Field path and number of each port of the pods that requests go to."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> InferencePool:
        """Read an InferencePool, of v1 or of v1alpha2.

        Raises:
            ShapeError: A field holds another type than its definition wants.
        """
        spec = shape.mapping(obj, "spec", "")
        selector = shape.mapping(spec, "selector", "spec")
        if "matchLabels" in selector:
            labels = shape.string_map(selector, "matchLabels", "spec.selector")
        else:
            labels = shape.string_map(spec, "selector", "spec")
        ports = [
            (f"spec.targetPorts[{index}].number", shape.integer(item, "number", "spec", 0))
            for index, item in enumerate(shape.mappings(spec, "targetPorts", "spec"))
        ]
        if "targetPortNumber" in spec:
            ports.append(
                ("spec.targetPortNumber", shape.integer(spec, "targetPortNumber", "spec", 0))
            )
        return cls(**named(obj), object=obj, origin=origin, selector=labels, ports=tuple(ports))


class Bystander(Located, frozen=True, kw_only=True):
    """A workload that runs no engine, as far as a Service may select it by mistake."""

    labels: Mapping[str, str]
    ports: frozenset[int | str]
    """Numbers and names of the ports that its containers declare."""
    accelerated: bool = False
    """Whether it works on GPUs or the like, as an engine that nobody recognises would."""


class _Index(Struct):
    """Everything that selects pods."""

    services: Asking[RoutedService]
    pools: Asking[InferencePool]
    by_name: dict[str, list[RoutedService]] = field(default_factory=dict)


def _index(snapshot: Snapshot) -> _Index:
    services = snapshot.read("", "Service", RoutedService.from_object)
    pools = [
        pool
        for group in POOL_GROUPS
        for pool in snapshot.read(group, "InferencePool", InferencePool.from_object)
    ]
    index = _Index(
        Asking((_in_templates(one.selector), one) for one in services),
        Asking((_in_templates(one.selector), one) for one in pools),
    )
    for service in services:
        index.by_name.setdefault(service.name, []).append(service)
    return index


def _in_templates(selector: Mapping[str, str]) -> dict[str, str]:
    """Return what a selector asks for that a pod template can have."""
    return {key: value for key, value in selector.items() if key not in ADDED_LABELS}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Tell whether a Service's selector selects pods with a template's labels.

    Labels that a controller adds later are taken as met, if anything else is asked for.
    """
    asked = _in_templates(selector)
    return bool(asked) and all(labels.get(key) == value for key, value in asked.items())


def services_of(snapshot: Snapshot, workload: Workload) -> tuple[RoutedService, ...]:
    """Return the Services that select a workload's pods."""
    return tuple(one for one in _asking(snapshot, workload) if not one.external)


def external_of(snapshot: Snapshot, workload: Workload) -> Iterator[RoutedService]:
    """Yield the Services that would select a workload's pods, were they not of ExternalName."""
    return (one for one in _asking(snapshot, workload) if one.external)


def _asking(snapshot: Snapshot, workload: Workload) -> Iterator[RoutedService]:
    labels = workload.pod_labels
    for service in snapshot.join(_index).services.candidates(labels):
        if same_namespace(service, workload) and selects(service.selector, labels):
            yield service


def pools_of(snapshot: Snapshot, workload: Workload) -> tuple[InferencePool, ...]:
    """Return the InferencePools that select a workload's pods."""
    labels = workload.pod_labels
    return tuple(
        pool
        for pool in snapshot.join(_index).pools.candidates(labels)
        if same_namespace(pool, workload) and selects(pool.selector, labels)
    )


def near_misses(snapshot: Snapshot, workload: Workload) -> Iterator[RoutedService]:
    """Yield Services that were surely meant for a workload: of its name, and selecting nothing."""
    for service in snapshot.join(_index).by_name.get(workload.name, ()):
        if (
            service.selector
            and same_namespace(service, workload)
            and next(selected_by(snapshot, service), None) is None
        ):
            yield service


def reached(workload: Workload, engine: Engine, target: int | str) -> str:
    """Say where a Service's target port leads.

    Returns:
        ``engine``; ``metrics``, the engine's own port for metrics; ``beside``, a container beside
        the engine; ``nowhere``; or ``unknown``.
    """
    number: int | str | None = target
    if isinstance(target, str):
        number = next(
            (one.ports[target] for one in _running(workload) if target in one.ports), None
        )
    if number is None:
        return "nowhere" if workload.complete else "unknown"
    if number in _listens(engine):
        return "engine"
    if number == engine.metrics_port:
        return "metrics"
    others = [one for one in _running(workload) if one is not workload.container]
    if any(number in one.ports.values() for one in others):
        return "beside"
    if not _port_is_told(workload, engine) or any(not one.ports for one in others):
        return "unknown"
    return "nowhere"


def in_front(
    workload: Workload, engine: Engine, services: Iterable[RoutedService]
) -> tuple[Container, ...]:
    """Return the containers that Services send requests to, instead of to the engine beside them.

    Not those that go on until the engine has ended: native sidecars. A port for metrics is none.
    """
    found: dict[str, Container] = {}
    for service in services:
        targets = [port.target for port in service.ports if not _FOR_METRICS.search(port.name)]
        if any(reached(workload, engine, target) != "beside" for target in targets):
            continue
        for one in workload.containers:
            ports = {*one.ports, *one.ports.values()}
            if one is not workload.container and not ports.isdisjoint(targets):
                found[one.name] = one
    return tuple(found.values())


def _port_is_told(workload: Workload, engine: Engine) -> bool:
    """Tell whether the engine surely listens on its port; images built by others may set another.

    TGI takes its port from the variable ``PORT``, which its image sets, and others' otherwise.
    """
    if engine.port is None:
        return False
    container = workload.container
    if engine.name != "tgi" or container is None or _TGI_IMAGE in container.image:
        return True
    return bool(engine.flag("--port", "-p")) or "PORT" in container.env


def _listens(engine: Engine) -> set[int | None]:
    ports = {engine.port}
    if engine.name in _MORE_PORTS:
        flag, default = _MORE_PORTS[engine.name]
        written = engine.flags.get(flag, "")
        ports.add(int(written) if written.isdecimal() else default)
    ports.discard(None)
    return ports


def _running(workload: Workload) -> Iterable[Container]:
    yield from workload.containers
    for one in workload.init_containers:
        if one.sidecar:
            yield one


_BYSTANDERS = (
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("argoproj.io", "Rollout"),
    ("batch", "Job"),
    ("batch", "CronJob"),
)


def _bystanders(snapshot: Snapshot) -> dict[tuple[str, str], list[Workload | Bystander]]:
    """Return everything that has pods, by each of their labels."""
    found: dict[tuple[str, str], list[Workload | Bystander]] = {}
    engines = {id(workload.object) for workload in snapshot.workloads}
    for workload in snapshot.workloads:
        for pair in workload.pod_labels.items():
            found.setdefault(pair, []).append(workload)
    for group, kind in _BYSTANDERS:
        for one in snapshot.read(group, kind, _bystander):
            # what a controller made is its owner's, which may well run an engine
            if id(one.object) not in engines and controller_of(one.object) is None:
                for pair in one.labels.items():
                    found.setdefault(pair, []).append(one)
    return found


def selected_by(snapshot: Snapshot, service: RoutedService) -> Iterator[Workload | Bystander]:
    """Yield everything whose pods a Service selects, workloads that run no engine too."""
    there = snapshot.join(_bystanders)
    having = (there.get(pair, ()) for pair in _in_templates(service.selector).items())
    for one in min(having, key=len, default=()):
        labels = one.labels if isinstance(one, Bystander) else one.pod_labels
        if same_namespace(one, service) and selects(service.selector, labels):
            yield one


def _bystander(obj: Raw, origin: Origin | None) -> Bystander:
    """Read what is needed, without a complaint: types in others' workloads are not judged here."""
    template = _at(obj, "spec", "template")
    if obj.get("kind") == "CronJob":
        template = _at(obj, "spec", "jobTemplate", "spec", "template")
    labels = _at(template, "metadata", "labels")
    ports: set[int | str] = set()
    accelerated = False
    for container in _listed(_at(template, "spec"), "containers"):
        limits = _at(container, "resources", "limits")
        accelerated |= any(isinstance(key, str) and is_accelerator(key) for key in limits)
        for port in _listed(container, "ports"):
            said = (port.get("containerPort"), port.get("name"))
            ports.update(value for value in said if value and isinstance(value, (int, str)))
    return Bystander(
        **named(obj),
        object=obj,
        origin=origin,
        labels={key: value for key, value in labels.items() if isinstance(value, str)},
        ports=frozenset(ports),
        accelerated=accelerated,
    )


def _at(obj: Raw, *keys: str) -> Raw:
    at: Any = obj
    for key in keys:
        at = at.get(key) if isinstance(at, dict) else None
    return at if isinstance(at, dict) else {}


def _listed(obj: Raw, key: str) -> list[Raw]:
    found = obj.get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _router_selectors(snapshot: Snapshot) -> list[tuple[Located, dict[str, str]]]:
    """Return the label selectors by which routers find pods themselves, without a Service."""
    return [
        (router, selector)
        for group, kind in _BYSTANDERS[:4]
        for router, selectors in snapshot.read(group, kind, _router)
        for selector in selectors
    ]


def _router(obj: Raw, origin: Origin | None) -> tuple[Located, list[dict[str, str]]]:
    found = []
    for container in _listed(_at(obj, "spec", "template", "spec"), "containers"):
        for key in ("command", "args"):
            listed = container.get(key)
            line = " ".join(map(str, listed)) if isinstance(listed, list) else ""
            if "selector" not in line:
                continue
            words = line.split()
            for index, word in enumerate(words):
                flag, equals, value = word.partition("=")
                if flag in _ROUTER_SELECTORS:
                    found.append(_pairs([value] if equals else words[index + 1 :]))
    return Located(**named(obj), object=obj, origin=origin), found


def _pairs(words: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        if word.startswith("-"):
            break
        for part in word.strip("\"'").split(","):
            key, equals, value = part.partition("=")
            if equals:
                pairs[key] = value
    return pairs


def found_by_router(snapshot: Snapshot, workload: Workload) -> bool:
    """Tell whether a router finds a workload's pods by their labels, without a Service."""
    return any(
        selects(selector, workload.pod_labels) and same_namespace(router, workload)
        for router, selector in snapshot.join(_router_selectors)
    )
