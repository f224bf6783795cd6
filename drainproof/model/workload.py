"""A workload as checks ask about it: what runs, how many, how it is stopped, updated and probed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.model import container as containers
from drainproof.model import shape
from drainproof.model.engine import recognise
from drainproof.model.finding import Located, Origin, named
from drainproof.model.kinds import Kind, kind_of
from drainproof.model.quantity import Share, quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.shape import Raw

DEFAULT_GRACE_PERIOD_S = 30
"""Kubernetes' own default of ``terminationGracePeriodSeconds``."""


@dataclass(frozen=True, slots=True)
class RollingUpdate:
    """How a rollout replaces pods, with Kubernetes' defaults filled in."""

    path: str
    """Field path of the strategy."""
    type: str
    """``RollingUpdate``, ``Recreate`` or ``OnDelete``."""
    max_unavailable: Share
    max_surge: Share
    misplaced: str
    """Field path of a strategy put where Kubernetes ignores it; empty if there is none."""

    def at(self, replicas: int) -> tuple[int, int]:
        """Return how many pods may be missing and how many may be extra, as the controller counts.

        A percentage is rounded down for missing pods and up for extra ones; where both come out as
        0, one may be missing.
        """
        missing = self.max_unavailable.of(replicas, up=False)
        extra = self.max_surge.of(replicas, up=True)
        return (1, 0) if missing == 0 and extra == 0 else (missing, extra)


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """What is mounted at ``/dev/shm``."""

    path: str
    """Field path of the volume, or of the engine's container if nothing is mounted there."""
    mounted: bool
    in_memory: bool
    """Whether it is an emptyDir with the medium Memory."""
    size: float | None
    """Bytes; None if it has no limit of its own."""
    of_host: bool
    """Whether the pod shares the node's own (``hostIPC``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload(Located):
    """A workload and its pod template."""

    replicas: int
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    grace_period_s: int
    """``terminationGracePeriodSeconds``, in seconds."""
    pod_path: str
    """Field path of the pod's spec: ``spec.template.spec``."""
    containers: tuple[Container, ...]
    engine: Engine | None
    container: Container | None
    """The engine's container."""
    shared_memory: SharedMemory | None
    """None without an engine."""
    rolling_update: RollingUpdate | None
    """None if the kind doesn't roll."""
    kind_facts: Kind = field(repr=False)
    pod_spec: Raw = field(repr=False)
    """The raw pod spec."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Workload:
        """Read a Kubernetes object.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
            UserError: The object is no workload.
        """
        facts = kind_of(obj)
        if facts is None:
            raise UserError(
                f"expected a workload such as a Deployment, found {obj.get('kind', 'no kind')!r}"
            )
        pods = _pods(obj, facts)
        path = ".".join((*facts.pods, "spec"))
        spec = shape.mapping(pods, "spec", ".".join(facts.pods))
        metadata = shape.mapping(pods, "metadata", ".".join(facts.pods))
        where = ".".join((*facts.pods, "metadata"))
        annotations = shape.string_map(metadata, "annotations", where)
        found = _containers(spec, path)
        engine, container = None, None
        for candidate in found:
            engine = recognise(candidate, annotations)
            if engine is not None:
                container = candidate
                break
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            replicas=_replicas(obj, facts),
            labels=shape.string_map(shape.mapping(obj, "metadata", ""), "labels", "metadata"),
            pod_labels=shape.string_map(metadata, "labels", where),
            grace_period_s=shape.integer(
                spec, "terminationGracePeriodSeconds", path, DEFAULT_GRACE_PERIOD_S
            ),
            pod_path=path,
            containers=found,
            engine=engine,
            container=container,
            shared_memory=_shared_memory(spec, path, container) if container else None,
            rolling_update=_rolling_update(obj, facts) if facts.strategy else None,
            kind_facts=facts,
            pod_spec=spec,
        )


def _pods(obj: Raw, facts: Kind) -> Raw:
    at, path = obj, ""
    for key in facts.pods:
        at, path = shape.mapping(at, key, path), shape.join(path, key)
    return at


def _containers(spec: Raw, path: str) -> tuple[Container, ...]:
    found = shape.mappings(spec, "containers", path)
    if not found:
        raise shape.ShapeError(f"{path}.containers", "a list of containers", spec.get("containers"))
    return tuple(
        containers.read(raw, f"{path}.containers[{index}]") for index, raw in enumerate(found)
    )


def _replicas(obj: Raw, facts: Kind) -> int:
    if not facts.replicas:
        return 1
    spec = shape.mapping(obj, facts.replicas[0], "")
    return shape.integer(spec, facts.replicas[-1], facts.replicas[0], 1)


def _shared_memory(spec: Raw, path: str, container: Container) -> SharedMemory:
    of_host = spec.get("hostIPC") is True
    name = container.mounts.get("/dev/shm")  # noqa: S108 - the mount point is what is asked about
    if name is None:
        return SharedMemory(
            f"{container.path}.volumeMounts",
            mounted=False,
            in_memory=False,
            size=None,
            of_host=of_host,
        )
    for index, volume in enumerate(shape.mappings(spec, "volumes", path)):
        if volume.get("name") != name:
            continue
        where = f"{path}.volumes[{index}]"
        if "emptyDir" not in volume:
            return SharedMemory(where, mounted=True, in_memory=False, size=None, of_host=of_host)
        empty_dir = shape.mapping(volume, "emptyDir", where)
        where = f"{where}.emptyDir"
        limit = empty_dir.get("sizeLimit")
        size = None if limit is None else quantity(limit, f"{where}.sizeLimit")
        in_memory = shape.text(empty_dir, "medium", where) == "Memory"
        return SharedMemory(where, mounted=True, in_memory=in_memory, size=size, of_host=of_host)
    # volumeClaimTemplates, or a volume that is missing: not memory in either case
    return SharedMemory(
        f"{container.path}.volumeMounts", mounted=True, in_memory=False, size=None, of_host=of_host
    )


_DEFAULTS: dict[str, tuple[object, object]] = {"Deployment": ("25%", "25%")}
"""``maxUnavailable`` and ``maxSurge`` that Kubernetes fills in; for other kinds 1 and 0."""


def _rolling_update(obj: Raw, facts: Kind) -> RollingUpdate:
    spec = shape.mapping(obj, "spec", "")
    path = f"spec.{facts.strategy}"
    strategy = shape.mapping(spec, facts.strategy, "spec")
    details = shape.mapping(strategy, "rollingUpdate", path)
    unavailable, surge = _DEFAULTS.get(str(obj.get("kind")), (1, 0))
    return RollingUpdate(
        path=path,
        type=shape.text(strategy, "type", path, "RollingUpdate"),
        max_unavailable=_share(details, "maxUnavailable", path, unavailable),
        max_surge=_share(details, "maxSurge", path, surge if facts.surges else 0),
        misplaced=_misplaced(obj, spec, facts),
    )


def _share(details: Raw, key: str, path: str, default: object) -> Share:
    value = details.get(key)
    return Share(default if value is None else value, f"{path}.rollingUpdate.{key}")


def _misplaced(obj: Raw, spec: Raw, facts: Kind) -> str:
    template = spec.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    places: tuple[tuple[str, object], ...] = (
        ("", obj),
        ("spec", spec),
        ("spec.template", template),
        ("spec.template.spec", pod),
    )
    for path, place in places:
        if not isinstance(place, dict):
            continue
        for key in ("strategy", "updateStrategy", "rollingUpdate"):
            if key in place and (path, key) != ("spec", facts.strategy):
                return f"{path}.{key}" if path else key
    return ""
