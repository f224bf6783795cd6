"""Finds the pod templates in an object: one, or several with a role each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.kinds import ANY, templates_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.model.kinds import Kind, Place
    from drainproof.model.shape import Raw


_WORKERS = frozenset({"worker", "workers", "workerGroupSpecs", "workerSpec", "workerTemplate"})
"""Fields under which custom resources keep pods that work for others."""


class Template(Struct, frozen=True, kw_only=True):
    """One pod template of an object."""

    path: str
    """Field path of the pods' spec."""
    spec: Raw
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    role: str = ""
    worker: bool = False
    """Whether its pods work for other pods of the same object."""
    replicas: int = 1
    replicas_path: str = ""
    filled: bool = False
    """Whether fields that an operator fills in are among them."""
    alone: str = ""
    """Field path of the first container, where it is not in a list; empty elsewhere."""
    variables: tuple[tuple[str, str], ...] = ()
    """Variables that an operator sets in the containers."""
    in_ray: bool = False
    """Whether KubeRay starts ``ray`` in its container, whatever the image's own program is."""


def templates_of(obj: Raw, facts: Kind) -> tuple[Template, ...]:
    """Return the pod templates of an object; at least one.

    Raises:
        ShapeError: A field on the way holds another type than Kubernetes wants.
    """
    if facts is ANY:
        return _discovered(obj)
    places = facts.places
    if len(places) == 1:
        return tuple(_of_place(obj, facts, places[0]))
    present = [place for place in places if _there(obj, place.path)]
    if len(present) == 1:  # then it has nobody to work for
        return tuple(_of_place(obj, facts, present[0], alone=True))
    return tuple(
        template for place in present or places[:1] for template in _of_place(obj, facts, place)
    )


def raw_specs(obj: Raw, facts: Kind) -> Iterator[tuple[object, object]]:
    """Yield each pods' spec and metadata as they are written, whatever their types are.

    A spec that is not there is None.
    """
    if facts is ANY:
        for path in templates_in(obj):
            at: Any = obj
            above: Any = None
            for step in path:
                above, at = at, at[step]
            yield at, above.get("metadata") if isinstance(above, dict) else None
        return
    for place in facts.places:
        for holder in _raw(obj, place.path.split(".") if place.path else []):
            if place.inline:
                yield holder, holder
            elif isinstance(holder, dict):
                yield holder.get("spec"), holder.get("metadata")
            else:
                yield holder, None


def _raw(at: object, steps: list[str]) -> Iterator[object]:
    for index, step in enumerate(steps):
        key = step.removesuffix("[]")
        if not isinstance(at, dict):
            yield at
            return
        at = at.get(key)
        if key != step and isinstance(at, list):
            for item in at:
                yield from _raw(item, steps[index + 1 :])
            return
    yield at


def fragment(spec: object) -> bool:
    """Tell whether a pods' spec is a patch of one that is written elsewhere.

    Either it has no containers, or one that has no image. What has a wrong type is no patch.
    """
    if not isinstance(spec, dict):
        return spec is None
    found = spec.get("containers", ())
    return "containers" not in spec or (
        isinstance(found, list)
        and any(isinstance(item, dict) and "image" not in item for item in found)
    )


def _of_place(obj: Raw, facts: Kind, place: Place, *, alone: bool = False) -> Iterator[Template]:
    head, brackets, tail = place.path.partition("[]")
    if not brackets:
        role = "" if alone else place.role
        yield _template(obj, facts, place, place.path, place.replicas, role, alone=alone)
        return
    parent, _, key = head.rpartition(".")
    at, path = _walk(obj, parent)
    for index, item in enumerate(shape.mappings(at, key, path)):
        where = f"{head}[{index}]"
        role = shape.text(item, place.named_by, where) or f"{place.role}{index}"
        replicas = place.replicas.replace("[]", f"[{index}]")
        yield _template(obj, facts, place, where + tail, replicas, role, alone=alone)


