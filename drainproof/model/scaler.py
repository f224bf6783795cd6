"""An autoscaler as checks ask about it, whatever its kind: what it follows, how far and how fast.

A kind of autoscaler is a reader in :data:`READERS`; a workload that brings its own (KServe,
Knative) is one in :data:`BUILT_IN`.
"""

from __future__ import annotations

from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from msgspec.structs import replace

from drainproof.model import promql, shape
from drainproof.model.finding import Located, Origin, named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.model.engine import Engine
    from drainproof.model.promql import Query, Selector
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

KEDA_MAX_REPLICAS: Final = 100
"""KEDA's own default of ``maxReplicaCount``."""
KEDA_POLLING_S: Final = 30
"""KEDA's own default of ``pollingInterval``, in seconds."""
KEDA_COOLDOWN_S: Final = 300
"""KEDA's own default of ``cooldownPeriod``, in seconds."""
CPU_DEFAULT: Final = "cpu"
"""What a HorizontalPodAutoscaler without metrics follows: Kubernetes fills in 80 % of CPU."""

_HTTP_ADD_ON = "keda-add-ons-http"
"""In the address of KEDA's HTTP add-on, which counts requests before they reach the engine."""
_GOOGLE = "prometheus.googleapis.com|"
"""Begins the names of metrics from Google's managed Prometheus; ``|gauge`` ends them."""

PAUSING: Final = (
    "autoscaling.keda.sh/paused",
    "autoscaling.keda.sh/paused-replicas",
    "autoscaling.keda.sh/paused-scale-out",
)
"""Annotations that keep KEDA from adding replicas."""

_THRESHOLDS: Final[dict[str, tuple[str, str]]] = {
    "prometheus": ("threshold", "activationThreshold"),
    "predictkube": ("threshold", "activationThreshold"),
    "graphite": ("threshold", "activationThreshold"),
    "loki": ("threshold", "activationThreshold"),
    "new-relic": ("threshold", "activationThreshold"),
    "dynatrace": ("threshold", "activationThreshold"),
    "datadog": ("queryValue", "activationQueryValue"),
    "influxdb": ("thresholdValue", "activationThresholdValue"),
    "aws-cloudwatch": ("targetMetricValue", "activationTargetMetricValue"),
    "azure-monitor": ("targetValue", "activationTargetValue"),
    "gcp-stackdriver": ("targetValue", "activationTargetValue"),
    "metrics-api": ("targetValue", "activationTargetValue"),
    "kafka": ("lagThreshold", "activationLagThreshold"),
    "rabbitmq": ("value", "activationValue"),
    "aws-sqs-queue": ("queueLength", "activationQueueLength"),
    "redis": ("listLength", "activationListLength"),
    "nats-jetstream": ("lagThreshold", "activationLagThreshold"),
}
"""The metadata that hold a KEDA trigger's threshold and activation threshold, by its type."""
_NAMING = (
    "query",
    "metricQuery",
    "metricName",
    "metricFilter",
    "expression",
    "filter",
    "valueLocation",
    "url",
    "customMetric",
)
"""Metadata that say what a KEDA trigger follows, by whatever type, the most telling first."""


