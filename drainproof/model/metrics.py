"""What Prometheus knew of a cluster's engines at one moment, so that it can be judged later."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from drainproof.model.chain import Chain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drainproof.model.running import Pod


class Histogram(Struct, frozen=True):
    """How often a time was observed, in buckets as Prometheus has them."""

    buckets: tuple[tuple[float, float], ...]
    """Upper bound in seconds, and how many observations were at most that; the bounds ascend, the
    last is infinity."""

    @property
    def count(self) -> float:
        """How many observations there are."""
        return self.buckets[-1][1] if self.buckets else 0.0

    def quantile(self, share: float) -> tuple[float, bool]:
        """Return the seconds that a share of the observations did not exceed.

        Between bounds it is interpolated, as ``histogram_quantile`` does.

        Args:
            share: From 0 to 1: 0.99 is the 99th percentile.

        Returns:
            The seconds, and whether that is only the least that it can be, since the value lies
            over the last bound. Not a number without observations.
        """
        rank = share * self.count
        below, counted = 0.0, 0.0
        for bound, so_far in self.buckets:
            if so_far >= rank and so_far > counted:
                if math.isinf(bound):
                    return below, True
                return below + (bound - below) * (rank - counted) / (so_far - counted), False
            below, counted = bound, max(counted, so_far)
        return math.nan, False

    @classmethod
    def of(cls, counts: Mapping[float, float]) -> Histogram:
        """Return a histogram of counts by upper bound, as they come, in any order."""
        return cls(tuple(sorted(counts.items())))

    @classmethod
    def together(cls, several: Iterable[Histogram]) -> Histogram:
        """Return the sum of several; they have the same bounds, being of one metric."""
        counts: dict[float, float] = {}
        for one in several:
            for bound, count in one.buckets:
                counts[bound] = counts.get(bound, 0.0) + count
        return cls.of(counts)


class Metrics(Struct, frozen=True):
    """Samples of the metrics that live checks ask for. Pods are named ``namespace/name``."""

    source: str
    """Where from, in words."""
    at: float
    """When, in seconds since the Unix epoch, by Prometheus' clock."""
    window_s: int
    """Seconds back that histograms count."""
    ages: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By metric and pod: seconds since its last sample was taken, if that is at most Prometheus'
    lookback of 5 minutes."""
    histograms: Mapping[str, Mapping[str, Histogram]] = field(default_factory=dict)
    """By metric and pod."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Metrics that could not be asked for, and why."""
    chain: Chain | None = None
    """What links the queue to the number of replicas; None in a Snapshot saved without it."""

    def age(self, names: Sequence[str], pod: Pod) -> float | None:
        """Return the seconds since a pod's youngest sample of any of some metrics; None without."""
        key = f"{pod.namespace}/{pod.name}"
        found = [self.ages[name][key] for name in names if key in self.ages.get(name, {})]
        return min(found, default=None)

    def histogram(self, names: Sequence[str], pods: Iterable[Pod]) -> Histogram:
        """Return what pods observed together of the first of some metrics that has observations."""
        keys = [f"{pod.namespace}/{pod.name}" for pod in pods]
        for name in names:
            series = self.histograms.get(name, {})
            found = Histogram.together(series[key] for key in keys if key in series)
            if found.count > 0:
                return found
        return Histogram(())

    def failure(self, names: Sequence[str]) -> str:
        """Return why none of some metrics could be asked for; empty if one could."""
        said = [self.failures.get(name, "") for name in names]
        return said[0] if said and all(said) else ""

    def too_few(
        self, names: Sequence[str], observed: Histogram, least: int, what: str, label: str
    ) -> str:
        """Return why a histogram tells nothing; empty if it has enough observations.

        Args:
            names: Its names, the best first; none if the engine exports none.
            observed: What there is of it.
            least: How many observations are enough.
            what: What it observes, in words.
            label: The engine, in words.
        """
        if observed.count >= least:
            return ""
        if not names:
            return f"{label} exports no {what}"
        return self.failure(names) or (
            f"Prometheus has {observed.count:.0f} observations of {what} of the last "
            f"{self.window_s // 60} min; expected at least {least}"
        )

    def saved(self) -> dict[str, Any]:
        """Return the form that a saved Snapshot holds."""
        return {
            "source": self.source,
            "at": self.at,
            "window_s": self.window_s,
            "ages": {name: dict(series) for name, series in self.ages.items()},
            "histograms": {
                name: {
                    pod: [
                        [None if math.isinf(bound) else bound, count]
                        for bound, count in one.buckets
                    ]
                    for pod, one in series.items()
                }
                for name, series in self.histograms.items()
            },
            "failures": dict(self.failures),
            "chain": self.chain and self.chain.saved(),
        }

    @classmethod
    def from_saved(cls, values: Mapping[str, Any]) -> Metrics:
        """Return what :meth:`saved` gave.

        Raises:
            KeyError: A part is missing, as from a damaged file.
            TypeError: A part has another type; ValueError the same.
        """
        return cls(
            source=str(values["source"]),
            at=float(values["at"]),
            window_s=int(values["window_s"]),
            ages={
                name: {pod: float(age) for pod, age in dict(series).items()}
                for name, series in dict(values["ages"]).items()
            },
            histograms={
                name: {
                    pod: Histogram.of(
                        {
                            math.inf if bound is None else float(bound): float(count)
                            for bound, count in buckets
                        }
                    )
                    for pod, buckets in dict(series).items()
                }
                for name, series in dict(values["histograms"]).items()
            },
            failures={str(name): str(why) for name, why in dict(values["failures"]).items()},
            chain=Chain.from_saved(values["chain"]) if values.get("chain") else None,
        )
