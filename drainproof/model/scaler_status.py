"""What an autoscaler's status says besides its conditions, and the HPA that KEDA made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.owners import controller_of, key_of
from drainproof.model.scaler import Scaler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.owners import Key
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot


def hpa_of(snapshot: Snapshot, scaler: Located) -> Located | None:
    """Return the HorizontalPodAutoscaler that KEDA made of a ScaledObject; None if it is not there.

    It is none of the workload's own autoscalers, since nobody wrote it.
    """
    return snapshot.join(_made).get(key_of(scaler.object))


def hpas_on(snapshot: Snapshot, scaler: Scaler) -> tuple[Located, ...]:
    """Return every HorizontalPodAutoscaler that scales what a scaler targets, whoever made it."""
    return tuple(snapshot.join(_targeting).get(_goal(scaler), ()))


def failing(scaler: Located) -> Iterator[tuple[str, int]]:
    """Yield each trigger of a ScaledObject that fails, with how often in a row.

    Raises:
        ShapeError: A field holds another type than KEDA's definition wants.
    """
    health = shape.mapping(shape.mapping(scaler.object, "status", ""), "health", "status")
    for name in health:
        one = shape.mapping(health, name, "status.health")
        if one.get("status") == "Failing":
            yield name, shape.integer(one, "numberOfFailures", f"status.health.{name}", 0)


def _made(snapshot: Snapshot) -> dict[Key, Located]:
    return {
        owner: hpa
        for owner, hpa in snapshot.read("autoscaling", "HorizontalPodAutoscaler", _owned)
        if owner is not None
    }


_Goal = tuple[str, str, str]
"""Namespace, kind and name of what is scaled."""


def _targeting(snapshot: Snapshot) -> dict[_Goal, list[Located]]:
    found: dict[_Goal, list[Located]] = {}
    for hpa in snapshot.read("autoscaling", "HorizontalPodAutoscaler", Scaler.from_object):
        found.setdefault(_goal(hpa), []).append(hpa)
    return found


def _goal(scaler: Scaler) -> _Goal:
    return scaler.namespace, scaler.target_kind, scaler.target_name


def _owned(obj: Raw, origin: Origin | None) -> tuple[Key | None, Located]:
    return controller_of(obj), Located(**named(obj), object=obj, origin=origin)