class Trigger(Struct, frozen=True):
    """One signal that an autoscaler follows."""

    path: str
    """Field path of what names the signal."""
    type: str
    """KEDA's trigger type (``prometheus``, ``cpu`` …); ``resource``, ``pods``, ``object`` or
    ``external`` for a metric of a HorizontalPodAutoscaler; else the autoscaler's own word."""
    written: str
    """The query or the name, on one line."""
    at: str = ""
    """Field path of the trigger itself: ``spec.triggers[0]``."""
    promql: str = ""
    """Its PromQL query as it was written; empty if it has none."""
    metric_type: str = ""
    """``AverageValue``: the answer is divided by the threshold, and that is the number of
    replicas. ``Value``: the number of replicas changes by their ratio. ``Utilization``: percent.
    Empty if neither."""
    threshold: str | None = None
    """As it was written; None if there is none."""
    threshold_path: str = ""
    activation: str | None = None
    """``activationThreshold``, as it was written; None if there is none."""
    activation_path: str = ""
    null_is_zero: bool = False
    """Whether no answer counts as 0: KEDA's ``ignoreNullValues``, true unless told otherwise."""
    cached: bool = False
    """Whether ``useCachedMetrics`` is set."""
    server: str = ""
    """Address of the Prometheus server that is asked; empty if it names none."""

    @property
    def query(self) -> Query | None:
        """Its PromQL query, parsed; None if it has none."""
        return promql.parse(self.promql) if self.promql else None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that it reads, as far as it names any."""
        if self.promql:
            return promql.parse(self.promql).metrics
        if self.written.startswith(_GOOGLE):
            return (self.written.removeprefix(_GOOGLE).partition("|")[0],)
        return (self.written,) if self.written != self.type else ()


class Policy(Struct, frozen=True):
    """How many pods may come or go in a while."""

    path: str
    type: str
    """``Pods`` or ``Percent``."""
    value: int
    period_s: int

    def pods(self, replicas: int) -> int:
        """Return how many of ``replicas`` it lets go at once, as Kubernetes rounds it."""
        if self.type == "Pods":
            return self.value
        return replicas - int(replicas * (100 - min(self.value, 100)) / 100)


class Pace(Struct, frozen=True):
    """How fast an autoscaler goes in one direction."""

    path: str
    """Field path of ``scaleDown`` or ``scaleUp``."""
    window_s: int
    """``stabilizationWindowSeconds``."""
    window_written: bool
    select: str
    """``Max``, ``Min`` or ``Disabled``."""
    policies: tuple[Policy, ...]
    policies_written: bool


class Fallback(Struct, frozen=True):
    """What KEDA does while its triggers fail."""

    replicas: int
    failure_threshold: int
    behavior: str
    """``static`` unless told otherwise."""


class Scaler(Located, frozen=True, kw_only=True):
    """An autoscaler and what it follows."""

    target_kind: str
    target_name: str
    target_version: str = ""
    """``apiVersion`` of the target; empty if it names none."""
    min_replicas: int
    """Fewest replicas it allows; KEDA's default is 0, HorizontalPodAutoscaler's is 1."""
    max_replicas: int
    """Most replicas it allows; KEDA's default is 100."""
    min_path: str
    max_path: str
    max_written: bool = True
    idle_replicas: int | None = None
    """KEDA's ``idleReplicaCount``; None if it is not set."""
    triggers: tuple[Trigger, ...]
    formula: str = ""
    """KEDA's ``scalingModifiers.formula``, which joins the triggers into one."""
    formula_target: str = ""
    fallback: Fallback | None = None
    paused_by: str = ""
    """The annotation that keeps it from adding replicas; empty if there is none."""
    polling_s: int | None = None
    """Seconds between two looks at its triggers, where it is KEDA that looks; None where not."""
    cooldown_s: int | None = None
    """Seconds from the last activity to zero or idle replicas; None where that is not known."""
    cooldown_written: bool = False
    scale_down: Pace | None = None
    """None if it has no such settings."""
    scale_up: Pace | None = None

    @property
    def can_be_zero(self) -> bool:
        """Whether it takes all replicas away at times."""
        return self.min_replicas == 0 or self.idle_replicas == 0

    @property
    def of_keda(self) -> bool:
        """Whether it is a ScaledObject."""
        return self.kind == "ScaledObject"

    @classmethod
    def from_object(cls, obj: Raw, origin: Origin | None = None) -> Scaler:
        """Read an autoscaler.

        Raises:
            ShapeError: A field holds another type than Kubernetes wants.
        """
        reader = READERS[_group(obj), str(obj.get("kind"))]
        return cls(**named(obj), object=obj, origin=origin, **_target(obj), **reader(obj))


