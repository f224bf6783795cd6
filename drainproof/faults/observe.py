"""What the cluster says while a fault is on: pods, endpoints, the target, events, engine gauges.

Everything goes to the History as it is seen, on the client's clock, and into a :class:`View` that
the run waits on.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from drainproof.faults.api import GONE, RESOURCES, ApiError, Object
from drainproof.faults.snapshot import undressed
from drainproof.model.quantity import quantity
from drainproof.model.shape import ShapeError
from drainproof.streams.history import (
    Autoscaler,
    Endpoints,
    Event,
    Fault,
    Gauge,
    Pod,
    Record,
    Sent,
    Workload,
    to_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from drainproof.faults.api import Api
    from drainproof.faults.consent import Target

_AGAIN_S = 1.0
_GAUGE_S = 1.0
_GAUGE_PATIENCE_S = 2.0


class View:
    """What is known now; the run waits on it. Every record passes through :meth:`add`.

    Args:
        path: The History's file, created here.
    """

    def __init__(self, path: Path) -> None:
        self._out = path.open("wb")
        self._changed = threading.Condition()
        self._closed = False
        self.pods: dict[str, Pod] = {}
        self.addresses: dict[str, str] = {}
        """Pods' names by their IPs."""
        self.endpoints: Endpoints | None = None
        self.workload: Workload | None = None
        self.scalers: dict[str, Autoscaler] = {}
        """What each autoscaler of the target said last, by ``Kind/name``."""
        self.deployment: Object = {}
        self.running: dict[str, float] = {}
        """Running requests of each pod by its engine's own gauge, by the pod's name."""
        self.waiting: dict[str, float] = {}
        """Likewise those that wait."""
        self.tokens: dict[str, float] = {}
        """Likewise the tokens that it has generated."""
        self.sent = 0
        """How many requests have left the clients."""
        self.index = 0
        """Which of the run's faults is on."""
        self.listeners: tuple[Callable[[Record], None], ...] = ()
        """Told every record, in the thread that brings it."""

    def now(self) -> float:
        """Return the time on the History's clock, in seconds since the epoch.

        It is this machine's: the clients' own skew is taken off their records.
        """
        return time.time()

    def add(self, record: Record) -> None:  # noqa: C901 - a case for each kind
        """Write a record to the History and let waiters look again."""
        with self._changed:
            if self._closed:
                return
            self._out.write(to_line(record))
            self._out.flush()
            match record:
                case Pod():
                    if record.event == "DELETED":
                        self.pods.pop(record.uid, None)
                    else:
                        self.pods[record.uid] = record
                case Endpoints():
                    self.endpoints = record
                case Workload():
                    self.workload = record
                case Autoscaler():
                    self.scalers[record.object] = record
                case Gauge() if record.running is not None:
                    self.running[record.pod] = record.running
                    self.waiting[record.pod] = record.waiting or 0.0
                    if record.tokens is not None:
                        self.tokens[record.pod] = record.tokens
                case Sent():
                    self.sent += 1
                case _:
                    pass
            for hear in self.listeners:
                hear(record)
            self._changed.notify_all()

    @property
    def ready(self) -> list[Pod]:
        """The target's pods that are ready and not being deleted, by name."""
        found = [pod for pod in self.pods.values() if pod.ready and pod.deletion_at is None]
        return sorted(found, key=lambda pod: pod.name)

    @property
    def in_service(self) -> set[str]:
        """The names of the pods that the Service sends new requests to."""
        return set(self.endpoints.ready) if self.endpoints else set()

    @property
    def queue(self) -> float:
        """Requests that wait, over the target's pods that are ready and not being deleted."""
        return sum(self.waiting.get(pod.name, 0.0) for pod in self.ready)

    @property
    def wanted(self) -> int:
        """How many replicas the target is to have now."""
        return int(self.deployment.get("spec", {}).get("replicas", 1))

    def fault(self, name: str, phase: str, detail: str = "", **more: Any) -> None:  # noqa: ANN401 - fields
        """Record a step of the fault that is on, now; ``more`` are fields of its record."""
        more = {"at": self.now(), **more}
        self.add(Fault(fault=name, phase=phase, detail=detail, index=self.index, **more))

    def wait(self, holds: Callable[[], bool], timeout_s: float, check: Callable[[], None]) -> bool:
        """Wait until ``holds``; return whether it did in time.

        Args:
            holds: What is waited for; looked at after each record and once a second.
            timeout_s: For how long.
            check: Called as often; raises to stop waiting.
        """
        give_up = time.monotonic() + timeout_s
        with self._changed:
            while not holds():
                check()
                left = give_up - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 1.0))
        return True

    def close(self) -> None:
        """Sync the History to disk; what is added later is dropped."""
        with self._changed:
            if not self._closed:
                self._closed = True
                os.fsync(self._out.fileno())
                self._out.close()


