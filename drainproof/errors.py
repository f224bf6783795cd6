"""The errors that reach users: one clear message each, and the exit code that goes with it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the exit code of every command means."""

    CLEAN = 0
    """Everything that was judged passed, or is waived."""
    FINDINGS = 1
    """Something failed."""
    ERROR = 2
    """Bad input, bad usage, a missing permission, or nothing to judge: the tool could not judge."""
    INCONCLUSIVE = 3
    """Nothing failed, but something could not be told. Never a pass."""


class UserError(Exception):
    """Something that the user can put right; shown without a traceback, exit code 2.

    Args:
        message: What was expected, what was found, and where.
        hint: What to do about it, in one or two sentences. Empty if the message says it.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message
