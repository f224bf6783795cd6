"""The cluster's side of a History, joined into what a judge asks: which pods, from when to when."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from drainproof.judge.clients import MAX_LAG_MS
from drainproof.streams.history import Client, Endpoints, Event, Fault, Gauge, Header, Pod

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.streams.history import Record

ROUTING_LAG_S: Final = 2.0
"""How long nodes may go on sending new connections to an endpoint that was removed. kube-proxy
batches changes for 1 s by default (``minSyncPeriod``), and EndpointSlices arrive a little late."""
SECOND_S: Final = 1.0
"""Kubernetes writes its times in whole seconds, cut off."""


@dataclass(slots=True)
class Life:
    """What is known of one pod."""

    name: str
    deleted: float | None = None
    grace_s: float = 0.0
    gone: float | None = None
    containers: dict[str, dict[str, Any]] = field(default_factory=dict)
    oom: list[float] = field(default_factory=list)

    def see(self, pod: Pod) -> None:
        """Take in one report of it."""
        if pod.deletion_at is not None and self.deleted is None:
            # seen as it happened, unless the watch was broken then
            late = pod.at - pod.deletion_at > 2 * SECOND_S
            self.deleted = pod.deletion_at if late else max(pod.at, pod.deletion_at)
            self.grace_s = pod.grace_s or 0.0
        for container in pod.containers:
            self.containers[container["name"]] = container
            ended = container.get("finished_at")
            if ended and container.get("reason") == "OOMKilled" and ended not in self.oom:
                self.oom.append(ended)
        if pod.event == "DELETED":
            self.gone = pod.at

    def main(self, engine: str) -> dict[str, Any]:
        """Return the engine's container, or the one that ended last."""
        if engine in self.containers:
            return self.containers[engine]
        ended = [item for item in self.containers.values() if item.get("finished_at")]
        return max(ended, key=lambda item: item["finished_at"], default={})


class Scene:
    """The cluster's side of a History."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.header: Header | None = None
        self.begin: float | None = None
        self.end: float | None = None
        self.timeout = ""
        self.lives: dict[str, Life] = {}
        self.endpoints: list[Endpoints] = []
        self.events: list[Event] = []
        self.gauges: dict[str, list[Gauge]] = {}
        self.slow: list[float] = []
        undone = False
        for record in records:
            match record:
                case Header():
                    self.header = self.header or record
                case Fault():
                    undone = undone or record.phase == "undone"
                    self._fault(record)
                case Pod() if not undone:
                    self.lives.setdefault(record.name, Life(record.name)).see(record)
                case Endpoints():
                    self.endpoints.append(record)
                case Event():
                    self.events.append(record)
                case Gauge():
                    self.gauges.setdefault(record.pod, []).append(record)
                case Client() if max(record.loop_lag_ms, record.send_lag_ms) > MAX_LAG_MS:
                    self.slow.append(record.at)
                case _:
                    pass
        self._changes = [record.at for record in self.endpoints]
        target = self.header.target if self.header else {}
        self.prestop_s: float | None = target.get("prestop_s")
        self.container: str = target.get("container") or ""
        begin = self.begin
        self.hit = [
            life
            for life in self.lives.values()
            if begin is not None and life.deleted is not None and life.deleted >= begin - SECOND_S
        ]

    def _fault(self, record: Fault) -> None:
        if record.phase == "begin" and self.begin is None:
            self.begin = record.at
        elif record.phase == "end":
            self.end = record.at
        elif record.phase == "timeout":
            self.end, self.timeout = record.at, record.detail

    def sigterm(self, life: Life) -> float | None:
        """Return when SIGTERM came: after the preStop delay, or when the grace period ended."""
        if self.prestop_s is None or life.deleted is None:
            return None
        return life.deleted + min(self.prestop_s, life.grace_s)

    def ended(self, life: Life) -> float | None:
        """Return when the engine's container ended, at the latest when the pod was gone."""
        finished = life.main(self.container).get("finished_at")
        if finished is not None and life.deleted is not None and finished < life.deleted - 1:
            finished = None  # a former container of that pod
        return finished if finished is not None else life.gone

    def removed(self, name: str) -> float | None:
        """Return when a pod left the Service's ready endpoints for good."""
        last = None
        for record in self.endpoints:
            if name in record.ready:
                last = None
            elif last is None:
                last = record.at
        return last

    def ready_at(self, at: float) -> list[str]:
        """Return the ready endpoints at a moment."""
        index = bisect_right(self._changes, at) - 1
        return self.endpoints[index].ready if index >= 0 else []

    def pods_for(self, sent: float) -> tuple[str, ...]:
        """Return the pods that a request sent at a moment can have reached."""
        first = max(0, bisect_right(self._changes, sent - ROUTING_LAG_S) - 1)
        window = self.endpoints[first : max(bisect_right(self._changes, sent), first + 1)]
        names = {name for record in window for name in record.ready}
        if not names:
            # with no endpoint ready, kube-proxy falls back to those that terminate
            names = {name for record in window for name in record.terminating}
        return tuple(sorted(names))

    def gauge(self, name: str, at: float, after: float, before: float) -> Gauge | None:
        """Return the gauge with a number that is nearest to a moment, within an interval."""
        found = [
            gauge
            for gauge in self.gauges.get(name, [])
            if gauge.running is not None and after <= gauge.at <= before
        ]
        return min(found, key=lambda gauge: abs(gauge.at - at), default=None)
