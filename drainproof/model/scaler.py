"""An autoscaler as checks ask about it: a KEDA ScaledObject or a HorizontalPodAutoscaler."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from drainproof.model import shape
from drainproof.model.finding import Located, Origin, named

if TYPE_CHECKING:
    from drainproof.model.shape import Raw

_NOT_NAMES = re.compile(
    r"""
      \{[^{}]*\}                                       # label filters
    | \[[^\[\]]*\]                                     # ranges
    | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*'            # strings
    | \b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)   # label lists
    | \b(?:by|without|on|ignoring|group_left|group_right|and|or|unless|bool|offset|inf|nan)\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NAME = re.compile(r"(?<![\w:.])[A-Za-z_:][\w:]*(?!\s*\(|[\w:])")
_KINDS = {"keda.sh": "ScaledObject", "autoscaling": "HorizontalPodAutoscaler"}
_NAME_FILTER = re.compile(r"""__name__\s*=~?\s*["']([^"']+)["']""")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One signal that an autoscaler follows."""

    path: str
    """Field path of what names the signal."""
    type: str
    """KEDA's trigger type (``prometheus``, ``cpu`` …), or ``resource``, ``pods``, ``object`` or
    ``external`` for a metric of a HorizontalPodAutoscaler."""
    metrics: tuple[str, ...]
    """Names of the metrics that it reads, as far as it names any."""
    written: str
    """The query or the name, on one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaler(Located):
    """An autoscaler and what it follows."""

    target_kind: str
    target_name: str
    min_replicas: int
    """Fewest replicas it allows; KEDA's default is 0, HorizontalPodAutoscaler's is 1."""
    max_replicas: int
    """Most replicas it allows; KEDA's default is 100."""
    triggers: tuple[Trigger, ...]

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Scaler:
        """Read a ScaledObject or a HorizontalPodAutoscaler.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        spec = shape.mapping(obj, "spec", "")
        target = shape.mapping(spec, "scaleTargetRef", "spec")
        keda = obj.get("kind") == "ScaledObject"
        lowest, highest = (
            ("minReplicaCount", "maxReplicaCount") if keda else ("minReplicas", "maxReplicas")
        )
        return cls(
            **named(obj),
            object=obj,
            origin=origin,
            target_kind=shape.text(target, "kind", "spec.scaleTargetRef", "Deployment"),
            target_name=shape.text(target, "name", "spec.scaleTargetRef"),
            min_replicas=shape.integer(spec, lowest, "spec", 0 if keda else 1),
            max_replicas=shape.integer(spec, highest, "spec", 100 if keda else 1),
            triggers=_keda_triggers(spec) if keda else _hpa_metrics(spec),
        )


def is_scaler(obj: Raw) -> bool:
    """Tell whether a raw object is an autoscaler."""
    version = obj.get("apiVersion")
    group = version.partition("/")[0] if isinstance(version, str) else ""
    return group in _KINDS and obj.get("kind") == _KINDS[group]


def metric_names(query: str) -> tuple[str, ...]:
    """Return the names of the metrics in a PromQL query, in order, without parsing it fully."""
    bare = _NOT_NAMES.sub(" ", query)
    found = [*_NAME.findall(bare), *_NAME_FILTER.findall(query)]
    return tuple(dict.fromkeys(found))


def _keda_triggers(spec: Raw) -> tuple[Trigger, ...]:
    found = []
    for index, item in enumerate(shape.mappings(spec, "triggers", "spec")):
        path = f"spec.triggers[{index}]"
        kind = shape.text(item, "type", path)
        metadata = shape.string_map(item, "metadata", path)
        query = metadata.get("query", "")
        if query:
            found.append(
                Trigger(
                    f"{path}.metadata.query", kind, metric_names(query), " ".join(query.split())
                )
            )
            continue
        name = next(
            (metadata[key] for key in ("metricName", "valueLocation", "url") if key in metadata), ""
        )
        found.append(Trigger(f"{path}.type", kind, (name,) if name else (), name or kind))
    return tuple(found)


def _hpa_metrics(spec: Raw) -> tuple[Trigger, ...]:
    if "targetCPUUtilizationPercentage" in spec:  # autoscaling/v1
        return (Trigger("spec.targetCPUUtilizationPercentage", "resource", ("cpu",), "cpu"),)
    found = []
    for index, item in enumerate(shape.mappings(spec, "metrics", "spec")):
        path = f"spec.metrics[{index}]"
        kind = shape.text(item, "type", path)
        field = kind[:1].lower() + kind[1:]
        source = shape.mapping(item, field, path)
        path = f"{path}.{field}"
        if "metric" in source:
            metric = shape.mapping(source, "metric", path)
            name = shape.text(metric, "name", f"{path}.metric")
            path = f"{path}.metric.name"
        else:
            name = shape.text(source, "name", path)
            path = f"{path}.name"
        resource = kind in {"Resource", "ContainerResource"}
        found.append(Trigger(path, "resource" if resource else kind.lower(), (name,), name))
    if not found:  # Kubernetes fills in 80 % of CPU
        return (Trigger("spec.metrics", "resource", ("cpu",), "cpu"),)
    return tuple(found)
