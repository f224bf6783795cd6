"""What ``scale-out``, ``scale-in`` and ``no-flapping`` share: a crowd that makes the queue grow.

Nothing of the target is changed. Whatever scales it does its work, and nobody holds it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from drainproof.faults.autoscaled import Autoscaled
from drainproof.faults.fault import Crowd, Option, whole
from drainproof.faults.undo import scaled
from drainproof.judge.watched import UNKNOWN_SCRAPE_S
from drainproof.simulate import declared
from drainproof.simulate.hpa import SYNC_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANSWER_S = 5.0
"""How long the answers of a crowd are: short, so that a queue is gone soon after it."""
FILLED_S = 5.0
"""Within how many seconds a crowd is there."""
PACE = 20.0
"""Tokens per second where the pace is not known."""
SLOTS = 256
"""Requests that an engine runs at once where no flag says: vLLM's own default."""
LONG = 50
"""Requests that wait, from which on a queue is long however many run at once."""
SLACK_S = 60.0
"""How much longer than what is declared a change is waited for."""


class Crowding(Autoscaled):
    """A crowd beside the streams, and what the autoscaler makes of it."""

    options: ClassVar[Mapping[str, Option]] = {
        "users": Option(
            says="how many ask at once, each again when it has its answer, from 1 to 10000",
            read=whole(1, 10_000),
        ),
        "tokens": Option(
            says="the length of their answers in tokens, from 1 to 10000", read=whole(1, 10_000)
        ),
    }

    @property
    def longest_s(self) -> float:
        """How long each of its waits may take: the scaler's tempo, and a pod's start."""
        tempo_s = self.declared.up_s + self.declared.down_s + self.declared.polling_s
        replicas = max(self.declared.scaler.max_replicas, self.replicas)
        falls_s = min(self.declared.falls_s(replicas), 1800.0)
        return super().longest_s + tempo_s + falls_s + UNKNOWN_SCRAPE_S + SYNC_S

    @property
    def least(self) -> int:
        """The fewest replicas that the autoscaler keeps."""
        return self.declared.scaler.min_replicas

    @property
    def rises_s(self) -> float:
        """Within how many seconds of a long queue replicas are to rise."""
        declared = self.declared
        looks_s = declared.polling_s + UNKNOWN_SCRAPE_S + declared.span_s
        return declared.up_s + looks_s + SYNC_S + SLACK_S

    def touches(self) -> Iterator[str]:
        """Say all that would be changed: nothing, but the autoscaler will act."""
        scaler = self.declared.scaler
        yield f"{self.users(self.replicas)} users who ask again and again, from a Job of their own"
        yield (
            f"{scaler.ref} scales {self.target} from {scaler.min_replicas} to "
            f"{scaler.max_replicas} replicas by itself, and is not held"
        )

    @property
    def slots(self) -> int:
        """How many requests a replica runs at once, as far as its flags say."""
        fields = declared.service_fields(self.target.workload, [])
        return int(fields.get("concurrency", SLOTS))

    def aim(self, replicas: int) -> int:
        """Return how many requests are to wait: enough to ask for one replica more, if that can be.

        What an absurd threshold asks for is not put on: that it is never reached shows as well.
        """
        counts = self.declared.counts
        if counts is None or counts[0] <= 0:
            enough = self.slots * replicas  # each of them waits for a whole answer
        else:
            needed = self.declared.needed(replicas) / counts[0]
            enough = math.ceil(max(needed - counts[1] * self.slots * replicas, 1.0) * 1.5) + 1
        return min(enough, max(LONG, 8 * self.slots * replicas))

    def users(self, replicas: int) -> int:
        """Return how many ask at once, so that the queue of so many replicas is long."""
        return int(self.chosen["users"] or self.slots * replicas + self.aim(replicas))

    def come(self) -> Crowd:
        """Return the crowd; say in the History that it comes, and in the journal what follows."""
        self.journal.plan(scaled(self.target.deployment, self.declared.scaler.ref))
        tokens = self.chosen["tokens"] or math.ceil((self.pace_per_s or PACE) * ANSWER_S)
        replicas = max(self.view.wanted, 1)
        users = self.users(replicas)
        self.view.fault(self.name, "crowd", f"{users} users", aim=float(self.aim(replicas)))
        return Crowd(rate_per_s=max(users / FILLED_S, 1.0), tokens=int(tokens), users=users)

    def calm(self) -> None:
        """Say in the History that the crowd is gone."""
        self.view.fault(self.name, "calm")

    def grown(self, known: set[str]) -> str:
        """Wait until replicas rise, and new pods serve; return why not, or nothing."""
        view, before = self.view, self.view.wanted
        patience_s = min(self.rises_s, self.timeout_s)
        if not view.wait(lambda: view.wanted > before, patience_s, self.check):
            return f"still {before} replicas after {patience_s:.0f} s"

        def serves() -> bool:
            fresh = [pod.name for pod in view.ready if pod.uid not in known]
            return any(view.running.get(name, 0.0) > 0 for name in fresh)

        return self.wait(serves, "no new pod served")
