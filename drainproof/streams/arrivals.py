"""When requests are due: open-loop, so a slow server never slows what is asked of it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def poisson(rate_per_s: float, rng: random.Random) -> Iterator[float]:
    """Yield due times, in seconds from the start, of users who know nothing of each other."""
    due = 0.0
    while True:
        due += rng.expovariate(rate_per_s)
        yield due


def constant(rate_per_s: float, _rng: random.Random) -> Iterator[float]:
    """Yield due times, in seconds from the start, evenly spaced, the first at once."""
    number = 0
    while True:
        yield number / rate_per_s
        number += 1


PROCESSES: dict[str, Callable[[float, random.Random], Iterator[float]]] = {
    "poisson": poisson,
    "constant": constant,
}
"""The arrival processes by the name that a user gives."""


def due_times(
    process: str, rate_per_s: float, duration_s: float | None, seed: int, client: str
) -> Iterator[float]:
    """Yield when each request is due, in seconds from the start and in order.

    The same arguments yield the same times on every machine. Clients that differ in ``client``
    only are independent of each other.
    """
    rng = random.Random(f"{seed}/{client}")  # noqa: S311 - repeatable is the point
    for due in PROCESSES[process](rate_per_s, rng):
        if duration_s is not None and due >= duration_s:
            return
        yield due
