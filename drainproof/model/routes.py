"""Every limit and every buffer on the way from users to a workload's pods, joined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson
from msgspec import Struct, field

from drainproof.model import ingress, routing, shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.gateways import NO_DURATION, POLICIES, ROUTES
from drainproof.model.limits import (
    Buffered,
    Draining,
    Hop,
    Limit,
    Refused,
    Unseen,
    is_gateway_duration,
    seconds,
)
from drainproof.model.selector import same_namespace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drainproof.model.limits import Found
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

ENVOY_GATEWAY = "gateway.envoyproxy.io/gatewayclass-controller"
ENVOY_DEFAULT_S = 15
"""Envoy's own default for a whole answer; Envoy Gateway leaves it (envoyproxy/gateway 1169)."""
GKE_DEFAULT_S = 30
"""Google's default timeout of a backend service, for a whole answer."""
GKE_DRAINING_MAX_S = 3600
"""The longest time that Google's load balancer lets a pod drain."""
_SERVICE_TIMEOUTS = (
    ("service.beta.kubernetes.io/aws-load-balancer-connection-idle-timeout", 1.0, "text", "ELB"),
    ("konghq.com/read-timeout", 0.001, "ms", "Kong"),
)
"""Annotations of Services: their name, seconds of their unit, how they are written, whose."""


class _Index(Struct):
    hops: dict[tuple[str, str], list[Hop]] = field(default_factory=dict)
    """By kind and name of a backend."""
    classes: dict[str, str] = field(default_factory=dict)
    """Controllers of Ingress classes and of Gateway classes, by the class' name."""
    gateways: dict[str, str] = field(default_factory=dict)
    """Classes of Gateways by name."""
    policies: dict[tuple[str, str], list[tuple[Located, Raw]]] = field(default_factory=dict)
    """Objects that set timeouts for others, with their ``spec``, by kind and name of those."""


def found_for(snapshot: Snapshot, workload: Workload) -> Iterator[Found]:
    """Yield every limit and every buffer on the way from users to a workload."""
    index = snapshot.join(_index)
    yield from _of_workload(workload)
    services = routing.services_of(snapshot, workload)
    for service in services:
        yield from _of_service(service)
        for located, spec in index.policies.get(("DestinationRule", service.name), ()):
            if same_namespace(located, service):
                yield from _destination_rule(located, spec)
    targets = [("Service", one) for one in services]
    pools = [("InferencePool", one) for one in routing.pools_of(snapshot, workload)]
    for kind, target in (*targets, *pools):
        for hop in index.hops.get((kind, target.name), ()):
            if _leads_to(hop, kind, target):
                yield from hop.found
                yield from _by_controller(hop, target, index)


def _leads_to(hop: Hop, kind: str, target: Located) -> bool:
    for backend in hop.backends:
        if backend.kind == kind and backend.name == target.name:
            namespace = backend.namespace or hop.where.namespace
            if not namespace or not target.namespace or namespace == target.namespace:
                return True
    return False


def _index(snapshot: Snapshot) -> _Index:
    index = _Index()
    for group, kind in (
        ("networking.k8s.io", "IngressClass"),
        ("gateway.networking.k8s.io", "GatewayClass"),
    ):
        index.classes.update(snapshot.read(group, kind, _class))
    index.gateways.update(snapshot.read("gateway.networking.k8s.io", "Gateway", _gateway))
    for group, kind, read in POLICIES:
        for located, spec, targets in snapshot.read(group, kind, read):
            for target in targets:
                index.policies.setdefault(target, []).append((located, spec))
    for hop in _hops(snapshot, index.classes):
        for backend in {(one.kind, one.name) for one in hop.backends}:
            index.hops.setdefault(backend, []).append(hop)
    return index


def _hops(snapshot: Snapshot, classes: dict[str, str]) -> Iterator[Hop]:
    for group, kind, read in ROUTES:
        for hops in snapshot.read(group, kind, read):
            yield from hops
    found = [
        hop
        for group in ("networking.k8s.io", "extensions")
        for hop in snapshot.read(group, "Ingress", ingress.read)
    ]
    if found:
        defaults = dict(snapshot.read("", "ConfigMap", ingress.nginx_default))
        for hop in found:
            yield ingress.bounded(hop, classes, defaults)


