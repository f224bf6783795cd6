"""Reads what links an engine's queue to the number of replicas: targets, queries, pods themselves.

Pods are read through the API server (``get`` on ``pods/proxy``), before and after Prometheus is
asked. Where they disagree with it, both are asked again for a while: the queue may have moved.
"""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from drainproof.collect.api import FORBIDDEN, MOST_PAGE, OK, Api
from drainproof.errors import UserError
from drainproof.model import chain, promql, scaler
from drainproof.model.chain import Answer, Chain, Own, Series, Target
from drainproof.model.running import pods_of
from drainproof.model.secrets import redacted
from drainproof.model.shape import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drainproof.model.engine import Engine
    from drainproof.model.running import Pod
    from drainproof.model.snapshot import Snapshot

WAIT_S = 75
"""How long to ask for, where pods and Prometheus disagree; it scrapes once a minute by default."""
MOST_PODS = 200
"""Pods that are read at most; a page of metrics is some hundred kB."""
_LATE_S = 2.0
"""How long before now Prometheus is asked for: a scrape that has begun by then is stored."""
_STEP_S = 5
_AGAIN_S = 1.0
_SOME = 1e-6

Query = dict[str, Any]
"""One series of an answer, as Prometheus writes it."""


class Asking(Struct, frozen=True):
    """How Prometheus is asked; each raises NoAnswerError, with the HTTP status, if it refuses."""

    query: Callable[[str, float], list[Query]]
    """An instant query at a time."""
    targets: Callable[[], list[dict[str, Any]]]
    """The active targets."""
    clock: Callable[[], float]
    """Prometheus' own time."""
    pod_of: Callable[[Mapping[str, Any]], str | None]
    """The pod in the Snapshot that labels name, as ``namespace/name``."""
    named_by: Callable[[Mapping[str, Any]], str]
    """The pod that labels name, in the Snapshot or not; empty if they name none."""


def read(asking: Asking, api: Api, snapshot: Snapshot) -> Chain:
    """Read the chain of every LLM workload.

    Args:
        asking: Prometheus.
        api: The cluster.
        snapshot: It, with its pods.
    """
    targets, error = _targets(asking)
    reading = _Reading(asking, api)
    for workload in snapshot.workloads:
        try:
            scalers = scaler.of(snapshot, workload)
        except ShapeError:
            continue  # told of when it is judged
        spans = {
            trigger.promql: chain.span_of(one) for one in scalers for trigger in chain.asked_by(one)
        }
        if spans and workload.engine is not None:
            reading.workload(workload.engine, pods_of(snapshot, workload), spans)
    return Chain(targets, error, reading.answers, reading.series, reading.own)


def _targets(asking: Asking) -> tuple[tuple[Target, ...], str]:
    try:
        found = asking.targets()
    except UserError as error:
        return (), error.message
    kept = []
    for item in found:
        labels = {**(item.get("discoveredLabels") or {}), **(item.get("labels") or {})}
        address = str((item.get("discoveredLabels") or {}).get("__address__", ""))
        pod = asking.pod_of({**labels, "instance": address or labels.get("instance", "")})
        if pod is not None:
            scraped = str(item.get("scrapeUrl", "")).partition("://")[2].partition("?")[0]
            host, slash, path = scraped.rpartition("@")[2].partition("/")
            kept.append(
                Target(
                    pod,
                    str(item.get("scrapePool", "")),
                    host or address,
                    slash + path,
                    str(item.get("health", "unknown")),
                    redacted(" ".join(str(item.get("lastError", "")).split()))[:200],
                )
            )
    return tuple(kept), ""


class _Look(Struct):
    """What has been seen of one pod's own page so far."""

    low: float = math.inf
    high: float = -math.inf
    last: float | None = None
    step: float = 0.0
    error: str = ""
    covered: bool = False

    def add(self, value: float) -> None:
        if self.last is not None:
            self.step = max(self.step, abs(value - self.last))
        self.last = value
        self.low, self.high = min(self.low, value), max(self.high, value)

    def agrees(self, value: float) -> bool:
        return self.low - _SOME <= value <= self.high + _SOME


