"""A workload as checks ask about it: what runs, how many, how it is stopped, updated and probed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson
from msgspec import Struct, field
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.model import container as containers
from drainproof.model import rollout, shape
from drainproof.model.engine import engine_of
from drainproof.model.finding import NOTHING, Finding, Located, Origin, named
from drainproof.model.kinds import DEFAULT_GRACE_PERIOD_S, PREFILL, Kind, kind_of
from drainproof.model.mounted import Seen
from drainproof.model.quantity import quantity
from drainproof.model.rollout import RollingUpdate
from drainproof.model.templates import Template, fragment, templates_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.judge.verdict import Severity
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.mounted import Mounted
    from drainproof.model.shape import Raw

_Made = TypeVar("_Made")

__all__ = ["DEFAULT_GRACE_PERIOD_S", "RollingUpdate", "SharedMemory", "Workload", "read"]


class SharedMemory(Struct, frozen=True):
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


class Workload(Located, frozen=True, kw_only=True):
    """A workload and one of its pod templates; an object with several gives several workloads."""

    role: str = ""
    """What these pods are in their group: ``leader``, ``worker``; empty if there is only one
    template."""
    serves: bool
    """Whether these pods answer requests. The others of a group (``--headless``, a worker without
    ports and probes) need no probes, no Service and no scaler of their own."""
    replicas: int
    replicas_path: str
    """Field path of the number of replicas; empty if the kind has none."""
    labels: Mapping[str, str]
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]
    grace_period_s: int
    """Seconds from a pod's deletion to SIGKILL."""
    grace_path: str
    """Field path of that number."""
    pod_path: str
    """Field path of the pod's spec: ``spec.template.spec``."""
    containers: tuple[Container, ...]
    engine: Engine | None
    container: Container | None
    """The engine's container."""
    shared_memory: SharedMemory | None
    """None without an engine."""
    rolling_update: RollingUpdate | None
    """None if the kind doesn't roll, or if how can't be told."""
    kind_facts: Kind
    filled: bool = False
    """Whether fields that an operator fills in are among those that were read."""
    pod_spec: Raw
    """The raw pod spec."""
    _made: dict[Callable[[Any], object], object] = field(default_factory=dict)
    """What was made of its pod template on demand; workloads with equal ones share it."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Workload:
        """Read a Kubernetes object: its part that runs an engine, else its first part.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
            UserError: The object is no workload.
        """
        parts = read(obj, origin)
        return next((part for part in parts if part.engine is not None), parts[0])

    def finding(
        self,
        path: str,
        message: str,
        severity: Severity | None = None,
        *,
        repair: Mapping[str, Any] | None = None,
        fix: str = "",
    ) -> Finding:
        """Return a finding at a field, as any object's.

        Without a repair where an operator fills in fields: what is to be written is not what was
        read.
        """
        mended = NOTHING if self.filled else repair or NOTHING
        return Finding(path, message, self, severity, repair=mended, fix=fix)

    @property
    def own_ref(self) -> str:
        """Its name as people write it: ``LeaderWorkerSet/inference/vllm (leader)``."""
        parts = (self.kind, self.namespace, self.name)
        whole = "/".join(part for part in parts if part)
        return f"{whole} ({self.role})" if self.role else whole

    @property
    def scales(self) -> bool:
        """Whether an autoscaler can target it, and it is what the autoscaler would look at."""
        return self.kind_facts.scales and self.serves

    @property
    def complete(self) -> bool:
        """Whether the object says all of its pods; false if another one fills in the rest."""
        return self.kind_facts.complete

    def left_to_others(self, path: str, what: str) -> Finding:
        """Return the assumption that whoever writes the rest of the pods sets something."""
        return self.assumption(
            path, f"the rest of the pods of {self.ref} is not written here: taken to have {what}"
        )

    @property
    def grace_written(self) -> bool:
        """Whether the grace period is written, not a default."""
        return self.kind_facts.grace_field in self.pod_spec

    def once(self, build: Callable[[Workload], _Made]) -> _Made:
        """Return what ``build`` makes of the pod template: its spec and annotations, the engine.

        It is called once for all workloads with an equal one, so nothing else may go into it.
        """
        if build not in self._made:
            self._made[build] = build(self)
        return cast("_Made", self._made[build])

    @property
    def init_containers(self) -> tuple[Container, ...]:
        """The init containers, sidecars (``restartPolicy: Always``) among them.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        return self.once(_init_containers)

    @property
    def volumes(self) -> Mapping[str, Raw]:
        """The pod's volumes as they are written, by name.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        return self.once(_volumes)

    @property
    def workers(self) -> tuple[Template, ...]:
        """The pods of the same object that work for these; none if these work for others.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        if self.filled or (not self.role and len(self.kind_facts.places) == 1):
            return ()
        found = [one for one in templates_of(self.object, self.kind_facts) if one.spec]
        if any(one.worker and one.path == self.pod_path for one in found):
            return ()
        prefill = self.role.startswith(PREFILL)
        return tuple(
            one
            for one in found
            if one.worker and not fragment(one.spec) and one.role.startswith(PREFILL) is prefill
        )

    def volume_path(self, name: str) -> str:
        """Return the field path of a volume; of all volumes if there is none of that name."""
        where = f"{self.pod_path}.volumes"
        names = list(self.volumes)
        return f"{where}[{names.index(name)}]" if name in names else where


