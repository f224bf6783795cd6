"""The fault ``no-flapping``: a crowd comes and goes, and the queue swings around the threshold.

An autoscaler that follows each swing starts engines that take minutes to load, and stops them
again. Its own policy says how often it may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.faults.crowding import Crowding
from drainproof.faults.fault import Option, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class NoFlapping(Crowding):
    """Let a crowd come and go."""

    name = "no-flapping"
    options: ClassVar[Mapping[str, Option]] = {
        **Crowding.options,
        "swings": Option(
            says="how often the crowd comes, from 2 to 20", read=whole(2, 20), default=4
        ),
        "period": Option(
            says="seconds from one time to the next, from 20 to 600",
            read=whole(20, 600),
            default=60,
        ),
    }

    @property
    def longest_s(self) -> float:
        """All its swings, each with the start of its crowd."""
        return super().longest_s + int(self.chosen["swings"]) * 2.0 * int(self.chosen["period"])

    @property
    def stops(self) -> bool:
        """No: pods may come and go, and need not."""
        return False

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield from super().touches()
        yield f"they come {self.chosen['swings']} times, every {self.chosen['period']} s"

    def act(self) -> str:
        """Let the crowd come for half a period, and stay away for the other half."""
        view, half_s = self.view, int(self.chosen["period"]) / 2
        self.begin(f"{view.wanted} replicas, {self.chosen['swings']} swings")
        for _ in range(int(self.chosen["swings"])):
            with self.beside(self.come()):
                view.wait(lambda: False, half_s, self.check)
            self.calm()
            view.wait(lambda: False, half_s, self.check)
        return ""

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods serve"
