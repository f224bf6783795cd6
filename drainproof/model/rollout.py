"""How each kind of workload replaces its pods, with what Kubernetes or its operator fills in."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shape
from drainproof.model.quantity import Share

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.model.shape import Raw


_ROLLING = "RollingUpdate"


class RollingUpdate(Struct, frozen=True):
    """How a rollout replaces pods, with the defaults filled in."""

    path: str
    """Field path of the strategy."""
    type: str
    """``RollingUpdate``, ``Recreate`` or ``OnDelete``; another word is as it was written."""
    max_unavailable: Share
    max_surge: Share
    misplaced: str
    """Field path of a strategy put where Kubernetes ignores it; empty if there is none."""
    unavailable_path: str
    """Field path of the number that may be missing."""
    surge_path: str
    """Field path of the number that may be extra; empty if the kind can't surge."""
    types: tuple[str, ...] = ()
    """What the API server takes as the type; empty if the kind has none to write."""

    def at(self, replicas: int) -> tuple[int, int]:
        """Return how many pods may be missing and how many may be extra, as the controller counts.

        A percentage is rounded down for missing pods and up for extra ones; where both come out as
        0, one may be missing.
        """
        missing = self.max_unavailable.of(replicas, up=False)
        extra = self.max_surge.of(replicas, up=True)
        return (1, 0) if missing == 0 and extra == 0 else (missing, extra)


