"""The fault ``scale-out``: a crowd makes the queue grow, and the autoscaler has to add replicas.

It ends once a new pod serves and the queue is short again.
"""

from __future__ import annotations

from drainproof.faults.crowding import Crowding


class ScaleOut(Crowding):
    """Put a crowd on until a new replica serves."""

    name = "scale-out"

    @property
    def stops(self) -> bool:
        """No: pods join."""
        return False

    def act(self) -> str:
        """Let the crowd come, wait for new pods that serve, and then for the queue to fall."""
        view, known = self.view, set(self.view.pods)
        self.begin(f"{view.wanted} replicas, and a crowd comes")
        with self.beside(self.come()):
            problem = self.grown(known)
        self.calm()
        needed = self.declared.needed(view.wanted)
        return problem or self.wait(lambda: view.queue <= needed, "the queue did not fall")

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods serve, {self.view.queue:g} requests wait"
