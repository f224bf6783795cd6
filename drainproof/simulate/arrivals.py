"""When requests come, at random or as a trace has them, and how long their answers are."""

from __future__ import annotations

import csv
import math
import random
from array import array
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

MOST: Final = 20_000_000
"""Requests that are simulated at most: they take half a minute a threshold, and 1.5 GB."""
_EPOCH_S: Final = 1e9
"""A time from here on is one since 1970, and counts from the first."""
LENGTHS: Final = ("fixed", "exponential")


class Burst(Struct, frozen=True):
    """Requests that come on top of the others for a while."""

    rate: float
    """Requests a second."""
    begin_s: float
    length_s: float


class Arrivals(Struct, frozen=True):
    """Requests in the order in which they come."""

    times_s: array[float]
    tokens: array[float]
    """Length of each answer."""

    def __len__(self) -> int:
        return len(self.times_s)


def poisson(rate: float, duration_s: float, bursts: Sequence[Burst], seed: int) -> array[float]:
    """Return when requests come: at random, on average ``rate`` a second, and more in bursts.

    Raises:
        UserError: They are too many to simulate.
    """
    spans = [(rate, 0.0, duration_s)] + [
        (one.rate, one.begin_s, min(duration_s, one.begin_s + one.length_s)) for one in bursts
    ]
    _bound(sum(rate * max(0.0, end - begin) for rate, begin, end in spans))
    rng = random.Random(seed)  # noqa: S311 - repeatable is the point
    times = array("d")
    for one_rate, begin, end in spans:
        times.extend(_of_rate(one_rate, begin, end, rng))
    return array("d", sorted(times)) if bursts else times


def _of_rate(rate: float, begin: float, end: float, rng: random.Random) -> Iterator[float]:
    if rate <= 0:
        return
    uniform, log = rng.random, math.log
    at = begin
    while (at := at - log(1.0 - uniform()) / rate) < end:
        yield at


def of_lengths(times: array[float], tokens: float, lengths: str, seed: int) -> Arrivals:
    """Return arrivals whose answers all have ``tokens`` tokens, or so many on average."""
    if lengths == "fixed":
        return Arrivals(times, array("d", [tokens]) * len(times))
    rng = random.Random(f"lengths {seed}")  # noqa: S311 - repeatable is the point
    return Arrivals(times, array("d", (rng.expovariate(1 / tokens) for _ in times)))


def read(path: Path, seed: int) -> array[float]:
    """Read a trace: CSV, each row ``seconds`` of one request, or ``seconds,requests``.

    The requests of a row come at random times before the next row's. Seconds count from the begin
    of the run; those since 1970 count from the first row. A first row of words is a heading.

    Raises:
        UserError: It can't be read, or is none.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, csv.reader(file)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: expected CSV, found something else ({error})") from None
    if not rows:
        raise UserError(f"{path}: expected arrivals, found none", hint=_FORM)
    _bound(sum(1.0 if count is None else count for _, count in rows))
    if rows[0][0] >= _EPOCH_S:
        first = rows[0][0]
        rows = [(at - first, count) for at, count in rows]
    return array("d", sorted(_spread(rows, seed)))


_FORM = "Each row is the second at which a request came, or: seconds,requests"


def _rows(path: Path, table: Iterable[list[str]]) -> Iterator[tuple[float, int | None]]:
    before = 0.0
    for line, row in enumerate(table, 1):
        if not row or (line == 1 and not _is_number(row[0])):
            continue
        if len(row) > 2 or not all(map(_is_number, row)):  # noqa: PLR2004 - seconds, requests
            raise UserError(f"{path}:{line}: expected numbers, found {','.join(row)[:80]!r}", _FORM)
        at, count = float(row[0]), float(row[1]) if len(row) > 1 else None
        if at < 0 or (count is not None and (count < 0 or count != int(count))):
            raise UserError(
                f"{path}:{line}: expected whole requests at a time of 0 or later", _FORM
            )
        if at < before:
            raise UserError(
                f"{path}:{line}: expected seconds in order, found {at:g} after {before:g}"
            )
        before = at
        yield at, None if count is None else int(count)


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def _spread(rows: Sequence[tuple[float, int | None]], seed: int) -> Iterator[float]:
    rng = random.Random(f"trace {seed}")  # noqa: S311 - repeatable is the point
    length = 1.0
    for index, (at, count) in enumerate(rows):
        if count is None:
            yield at
            continue
        if index + 1 < len(rows):
            length = rows[index + 1][0] - at
        for _ in range(count):
            yield at + rng.random() * length


def _bound(requests: float) -> None:
    if requests > MOST:
        raise UserError(
            f"expected at most {MOST:,} requests, found {requests:,.0f}",
            hint="Give a shorter --duration, or a tenth of the rate, the replicas and the bounds.",
        )
