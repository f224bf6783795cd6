"""The fault ``endpoint-lag``: pods are deleted while new connections come many times a second.

Nodes go on sending new connections to a pod for a moment after its deletion. How often one of them
meets an engine that takes no more work is a matter of how many there are, so a crowd of short
requests comes beside the streams.

How long the moment is differs: kube-proxy writes its rules at most once a second, so it is long
where another endpoint has just changed, as all the time in a busy cluster, and else may be too
short to be seen. So a second pod is deleted as soon as the first one's place is taken, which is
such a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.faults.catalogue.pod_delete import PodDelete
from drainproof.faults.fault import Crowd, OnePod, Option, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.streams.history import Pod


class EndpointLag(PodDelete):
    """Delete one pod after another under a crowd of new connections."""

    name = "endpoint-lag"
    options: ClassVar[Mapping[str, Option]] = {
        **OnePod.options,
        "times": Option(says="how many pods, from 1 to 20", read=whole(1, 20), default=2),
        "rate": Option(
            says="new connections in a second, from 1 to 1000", read=whole(1, 1000), default=20
        ),
        "tokens": Option(
            says="the length of their answers in tokens, from 1 to 1000",
            read=whole(1, 1000),
            default=8,
        ),
    }

    @property
    def crowd(self) -> Crowd:
        """The requests that come beside the streams."""
        return Crowd(rate_per_s=self.chosen["rate"], tokens=self.chosen["tokens"])

    @property
    def longest_s(self) -> float:
        """Each new pod may take as long as in a rollout."""
        return int(self.chosen["times"]) * super().longest_s

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield from super().touches()
        if self.chosen["times"] > 1:
            yield (
                f"then the next, {self.chosen['times']} in all, each as soon as the place of the "
                "one before is taken"
            )
        yield f"{self.chosen['rate']} more requests a second meanwhile, from a Job of their own"

    def act(self) -> str:
        """Hit one pod after another, and wait until their places are taken."""
        victim = self.victim()
        self.begin(f"pod/{victim.name} {self.reason}, the first of {self.chosen['times']}")
        hit: set[str] = set()
        while True:
            self.note(victim)
            hit.add(victim.uid)
            problem = self.strike(victim)
            if problem or len(hit) == self.chosen["times"]:
                return problem or self.gone_and_replaced(hit)
            problem = self.wait(lambda: self._replaced(hit), "the place of one was not taken")
            if problem:
                return problem
            victim = self.busiest(self._left(hit))

    def _left(self, hit: set[str]) -> list[Pod]:
        return [pod for pod in self.view.ready if pod.uid not in hit]

    def _replaced(self, hit: set[str]) -> bool:
        """Tell whether the Service has as many of the others as it had pods before."""
        there = self.view.in_service
        return sum(pod.name in there for pod in self._left(hit)) >= self.before
