"""The fault ``readiness-flap``: one pod leaves the Service and comes back, its engine runs on.

Its condition ``Ready`` is set to False in its status, as the node controller does to pods of a node
that went silent. That works with any engine and any probe, and is nothing that could stay: the
pod's own kubelet sets it back within about 10 s. Streams in flight go on; new requests go to other
pods.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.fault import OnePod, Option, whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.streams.history import Pod


class ReadinessFlap(OnePod):
    """Take one pod out of the Service for a moment."""

    name = "readiness-flap"
    reason = "unready"
    needs = (Need("patch", "Pod", "status"),)
    options: ClassVar[Mapping[str, Option]] = {
        **OnePod.options,
        "times": Option(says="how often, from 1 to 20", read=whole(1, 20), default=1),
    }

    def setup(self) -> None:
        """See that a pod that isn't ready leaves the Service, and that another one is there.

        Raises:
            UserError: It doesn't, or there is none.
        """
        super().setup()
        services = self.api.list("Service", self.target.namespace)["items"]
        for item in services:
            if item["metadata"]["name"] == self.target.service and item["spec"].get(
                "publishNotReadyAddresses"
            ):
                raise UserError(
                    f"service/{self.target.service} publishes pods that are not ready "
                    "(publishNotReadyAddresses), so none leaves it"
                )
        if len(self.target.pods) == 1:
            raise UserError(
                f"{self.target} has one ready pod: without it, no new request could be served",
                hint="Let it have more replicas.",
            )

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield (
            f"{self.one} of {self.target}: condition Ready is set to False, {self.chosen['times']} "
            "times; its kubelet sets it back"
        )

    def act(self) -> str:
        """Flap, and wait until the pod is back."""
        victim = self.victim()
        self.begin(f"pod/{victim.name} {self.reason}, {self.chosen['times']} times")
        for _ in range(self.chosen["times"]):
            if problem := self.strike(victim):
                return problem
        return ""

    def strike(self, pod: Pod) -> str:
        """Let it leave the Service, and wait until it is back."""
        self.note(pod)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        unready = {
            "type": "Ready",
            "status": "False",
            "reason": "Drainproof",
            "message": "set by drainproof chaos; the kubelet sets it back",
            "lastTransitionTime": now,
        }
        self.api.patch_status("Pod", self.target.namespace, pod.name, {"conditions": [unready]})
        if problem := self.wait(lambda: not self._serves(pod), "its endpoint did not leave"):
            return problem
        self.hit([pod.name], "it left the Service")
        return self.wait(lambda: self._serves(pod), "its endpoint did not come back")

    def outcome(self) -> str:
        """Say what holds once it is over."""
        return "it is back in the Service"

    def _serves(self, pod: Pod) -> bool:
        return pod.name in self.view.in_service