def is_scaler(obj: Raw) -> bool:
    """Tell whether a raw object is an autoscaler."""
    kind = obj.get("kind")
    return isinstance(kind, str) and (_group(obj), kind) in READERS


def scalable(workload: Workload) -> bool:
    """Tell whether a workload can have an autoscaler, and answers requests itself."""
    return workload.scales or _brings(workload)


def _brings(workload: Workload) -> bool:
    kind = _group(workload.object), workload.kind
    return kind in BUILT_IN and workload.serves and not workload.role


def of(snapshot: Snapshot, workload: Workload) -> tuple[Scaler, ...]:
    """Return the autoscalers of a workload: those that target it, and the one that it brings.

    Raises:
        ShapeError: A field of the one that it brings holds another type than Kubernetes wants.
    """
    found = snapshot.scalers_for(workload) if workload.scales else ()
    if not _brings(workload):
        return found
    suffix, reader = BUILT_IN[_group(workload.object), workload.kind]
    if suffix:
        made = replace(workload, kind="Deployment", name=workload.name + suffix)
        found = (*found, *snapshot.scalers_for(made))
    fields = reader(workload.object)
    if fields is None:
        return found
    own = Scaler(
        kind=workload.kind,
        namespace=workload.namespace,
        name=workload.name,
        object=workload.object,
        origin=workload.origin,
        target_kind=workload.kind,
        target_name=workload.name,
        **fields,
    )
    return (*found, own)


def strays_near(snapshot: Snapshot, workload: Workload) -> tuple[Scaler, ...]:
    """Return the autoscalers that are meant for a workload, but miss it.

    They miss it by kind, by namespace, or by a name that is nearly its own.

    None if it has one that doesn't, or if another object answers to what they name.
    """
    if not workload.scales or snapshot.scalers_for(workload):
        return ()
    return tuple(
        scaler
        for scaler in snapshot.join(_strays).get(workload.name, ())
        if _misses(scaler, workload)
    )


def _misses(scaler: Scaler, workload: Workload) -> bool:
    kind, namespace = scaler.target_kind == workload.kind, scaler.namespace == workload.namespace
    some = not scaler.namespace or not workload.namespace
    if scaler.target_name != workload.name:
        return kind and (namespace or some)
    return not (kind and namespace) and not (kind and some)


def _strays(snapshot: Snapshot) -> dict[str, list[Scaler]]:
    """Return the autoscalers whose target is not there, by the name of what they are meant for."""
    known: dict[tuple[str, str], set[tuple[str, str]]] = {}
    found: dict[str, list[Scaler]] = {}
    names = {workload.name for workload in snapshot.workloads}
    plain = {_plain(name): name for name in names}
    for group, kind in READERS:
        for obj, origin, target in snapshot.read(group, kind, _with_target):
            meant = target["target_name"]
            if meant not in names:
                likely = _renamed(meant, named(obj)["name"], names) or plain.get(_plain(meant))
                if likely is None:
                    continue
                meant = likely
            version = target["target_version"] or "apps/v1"
            key = version.rpartition("/")[0], target["target_kind"]
            if key not in known:
                known[key] = set(snapshot.read(*key, _name_of))
            place = named(obj)["namespace"]
            if known[key] & {(place, target["target_name"]), ("", target["target_name"])}:
                continue
            with suppress(shape.ShapeError):  # told of when the Snapshot read it
                found.setdefault(meant, []).append(Scaler.from_object(obj, origin))
    return found


def _plain(name: str) -> str:
    """Return a name without what people forget when they write it again."""
    return name.replace("-", "").replace("_", "").replace(".", "").lower()


def _renamed(target: str, own: str, names: set[str]) -> str | None:
    """Return the workload to whose name a prefix or a suffix was added, as to the autoscaler's own.

    kustomize's ``namePrefix`` does that, and leaves what a custom resource refers to as it was.
    """
    for at in range(1, len(own)):
        if own[at - 1] == "-" and own[:at] + target in names:
            return own[:at] + target
        if own[at] == "-" and target + own[at:] in names:
            return target + own[at:]
    return None


