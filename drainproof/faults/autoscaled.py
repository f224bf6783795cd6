"""What faults of an autoscaled target share: what its autoscaler declares, and that it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drainproof.errors import UserError
from drainproof.faults.api import RESOURCES
from drainproof.faults.consent import Need
from drainproof.faults.fault import Fault
from drainproof.judge.declared import Declared
from drainproof.model.shape import ShapeError

if TYPE_CHECKING:
    from drainproof.faults.api import Api
    from drainproof.faults.consent import Target
    from drainproof.faults.fault import Wanted


class Autoscaled(Fault):
    """A fault of what scales the target, which is watched meanwhile and not held."""

    needs: ClassVar[tuple[Need, ...]] = (Need("watch", "HorizontalPodAutoscaler"),)
    scaling = True
    compares: ClassVar[bool] = True
    """Whether its verdict compares a metric with the threshold."""

    def __init__(self, api: Api, target: Target, wanted: Wanted) -> None:
        self.declared = _declared(target)
        super().__init__(api, target, wanted)

    def setup(self) -> None:
        """See that the autoscaler works, and that it may be watched.

        Raises:
            UserError: It isn't so.
        """
        scaler = self.declared.scaler
        if scaler.paused_by:
            raise UserError(
                f"{scaler.ref} is paused by its annotation {scaler.paused_by}",
                hint="Nothing would be scaled: remove it.",
            )
        threshold = self.declared.threshold
        if self.compares and (threshold is None or threshold <= 0):
            raise UserError(
                f"{scaler.ref} has no threshold that is a number, more than 0, for what it follows",
                hint="A check under load works where a metric is compared with a threshold.",
            )
        if scaler.of_keda and not self.api.allowed("watch", "ScaledObject", self.target.namespace):
            raise UserError(
                f"no permission in namespace {self.target.namespace} to: "
                f"{Need('watch', 'ScaledObject')}",
                hint="What KEDA says of it could not be told.",
            )


def _declared(target: Target) -> Declared:
    """Read what scales a target: its ScaledObject before any HorizontalPodAutoscaler.

    Raises:
        UserError: Nothing does, or it can't be read.
    """
    if not target.scalers:
        raise UserError(
            f"nothing scales {target}: there is no ScaledObject and no HorizontalPodAutoscaler",
            hint="The check `has-scaler` says what it needs.",
        )
    found = target.scalers[0]
    group, version, *_ = RESOURCES[found["kind"]]
    try:
        return Declared.of({**found, "apiVersion": f"{group}/{version}"}, target.engine.name)
    except ShapeError as error:
        raise UserError(f"{found['kind'].lower()}/{found['metadata']['name']}: {error}") from None
