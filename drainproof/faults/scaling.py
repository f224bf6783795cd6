"""What ``scale-down`` and ``scale-up`` share: the number of replicas, and who else would set it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.consent import Need
from drainproof.faults.fault import Fault, Option, whole
from drainproof.faults.undo import hold, replicas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from drainproof.faults.undo import Change


class Scaling(Fault):
    """Another number of replicas, and every autoscaler held there meanwhile."""

    needs: ClassVar[tuple[Need, ...]] = (Need("patch", "Deployment"),)
    options: ClassVar[Mapping[str, Option]] = {
        "by": Option(says="a number of replicas from 1 to 100", read=whole(1, 100), default=1)
    }

    @property
    def by(self) -> int:
        """By how many it changes the number of replicas."""
        return int(self.chosen.get("by", 1))

    @property
    def wanted(self) -> int:
        """The number of replicas that it sets."""
        raise NotImplementedError

    def setup(self) -> None:
        """See that the autoscalers can be held.

        Raises:
            UserError: They can't.
        """
        for scaler in self.target.scalers:
            kind, name = scaler["kind"], scaler["metadata"]["name"]
            if not self.api.allowed("patch", kind, self.target.namespace):
                raise UserError(
                    f"{kind.lower()}/{name} would undo it, and there is no permission to hold it: "
                    f"{Need('patch', kind)}",
                    hint=f"Grant it, or pause {kind.lower()}/{name} yourself.",
                )

    def touches(self) -> Iterator[str]:
        """Say all that would be changed."""
        return (change.what for change in self._changes())

    def _changes(self) -> Iterator[Change]:
        """Yield the replicas, then whatever would set them again at once."""
        found = self.api.get("Deployment", self.target.namespace, self.target.name)
        yield replicas(found, self.wanted)
        for scaler in self.target.scalers:
            change = hold(scaler, self.wanted)
            if change.fields:
                yield change

    def scale(self) -> None:
        """Set the replicas, and hold who would set them again."""
        held = [scaler["metadata"]["name"] for scaler in self.target.scalers]
        also = f", {', '.join(held)} held there" if held else ""
        self.begin(f"{self.replicas} replicas to {self.wanted}{also}")
        for change in self._changes():
            self.journal.make(change)
