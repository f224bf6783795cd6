"""Makes the JSON schemas that kubeconform needs, which it would fetch from the network by default.

They come from where its own come from: Kubernetes' OpenAPI document and KEDA's resource definition,
which both are in Go modules that are pinned here already.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import yaml

from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.golang import module_folder
from drainproof.content import content

_KUBERNETES = content("fixtures/clusters")
_KEDA = Path(__file__).parent / "peers" / "keda"
_DEPLOYMENT = "io.k8s.api.apps.v1.Deployment"
LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"
"""How kubeconform finds a schema in the artefact's folder."""


def schemas() -> Artefact:
    """Return the artefact with one schema for each kind in the benchmark's file."""
    return Artefact(
        name="kubeconform-schemas",
        inputs={
            "recipe": Path(__file__),
            "kubernetes": _KUBERNETES / "go.mod",
            "keda": _KEDA / "go.sum",
        },
        build=_build,
        estimate_s=15,
    )


def _build(into: Path) -> None:
    spec = module_folder(_KUBERNETES, "k8s.io/kubernetes") / "api/openapi-spec/swagger.json"
    definitions = orjson.loads(spec.read_bytes())["definitions"]
    deployment = _inlined(definitions[_DEPLOYMENT], definitions)
    (into / "deployment-apps-v1.json").write_bytes(orjson.dumps(deployment))
    crds = module_folder(_KEDA, "github.com/kedacore/keda/v2") / "config/crd/bases"
    crd = yaml.load((crds / "keda.sh_scaledobjects.yaml").read_text(), Loader=yaml.CSafeLoader)
    (version,) = [one for one in crd["spec"]["versions"] if one["name"] == "v1alpha1"]
    scaled_object = _without_formats(version["schema"]["openAPIV3Schema"])
    (into / "scaledobject-keda-v1alpha1.json").write_bytes(orjson.dumps(scaled_object))


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401 - any part of a schema
    """Put definitions where they are referred to; none that a Deployment needs holds itself."""
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        name = part["$ref"].rpartition("/")[2]
        return _inlined(definitions[name], definitions)
    found = {key: _inlined(value, definitions) for key, value in part.items()}
    return _either(found)


def _without_formats(part: Any) -> Any:  # noqa: ANN401 - same
    if isinstance(part, list):
        return [_without_formats(item) for item in part]
    if not isinstance(part, dict):
        return part
    return _either({key: _without_formats(value) for key, value in part.items()})


def _either(schema: dict[str, Any]) -> dict[str, Any]:
    """Write Kubernetes' whole numbers or strings in JSON Schema's words."""
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string") is True:
        return {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    if schema.get("type") == "string" and "Quantity" in str(schema.get("description", "")):
        return {"anyOf": [{"type": "string"}, {"type": "number"}]}
    return schema