def _class(obj: Raw, _: Origin | None) -> tuple[str, str]:
    spec = shape.mapping(obj, "spec", "")
    controller = spec.get("controller") or spec.get("controllerName")
    return named(obj)["name"], str(controller or "")


def _gateway(obj: Raw, _: Origin | None) -> tuple[str, str]:
    spec = shape.mapping(obj, "spec", "")
    return named(obj)["name"], shape.text(spec, "gatewayClassName", "spec")


def _of_service(service: routing.RoutedService) -> Iterator[Limit]:
    for key, unit_s, unit, by in _SERVICE_TIMEOUTS:
        written = service.annotations.get(key)
        bound = seconds(written, unit_s=unit_s) if written else None
        if bound:
            path = f"metadata.annotations[{key}]"
            yield Limit(service, path, bound, whole=False, by=by, written=True, unit=unit)


def _of_workload(workload: Workload) -> Iterator[Limit]:
    """Yield the limits in a workload of a kind that brings its own proxy."""
    if workload.kind == "Service":  # Knative's
        parent, path = _below(workload.object, "spec", "template", "spec")
        for key, whole in (
            ("timeoutSeconds", True),
            ("responseStartTimeoutSeconds", False),
            ("idleTimeoutSeconds", False),
        ):
            bound = shape.integer(parent, key, path, 0)
            if bound:
                where = f"{path}.{key}"
                yield Limit(workload, where, bound, whole, "Knative", written=True, unit="number")
    elif workload.kind == "InferenceService":
        parent, path = _below(workload.object, "spec", "predictor")
        bound = shape.integer(parent, "timeout", path, 0)
        if bound:
            yield Limit(
                workload,
                f"{path}.timeout",
                bound,
                whole=True,
                by="KServe",
                written=True,
                unit="number",
            )


def _below(obj: Raw, *keys: str) -> tuple[Raw, str]:
    path = ""
    for key in keys:
        obj, path = shape.mapping(obj, key, path), shape.join(path, key)
    return obj, path


def _destination_rule(located: Located, spec: Raw) -> Iterator[Limit]:
    tcp, path = _below(spec, "trafficPolicy", "connectionPool", "tcp")
    bound = seconds(shape.text(tcp, "maxConnectionDuration", f"spec.{path}"))
    if bound:
        at = f"spec.{path}.maxConnectionDuration"
        yield Limit(located, at, bound, whole=True, by="Istio", written=True)


def _by_controller(hop: Hop, target: Located, index: _Index) -> Iterator[Found]:
    """Yield what the proxy behind a route does that is not in the route itself."""
    kind = hop.where.kind
    if kind == "Ingress":
        if hop.path == "gce":
            yield from _gce(hop, target, index)
    elif kind == "IngressRoute":
        for name in hop.parents:
            for located, spec in index.policies.get(("Middleware", name), ()):
                if "buffering" in spec and same_namespace(located, hop.where):
                    yield Buffered(located, "spec.buffering", "Traefik", written=True, repair={})
    elif kind == "HTTPRoute":
        yield from _of_gateway(hop, target, index)