def _with_target(obj: Raw, origin: Origin | None) -> tuple[Raw, Origin | None, dict[str, Any]]:
    return obj, origin, _target(obj)


def _name_of(obj: Raw, _: Origin | None) -> tuple[str, str]:
    names = named(obj)
    return names["namespace"], names["name"]


def series_labels(workload: Workload, engine: Engine) -> dict[str, tuple[str, ...]]:
    """Return labels that the series of a workload's engine have, and values to try filters on.

    Labels whose values can't be told are left out.
    """
    name = workload.name
    found: dict[str, tuple[str, ...]] = {"container": (engine.container,)}
    if workload.namespace:
        found["namespace"] = found["kubernetes_namespace"] = (workload.namespace,)
    if len(name) <= _POD_NAME_KEPT and workload.kind in _POD_ENDS:
        pod = name + _POD_ENDS[workload.kind]
        found["pod"] = found["kubernetes_pod_name"] = found["pod_name"] = (pod,)
    served = engine.flags.get("--served-model-name") or engine.flags.get("--model", "")
    if served and engine.flags_known and "$" not in served and engine.name in {"vllm", "sglang"}:
        found["model_name"] = (served,)
    return found


_POD_NAME_KEPT = 40
"""Of a longer name Kubernetes keeps only a part."""
_POD_ENDS = {
    "Deployment": "-5d8f9c7b6d-x7k2p",
    "Rollout": "-5d8f9c7b6d-x7k2p",
    "ReplicaSet": "-x7k2p",
    "StatefulSet": "-0",
}
"""What pods' names may end in, by the kind that makes them."""
_OWN_LABELS = frozenset({"__name__", "namespace", "kubernetes_namespace", "container", "engine"})
"""Labels that don't tell one workload of a namespace from another."""


def also_read(snapshot: Snapshot, workload: Workload, selector: Selector) -> str:
    """Return which other workloads with the same engine a selector reads, as words.

    A filter on any label that is not known to tell nothing counts as telling them apart.
    """
    pod = selector.matcher("pod", "kubernetes_pod_name", "pod_name")
    prefix = pod.prefix if pod else ""
    if prefix is None:
        return ""
    for item in selector.matchers:
        if item.label not in _OWN_LABELS and item is not pod:
            return ""
    filtered = selector.matcher("namespace", "kubernetes_namespace") is not None
    engine = workload.engine.name if workload.engine else ""
    place = workload.namespace if filtered else None
    beginnings = snapshot.join(_names_by_engine).get((engine, place), [])
    found: list[str] = []
    for at in range(bisect_left(beginnings, prefix), len(beginnings)):
        beginning = beginnings[at]
        if not beginning.startswith(prefix) or len(found) > 1:
            break
        if beginning != f"{workload.name}-":
            found.append(beginning[:-1])
    return " and ".join(found[:1] + ["others"] * (len(found) > 1))


def _names_by_engine(snapshot: Snapshot) -> dict[tuple[str, str | None], list[str]]:
    """Return what pods' names begin with, sorted, by engine and namespace; None is all of them."""
    found: dict[tuple[str, str | None], set[str]] = {}
    for workload in snapshot.workloads:
        if workload.engine is not None and workload.serves:
            for namespace in (workload.namespace, None):
                found.setdefault((workload.engine.name, namespace), set()).add(f"{workload.name}-")
    return {key: sorted(names) for key, names in found.items()}


def _group(obj: Raw) -> str:
    version = obj.get("apiVersion")
    return version.partition("/")[0] if isinstance(version, str) else ""


def _target(obj: Raw) -> dict[str, Any]:
    target = shape.mapping(shape.mapping(obj, "spec", ""), "scaleTargetRef", "spec")
    path = "spec.scaleTargetRef"
    return {
        "target_kind": shape.text(target, "kind", path, "Deployment"),
        "target_name": shape.text(target, "name", path),
        "target_version": shape.text(target, "apiVersion", path),
    }


