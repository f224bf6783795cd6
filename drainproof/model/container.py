"""A container as checks ask about it: how it starts, is probed, is stopped, and what it may use."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import prestop, shape, shell
from drainproof.model.quantity import quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.model.mounted import Seen
    from drainproof.model.prestop import PreStop
    from drainproof.model.shape import Raw


_ACCELERATORS = ("gpu", "/mig-", "/gaudi", "/neuron", "/tpu", "/Ascend", "/npu", "/mlu", "/dcu")
"""Parts of the names of resources that are accelerators."""


class Probe(Struct, frozen=True):
    """A readiness, liveness or startup probe, with Kubernetes' defaults filled in."""

    path: str
    """Its field path."""
    form: str
    """``httpGet``, ``exec``, ``tcpSocket``, ``grpc``, or empty if it says how in no known way."""
    url_path: str
    """Path of an HTTP probe."""
    port: int | str | None
    """Port number, or a name that no port of the container has; None for ``exec``."""
    command: str
    """Command of an exec probe, as one line."""
    initial_delay_s: int
    period_s: int
    timeout_s: int
    failure_threshold: int
    grace_s: int | None = None
    """Seconds until SIGKILL when it acts; None if it is the pod's own grace period."""
    headers: frozenset[str] = frozenset()
    """Names of the headers that an HTTP probe sends, in lower case."""

    @property
    def patience_s(self) -> int:
        """Seconds of failing probes, ``failureThreshold x periodSeconds``, until it acts."""
        return self.failure_threshold * self.period_s

    @property
    def budget_s(self) -> int:
        """Seconds from the container's start until it acts on a container that never answers."""
        return self.initial_delay_s + self.patience_s


class Container(Struct, frozen=True, kw_only=True):
    """One container of a pod template."""

    name: str
    image: str
    path: str
    """Its field path: ``spec.template.spec.containers[0]``."""
    command: tuple[str, ...]
    args: tuple[str, ...]
    env: Mapping[str, str]
    """Variables whose value is in the manifest."""
    env_names: frozenset[str]
    """All variables, those from Secrets and ConfigMaps too."""
    ports: Mapping[str, int]
    """Container ports by name; nameless ones by their number as a string."""
    memory_limit: float | None
    """Bytes; None if there is no limit."""
    memory_request: float | None
    """Bytes; None if none is written (then Kubernetes takes the limit)."""
    gpus: int
    """GPUs (or slices of them, or other accelerators) that it is given."""
    gpu_resources: Mapping[str, int]
    """How many of each resource of accelerators: ``nvidia.com/gpu``, ``nvidia.com/mig-1g.10gb``."""
    readiness: Probe | None
    liveness: Probe | None
    startup: Probe | None
    prestop: PreStop
    mounts: Mapping[str, str]
    """Volume names by mount path, without a trailing slash."""
    raw: Raw
    seen: Seen | None = None
    """What it sees of ConfigMaps; None if nobody has looked."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Command and arguments, as they are written."""
        return (*self.command, *self.args)

    @property
    def command_line(self) -> tuple[str, ...]:
        """Command and arguments, with each ``$(NAME)`` whose value is known filled in."""
        return shell.expand_words(self.argv, self.env)

    @property
    def sidecar(self) -> bool:
        """Whether it is an init container that goes on running beside the others."""
        return self.raw.get("restartPolicy") == "Always"

    @property
    def load_probe(self) -> Probe | None:
        """The probe that kills an engine which loads too long, if one is known to.

        The startup probe; without one, a liveness probe that asks what the readiness probe asks.
        """
        if self.startup is not None:
            return self.startup
        liveness, readiness = self.liveness, self.readiness
        if liveness is None or readiness is None:
            return None
        same = (liveness.form, liveness.url_path, liveness.port, liveness.command) == (
            readiness.form,
            readiness.url_path,
            readiness.port,
            readiness.command,
        )
        return liveness if same else None

    @property
    def serves(self) -> bool:
        """Whether anything says that it is a server or works on a GPU: a port, a probe, a GPU."""
        return bool(self.ports or self.readiness or self.liveness or self.startup or self.gpus)