def _init_containers(workload: Workload) -> tuple[Container, ...]:
    path = f"{workload.pod_path}.initContainers"
    found = shape.mappings(workload.pod_spec, "initContainers", workload.pod_path)
    return tuple(containers.read(raw, f"{path}[{index}]") for index, raw in enumerate(found))


def _volumes(workload: Workload) -> dict[str, Raw]:
    path = f"{workload.pod_path}.volumes"
    found = shape.mappings(workload.pod_spec, "volumes", workload.pod_path)
    return {shape.text(raw, "name", f"{path}[{index}]"): raw for index, raw in enumerate(found)}


class Pods(Struct, frozen=True):
    """What a pod template says by itself, whatever workload it is in."""

    spec: Raw
    containers: tuple[Container, ...]
    engine: Engine | None
    container: Container | None
    shared_memory: SharedMemory | None
    serves: bool
    made: dict[Callable[[Any], object], object]
    """What is made of it on demand."""


Known = dict[tuple[object, ...], Pods]
"""What was read already: workloads with equal pod templates share it, and are quick to judge."""


def read(
    obj: Raw,
    origin: Origin | None = None,
    mounted: Mounted | None = None,
    whole: Raw | None = None,
    known: Known | None = None,
) -> tuple[Workload, ...]:
    """Read a Kubernetes object: a workload for each pod template in it.

    Args:
        obj: The object.
        origin: Where it was written.
        mounted: Where to look for ConfigMaps that its containers see; None is nowhere.
        whole: The object with all that its operator fills in, if that is known.
        known: Pod templates that were read before; new ones are added.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
        UserError: The object is no workload.
    """
    facts = kind_of(obj)
    if facts is None:
        raise UserError(
            f"expected a workload such as a Deployment, found {obj.get('kind', 'no kind')!r}"
        )
    templates = templates_of(obj if whole is None else whole, facts)
    if len(templates) > 1:
        templates = tuple(part for part in templates if not fragment(part.spec)) or templates
    if whole is not None:
        templates = tuple(replace(part, filled=True, alone=_alone(obj)) for part in templates)
    known = {} if known is None else known
    return tuple(_read(obj, origin, facts, template, mounted, known) for template in templates)


def can_be_renamed(workload: Workload) -> bool:
    """Tell whether all that depends on its names is what :func:`renamed` exchanges."""
    return workload.pod_path == "spec.template.spec" and not (
        workload.role or workload.filled or workload.kind_facts.labels
    )