def _template(  # noqa: PLR0913, PLR0917 - what a place says, with its list's index filled in
    obj: Raw, facts: Kind, place: Place, at: str, replicas: str, role: str, *, alone: bool
) -> Template:
    holder, path = _walk(obj, at)
    if place.inline:
        spec, metadata, where = holder, holder, path
    else:
        spec = shape.mapping(holder, "spec", path)
        metadata, where = shape.mapping(holder, "metadata", path), shape.join(path, "metadata")
        path = shape.join(path, "spec")
    labels = shape.string_map(metadata, "labels", where)
    if facts.labels:
        name = str(shape.mapping(obj, "metadata", "").get("name") or "")
        labels = {key: value.replace("{name}", name) for key, value in facts.labels} | labels
    return Template(
        path=path,
        spec=spec,
        labels=labels,
        annotations=shape.string_map(metadata, "annotations", where),
        role=role,
        worker=place.worker and not alone,
        replicas=_number(obj, replicas),
        replicas_path=replicas,
        variables=tuple((name, str(_number(obj, field))) for name, field in facts.variables),
        in_ray=_in_ray(path),
    )


def _in_ray(path: str) -> bool:
    return "headGroupSpec" in path or "workerGroupSpecs" in path


def _discovered(obj: Raw) -> tuple[Template, ...]:
    """Return the templates of a custom resource that is not known."""
    paths = list(templates_in(obj))
    roles = _roles(obj, paths)
    return tuple(_found(obj, path, role) for path, role in zip(paths, roles, strict=True))


def _found(obj: Raw, steps: tuple[str | int, ...], role: str) -> Template:
    way: list[Any] = [obj]
    for step in steps:
        way.append(way[-1][step])
    spec, path = way[-1], _text(steps)
    metadata, where = spec, path
    if len(steps) > 1 and steps[-1] == "spec":  # a template; else the spec is in line
        above = _text(steps[:-1])
        metadata, where = shape.mapping(way[-2], "metadata", above), f"{above}.metadata"
    replicas, replicas_path = 1, ""
    for depth in range(len(steps) - 1, -1, -1):
        if isinstance(way[depth], dict) and type(way[depth].get("replicas")) is int:
            replicas = way[depth]["replicas"]
            replicas_path = shape.join(_text(steps[:depth]), "replicas")
            break
    return Template(
        path=path,
        spec=spec,
        labels=shape.string_map(metadata, "labels", where),
        annotations=shape.string_map(metadata, "annotations", where),
        role=role,
        worker=any(isinstance(step, str) and step in _WORKERS for step in steps),
        replicas=replicas,
        replicas_path=replicas_path,
        in_ray=_in_ray(path),
    )


def _roles(obj: Raw, paths: list[tuple[str | int, ...]]) -> list[str]:
    """Name templates by their list items' names, else by what tells their paths apart."""
    if len(paths) == 1 and not any(isinstance(step, int) for step in paths[0]):
        return [""]
    names = [_item_name(obj, path) or _apart(path, paths) for path in paths]
    return [
        name if names.count(name) == 1 else f"{name} {names[:index].count(name)}"
        for index, name in enumerate(names)
    ]


def _item_name(obj: Raw, path: tuple[str | int, ...]) -> str:
    at: Any = obj
    name = ""
    for step in path:
        at = at[step]
        if isinstance(step, int) and isinstance(at, dict):
            own = at.get("name") or at.get("groupName") or at.get("role")
            name = own if isinstance(own, str) else name
    return name


def _apart(path: tuple[str | int, ...], paths: list[tuple[str | int, ...]]) -> str:
    for depth, step in enumerate(path):
        if any(len(other) <= depth or other[depth] != step for other in paths):
            return str(step).removesuffix("GroupSpec")
    return str(path[-1]) if path else ""


def _walk(obj: Raw, dotted: str) -> tuple[Raw, str]:
    """Return the mapping at a path, empty if it is not there, and the path."""
    at, path = obj, ""
    if "[" not in dotted:
        for key in dotted.split(".") if dotted else ():
            at, path = shape.mapping(at, key, path), f"{path}.{key}" if path else key
        return at, path
    for step in dotted.split("."):
        key, bracket, index = step.partition("[")
        if bracket:
            at = shape.mappings(at, key, path)[int(index[:-1])]
            path = f"{path}.{step}" if path else step
        else:
            at, path = shape.mapping(at, key, path), shape.join(path, key)
    return at, path


def _there(obj: Raw, dotted: str) -> bool:
    at: Any = obj
    for step in dotted.split("."):
        at = at.get(step.partition("[")[0]) if isinstance(at, dict) else None
        if at is None:
            return False
        if isinstance(at, list):
            return bool(at)
    return True


def _number(obj: Raw, path: str) -> int:
    if not path:
        return 1
    parent, _, key = path.rpartition(".")
    at, where = _walk(obj, parent)
    return shape.integer(at, key, where, 1)


def _text(steps: tuple[str | int, ...]) -> str:
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else shape.join(path, step)
    return path
