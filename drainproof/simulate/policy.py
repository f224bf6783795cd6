"""An autoscaler's policy, as it is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from drainproof.model.scaler import Pace


class Policy(Struct, frozen=True, kw_only=True):
    """What an autoscaler does, as it is declared."""

    least: int
    """``minReplicas``, ``minReplicaCount``."""
    most: int
    """``maxReplicas``, ``maxReplicaCount``."""
    threshold: float
    metric_type: str = "AverageValue"
    """``AverageValue``, ``Value``, or ``Pods`` for a metric of each pod."""
    follows: tuple[str, ...] = ("waiting",)
    """What its metric counts: requests that are ``waiting``, ``running``, or both."""
    mean: bool = False
    """Whether the query is a mean over the replicas, not their sum."""
    factor: float = 1.0
    """What the query multiplies it by."""
    null_is_zero: bool = True
    """Whether no answer counts as 0: KEDA's ``ignoreNullValues``."""
    up: Pace | None = None
    """``behavior.scaleUp``; None without ``behavior``."""
    down: Pace | None = None
    scrape_s: float = 15
    """Prometheus' ``scrape_interval``: the metric is up to so old."""
    keda: bool = False
    """Whether it is a ScaledObject."""
    activation: float = 0.0
    idle: int | None = None
    polling_s: float = 30.0
    cooldown_s: float = 300.0
    cached: bool = False
    """``useCachedMetrics``: the HPA sees what KEDA saw when it last polled."""
