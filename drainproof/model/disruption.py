"""What may be taken away by choice: how many replicas there are, and which budget guards them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named
from drainproof.model.quantity import Share
from drainproof.model.selector import Asking, Selector, same_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drainproof.model.scaler import Scaler
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

GUARDED = ("Deployment", "StatefulSet", "ReplicaSet", "Rollout")
"""Kinds of workloads that the disruption controller counts the replicas of, so that a budget can
guard them."""
MOST_REPLICAS = 10_000
"""No LLM deployment is larger; keeps an absurd maximum from taking minutes."""


def replica_counts(workload: Workload, scalers: Sequence[Scaler]) -> range:
    """Return every number of replicas that a workload may have: what its autoscalers allow."""
    if not scalers:
        return range(workload.replicas, workload.replicas + 1)
    lowest, highest = scalers[0].min_replicas, scalers[0].max_replicas
    for scaler in scalers[1:]:
        lowest, highest = min(lowest, scaler.min_replicas), max(highest, scaler.max_replicas)
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
    asking: Asking[DisruptionBudget]
    selectless: list[DisruptionBudget]


def _index(snapshot: Snapshot) -> _Index:
    budgets = snapshot.read("policy", "PodDisruptionBudget", DisruptionBudget.from_object)
    return _Index(
        Asking((budget.selector.labels, budget) for budget in budgets if budget.selects_any),
        [budget for budget in budgets if not budget.selects_any],
    )


def budgets_for(snapshot: Snapshot, workload: Workload) -> tuple[DisruptionBudget, ...]:
    """Return the PodDisruptionBudgets that select a workload's pods."""
    asking = snapshot.join(_index).asking
    if not asking:
        return ()
    labels = workload.pod_labels
    return tuple(
        budget
        for budget in (*asking.candidates(labels), *asking.for_nothing)
        if same_namespace(budget, workload) and budget.selects(labels)
    )


def selectless_budgets(snapshot: Snapshot, workload: Workload) -> tuple[DisruptionBudget, ...]:
    """Return the PodDisruptionBudgets that select no pod, and that a workload is first to need.

    Each belongs to one workload of its namespace, so that it is blamed once, not once for each.
    """
    return snapshot.join(_selectless).get(id(workload), ())


def _selectless(snapshot: Snapshot) -> dict[int, tuple[DisruptionBudget, ...]]:
    """Return budgets without a selector by the first workload that no budget selects."""
    found: dict[int, tuple[DisruptionBudget, ...]] = {}
    for budget in snapshot.join(_index).selectless:
        for workload in snapshot.workloads:
            if (
                workload.kind in GUARDED
                and same_namespace(budget, workload)
                and not budgets_for(snapshot, workload)
            ):
                found[id(workload)] = (*found.get(id(workload), ()), budget)
                break
    return found