def read(rolls: str, obj: Raw) -> RollingUpdate | None:
    """Return how an object of a kind that ``rolls`` in this way replaces its pods; None if not.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    reader = READERS.get(rolls)
    return reader(obj) if reader else None


def _deployment(obj: Raw) -> RollingUpdate:
    return _rolling(obj, "spec", "strategy", ("25%", "25%"), types=(_ROLLING, "Recreate"))


def _statefulset(obj: Raw) -> RollingUpdate:
    return _rolling(obj, "spec", "updateStrategy", (1, None), types=(_ROLLING, "OnDelete"))


def _daemonset(obj: Raw) -> RollingUpdate:
    return _rolling(obj, "spec", "updateStrategy", (1, 0), types=(_ROLLING, "OnDelete"))


def _leaderworkerset(obj: Raw) -> RollingUpdate:
    return _rolling(
        obj,
        "spec",
        "rolloutStrategy",
        (1, 0),
        details="rollingUpdateConfiguration",
        types=(_ROLLING,),
        checked=False,
    )


def _rollout(obj: Raw) -> RollingUpdate:
    strategy = shape.mapping(shape.mapping(obj, "spec", ""), "strategy", "spec")
    if "blueGreen" in strategy:
        return _full("spec.strategy.blueGreen")
    canary = shape.mapping(strategy, "canary", "spec.strategy")
    at = "spec.strategy.canary"
    return RollingUpdate(
        path="spec.strategy",
        type="RollingUpdate",
        max_unavailable=_share(canary, "maxUnavailable", at, "25%"),
        max_surge=_share(canary, "maxSurge", at, "25%"),
        misplaced="",
        unavailable_path=f"{at}.maxUnavailable",
        surge_path=f"{at}.maxSurge",
    )


def _inference_service(obj: Raw) -> RollingUpdate | None:
    """Return how KServe's Deployment or Knative Service rolls; None if that can't be told."""
    predictor = shape.mapping(shape.mapping(obj, "spec", ""), "predictor", "spec")
    metadata = shape.mapping(obj, "metadata", "")
    mode = shape.mapping(metadata, "annotations", "metadata").get(
        "serving.kserve.io/deploymentMode"
    )
    if str(mode) in {"Serverless", "Knative"}:
        return _full("spec.predictor")
    if str(mode) in {"RawDeployment", "Standard"} or "deploymentStrategy" in predictor:
        return _rolling(
            obj,
            "spec.predictor",
            "deploymentStrategy",
            ("25%", "25%"),
            types=(_ROLLING, "Recreate"),
            checked=False,
        )
    return None


def _revision(_: Raw) -> RollingUpdate:
    """Knative keeps the old revision until the new one is ready."""
    return _full("spec.template")


def _cluster(obj: Raw) -> RollingUpdate | None:
    """Read a RayService: it starts a second cluster, unless it is told not to upgrade at all."""
    spec = shape.mapping(obj, "spec", "")
    strategy = shape.mapping(spec, "upgradeStrategy", "spec")
    if strategy.get("type") == "None":
        return None
    return _full("spec.upgradeStrategy")


def _full(path: str) -> RollingUpdate:
    """Return the rollout of what has all new pods ready before the old ones go."""
    return RollingUpdate(
        path=path,
        type="RollingUpdate",
        max_unavailable=Share(0, path),
        max_surge=Share("100%", path),
        misplaced="",
        unavailable_path=path,
        surge_path=path,
    )


READERS: dict[str, Callable[[Raw], RollingUpdate | None]] = {
    "deployment": _deployment,
    "statefulset": _statefulset,
    "daemonset": _daemonset,
    "leaderworkerset": _leaderworkerset,
    "rollout": _rollout,
    "inferenceservice": _inference_service,
    "revision": _revision,
    "cluster": _cluster,
}
"""By :attr:`drainproof.model.kinds.Kind.rolls`."""


def _rolling(  # noqa: PLR0913 - where a kind keeps it, and what it fills in
    obj: Raw,
    parent: str,
    key: str,
    defaults: tuple[object, object],
    *,
    types: tuple[str, ...],
    details: str = "rollingUpdate",
    checked: bool = True,
) -> RollingUpdate:
    """Read a strategy with ``type``, ``maxUnavailable`` and ``maxSurge``.

    Args:
        obj: The object.
        parent: Field path of what holds the strategy.
        key: The strategy's field.
        defaults: Of ``maxUnavailable`` and ``maxSurge``; None if it can't surge.
        types: What the API server takes as ``type``.
        details: The strategy's field that holds both.
        checked: Whether to look for strategies in the wrong place.
    """
    at, where = obj, ""
    for step in parent.split("."):
        at, where = shape.mapping(at, step, where), shape.join(where, step)
    path = f"{where}.{key}"
    strategy = shape.mapping(at, key, where)
    misplaced = _misplaced(obj, at, key) if checked else ""
    if not strategy and not misplaced:
        return _unwritten(path, details, types, *defaults)
    return _written(strategy, path, details, types, defaults, misplaced)


@lru_cache(maxsize=32)
def _unwritten(
    path: str, details: str, types: tuple[str, ...], unavailable: object, surge: object
) -> RollingUpdate:
    """Return what Kubernetes fills in; one value for all workloads of a kind."""
    return _written({}, path, details, types, (unavailable, surge), "")


def _written(  # noqa: PLR0913, PLR0917 - as above
    strategy: Raw,
    path: str,
    details: str,
    types: tuple[str, ...],
    defaults: tuple[object, object],
    misplaced: str,
) -> RollingUpdate:
    numbers = shape.mapping(strategy, details, path)
    unavailable, surge = defaults
    return RollingUpdate(
        path=path,
        type=shape.text(strategy, "type", path) or _ROLLING,
        max_unavailable=_share(numbers, "maxUnavailable", f"{path}.{details}", unavailable),
        max_surge=Share(0, path)
        if surge is None
        else _share(numbers, "maxSurge", f"{path}.{details}", surge),
        misplaced=misplaced,
        unavailable_path=f"{path}.{details}.maxUnavailable",
        surge_path="" if surge is None else f"{path}.{details}.maxSurge",
        types=types,
    )


def _share(numbers: Raw, key: str, path: str, default: object) -> Share:
    value = numbers.get(key)
    return Share(default if value is None else value, f"{path}.{key}")


def _misplaced(obj: Raw, spec: Raw, own: str) -> str:
    template = spec.get("template")
    pod = template.get("spec") if isinstance(template, dict) else None
    for path, place in (
        ("", obj),
        ("spec", spec),
        ("spec.template", template),
        ("spec.template.spec", pod),
    ):
        if not isinstance(place, dict) or place.keys().isdisjoint(_STRATEGIES):
            continue
        for key in _STRATEGIES:
            if key in place and (path, key) != ("spec", own):
                return f"{path}.{key}" if path else key
    return ""


_STRATEGIES = ("strategy", "updateStrategy", "rollingUpdate")
"""Fields that say how to roll, wherever people put them."""
