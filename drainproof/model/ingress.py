"""Ingresses: which Services they lead to, and what their controllers do with answers.

A controller is told by annotations, each by its own; where they say nothing, its default holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.limits import Backend, Buffered, Draining, Hop, Limit, Unseen, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.model.limits import Found
    from drainproof.model.shape import Raw


class Proxy(Struct, frozen=True):
    """An Ingress controller that is told by annotations. Adding one is adding a line."""

    title: str
    controllers: tuple[str, ...]
    """``spec.controller`` of its IngressClasses."""
    classes: tuple[str, ...]
    """Names that its class usually has."""
    prefix: str
    """How its annotations begin."""
    timeout: str
    default_s: float
    whole: bool = False
    unit: str = "text"
    buffering: str = ""
    buffers: bool = False
    """Whether it collects answers unless told otherwise."""


PROXIES = (
    Proxy(
        title="ingress-nginx",
        controllers=("k8s.io/ingress-nginx",),
        classes=("nginx", "nginx-internal", "nginx-external", "ingress-nginx"),
        prefix="nginx.ingress.kubernetes.io/",
        timeout="proxy-read-timeout",
        default_s=60,
        buffering="proxy-buffering",
    ),
    Proxy(
        title="NGINX Ingress Controller",
        controllers=("nginx.org/ingress-controller",),
        classes=(),
        prefix="nginx.org/",
        timeout="proxy-read-timeout",
        default_s=60,
        unit="s",
        buffering="proxy-buffering",
        buffers=True,
    ),
    Proxy(
        title="Application Gateway",
        controllers=("azure/application-gateway",),
        classes=("azure-application-gateway", "azure/application-gateway"),
        prefix="appgw.ingress.kubernetes.io/",
        timeout="request-timeout",
        default_s=30,
    ),
    Proxy(
        title="HAProxy",
        controllers=("haproxy.org/ingress-controller",),
        classes=("haproxy",),
        prefix="haproxy.org/",
        timeout="timeout-server",
        default_s=50,
        unit="s",
    ),
    Proxy(
        title="HAProxy Ingress",
        controllers=("haproxy-ingress.github.io/controller",),
        classes=(),
        prefix="haproxy-ingress.github.io/",
        timeout="timeout-server",
        default_s=50,
        unit="s",
    ),
    Proxy(
        title="Contour",
        controllers=("projectcontour.io/ingress-controller",),
        classes=("contour",),
        prefix="projectcontour.io/",
        timeout="response-timeout",
        default_s=math.inf,
        whole=True,
        unit="s",
    ),
)
_ALB = ("ingress.k8s.aws/alb", "alb", "alb.ingress.kubernetes.io/load-balancer-attributes")
_ALB_IDLE = "idle_timeout.timeout_seconds"
_ALB_TARGETS = "alb.ingress.kubernetes.io/target-group-attributes"
_ALB_DRAINING = "deregistration_delay.timeout_seconds"
ALB_DEFAULT_S = 60
_GCE_CLASSES = frozenset({"gce", "gce-internal", "gce-regional-external"})
_GCE_CONTROLLER = "ingress.gke.io"
_UNBOUNDED = frozenset({"traefik", "istio", "cilium"})
"""Classes of controllers that bound no answer unless told to."""
_OFF = frozenset({"off", "false", "0", "no"})


def read(obj: Raw, origin: Origin | None) -> Hop:
    """Read an Ingress, without what its controller makes of it.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    where = Located(**named(obj), object=obj, origin=origin)
    spec = shape.mapping(obj, "spec", "")
    _class_and_annotations(obj)  # a wrong type is this object's, not that of whoever looks at it
    found = [
        shape.mapping(spec, key, "spec") for key in ("defaultBackend", "backend") if key in spec
    ]
    for index, rule in enumerate(shape.mappings(spec, "rules", "spec")):
        http = shape.mapping(rule, "http", f"spec.rules[{index}]")
        path = f"spec.rules[{index}].http"
        found += [
            shape.mapping(one, "backend", path) for one in shape.mappings(http, "paths", path)
        ]
    names = []
    for backend in found:
        service = shape.mapping(backend, "service", "spec")
        names.append(shape.text(service, "name", "spec") or str(backend.get("serviceName") or ""))
    return Hop(where, "", tuple(Backend("Service", name, "") for name in names if name))


