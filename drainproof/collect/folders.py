"""Tells what a folder holds by what is in it: manifests, Helm charts, kustomizations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.collect import charts, kustomizations
from drainproof.collect.charts import Chart
from drainproof.collect.kustomizations import Kustomization

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Part: TypeAlias = "Chart | Kustomization | str | Closed"
    """A chart, a kustomization, the path of a file of manifests, or a folder that is closed."""

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_SKIPPED = frozenset({"node_modules", "__pycache__"})


class Closed(Struct, frozen=True):
    """A folder that could not be looked into."""

    path: str
    why: str


def look(folder: str) -> Iterator[Part]:
    """Yield what is in a folder and in its folders, in order; hidden ones are left out.

    What a chart or a kustomization is made of is not yielded by itself, as far as the folder's
    names tell it; :func:`apart` sorts out the rest.
    """
    closed: list[OSError] = []
    for where, folders, names in os.walk(folder, onerror=closed.append, followlinks=False):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED
        )
        visible = sorted(name for name in names if not name.startswith("."))
        if charts.CHART in visible:
            yield Chart(where, folder)
            folders[:] = [name for name in folders if name not in charts.OWN_FOLDERS]
            visible = [name for name in visible if not charts.own_file(name)]
        for name in kustomizations.NAMES:
            if name in visible:
                found = Kustomization(where, name)
                if found.is_one:
                    visible.remove(name)
                    yield found
                    break
        for name in visible:
            if os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122 - Path per file is slow
                yield os.path.join(where, name)  # noqa: PTH118 - same
    for error in closed:
        yield Closed(str(error.filename), error.strerror or str(error))


def at(path: str) -> Part:
    """Return what a file is that somebody named: a part of a chart or kustomization, or itself."""
    folder, name = os.path.split(path)
    if name == charts.CHART:
        return Chart(folder or ".")
    if name.endswith(".tgz"):
        return Chart(path)
    if name in kustomizations.NAMES:
        found = Kustomization(folder or ".", name)
        if found.is_one:
            return found
    return path


def apart(parts: list[Part]) -> tuple[list[Part], int]:
    """Return what is to be read by itself, and how many parts belong to others of them.

    A kustomization that another one includes is built with that one, and so are their files. Two
    that include each other are both left, for kustomize to refuse. A component and a library chart
    are nothing by themselves.
    """
    kustomized = [part for part in parts if isinstance(part, Kustomization)]
    if not kustomized and not any(isinstance(part, Chart) for part in parts):
        return parts, 0
    bases = {base for part in kustomized for base in part.bases}
    files = {file for part in kustomized for file in part.includes}
    kept: list[Part] = []
    for part in parts:
        if isinstance(part, Kustomization):
            real = os.path.realpath(part.path)
            belongs = part.component or (real in bases and real not in part.bases)
        elif isinstance(part, Chart):
            belongs = part.library
        elif isinstance(part, Closed):
            belongs = False
        else:
            belongs = part != "-" and os.path.realpath(part) in files
        if not belongs:
            kept.append(part)
    return kept, len(parts) - len(kept)
