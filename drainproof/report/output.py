"""Writes what commands say to where it is wanted, and tells why where it can't be written."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def to_standard_output(parts: Iterable[str]) -> None:
    """Write a text to standard output.

    A reader that goes away before the end, such as ``head``, has seen what it wanted: the rest is
    dropped, and the exit code stays what it is.

    Raises:
        UserError: It can't be written, such as to a full disk.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    try:
        sys.stdout.writelines(parts)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise UserError(f"standard output cannot be written: {error.strerror}") from None


def to_file(path: Path, parts: Iterable[str], *, at_once: bool = False) -> None:
    """Write a text to a file.

    Args:
        path: The file.
        parts: The text.
        at_once: Whether somebody may read it meanwhile: it is written beside, then renamed.

    Raises:
        UserError: It can't be written.
    """
    beside = path.with_name(f".{path.name}.part") if at_once else path
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        if at_once:
            beside.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
