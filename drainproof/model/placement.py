"""On which nodes a workload's pods may run: what it selects and tolerates, what nodes offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.quantity import quantity
from drainproof.model.selector import Selector

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

_BLOCKING = frozenset({"NoSchedule", "NoExecute"})
HOSTNAME = "kubernetes.io/hostname"


class Node(Located, frozen=True, kw_only=True):
    """A node as the scheduler sees it."""

    labels: Mapping[str, str]
    taints: tuple[tuple[str, str, str], ...]
    """Key, value and effect of those that keep pods off."""
    devices: Mapping[str, int]
    """Allocatable extended resources by name."""
    schedulable: bool

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Node:
        """Read a Node.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        spec = shape.mapping(obj, "spec", "")
        allocatable = shape.mapping(shape.mapping(obj, "status", ""), "allocatable", "status")
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            labels=shape.string_map(shape.mapping(obj, "metadata", ""), "labels", "metadata"),
            taints=tuple(taint for taint in _taints(spec) if taint[2] in _BLOCKING),
            devices={
                name: int(quantity(count, shape.join("status.allocatable", name)))
                for name, count in allocatable.items()
                if "/" in name
            },
            schedulable=spec.get("unschedulable") is not True,
        )


def _taints(spec: Raw) -> Iterator[tuple[str, str, str]]:
    for index, item in enumerate(shape.mappings(spec, "taints", "spec")):
        path = f"spec.taints[{index}]"
        key, value = shape.text(item, "key", path), shape.text(item, "value", path)
        yield key, value, shape.text(item, "effect", path)