def _keda(obj: Raw) -> dict[str, Any]:
    spec = shape.mapping(obj, "spec", "")
    advanced = shape.mapping(spec, "advanced", "spec")
    hpa = shape.mapping(advanced, "horizontalPodAutoscalerConfig", "spec.advanced")
    modifiers = shape.mapping(advanced, "scalingModifiers", "spec.advanced")
    idle = spec.get("idleReplicaCount")
    return {
        "min_replicas": shape.integer(spec, "minReplicaCount", "spec", 0),
        "max_replicas": shape.integer(spec, "maxReplicaCount", "spec", KEDA_MAX_REPLICAS),
        "min_path": "spec.minReplicaCount",
        "max_path": "spec.maxReplicaCount",
        "max_written": spec.get("maxReplicaCount") is not None,
        "idle_replicas": None
        if idle is None
        else shape.integer(spec, "idleReplicaCount", "spec", 0),
        "triggers": tuple(
            _keda_trigger(item, f"spec.triggers[{index}]")
            for index, item in enumerate(shape.mappings(spec, "triggers", "spec"))
        ),
        "formula": shape.text(modifiers, "formula", "spec.advanced.scalingModifiers"),
        "formula_target": shape.text(modifiers, "target", "spec.advanced.scalingModifiers"),
        "fallback": _fallback(spec),
        "paused_by": _paused(obj),
        "polling_s": shape.integer(spec, "pollingInterval", "spec", KEDA_POLLING_S),
        "cooldown_s": shape.integer(spec, "cooldownPeriod", "spec", KEDA_COOLDOWN_S),
        "cooldown_written": spec.get("cooldownPeriod") is not None,
        **_paces(hpa, "spec.advanced.horizontalPodAutoscalerConfig"),
    }


def _keda_trigger(item: Raw, path: str) -> Trigger:
    kind = shape.text(item, "type", path)
    metadata = shape.string_map(item, "metadata", path)
    if kind.startswith("external") and _HTTP_ADD_ON in metadata.get("scalerAddress", ""):
        return Trigger(f"{path}.type", "http", "requests", path)
    naming = next((key for key in _NAMING if metadata.get(key)), "")
    said = metadata.get(naming, "")
    threshold, activation = _THRESHOLDS.get(kind, ("", ""))
    return Trigger(
        path=f"{path}.metadata.{naming}" if naming == "query" else f"{path}.type",
        type=kind,
        written=" ".join(said.split()) or kind,
        at=path,
        promql=said if naming == "query" and kind in {"prometheus", "predictkube"} else "",
        metric_type=shape.text(
            item, "metricType", path, "" if kind in {"cpu", "memory", "cron"} else "AverageValue"
        ),
        threshold=metadata.get(threshold),
        threshold_path=f"{path}.metadata.{threshold}" if threshold else "",
        activation=metadata.get(activation),
        activation_path=f"{path}.metadata.{activation}" if activation else "",
        null_is_zero=kind == "prometheus" and _is_true(metadata.get("ignoreNullValues", "true")),
        cached=item.get("useCachedMetrics") is True,
        server=metadata.get("serverAddress", ""),
    )


def _is_true(written: str) -> bool:
    """Read a boolean as Go's ``strconv.ParseBool`` does."""
    return written.strip() in {"1", "t", "T", "true", "True", "TRUE"}


def _fallback(spec: Raw) -> Fallback | None:
    found = shape.mapping(spec, "fallback", "spec")
    if not found:
        return None
    return Fallback(
        replicas=shape.integer(found, "replicas", "spec.fallback", 0),
        failure_threshold=shape.integer(found, "failureThreshold", "spec.fallback", 0),
        behavior=shape.text(found, "behavior", "spec.fallback", "static"),
    )


