"""Who scrapes a workload's metrics: ServiceMonitors, PodMonitors and their like, annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import promql, shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.selector import Asking, Selector

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot


class MonitorKind(Struct, frozen=True):
    """A kind of object that says what is scraped. Adding one is adding a line."""

    selects: str
    """``Service`` or ``Pod``."""
    endpoints: str
    """The field of ``spec`` that lists what is scraped."""
    everywhere: bool = False
    """Whether it looks in all namespaces."""


KINDS: dict[tuple[str, str], MonitorKind] = {
    ("monitoring.coreos.com", "ServiceMonitor"): MonitorKind("Service", "endpoints"),
    ("monitoring.coreos.com", "PodMonitor"): MonitorKind("Pod", "podMetricsEndpoints"),
    ("azmonitoring.coreos.com", "ServiceMonitor"): MonitorKind("Service", "endpoints"),
    ("azmonitoring.coreos.com", "PodMonitor"): MonitorKind("Pod", "podMetricsEndpoints"),
    ("monitoring.rhobs", "ServiceMonitor"): MonitorKind("Service", "endpoints"),
    ("monitoring.rhobs", "PodMonitor"): MonitorKind("Pod", "podMetricsEndpoints"),
    ("operator.victoriametrics.com", "VMServiceScrape"): MonitorKind("Service", "endpoints"),
    ("operator.victoriametrics.com", "VMPodScrape"): MonitorKind("Pod", "podMetricsEndpoints"),
    ("monitoring.googleapis.com", "PodMonitoring"): MonitorKind("Pod", "endpoints"),
    ("monitoring.googleapis.com", "ClusterPodMonitoring"): MonitorKind(
        "Pod", "endpoints", everywhere=True
    ),
}
"""By API group and kind."""

ANNOTATIONS = (
    ("prometheus.io/scrape", "prometheus.io/port", "prometheus.io/path"),
    (
        "serving.kserve.io/enable-prometheus-scraping",
        "prometheus.kserve.io/port",
        "prometheus.kserve.io/path",
    ),
)
"""Annotations that ask to be scraped, and that say at which port and path."""
OTHER_COLLECTORS = ("ad.datadoghq.com/", "metrics.dynatrace.com/", "newrelic.io/")
"""How annotations begin by which collectors other than Prometheus are told to scrape."""


class Endpoint(Struct, frozen=True):
    """One thing that a monitor scrapes on whatever it selects."""

    path: str
    """Its field path."""
    field: str
    """Field path of what names the port."""
    port: str
    """Name of a port of the Service, or of the pod; empty if it is given otherwise."""
    number: int | None
    """Number of a port of the pod."""
    target: str
    """Name of a port of the pod (``targetPort``)."""
    url_path: str
    dropped: tuple[tuple[str, str, re.Pattern[str]], ...]
    """Field path, ``keep`` or ``drop``, and pattern of each rule on metrics' names."""

    def drops(self, metric: str) -> str:
        """Return the field path of the rule that drops a metric; empty if none does."""
        for path, action, pattern in self.dropped:
            if bool(pattern.fullmatch(metric)) == (action == "drop"):
                return path
        return ""


class Monitor(Located, frozen=True, kw_only=True):
    """What selects Services or pods to be scraped."""

    of_services: bool
    labels: Mapping[str, str]
    selector: Selector
    endpoints: tuple[Endpoint, ...]
    any_namespace: bool
    namespaces: frozenset[str]
    """Where it looks; empty is its own namespace."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Monitor:
        """Read an object of one of :data:`KINDS`.

        Raises:
            ShapeError: A field holds another type than its definition wants.
        """
        group = str(obj.get("apiVersion")).partition("/")[0]
        facts = KINDS[group, str(obj.get("kind"))]
        spec = shape.mapping(obj, "spec", "")
        where = shape.mapping(spec, "namespaceSelector", "spec")
        metadata = shape.mapping(obj, "metadata", "")
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            of_services=facts.selects == "Service",
            labels=shape.string_map(metadata, "labels", "metadata"),
            selector=Selector.read(spec, "selector", "spec"),
            endpoints=tuple(
                _endpoint(item, f"spec.{facts.endpoints}[{index}]")
                for index, item in enumerate(shape.mappings(spec, facts.endpoints, "spec"))
            ),
            any_namespace=facts.everywhere or where.get("any") is True,
            namespaces=frozenset(shape.strings(where, "matchNames", "spec.namespaceSelector")),
        )

    def looks_in(self, namespace: str) -> bool:
        """Tell whether it looks in a namespace; one that isn't named may be any."""
        if self.any_namespace or not namespace:
            return True
        if self.namespaces:
            return namespace in self.namespaces
        return not self.namespace or namespace == self.namespace


