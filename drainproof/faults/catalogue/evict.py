"""The fault ``evict``: one pod is evicted, as a drain or the cluster's autoscaler does.

The Eviction API asks the target's PodDisruptionBudgets. While they refuse, it is asked again, until
they let the pod go or time is up; they are never gone around. With ``budget=refuse`` the target is
given a budget that lets nothing go, and the eviction has to be refused: no pod may stop.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.evicting import NEEDS, evict, refusal
from drainproof.faults.fault import OnePod, Option, one_of
from drainproof.faults.journal import RUN_LABEL
from drainproof.faults.undo import MANAGED, created

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.streams.history import Pod

_BUDGET = "PodDisruptionBudget"
_SEEN_S = 30.0
"""How long the disruption controller may take to see a new budget."""
_POLL_S = 0.5


class Evict(OnePod):
    """Evict one pod."""

    name = "evict"
    reason = "evicted"
    needs = NEEDS
    options: ClassVar[Mapping[str, Option]] = {
        **OnePod.options,
        "budget": Option(
            says="own (its own budgets are asked) or refuse (it is given one that refuses)",
            read=one_of("own", "refuse"),
            default="own",
        ),
    }

    @property
    def _refused(self) -> bool:
        return bool(self.chosen["budget"] == "refuse")

    @property
    def stops(self) -> bool:
        """Not where the eviction has to be refused."""
        return not self._refused

    def setup(self) -> None:
        """See that the target can spare a pod, or can be given a budget.

        Raises:
            UserError: It can't.
        """
        if not self._refused:
            super().setup()
            return
        labels = self.target.deployment["spec"]["template"]["metadata"].get("labels") or {}
        missing = [
            str(need)
            for need in (Need(verb, _BUDGET) for verb in ("list", "get", "create", "delete"))
            if not self.api.allowed(need.verb, need.kind, self.target.namespace)
        ]
        if missing:
            raise UserError(f"evict:budget=refuse takes permission to: {', '.join(missing)}")
        for item in self.api.list(_BUDGET, self.target.namespace)["items"]:
            wanted = (item["spec"].get("selector") or {}).get("matchLabels") or {}
            if all(labels.get(key) == value for key, value in wanted.items()):
                raise UserError(
                    f"poddisruptionbudget/{item['metadata']['name']} guards {self.target} already, "
                    "and with two of them the Eviction API fails instead of refusing",
                    hint="Without budget=refuse its own budget is put to the test.",
                )

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        if self._refused:
            yield "a PodDisruptionBudget with maxUnavailable: 0 is created, and deleted afterwards"
            yield f"the eviction of {self.one} of {self.target} is asked for, and must be refused"
        else:
            yield f"{self.one} of {self.target} is evicted, if its PodDisruptionBudgets allow it"

    def strike(self, pod: Pod) -> str:
        """Evict it."""
        return evict(self, pod.name)

    def act(self) -> str:
        """Evict it and wait until its place is taken, or have it refused."""
        if not self._refused:
            return super().act()
        victim = self.victim()
        name = f"drainproof-{self.journal.entry.run}"
        meta = {"name": name, "labels": {**MANAGED, RUN_LABEL: self.journal.entry.run}}
        selector = self.target.deployment["spec"]["selector"]
        self.begin(f"poddisruptionbudget/{name} lets nothing go; eviction of pod/{victim.name}")
        self.journal.plan(created(_BUDGET, name))
        spec = {"maxUnavailable": 0, "selector": selector}
        body = {"apiVersion": "policy/v1", "kind": _BUDGET, "metadata": meta, "spec": spec}
        self.api.create(_BUDGET, self.target.namespace, body)
        self.note(victim)
        if not self._budget_counts(name):
            return f"poddisruptionbudget/{name} was not taken up within {_SEEN_S:.0f} s"
        self._said = refusal(self, victim.name)
        return "" if self._said else f"pod/{victim.name} was evicted against its budget"

    def _budget_counts(self, name: str) -> bool:
        """Wait until the new budget is in force: until then everything is refused."""
        give_up = time.monotonic() + _SEEN_S
        while time.monotonic() < give_up:
            found = self.api.get(_BUDGET, self.target.namespace, name)
            if found.get("status", {}).get("observedGeneration"):
                return True
            self.view.wait(lambda: False, _POLL_S, self.check)
        return False

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"refused by the budget: {self._said}" if self._refused else super().outcome()
