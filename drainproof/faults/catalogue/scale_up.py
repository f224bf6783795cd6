"""The fault ``scale-up``: one replica more, as an autoscaler adds one.

A pod that says that it is ready before it serves fails the new requests that come to it. Whatever
scales the target is held at the new number meanwhile.
"""

from __future__ import annotations

from drainproof.faults.scaling import Scaling


class ScaleUp(Scaling):
    """Add replicas."""

    name = "scale-up"

    @property
    def longest_s(self) -> float:
        """Each new pod may take as long as in a rollout."""
        return self.by * super().longest_s

    @property
    def stops(self) -> bool:
        """No: a new pod joins."""
        return False

    @property
    def wanted(self) -> int:
        """The number of replicas that it sets."""
        return self.replicas + self.by

    def act(self) -> str:
        """Scale, and wait until the new pods get requests."""
        view = self.view
        known = set(view.pods)
        self.scale()

        def fresh() -> list[str]:
            return [pod.name for pod in view.ready if pod.uid not in known]

        def joined() -> bool:
            return len(fresh()) >= self.by and view.in_service >= set(fresh())

        return self.wait(joined, "no new pod was ready")

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{self.wanted} pods serve"
