"""A readiness probe asks the engine itself whether it can serve.

What it checks
    The engine's container has a readiness probe: an HTTP request to the engine's own health path,
    at the port that the engine listens on, over TLS if the engine speaks TLS, and with an
    ``Authorization`` header where the engine asks for an API key (vLLM below ``/v1``, SGLang
    everywhere but at ``/health`` and ``/metrics``).

Why
    Without one, a replica gets requests as soon as its process starts, minutes before its model is
    loaded, and users get refused connections. A probe of another path or port is either never ready
    or ready too early.

Fix
    Add ``readinessProbe: {httpGet: {path: /health, port: 8000}, periodSeconds: 10}`` with the
    engine's own path and port. Triton's path is ``/v2/health/ready``, NIM's ``/v1/health/ready``.

Source
    Module 1.5, "Common Mistakes". The paths are those of the engines' servers; ``/v1/models`` is
    what llm-d probes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape
from drainproof.model.answering import keyless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container, Probe
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP201", severity=Severity.ERROR)
def readiness_asks_engine(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what sends requests to an engine that can't serve."""
    if not workload.serves:
        return
    probe = container.readiness
    if probe is None:
        if workload.complete:
            yield _none(workload, engine, container, profile)
        else:
            yield workload.left_to_others(f"{container.path}.readinessProbe", "a readiness probe")
    elif probe.form == "exec":
        yield from _exec(workload, engine, probe)
    elif probe.form != "httpGet":
        if (probe.form == "grpc" and engine.name == "triton") or not (
            probe.form or workload.complete
        ):
            return
        how = (
            f"a {probe.form} probe"
            if probe.form
            else "a probe that says in no known way what to ask"
        )
        path = f"{probe.path}.{probe.form}" if probe.form else probe.path
        asking = _asking(engine, probe.path)
        yield workload.finding(
            path,
            f"{how} does not ask {engine.title} whether it can serve; expected httpGet of "
            f"{engine.health_path}",
            repair=asking and {**({path: None} if probe.form else {}), **asking},
        )
    else:
        yield from _http(workload, engine, probe)
        yield from _scheme(workload, engine, container, probe)


def _none(workload: Workload, engine: Engine, container: Container, profile: Profile) -> Finding:
    path = f"{container.path}.readinessProbe"
    asking = _asking(engine, path)
    return workload.finding(
        path,
        "no readiness probe: requests come as soon as the process starts, and are refused while "
        "the model loads",
        repair=asking and {**asking, f"{path}.timeoutSeconds": profile.probe_timeout_good_s},
        fix=""
        if not asking
        else f"Add readinessProbe: {{httpGet: {{path: {engine.health_path}, port: {engine.port}}}, "
        f"periodSeconds: 10, timeoutSeconds: {profile.probe_timeout_good_s}}}.",
    )


def _asking(engine: Engine, path: str) -> dict[str, object]:
    """Return what makes a probe ask the engine; empty if its port can't be told."""
    if engine.port is None:
        return {}
    asking: dict[str, object] = {
        f"{path}.httpGet.path": engine.health_path,
        f"{path}.httpGet.port": engine.port,
    }
    if _speaks_tls(engine):
        asking[f"{path}.httpGet.scheme"] = "HTTPS"
    return asking


def _http(workload: Workload, engine: Engine, probe: Probe) -> Iterator[Finding]:
    asked = probe.url_path.partition("?")[0].rstrip("/") or "/"
    if not asked.startswith("/"):
        asked = f"/{asked}"
    wrong = keyless(workload, engine, probe)
    if wrong:
        path = f"{probe.path}.httpGet.path"
        yield workload.finding(
            path,
            f"{wrong}: the replica never gets requests; expected {engine.health_path}",
            repair={path: engine.health_path},
        )
    elif asked not in engine.facts.health_paths:
        path = f"{probe.path}.httpGet.path"
        yield workload.finding(
            path,
            f"{engine.title} does not say at {probe.url_path} whether it can serve: the replica "
            "never gets requests, or gets them too early; expected "
            f"{' or '.join(engine.facts.health_paths)}",
            repair={path: engine.health_path},
        )
    path = f"{probe.path}.httpGet.port"
    repair = {path: engine.port} if engine.port is not None else None
    if probe.port is None or isinstance(probe.port, str):
        yield workload.finding(
            path,
            f"no port of the container is named {probe.port!r}, so the replica never gets requests"
            if probe.port
            else "the probe names no port, so the replica never gets requests",
            repair=repair,
        )
    elif engine.port is None:
        yield workload.inconclusive(
            path,
            f"which port {engine.title} listens on can't be told, so {probe.port} may be another's",
        )
    elif probe.port != engine.port:
        yield workload.finding(
            path,
            f"the probe asks port {probe.port}, and {engine.title} listens on {engine.port}: the "
            "replica never gets requests, or another process answers for the engine",
            repair=repair,
        )


def _scheme(
    workload: Workload, engine: Engine, container: Container, probe: Probe
) -> Iterator[Finding]:
    request = shape.mapping(
        shape.mapping(container.raw, "readinessProbe", container.path), "httpGet", probe.path
    )
    scheme = shape.text(request, "scheme", f"{probe.path}.httpGet", "HTTP")
    tls = _speaks_tls(engine)
    wanted = "HTTPS" if tls else "HTTP"
    if scheme not in {"HTTP", "HTTPS"} or scheme == wanted:
        return
    if not tls and not (engine.flags_known and workload.complete):
        return
    path = f"{probe.path}.httpGet.scheme"
    yield workload.finding(
        path,
        f"the probe asks by {scheme}, and {engine.title} speaks {wanted}: the replica never gets "
        "requests",
        repair={path: wanted},
    )


def _speaks_tls(engine: Engine) -> bool:
    return "--ssl-certfile" in engine.flags or "--ssl-keyfile" in engine.flags


def _exec(workload: Workload, engine: Engine, probe: Probe) -> Iterator[Finding]:
    asks = any(path in probe.command for path in engine.facts.health_paths)
    if not asks or (engine.port is not None and f":{engine.port}" not in probe.command):
        yield workload.inconclusive(
            f"{probe.path}.exec",
            f"whether this command asks {engine.title} can't be told; expected httpGet of "
            f"{engine.health_path}",
        )