class Observer:
    """Watches a target until stopped, each kind of object in a thread of its own.

    Args:
        api: The cluster.
        target: What to watch.
        view: Where everything goes.
        scaling: Whether to watch what scales it, too.
    """

    def __init__(self, api: Api, target: Target, view: View, *, scaling: bool = False) -> None:
        self._api = api
        self._target = target
        self._view = view
        self._stop = threading.Event()
        self._slices: dict[str, Object] = {}
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._gauges: dict[str, threading.Event] = {}
        self._begun = time.time()
        self._scalers = ["HorizontalPodAutoscaler"] if scaling else []
        if scaling and api.serves("ScaledObject"):
            self._scalers.append("ScaledObject")

    def start(self) -> None:
        """Begin to watch; what is there already is recorded at once."""
        target = self._target
        for kind, options, seen in (
            ("Pod", {"labels": target.selector}, self._pod),
            ("Deployment", {"fields": f"metadata.name={target.name}"}, self._deployment),
            (
                "EndpointSlice",
                {"labels": f"kubernetes.io/service-name={target.service}"},
                self._slice,
            ),
            ("Event", {}, self._event),
            *((kind, {}, partial(self._autoscaler, kind)) for kind in self._scalers),
        ):
            threading.Thread(
                target=self._watch, args=(kind, options, seen), name=f"watch-{kind}", daemon=True
            ).start()

    def stop(self) -> None:
        """Stop; threads end by themselves within a watch's timeout."""
        self._stop.set()
        for nudge in list(self._gauges.values()):
            nudge.set()

    def _watch(
        self, kind: str, options: dict[str, str], seen: Callable[[str, Object], None]
    ) -> None:
        """List, then watch; list again when the server has forgotten where we were."""
        version = ""
        known: dict[str, Object] = {}
        while not self._stop.is_set():
            try:
                if not version:
                    version = self._relist(kind, options, seen, known)
                for event in self._api.watch(kind, self._target.namespace, version, **options):  # type: ignore[arg-type]
                    if self._stop.is_set():
                        return
                    item = event["object"]
                    if event["type"] == "ERROR":
                        version = ""
                        break
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] == "DELETED":
                        known.pop(item["metadata"]["uid"], None)
                    else:
                        known[item["metadata"]["uid"]] = item
                    seen(event["type"], item)
            except ApiError as error:
                if error.status == GONE:
                    version = ""
                self._stop.wait(_AGAIN_S)

    def _relist(
        self,
        kind: str,
        options: dict[str, str],
        seen: Callable[[str, Object], None],
        known: dict[str, Object],
    ) -> str:
        listed = self._api.list(kind, self._target.namespace, **options)
        current = {item["metadata"]["uid"]: item for item in listed["items"]}
        for uid in known.keys() - current.keys():
            seen("DELETED", known.pop(uid))
        for uid, item in current.items():
            seen("MODIFIED" if uid in known else "ADDED", item)
            known[uid] = item
        return str(listed["metadata"]["resourceVersion"])

    def _once(self, key: str, values: tuple[Any, ...]) -> bool:
        """Tell whether an object says something new; most updates are of no concern here."""
        if self._seen.get(key) == values:
            return False
        self._seen[key] = values
        return True

    def _pod(self, event: str, item: Object) -> None:
        record = pod_record(event, item, self._view.now())
        uid = record.uid
        if address := item.get("status", {}).get("podIP"):
            self._view.addresses[address] = record.name
        told = (
            event == "DELETED",
            record.phase,
            record.ready,
            record.deletion_at,
            record.containers,
            record.node,
            record.unschedulable,
        )
        if self._once(uid, told):
            self._view.add(record)
        nudge = self._gauges.get(uid)
        if nudge is None and record.phase == "Running" and event != "DELETED":
            self._gauges[uid] = threading.Event()
            threading.Thread(
                target=self._gauge,
                args=(uid, record.name),
                name=f"gauge-{record.name}",
                daemon=True,
            ).start()
        elif nudge and record.deletion_at is not None:
            nudge.set()

    def _deployment(self, event: str, item: Object) -> None:
        if event == "DELETED":
            return
        status = item.get("status", {})
        self._view.deployment = item
        record = Workload(
            at=self._view.now(),
            generation=item["metadata"].get("generation", 0),
            observed_generation=status.get("observedGeneration", 0),
            replicas=status.get("replicas", 0),
            updated=status.get("updatedReplicas", 0),
            ready=status.get("readyReplicas", 0),
            available=status.get("availableReplicas", 0),
            wanted=item["spec"].get("replicas", 1),
        )
        self._view.add(record)

    def _autoscaler(self, kind: str, event: str, item: Object) -> None:
        target = item["spec"].get("scaleTargetRef") or {}
        scales = target.get("kind") or self._target.kind
        if (scales, target.get("name")) != (self._target.kind, self._target.name):
            return
        uid = item["metadata"]["uid"]
        group, version, *_ = RESOURCES[kind]  # a list does not say it of its items
        named = {"apiVersion": f"{group}/{version}", "kind": kind}
        record = autoscaler_record(event, {**item, **named}, self._view.now())
        if not self._once(uid, (replace(record, at=0.0),)):
            return
        if not self._once(f"{uid}/declared", (record.declared,)):
            record = replace(record, declared=None)
        self._view.add(record)

    def _slice(self, event: str, item: Object) -> None:
        if event == "DELETED":
            self._slices.pop(item["metadata"]["uid"], None)
        else:
            self._slices[item["metadata"]["uid"]] = item
        record = endpoints_record(self._slices.values(), self._view.now())
        if self._once("endpoints", (record.slices, record.terminating)):
            self._view.add(record)

    def _event(self, event: str, item: Object) -> None:
        about = item.get("involvedObject") or {}
        ours = about.get("name", "") == self._target.name or about.get("name", "").startswith(
            f"{self._target.name}-"
        )
        if event == "DELETED" or not ours:
            return
        at = event_time(item)
        if at is None or at < self._begun - 60:
            return
        self._view.add(
            Event(
                at=at,
                object=f"{about.get('kind', '')}/{about.get('name', '')}",
                reason=item.get("reason") or "",
                message=item.get("message") or "",
            )
        )

    def _gauge(self, uid: str, name: str) -> None:
        """Scrape one pod once a second, and at once when told, until it is gone."""
        nudge = self._gauges[uid]
        engine = self._target.engine
        while not self._stop.is_set():
            running = waiting = tokens = None
            words = ""
            try:
                text = self._api.scrape(
                    self._target.namespace,
                    name,
                    self._target.metrics_port,
                    engine.metrics_path,
                    timeout_s=_GAUGE_PATIENCE_S,
                )
                running = metric(text, engine.running_metric)
                waiting = metric(text, engine.waiting_metric)
                tokens = metric(text, engine.tokens_metric)
                if running is None:
                    words = f"no {engine.running_metric or 'known metric of running requests'}"
            except ApiError as error:
                words = error.message[:200]
            self._view.add(
                Gauge(
                    at=self._view.now(),
                    pod=name,
                    running=running,
                    waiting=waiting,
                    error=words,
                    tokens=tokens,
                )
            )
            nudge.wait(_GAUGE_S)
            nudge.clear()
            if self._seen.get(uid, (False,))[0]:
                return


