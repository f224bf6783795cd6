"""The fault ``scaler-outage``: KEDA, its metrics API or Prometheus is away for a while.

Its replicas are set to 0, and set back. It is away long enough for the autoscaler to notice, and to
fall back where that is declared; with ``during=rollout`` the target is rolled out meanwhile. The
fault is over when all is in order again.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.api import ApiError
from drainproof.faults.autoscaled import Autoscaled
from drainproof.faults.catalogue.rollout import Rollout
from drainproof.faults.consent import permissions
from drainproof.faults.fault import CONTROL_PLANE, Option, Wanted, one_of, whole
from drainproof.faults.parts import find
from drainproof.faults.undo import scaled
from drainproof.judge.outage import KEDA, NAMES, PROMETHEUS, noticed_s, returns_s, unsound
from drainproof.simulate.hpa import SYNC_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from drainproof.faults.api import Api
    from drainproof.faults.consent import Target

MARGIN_S = 15.0
"""How much longer than need be it is away."""
MOST_S = 1800.0
"""For how long a fallback is waited for that its policies make slow, or forbid."""
SETTLE_S = SYNC_S
"""How long replicas are watched once all is in order: a period of the HPA."""
_LOOK_S = 1.0
_NAMED = re.compile(r"[a-z0-9-]+/[a-z0-9.-]+")


def _away(value: object) -> str:
    """Read what is to be away."""
    if not isinstance(value, str) or not (value in NAMES or _NAMED.fullmatch(value)):
        raise ValueError
    return value


class ScalerOutage(Autoscaled):
    """Take a part of what scales the target away, and give it back."""

    name = "scaler-outage"
    compares = False
    cost = CONTROL_PLANE
    options: ClassVar[Mapping[str, Option]] = {
        "away": Option(
            says=f"{', '.join(NAMES)}, or the NAMESPACE/NAME of a Deployment, a StatefulSet or a "
            "Prometheus",
            read=_away,
            default=KEDA,
        ),
        "for": Option(
            says="how many seconds it is away, from 5 to 3600; by default long enough to be "
            "noticed, and to fall back",
            read=whole(5, 3600),
        ),
        "during": Option(
            says="rollout: the target is rolled out meanwhile", read=one_of("rollout")
        ),
    }

    def __init__(self, api: Api, target: Target, wanted: Wanted) -> None:
        self._rollout: Rollout | None = None
        if wanted.options.get("during"):
            within = Wanted(name=Rollout.name, timeout_s=wanted.timeout_s)
            self._rollout = Rollout(api, target, within)
        super().__init__(api, target, wanted)
        # whatever may take so long, the clients outlast the outage
        self.timeout_s = max(self.timeout_s, *map(self.away_s, NAMES))

    @property
    def longest_s(self) -> float:
        """The outage, what the autoscaler takes after it, and a rollout or a pod's start."""
        meanwhile_s = self._rollout.longest_s if self._rollout else super().longest_s
        return meanwhile_s + max(self.away_s(role) + self.returns_s(role) for role in NAMES)

    def away_s(self, role: str) -> float:
        """Return how long something is away, in seconds."""
        if self.chosen["for"]:
            return float(self.chosen["for"])
        falls_s = self.declared.falls_back_s(self.replicas) if role == PROMETHEUS else 0.0
        return max(noticed_s(role) + SYNC_S, min(falls_s, MOST_S)) + MARGIN_S

    def returns_s(self, role: str) -> float:
        """Return how long it is waited for that all is in order again, in seconds."""
        return returns_s(role, self.declared) + MARGIN_S

    @property
    def stops(self) -> bool:
        """Whether pods are stopped: by a rollout, or else not on purpose."""
        return self._rollout is not None

    def setup(self) -> None:
        """See that it is KEDA that scales the target, and that what is to be away may be taken.

        Raises:
            UserError: It isn't, or may not.
        """
        super().setup()
        scaler = self.declared.scaler
        if not scaler.of_keda:
            raise UserError(
                f"{self.target} is scaled by {scaler.ref}, which needs no KEDA",
                hint="This fault is about a ScaledObject.",
            )
        self._part = find(self.api, self.target, scaler, str(self.chosen["away"]))
        if self._rollout:
            permissions(self.api, self.target.namespace, Rollout.needs)
            self._rollout.setup()

    def touches(self) -> Iterator[str]:
        """Say all that would be changed, and whom it affects."""
        part, scaler = self._part, self.declared.scaler
        yield f"{part.change.what}, for {self.away_s(part.role):.0f} s"
        yield (
            f"every autoscaler of the cluster that needs {NAMES[part.role]} is affected, not only "
            f"{scaler.ref}"
        )
        if (count := self._fallback) is not None:
            yield f"{scaler.ref} sets {self.target} to its fallback of {count} replicas meanwhile"
        if self._rollout:
            yield from self._rollout.touches()

    @property
    def _fallback(self) -> int | None:
        """How many replicas the autoscaler falls back to meanwhile; None if it doesn't."""
        of_prometheus = self._part.role == PROMETHEUS
        return self.declared.falls_back_to(self.replicas) if of_prometheus else None

    def act(self) -> str:
        """Take it away, wait, give it back, and wait until all is in order again."""
        view, part, journal = self.view, self._part, self.journal
        self.begin(f"{part} is taken away", away=part.role)
        if self._fallback is not None:
            journal.plan(scaled(self.target.deployment, self.declared.scaler.ref))
        since = journal.mark
        journal.make(part.change)
        until = journal.mark
        problem = self._until(lambda: part.gone(self.api), "its pods were not gone")
        if not problem:
            view.fault(self.name, "away", str(part))
            back_at = view.now() + self.away_s(part.role)
            problem = self._rolled()
            view.wait(lambda: False, back_at - view.now(), self.check)
        said: list[str] = []
        if not journal.undo(said.append, since=since, until=until):
            return problem or said[-1]
        late = self._until(lambda: part.serves(self.api), "its pods were not ready again")
        late = late or self._in_order_again()
        return problem or late

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"{len(self.view.ready)} pods are ready, and {self._part} is back"

    def _rolled(self) -> str:
        """Roll the target out if that is wanted; return why it did not end."""
        if self._rollout is None:
            return ""
        return self._rollout.within(self).roll(self._rollout.change())

    def _in_order_again(self) -> str:
        """Wait until KEDA and its HPA say so, and a period longer; return why they don't."""
        view, part = self.view, self._part
        view.fault(self.name, "back", str(part))
        patience_s = self.returns_s(part.role)
        if not view.wait(lambda: not self._complaint, patience_s, self.check):
            return f"{self._complaint} {patience_s:.0f} s after {part} was back"
        view.wait(lambda: False, SETTLE_S, self.check)
        return ""

    @property
    def _complaint(self) -> str:
        """What KEDA or its HPA says that is not in order; empty if neither says so."""
        name = f"ScaledObject/{self.declared.scaler.name}"
        told = [one for one in self.view.scalers.values() if name in {one.object, one.made_by}]
        said = ((one.object, unsound(one.conditions)) for one in told)
        return next((f"{whose} says {words}" for whose, words in said if words), "")

    def _until(self, holds: Callable[[], bool], otherwise: str) -> str:
        """Ask the API server once a second until something holds; return why it doesn't."""
        give_up = time.monotonic() + self.timeout_s
        while not self._asked(holds):
            if time.monotonic() > give_up:
                return f"{self._part}: {otherwise} within {self.timeout_s:.0f} s"
            self.view.wait(lambda: False, min(_LOOK_S, self.timeout_s), self.check)
        return ""

    @staticmethod
    def _asked(holds: Callable[[], bool]) -> bool:
        try:
            return holds()
        except ApiError as error:
            if not error.passing:
                raise
            return False  # nobody knows now
