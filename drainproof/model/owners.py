"""Which object made which: the chain of controllers above a pod, as Kubernetes notes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from drainproof.model.shape import Raw

Key = tuple[str, str, str]
"""Kind, namespace and name of an object."""

_LONGEST = 12
"""No chain is longer: a Knative pod is the seventh from its InferenceService."""


def controller_of(obj: Raw) -> Key | None:
    """Return the object that controls another; None if none does, or not in a known form."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        return None
    owners = metadata.get("ownerReferences")
    if not isinstance(owners, list):
        return None
    for owner in owners:
        if isinstance(owner, dict) and owner.get("controller") is True:
            return _key(owner.get("kind"), metadata.get("namespace"), owner.get("name"))
    return None


def key_of(obj: Raw) -> Key:
    """Return kind, namespace and name of a raw object; what it lacks is empty."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    return _key(obj.get("kind"), metadata.get("namespace"), metadata.get("name"))


def controllers(objects: Iterable[Raw]) -> dict[Key, Key]:
    """Return the controller of each object that has one."""
    found = ((obj, controller_of(obj)) for obj in objects)
    return {key_of(obj): controller for obj, controller in found if controller is not None}


def above(key: Key, parents: Mapping[Key, Key]) -> Iterator[Key]:
    """Yield the controllers above an object, the nearest first.

    Args:
        key: The object.
        parents: What :func:`controllers` returned.
    """
    for _ in range(_LONGEST):
        if key not in parents:
            return
        key = parents[key]
        yield key


def _key(kind: Any, namespace: Any, name: Any) -> Key:  # noqa: ANN401 - as it was written
    return str(kind or ""), str(namespace or ""), str(name or "")