def pod_record(event: str, item: Object, at: float) -> Pod:
    """Return a pod's record from the object that a watch brought."""
    meta, status = item["metadata"], item.get("status", {})
    deletion = meta.get("deletionTimestamp")
    grace = meta.get("deletionGracePeriodSeconds")
    created = meta.get("creationTimestamp")
    return Pod(
        at=at,
        event=event,
        name=meta["name"],
        uid=meta["uid"],
        node=item.get("spec", {}).get("nodeName") or "",
        phase=status.get("phase") or "",
        ready=any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status.get("conditions") or []
        ),
        created_at=epoch(created) if created else None,
        unschedulable=next(
            (
                condition.get("message") or ""
                for condition in status.get("conditions") or []
                if condition.get("reason") == "Unschedulable"
            ),
            "",
        ),
        deletion_at=epoch(deletion) - (grace or 0) if deletion else None,
        grace_s=grace if deletion else None,
        containers=[_container(container) for container in status.get("containerStatuses") or []],
    )


def autoscaler_record(event: str, item: Object, at: float) -> Autoscaler:
    """Return the record of a ScaledObject or a HorizontalPodAutoscaler, all that it declares in."""
    meta, status = item["metadata"], item.get("status") or {}
    owner = next(iter(meta.get("ownerReferences") or ()), None)
    scaled_at = status.get("lastScaleTime")
    return Autoscaler(
        at=at,
        object=f"{item['kind']}/{meta['name']}",
        made_by=f"{owner['kind']}/{owner['name']}" if owner else "",
        declared=undressed(item),
        conditions={
            condition["type"]: _condition(condition)
            for condition in status.get("conditions") or []
            if condition.get("type")
        },
        current=status.get("currentReplicas"),
        desired=status.get("desiredReplicas"),
        value=_followed(status.get("currentMetrics") or []),
        scaled_at=epoch(scaled_at) if scaled_at else None,
        gone=event == "DELETED",
    )


