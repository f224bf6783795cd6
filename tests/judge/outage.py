"""Histories of a part of the scaling chain that goes away and comes back, whose parts tests break.

Two replicas, ``old`` and ``new``, and four requests that wait. Prometheus is gone at 104 s and back
at 160 s. The HPA has no metric from 112 s on; at 121 s KEDA falls back, and from 123 s on there are
three replicas. At 172 s all is in order again, and at 174 s there are two replicas, as before.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from drainproof.streams.history import Autoscaler, Fault
from tests.judge.climb import Climb

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drainproof.streams.history import Record

HPA_BAD = "False: FailedGetExternalMetric: unable to get external metric"
FALLBACK = {"failureThreshold": 1, "replicas": 3}
Said = tuple[float, dict[str, str]]


@dataclass
class Outage(Climb):
    """An outage; times are seconds since ``t0``."""

    name: str = "scaler-outage"
    cost: str = "control-plane"
    away: str = "prometheus"
    gone: float | None = 104.0
    back: float | None = 160.0
    end: float | None = 190.0
    last: int = 195
    aim: float | None = None
    answers: bool = False
    endpoints: list[tuple[float, list[str], list[str]]] = field(
        default_factory=lambda: [(50, ["old", "new"], [])]
    )
    waiting: Callable[[float], float] = lambda _at: 4.0
    replicas: Sequence[tuple[float, int]] = ((50, 2), (123, 3), (174, 2))
    spec: dict[str, Any] = field(default_factory=lambda: {"fallback": FALLBACK})
    scaled_object_says: Sequence[Said] = (
        (50, {"Ready": "True", "Fallback": "False"}),
        (121, {"Ready": "True", "Fallback": "True: FallbackExists"}),
        (163, {"Ready": "True", "Fallback": "False"}),
    )
    hpa_says: Sequence[Said] = (
        (55, {"ScalingActive": "True"}),
        (112, {"ScalingActive": HPA_BAD}),
        (123, {"ScalingActive": "True: ValidMetricFound"}),
        (172, {"ScalingActive": "True"}),
    )
    told: float | None = 2.0
    """What the HPA compares with the threshold, an average."""
    fresh: Sequence[dict[str, Any]] | None = ({"at": 50, "created_at": 0.0},)
    serves: float | None = 60.0

    def fault(self, at: float, phase: str, pods: Sequence[str] = ()) -> Fault:
        found = super().fault(at, phase, pods)
        more = {"away": self.away if phase == "begin" else ""}
        values = {name: getattr(found, name) for name in found.__slots__}
        return Fault(**(values | more))

    def watched(self) -> list[Record]:
        found: list[Record] = [
            record for record in super().watched() if not isinstance(record, Autoscaler)
        ]
        for phase, at in (("away", self.gone), ("back", self.back)):
            if at is not None:
                found.append(self.fault(at, phase))
        for at, conditions in self.scaled_object_says:
            found.append(
                Autoscaler(
                    at=self.t0 + at,
                    object="ScaledObject/vllm",
                    declared=self.scaled_object() if at == self.scaled_object_says[0][0] else None,
                    conditions=conditions,
                )
            )
        for at, conditions in self.hpa_says:
            found.append(
                Autoscaler(
                    at=self.t0 + at,
                    object="HorizontalPodAutoscaler/keda-hpa-vllm",
                    made_by="ScaledObject/vllm",
                    conditions=conditions,
                    current=self.count(at),
                    desired=self.count(at),
                    value=self.told,
                )
            )
        return [*found, *self.more]


def of_keda(**changes: Any) -> Outage:  # noqa: ANN401 - fields of a story
    """Return a story in which KEDA's operator is away, from 104 s to 180 s."""
    values: dict[str, Any] = {
        "away": "keda",
        "back": 180.0,
        "end": 215.0,
        "last": 220,
        "spec": {},
        "replicas": ((50, 2),),
        "scaled_object_says": ((50, {"Ready": "True"}), (184, {"Ready": "True", "Active": "True"})),
        "hpa_says": (
            (55, {"ScalingActive": "True"}),
            (172, {"ScalingActive": HPA_BAD}),
            (196, {"ScalingActive": "True"}),
        ),
    }
    return Outage(**(values | changes))
