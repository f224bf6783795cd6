"""What links an engine's queue to the number of replicas, as a live cluster shows it.

The queue that an autoscaler acts on goes through many hands. A finding of a live check begins with
the link that broke, so that nobody has to look for it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, ValidationError, convert, field, to_builtins

from drainproof.model import promql
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from drainproof.model.promql import Matcher
    from drainproof.model.running import Pod
    from drainproof.model.scaler import Scaler, Trigger
    from drainproof.model.workload import Workload

TO_SERVICE: Final = "engine → Service"
TO_MONITOR: Final = "Service → monitor"
TO_PROMETHEUS: Final = "monitor → Prometheus"
TO_QUERY: Final = "Prometheus → query"
TO_KEDA: Final = "query → KEDA"
TO_HPA: Final = "KEDA → HPA"
METRICS_TO_HPA: Final = "metrics → HPA"
"""As of a HorizontalPodAutoscaler that is not KEDA's."""
TO_DEPLOYMENT: Final = "HPA → Deployment"
TO_POD: Final = "Deployment → pod"
TO_STREAMS: Final = "pod → streams"

_FILTERS = regex(r"\{[^{}]*\}")
_LEAVES_OUT = regex(r"[<>]|[=!]=|\b(?:and|unless)\b", re.IGNORECASE)
_LABEL = regex(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Target(Struct, frozen=True):
    """One address that Prometheus scrapes."""

    pod: str
    """``namespace/name``."""
    pool: str
    """Which scrape configuration it is of: ``serviceMonitor/inference/llama/0``."""
    address: str
    """Host and port."""
    path: str
    health: str
    """``up``, ``down`` or ``unknown``, which is before the first scrape."""
    error: str
    """What went wrong in the last scrape; empty if nothing did."""

    @property
    def port(self) -> int | None:
        """The port that is scraped."""
        port = self.address.rpartition(":")[2]
        return int(port) if port.isdecimal() else None


class Answer(Struct, frozen=True):
    """What Prometheus answers an autoscaler's query with."""

    values: tuple[float | None, ...] = ()
    """The value of each series; None for infinity and for what is not a number."""
    low: float | None = None
    """The least and the most that it was over :attr:`span_s`; None if that can't be told."""
    high: float | None = None
    span_s: int = 0
    error: str = ""
    """Why there is none, in words."""
    refused: bool = False
    """Whether Prometheus takes the query itself for wrong."""


class Series(Struct, frozen=True):
    """One series that a query reads."""

    pod: str
    """``namespace/name``, also of a pod that is not in the Snapshot; empty if no label names it."""
    said: str
    """The same in words, or the labels that it has instead."""
    target: str
    """What was scraped for it: job and instance."""
    value: float


class Own(Struct, frozen=True):
    """What a pod itself says at its metrics' address, as a sum over its series."""

    low: float = 0.0
    """The least and the most of several looks, some before the query and some after it."""
    high: float = 0.0
    step: float = 0.0
    """The most that it changed from one look to the next."""
    covered: bool = False
    """Whether Prometheus scraped it between these looks."""
    error: str = ""
    """Why it could not be asked, in words."""


class Straight(Struct, frozen=True):
    """A query that is a sum of the engine's metrics as they are, times a number."""

    selectors: tuple[tuple[str, float], ...]
    """Each selector as PromQL, and what its sum counts."""


class Chain(Struct, frozen=True):
    """What Prometheus and the pods themselves said at one moment."""

    targets: tuple[Target, ...] = ()
    targets_error: str = ""
    """Why there are none; empty if they were read."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """By query."""
    series: dict[str, tuple[Series, ...]] = field(default_factory=dict)
    """By selector: what the queries read."""
    own: dict[str, dict[str, Own]] = field(default_factory=dict)
    """By selector and pod: what the pods say of the same."""

    def targets_of(self, pod: Pod) -> list[Target]:
        """Return what is scraped of a pod."""
        return [target for target in self.targets if target.pod == key_of(pod)]

    def saved(self) -> Any:  # noqa: ANN401 - JSON
        """Return the form that a saved Snapshot holds."""
        return to_builtins(self)

    @classmethod
    def from_saved(cls, values: object) -> Chain:
        """Return what :meth:`saved` gave.

        Raises:
            TypeError: A part is missing or has another type, as from a damaged file.
        """
        try:
            return convert(values, cls)
        except ValidationError as error:
            raise TypeError(str(error)) from None


def broken(link: str, what: str) -> str:
    """Return a message that begins with the link that broke."""
    return f"{link}: {what}"


def key_of(pod: Pod) -> str:
    """Return a pod as series are filed: ``namespace/name``."""
    return f"{pod.namespace}/{pod.name}"


def asked_by(scaler: Scaler) -> Iterator[Trigger]:
    """Yield the triggers of an autoscaler that ask Prometheus."""
    for trigger in scaler.triggers:
        if trigger.promql and trigger.type == "prometheus":
            yield trigger


def span_of(scaler: Scaler) -> int:
    """Return the seconds in which KEDA has surely looked twice."""
    return 2 * (scaler.polling_s or 0) + 30


def activation_of(trigger: Trigger) -> float | None:
    """Return what a trigger's answer must exceed to be active; None if that can't be read."""
    try:
        return float(trigger.activation or 0)
    except ValueError:
        return None


def may_be_empty(query: str) -> bool:
    """Tell whether a query may have no answer for no other reason than its values."""
    return bool(_LEAVES_OUT.search(_FILTERS.sub("", query)))


def is_of(workload: Workload, pod: str) -> bool:
    """Tell whether a pod that is not in the Snapshot, being newer or gone, is of a workload."""
    return pod.startswith(f"{workload.namespace}/{workload.name}-")


def straight(query: str) -> Straight | None:
    """Return a query as a sum of metrics as they are; None if it is anything else."""
    parsed = promql.parse(query)
    if parsed.error:
        return None
    found = _straight(query)
    return None if found is None else Straight(found)


@lru_cache(maxsize=1024)
def _straight(query: str) -> tuple[tuple[str, float], ...] | None:
    return _sums(promql.parser().parse(query), 1.0)


def _sums(node: Any, factor: float) -> tuple[tuple[str, float], ...] | None:  # noqa: ANN401 - the parser has no types
    kind = type(node).__name__
    if kind == "ParenExpr":
        return _sums(node.expr, factor)
    if kind == "AggregateExpr" and str(node.op) == "sum":
        inner = node.expr
        while type(inner).__name__ == "ParenExpr":
            inner = inner.expr
        if type(inner).__name__ != "VectorSelector" or not inner.name:
            return None
        if inner.offset or inner.at or inner.matchers.or_matchers:
            return None
        return ((str(promql.selector_of(inner)), factor),)
    return _joined(node, factor) if kind == "BinaryExpr" else None


def _joined(node: Any, factor: float) -> tuple[tuple[str, float], ...] | None:  # noqa: ANN401 - as above
    op = str(node.op)
    left, right = (getattr(side, "val", None) for side in (node.lhs, node.rhs))
    if op == "or":  # or vector(0)
        return _sums(node.lhs, factor) if type(node.rhs).__name__ == "Call" else None
    if op == "*" and left is not None:
        return _sums(node.rhs, factor * left)
    if op == "*" and right is not None:
        return _sums(node.lhs, factor * right)
    if op == "/" and right:
        return _sums(node.lhs, factor / right)
    if op == "+" and left is None and right is None:
        sides = _sums(node.lhs, factor), _sums(node.rhs, factor)
        return None if sides[0] is None or sides[1] is None else (*sides[0], *sides[1])
    return None


def exposed(text: str, selector: str) -> float:
    """Return the sum of what a selector reads in a page of metrics.

    Filters on labels that the page does not have are of what Prometheus adds, and let through.
    """
    (parsed,) = promql.parse(selector).selectors
    total = 0.0
    for line in text.splitlines():
        if not line.startswith(parsed.use.metric):
            continue
        name, _, rest = line.partition("{")
        labels, _, number = rest.rpartition("}") if rest else ("", "", line.partition(" ")[2])
        if (name if rest else line.partition(" ")[0]) != parsed.use.metric:
            continue
        if _accepted(dict(_LABEL.findall(labels)), parsed.matchers):
            total += float(number.split()[0])
    return total


def _accepted(labels: Mapping[str, str], matchers: Sequence[Matcher]) -> bool:
    return all(
        item.accepts(labels[item.label]) is not False for item in matchers if item.label in labels
    )
