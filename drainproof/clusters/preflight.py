"""All that this machine lacks is said at once, in one message, before anything is done."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from drainproof.clusters import artefacts, debian, engine, golang, recipe
from drainproof.clusters.places import cache_folder, clusters_folder
from drainproof.clusters.versions import versions
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from drainproof.clusters.artefacts import Artefact

_GB = 10**9
_BUILD_BYTES = 15 * _GB
"""Disk space for all builds: 4 GB of artefacts, 6 GB of Go's caches, the rest in passing."""
_ALSO_BYTES = 8 * _GB
"""The same for stacks: 1 GB of artefacts, 7 GB of Go's caches."""
_RUN_BYTES = 5 * _GB
"""Disk space for a cluster that is up: the node image, twice unpacked, and what pods write."""
_CAP_SYS_ADMIN = 21
_RUN_TOOLS = ("unshare", "nsenter", "setpriv", "mount", "sh", "bash")
_BUILD_TOOLS = ("apt-get", "dpkg", "perl", "tar", "cp", "chroot")


def check(*, own_engine: bool, also: Sequence[Artefact] = ()) -> None:
    """Look for all that bringing a cluster up needs.

    Args:
        own_engine: Whether it brings its own Docker engine up.
        also: What is built beside that which every cluster needs.

    Raises:
        UserError: Something is missing; the message lists all of it.
    """
    lacking = problems(
        own_engine=own_engine,
        to_build=bool(artefacts.missing(recipe.needed(own_engine=own_engine))),
        also=bool(artefacts.missing(also)),
    )
    if lacking:
        listed = "\n".join(f"  - {one}" for one in lacking)
        raise UserError(f"the embedded cluster needs what this machine does not have:\n{listed}")


def problems(*, own_engine: bool, to_build: bool, also: bool = False) -> list[str]:
    """Return what is missing, one sentence each; ``also`` is whether stacks must be built."""
    found = []
    disk = _BUILD_BYTES * to_build + _ALSO_BYTES * also
    to_build = to_build or also
    if own_engine or to_build:
        if os.geteuid() != 0:
            found.append("it must be run by root: it makes namespaces and file systems")
        elif not engine.has_capability(_CAP_SYS_ADMIN):
            found.append(
                "root has no CAP_SYS_ADMIN here; in a container, run that with --privileged"
            )
    tools = [*(_RUN_TOOLS if own_engine else ()), *(_BUILD_TOOLS if to_build else ())]
    absent = sorted({tool for tool in tools if shutil.which(tool) is None})
    if absent:
        found.append(f"not on the PATH: {', '.join(absent)}")
    if to_build:
        found += _build_problems({"apt-get", "dpkg"} & set(absent))
    found += _disk_problems(disk)
    return found


def _build_problems(no_packages: set[str]) -> list[str]:
    found = []
    stated = versions()
    have = golang.go_version()
    if have is None:
        found.append(f"Go {stated.go} or later is not installed; get it from https://go.dev/dl")
    elif _number(have) < _number(stated.go):
        found.append(f"Go {stated.go} or later is needed; {golang.go_tool()} is {have}")
    if no_packages:
        found.append("it is built from Debian packages: a Debian machine is needed")
    elif not debian.package_sources(stated.suite, stated.component):
        found.append(
            f"apt has no source for Debian {stated.suite} ({stated.component}), "
            "from whose packages it is built"
        )
    return found


def _number(version: str) -> tuple[int, ...]:
    return tuple(
        int(part)
        for part in re.split(r"[a-z]", version, maxsplit=1)[0].split(".")
        if part.isdigit()
    )


def _disk_problems(to_build: int) -> list[str]:
    found = []
    wanted = {cache_folder(): to_build} if to_build else {clusters_folder(): _RUN_BYTES}
    for folder, needed in wanted.items():
        free = shutil.disk_usage(_existing(folder)).free
        if free < needed:
            found.append(
                f"{needed / _GB:.0f} GB of free disk are needed at {folder}; "
                f"{free / _GB:.1f} GB are free"
            )
    return found


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