def _paused(obj: Raw) -> str:
    metadata = shape.mapping(obj, "metadata", "")
    annotations = metadata.get("annotations")
    if not annotations:
        return ""
    annotations = shape.string_map(metadata, "annotations", "metadata")
    for key in PAUSING:
        # KEDA takes what is no boolean for true
        if key in annotations and annotations[key].strip().lower() not in {"false", "f", "0"}:
            return key
    return "" if "autoscaling.keda.sh/paused-replicas" not in annotations else PAUSING[1]


def _paces(parent: Raw, path: str) -> dict[str, Pace]:
    behavior = shape.mapping(parent, "behavior", path)
    path = f"{path}.behavior"
    return _read_paces(behavior, path) if behavior else _default_paces(path)


@lru_cache(maxsize=16)
def _default_paces(path: str) -> dict[str, Pace]:
    return _read_paces({}, path)


def _read_paces(behavior: Raw, path: str) -> dict[str, Pace]:
    return {
        "scale_down": _pace(behavior, "scaleDown", path, 300, (("Percent", 100, 15),)),
        "scale_up": _pace(behavior, "scaleUp", path, 0, (("Percent", 100, 15), ("Pods", 4, 15))),
    }


def _pace(
    behavior: Raw, key: str, path: str, window_s: int, default: tuple[tuple[str, int, int], ...]
) -> Pace:
    """Read one direction; ``window_s`` and ``default`` are what Kubernetes fills in."""
    found = shape.mapping(behavior, key, path)
    path = f"{path}.{key}"
    written = tuple(
        Policy(
            path=f"{path}.policies[{index}]",
            type=shape.text(item, "type", f"{path}.policies[{index}]"),
            value=shape.integer(item, "value", f"{path}.policies[{index}]", 0),
            period_s=shape.integer(item, "periodSeconds", f"{path}.policies[{index}]", 0),
        )
        for index, item in enumerate(shape.mappings(found, "policies", path))
    )
    return Pace(
        path=path,
        window_s=shape.integer(found, "stabilizationWindowSeconds", path, window_s),
        window_written=found.get("stabilizationWindowSeconds") is not None,
        select=shape.text(found, "selectPolicy", path, "Max"),
        policies=written or tuple(Policy(f"{path}.policies", *values) for values in default),
        policies_written=bool(written),
    )


def _hpa(obj: Raw) -> dict[str, Any]:
    spec = shape.mapping(obj, "spec", "")
    return {
        "min_replicas": shape.integer(spec, "minReplicas", "spec", 1),
        "max_replicas": shape.integer(spec, "maxReplicas", "spec", 1),
        "min_path": "spec.minReplicas",
        "max_path": "spec.maxReplicas",
        "max_written": spec.get("maxReplicas") is not None,
        "triggers": _hpa_metrics(spec, "spec"),
        **_paces(spec, "spec"),
    }


def _hpa_metrics(spec: Raw, root: str) -> tuple[Trigger, ...]:
    v1 = "targetCPUUtilizationPercentage"
    if v1 in spec:
        return (Trigger(f"{root}.{v1}", "resource", CPU_DEFAULT, f"{root}.{v1}"),)
    found = tuple(
        _hpa_metric(item, f"{root}.metrics[{index}]")
        for index, item in enumerate(shape.mappings(spec, "metrics", root))
    )
    return found or (Trigger(f"{root}.metrics", "resource", CPU_DEFAULT, f"{root}.metrics"),)


def _hpa_metric(item: Raw, at: str) -> Trigger:
    kind = shape.text(item, "type", at)
    field = kind[:1].lower() + kind[1:]
    if field not in item and field.lower() in item:  # KServe's PodMetric
        field = field.lower()
    source = shape.mapping(item, field, at)
    path = f"{at}.{field}"
    target = shape.mapping(source, "target", path)
    metric = shape.mapping(source, "metric", path)
    # KServe's own metrics of type External hold a query for KEDA instead of a name
    query = shape.text(metric, "query", f"{path}.metric")
    if metric:
        leaf = "query" if query else "name"
        name, name_path = shape.text(metric, leaf, f"{path}.metric"), f"{path}.metric.{leaf}"
    else:
        name, name_path = shape.text(source, "name", path), f"{path}.name"
    wanted = next(
        (key for key in ("averageValue", "value", "averageUtilization") if key in target), ""
    )
    value = target.get(wanted) if wanted else None
    return Trigger(
        path=name_path,
        type="resource" if kind in {"Resource", "ContainerResource"} else kind.lower(),
        written=" ".join(name.split()),
        at=at,
        promql=query,
        metric_type=shape.text(target, "type", f"{path}.target"),
        threshold=None if value is None else str(value),
        threshold_path=f"{path}.target.{wanted}" if wanted else f"{path}.target",
    )


