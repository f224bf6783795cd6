"""What Prometheus answers an autoscaler's own query with while a fault is on, about once a second.

It says which link broke between the engine's queue and KEDA: whether the queue was scraped, whether
the query reads it, and whether it reads anything else.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from drainproof.collect.chain import value_of
from drainproof.collect.prometheus import Conversation, named_by
from drainproof.errors import UserError
from drainproof.model import chain, promql
from drainproof.model.secrets import redacted
from drainproof.streams.history import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.collect.prometheus import Place
    from drainproof.faults.consent import Target
    from drainproof.faults.observe import View
    from drainproof.model.scaler import Scaler

_EVERY_S = 1.0
_OTHERS = 3
"""Pods of others that an answer names."""
_WORDS = 300


class Asking:
    """Asks in a thread of its own until stopped.

    Args:
        place: The Prometheus.
        target: Whose queue it is.
        scalers: What follows it.
        view: Where answers go.
    """

    def __init__(self, place: Place, target: Target, scalers: Iterable[Scaler], view: View) -> None:
        self._prometheus = Conversation(place)
        self._target = target
        self._view = view
        self._queries = {
            trigger.promql: _selectors(trigger.promql)
            for scaler in scalers
            for trigger in chain.asked_by(scaler)
        }
        self._stop = threading.Event()
        # raises here, before anything is done, if there is none
        self._ahead_s = self._prometheus.clock() - view.now()

    def start(self) -> None:
        """Begin to ask."""
        threading.Thread(target=self._ask, name="prometheus", daemon=True).start()

    def stop(self) -> None:
        """Stop; what is asked now is not recorded any more."""
        self._stop.set()

    def _ask(self) -> None:
        while not self._stop.is_set():
            for query, selectors in self._queries.items():
                answer = self._answer(query, selectors)
                if not self._stop.is_set():
                    self._view.add(answer)
            self._stop.wait(_EVERY_S)

    def _answer(self, query: str, selectors: tuple[str, ...] | None) -> Answer:
        at = self._view.now()
        when = at + self._ahead_s
        said: dict[str, Any] = {"at": at, "query": redacted(query)}
        try:
            found = self._prometheus.at(query, when)
            values = [value for item in found if (value := value_of(item)) is not None]
            said["value"] = values[0] if len(found) == len(values) == 1 else None
            if selectors is not None:
                said |= self._reads(selectors, when)
            if not found or said.get("pods") == 0:
                said |= self._why_not(when)
        except UserError as error:
            said["error"] = error.message[:_WORDS]
        return Answer(**said)

    def _reads(self, selectors: tuple[str, ...], when: float) -> dict[str, Any]:
        """Return whose samples a query reads, and how new they are."""
        sampled: list[float] = []
        own: set[str] = set()
        others: set[str] = set()
        for selector in selectors:
            for item in self._prometheus.at(f"timestamp({selector})", when):
                labels = item.get("metric") or {}
                if (stamp := value_of(item)) is not None:
                    sampled.append(stamp)
                if pod := self._pod(labels):
                    own.add(pod)
                elif (named := named_by(labels)) and not chain.is_of(self._target.workload, named):
                    others.add(named)
        return {
            "sampled": max(sampled) - self._ahead_s if sampled else None,
            "oldest": min(sampled) - self._ahead_s if sampled else None,
            "pods": len(own),
            "others": sorted(others)[:_OTHERS],
        }

    def _why_not(self, when: float) -> dict[str, Any]:
        """Return whether the engine's own queue is scraped, and if not, why."""
        metric = (self._target.engine.waiting_metric or "").partition("{")[0]
        if not metric:
            return {}
        series = self._prometheus.at(f"timestamp({metric})", when)
        scraped = {self._pod(item.get("metric") or {}) for item in series} - {""}
        if scraped:
            return {"scraped": len(scraped)}
        return {"scraped": 0, "target": self._scrape()}

    def _scrape(self) -> str:
        """Return what the last scrape of the target's pods said, or that there is none."""
        said = []
        for item in self._prometheus.targets():
            found = item.get("discoveredLabels") or {}
            labels = {**found, **(item.get("labels") or {})}
            if self._pod({**labels, "instance": found.get("__address__", "")}):
                words = " ".join(str(item.get("lastError", "")).split())
                said.append(words or str(item.get("health", "unknown")))
        return redacted(said[0])[:_WORDS] if said else "none"

    def _pod(self, labels: dict[str, Any]) -> str:
        """Return the target's pod that labels name; empty if they name none of them."""
        space, _, name = named_by(labels).rpartition("/")
        ours = {pod.name for pod in self._view.pods.values()}
        if space in {"", self._target.namespace} and name in ours:
            return name
        address = str(labels.get("instance", "")).rpartition(":")[0].strip("[]")
        name = self._view.addresses.get(address, "")
        return name if name in ours else ""


def _selectors(query: str) -> tuple[str, ...] | None:
    """Return what a query reads, each as PromQL; None if it is no plain sum."""
    found = None if promql.parse(query).error else chain.straight(query)
    return None if found is None else tuple(selector for selector, _ in found.selectors)