def _condition(condition: Object) -> str:
    said = (condition.get("status"), condition.get("reason"), condition.get("message"))
    return ": ".join(str(part)[:300] for part in said if part)


def _followed(metrics: list[Object]) -> float | None:
    """Return the value of the first metric that is one of the engine's, or its average."""
    for metric in metrics:
        kind = str(metric.get("type", "")).lower()
        current = (metric.get(kind) or {}).get("current") or {} if kind != "resource" else {}
        for name in ("averageValue", "value"):
            try:
                return quantity(current.get(name), name)
            except ShapeError:
                continue
    return None


def _container(status: Object) -> dict[str, Any]:
    state: Object = status.get("state") or {}
    name = next(iter(state), "waiting")
    inner: Object = state.get(name) or {}
    if name != "terminated" and inner.get("exitCode") is None:
        # a container that was started again tells how it ended before
        before: Object = (status.get("lastState") or {}).get("terminated") or {}
    else:
        before = inner
    started = inner.get("startedAt")
    finished = before.get("finishedAt")
    return {
        "name": status["name"],
        "state": name,
        "exit_code": before.get("exitCode"),
        "reason": before.get("reason") or inner.get("reason") or "",
        "started_at": epoch(started) if started else None,
        "finished_at": epoch(finished) if finished else None,
        "restarts": status.get("restartCount", 0),
        "image": status.get("image", ""),
        "image_id": status.get("imageID", ""),
    }


def endpoints_record(slices: Iterable[Object], at: float) -> Endpoints:
    """Return a Service's endpoints over all its EndpointSlices."""
    ready: set[str] = set()
    terminating: set[str] = set()
    listed: dict[str, list[str]] = {}
    for item in slices:
        in_slice: set[str] = set()
        for endpoint in item.get("endpoints") or []:
            name = (endpoint.get("targetRef") or {}).get("name")
            conditions = endpoint.get("conditions") or {}
            if not name:
                continue
            if conditions.get("terminating"):
                terminating.add(name)
            elif conditions.get("ready") is not False:
                in_slice.add(name)
        ready |= in_slice
        listed[item["metadata"]["name"]] = sorted(in_slice)
    return Endpoints(at=at, ready=sorted(ready), terminating=sorted(terminating), slices=listed)


def event_time(item: Object) -> float | None:
    """Return when a Kubernetes Event last happened, or None if it doesn't say."""
    series = item.get("series") or {}
    stamp = (
        series.get("lastObservedTime")
        or item.get("lastTimestamp")
        or item.get("eventTime")
        or item["metadata"].get("creationTimestamp")
    )
    return epoch(stamp) if stamp else None


def epoch(stamp: str) -> float:
    """Return seconds since the epoch of an RFC 3339 time."""
    return datetime.fromisoformat(stamp).timestamp()


def metric(text: str, name: str | None) -> float | None:
    """Return the sum over all label sets of one metric in Prometheus' text format, or None.

    Args:
        text: What an engine exports.
        name: The metric's name, with a matcher in braces if only some of its samples count.
    """
    if not name:
        return None
    wanted, _, matcher = name.partition("{")
    values = []
    for line in text.splitlines():
        if not line.startswith(wanted):
            continue
        rest = line[len(wanted) :]
        labels = ""
        if rest.startswith("{"):
            labels, _, rest = rest[1:].rpartition("}")
        if not rest.startswith(" ") or (matcher and matcher.rstrip("}") not in labels):
            continue
        try:
            values.append(float(rest.split()[0]))
        except (ValueError, IndexError):
            continue
    return sum(values) if values else None
