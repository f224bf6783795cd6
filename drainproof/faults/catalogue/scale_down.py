"""The fault ``scale-down``: one replica less, as an autoscaler takes one away.

Kubernetes chooses which pod goes. Whatever scales the target is held at the new number meanwhile.
"""

from __future__ import annotations

from drainproof.errors import UserError
from drainproof.faults.fault import spare
from drainproof.faults.scaling import Scaling


class ScaleDown(Scaling):
    """Take replicas away."""

    name = "scale-down"

    @property
    def wanted(self) -> int:
        """The number of replicas that it sets."""
        return self.replicas - self.by

    def setup(self) -> None:
        """See that the target can spare them.

        Raises:
            UserError: It can't.
        """
        if self.wanted < 1:
            raise UserError(
                f"{self.target} has {self.replicas} replicas, and scale-down takes "
                f"{self.by} away: none would be left to serve",
                hint="Let it have more replicas, or choose pod-delete, which is replaced.",
            )
        spare(self.target, self.by)
        super().setup()

    def act(self) -> str:
        """Scale, and wait until the pods that have to go are gone."""
        view = self.view
        self.scale()
        return self.wait(
            lambda: len(view.pods) == self.wanted == len(view.ready), "not scaled down"
        )

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{self.wanted} pods are left"
