"""Runs a command from a small process of its own, so that its peak memory is its own.

Linux counts what a process held before ``exec`` into its peak: a child of a test run of 300 MB
seems to take 300 MB, however small it is. Run as a script, this is that small process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

LIMIT_S = 900
"""A command that takes longer is killed: code -9."""


class Usage(NamedTuple):
    """What a command took, by the wall clock and at its peak, and what it printed."""

    code: int
    seconds: float
    peak_bytes: int
    out: bytes
    errors: bytes


def run(words: list[str], cwd: str | None = None, env: dict[str, str] | None = None) -> Usage:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with tempfile.TemporaryFile() as result:
            subprocess.run(
                [sys.executable, "-I", "-S", __file__, str(result.fileno()), *words],
                stdout=out,
                stderr=err,
                pass_fds=(result.fileno(),),
                cwd=cwd,
                env=env,
                check=True,
            )
            result.seek(0)
            code, nanoseconds, peak = (int(word) for word in result.read().split())
        out.seek(0)
        err.seek(0)
        return Usage(code, nanoseconds / 1e9, peak, out.read(), err.read())


def _measure(result: int, words: list[str]) -> None:
    os.set_inheritable(result, False)  # noqa: FBT003 - its only argument
    start = time.perf_counter_ns()
    child = os.posix_spawnp(words[0], words, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(LIMIT_S)
    _, status, used = os.wait4(child, 0)
    taken = time.perf_counter_ns() - start
    signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    os.write(result, b"%d %d %d" % (code, taken, used.ru_maxrss * 1024))


if __name__ == "__main__":
    _measure(int(sys.argv[1]), sys.argv[2:])
