"""How long tokens took, counted in buckets: percentiles of any number of streams in little memory.

A bucket is one percent wide, so a percentile is right to half a percent, and the counts of two
halves of a History add up to those of the whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from math import ceil, exp, log
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from drainproof.judge.scene import Span
    from drainproof.judge.streams import StreamVerdict

_PER_LOG: Final = 1 / log(1.01)
_LEAST_S: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """Seconds that were not exceeded by so many percent of ``streams``; None without any."""

    streams: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long users waited in one period."""

    ttft_s: Percentiles
    """From when a request was due to its first token."""
    time_per_output_token_s: Percentiles
    """Of whole streams, over the tokens that the engine itself counts."""


class Latencies:
    """Latencies before, during and after each fault of a run."""

    def __init__(self, spans: list[Span]) -> None:
        self._edges: list[float] = []
        for span in spans:
            end = span.until if span.end is None else min(span.end, span.until)
            self._edges += [span.begin, max(end, span.begin)]
        periods = len(self._edges) + 1
        self._ttft: list[Counter[int]] = [Counter() for _ in range(periods)]
        self._per_token: list[Counter[int]] = [Counter() for _ in range(periods)]

    def add(self, stream: StreamVerdict, *, whole: bool) -> None:
        """Count a stream."""
        first, last = stream.first_token, stream.last_token
        if first is None or last is None:
            return
        self._ttft[self._period(stream.due, first)][_bucket(first - stream.due)] += 1
        tokens = stream.tokens
        if whole and tokens is not None and tokens > 1:
            seconds = (last - first) / (tokens - 1)
            self._per_token[self._period(first, last)][_bucket(seconds)] += 1

    def merge(self, other: Latencies) -> None:
        """Add what another half of the same History counted."""
        for ours, theirs in (
            *zip(self._ttft, other._ttft, strict=True),
            *zip(self._per_token, other._per_token, strict=True),
        ):
            ours.update(theirs)

    def around(self, fault: int) -> tuple[Latency, Latency, Latency]:
        """Return latencies before, during and after a fault."""
        before, during, after = (
            Latency(
                ttft_s=_percentiles(self._ttft[period]),
                time_per_output_token_s=_percentiles(self._per_token[period]),
            )
            for period in range(2 * fault, 2 * fault + 3)
        )
        return before, during, after

    def _period(self, begin: float, end: float) -> int:
        """Return which period some time belongs to; if it touches a fault, to that."""
        first, last = bisect_right(self._edges, begin), bisect_right(self._edges, end)
        return first if first % 2 or last <= first else first + 1


def _bucket(seconds: float) -> int:
    return int(log(max(seconds, _LEAST_S)) * _PER_LOG // 1)


def _percentiles(counts: Counter[int]) -> Percentiles:
    streams = counts.total()
    p50, p95, p99 = (_at(counts, ceil(streams * share / 100)) for share in (50, 95, 99))
    return Percentiles(streams=streams, p50=p50, p95=p95, p99=p99)


def _at(counts: Counter[int], rank: int) -> float | None:
    for bucket in sorted(counts):
        rank -= counts[bucket]
        if rank <= 0:
            return float(f"{exp((bucket + 0.5) / _PER_LOG):.3g}")
    return None
