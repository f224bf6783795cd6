"""Prometheus scrapes the engine's metrics.

What it checks
    A ServiceMonitor, a PodMonitor, one of their like (VictoriaMetrics, Google, Azure), or the
    annotations ``prometheus.io/scrape`` lead to the engine: the labels and the namespace that the
    monitor asks for, the name of the port, the engine's own metrics path. Its relabelling keeps
    what the autoscaler follows. A Prometheus that is among the manifests heeds the monitor.

Why
    A monitor that selects nothing is no error anywhere: Prometheus has no target, the query of the
    autoscaler no samples, and the number of replicas never changes while requests queue. Nobody
    sees the queue either.

Fix
    Give the Service the labels that the monitor asks for and its port a name, and name that port in
    the monitor, with the engine's metrics path (``/metrics``; NIM ``/v1/metrics``).

Source
    Module 1.5, exercise: its ServiceMonitor names the port ``http`` of a Service whose port has no
    name, and asks for a label that the Service lacks. Prometheus Operator's API: ``port`` is the
    name of a port of the Service; without ``namespaceSelector`` a monitor looks in its own
    namespace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.judge.registry import Severity, check
from drainproof.model import monitoring, routing
from drainproof.model.selector import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.monitoring import Endpoint, Monitor, Monitors
    from drainproof.model.routing import RoutedService
    from drainproof.model.scaler import Scaler
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_OTHER_PATHS = {"nim": "/metrics", "trtllm-serve": "/metrics"}
"""Paths besides the usual one: NIM's before 1.1 and from 2.0; iteration statistics."""
_NEEDS_ONE = frozenset(
    {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout", "Pod", "LeaderWorkerSet"}
)
"""Kinds for which no controller makes a monitor."""


class _Subject(Struct, frozen=True):
    """A workload and what its metrics are needed for."""

    workload: Workload
    engine: Engine
    services: tuple[RoutedService, ...]
    followed: tuple[str, ...]
    """Metrics of the engine that its autoscalers follow."""

    @property
    def port(self) -> int | None:
        return self.engine.metrics_port or self.engine.port


@check("DP602", severity=Severity.ERROR, admission="it joins Services and monitors")
def metrics_are_scraped(
    workload: Workload,
    engine: Engine,
    scalers: Sequence[Scaler],
    snapshot: Snapshot,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield what keeps Prometheus from the engine's metrics."""
    if not workload.serves:
        return
    services = routing.services_of(snapshot, workload)
    subject = _Subject(workload, engine, services, _followed(engine, scalers))
    monitors = monitoring.monitors_of(snapshot)
    aimed = list(_aimed(monitors, subject))
    working = {id(monitor): monitor for monitor, by in aimed if _scrapes(monitor, by, subject)}
    for monitor in working.values():
        yield from _heeded(monitor, monitors, subject)
    broken = {id(monitor): (monitor, by) for monitor, by in aimed if id(monitor) not in working}
    for monitor, by in broken.values():
        yield from _broken(monitor, by, subject, secondary=bool(working))
    if working:
        return
    missed = list(_near_misses(monitors, subject))
    yield from missed
    asks = False
    for asked in _annotations(workload, services):
        asks = True
        yield from _annotated(asked, subject)
    if not (aimed or missed or asks or _collected_otherwise(workload)):
        yield from _nothing(subject, snapshot, profile)


def _followed(engine: Engine, scalers: Sequence[Scaler]) -> tuple[str, ...]:
    prefix = engine.facts.prefix
    return tuple(
        metric
        for scaler in scalers
        for trigger in scaler.triggers
        for metric in trigger.metrics
        if prefix and metric.startswith(prefix)
    )


def _aimed(monitors: Monitors, subject: _Subject) -> Iterator[tuple[Monitor, RoutedService | None]]:
    """Yield the monitors that select the workload, with the Service by which they do."""
    workload = subject.workload
    for service in subject.services:
        namespace = service.namespace or workload.namespace
        for monitor in monitors.asking_for(service.labels):
            if monitor.of_services and monitor.looks_in(namespace):
                yield monitor, service
    for monitor in monitors.asking_for(workload.pod_labels):
        if not monitor.of_services and monitor.looks_in(workload.namespace):
            yield monitor, None


def _scrapes(monitor: Monitor, service: RoutedService | None, subject: _Subject) -> bool:
    return any(
        not _wrong(endpoint, service, subject) or _leads(endpoint, service, subject) == "beside"
        for endpoint in monitor.endpoints
    )


def _leads(endpoint: Endpoint, service: RoutedService | None, subject: _Subject) -> str:
    """Say where an endpoint leads, as ``routing.reached`` does; ``no-port`` if to no known one."""
    target: int | str | None = endpoint.number or endpoint.target or endpoint.port or None
    if endpoint.port and service is not None:
        target = next((one.target for one in service.ports if one.name == endpoint.port), None)
    if target is None:
        return "no-port"
    led = routing.reached(subject.workload, subject.engine, target)
    if led == "nowhere" and isinstance(target, str):
        return "no-port"
    if led in {"engine", "metrics"} and subject.engine.metrics_port:
        return "engine" if led == "metrics" else "nowhere"
    return led


def _wrong(endpoint: Endpoint, service: RoutedService | None, subject: _Subject) -> str:
    """Say what is wrong with an endpoint: ``port``, ``path``, ``drops``; empty if nothing is."""
    led = _leads(endpoint, service, subject)
    if led in {"no-port", "nowhere"}:
        return "port"
    if led == "engine" and not _is_metrics_path(endpoint.url_path, subject.engine):
        return "path"
    return "drops" if any(endpoint.drops(metric) for metric in subject.followed) else ""


def _is_metrics_path(path: str, engine: Engine) -> bool:
    path = f"/{path.strip('/')}"
    return path in {engine.metrics_path, _OTHER_PATHS.get(engine.name)}


def _broken(
    monitor: Monitor, service: RoutedService | None, subject: _Subject, *, secondary: bool
) -> Iterator[Finding]:
    if not monitor.selector.names_some:
        return  # it selects whatever there is, for something else
    severity = Severity.WARNING if secondary else None
    workload = subject.workload
    for endpoint in monitor.endpoints:
        wrong = _wrong(endpoint, service, subject)
        if wrong == "path":
            yield monitor.finding(
                f"{endpoint.path}.path",
                f"{subject.engine.title} has its metrics at {subject.engine.metrics_path}, not at "
                f"{endpoint.url_path}: Prometheus gets none of {workload.ref}",
                severity,
                repair={f"{endpoint.path}.path": subject.engine.metrics_path},
            )
        elif wrong == "drops":
            metric = next(one for one in subject.followed if endpoint.drops(one))
            yield monitor.finding(
                endpoint.drops(metric),
                f"it drops {metric}, which the autoscaler of {workload.ref} follows: the number of "
                "replicas never changes",
                severity,
            )
        elif wrong == "port" and service is not None:
            yield _service_port(monitor, endpoint, service, subject, severity)
        elif wrong == "port":
            yield _pod_port(monitor, endpoint, subject, severity)
        return


def _service_port(
    monitor: Monitor,
    endpoint: Endpoint,
    service: RoutedService,
    subject: _Subject,
    severity: Severity | None,
) -> Finding:
    leading = [port for port in service.ports if _leads_to_metrics(port.target, subject)]
    lost = f"the monitor finds nothing to scrape of {subject.workload.ref}"
    if endpoint.port and len(leading) == 1 and not leading[0].name:
        path = f"{leading[0].path}.name"
        return service.finding(
            path,
            f"the port has no name, and {monitor.ref} looks for one named {endpoint.port!r}: "
            f"{lost}",
            severity,
            repair={path: endpoint.port} if len(service.ports) == 1 else None,
        )
    names = [port.name for port in leading if port.name]
    asked = endpoint.port or endpoint.target or endpoint.number
    return monitor.finding(
        endpoint.field,
        f"no port {asked!r} of {service.ref} leads to the metrics of {subject.engine.title}: {lost}"
        if asked
        else f"it names no port: {lost}",
        severity,
        repair={f"{endpoint.path}.port": names[0]}
        if len(names) == 1 and (endpoint.port or not asked)
        else None,
    )


def _leads_to_metrics(target: int | str, subject: _Subject) -> bool:
    wanted = "metrics" if subject.engine.metrics_port else "engine"
    return routing.reached(subject.workload, subject.engine, target) == wanted


def _pod_port(
    monitor: Monitor, endpoint: Endpoint, subject: _Subject, severity: Severity | None
) -> Finding:
    container = subject.workload.container
    ports = container.ports if container else {}
    names = [
        name for name, number in ports.items() if number == subject.port and not name.isdigit()
    ]
    asked = endpoint.port or endpoint.target or endpoint.number
    return monitor.finding(
        endpoint.field,
        f"port {asked!r} is none of {subject.engine.title}'s in {subject.workload.ref}, whose "
        f"metrics are on {subject.port}: the monitor finds nothing to scrape",
        severity,
        repair={f"{endpoint.path}.port": names[0]} if len(names) == 1 and endpoint.port else None,
    )


def _heeded(monitor: Monitor, monitors: Monitors, subject: _Subject) -> Iterator[Finding]:
    """Yield a monitor that no Prometheus takes; the rest of what is right may be in vain."""
    if monitor.object.get("apiVersion") != "monitoring.coreos.com/v1" or not monitors.prometheuses:
        return
    if any(one.heeds(monitor) for one in monitors.prometheuses):
        return
    selectors = [one.services if monitor.of_services else one.pods for one in monitors.prometheuses]
    wanted = selectors[0].labels
    only = len(selectors) == 1 and not selectors[0].expressions
    yield monitor.finding(
        "metadata.labels",
        f"no Prometheus takes it ({monitors.prometheuses[0].ref} takes those labelled "
        f"{in_words(wanted) or 'otherwise'}), so nothing of {subject.workload.ref} is scraped",
        repair={f"metadata.labels[{key}]": value for key, value in wanted.items()}
        if only
        else None,
    )


def _near_misses(monitors: Monitors, subject: _Subject) -> Iterator[Finding]:
    """Yield monitors that were surely meant for a workload and miss it by a label, a namespace."""
    workload = subject.workload
    for monitor in monitors.asking_for(workload.pod_labels):
        looks = monitor.looks_in(workload.namespace)
        if not monitor.selector.names_some:
            continue
        if not monitor.of_services and not looks:
            yield _elsewhere(monitor, workload.namespace, subject)
        elif monitor.of_services and looks and subject.services:
            yield from _unlabelled(monitor, subject)
    for service in subject.services:
        for monitor in monitors.asking_for(service.labels):
            if monitor.selector.names_some:
                yield from _missed(monitor, service, subject)


def _missed(monitor: Monitor, service: RoutedService, subject: _Subject) -> Iterator[Finding]:
    """Yield how a monitor that asks for a Service's labels misses the workload, if it does."""
    workload = subject.workload
    namespace = service.namespace or workload.namespace
    if monitor.of_services and not monitor.looks_in(namespace):
        yield _elsewhere(monitor, namespace, subject)
    elif not monitor.of_services and not monitor.selector.selects(workload.pod_labels):
        yield monitor.finding(
            "spec.selector",
            f"it asks for pods labelled {in_words(monitor.selector.labels)}, which is how "
            f"{service.ref} is labelled, not the pods of {workload.ref}: it finds nothing to "
            "scrape",
        )


def _elsewhere(monitor: Monitor, namespace: str, subject: _Subject) -> Finding:
    looks = ", ".join(sorted(monitor.namespaces)) or monitor.namespace
    path = "spec.namespaceSelector"
    return monitor.finding(
        path,
        f"it looks in the namespace {looks} only, and {subject.workload.ref} is in {namespace}: "
        "it finds nothing to scrape",
        repair=None if monitor.namespaces else {f"{path}.matchNames": [namespace]},
    )


def _unlabelled(monitor: Monitor, subject: _Subject) -> Iterator[Finding]:
    """Yield what a monitor that asks for the pods' labels would need of the Service."""
    service = subject.services[0]
    wanted: Mapping[str, str] = monitor.selector.labels
    lacking = {key: value for key, value in wanted.items() if service.labels.get(key) != value}
    if not lacking:
        return
    only = len(subject.services) == 1 and not any(key in service.labels for key in lacking)
    yield service.finding(
        "metadata.labels",
        f"{monitor.ref} asks for Services labelled {in_words(lacking)}; the pods of "
        f"{subject.workload.ref} are, their Service is not: the monitor finds nothing to scrape",
        repair={f"metadata.labels[{key}]": value for key, value in lacking.items()}
        if only
        else None,
    )
    if not _scrapes(monitor, service, subject):
        yield from _broken(monitor, service, subject, secondary=False)


def _annotations(
    workload: Workload, services: Sequence[RoutedService]
) -> Iterator[monitoring.Annotated]:
    path = f"{workload.pod_path.removesuffix('spec')}metadata.annotations"
    found = monitoring.annotated(workload, workload.pod_annotations, path)
    if found is not None:
        yield found
    for service in services:
        found = monitoring.annotated(service, service.annotations, "metadata.annotations")
        if found is not None:
            yield found


def _annotated(found: monitoring.Annotated, subject: _Subject) -> Iterator[Finding]:
    port = int(found.port) if found.port.isdecimal() else None
    engine = subject.engine
    if port is not None and subject.port is not None and port != subject.port:
        if found.where is not subject.workload:
            return  # a Service's own port
        if routing.reached(subject.workload, engine, port) != "beside":
            path = f"{found.path}[{found.port_key}]"
            yield found.where.finding(
                path,
                f"it says that metrics are on port {port}, and those of {engine.title} are on "
                f"{subject.port}: Prometheus scrapes nothing of {subject.workload.ref}",
                repair={path: str(subject.port)},
            )
    elif not _is_metrics_path(found.url_path, engine):
        path = f"{found.path}[{found.path_key}]"
        yield found.where.finding(
            path,
            f"{engine.title} has its metrics at {engine.metrics_path}, not at {found.url_path}: "
            f"Prometheus gets none of {subject.workload.ref}",
            repair={path: engine.metrics_path},
        )


def _collected_otherwise(workload: Workload) -> bool:
    return any(key.startswith(monitoring.OTHER_COLLECTORS) for key in workload.pod_annotations)


def _nothing(subject: _Subject, snapshot: Snapshot, profile: Profile) -> Iterator[Finding]:
    workload = subject.workload
    if workload.kind not in _NEEDS_ONE:
        return
    path = f"{workload.pod_path.removesuffix('spec')}metadata.labels"
    if subject.followed:
        yield snapshot.absence(
            workload,
            path,
            f"no ServiceMonitor, PodMonitor or annotation has the metrics of {workload.ref} "
            f"scraped, and its autoscaler follows {subject.followed[0]}: it never acts",
        )
    elif profile.needs_monitor:
        yield snapshot.absence(
            workload,
            path,
            f"no ServiceMonitor, PodMonitor or annotation has the metrics of {workload.ref} "
            "scraped: nobody sees its queue grow",
            Severity.WARNING,
        )
