"""Puts together what KServe runs: a service's own fields over those of its runtime or its configs.

An InferenceService with a ``model`` takes its container from a ServingRuntime; an
LLMInferenceService takes what it leaves out from LLMInferenceServiceConfigs, and KServe ships some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.model import shape
from drainproof.model.owners import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.model.shape import Raw

    Find = Callable[[str, str, str], Raw | None]
    """Returns an object by kind, namespace (empty: any) and name."""

GROUP = "serving.kserve.io"
SERVICES = frozenset({"InferenceService", "LLMInferenceService"})
"""Kinds that are put together from others."""
PARTS = ("ServingRuntime", "ClusterServingRuntime", "LLMInferenceServiceConfig")
"""Kinds that services are put together from."""

_OF_MODEL = frozenset(
    {"modelFormat", "runtime", "storageUri", "storage", "protocolVersion", "name", "runtimeVersion"}
)
"""Fields of ``model`` that are not its container's."""
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
}
"""Lists of mappings that are merged item by item, and what tells their items apart."""
_ATOMIC = frozenset({"httpGet", "exec", "tcpSocket", "grpc", "sleep", "preStop", "emptyDir"})
"""Mappings of which only one kind may be there, so that the later one counts as a whole."""

_GRACE_S = 60
_PRESTOP_S = 15


def _pods() -> Raw:
    """Return what KServe 0.20 fills in for pods with vLLM (``kserve-config-llm-template``)."""
    health = {"httpGet": {"path": "/health", "port": 8000}}
    return {
        "terminationGracePeriodSeconds": _GRACE_S,
        "containers": [
            {
                "name": "main",
                "image": "ghcr.io/llm-d/llm-d-cuda",
                "command": ["vllm", "serve", "/mnt/models", "--port", "8000"],
                # only from vLLM 0.18 on, but older ones drain no better without it
                "args": [f"--shutdown-timeout={_GRACE_S - _PRESTOP_S}"],
                "ports": [{"containerPort": 8000}],
                "lifecycle": {"preStop": {"exec": {"command": ["/bin/sleep", str(_PRESTOP_S)]}}},
                "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": 60},
                "readinessProbe": {**health, "periodSeconds": 1, "failureThreshold": 2},
                "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 10},
                "volumeMounts": [{"name": "dshm", "mountPath": "/dev/shm"}],  # noqa: S108 - not a temporary file
            }
        ],
        "volumes": [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}],
    }


def whole(obj: Raw, find: Find) -> tuple[Raw, bool] | None:
    """Return a service with all that KServe fills in, and whether some of that is guessed.

    What KServe ships is guessed where it is not among the objects. None if nothing is to be filled
    in.

    An InferenceService's container is put where a predictor's own containers are; its field path
    stays ``spec.predictor.model``.

    Raises:
        ShapeError: A field on the way holds another type than KServe wants.
    """
    kind = obj.get("kind")
    if kind == "InferenceService":
        return _inference_service(obj, find)
    if kind == "LLMInferenceService":
        return _llm_inference_service(obj, find)
    return None