def _http(obj: Raw) -> dict[str, Any]:
    """KEDA's HTTP add-on: an interceptor counts requests, so that it works at zero replicas too."""
    spec = shape.mapping(obj, "spec", "")
    replicas = shape.mapping(spec, "replicas", "spec")
    metric = shape.mapping(spec, "scalingMetric", "spec")
    follows = next(iter(metric), "concurrency")
    return {
        "min_replicas": shape.integer(replicas, "min", "spec.replicas", 0),
        "max_replicas": shape.integer(replicas, "max", "spec.replicas", KEDA_MAX_REPLICAS),
        "min_path": "spec.replicas.min",
        "max_path": "spec.replicas.max",
        "max_written": replicas.get("max") is not None,
        "triggers": (Trigger("spec.scalingMetric", "http", follows, "spec.scalingMetric"),),
        "cooldown_s": shape.integer(spec, "scaledownPeriod", "spec", KEDA_COOLDOWN_S),
        "cooldown_written": spec.get("scaledownPeriod") is not None,
    }


def _aibrix(obj: Raw) -> dict[str, Any]:
    spec = shape.mapping(obj, "spec", "")
    triggers = []
    for index, item in enumerate(shape.mappings(spec, "metricsSources", "spec")):
        path = f"spec.metricsSources[{index}]"
        name = shape.text(item, "targetMetric", path)
        triggers.append(
            Trigger(
                path=f"{path}.targetMetric",
                type="aibrix",
                written=name,
                at=path,
                threshold=shape.text(item, "targetValue", path) or None,
                threshold_path=f"{path}.targetValue",
            )
        )
    return {
        "min_replicas": shape.integer(spec, "minReplicas", "spec", 1),
        "max_replicas": shape.integer(spec, "maxReplicas", "spec", 1),
        "min_path": "spec.minReplicas",
        "max_path": "spec.maxReplicas",
        "max_written": spec.get("maxReplicas") is not None,
        "triggers": tuple(triggers),
    }


READERS: Final[Mapping[tuple[str, str], Callable[[Raw], dict[str, Any]]]] = {
    ("keda.sh", "ScaledObject"): _keda,
    ("autoscaling", "HorizontalPodAutoscaler"): _hpa,
    ("http.keda.sh", "HTTPScaledObject"): _http,
    ("autoscaling.aibrix.ai", "PodAutoscaler"): _aibrix,
}
"""Autoscalers by API group and kind. llm-d's VariantAutoscaling is none: it computes a number that
a HorizontalPodAutoscaler or a ScaledObject then follows."""


def _knative(obj: Raw) -> dict[str, Any] | None:
    """Knative always scales; its settings are annotations of the pod template."""
    path = "spec.template.metadata"
    template = shape.mapping(shape.mapping(obj, "spec", ""), "template", "spec")
    metadata = shape.mapping(template, "metadata", "spec.template")
    annotations = shape.string_map(metadata, "annotations", path)
    return _knative_settings(annotations, f"{path}.annotations")


