"""What the benchmarks measure is the command's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench import usage

MB = 1_000_000


def test_what_its_parent_holds_is_not_a_commands_memory() -> None:
    held = bytearray(b"x") * (200 * MB)
    done = usage.run([sys.executable, "-S", "-c", "print('small')"])
    assert done.out == b"small\n"
    assert done.peak_bytes < len(held) / 4


def test_what_a_command_holds_is_its_memory() -> None:
    done = usage.run([sys.executable, "-S", "-c", "len(bytearray(b'x') * 200_000_000)"])
    assert done.peak_bytes > 200 * MB


def test_a_commands_code_and_errors_are_told() -> None:
    done = usage.run([sys.executable, "-S", "-c", "import sys; sys.exit('no')"])
    assert (done.code, done.errors) == (1, b"no\n")


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        usage.run(["/nowhere/at-all"])
