"""When requests are due: open-loop, so a slow server never slows what is asked of it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How often requests are due, for how long, and how they are spread."""

    process: str = "poisson"
    rate_per_s: float
    """Mean arrivals in a second; for ``ramp`` those after it."""
    ramp_s: float = 60.0
    """How long ``ramp`` takes to reach the rate."""
    burst: int = 10
    """How many requests of ``burst`` are due at once."""
    duration_s: float | None = None
    """None is without end."""
    seed: int = 0


def poisson(pattern: Pattern, rng: random.Random) -> Iterator[float]:
    """Yield due times, in seconds from the start, of users who know nothing of each other."""
    due = 0.0
    while True:
        due += rng.expovariate(pattern.rate_per_s)
        yield due


def constant(pattern: Pattern, _rng: random.Random) -> Iterator[float]:
    """Yield due times, in seconds from the start, evenly spaced, the first at once."""
    number = 0
    while True:
        yield number / pattern.rate_per_s
        number += 1


def ramp(pattern: Pattern, rng: random.Random) -> Iterator[float]:
    """Yield due times of users who get more: from none, in a straight line to the rate, then so on.

    They are those of :func:`poisson`, each moved to when as many are to be expected.
    """
    half_s = pattern.ramp_s / 2
    for due in poisson(pattern, rng):
        # By t within the ramp, rate * t² / (2 * ramp) have come; after it, rate * (t - ramp / 2).
        yield math.sqrt(2 * pattern.ramp_s * due) if due < half_s else due + half_s


def burst(pattern: Pattern, rng: random.Random) -> Iterator[float]:
    """Yield due times of crowds: so many at once, and nobody knows when the next ones come."""
    due = 0.0
    while True:
        for _ in range(pattern.burst):
            yield due
        due += rng.expovariate(pattern.rate_per_s / pattern.burst)


PROCESSES: dict[str, Callable[[Pattern, random.Random], Iterator[float]]] = {
    "poisson": poisson,
    "constant": constant,
    "ramp": ramp,
    "burst": burst,
}
"""The arrival processes by the name that a user gives."""


def due_times(pattern: Pattern, part: int = 0, parts: int = 1) -> Iterator[tuple[int, float]]:
    """Yield the number of each request and when it is due, in seconds from the start and in order.

    The same pattern yields the same times on every machine. Several clients share the arrivals of
    one: each request falls to one of the ``parts`` by lot, so that those of each client are random
    too, and come together as they should even if the clients start seconds apart.
    """
    rng = random.Random(f"{pattern.seed}")  # noqa: S311 - repeatable is the point
    lots = random.Random(f"{pattern.seed}/parts")  # noqa: S311 - same
    for number, due in enumerate(PROCESSES[pattern.process](pattern, rng)):
        if pattern.duration_s is not None and due >= pattern.duration_s:
            return
        if parts == 1 or lots.randrange(parts) == part:
            yield number, due
