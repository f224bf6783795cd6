"""The fault ``scale-from-zero``: no replica is left, requests come, and one has to be started.

The streams stop until the target's own autoscaler has taken the last replica away; nothing is
forced. Then they come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.autoscaled import Autoscaled
from drainproof.faults.fault import ABRUPT, Option, one_of, whole
from drainproof.faults.undo import scaled
from drainproof.judge.profiles import PROFILES
from drainproof.judge.watched import UNKNOWN_SCRAPE_S
from drainproof.model.scaler import KEDA_COOLDOWN_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ScaleFromZero(Autoscaled):
    """Let the last replica go, and requests come."""

    name = "scale-from-zero"
    cost = ABRUPT
    compares = False
    options: ClassVar[Mapping[str, Option]] = {
        "within": Option(
            says="seconds from the first request until one is answered, from 1 to 3600",
            read=whole(1, 3600),
            default=300,
        ),
        "profile": Option(
            says=f"what the target is held to: {', '.join(PROFILES)}",
            read=one_of(*PROFILES),
            default="production",
        ),
    }

    @property
    def recover_s(self) -> float:
        """Within how many seconds a request must be answered."""
        return float(self.chosen["within"])

    @property
    def longest_s(self) -> float:
        """How long the last replica may take to go: until the metric has fallen, the cooldown."""
        scaler = self.declared.scaler
        cooldown_s = KEDA_COOLDOWN_S if scaler.cooldown_s is None else scaler.cooldown_s
        return super().longest_s + cooldown_s + self.declared.polling_s + UNKNOWN_SCRAPE_S

    @property
    def stops(self) -> bool:
        """No: the autoscaler does."""
        return False

    def setup(self) -> None:
        """See that the autoscaler takes all replicas away at times.

        Raises:
            UserError: It doesn't, or can't be watched.
        """
        super().setup()
        scaler = self.declared.scaler
        if not (scaler.of_keda and scaler.can_be_zero):
            raise UserError(
                f"{scaler.ref} keeps {scaler.min_replicas} replicas at least, so there is no zero "
                "to come from",
                hint="A ScaledObject with minReplicaCount or idleReplicaCount 0 goes there.",
            )

    def touches(self) -> Iterator[str]:
        """Say all that would be changed: nothing, but the autoscaler will act."""
        scaler = self.declared.scaler
        yield (
            f"streams stop until {scaler.ref} has scaled {self.target} to 0 by itself, and come "
            "again then, from a Job of their own: users find no replica meanwhile"
        )

    def act(self) -> str:
        """Stop the streams until no replica is left, and wait until a new one serves."""
        view = self.view
        there = sorted(pod.name for pod in view.pods.values())
        self.journal.plan(scaled(self.target.deployment, self.declared.scaler.ref))
        self.begin(f"{view.wanted} replicas, and no stream comes", stated=dict(self.chosen))
        with self.quiet():
            problem = self.wait(
                lambda: not view.pods and not view.wanted,
                "replicas did not go to zero by themselves",
            )
            if not problem:
                self.hit(there, "no replica is left, and requests come")

        def serves() -> bool:
            return any(view.running.get(pod.name, 0.0) > 0 for pod in view.ready)

        patience_s = min(self.recover_s, self.timeout_s)
        if problem or view.wait(serves, patience_s, self.check):
            return problem
        return f"no replica served within {patience_s:.0f} s"

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods serve"
