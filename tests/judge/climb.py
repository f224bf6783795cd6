"""Histories of a crowd and an autoscaler that does its work, whose parts tests can break.

One replica, ``old``. The queue grows at 102 s; it is scraped at 104 s, KEDA's HPA sees it and asks
for a second replica at 116 s; ``new`` is made then, ready at 121 s, and serves from 122 s on. The
crowd goes at 124 s, and the queue with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from drainproof.streams.history import (
    Answer,
    Autoscaler,
    Event,
    Fault,
    Gauge,
    Header,
    Pod,
    Workload,
)
from tests.judge.story import Story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drainproof.streams.history import Record, Stream

QUERY = 'sum(vllm:num_requests_waiting{namespace="inference"})'


def hill(at: float) -> float:
    """Return how many requests wait on ``old``."""
    return 10.0 if 102 <= at < 125 else 0.0


@dataclass
class Climb(Story):
    """A scale-out; times are seconds since ``t0``."""

    name: str = "scale-out"
    stops: bool = False
    begin: float | None = 100.0
    end: float | None = 130.0
    last: int = 135
    deleted: float | None = None
    container_ended: float = 400.0
    endpoints: list[tuple[float, list[str], list[str]]] = field(
        default_factory=lambda: [(50, ["old"], []), (121, ["old", "new"], [])]
    )
    waiting: Callable[[float], float] = hill
    aim: float | None = 10.0
    replicas: Sequence[tuple[float, int]] = ((50, 1), (116, 2))
    threshold: str = "2"
    most: int = 3
    query: str = QUERY
    spec: dict[str, Any] = field(default_factory=dict)
    """Put over the ScaledObject's own."""
    behavior: dict[str, Any] = field(default_factory=dict)
    answers: bool = True
    """Whether Prometheus was asked."""
    scraped: Callable[[float], float | None] | None = None
    """What the query answers; None is what waits, two seconds late."""
    answer: dict[str, Any] = field(default_factory=dict)
    """Put over each answer's own fields."""
    hpa_value: Callable[[float], float | None] | None = None
    """What the HPA compares with the threshold; None is what the query answers for each replica."""
    hpa: dict[str, Any] | None = field(default_factory=dict)
    """Put over each record of the HPA; None: there is none."""
    hpa_until: float = float("inf")
    """When the HPA says no more."""
    keda: dict[str, str] = field(default_factory=dict)
    """Conditions of the ScaledObject."""
    fresh: Sequence[dict[str, Any]] | None = None
    """What is told of the new pod; None is that all goes well."""
    serves: float | None = 122.0
    """When the new pod's gauge tells of a request."""
    more: Sequence[Autoscaler] = ()
    stated: dict[str, Any] = field(default_factory=dict)
    """What the user stated about the fault."""
    probe: dict[str, Any] = field(default_factory=dict)
    """What the header says of the probe that kills an engine which loads too long."""
    tokens: Callable[[float], float | None] = lambda _at: None
    """What the new pod's counter of tokens says."""

    def count(self, at: float) -> int:
        """Return the replicas at a moment."""
        return [count for when, count in self.replicas if when <= at][-1]

    def said(self, at: float) -> float | None:
        """Return what the query answers at a moment."""
        return self.scraped(at) if self.scraped else self.waiting(at - 2)

    def pods(self) -> list[tuple[float, Record]]:
        ends = (record for _, record in super().pods())
        told = [record for record in ends if isinstance(record, Pod) and record.name == "old"]
        made = {"ready": False, "node": "", "phase": "Pending", "containers": []}
        running = [{"name": "vllm", "state": "running", "started_at": self.t0 + 117}]
        for values in self.fresh or (
            {"at": 116.2, "event": "ADDED", **made},
            {"at": 116.5, **made, "node": "n"},
            {"at": 118.0, **made, "node": "n", "containers": running},
            {"at": 121.0, "containers": running},
        ):
            base: dict[str, Any] = {
                "name": "new",
                "uid": "uid-new",
                "event": "MODIFIED",
                "node": "n",
            }
            base |= {"phase": "Running", "ready": True, "deletion_at": None, "grace_s": None}
            base |= {"created_at": self.t0 + 116, "containers": []}
            told.append(Pod(**(base | values | {"at": self.t0 + values["at"]})))
        return [(pod.at, pod) for pod in told]

    def gauges(self, streams: list[tuple[str, Stream]]) -> list[tuple[float, Record]]:
        del streams
        found: list[tuple[float, Record]] = []
        for second in range(60, int((self.end or 130) + 1)):
            at = self.t0 + second
            told = [("old", 4.0, self.waiting(second))]
            if self.serves is not None and second >= self.serves:
                told.append(("new", 2.0, 0.0))
            elif second >= 121 and self.count(second) > 1 and self.fresh is None:
                told.append(("new", 0.0, 0.0))
            found += [
                (
                    at,
                    Gauge(
                        at=at,
                        pod=pod,
                        running=running,
                        waiting=waiting,
                        error="",
                        tokens=self.tokens(second) if pod == "new" else None,
                    ),
                )
                for pod, running, waiting in told
            ]
        return found

    def header(self) -> Header:
        found = super().header()
        return replace(found, target=found.target | self.probe)

    def fault(self, at: float, phase: str, pods: Sequence[str] = ()) -> Fault:
        found = super().fault(at, phase, pods)
        return replace(found, stated=self.stated) if phase == "begin" else found

    def records(self) -> list[Record]:
        told = self.extra
        self.extra = [*told, *self.watched()]
        try:
            return super().records()
        finally:
            self.extra = told

    def watched(self) -> list[Record]:
        """Return what autoscaler, Prometheus and Deployment said."""
        found: list[Record] = [
            Workload(
                at=self.t0 + at,
                generation=1,
                observed_generation=1,
                replicas=count,
                updated=count,
                ready=count,
                available=count,
                wanted=count,
            )
            for at, count in self.replicas
        ]
        for at in (50.0, 105.0):
            conditions = {"Ready": "True", "Active": "True" if at > 100 else "False"}
            found.append(
                Autoscaler(
                    at=self.t0 + at,
                    object="ScaledObject/vllm",
                    declared=self.scaled_object() if at < 100 else None,
                    conditions=conditions | self.keda,
                )
            )
        if self.aim is not None:
            found += [
                Fault(at=self.t0 + 101, fault=self.name, phase="crowd", detail="", aim=self.aim),
                Fault(at=self.t0 + 124, fault=self.name, phase="calm", detail=""),
            ]
        found += [*self._hpas(), *self._answers(), *self.more]
        return found

    def _hpas(self) -> list[Record]:
        if self.hpa is None:
            return []
        found: list[Record] = []
        for second in (55, *range(101, int(self.end or 130), 15)):
            if second > self.hpa_until:
                break
            value = self.hpa_value(second) if self.hpa_value else self.said(second)
            count = self.count(second)
            fields: dict[str, Any] = {
                "object": "HorizontalPodAutoscaler/keda-hpa-vllm",
                "made_by": "ScaledObject/vllm",
                "conditions": {"AbleToScale": "True", "ScalingActive": "True"},
                "current": count,
                "desired": self.count(second + 0.5),
                "value": None if value is None else value / max(count, 1),
            }
            found.append(Autoscaler(at=self.t0 + second, **(fields | self.hpa)))
        return found

    def _answers(self) -> list[Record]:
        if not self.answers:
            return []
        found: list[Record] = []
        for second in range(60, int(self.end or 130)):
            fields: dict[str, Any] = {
                "at": self.t0 + second + 0.3,
                "query": self.query,
                "value": self.said(second),
                "sampled": self.t0 + second - second % 2,
                "oldest": self.t0 + second - second % 2,
                "pods": 1,
            }
            found.append(Answer(**(fields | self.answer)))
        return found

    def scaled_object(self) -> dict[str, Any]:
        trigger = {
            "serverAddress": "http://p:9090",
            "query": self.query,
            "threshold": self.threshold,
        }
        behavior = {"scaleDown": {"stabilizationWindowSeconds": 0}, **self.behavior}
        return {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "vllm", "namespace": "inference"},
            "spec": {
                "scaleTargetRef": {"name": "vllm"},
                "minReplicaCount": 1,
                "maxReplicaCount": self.most,
                "pollingInterval": 2,
                "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
                "triggers": [{"type": "prometheus", "metadata": trigger}],
                **self.spec,
            },
        }


def killing(
    at: float, pod: str, said: str = "Container vllm failed liveness probe, will be restarted"
) -> Event:
    """Return the event of a probe that failed."""
    return Event(at=1_700_000_000.0 + at, object=f"Pod/{pod}", reason="Killing", message=said)
