"""Every replica runs the same release of the engine.

What it checks
    The image of the engine's container names a release (``v0.32.0``), a commit, a date or a
    digest. Not ``latest`` or ``nightly``, not no tag at all, not a tag that moves with each release
    (``v0``). ``2.4`` of TGI and ``1.3`` of NIM move with each patch release: a warning.

Why
    A tag that moves is resolved anew on each node. A new replica, added under load, may run another
    release than the others: with flags that are gone, metrics under other names, other answers. And
    a rollback to the same tag brings nothing back.

Fix
    Name a release or a digest, such as ``vllm/vllm-openai:v0.32.0``.

Source
    Kubernetes' documentation on images: ``latest`` is to be avoided in production. The tags that
    TGI's and NIM's own builds push.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_RELEASE = regex(r"(?<![A-Za-z.\d])[vVr]?\d{1,5}\.\d+\.\d+")
"""``v0.32.0``; not the ``12.4.1`` of ``cuda12.4.1``."""
_MINOR = regex(r"(?<![A-Za-z.\d])[vVr]?\d{1,5}\.\d+(?![.\d])")
"""``2.4``, ``25.09``."""
_BUILD = regex(
    r"""
      (?<![A-Za-z0-9])(?:sha-?|g)?(?=[0-9a-f]*\d)[0-9a-f]{7,64}(?![A-Za-z0-9])   # a commit
    | 20\d\d[-_.]?\d\d[-_.]?\d\d                                                 # a date
    | (?<![A-Za-z0-9.])(?:b|build|r)?\d{3,}(?![A-Za-z0-9.])                      # a build's number
    """,
    re.VERBOSE,
)
_MOVES = regex(
    r"(?<![a-z])(?:latest|nightly|main|master|dev|devel|develop|edge|head|canary|stable|snapshot"
    r"|trunk|preview|weekly)(?![a-z])",
    re.IGNORECASE,
)
_ALWAYS_MOVES = regex(r"(?<![a-z])(?:latest|nightly|snapshot)(?![a-z])", re.IGNORECASE)
"""What makes even a tag with a release in it move: ``v0.5.0-nightly``."""
_MINOR_MOVES = frozenset({"tgi", "nim"})
"""Engines whose builds push a tag of two numbers anew with each patch release."""


@check("DP501", severity=Severity.ERROR)
def image_names_a_release(
    workload: Workload, engine: Engine, container: Container
) -> Iterator[Finding]:
    """Yield an image that may be another one tomorrow."""
    image = container.image
    if "@sha256:" in image or not image:
        return
    tag = image.rpartition("/")[2].partition(":")[2]
    if _RELEASE.search(tag) and not _ALWAYS_MOVES.search(tag):
        return
    path = f"{container.path}.image"
    if "$" in image or "{" in image or "<" in image:
        yield workload.inconclusive(
            path, f"{image} is filled in later, so which release runs can't be told"
        )
    elif not tag:
        yield workload.finding(
            path,
            f"{image} has no tag, so it is whatever is latest when a node pulls it: a replica "
            "added under load may run another release than the others",
        )
    elif _BUILD.search(tag):
        return
    elif _MOVES.search(tag):
        yield workload.finding(
            path,
            f"the tag {tag!r} is moved to other releases: a replica added under load may run "
            "another one than the others, and a rollback brings nothing back",
        )
    elif not _MINOR.search(tag):
        yield workload.finding(
            path,
            f"the tag {tag!r} names no release: when it is pushed again, a replica added under "
            "load runs something else than the others, and a rollback brings nothing back",
        )
    elif engine.name in _MINOR_MOVES:
        yield workload.finding(
            path,
            f"the tag {tag!r} of {engine.title} moves with each patch release, so a replica added "
            "later may run another one than the others",
            Severity.WARNING,
        )
