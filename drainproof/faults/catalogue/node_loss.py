"""The fault ``node-loss``: a node is gone at once, with all that runs on it, and comes back later.

No API server can do that, so it is for the embedded cluster, whose nodes are containers.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults import draining
from drainproof.faults.fault import ABRUPT, Fault, Option, spare, text
from drainproof.faults.nodes import Nodes, nodes_of
from drainproof.faults.undo import MANAGED, stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from drainproof.faults.journal import Journal

_SILENT_S = 50.0
"""How long a node may be silent before Kubernetes takes its pods out of Services: the default of
the controller manager's ``--node-monitor-grace-period`` since 1.32, 40 s before."""
_BACK_S = 120.0
_POLL_S = 1.0


class NodeLoss(Fault):
    """Lose a node that runs a pod of the target."""

    name = "node-loss"
    cost = ABRUPT
    needs = draining.NEEDS
    options: ClassVar[Mapping[str, Option]] = {
        "node": Option(
            says="a node's name; by default the one with the fewest pods of the target", read=text
        )
    }

    @property
    def recover_s(self) -> float:
        """New requests go on to a node that is silent until Kubernetes gives it up."""
        return super().recover_s + _SILENT_S

    def setup(self) -> None:
        """See that there is a node that may be lost.

        Raises:
            UserError: There isn't.
        """
        if nodes_of(self.target.context) is None:
            raise UserError(
                f"node-loss stops a node's machine, and that of context {self.target.context} is "
                "not drainproof's to stop: it works on the embedded cluster only",
                hint="Stop the machine yourself, or choose node-drain or force-delete.",
            )
        ours = ",".join(f"{key}={value}" for key, value in MANAGED.items())
        clients = self.api.list("Pod", self.target.namespace, labels=ours)["items"]
        taken = {pod["spec"].get("nodeName") for pod in clients}
        nodes = [
            node
            for node in self.api.list("Node")["items"]
            if draining.takes_pods(node)
            and draining.CONTROL_PLANE not in (node["metadata"].get("labels") or {})
            and node["metadata"]["name"] not in taken
        ]
        self._node, self._pods = draining.choose(self, self.chosen["node"], nodes)
        spare(self.target, len(self._pods))
        if len(self._pods) == len(self.target.pods):
            raise UserError(
                f"all ready pods of {self.target} are on node/{self._name}: with it, no new "
                "request could be served",
                hint="Spread them over nodes (topologySpreadConstraints).",
            )

    @property
    def avoids(self) -> tuple[str, ...]:
        """The node that will be lost."""
        return (self._name,)

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield f"node/{self._name}: its container is killed, and started again afterwards"
        yield f"lost with it, of {self.target}: {', '.join(self._pods)}"
        if also := draining.others(self, self._name):
            yield f"lost with it, of others: {draining.named(also)}"

    def act(self) -> str:
        """Stop it, and wait until Kubernetes sends no more requests to its pods."""
        view = self.view
        on_it = {pod.name for pod in view.ready if pod.node == self._name}
        self.begin(f"node/{self._name} is lost, with {', '.join(sorted(on_it))}", node=self._name)
        self.journal.plan(stopped(self._node, self.target.context))
        asked = view.now()
        self._nodes().stop(self._name)
        self.hit(on_it, asked=asked)
        return self.wait(
            lambda: view.endpoints is not None and not on_it & set(view.endpoints.ready),
            "its pods did not leave the Service",
        )

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return "its pods get no more requests"

    def teardown(self, journal: Journal, say: Callable[[str], None]) -> bool:
        """Start it again, and wait until it is ready."""
        if not super().teardown(journal, say):
            return False
        give_up = time.monotonic() + _BACK_S
        while not draining.takes_pods(self.api.get("Node", "", self._name)):
            if time.monotonic() > give_up:
                say(f"node/{self._name} runs again, and is not ready after {_BACK_S:.0f} s")
                return True
            time.sleep(_POLL_S)
        return True

    def _nodes(self) -> Nodes:
        found = nodes_of(self.target.context)
        if found is None:
            raise UserError(f"the cluster of context {self.target.context} is gone")
        return found

    @property
    def _name(self) -> str:
        return str(self._node["metadata"]["name"])