def _endpoint(raw: Raw, path: str) -> Endpoint:
    # the operator heeds the first of them that is set; GMP's `port` may be a number
    key = next((key for key in ("port", "portNumber", "targetPort") if raw.get(key)), "port")
    value = raw.get(key)
    number = value if type(value) is int else None
    name = "" if number is not None else shape.text(raw, key, path)
    return Endpoint(
        path=path,
        field=f"{path}.{key}",
        port=name if key == "port" else "",
        number=number,
        target="" if key == "port" else name,
        url_path=shape.text(raw, "path", path) or "/metrics",
        dropped=tuple(_rules(raw, path)),
    )


def _rules(raw: Raw, path: str) -> list[tuple[str, str, re.Pattern[str]]]:
    """Return the rules that keep or drop metrics by their name alone."""
    found = []
    for key in ("metricRelabelings", "metricRelabelConfigs", "metricRelabeling"):
        for index, rule in enumerate(shape.mappings(raw, key, path)):
            at = f"{path}.{key}[{index}]"
            action = shape.text(rule, "action", at)
            sources = rule.get("sourceLabels", rule.get("source_labels"))
            if action not in {"keep", "drop"} or sources != ["__name__"]:
                continue
            written = shape.text(rule, "regex", at, ".*")
            pattern = promql.quick(written.removeprefix("^").removesuffix("$"))
            if pattern is not None:  # else it may mean or take something else here
                found.append((f"{at}.regex", action, pattern))
    return found


class Prometheus(Located, frozen=True, kw_only=True):
    """A Prometheus of the operator: which monitors it heeds."""

    services: Selector
    pods: Selector

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Prometheus:
        """Read a Prometheus.

        Raises:
            ShapeError: A field holds another type than its definition wants.
        """
        spec = shape.mapping(obj, "spec", "")
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            services=Selector.read(spec, "serviceMonitorSelector", "spec"),
            pods=Selector.read(spec, "podMonitorSelector", "spec"),
        )

    def heeds(self, monitor: Monitor) -> bool:
        """Tell whether it takes a monitor; without a selector it takes none."""
        selector = self.services if monitor.of_services else self.pods
        return selector.written and selector.selects(monitor.labels)


class Monitors(Struct, frozen=True):
    """All that is scraped, and by whom."""

    asking: Asking[Monitor]
    prometheuses: tuple[Prometheus, ...]

    def asking_for(self, labels: Mapping[str, str]) -> list[Monitor]:
        """Return the monitors whose selector, wherever they look, fits these labels."""
        if not self.asking:
            return []
        found = [*self.asking.candidates(labels), *self.asking.for_nothing]
        return [monitor for monitor in found if monitor.selector.selects(labels)]


def _monitors(snapshot: Snapshot) -> Monitors:
    found = [
        monitor
        for group, kind in KINDS
        for monitor in snapshot.read(group, kind, Monitor.from_object)
    ]
    group = "monitoring.coreos.com"
    return Monitors(
        Asking((monitor.selector.labels, monitor) for monitor in found),
        tuple(snapshot.read(group, "Prometheus", Prometheus.from_object)),
    )


def monitors_of(snapshot: Snapshot) -> Monitors:
    """Return what is scraped in a Snapshot; it is read once."""
    return snapshot.join(_monitors)


class Annotated(Struct, frozen=True):
    """Annotations that ask to be scraped."""

    where: Located
    path: str
    """Field path of the annotations."""
    scrape: str
    """The annotation that asks."""
    port: str
    """As it is written; empty if it isn't."""
    port_key: str
    url_path: str
    path_key: str


def annotated(where: Located, annotations: Mapping[str, str], path: str) -> Annotated | None:
    """Return what annotations ask for; None if they don't ask."""
    for scrape, port, url_path in ANNOTATIONS:
        if annotations.get(scrape, "").lower() == "true":
            return Annotated(
                where=where,
                path=path,
                scrape=scrape,
                port=annotations.get(port, ""),
                port_key=port,
                url_path=annotations.get(url_path, "/metrics"),
                path_key=url_path,
            )
    return None
