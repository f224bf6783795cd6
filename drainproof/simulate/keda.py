"""What KEDA itself does with a ScaledObject: the steps from and to zero (or idle) replicas.

Between them its HorizontalPodAutoscaler decides. After ``scale_scaledobjects.go`` of KEDA 2.21.
"""

from __future__ import annotations

from msgspec import Struct


class Keda(Struct):
    """The scale executor of one ScaledObject."""

    least: int
    """``minReplicaCount``."""
    idle: int | None
    """``idleReplicaCount``; None if it is not set."""
    activation: float
    """``activationThreshold``: the trigger is active above it."""
    cooldown_s: float
    """``cooldownPeriod``."""
    active_at: float = 0.0
    """When it was last seen active. At the start it is taken to have just been."""

    def decide(self, now: float, replicas: int, value: float) -> int:
        """Return the number of replicas from now on; called every ``pollingInterval``."""
        if value > self.activation:
            self.active_at = now
            wakes = replicas == 0 or (self.idle is not None and replicas < self.least)
            return max(1, self.least) if wakes else replicas
        floor = self.least if self.idle is None else self.idle
        if (self.idle is not None and replicas > self.idle) or (replicas > 0 and self.least == 0):
            return floor if self.active_at + self.cooldown_s < now else replicas
        if self.idle is None and replicas < self.least:
            return self.least
        return replicas
