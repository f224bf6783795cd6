"""What is new or gone since an earlier Snapshot: it is judged again, by today's checks.

So an update of drainproof is no news; only what changed in the cluster is.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from drainproof.errors import UserError
from drainproof.model.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

KEEP = 10
"""Snapshots that stay in a folder; a large one of a cluster is some MB."""
_FORM = "snapshot-%Y%m%dT%H%M%SZ.json"
_PATTERN = "snapshot-*Z.json"


def newest(path: Path) -> Snapshot | None:
    """Return a saved Snapshot, or the newest one in a folder; None if the folder has none yet.

    Raises:
        UserError: There is no such file or folder, or what is there is no saved Snapshot.
    """
    file = path
    if path.is_dir():
        kept = sorted(path.glob(_PATTERN))
        if not kept:
            return None
        file = kept[-1]
    try:
        return Snapshot.from_json(file.read_bytes())
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read: {error.strerror}",
            hint="--since takes a Snapshot that --save wrote, or a folder for them that there is.",
        ) from None
    except UserError as error:
        raise UserError(
            f"{file}: {error.message}", hint="Remove it, or name another one for --since."
        ) from None


def compared(result: AuditResult, old: Snapshot, before: AuditResult) -> AuditResult:
    """Return an audit with only what is new since an older Snapshot; it names what is gone.

    Args:
        result: The audit of today.
        old: The older Snapshot.
        before: The audit of it, by the same checks.
    """
    from drainproof.judge import baseline  # noqa: PLC0415 - only where two are compared

    when = "an earlier day"
    if old.taken_at is not None:
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(old.taken_at))
    return baseline.compare(result, before, when)


def keep(path: Path, snapshot: Snapshot) -> None:
    """Put a Snapshot into a folder, and remove all but the newest :data:`KEEP`; a file stays.

    One of which a part could not be read is not kept: what is in that part would be gone, and new
    the next time.

    Raises:
        UserError: It can't be written.
    """
    if not path.is_dir() or not snapshot.whole:
        return
    at = time.gmtime(snapshot.taken_at if snapshot.taken_at is not None else time.time())
    whole, part = path / time.strftime(_FORM, at), path / f".part-{os.getpid()}"
    try:
        part.write_bytes(snapshot.to_json())
        part.replace(whole)
        for old in sorted(path.glob(_PATTERN))[:-KEEP]:
            old.unlink()
    except OSError as error:
        raise UserError(f"{path}: cannot keep the Snapshot: {error.strerror}") from None