def renamed(like: Workload, obj: Raw, origin: Origin | None) -> Workload:
    """Return the workload of an object that differs from another one in names and labels only."""
    metadata = obj["metadata"]
    return replace(
        like,
        name=metadata["name"],
        object=obj,
        origin=origin,
        labels=metadata.get("labels") or {},
        pod_labels=(obj["spec"]["template"].get("metadata") or {}).get("labels") or {},
    )


def _alone(obj: Raw) -> str:
    """Return the field path of a container that is not in a list; empty if there is none."""
    alone = {"InferenceService": "spec.predictor.model", "NIMService": "spec"}
    return alone.get(str(obj.get("kind")), "")


def _read(  # noqa: PLR0913, PLR0917 - all that there is to know
    obj: Raw,
    origin: Origin | None,
    facts: Kind,
    template: Template,
    mounted: Mounted | None,
    known: Known,
) -> Workload:
    who = named(obj)
    pods = _pods(template, who["namespace"], mounted, known)
    spec, path = pods.spec, template.path
    return Workload(
        **who,
        object=obj,
        origin=origin,
        role=template.role,
        serves=pods.serves,
        replicas=template.replicas,
        replicas_path=template.replicas_path,
        labels=shape.string_map(shape.mapping(obj, "metadata", ""), "labels", "metadata"),
        pod_labels=template.labels,
        pod_annotations=template.annotations,
        grace_period_s=shape.integer(spec, facts.grace_field, path, facts.default_grace_s),
        grace_path=shape.join(path, facts.grace_field),
        pod_path=path,
        containers=pods.containers,
        engine=pods.engine,
        container=pods.container,
        shared_memory=pods.shared_memory,
        rolling_update=rollout.read(facts.rolls, obj),
        kind_facts=facts,
        filled=template.filled,
        pod_spec=spec,
        _made=pods.made,
    )


def _pods(template: Template, namespace: str, mounted: Mounted | None, known: Known) -> Pods:
    """Return what a pod template says; the same value for equal templates."""
    key = _key(template) if mounted is None else None
    if key is not None and key in known:
        return known[key]
    found = _containers(template, namespace, mounted)
    engine, container = engine_of(found, template.annotations, in_ray=template.in_ray)
    shared_memory = _shared_memory(template.spec, template.path, container) if container else None
    serves = _serves(template, engine, container)
    pods = Pods(template.spec, found, engine, container, shared_memory, serves, {})
    if key is not None:
        known[key] = pods
    return pods


def _key(template: Template) -> tuple[object, ...] | None:
    """Return what equal templates have in common; None if it can't be told."""
    try:
        said = orjson.dumps((template.spec, template.annotations), option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a text that is no Unicode
        return None
    rest = (template.path, template.alone, template.variables, template.in_ray, template.worker)
    return (said, *rest)


def _containers(
    template: Template, namespace: str, mounted: Mounted | None
) -> tuple[Container, ...]:
    spec, path = template.spec, f"{template.path}.containers"
    found = shape.mappings(spec, "containers", template.path)
    if not found:
        raise shape.ShapeError(path, "a list of containers", spec.get("containers"))
    return tuple(
        containers.read(
            raw,
            template.alone if template.alone and index == 0 else f"{path}[{index}]",
            _seen(template, namespace, raw, mounted),
        )
        for index, raw in enumerate(found)
    )


def _seen(template: Template, namespace: str, raw: Raw, mounted: Mounted | None) -> Seen | None:
    found = mounted.by(namespace, template.spec, raw) if mounted is not None else None
    if not template.variables:
        return found
    own = dict(template.variables)
    return Seen(own, {}) if found is None else Seen({**own, **found.variables}, found.files)


def _serves(template: Template, engine: Engine | None, container: Container | None) -> bool:
    """Tell whether these pods answer requests, as far as containers show it."""
    if engine is None or container is None:
        return False
    if engine.flag_on("--headless"):
        return False
    rank = engine.flags.get("--node-rank", "0")
    if rank.isdecimal():
        if int(rank) > 0:
            return False
    elif template.worker:
        return False
    return not template.worker or bool(container.readiness or container.ports)


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
        where = shape.join(path, f"volumes[{index}]")
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