def read(raw: Raw, path: str, seen: Seen | None = None) -> Container:
    """Return a container.

    Args:
        raw: As it is written.
        path: Its field path.
        seen: What it sees of ConfigMaps, if somebody has looked.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    env, env_names = _env(raw, path, seen.variables if seen is not None else {})
    ports = _ports(raw, path)
    resources = shape.mapping(raw, "resources", path)
    limits = shape.mapping(resources, "limits", f"{path}.resources")
    requests = shape.mapping(resources, "requests", f"{path}.resources")
    gpus = _accelerators(limits, f"{path}.resources.limits")
    return Container(
        name=shape.text(raw, "name", path),
        image=shape.text(raw, "image", path),
        path=path,
        command=shape.strings(raw, "command", path),
        args=shape.strings(raw, "args", path),
        env=env,
        env_names=env_names,
        ports=ports,
        memory_limit=_memory(limits, path, "limits"),
        memory_request=_memory(requests, path, "requests"),
        gpus=sum(gpus.values()),
        gpu_resources=gpus,
        readiness=_probe(raw, "readinessProbe", path, ports),
        liveness=_probe(raw, "livenessProbe", path, ports),
        startup=_probe(raw, "startupProbe", path, ports),
        prestop=prestop.read(raw, path, env),
        mounts={
            shape.text(mount, "mountPath", f"{path}.volumeMounts").rstrip("/"): shape.text(
                mount, "name", f"{path}.volumeMounts"
            )
            for mount in shape.mappings(raw, "volumeMounts", path)
        },
        raw=raw,
        seen=seen,
    )


def _memory(amounts: Raw, path: str, which: str) -> float | None:
    value = amounts.get("memory")
    return None if value is None else quantity(value, f"{path}.resources.{which}.memory")


def _accelerators(limits: Raw, path: str) -> dict[str, int]:
    return {
        name: int(quantity(count, shape.join(path, name)))
        for name, count in limits.items()
        if is_accelerator(name)
    }


@lru_cache(maxsize=64)
def is_accelerator(name: str) -> bool:
    """Tell whether a resource is an accelerator: ``nvidia.com/gpu``."""
    return "/" in name and any(part in name for part in _ACCELERATORS)


def _env(raw: Raw, path: str, seen: Mapping[str, str]) -> tuple[dict[str, str], frozenset[str]]:
    """Return the variables with a known value, and the names of all.

    A value may refer to variables that are written before it.
    """
    variables = shape.mappings(raw, "env", path)
    if not variables:
        return dict(seen), frozenset(seen)
    env = dict(seen)
    names = set(seen)
    growth = 0
    for index, item in enumerate(variables):
        name = shape.text(item, "name", f"{path}.env[{index}]")
        names.add(name)
        if "valueFrom" in item:
            continue
        value = written = shape.text(item, "value", f"{path}.env[{index}]")
        if "$(" in written and growth < shell.MAX_GROWTH:
            value = shell.expand_references(written, env)
            growth += len(value) - len(written)
        env[name] = value
    return env, frozenset(names)


def _ports(raw: Raw, path: str) -> dict[str, int]:
    ports: dict[str, int] = {}
    for index, item in enumerate(shape.mappings(raw, "ports", path)):
        where = f"{path}.ports[{index}]"
        number = shape.integer(item, "containerPort", where, 0)
        ports[shape.text(item, "name", where) or str(number)] = number
    return ports


def _probe(raw: Raw, key: str, path: str, ports: Mapping[str, int]) -> Probe | None:
    probe = shape.mapping(raw, key, path)
    if not probe:
        return None
    path = f"{path}.{key}"
    form = next((kind for kind in ("httpGet", "exec", "tcpSocket", "grpc") if kind in probe), "")
    action = shape.mapping(probe, form, path) if form else {}
    port: int | str | None = None
    if form != "exec" and "port" in action:
        written = action["port"]
        port = ports.get(written, written) if isinstance(written, str) else written
        if type(port) is not int and not isinstance(port, str):
            raise shape.ShapeError(f"{path}.{form}.port", "a port number or name", written)
    return Probe(
        path=path,
        form=form,
        url_path=shape.text(action, "path", f"{path}.{form}", "/") if form == "httpGet" else "",
        port=port,
        command=" ".join(shape.strings(action, "command", f"{path}.{form}"))
        if form == "exec"
        else "",
        initial_delay_s=shape.integer(probe, "initialDelaySeconds", path, 0),
        # Kubernetes' own defaults; an explicit 0 counts as absent there
        period_s=shape.integer(probe, "periodSeconds", path, 10) or 10,
        timeout_s=shape.integer(probe, "timeoutSeconds", path, 1) or 1,
        failure_threshold=shape.integer(probe, "failureThreshold", path, 3) or 3,
        grace_s=shape.integer(probe, "terminationGracePeriodSeconds", path, 0)
        if "terminationGracePeriodSeconds" in probe
        else None,
        headers=frozenset(
            shape.text(header, "name", f"{path}.httpGet.httpHeaders").lower()
            for header in shape.mappings(action, "httpHeaders", f"{path}.httpGet")
        )
        if form == "httpGet"
        else frozenset(),
    )
