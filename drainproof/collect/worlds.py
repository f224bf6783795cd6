"""Tells apart what can't be in one cluster: overlays and folders that hold the same workload.

``overlays/dev`` and ``overlays/prod`` often differ in everything but names and namespaces, since
each goes to a cluster of its own. Joined, every workload would have two autoscalers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from drainproof.model.finding import named
from drainproof.model.snapshot import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.model.shape import Raw


def told_apart(items: Sequence[Item], places: Sequence[tuple[int, str]]) -> Sequence[Item]:
    """Return the items; those of folders that share a workload or an autoscaler know their world.

    Args:
        items: What was read.
        places: From which item on what was read comes from which folder, in order.
    """
    folders = {folder for _, folder in places}
    if len(folders) < 2:  # noqa: PLR2004 - two can differ
        return items
    ends = [*(start for start, _ in places[1:]), len(items)]
    spans = [(start, end, folder) for (start, folder), end in zip(places, ends, strict=True)]
    first: dict[tuple[str, ...], str] = {}
    apart: set[str] = set()
    for start, end, folder in spans:
        for item in items[start:end]:
            if _is_one_of_its_name(item.object):
                other = first.setdefault(tuple(named(item.object).values()), folder)
                if other != folder:
                    apart |= {other, folder}
    return [
        Item(item.object, replace(item.origin, world=folder))
        if folder in apart and item.origin
        else item
        for start, end, folder in spans
        for item in items[start:end]
    ]


def _is_one_of_its_name(obj: Raw) -> bool:
    spec = obj.get("spec")
    return isinstance(spec, dict) and ("template" in spec or "scaleTargetRef" in spec)
