"""KServe's services are judged with what their runtimes and configs add."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.model.kserve import merge
from drainproof.model.snapshot import Snapshot

if TYPE_CHECKING:
    from drainproof.model.workload import Workload
    from tests.manifests import Raw


def obj(kind: str, name: str, spec: Raw, *, namespace: str = "inference") -> Raw:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


RUNTIME: Raw = {
    "annotations": {"prometheus.io/port": "8080"},
    "containers": [
        {
            "name": "kserve-container",
            "image": "vllm/vllm-openai:v0.18.0",
            "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
            "args": ["--port=8080", "--shutdown-timeout=60"],
            "volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}],
        }
    ],
    "volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}}],
}
MODEL: Raw = {
    "modelFormat": {"name": "vLLM"},
    "runtime": "ours",
    "storageUri": "pvc://models/llama",
    "args": ["--max-model-len=8192"],
    "resources": {"limits": {"nvidia.com/gpu": 1}},
}


def service(**model: object) -> Raw:
    predictor = {"minReplicas": 2, "model": {**MODEL, **model}}
    return obj("InferenceService", "llama", {"predictor": predictor})


def only(*objects: Raw, partial: bool = False) -> Workload:
    (found,) = Snapshot.of(objects, partial=partial).workloads
    return found


@pytest.mark.parametrize("kind", ["ServingRuntime", "ClusterServingRuntime"])
def test_a_model_runs_in_its_runtimes_container(kind: str) -> None:
    namespace = "inference" if kind == "ServingRuntime" else ""
    found = only(service(), obj(kind, "ours", RUNTIME, namespace=namespace))
    assert (found.ref, found.replicas) == ("InferenceService/inference/llama", 2)
    assert found.engine is not None
    assert (found.engine.label, found.engine.port, found.engine.drain_s) == (
        "vLLM 0.18.0",
        8080,
        60,
    )
    assert found.engine.flags["--max-model-len"] == "8192"
    assert found.engine.path == "spec.predictor.model"
    assert found.pod_annotations["prometheus.io/port"] == "8080"
    assert found.container is not None
    assert found.container.gpus == 1
    assert found.shared_memory is not None
    assert found.shared_memory.in_memory


def test_a_model_whose_runtime_is_not_there_is_a_fragment() -> None:
    snapshot = Snapshot.of([service()])
    assert (snapshot.workloads, snapshot.fragments, snapshot.problems) == ((), 1, ())


def test_a_runtime_of_another_namespace_is_not_taken() -> None:
    runtime = obj("ServingRuntime", "ours", RUNTIME, namespace="elsewhere")
    assert Snapshot.of([service(), runtime]).workloads == ()


def test_a_models_own_image_comes_before_the_runtimes() -> None:
    runtime = obj("ServingRuntime", "ours", RUNTIME)
    found = only(service(image="vllm/vllm-openai:v0.32.0"), runtime)
    assert found.engine is not None
    assert found.engine.version == (0, 32, 0)


def test_a_runtime_alone_is_judged_in_files_and_not_in_a_cluster() -> None:
    runtime = obj("ServingRuntime", "ours", RUNTIME)
    assert only(runtime, partial=True).complete is False
    assert Snapshot.of([runtime], partial=False).workloads == ()


def test_no_repair_is_offered_for_what_an_operator_puts_together() -> None:
    found = only(service(), obj("ServingRuntime", "ours", RUNTIME))
    assert found.finding("spec", "x", repair={"spec.predictor.model.args": []}).repair == {}


LLM: Raw = {
    "model": {"uri": "hf://m"},
    "replicas": 3,
    "template": {
        "containers": [
            {"name": "main", "resources": {"limits": {"nvidia.com/gpu": 1}}},
        ]
    },
}


def test_an_llm_service_has_what_kserve_ships() -> None:
    found = only(obj("LLMInferenceService", "llama", LLM))
    assert (found.replicas, found.replicas_path, found.grace_period_s) == (3, "spec.replicas", 60)
    assert found.container is not None
    assert found.container.startup is not None
    assert found.container.startup.budget_s == 600
    assert found.engine is not None
    assert (found.engine.prestop_s, found.engine.drain_s) == (15, 45)


def test_prefill_has_pods_of_its_own() -> None:
    spec = {**LLM, "prefill": {"replicas": 5}}
    found = Snapshot.of([obj("LLMInferenceService", "llama", spec)]).workloads
    assert {part.role: part.replicas for part in found} == {"": 3, "prefill": 5}


@pytest.mark.parametrize(
    ("name", "own"),
    [("kserve-config-llm-template", {}), ("ours", {"baseRefs": [{"name": "ours"}]})],
)
def test_a_config_that_is_there_counts(name: str, own: Raw) -> None:
    template = {
        "terminationGracePeriodSeconds": 300,
        "containers": [{"name": "main", "image": "a"}],
    }
    config = obj("LLMInferenceServiceConfig", name, {"template": template})
    template["containers"] = [
        {"name": "main", "image": "vllm/vllm-openai:v0.32.0", "command": ["vllm", "serve", "m"]}
    ]
    found = only(obj("LLMInferenceService", "llama", {**LLM, **own}), config)
    assert found.grace_period_s == 300


def test_variables_that_are_appended_to_the_command_line_hold_flags() -> None:
    container = {
        "name": "main",
        "env": [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--max-model-len 4096 --enforce-eager"}],
    }
    found = only(obj("LLMInferenceService", "llama", {"template": {"containers": [container]}}))
    assert found.engine is not None
    assert found.engine.flags["--max-model-len"] == "4096"
    assert found.engine.flag_on("--enforce-eager")


def test_what_kserve_made_is_judged_where_its_defaults_would_be_guessed() -> None:
    made = obj("LLMInferenceService", "llama", LLM)
    pod = {"containers": [{"name": "main", "image": "vllm/vllm-openai:v0.32.0"}]}
    owner = {"kind": "LLMInferenceService", "name": "llama", "controller": True}
    metadata = {"name": "llama-kserve", "namespace": "inference", "ownerReferences": [owner]}
    owned = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": {"spec": pod}},
    }
    assert only(made, owned).kind == "Deployment"


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, {"a": 1, "b": {"c": 1, "d": 2}}),
        ({"a": 1}, {"a": None}, {}),
        ({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "C"}, {"name": "A", "value": "3"}]},
            {"env": [{"name": "C"}, {"name": "A", "value": "3"}, {"name": "B", "value": "2"}]},
        ),
        (
            {"preStop": {"exec": {"command": ["a"]}}},
            {"preStop": {"sleep": {"seconds": 5}}},
            {"preStop": {"sleep": {"seconds": 5}}},
        ),
        ({"env": [{"name": "A"}]}, {"env": "x"}, {"env": "x"}),
        ({"env": [{"name": "A"}]}, {"env": [{"name": []}]}, {"env": [{"name": []}]}),
    ],
)
def test_fields_are_merged_as_kubernetes_merges_pods(base: Raw, patch: Raw, merged: Raw) -> None:
    assert merge(base, patch) == merged
