"""The fault ``scale-in``: a crowd goes away, and the autoscaler has to take its replicas back.

Where there are no more replicas than the fewest, a crowd comes first and makes them rise. Streams
in flight on the pods that go have to come to their end.
"""

from __future__ import annotations

from drainproof.errors import UserError
from drainproof.faults.crowding import Crowding


class ScaleIn(Crowding):
    """Let replicas rise, and fall again."""

    name = "scale-in"

    def setup(self) -> None:
        """See that replicas are left when it is over.

        Raises:
            UserError: None would be, or the autoscaler can't be watched.
        """
        super().setup()
        if self.declared.scaler.can_be_zero:
            raise UserError(
                f"{self.declared.scaler.ref} takes all replicas away at times, and new requests "
                "would find none",
                hint="Let it keep one replica at least.",
            )

    def act(self) -> str:
        """Let the crowd come if it has to and go, and wait for the fewest replicas."""
        view, known = self.view, set(self.view.pods)
        self.begin(f"{view.wanted} replicas are to be {self.least}")
        if view.wanted <= self.least:
            with self.beside(self.come()):
                problem = self.grown(known)
            if problem:
                return problem
        self.calm()
        return self.wait(
            lambda: view.wanted == self.least == len(view.pods) == len(view.ready),
            f"replicas did not return to {self.least}",
        )

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods are left"
