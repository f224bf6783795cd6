"""Adds a report to the summary of a GitHub job's step, which GitHub takes up to a size."""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from drainproof.errors import UserError
from drainproof.report.markdown import text
from drainproof.report.options import STDOUT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drainproof.report.markdown import Line

VARIABLE: Final = "GITHUB_STEP_SUMMARY"
"""Environment variable that names the file of a step."""
LIMIT: Final = 1024 * 1024
"""Bytes of it that GitHub takes, in all: of a longer one it shows nothing."""


def file() -> Path:
    """Return the file of this step.

    Raises:
        UserError: There is none: this is no step of a workflow.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        raise UserError(
            f"--github-step-summary: ${VARIABLE}, which names the file to write to, is not set",
            hint="GitHub sets it for each step of a workflow. Elsewhere: --format markdown=FILE",
        )
    return Path(name)


def add(
    step: Path, lines: Iterable[Line], places: Sequence[tuple[str, str]], otherwise: str
) -> None:
    """Add a report to what is in the file already.

    What GitHub would not take is left out by rank, and the first line says so.

    Args:
        step: The file.
        lines: The report.
        places: The other reports, each format with where it goes.
        otherwise: How to get the whole report, where none of those is it.

    Raises:
        UserError: It can't be written.
    """
    files = [name for form, name in places if name != STDOUT and form != "terminal"]
    try:
        with step.open("ab") as out:
            gap = "\n\n" if out.tell() else ""
            room = LIMIT - out.tell() - len(gap)
            said = fitted(list(lines), room, ", ".join(files) or otherwise)
            if said:
                out.write(f"{gap}{said}".encode())
    except OSError as error:
        raise UserError(f"{step}: cannot be written: {error.strerror}") from None
    if not said:
        click.echo(f"${VARIABLE} is full, so nothing was added to it.", err=True)


def fitted(lines: Sequence[Line], room: int, whole: str) -> str:
    """Return a report in at most ``room`` bytes, without the lines of the highest ranks.

    Empty if there is not even room to say that something is left out.

    Args:
        lines: The report.
        room: Bytes that there are.
        whole: Where all of it is.
    """
    sizes = [len(line.encode()) + 1 for _, line in lines]
    if sum(sizes) <= room:
        return "".join(f"{line}\n" for _, line in lines)
    most = len(_left_out(len(lines), sum(sizes), whole).encode())
    order = sorted(range(len(lines)), key=lambda at: lines[at][0])
    fits = bisect_right(list(accumulate(sizes[at] for at in order)), room - most)
    said = _left_out(len(lines) - fits, sum(sizes[at] for at in order[fits:]), whole)
    kept = "".join(f"{lines[at][1]}\n" for at in sorted(order[:fits]))
    return f"{said}{kept}" if most <= room else ""


def _left_out(lines: int, size: int, whole: str) -> str:
    return (
        f"**{lines} lines ({-(-size // 1024)} KiB) are left out here**, the least severe first: "
        f"GitHub shows 1 MiB of a step. All of it: {text(whole)}\n\n"
    )
