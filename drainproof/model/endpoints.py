"""Which pods receive a Service's requests, as its EndpointSlices say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from drainproof.model import shape

if TYPE_CHECKING:
    from drainproof.model.finding import Located, Origin
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot

_SERVICE = "kubernetes.io/service-name"


class Endpoints(Struct):
    """The endpoints of one Service, whatever slices they are in."""

    ready: set[str] = field(default_factory=set)
    """Names of the pods that receive requests."""
    count: int = 0
    """How many endpoints there are, ready or not."""


def endpoints_of(snapshot: Snapshot, service: Located) -> Endpoints | None:
    """Return a Service's endpoints; None if it has no EndpointSlice."""
    return snapshot.join(_index).get((service.namespace, service.name))


def _index(snapshot: Snapshot) -> dict[tuple[str, str], Endpoints]:
    found: dict[tuple[str, str], Endpoints] = {}
    for key, ready, count in snapshot.read("discovery.k8s.io", "EndpointSlice", _slice):
        together = found.setdefault(key, Endpoints())
        together.ready |= ready
        together.count += count
    return found


def _slice(obj: Raw, _: Origin | None) -> tuple[tuple[str, str], set[str], int]:
    metadata = shape.mapping(obj, "metadata", "")
    labels = shape.string_map(metadata, "labels", "metadata")
    ready = set()
    endpoints = shape.mappings(obj, "endpoints", "")
    for index, item in enumerate(endpoints):
        path = f"endpoints[{index}]"
        conditions = shape.mapping(item, "conditions", path)
        if conditions.get("ready") is not False:  # Kubernetes: what is not said is ready
            target = shape.mapping(item, "targetRef", path)
            ready.add(shape.text(target, "name", f"{path}.targetRef"))
    namespace = shape.text(metadata, "namespace", "metadata")
    return (namespace, labels.get(_SERVICE, "")), ready, len(endpoints)
