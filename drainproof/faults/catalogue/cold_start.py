"""The fault ``cold-start``: one replica more, from its pod to the first token that it serves.

Whatever scales the target is held meanwhile. What the replica took is compared with the probe that
may kill it, and with what the autoscaler declares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from drainproof.faults.autoscaled import Autoscaled
from drainproof.faults.catalogue.scale_up import ScaleUp
from drainproof.faults.fault import Option, number
from drainproof.judge.cold import WAIT_S

if TYPE_CHECKING:
    from collections.abc import Mapping


class ColdStart(Autoscaled, ScaleUp):
    """Add a replica, and wait for its first token."""

    name = "cold-start"
    needs = (*Autoscaled.needs, *ScaleUp.needs)
    options: ClassVar[Mapping[str, Option]] = {
        "growth": Option(
            says="requests by which a queue grows in a second, from 0.001 to 10000; by default "
            "what is seen of one",
            read=number(0.001, 10_000),
        ),
        "answers": Option(
            says="requests that the replicas there are answer in a second under a queue, from "
            "0.001 to 10000; by default what is seen",
            read=number(0.001, 10_000),
        ),
        "wait": Option(
            says="seconds that a request may wait, from 1 to 3600",
            read=number(1, 3600),
            default=WAIT_S,
        ),
    }

    def setup(self) -> None:
        """See that the autoscaler can be compared with, and be held.

        Raises:
            UserError: It can't.
        """
        Autoscaled.setup(self)
        ScaleUp.setup(self)

    def begin(self, detail: str, **more: Any) -> None:  # noqa: ANN401 - fields of the record
        """Record that it is about to be done, and what the user stated."""
        stated = {key: value for key, value in self.chosen.items() if value is not None}
        super().begin(detail, stated=stated, **more)

    def act(self) -> str:
        """Scale, and wait until the new pod is sent requests and generates tokens."""
        view, known = self.view, {pod.name for pod in self.view.pods.values()}

        def generates() -> bool:
            fresh = {pod.name for pod in view.ready} - known
            return any(view.tokens.get(name, view.running.get(name, 0.0)) > 0 for name in fresh)

        return super().act() or self.wait(generates, "the new replica generated no token")
