"""A cluster lives in a network namespace of its own; this is the way in."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from drainproof.errors import UserError

_CLONE_NEWNET = 0x40000000


def inside(netns: Path) -> bool:
    """Say whether the calling thread is in a network namespace."""
    here, there = Path("/proc/thread-self/ns/net").stat(), netns.stat()
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def enter(netns: Path) -> None:
    """Move the calling thread, and what it starts from now on, into a network namespace.

    Raises:
        UserError: It is gone, or this process may not enter it.
    """
    # os.setns exists only since Python 3.12.
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        with netns.open("rb") as handle:
            if inside(netns):
                return
            failed = libc.setns(handle.fileno(), _CLONE_NEWNET) != 0
        why = os.strerror(ctypes.get_errno()) if failed else ""
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        raise UserError(
            f"the cluster's network namespace {netns} could not be entered: {why}",
            "only root can; see `drainproof cluster status`",
        )


def command_inside(netns: Path | None, argv: list[str]) -> list[str]:
    """Return the command that runs ``argv`` in a network namespace; None is where we are."""
    if netns is None or inside(netns):
        return argv
    return ["nsenter", f"--net={netns}", "--", *argv]
