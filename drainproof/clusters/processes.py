"""A process is known by its id and its start time, so that no other one is ever taken for it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass
from pathlib import Path

_PARENT_FIELD, _STARTED_FIELD = 4, 22


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, since its last boot.

    Args:
        pid: Its id.
        started: When it started, in clock ticks since boot (``/proc/PID/stat``, field 22).
        boot: The id of the boot that it belongs to.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the process that has this id now, or None if none has."""
        fields = _status(pid)
        return cls(pid, int(fields[_STARTED_FIELD - 3]), _boot()) if fields else None

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return Process.of(self.pid) == self

    @property
    def parent(self) -> int | None:
        """The id of the process that started it, or None if it is gone."""
        return int(_status(self.pid)[_PARENT_FIELD - 3]) if self.alive else None

    def kill(self, timeout_s: float = 30) -> bool:
        """Kill it, wait until it is gone, and say whether it is."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                # Only now can the id not pass to another process.
                if self.alive:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    select.select([handle], [], [], timeout_s)
            finally:
                os.close(handle)
        return not self.alive


def _status(pid: int) -> list[str]:
    """Return the fields of ``/proc/PID/stat`` from the third on, none if it does not run."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name, in brackets, may have spaces and brackets in it.
    fields = status.rpartition(")")[2].split()
    return [] if fields[0] in {"Z", "X"} else fields


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
