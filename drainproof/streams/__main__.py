"""Runs the client as a program of its own: settings in, records out, nothing else imported."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from drainproof.errors import ExitCode, UserError
from drainproof.streams.client import StreamClient
from drainproof.streams.recorder import Recorder
from drainproof.streams.settings import load_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.streams.settings import Load

VARIABLE = "DRAINPROOF_LOAD"
"""The environment variable that holds the settings where no file is named."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""The environment variable in which an Indexed Job tells each of its pods which one it is."""
SPARE_FILES = 64
"""Open files that the client needs beside its connections."""
YOUNG, MIDDLE, NEVER = 700, 10, 1_000_000
"""When the garbage collector looks at new objects, and at all, which stops thousands of streams for
tens of milliseconds. A stream that ended leaves nothing for it."""


def main(arguments: list[str] | None = None) -> int:
    """Run one load; return the exit code, 0 if it ran to its end, 2 with a message if it couldn't.

    The records are the only thing on stdout; stderr stays empty until the end.
    """
    parser = argparse.ArgumentParser(
        prog="python -m drainproof.streams",
        description="Put a streaming load on a server and write a record of every stream.",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"the load's settings as JSON, - for stdin; default: the variable {VARIABLE}",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="-",
        help="where the records are appended, one line of JSON each; default: stdout",
    )
    options = parser.parse_args(arguments)
    try:
        load = _part_of(load_from_json(*_settings(options.config)), os.environ)
        _allow_files(load.max_in_flight + SPARE_FILES)
        descriptor = _open(options.output)
        gc.freeze()
        gc.set_threshold(YOUNG, MIDDLE, NEVER)
        uvloop.run(_run(load, Recorder(descriptor)))
    except UserError as error:
        print(f"drainproof: {error}", file=sys.stderr)  # noqa: T201 - this is the program
        return int(error.exit_code)
    return int(ExitCode.CLEAN)


async def _run(load: Load, recorder: Recorder) -> None:
    client = StreamClient(load, recorder)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, client.stop)
    await client.run()


def _part_of(load: Load, environ: Mapping[str, str]) -> Load:
    """Return what is this pod's to send, where an Indexed Job shares one load among its pods."""
    index = environ.get(INDEX_VARIABLE, "")
    if load.parts == 1 or not index.isdecimal():
        return load
    return replace(load, part=int(index), client=index)


def _settings(config: str | None) -> tuple[bytes | str, str]:
    """Return the settings' JSON and the words for where it came from."""
    if config == "-":
        return sys.stdin.buffer.read(), "stdin"
    if config is not None:
        try:
            return Path(config).read_bytes(), config
        except OSError as error:
            raise UserError(f"{config}: cannot read the settings: {error.strerror}") from None
    if VARIABLE not in os.environ:
        raise UserError(
            "no settings were given",
            hint=f"Name a file with --config, or put the JSON into {VARIABLE}.",
        )
    return os.environ[VARIABLE], VARIABLE


def _open(output: str) -> int:
    if output == "-":
        return sys.stdout.fileno()
    try:
        return os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UserError(f"{output}: cannot write the records: {error.strerror}") from None


def _allow_files(wanted: int) -> None:
    """Raise this process's limit on open files to what the load may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise UserError(
                f"max_in_flight needs {wanted} open files, and this process may open {hard}",
                hint="Lower max_in_flight, or raise the limit (ulimit -n).",
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    sys.exit(main())