def uses(obj: Raw) -> Iterator[str]:
    """Yield the names of the runtime or configs that a service is put together from."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    predictor = spec.get("predictor")
    model = predictor.get("model") if isinstance(predictor, dict) else None
    if isinstance(model, dict) and isinstance(model.get("runtime"), str):
        yield model["runtime"]
    refs = spec.get("baseRefs")
    for ref in refs if isinstance(refs, list) else ():
        if isinstance(ref, dict) and isinstance(ref.get("name"), str):
            yield ref["name"]


def _inference_service(obj: Raw, find: Find) -> tuple[Raw, bool] | None:
    spec = shape.mapping(obj, "spec", "")
    predictor = shape.mapping(spec, "predictor", "spec")
    model = shape.mapping(predictor, "model", "spec.predictor")
    if not model or "containers" in predictor:
        return None
    name = shape.text(model, "runtime", "spec.predictor.model")
    namespace = key_of(obj)[1]
    runtime = name and (
        find("ServingRuntime", namespace, name) or find("ClusterServingRuntime", "", name)
    )
    base = shape.mapping(runtime, "spec", "") if runtime else {}
    containers = shape.mappings(base, "containers", "spec")
    own = next((item for item in containers if item.get("name") == "kserve-container"), None)
    own = own or next(iter(containers), {})
    fields = {key: value for key, value in model.items() if key not in _OF_MODEL}
    merged = merge(own, fields)
    merged["args"] = [
        *shape.strings(own, "args", "spec.containers"),
        *shape.strings(model, "args", "spec.predictor.model"),
    ]
    others = [item for item in containers if item is not own]
    pods = merge(
        {key: value for key, value in base.items() if key != "containers"},
        {key: value for key, value in predictor.items() if key != "model"},
    )
    pods["containers"] = [{"name": "kserve-container", **merged}, *others]
    return {**obj, "spec": {**spec, "predictor": pods}}, False


def _llm_inference_service(obj: Raw, find: Find) -> tuple[Raw, bool]:
    spec = shape.mapping(obj, "spec", "")
    filled: Raw = {}
    guessed = False
    for name, places in _presets(spec):
        config = find("LLMInferenceServiceConfig", "", name)
        guessed |= config is None
        base = _nested(places) if config is None else shape.mapping(config, "spec", "")
        filled = merge(filled, base)
    for name in uses(obj):
        config = find("LLMInferenceServiceConfig", key_of(obj)[1], name)
        if config is not None:
            filled = merge(filled, shape.mapping(config, "spec", ""))
    return {**obj, "spec": merge(filled, spec)}, guessed


def _presets(spec: Raw) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the configs that KServe ships and applies, and the pods' specs that each has."""
    prefill = shape.mapping(spec, "prefill", "spec")
    middle = "decode-" if "prefill" in spec else ""
    yield _preset(middle, spec), ("template", "worker") if "worker" in spec else ("template",)
    if "prefill" in spec:
        places = ("prefill.template", "prefill.worker")
        yield _preset("prefill-", prefill), places if "worker" in prefill else places[:1]


def _preset(middle: str, spec: Raw) -> str:
    if "worker" not in spec:
        return f"kserve-config-llm-{middle}template"
    parallel = shape.mapping(spec, "parallelism", "spec")
    how = "data" if "data" in parallel or "dataLocal" in parallel else "pipeline"
    return f"kserve-config-llm-{middle}worker-{how}-parallel"


def _nested(places: tuple[str, ...]) -> Raw:
    spec: Raw = {}
    for place in places:
        outer, dot, inner = place.partition(".")
        if dot:
            spec.setdefault(outer, {})[inner] = _pods()
        else:
            spec[outer] = _pods()
    return spec


def merge(base: Raw, patch: Raw) -> Raw:
    """Return ``base`` with ``patch`` over it, as a strategic merge of pods has it.

    Lists of named items are merged item by item, in the patch's order; other lists are replaced,
    and null removes. Neither argument is changed.
    """
    merged = dict(base)
    for key, value in patch.items():
        old = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(old, dict) and key not in _ATOMIC:
            merged[key] = merge(old, value)
        elif isinstance(value, list) and isinstance(old, list) and key in _KEYS:
            merged[key] = _merge_items(old, value, _KEYS[key])
        else:
            merged[key] = value
    return merged


def _merge_items(base: list[Any], patch: list[Any], key: str) -> list[Any]:
    if not all(isinstance(item, dict) for item in patch):
        return patch
    try:
        by_name = {item.get(key): item for item in base if isinstance(item, dict)}
        named = {item.get(key) for item in patch}
        merged = [merge(by_name.get(item.get(key), {}), item) for item in patch]
    except TypeError:  # a name that is no name: reading it will say so
        return patch
    rest = [item for item in base if isinstance(item, dict) and item.get(key) not in named]
    return merged + rest
