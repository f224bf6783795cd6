"""The four answers that drainproof gives, and how several of them become one exit code."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from drainproof.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable


MOST_FAILURES: Final = 200
"""Failed streams of a fault that a verdict describes one by one unless more are asked for; all of
them are counted."""


class Verdict(StrEnum):
    """What became of one check on one subject."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """It could not be told. Never a pass."""
    WAIVED = "waived"


class Severity(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """Users see cut-off or failed answers."""
    WARNING = "warning"
    """Users may, under conditions that the finding names."""


def exit_code(verdicts: Iterable[Verdict]) -> ExitCode:
    """Reduce verdicts to an exit code: any failure, else anything inconclusive, else clean.

    No verdict at all is an error: nothing was judged.
    """
    seen = set(verdicts)
    if not seen:
        return ExitCode.ERROR
    if Verdict.FAIL in seen:
        return ExitCode.FINDINGS
    if Verdict.INCONCLUSIVE in seen:
        return ExitCode.INCONCLUSIVE
    return ExitCode.CLEAN
