"""Finds the workloads among objects, each once, with what other objects say of it filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from drainproof.model import kserve, operators, shape
from drainproof.model.engine import likely
from drainproof.model.finding import Located, named
from drainproof.model.kinds import kind_of
from drainproof.model.mounted import Mounted, wanted
from drainproof.model.owners import controller_of, key_of
from drainproof.model.templates import fragment, raw_specs
from drainproof.model.workload import Workload, can_be_renamed, read, renamed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from drainproof.model.kinds import Kind
    from drainproof.model.owners import Key
    from drainproof.model.shape import Raw, ShapeError
    from drainproof.model.snapshot import Item
    from drainproof.model.workload import Known


class Gathered(Struct):
    """The workloads among objects."""

    workloads: list[Workload] = field(default_factory=list)
    """Those that run an engine."""
    others: int = 0
    """How many run none."""
    fragments: int = 0
    """How many are patches of workloads that are written elsewhere."""
    unjudged: list[tuple[Located, str]] = field(default_factory=list)
    """Those that serve a language model by what is not in the input, and why they can't be judged;
    they count as others or as fragments too."""
    refused: list[tuple[Located, ShapeError]] = field(default_factory=list)
    """Those that hold a wrong type somewhere."""


def gather(
    objects: Sequence[tuple[Item, Kind]],
    by_kind: Mapping[tuple[str, str], Sequence[Item]],
    *,
    partial: bool,
) -> Gathered:
    """Return the workloads among objects.

    Args:
        objects: The objects that may hold pods, with their kinds.
        by_kind: All objects, by API group and kind.
        partial: Whether objects that use these may exist elsewhere.
    """
    gatherer = _Gatherer(by_kind)
    owned, services, parts = [], [], []
    for item, facts in objects:
        if controller_of(item.object) is not None:
            owned.append(item)
        elif not facts.complete:
            parts.append((item, facts))
        elif item.object.get("kind") in kserve.SERVICES:
            services.append((item, facts))
        else:
            gatherer.add(item, facts)
    gatherer.add_services(services, {controller_of(item.object) for item in owned})
    used = {name for item, _ in services for name in kserve.uses(item.object)}
    for item, facts in parts if partial else ():
        if key_of(item.object)[2] not in used:
            gatherer.add_part(item, facts)
    gatherer.add_owned(owned)
    gatherer.look_again()
    return gatherer.gathered


class _Gatherer:
    def __init__(self, by_kind: Mapping[tuple[str, str], Sequence[Item]]) -> None:
        self.by_kind = by_kind
        self.gathered = Gathered()
        self.unsure: list[tuple[Item, Raw | None]] = []
        """Workloads that show no engine, but may start one by what a ConfigMap says."""
        self.filled: dict[Key, Raw] = {}
        """Objects with what their operator fills in."""
        self.known: Known = {}
        self.alike: dict[int, Workload] = {}
        """The workload of a document, by its form: others of that form differ in their names."""
        self.left: set[Key] = set()
        """Objects that are judged by what was made of them."""

    def add(self, item: Item, facts: Kind, whole: Raw | None = None) -> bool:
        """Add the workloads in an object; return whether it says what its pods are."""
        form = item.origin.form if item.origin is not None and whole is None else None
        if form is not None and id(form) in self.alike:
            self.gathered.workloads.append(renamed(self.alike[id(form)], item.object, item.origin))
            return True
        found = raw_specs(item.object if whole is None else whole, facts)
        specs = [(spec, metadata) for spec, metadata in found if not fragment(spec)]
        if not specs:
            self.gathered.fragments += 1
            self.note_unjudged(item)
            return False
        engines: list[Workload] = []
        if any(_may_run_engine(*spec) for spec in specs):
            try:
                parts = read(item.object, item.origin, whole=whole, known=self.known)
            except shape.ShapeError as error:
                self.refuse(item, error)
                return True
            engines = [part for part in parts if part.engine is not None]
        self.gathered.workloads += engines
        if form is not None and form.blind and engines and can_be_renamed(engines[0]):
            self.alike[id(form)] = engines[0]
        if not engines:
            self.gathered.others += 1
            self.note_unjudged(item)
            if any(isinstance(spec, dict) and wanted(spec) for spec, _ in specs):
                self.unsure.append((item, whole))
        return True

    def add_part(self, item: Item, facts: Kind) -> None:
        """Add an object of which another one, or its operator, says the rest."""
        try:
            whole = operators.whole(item.object)
        except shape.ShapeError as error:
            self.refuse(item, error)
            return
        if whole is not None:
            self.filled[key_of(item.object)] = whole
        self.add(item, facts, whole)

    def note_unjudged(self, item: Item) -> None:
        why = operators.unjudged(item.object)
        if why:
            who = Located(**named(item.object), object=item.object, origin=item.origin)
            self.gathered.unjudged.append((who, why))

    def refuse(self, item: Item, error: ShapeError) -> None:
        who = Located(**named(item.object), object=item.object, origin=item.origin)
        self.gathered.refused.append((who, error))

    def add_services(
        self, services: Sequence[tuple[Item, Kind]], owners: Collection[Key | None]
    ) -> None:
        """Add KServe's services, put together from their runtimes and configs.

        One of which a part would have to be guessed is left to what it made, if that is here.
        """
        if not services:
            return
        parts: dict[tuple[str, str], list[Raw]] = {}
        for kind in kserve.PARTS:
            for item in self.by_kind.get((kserve.GROUP, kind), ()):
                parts.setdefault((kind, key_of(item.object)[2]), []).append(item.object)

        def find(kind: str, namespace: str, name: str) -> Raw | None:
            near = (
                obj
                for obj in parts.get((kind, name), ())
                if not namespace or key_of(obj)[1] in {"", namespace}
            )
            return next(near, None)

        for item, facts in services:
            try:
                whole = kserve.whole(item.object, find)
            except shape.ShapeError as error:
                self.refuse(item, error)
                continue
            filled, guessed = whole or (None, False)
            if guessed and key_of(item.object) in owners:
                self.left.add(key_of(item.object))
                continue
            if filled is not None:
                self.filled[key_of(item.object)] = filled
            self.add(item, facts, filled)

    def add_owned(self, waiting: Sequence[Item]) -> None:
        """Add what a controller made, once: not if the controller's own template is judged.

        A ReplicaSet of a Deployment that is here is left out, and so are its pods. Of several that
        one controller made that is not here, the first stands for all.
        """
        if not waiting:
            return
        told = {
            key_of(item.object)
            for items in self.by_kind.values()
            for item in items
            if controller_of(item.object) is None and self.says_pods(item.object)
        }
        unresolved = {key_of(item.object) for item in waiting}
        absent: set[Key] = set()
        while waiting:
            later: list[Item] = []
            for item in waiting:
                key, owner = key_of(item.object), controller_of(item.object)
                if owner in told or owner in absent:
                    told.add(key)
                elif owner in unresolved:
                    later.append(item)
                    continue
                else:
                    facts = kind_of(item.object)
                    if facts is not None and self.add(item, facts):
                        told.add(key)
                        if owner is not None:
                            absent.add(owner)
                unresolved.discard(key)
            if len(later) == len(waiting):
                return  # they own each other
            waiting = later

    def says_pods(self, obj: Raw) -> bool:
        """Tell whether an object says what its pods are."""
        facts = kind_of(obj)
        if facts is None or key_of(obj) in self.left:
            return False
        obj = self.filled.get(key_of(obj), obj)
        return any(not fragment(spec) for spec, _ in raw_specs(obj, facts))

    def look_again(self) -> None:
        """Read again what has settings or scripts in ConfigMaps that are in the input."""
        maps = self.by_kind.get(("", "ConfigMap"), ())
        mounted = Mounted.of(item.object for item in maps)
        if mounted is None:
            return
        workloads = self.gathered.workloads
        for at, workload in enumerate(workloads):
            if _hides(workload):
                whole = self.filled.get(key_of(workload.object)) if workload.filled else None
                parts = read(workload.object, workload.origin, mounted, whole)
                workloads[at] = next(part for part in parts if part.role == workload.role)
        for item, whole in self.unsure:
            try:
                parts = read(item.object, item.origin, mounted, whole)
            except shape.ShapeError:
                continue  # nothing says that it runs an engine
            engines = [part for part in parts if part.engine is not None]
            workloads += engines
            self.gathered.others -= bool(engines)


def _may_run_engine(spec: object, metadata: object) -> bool:
    if not isinstance(spec, dict):
        return True
    return likely(spec, metadata.get("annotations") if isinstance(metadata, dict) else None)


def _hides(workload: Workload) -> bool:
    """Tell whether ConfigMaps may say more of how an engine is set up."""
    engine, container = workload.engine, workload.container
    if engine is None or container is None or not wanted(workload.pod_spec):
        return False
    return (
        not engine.flags_known
        or len(container.env) < len(container.env_names)
        or "envFrom" in container.raw
    )
