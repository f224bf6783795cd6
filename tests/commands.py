"""What a command of drainproof did, run in the test's own process."""

from __future__ import annotations

from typing import NamedTuple


class Done(NamedTuple):
    """What a command did."""

    code: int
    out: str
    errors: str
