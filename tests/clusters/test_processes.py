"""Processes are known by id and start time, and end with whoever started them."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.commands import run
from drainproof.clusters.processes import Process
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def known(pid: int) -> Process:
    process = Process.of(pid)
    assert process is not None
    return process


def child_named(name: str, parent: int) -> Process | None:
    """Return the child that has become the program of this name; before, it is not bound yet."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    for pid in children:
        if Path(f"/proc/{pid}/comm").read_text().strip() == name:
            return Process.of(int(pid))
    return None


def test_a_process_that_runs_is_alive() -> None:
    assert known(os.getpid()).alive


def test_another_process_with_the_same_id_is_not_the_one(
    sleeper: subprocess.Popen[bytes],
) -> None:
    process = known(sleeper.pid)
    assert not replace(process, started=process.started + 1).alive


def test_a_process_of_another_boot_is_not_the_one(sleeper: subprocess.Popen[bytes]) -> None:
    assert not replace(known(sleeper.pid), boot="another").alive


def test_kill_ends_the_process(sleeper: subprocess.Popen[bytes]) -> None:
    process = known(sleeper.pid)
    assert process.kill()
    assert not process.alive


def test_kill_spares_another_process_with_the_same_id(sleeper: subprocess.Popen[bytes]) -> None:
    process = known(sleeper.pid)
    assert replace(process, started=process.started + 1).kill()
    assert process.alive


def test_a_process_that_ended_and_was_not_waited_for_does_not_run(
    sleeper: subprocess.Popen[bytes],
) -> None:
    handle = os.pidfd_open(sleeper.pid)
    sleeper.kill()
    assert select.select([handle], [], [], 30)[0]
    os.close(handle)
    assert Process.of(sleeper.pid) is None


def test_a_program_does_not_outlive_the_process_that_runs_it() -> None:
    code = """if True:
        from drainproof.clusters.commands import run
        run(["sleep", "600"])
    """
    runner = subprocess.Popen([sys.executable, "-c", code])
    program = None
    while program is None and runner.poll() is None:
        program = child_named("sleep", runner.pid)
    assert program is not None
    handle = os.pidfd_open(program.pid)
    runner.kill()
    runner.wait(timeout=30)
    assert select.select([handle], [], [], 30)[0], "the program still runs"
    os.close(handle)


def test_a_program_that_fails_is_explained_by_what_it_printed() -> None:
    with pytest.raises(UserError, match=r"(?s)exit code 3.*no such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