def _gce(hop: Hop, target: Located, index: _Index) -> Iterator[Limit | Draining]:
    """Yield what the BackendConfig of an Ingress' Service says, or Google's default."""
    annotations = shape.mapping(
        shape.mapping(target.object, "metadata", ""), "annotations", "metadata"
    )
    key = next(
        (
            key
            for key in ("cloud.google.com/backend-config", "beta.cloud.google.com/backend-config")
            if key in annotations
        ),
        "",
    )
    names = _backend_configs(str(annotations.get(key, "")))
    configs = [
        (located, spec)
        for name in names
        for located, spec in index.policies.get(("BackendConfig", name), ())
        if same_namespace(located, target)
    ]
    by = "Google's load balancer"
    if names and not configs:
        return  # it is in files that are not here
    if not configs:
        yield Limit(hop.where, "", GKE_DEFAULT_S, whole=True, by=by, written=False, unit="")
    for located, spec in configs:
        bound = shape.integer(spec, "timeoutSec", "spec", 0)
        yield Limit(
            located,
            "spec.timeoutSec",
            bound or GKE_DEFAULT_S,
            whole=True,
            by=by,
            written=bool(bound),
            unit="number",
        )
        draining = shape.mapping(spec, "connectionDraining", "spec")
        path = "spec.connectionDraining"
        if "drainingTimeoutSec" in draining:
            drain = shape.integer(draining, "drainingTimeoutSec", path, 0)
            at = f"{path}.drainingTimeoutSec"
            yield Draining(located, at, drain, by, {at: GKE_DRAINING_MAX_S})


def _backend_configs(written: str) -> list[str]:
    """Return the names in ``{"default": "a", "ports": {"http": "b"}}``."""
    try:
        found = orjson.loads(written or "{}")
    except orjson.JSONDecodeError:
        return []
    if not isinstance(found, dict):
        return []
    ports = found.get("ports")
    values: Iterable[object] = (
        found.get("default"),
        *(ports.values() if isinstance(ports, dict) else ()),
    )
    return [value for value in values if isinstance(value, str)]


def _of_gateway(hop: Hop, target: Located, index: _Index) -> Iterator[Found]:
    classes = {index.gateways.get(name, "") for name in hop.parents}
    google = any(name.startswith("gke-l7") for name in classes)
    google = google or (not any(classes) and bool(_gcp_policies(target, index)))
    if not hop.bounded and google:
        yield from _gke_gateway(hop, target, index)
    policies = [
        *index.policies.get(("BackendTrafficPolicy:HTTPRoute", hop.where.name), ()),
        *(
            policy
            for name in hop.parents
            for policy in index.policies.get(("BackendTrafficPolicy:Gateway", name), ())
        ),
    ]
    bounded = hop.bounded
    for located, spec in policies:
        http, path = _below(spec, "timeout", "http")
        for key in ("requestTimeout", "maxStreamDuration"):
            written = shape.text(http, key, f"spec.{path}")
            if written and not is_gateway_duration(written):
                why = NO_DURATION.format(written)
                yield Refused(located, f"spec.{path}.{key}", why, mended=True)
                continue
            bound = seconds(written)
            if bound is not None:
                bounded = bounded or key == "requestTimeout"
                at = f"spec.{path}.{key}"
                by = "Envoy Gateway"
                yield Limit(located, at, bound or math.inf, whole=True, by=by, written=True)
    if bounded:
        return
    at = f"{hop.path}.timeouts.request"
    if any(index.classes.get(name) == ENVOY_GATEWAY for name in classes):
        by = "Envoy Gateway"
        yield Limit(hop.where, at, ENVOY_DEFAULT_S, whole=True, by=by, written=False)
    elif not any(classes) and not google:
        whose = f"the Gateway {', '.join(hop.parents)} (Envoy Gateway's default is 15 s)"
        yield Unseen(hop.where, at, whose)


def _gcp_policies(target: Located, index: _Index) -> list[tuple[Located, Raw]]:
    found = index.policies.get((f"GCPBackendPolicy:{target.kind}", target.name), ())
    return [(located, spec) for located, spec in found if same_namespace(located, target)]


def _gke_gateway(hop: Hop, target: Located, index: _Index) -> Iterator[Limit]:
    by = "Google's load balancer"
    said = False
    for located, spec in _gcp_policies(target, index):
        bound = shape.integer(shape.mapping(spec, "default", "spec"), "timeoutSec", "spec", 0)
        if bound:
            said = True
            at = "spec.default.timeoutSec"
            yield Limit(located, at, bound, whole=True, by=by, written=True, unit="number")
    if not said:
        yield Limit(hop.where, hop.path, GKE_DEFAULT_S, whole=True, by=by, written=False, unit="")