class Requirement(Struct, frozen=True):
    """One requirement on a node's labels."""

    path: str
    """Its field path."""
    key: str
    operator: str
    """``In``, ``NotIn``, ``Exists``, ``DoesNotExist``, ``Gt`` or ``Lt``."""
    values: tuple[str, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Tell whether a node with these labels meets it."""
        value = labels.get(self.key)
        if self.operator == "In":
            return value in self.values
        if self.operator == "NotIn":
            return value not in self.values
        if self.operator == "Exists":
            return value is not None
        if self.operator == "DoesNotExist":
            return value is None
        if value is None or not self.values or not _whole(value) or not _whole(self.values[0]):
            return False
        more = int(value) - int(self.values[0])
        return more > 0 if self.operator == "Gt" else more < 0


class Placement(Struct, frozen=True):
    """What a workload's pods ask of nodes."""

    selector: tuple[Requirement, ...]
    """All of these must hold: the nodeSelector."""
    terms: tuple[tuple[Requirement, ...], ...]
    """One of these must hold, each as a whole: the required node affinity; empty asks nothing."""
    tolerations: tuple[tuple[str, str, str, str], ...]
    """Key, operator, value and effect."""
    spreads: bool
    """Whether anything asks for its own replicas on different nodes or zones."""
    pinned: bool
    """Whether another scheduler or a node's name decides instead."""

    def accepts(self, node: Node) -> bool:
        """Tell whether a node's labels are what the pods select."""
        return all(one.holds(node.labels) for one in self.selector) and (
            not self.terms
            or any(all(one.holds(node.labels) for one in term) for term in self.terms)
        )

    def tolerates(self, key: str, value: str, effect: str) -> bool:
        """Tell whether the pods tolerate a taint."""
        for own_key, operator, own_value, own_effect in self.tolerations:
            if own_effect not in {"", effect}:
                continue
            if operator == "Exists":
                if own_key in {"", key}:
                    return True
            elif own_key == key and own_value == value:
                return True
        return False

    def demands(self) -> Iterator[tuple[Requirement, ...]]:
        """Yield each way in which a node can meet all that is required of its labels."""
        for term in self.terms or ((),):
            yield (*self.selector, *term)


_ASKING = frozenset(
    {
        "nodeSelector",
        "affinity",
        "tolerations",
        "topologySpreadConstraints",
        "nodeName",
        "schedulerName",
    }
)
"""Fields of a pod that ask something of nodes."""
ANYWHERE = Placement((), (), (), spreads=False, pinned=False)
"""What a pod that asks nothing of nodes asks."""


def of(_: Snapshot, workload: Workload) -> Placement:
    """Return what a workload's pods ask of nodes.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    spec, path = workload.pod_spec, workload.pod_path
    if _ASKING.isdisjoint(spec):
        return ANYWHERE
    affinity = shape.mapping(spec, "affinity", path) if "affinity" in spec else {}
    selector = shape.string_map(spec, "nodeSelector", path) if "nodeSelector" in spec else {}
    tolerations = shape.mappings(spec, "tolerations", path) if "tolerations" in spec else ()
    return Placement(
        selector=tuple(
            Requirement(shape.join(f"{path}.nodeSelector", key), key, "In", (value,))
            for key, value in selector.items()
        ),
        terms=_terms(affinity, f"{path}.affinity") if affinity else (),
        tolerations=tuple(
            (
                str(item.get("key") or ""),
                str(item.get("operator") or "Equal"),
                str(item.get("value") or ""),
                str(item.get("effect") or ""),
            )
            for item in tolerations
        ),
        spreads=any(_own_apart(workload, affinity)),
        pinned="nodeName" in spec
        or spec.get("schedulerName", "default-scheduler") != "default-scheduler",
    )


def _own_apart(workload: Workload, affinity: Raw) -> Iterator[bool]:
    """Yield for each rule that keeps pods apart whether it counts the workload's own pods.

    One without a selector counts none; labels that an operator adds may be what one asks for.
    """
    facts = workload.kind_facts
    adds = bool(facts.labels) or not facts.places
    for rule, path in _rules_apart(workload, affinity):
        selector = Selector.read(rule, "labelSelector", path)
        yield selector.written and (adds or selector.selects(workload.pod_labels))


def _rules_apart(workload: Workload, affinity: Raw) -> Iterator[tuple[Raw, str]]:
    path = f"{workload.pod_path}.affinity"
    apart = shape.mapping(affinity, "podAntiAffinity", path)
    path = f"{path}.podAntiAffinity"
    for parent, key, at in (
        (workload.pod_spec, "topologySpreadConstraints", workload.pod_path),
        (apart, "requiredDuringSchedulingIgnoredDuringExecution", path),
        (apart, "preferredDuringSchedulingIgnoredDuringExecution", path),
    ):
        for index, rule in enumerate(shape.mappings(parent, key, at)):
            where = f"{at}.{key}[{index}]"
            if key.startswith("preferred"):
                yield shape.mapping(rule, "podAffinityTerm", where), f"{where}.podAffinityTerm"
            else:
                yield rule, where


def nodes(snapshot: Snapshot) -> list[Node]:
    """Return the nodes of a cluster; none if they are not in the input."""
    return snapshot.read("", "Node", Node.from_object)


def _terms(affinity: Raw, path: str) -> tuple[tuple[Requirement, ...], ...]:
    node = shape.mapping(affinity, "nodeAffinity", path)
    path = f"{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
    required = shape.mapping(node, "requiredDuringSchedulingIgnoredDuringExecution", path)
    found = []
    for index, term in enumerate(shape.mappings(required, "nodeSelectorTerms", path)):
        where = f"{path}.nodeSelectorTerms[{index}]"
        found.append(
            tuple(
                Requirement(
                    path=f"{where}.matchExpressions[{at}]",
                    key=shape.text(item, "key", where),
                    operator=shape.text(item, "operator", where),
                    values=shape.strings(item, "values", f"{where}.matchExpressions[{at}]"),
                )
                for at, item in enumerate(shape.mappings(term, "matchExpressions", where))
            )
        )
    return tuple(found)


def _whole(written: str) -> bool:
    return written.isdecimal() and len(written) < 10  # noqa: PLR2004 - no label counts higher
