"""The fault ``pod-delete``: one pod is deleted with its own grace period, and replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.faults.consent import Need
from drainproof.faults.fault import OnePod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.streams.history import Pod


class PodDelete(OnePod):
    """Delete one pod."""

    name = "pod-delete"
    needs = (Need("delete", "Pod"),)

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        grace = self.target.workload.grace_period_s
        yield f"{self.one} of {self.target} is deleted, with its grace period of {grace} s"

    def strike(self, pod: Pod) -> str:
        """Delete it."""
        self.api.delete("Pod", self.target.namespace, pod.name, uid=pod.uid)
        return ""
