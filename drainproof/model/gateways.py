"""Reads what routes requests besides Ingress, and what sets timeouts for it.

Adding a kind is adding a reader to :data:`ROUTES` or :data:`POLICIES`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.limits import Backend, Hop, Limit, Refused, is_gateway_duration, seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.model.limits import Found
    from drainproof.model.shape import Raw

AI_GATEWAY_DEFAULT_S = 60
"""Envoy AI Gateway's default of ``timeouts.request`` (envoyproxy/ai-gateway 795)."""
NO_DURATION = "{}: expected whole numbers with a unit each, such as 600s or 1m30s"
OPENSHIFT_DEFAULT_S = 30
"""``haproxy.router.openshift.io/timeout``, between two parts."""


def _http_route(obj: Raw, origin: Origin | None) -> list[Hop]:
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    parents = tuple(
        shape.text(one, "name", "spec.parentRefs")
        for one in shape.mappings(spec, "parentRefs", "spec")
    )
    default = AI_GATEWAY_DEFAULT_S if obj.get("kind") == "AIGatewayRoute" else 0
    hops = []
    for index, rule in enumerate(shape.mappings(spec, "rules", "spec")):
        path = f"spec.rules[{index}]"
        timeouts = shape.mapping(rule, "timeouts", path)
        found: list[Found] = []
        for key in ("request", "backendRequest"):
            written = shape.text(timeouts, key, f"{path}.timeouts")
            at = f"{path}.timeouts.{key}"
            if written and not is_gateway_duration(written):
                why = NO_DURATION.format(written)
                found.append(Refused(where, at, why, mended=key == "request"))
                continue
            bound = seconds(written)
            if bound is not None:
                unit = "" if found else "s"  # the API refuses a backendRequest over the request
                bound = bound or math.inf
                by = "the gateway"
                found.append(Limit(where, at, bound, whole=True, by=by, written=True, unit=unit))
        bounds = [one.seconds for one in found if isinstance(one, Limit)]
        if len(bounds) > 1 and bounds[0] < bounds[1] < math.inf:
            why = "a backendRequest that is longer than the request"
            found.append(Refused(where, f"{path}.timeouts.backendRequest", why))
        if not found and default:
            at = f"{path}.timeouts.request"
            found.append(
                Limit(where, at, default, whole=True, by="Envoy AI Gateway", written=False)
            )
        backends = [
            Backend(
                shape.text(one, "kind", path, "Service"),
                shape.text(one, "name", path),
                shape.text(one, "namespace", path),
            )
            for one in shape.mappings(rule, "backendRefs", path)
        ]
        hops.append(Hop(where, path, tuple(backends), tuple(found), parents, bool(found)))
    return hops


def _virtual_service(obj: Raw, origin: Origin | None) -> list[Hop]:
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    hops = []
    for index, rule in enumerate(shape.mappings(spec, "http", "spec")):
        path = f"spec.http[{index}]"
        found: list[Found] = []
        bound = seconds(shape.text(rule, "timeout", path))
        if bound is not None:
            at = f"{path}.timeout"
            found.append(Limit(where, at, bound or math.inf, whole=True, by="Istio", written=True))
        backends = [
            _host(shape.text(shape.mapping(one, "destination", path), "host", path))
            for one in shape.mappings(rule, "route", path)
        ]
        hops.append(Hop(where, path, tuple(backends), tuple(found)))
    return hops


def _host(host: str) -> Backend:
    """Return the Service that a host name is: ``llama``, ``llama.inference.svc.cluster.local``."""
    name, _, rest = host.partition(".")
    namespace, _, tail = rest.partition(".")
    return Backend("Service", name, namespace if not tail or tail.startswith("svc") else "")


def _openshift_route(obj: Raw, origin: Origin | None) -> list[Hop]:
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    annotations = shape.string_map(shape.mapping(obj, "metadata", ""), "annotations", "metadata")
    key = "haproxy.router.openshift.io/timeout"
    written = annotations.get(key, "")
    bound = seconds(written) if written else OPENSHIFT_DEFAULT_S
    found: tuple[Found, ...] = ()
    if bound is not None:
        path = f"metadata.annotations[{key}]"
        by = "OpenShift's router"
        found = (Limit(where, path, bound or math.inf, whole=False, by=by, written=bool(written)),)
    targets = [
        shape.mapping(spec, "to", "spec"),
        *shape.mappings(spec, "alternateBackends", "spec"),
    ]
    backends = tuple(Backend("Service", shape.text(one, "name", "spec"), "") for one in targets)
    return [Hop(where, "", backends, found)]