def _knative_settings(annotations: Mapping[str, str], path: str) -> dict[str, Any]:
    def setting(name: str, old: str = "") -> tuple[str, str]:
        for key in (f"autoscaling.knative.dev/{name}", f"autoscaling.knative.dev/{old or name}"):
            if key in annotations:
                return annotations[key], f"{path}[{key}]"
        return "", f"{path}[autoscaling.knative.dev/{name}]"

    lowest, min_path = setting("min-scale", "minScale")
    highest, max_path = setting("max-scale", "maxScale")
    metric, metric_path = setting("metric")
    return {
        "min_replicas": int(lowest) if lowest.isdecimal() else 0,
        "max_replicas": int(highest) if highest.isdecimal() and int(highest) else KEDA_MAX_REPLICAS,
        "min_path": min_path,
        "max_path": max_path,
        "max_written": highest.isdecimal() and int(highest) > 0,
        "triggers": (Trigger(metric_path, "knative", metric or "concurrency", metric_path),),
    }


_RAW_MODES = frozenset({"RawDeployment", "Standard"})


def _inference_service(obj: Raw) -> dict[str, Any] | None:
    """KServe's InferenceService: Knative's autoscaler, or a HorizontalPodAutoscaler or KEDA."""
    path = "spec.predictor"
    predictor = shape.mapping(shape.mapping(obj, "spec", ""), "predictor", "spec")
    metadata = shape.mapping(obj, "metadata", "")
    annotations = shape.string_map(metadata, "annotations", "metadata")
    by = annotations.get("serving.kserve.io/autoscalerClass", "")
    if by in {"external", "none"}:
        return None
    raw = annotations.get("serving.kserve.io/deploymentMode", "") in _RAW_MODES
    least = shape.integer(predictor, "minReplicas", path, 1)
    most = shape.integer(predictor, "maxReplicas", path, 0)
    metric = shape.text(predictor, "scaleMetric", path)
    if "autoScaling" in predictor:
        settings = shape.mapping(predictor, "autoScaling", path)
        triggers = _hpa_metrics(settings, f"{path}.autoScaling")
    elif metric or not (raw or by in {"hpa", "keda"}):
        followed = metric or annotations.get("autoscaling.knative.dev/metric", "concurrency")
        triggers = (Trigger(f"{path}.scaleMetric", "kserve", followed, f"{path}.scaleMetric"),)
    else:  # KServe fills in 80 % of CPU
        triggers = (Trigger(f"{path}.scaleMetric", "resource", CPU_DEFAULT, f"{path}.scaleMetric"),)
    if raw and most <= least:
        return None  # nothing to scale: the number of replicas is fixed
    return {
        "min_replicas": least,
        "max_replicas": most or KEDA_MAX_REPLICAS,
        "min_path": f"{path}.minReplicas",
        "max_path": f"{path}.maxReplicas",
        "max_written": most > 0,
        "triggers": triggers,
    }


def _llm_inference_service(obj: Raw) -> dict[str, Any] | None:
    """KServe's LLMInferenceService: llm-d's autoscaler (WVA) computes a number of replicas."""
    scaling = shape.mapping(shape.mapping(obj, "spec", ""), "scaling", "spec")
    if not scaling:
        return None
    path = "spec.scaling"
    return {
        "min_replicas": shape.integer(scaling, "minReplicas", path, 1),
        "max_replicas": shape.integer(scaling, "maxReplicas", path, KEDA_MAX_REPLICAS),
        "min_path": f"{path}.minReplicas",
        "max_path": f"{path}.maxReplicas",
        "max_written": scaling.get("maxReplicas") is not None,
        "triggers": (Trigger(path, "wva", "wva_desired_replicas", path),),
    }


BUILT_IN: Final[Mapping[tuple[str, str], tuple[str, Callable[[Raw], dict[str, Any] | None]]]] = {
    ("serving.knative.dev", "Service"): ("", _knative),
    ("serving.kserve.io", "InferenceService"): ("-predictor", _inference_service),
    ("serving.kserve.io", "LLMInferenceService"): ("-kserve", _llm_inference_service),
}
"""Workloads that bring an autoscaler, by API group and kind: what its Deployment's name ends in,
and the reader, which returns None if there is no autoscaler after all."""
