"""The fault ``node-drain``: a node is cordoned, its pods are evicted, and it is uncordoned.

Of the pods on it, those of the target are evicted, one as soon as the one before can be spared; a
PodDisruptionBudget is respected. Pods of other workloads stay, and are named, unless
``others=evict`` asks for them, too: then their namespaces have to allow chaos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults import draining
from drainproof.faults.api import ApiError
from drainproof.faults.consent import Need
from drainproof.faults.evicting import NEEDS as EVICTING
from drainproof.faults.evicting import evict
from drainproof.faults.fault import Fault, Option, one_of, text
from drainproof.faults.undo import cordon, passing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class NodeDrain(Fault):
    """Drain a node that runs pods of the target."""

    name = "node-drain"
    reason = "evicted"
    needs = (*draining.NEEDS, Need("patch", "Node"), *EVICTING)
    options: ClassVar[Mapping[str, Option]] = {
        "node": Option(
            says="a node's name; by default the one with the fewest pods of the target", read=text
        ),
        "others": Option(
            says="leave or evict: what becomes of other workloads' pods on it",
            read=one_of("leave", "evict"),
            default="leave",
        ),
    }

    @property
    def longest_s(self) -> float:
        """Pods may have to go one after the other."""
        return max(1, self.replicas) * super().longest_s

    def setup(self) -> None:
        """See that there is a node to drain, and another one for its pods.

        Raises:
            UserError: There isn't.
        """
        nodes = [node for node in self.api.list("Node")["items"] if draining.takes_pods(node)]
        self._node, self._pods = draining.choose(self, self.chosen["node"], nodes)
        if len(nodes) == 1:
            raise UserError(
                f"node/{self._name} is the only one that takes pods: what is evicted from it could "
                "run nowhere"
            )
        if len(self.target.pods) - 1 < self.target.floor - 1:
            raise UserError(
                f"{self.target} has {len(self.target.pods)} ready pods and its own floor is "
                f"{self.target.floor}, so none of them can be spared"
            )
        self._others = []
        try:
            self._others = draining.others(self, self._name)
            self._known = True
        except ApiError:
            if self._evicts_others:
                raise
            self._known = False
        if self._evicts_others:
            draining.consented(self, self._others)

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield cordon(self._node).what
        yield f"evicted from it, of {self.target}: {', '.join(self._pods)}"
        if self._others:
            what = "evicted from it, of others" if self._evicts_others else "left on it, of others"
            yield f"{what}: {draining.named(self._others)}"
        elif not self._known:
            yield "left on it: pods of others, which can't be listed without permission"

    def act(self) -> str:
        """Cordon it, evict, and wait until the pods run elsewhere."""
        view = self.view
        node = self.api.get("Node", "", self._name)
        pods = {pod.name: pod for pod in view.ready if pod.node == self._name}
        self.begin(f"node/{self._name} is drained of {', '.join(pods)}", node=self._name)
        self.journal.make(cordon({**node, "kind": "Node"}))
        if self._evicts_others:
            for other in self._others:
                self.journal.plan(passing(other, "evicted"))
                where = other["metadata"]["namespace"]
                if problem := evict(self, other["metadata"]["name"], where):
                    return problem
        for pod in pods.values():
            problem = self.wait(
                lambda: len(view.ready) >= self.target.floor, "no further pod could be spared"
            )
            self.note(pod)
            if problem := problem or evict(self, pod.name):
                return problem
        return self.gone_and_replaced({pod.uid for pod in pods.values()})

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return f"no pod of {self.target} is left on node/{self._name}, and as many serve as before"

    @property
    def _name(self) -> str:
        return str(self._node["metadata"]["name"])

    @property
    def _evicts_others(self) -> bool:
        return bool(self.chosen["others"] == "evict")