def _http_proxy(obj: Raw, origin: Origin | None) -> list[Hop]:
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    hops = []
    for index, route in enumerate(shape.mappings(spec, "routes", "spec")):
        path = f"spec.routes[{index}]"
        policy = shape.mapping(route, "timeoutPolicy", path)
        found: list[Found] = []
        for key, whole in (("response", True), ("idle", False)):
            bound = seconds(shape.text(policy, key, f"{path}.timeoutPolicy"))
            if bound:
                at = f"{path}.timeoutPolicy.{key}"
                found.append(Limit(where, at, bound, whole=whole, by="Contour", written=True))
        names = [shape.text(one, "name", path) for one in shape.mappings(route, "services", path)]
        backends = tuple(Backend("Service", name, "") for name in names)
        hops.append(Hop(where, path, backends, tuple(found)))
    return hops


def _traefik_route(obj: Raw, origin: Origin | None) -> list[Hop]:
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    hops = []
    for index, route in enumerate(shape.mappings(spec, "routes", "spec")):
        path = f"spec.routes[{index}]"
        backends = tuple(
            Backend("Service", shape.text(one, "name", path), shape.text(one, "namespace", path))
            for one in shape.mappings(route, "services", path)
        )
        middlewares = tuple(
            shape.text(one, "name", path) for one in shape.mappings(route, "middlewares", path)
        )
        hops.append(Hop(where, path, backends, (), middlewares))
    return hops


ROUTES: tuple[tuple[str, str, Callable[[Raw, Origin | None], list[Hop]]], ...] = (
    ("gateway.networking.k8s.io", "HTTPRoute", _http_route),
    ("aigateway.envoyproxy.io", "AIGatewayRoute", _http_route),
    ("networking.istio.io", "VirtualService", _virtual_service),
    ("route.openshift.io", "Route", _openshift_route),
    ("projectcontour.io", "HTTPProxy", _http_proxy),
    ("traefik.io", "IngressRoute", _traefik_route),
    ("traefik.containo.us", "IngressRoute", _traefik_route),
)
"""Kinds that route requests to Services, besides Ingress. Adding one is adding a reader."""


_Policy = tuple[Located, "Raw", list[tuple[str, str]]]


def _policy(obj: Raw, origin: Origin | None) -> _Policy:
    """Read an object that sets something for what its ``targetRefs`` name."""
    spec = shape.mapping(obj, "spec", "")
    refs = [
        *shape.mappings(spec, "targetRefs", "spec"),
        *([shape.mapping(spec, "targetRef", "spec")] if "targetRef" in spec else ()),
    ]
    targets = [
        (shape.text(ref, "kind", "spec.targetRefs"), shape.text(ref, "name", "spec.targetRefs"))
        for ref in refs
    ]
    kind = str(obj.get("kind"))
    return (
        Located(**named(obj), object=obj, origin=origin),
        spec,
        [(f"{kind}:{target}", name) for target, name in targets],
    )


def _by_name(obj: Raw, origin: Origin | None) -> _Policy:
    """Read an object that others refer to by its name."""
    located = Located(**named(obj), object=obj, origin=origin)
    return located, shape.mapping(obj, "spec", ""), [(located.kind, located.name)]


def _by_host(obj: Raw, origin: Origin | None) -> _Policy:
    """Read a DestinationRule."""
    spec = shape.mapping(obj, "spec", "")
    located = Located(**named(obj), object=obj, origin=origin)
    return located, spec, [(located.kind, _host(shape.text(spec, "host", "spec")).name)]


POLICIES: tuple[tuple[str, str, Callable[[Raw, Origin | None], _Policy]], ...] = (
    ("gateway.envoyproxy.io", "BackendTrafficPolicy", _policy),
    ("networking.gke.io", "GCPBackendPolicy", _policy),
    ("cloud.google.com", "BackendConfig", _by_name),
    ("networking.istio.io", "DestinationRule", _by_host),
    ("traefik.io", "Middleware", _by_name),
    ("traefik.containo.us", "Middleware", _by_name),
)
