"""The fault ``force-delete``: one pod is deleted without a grace period, as ``--force`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.faults.consent import Need
from drainproof.faults.fault import ABRUPT, OnePod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.streams.history import Pod


class ForceDelete(OnePod):
    """Delete one pod at once."""

    name = "force-delete"
    cost = ABRUPT
    needs = (Need("delete", "Pod"),)

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        yield f"{self.one} of {self.target} is deleted at once, and its streams are lost"

    def strike(self, pod: Pod) -> str:
        """Delete it."""
        asked = self.view.now()
        self.api.delete("Pod", self.target.namespace, pod.name, uid=pod.uid, grace_s=0)
        self.hit([pod.name], asked=asked)
        return ""
