"""Writes mended objects as strategic-merge patches, as kustomize and kubectl take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.collect.lines import steps
from drainproof.model.secrets import holds_one
from drainproof.report.found import shown
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.fix.apply import Mended, Step
    from drainproof.model.shape import Raw

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
}
"""Lists of built-in kinds whose items are merged by a key; every other list is replaced whole.

``ports`` is left out on purpose: its two merge keys (port and protocol) differ between pods and
Services, and kustomize replaces such a list in some versions.
"""
_REPLACE = {"$patch": "replace"}
_BUILT_IN = frozenset({"", "apps", "batch", "policy", "autoscaling", "networking.k8s.io"})


def write(mended: Iterable[Mended]) -> str:
    """Return the patches as YAML, one document an object; empty if there is none."""
    import yaml  # noqa: PLC0415 - only where something was mended

    documents = []
    for entry in mended:
        slugs = ", ".join(dict.fromkeys(slug for slug, _ in entry.checks))
        heading = f"# {printable(entry.ref)}: {slugs}\n"
        body, escaped = (
            yaml.safe_dump(patch(entry), sort_keys=False, allow_unicode=as_it_is, width=1000)
            for as_it_is in (True, False)
        )
        shown = all(printable(line) == line for line in body.splitlines())
        documents.append(heading + (body if shown else escaped))
    return "---\n".join(documents)


def can_write(entry: Mended) -> bool:
    """Tell whether an object can be mended by a patch.

    It needs a name to be found by, and its patch must hold no secret, such as in a list that it
    gives whole: it would carry it to where it has never been.
    """
    written = patch(entry)
    named = bool(written["metadata"].get("name"))
    return named and not holds_one(written) and shown(written) == written


def patch(entry: Mended) -> Raw:
    """Return what changes an object as it was into the mended one.

    In built-in kinds the items of :data:`MERGE_KEYS` are named and only their changes given. Lists
    of custom resources, which kustomize has no schema for, are given whole.
    """
    after = entry.after
    metadata = {
        key: after["metadata"][key]
        for key in ("name", "namespace")
        if key in after.get("metadata", {})
    }
    made: Raw = {"apiVersion": after["apiVersion"], "kind": after["kind"], "metadata": metadata}
    group = after["apiVersion"].rpartition("/")[0]
    for path in entry.fields:
        _copy(entry.before, after, made, steps(path), merges=group in _BUILT_IN)
    return made


def _copy(before: Any, after: Any, made: Any, path: tuple[Step, ...], *, merges: bool) -> None:  # noqa: ANN401 - nodes of any type
    """Copy the field at a path out of ``after`` into the patch."""
    step, rest = path[0], path[1:]
    value, old = after.get(step), before.get(step) if isinstance(before, dict) else None
    if not rest or value is None:
        made[step] = value  # None removes it
    elif isinstance(value, list):
        key = MERGE_KEYS.get(str(step), "") if merges else ""
        item = _item_at(value, rest[0])
        if item is None or not _merges(old, value, key):
            made[step] = [_REPLACE, *value] if key and old else value
        elif _REPLACE not in made.setdefault(step, []):
            _copy_item(_named(old, key, item), item, made[step], rest[1:], key)
    else:
        _copy(old, value, made.setdefault(step, {}), rest, merges=merges)


def _copy_item(
    before: Raw | None, item: Raw, made: list[Raw], path: tuple[Step, ...], key: str
) -> None:
    """Copy a field of an item of a list, or all of it, into the patch's list."""
    entry = _named(made, key, item)
    if not path or before is None:  # the item is new as a whole
        if entry is not None:
            made.remove(entry)
        made.append(item)
        return
    if entry is None:
        entry = {key: item[key]}
        made.append(entry)
    _copy(before, item, entry, path, merges=True)


def _merges(old: object, new: list[Any], key: str) -> bool:
    """Tell whether a merge by a key makes the new list of the old: none of its items is gone."""
    if not key or not _all_named(new, key):
        return False
    kept = {item[key] for item in new}
    return not isinstance(old, list) or (
        _all_named(old, key) and all(item[key] in kept for item in old)
    )


def _named(items: object, key: str, like: Raw) -> Raw | None:
    if not isinstance(items, list):
        return None
    return next((item for item in items if item.get(key) == like[key]), None)


def _all_named(items: list[Any], key: str) -> bool:
    return all(isinstance(item, dict) and key in item for item in items)


def _item_at(items: list[Any], step: Step) -> Raw | None:
    if isinstance(step, int):
        found: Raw = items[step]
        return found
    key, _, name = step.partition("=")
    return next((item for item in items if str(item.get(key)) == name), None)
