"""Writes mended objects as strategic-merge patches, as kustomize and kubectl take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.collect.lines import steps

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
_BUILT_IN = frozenset({"", "apps", "batch", "policy", "autoscaling", "networking.k8s.io"})


def write(mended: Iterable[Mended]) -> str:
    """Return the patches as YAML, one document an object; empty if there is none."""
    import yaml  # noqa: PLC0415 - only where something was mended

    return "---\n".join(
        f"# {entry.ref}: {', '.join(dict.fromkeys(slug for slug, _ in entry.checks))}\n"
        + yaml.safe_dump(patch(entry), sort_keys=False, allow_unicode=True, width=1000)
        for entry in mended
    )


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
        _copy(after, made, steps(path), merges=group in _BUILT_IN)
    return made


def _copy(after: Any, made: Any, path: tuple[Step, ...], *, merges: bool) -> None:  # noqa: ANN401 - nodes of any type
    """Copy the field at a path out of ``after`` into the patch."""
    for index, step in enumerate(path):
        rest = path[index + 1 :]
        key = MERGE_KEYS.get(str(step)) if merges else None
        if not rest:
            made[step] = after.get(step)  # None removes it
            return
        value = after.get(step)
        if isinstance(value, list) and (key is None or not _all_named(value, key)):
            made[step] = value
            return
        if isinstance(value, list) and key is not None:
            item = _item_at(value, rest[0])
            if item is None:  # it was removed: a merge would keep it
                made[step] = [{"$patch": "replace"}, *value]
                return
            kept = made.setdefault(step, [])
            entry = next((one for one in kept if one.get(key) == item[key]), None)
            if len(rest) == 1:  # the whole item
                if entry is not None:
                    kept.remove(entry)
                kept.append(item)
                return
            if entry is None:
                entry = {key: item[key]}
                kept.append(entry)
            _copy(item, entry, rest[1:], merges=merges)
            return
        if value is None:
            made[step] = None
            return
        after, made = value, made.setdefault(step, {})


def _all_named(items: list[Any], key: str) -> bool:
    return all(isinstance(item, dict) and key in item for item in items)


def _item_at(items: list[Any], step: Step) -> Raw | None:
    if isinstance(step, int):
        found: Raw = items[step]
        return found
    key, _, name = step.partition("=")
    return next((item for item in items if str(item.get(key)) == name), None)
