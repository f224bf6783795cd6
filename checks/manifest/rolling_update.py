"""Rolling updates keep full capacity.

What it checks
    No replica may be missing during a rollout, and at least one may be extra, at every number of
    replicas that the autoscaler allows. Percentages count as Kubernetes rounds them: 25 %, the
    default, is 0 missing below 4 replicas and 1 at 4. ``Recreate`` fails; so does a ``type`` that
    the kind has not, and a strategy that is put where Kubernetes ignores it. A DaemonSet
    has its own ``maxSurge``, and so do other kinds; a StatefulSet can't surge.

Why
    A new replica loads its model for minutes. If an old one may go first, the others take its share
    of requests for that long, and queues grow; with one replica, nothing answers at all.

Fix
    Set ``maxUnavailable: 0`` and ``maxSurge: 1`` under ``spec.strategy.rollingUpdate`` (for a
    DaemonSet ``spec.updateStrategy.rollingUpdate``), and keep one GPU free for the surge. Use a
    Deployment rather than a StatefulSet.

Source
    Module 1.5, "Rolling Update Strategy" and question 4. Kubernetes' documentation on
    ``maxUnavailable`` (rounded down) and ``maxSurge`` (rounded up).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape
from drainproof.model.disruption import replica_counts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from drainproof.model.finding import Finding
    from drainproof.model.scaler import Scaler
    from drainproof.model.workload import RollingUpdate, Workload


@check(
    "DP103",
    severity=Severity.ERROR,
    admission="the replicas that an autoscaler of its own object allows, which are more than the "
    "one of a StatefulSet that names no number",
)
def rolling_update_keeps_capacity(
    workload: Workload, scalers: Sequence[Scaler]
) -> Iterator[Finding]:
    """Yield what takes replicas away during a rollout."""
    update = workload.rolling_update
    if update is None:
        return
    yield from _misplaced(workload, update)
    if update.types and update.type not in update.types:
        yield _unknown(workload, update)
    elif update.type in {"Recreate", "OnDelete"}:
        happens = (
            "all replicas stop before the first new one starts to load its model, and nothing "
            "answers"
            if update.type == "Recreate"
            else "a replica is replaced only once it is deleted, and misses while its model loads"
        )
        yield workload.finding(
            f"{update.path}.type", f"{update.type}: {happens}", fix=_fix(workload, update)
        )
    elif workload.kind == "StatefulSet":
        yield _stateful(workload, update, scalers)
    else:
        yield from _rolling(workload, update, scalers)


def _unknown(workload: Workload, update: RollingUpdate) -> Finding:
    path, right = f"{update.path}.type", update.types[0]
    return workload.finding(
        path,
        f"Kubernetes refuses the type {update.type} in a {workload.kind}, so nothing is rolled out "
        f"at all; expected {' or '.join(update.types)}",
        repair={path: right} if update.type.lower() == right.lower() else None,
        fix=f"Set {path} to {right}.",
    )


_NUMBERS = ("maxUnavailable", "maxSurge")


def _misplaced(workload: Workload, update: RollingUpdate) -> Iterator[Finding]:
    path, right = update.misplaced, update.path
    repair: dict[str, object] = {path: None}
    if not path and update.path in {"spec.strategy", "spec.updateStrategy"}:
        spec = shape.mapping(workload.object, "spec", "")
        strategy = shape.mapping(spec, update.path.removeprefix("spec."), "spec")
        if strategy.keys().isdisjoint(_NUMBERS):
            return
        key = next(key for key in _NUMBERS if key in strategy)
        path, right = f"{update.path}.{key}", f"{update.path}.rollingUpdate"
        repair = {f"{update.path}.{key}": None for key in _NUMBERS}
    if path:
        repair |= {update.unavailable_path: 0, update.surge_path: 1}
        yield workload.finding(
            path,
            f"Kubernetes ignores {path} in a {workload.kind}; it belongs at {right}, so rollouts "
            "go by the defaults",
            repair=repair if update.surge_path else None,
            fix=_fix(workload, update),
        )


def _stateful(workload: Workload, update: RollingUpdate, scalers: Sequence[Scaler]) -> Finding:
    counts = replica_counts(workload, scalers)
    replicas = max(1, counts[0])
    missing = max(1, update.at(replicas)[0])
    alone = replicas <= missing
    if not alone and update.at(counts[-1])[0] > missing:
        replicas = counts[-1]
        missing = update.at(replicas)[0]
    share = "nothing answers" if alone else f"{missing} of {replicas} replicas are missing"
    return workload.finding(
        update.path,
        "a StatefulSet stops a replica before its successor loads, so during a rollout "
        f"{share} for as long as a model loads",
        Severity.ERROR if alone or missing > 1 else Severity.WARNING,
        fix=_fix(workload, update),
    )


def _rolling(
    workload: Workload, update: RollingUpdate, scalers: Sequence[Scaler]
) -> Iterator[Finding]:
    never_extra = update.max_surge.of(1, up=True) < 1
    if update.max_unavailable.count == 0 and not never_extra:
        return
    repair: dict[str, object] = {update.unavailable_path: 0}
    if never_extra:
        repair[update.surge_path] = 1
    if never_extra and update.max_unavailable.of(100, up=False) == 0:
        yield workload.finding(
            update.surge_path,
            "maxUnavailable and maxSurge are both 0: Kubernetes refuses that, since a rollout "
            "could neither stop an old replica nor start a new one",
            repair=repair,
            fix=_fix(workload, update),
        )
        return
    for replicas in _tellers(workload, update, scalers):
        missing, extra = update.at(replicas)
        if missing > 0:
            yield workload.finding(
                update.unavailable_path,
                f"maxUnavailable {update.max_unavailable.written} lets {missing} of {replicas} "
                "replicas go before a new one has loaded, so capacity drops during a rollout"
                + _why(update, replicas, workload),
                repair=repair,
                fix=_fix(workload, update),
            )
            return
        if extra < 1:
            yield workload.finding(
                update.surge_path,
                f"maxSurge {update.max_surge.written} allows no extra replica, so a rollout "
                "can't start a new one before it stops an old one",
                repair=repair,
                fix=_fix(workload, update),
            )
            return


def _fix(workload: Workload, update: RollingUpdate) -> str:
    """Return what to do where the fields are not those of a Deployment."""
    if workload.kind == "StatefulSet":
        return "Use a Deployment, which can start a new replica before it stops an old one."
    if not update.surge_path or workload.kind == "Deployment":
        return ""
    return (
        f"Set {update.unavailable_path} to 0 and {update.surge_path} to 1, and keep the GPUs of "
        "one replica free for the surge."
    )


def _tellers(workload: Workload, update: RollingUpdate, scalers: Sequence[Scaler]) -> Iterator[int]:
    """Yield the numbers of replicas that tell of all: the fewest, and where rounding gives 1."""
    counts = replica_counts(workload, scalers)
    if workload.kind == "DaemonSet":
        counts = range(1, 101)  # a node each; the number of nodes is not in the manifest
    lowest = max(1, counts[0])
    yield lowest
    percent = update.max_unavailable.percent
    if percent:
        first = -(-100 // percent)
        if lowest < first <= counts[-1]:
            yield first


def _why(update: RollingUpdate, replicas: int, workload: Workload) -> str:
    if update.max_unavailable.of(replicas, up=False) == 0:
        return "; both round down to 0 here, and then Kubernetes takes one away"
    fewer = replicas - 1
    rounds = fewer > 0 and update.max_unavailable.of(fewer, up=False) == 0
    if update.max_unavailable.percent is not None and rounds and replicas != workload.replicas:
        return f" (it rounds down to 0 below {replicas} replicas, and the autoscaler allows more)"
    return ""
