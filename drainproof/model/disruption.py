"""What may be taken away by choice: how many replicas there are, and which budget guards them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.quantity import Share
from drainproof.model.selector import Selector, same_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drainproof.model.scaler import Scaler
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

MOST_REPLICAS = 10_000
"""No LLM deployment is larger; keeps an absurd maximum from taking minutes."""


def replica_counts(workload: Workload, scalers: Sequence[Scaler]) -> range:
    """Return every number of replicas that a workload may have: what its autoscalers allow."""
    if not scalers:
        return range(workload.replicas, workload.replicas + 1)
    lowest = min(scaler.min_replicas for scaler in scalers)
    highest = max(scaler.max_replicas for scaler in scalers)
    return range(lowest, max(lowest, min(highest, MOST_REPLICAS)) + 1)


class DisruptionBudget(Located, frozen=True, kw_only=True):
    """A PodDisruptionBudget."""

    min_available: Share | None
    max_unavailable: Share | None
    selector: Selector
    selects_any: bool
    """False if it has no selector, which selects no pod at all."""
    unhealthy_policy: str
    """``IfHealthyBudget`` (Kubernetes' default) or ``AlwaysAllow``."""

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> DisruptionBudget:
        """Read a PodDisruptionBudget.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        spec = shape.mapping(obj, "spec", "")
        selector = Selector.read(spec, "selector", "spec")
        # an empty selector selects every pod of the namespace; before policy/v1 it selected none
        everything = selector.written and obj.get("apiVersion") == "policy/v1"
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            min_available=_share(spec, "minAvailable"),
            max_unavailable=_share(spec, "maxUnavailable"),
            selector=selector,
            selects_any=bool(selector.labels or selector.expressions) or everything,
            unhealthy_policy=shape.text(
                spec, "unhealthyPodEvictionPolicy", "spec", "IfHealthyBudget"
            ),
        )

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Tell whether pods with these labels are under it."""
        return self.selects_any and self.selector.selects(labels)

    def evictable(self, replicas: int) -> int:
        """Return how many of ``replicas`` healthy pods may be evicted at once.

        Percentages are rounded up, as the disruption controller does for both fields.
        """
        if self.max_unavailable is not None:
            return min(replicas, self.max_unavailable.of(replicas, up=True))
        if self.min_available is not None:
            return max(0, replicas - self.min_available.of(replicas, up=True))
        return replicas


def _share(spec: Raw, key: str) -> Share | None:
    value = spec.get(key)
    return None if value is None else Share(value, f"spec.{key}")


class _Index(Struct):
    by_label: dict[tuple[str, str], list[DisruptionBudget]] = field(default_factory=dict)
    """By the first label that a budget asks for."""
    by_expression: list[DisruptionBudget] = field(default_factory=list)
    """Those that ask for no label."""
    selectless: list[DisruptionBudget] = field(default_factory=list)


def _index(snapshot: Snapshot) -> _Index:
    index = _Index()
    for budget in snapshot.read("policy", "PodDisruptionBudget", DisruptionBudget.from_object):
        if budget.selector.labels:
            first = next(iter(budget.selector.labels.items()))
            index.by_label.setdefault(first, []).append(budget)
        elif budget.selects_any:
            index.by_expression.append(budget)
        else:
            index.selectless.append(budget)
    return index


def budgets_for(snapshot: Snapshot, workload: Workload) -> tuple[DisruptionBudget, ...]:
    """Return the PodDisruptionBudgets that select a workload's pods."""
    index = snapshot.join(_index)
    labels = workload.pod_labels
    asked = (budget for pair in labels.items() for budget in index.by_label.get(pair, ()))
    return tuple(
        budget
        for budget in (*asked, *index.by_expression)
        if same_namespace(budget, workload) and budget.selects(labels)
    )


def selectless_budgets(snapshot: Snapshot, workload: Workload) -> tuple[DisruptionBudget, ...]:
    """Return the PodDisruptionBudgets of a workload's namespace that select no pod at all."""
    return tuple(
        budget for budget in snapshot.join(_index).selectless if same_namespace(budget, workload)
    )