class _Reading(Struct):
    """What was read so far."""

    asking: Asking
    api: Api
    answers: dict[str, Answer] = field(default_factory=dict)
    series: dict[str, tuple[Series, ...]] = field(default_factory=dict)
    own: dict[str, dict[str, Own]] = field(default_factory=dict)
    deadline: float = field(default_factory=lambda: time.monotonic() + WAIT_S)
    pods_left: int = field(default_factory=lambda: MOST_PODS)

    def workload(self, engine: Engine, pods: tuple[Pod, ...], spans: Mapping[str, int]) -> None:
        """Ask each query of a workload, and its pods for the same."""
        sums = {query: chain.straight(query) for query in spans}
        selectors = list(
            dict.fromkeys(
                selector
                for one in sums.values()
                if one is not None
                for selector, _ in one.selectors
            )
        )
        ready = [pod for pod in pods if pod.ready] if selectors else []
        looks = {one: {chain.key_of(pod): _Look() for pod in ready} for one in selectors}
        began = time.monotonic()
        while True:
            self._look(engine, ready, looks)
            at = self.asking.clock() - _LATE_S
            elapsed = time.monotonic() - began - _LATE_S
            for query, span_s in spans.items():
                self.answers[query] = self._answer(query, at, span_s)
            moving = [selector for selector in selectors if self._selector(selector, at)]
            self._look(engine, ready, looks)
            for selector in moving:
                self._compare(selector, at, looks[selector], elapsed)
            if self._done(looks) or time.monotonic() > self.deadline:
                break
            threading.Event().wait(_AGAIN_S)
        for selector, found in looks.items():
            self.own.setdefault(selector, {}).update(
                {
                    key: Own(error=look.error)
                    if look.error
                    else Own(look.low, look.high, look.step, look.covered)
                    for key, look in found.items()
                }
            )
        self.pods_left -= len(ready)

    def _done(self, looks: Mapping[str, Mapping[str, _Look]]) -> bool:
        for selector, found in looks.items():
            values: dict[str, float] = {}
            for one in self.series.get(selector, ()):
                values[one.pod] = values.get(one.pod, 0.0) + one.value
            for key, look in found.items():
                if not look.error and key in values and not look.agrees(values[key]):
                    return False
        return True

    def _look(
        self, engine: Engine, pods: Iterable[Pod], looks: Mapping[str, Mapping[str, _Look]]
    ) -> None:
        """Read each pod's own page once."""
        for number, pod in enumerate(pods):
            key = chain.key_of(pod)
            mine = {selector: found[key] for selector, found in looks.items()}
            if any(look.error for look in mine.values()):
                continue
            page, error = "", f"more than {MOST_PODS} pods: this one was not read"
            if number < self.pods_left:
                page, error = self._page(engine, pod)
            for selector, look in mine.items():
                try:
                    look.error = error
                    if not error:
                        look.add(chain.exposed(page, selector))
                except (ValueError, IndexError):
                    look.error = "what it answers with are no metrics"

    def _page(self, engine: Engine, pod: Pod) -> tuple[str, str]:
        path = (
            f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}:{engine.port}/proxy"
            f"{engine.metrics_path}"
        )
        try:
            status, body = self.api.get("get pods/proxy", path, accept="text/plain", most=MOST_PAGE)
        except UserError as error:  # as of a pod that never answers
            return "", error.message
        if status == OK:
            return body.decode(errors="replace"), ""
        if status == FORBIDDEN:
            return "", f"forbidden: no permission to get pods/proxy in namespace {pod.namespace}"
        return "", f"{engine.metrics_path} at port {engine.port} answers HTTP {status}"

    def _answer(self, query: str, at: float, span_s: int) -> Answer:
        try:
            values = tuple(value_of(item) for item in self.asking.query(query, at))
        except UserError as error:
            return Answer(
                span_s=span_s,
                error=error.message,
                refused=getattr(error, "status", 0) in {400, 422},
            )
        low, high = self._range(query, at, span_s) if len(values) == 1 else (None, None)
        return Answer(values, low, high, span_s)

    def _range(self, query: str, at: float, span_s: int) -> tuple[float | None, float | None]:
        """Return the least and the most of an answer lately; None if it was not always there."""
        if promql.parse(query).error:  # it could end the brackets that are put around it
            return None, None
        window = f"(({query}\n)[{span_s}s:{_STEP_S}s])"  # a comment ends with its line
        found: list[float | None] = []
        for function in ("count", "min", "max"):
            try:
                answer = self.asking.query(f"{function}_over_time{window}", at)
            except UserError:
                return None, None
            found.append(value_of(answer[0]) if len(answer) == 1 else None)
        count, low, high = found
        if count is None or count < span_s // _STEP_S:
            return None, None
        return low, high

    def _selector(self, selector: str, at: float) -> bool:
        """Ask what a selector reads; tell whether that could be asked."""
        try:
            found = self.asking.query(selector, at)
        except UserError:
            return False
        self.series[selector] = tuple(
            one for item in found if (one := self._series(item)) is not None
        )
        return True

    def _series(self, item: Query) -> Series | None:
        labels, value = item.get("metric") or {}, value_of(item)
        if value is None:
            return None
        pod = self.asking.pod_of(labels) or self.asking.named_by(labels)
        said = pod or ", ".join(f"{key}={labels[key]}" for key in sorted(labels) if key[:2] != "__")
        target = f"{labels.get('job', '')} {labels.get('instance', '')}".strip()
        return Series(pod, said[:200] or "a series without labels", target, value)

    def _compare(
        self, selector: str, at: float, looks: Mapping[str, _Look], elapsed: float
    ) -> None:
        """Note which pods Prometheus has scraped since they were first looked at."""
        try:
            found = self.asking.query(f"time() - timestamp({selector})", at)
        except UserError:
            return
        ages: dict[str, float] = {}
        for item in found:
            pod, age = self.asking.pod_of(item.get("metric") or {}), value_of(item)
            if pod is not None and age is not None:
                ages[pod] = max(age, ages.get(pod, 0.0))
        for key, look in looks.items():
            look.covered = key in ages and ages[key] < elapsed


def value_of(item: Query) -> float | None:
    """Return the value of one series of an answer; None if it is infinite or no number."""
    pair = item.get("value")
    try:
        value = float(pair[1]) if isinstance(pair, list) else math.nan
    except (ValueError, IndexError):
        return None
    return value if math.isfinite(value) else None
