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
"""A command that takes longer is killed, if no other limit is given: code -9."""


class Usage(NamedTuple):
    """What a command took, by the wall clock and at its peak, and what it printed."""

    code: int
    seconds: float
    peak_bytes: int
    out: bytes
    errors: bytes


def run(
    words: list[str],
    cwd: str | None = None,
    env: dict[str, str] | None = None,
    limit_s: int = LIMIT_S,
) -> Usage:
    """Run a command to its end, or kill it after ``limit_s`` seconds."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with tempfile.TemporaryFile() as result:
            subprocess.run(
                [sys.executable, "-I", "-S", __file__, str(result.fileno()), str(limit_s), *words],
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


def of_tool(command: list[str], limit_s: int = LIMIT_S, **more: str) -> Usage:
    """Run a tool to its end; findings, exit code 1, are none of its errors.

    Python may keep its compiled modules, as it does for users; the first run writes them.

    Args:
        command: Its words.
        limit_s: After how many seconds it is killed.
        more: Variables of its environment, beside this process's own.

    Raises:
        SystemExit: It ended with another exit code.
    """
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    used = run(command, env=env | more, limit_s=limit_s)
    if used.code not in {0, 1}:
        said = used.errors.decode(errors="replace")[-500:]
        raise SystemExit(f"{command[0]}: exit code {used.code}: {said}")
    return used


def _measure(result: int, limit_s: int, words: list[str]) -> None:
    os.set_inheritable(result, False)  # noqa: FBT003 - its only argument
    start = time.perf_counter_ns()
    child = os.posix_spawnp(words[0], words, os.environ)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(limit_s)
    _, status, used = os.wait4(child, 0)
    taken = time.perf_counter_ns() - start
    signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    os.write(result, b"%d %d %d" % (code, taken, used.ru_maxrss * 1024))


if __name__ == "__main__":
    _measure(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
