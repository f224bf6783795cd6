"""Objects from which an operator writes an engine's pods, without a pod template in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.model import shape

if TYPE_CHECKING:
    from drainproof.model.shape import Raw

_OF_LANGUAGE_MODELS = frozenset({"huggingface", "vllm", "sglang", "tensorrt-llm"})
"""Names of model formats whose runtimes of KServe's are engines; others may be as well."""
_SERVES_LLM = ("ray.serve.llm", "llm_configs")
"""What is in the Ray Serve config of an application that starts vLLM itself."""
_OF_CONTAINER = ("args", "command", "env", "resources")
"""Fields of a NIMService that the NIM Operator copies into its container."""


def whole(obj: Raw) -> Raw | None:
    """Return an object with the pods that its operator writes, as far as it says them.

    Only a NIMService is such an object; the fields of its container stay at ``spec``.

    Raises:
        ShapeError: A field holds another type than its definition wants.
    """
    if obj.get("kind") != "NIMService":
        return None
    spec = shape.mapping(obj, "spec", "")
    image = shape.mapping(spec, "image", "spec")
    repository = shape.text(image, "repository", "spec.image")
    if not repository:
        return None
    tag = shape.text(image, "tag", "spec.image")
    container = {
        "name": "nim",
        "image": f"{repository}:{tag}" if tag else repository,
        **{key: spec[key] for key in _OF_CONTAINER if key in spec},
    }
    return {**obj, "spec": {**spec, "containers": [container]}}


def unjudged(obj: Raw) -> str:
    """Say why an object that serves a language model can't be judged; empty if it serves none.

    It is for objects of which the rest of the model sees no engine.
    """
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return ""
    if obj.get("kind") == "RayService":
        config = spec.get("serveConfigV2")
        if isinstance(config, str) and any(mark in config for mark in _SERVES_LLM):
            return "Ray Serve starts its engine by serveConfigV2, and drains it in its own way"
    elif obj.get("kind") == "InferenceService":
        return _of_inference_service(spec)
    return ""


def _of_inference_service(spec: Raw) -> str:
    predictor = spec.get("predictor")
    model = predictor.get("model") if isinstance(predictor, dict) else None
    if not isinstance(model, dict):
        return ""
    form = model.get("modelFormat")
    name = form.get("name") if isinstance(form, dict) else None
    if not isinstance(name, str) or name.lower() not in _OF_LANGUAGE_MODELS:
        return ""
    runtime = model.get("runtime")
    if isinstance(runtime, str):
        return f"its pods are in the ServingRuntime {runtime}, which is not in the input"
    return f"KServe picks a ServingRuntime for {name}, and none is named"