def bounded(hop: Hop, classes: Mapping[str, str], defaults: Mapping[str, str]) -> Hop:
    """Return an Ingress with what its annotations and its controller's defaults say."""
    name, annotations = _class_and_annotations(hop.where.object)
    controller = classes.get(name, "")
    found: list[Found] = []
    proxy = _proxy(name, controller, annotations)
    if proxy is not None:
        found += _of_proxy(proxy, hop.where, annotations, defaults.get(proxy.prefix, ""))
    if controller == _ALB[0] or (not controller and name == _ALB[1]):
        found += (_alb(hop.where, annotations), *_alb_draining(hop.where, annotations))
    path = "gce" if controller.startswith(_GCE_CONTROLLER) or name in _GCE_CLASSES else ""
    if not (found or path or controller or name in _UNBOUNDED):
        whose = f"the controller of the class {name}" if name else "the default Ingress controller"
        found.append(Unseen(hop.where, "spec.ingressClassName", whose))
    return Hop(hop.where, path, hop.backends, tuple(found))


def _class_and_annotations(obj: Raw) -> tuple[str, Mapping[str, str]]:
    metadata = shape.mapping(obj, "metadata", "")
    annotations = shape.string_map(metadata, "annotations", "metadata")
    name = shape.text(shape.mapping(obj, "spec", ""), "ingressClassName", "spec")
    return name or annotations.get("kubernetes.io/ingress.class", ""), annotations


def _proxy(name: str, controller: str, annotations: Mapping[str, str]) -> Proxy | None:
    """Return whose Ingress it is: by its class' controller, its annotations, its class' name."""
    if controller:
        return next((one for one in PROXIES if controller in one.controllers), None)
    for one in PROXIES:
        if any(key.startswith(one.prefix) for key in annotations):
            return one
    return next((one for one in PROXIES if name in one.classes), None)


def _of_proxy(
    proxy: Proxy, where: Located, annotations: Mapping[str, str], default: str
) -> Iterator[Found]:
    key = proxy.prefix + proxy.timeout
    written = annotations.get(key, default)
    bound = seconds(written) if written else proxy.default_s
    if bound is not None:
        yield Limit(
            where,
            f"metadata.annotations[{key}]",
            bound or math.inf,
            proxy.whole,
            proxy.title,
            written=bool(written),
            unit=proxy.unit,
        )
    if proxy.buffering:
        key = proxy.prefix + proxy.buffering
        said = annotations.get(key)
        if proxy.buffers if said is None else said.lower() not in _OFF:
            path = f"metadata.annotations[{key}]"
            off = "off" if proxy.prefix.startswith("nginx.ingress") else "False"
            yield Buffered(where, path, proxy.title, said is not None, {path: off})


def _alb(where: Located, annotations: Mapping[str, str]) -> Limit:
    idle = _attribute(annotations, _ALB[2], _ALB_IDLE)
    return Limit(
        where,
        f"metadata.annotations[{_ALB[2]}]",
        ALB_DEFAULT_S if idle is None else idle,
        whole=False,
        by="the ALB",
        written=idle is not None,
        unit="",
    )


def _alb_draining(where: Located, annotations: Mapping[str, str]) -> Iterator[Draining]:
    """Yield how long the ALB lets a target drain, where that is written; its default is 300 s."""
    delay = _attribute(annotations, _ALB_TARGETS, _ALB_DRAINING)
    if delay is not None:
        yield Draining(where, f"metadata.annotations[{_ALB_TARGETS}]", delay, "the ALB", {})


def _attribute(annotations: Mapping[str, str], annotation: str, name: str) -> float | None:
    """Return a number in an annotation such as ``a=1,b=2``; None if it is not there."""
    for part in annotations.get(annotation, "").split(","):
        key, _, value = part.partition("=")
        if key.strip() == name and value.strip().isdecimal():
            return float(value)
    return None


def nginx_default(obj: Raw, _: Origin | None) -> tuple[str, str]:
    """Return ingress-nginx's own setting for all Ingresses, if this ConfigMap is its."""
    labels = shape.mapping(shape.mapping(obj, "metadata", ""), "labels", "metadata")
    data = shape.mapping(obj, "data", "")
    if labels.get("app.kubernetes.io/name") != "ingress-nginx":
        return "", ""
    return "nginx.ingress.kubernetes.io/", str(data.get("proxy-read-timeout", ""))
