"""What operators write pods from is seen: judged where it says enough, named where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult
    from tests.manifests import Raw

CHECKS = registry.load(kind="manifest")
SERVE = """
applications:
- name: llms
  import_path: ray.serve.llm:build_openai_app
  args:
    llm_configs:
    - model_loading_config: {model_id: qwen, model_source: Qwen/Qwen3-8B}
"""


def obj(version: str, kind: str, spec: Raw) -> Raw:
    metadata = {"name": "llama", "namespace": "inference"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def nim(**spec: object) -> Raw:
    image = {"repository": "nvcr.io/nim/meta/llama-3.1-8b-instruct", "tag": "1.8.0"}
    limits = {"nvidia.com/gpu": 1}
    known = {"image": image, "replicas": 2, "resources": {"limits": limits}}
    return obj("apps.nvidia.com/v1alpha1", "NIMService", {**known, **spec})


def ray(config: str) -> Raw:
    image = "rayproject/ray-llm:2.46.0-py311-cu124"
    head = {"template": {"spec": {"containers": [{"name": "head", "image": image}]}}}
    return obj(
        "ray.io/v1",
        "RayService",
        {"serveConfigV2": config, "rayClusterConfig": {"headGroupSpec": head}},
    )


def kserve(form: str, **model: object) -> Raw:
    spec = {"predictor": {"model": {"modelFormat": {"name": form}, **model}}}
    return obj("serving.kserve.io/v1beta1", "InferenceService", spec)


def audited(*objects: Raw, partial: bool = True) -> AuditResult:
    return audit.run(Snapshot.of(objects, partial=partial), PROFILES["production"], CHECKS.checks)


def test_a_nim_service_is_a_workload_with_its_own_fields() -> None:
    snapshot = Snapshot.of([nim()], partial=True)
    (found,) = snapshot.workloads
    assert found.engine is not None
    assert found.container is not None
    assert (found.engine.label, found.replicas, found.container.gpus) == ("NIM 1.8.0", 2, 1)
    assert found.container.path == "spec"


def test_what_the_nim_operator_writes_is_assumed() -> None:
    assumed = {
        outcome.check.slug: item.message
        for outcome in audited(nim()).notable
        for item in outcome.assumptions
    }
    assert {"prestop-delay", "readiness-probe", "startup-budget", "shared-memory"} <= set(assumed)
    assert "not written here" in assumed["prestop-delay"]


@pytest.mark.parametrize(
    ("spec", "slug", "path"),
    [
        ({"image": {"repository": "nvcr.io/nim/meta/llama"}}, "pinned-image", "spec.image"),
        (
            {"env": [{"name": "NGC_API_KEY", "value": "plain"}]},
            "token-from-secret",
            "spec.env[0].value",
        ),
    ],
)
def test_what_a_nim_service_says_itself_is_judged(spec: Raw, slug: str, path: str) -> None:
    found = {
        (outcome.check.slug, item.path)
        for outcome in audited(nim(**spec)).notable
        for item in outcome.findings
    }
    assert (slug, path) in found


def test_in_a_cluster_the_deployment_of_a_nim_service_is_judged() -> None:
    made = deployment(image="nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8.0", args=None)
    owner = {
        "apiVersion": "apps.nvidia.com/v1alpha1",
        "kind": "NIMService",
        "name": "llama",
        "controller": True,
    }
    made["metadata"] = {**made["metadata"], "ownerReferences": [owner]}
    assert [one.kind for one in Snapshot.of([nim(), made]).workloads] == ["Deployment"]


def test_a_nim_service_with_a_wrong_type_is_refused() -> None:
    (problem,) = Snapshot.of([nim(image="nvcr.io/nim/x:1")], partial=True).problems
    assert problem.path == "spec.image"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (ray(SERVE), "serveConfigV2"),
        (kserve("huggingface"), "KServe picks a ServingRuntime for huggingface"),
        (
            kserve("vLLM", runtime="my-vllm"),
            "the ServingRuntime my-vllm, which is not in the input",
        ),
    ],
)
@pytest.mark.parametrize("partial", [True, False])
def test_what_serves_a_model_by_what_is_not_there_is_named_with_the_reason(
    found: Raw, why: str, *, partial: bool
) -> None:
    snapshot = Snapshot.of([found, deployment()], partial=partial)
    assert len(snapshot.workloads) == 1
    ((where, said),) = snapshot.unjudged
    assert (where.kind, why in said) == (found["kind"], True)


@pytest.mark.parametrize(
    "found",
    [
        ray("applications: [{import_path: fruit.deployment}]"),
        kserve("sklearn"),
        deployment(image="nginx:1.27.0", args=None),
        {**kserve("huggingface"), "spec": {"predictor": {"model": "x"}}},
    ],
)
def test_what_serves_no_language_model_is_not(found: dict[str, Any]) -> None:
    assert Snapshot.of([found], partial=True).unjudged == ()
