"""Whether an engine answers a probe that kills it if it doesn't, at the path and port it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.model.routing import reached

if TYPE_CHECKING:
    from drainproof.model.container import Probe
    from drainproof.model.engine import Engine
    from drainproof.model.workload import Workload


def unanswered(
    workload: Workload, engine: Engine, probe: Probe
) -> tuple[str, str, int | str | None] | None:
    """Return why a probe never succeeds: a field path, what is wrong, and what belongs there.

    None if it may succeed. The last of the three is None where it can't be told.
    """
    if probe.form not in {"httpGet", "tcpSocket"} or probe.port is None:
        return None
    at = f"{probe.path}.{probe.form}"
    if isinstance(probe.port, str):
        wrong = f"no port of the container is named {probe.port!r}"
        return f"{at}.port", wrong, engine.port
    led = reached(workload, engine, probe.port)
    if led == "nowhere":
        wrong = f"it asks port {probe.port}, and {engine.title} listens on {engine.port}"
        return f"{at}.port", wrong, engine.port
    if led == "engine" and (wrong := keyless(workload, engine, probe)):
        return f"{at}.path", wrong, engine.health_path
    if led == "engine" and probe.form == "httpGet" and not _has(engine, probe.url_path):
        wrong = f"{engine.title} answers no GET at {probe.url_path}"
        return f"{at}.path", wrong, engine.health_path
    return None


def keyless(workload: Workload, engine: Engine, probe: Probe) -> str:
    """Return that a probe lacks the key that the engine asks for, in words; empty if not."""
    container, facts = workload.container, engine.facts
    if probe.form != "httpGet" or container is None:
        return ""
    asks = "--api-key" in engine.flags or (
        facts.key_env in container.env_names and container.env.get(facts.key_env) != ""
    )
    if not asks or "authorization" in probe.headers:
        return ""
    path = "/" + probe.url_path.lstrip("/")
    if not path.startswith(facts.keyed_paths) or path.startswith(facts.unkeyed_paths):
        return ""
    return f"{engine.title} answers 401 at {probe.url_path}, since the probe sends no API key"


def _has(engine: Engine, url_path: str) -> bool:
    facts = engine.facts
    if url_path in facts.health_paths or "--root-path" in engine.flags:
        return True
    asked = "/" + url_path.partition("?")[0].strip("/")
    return asked in facts.health_paths or asked in facts.live_paths or asked == facts.metrics_path
