from __future__ import annotations

from typing import Any

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.model.routing import services_of
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object, service


def test_a_workload_is_joined_with_its_scaler_and_its_services() -> None:
    snapshot = Snapshot.of([deployment(), scaled_object(), service()])
    (workload,) = snapshot.workloads
    assert snapshot.scalers_for(workload)
    assert [found.name for found in services_of(snapshot, workload)] == ["llama"]


def test_objects_of_another_namespace_are_not_joined() -> None:
    objects = [deployment(), scaled_object(namespace="b"), service(namespace="b")]
    snapshot = Snapshot.of(objects)
    (workload,) = snapshot.workloads
    assert snapshot.scalers_for(workload) == ()
    assert services_of(snapshot, workload) == ()


def test_an_object_without_a_namespace_goes_where_the_other_is() -> None:
    snapshot = Snapshot.of([deployment(), scaled_object(namespace="")])
    assert snapshot.scalers_for(snapshot.workloads[0])


def test_a_service_that_wants_more_labels_does_not_select() -> None:
    snapshot = Snapshot.of([deployment(), service(selector={"app": "llama", "tier": "a"})])
    assert services_of(snapshot, snapshot.workloads[0]) == ()


def test_the_autoscaler_that_keda_makes_counts_once() -> None:
    made: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": "keda-hpa-llama",
            "namespace": "inference",
            "ownerReferences": [{"kind": "ScaledObject", "controller": True}],
        },
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 3},
    }
    snapshot = Snapshot.of([deployment(), scaled_object(), made])
    assert len(snapshot.scalers_for(snapshot.workloads[0])) == 1


def made(kind: str, name: str, *, by: tuple[str, str]) -> dict[str, Any]:
    obj = {**deployment(), "kind": kind}
    owner = {"kind": by[0], "name": by[1], "controller": True}
    obj["metadata"] = {"name": name, "namespace": "inference", "ownerReferences": [owner]}
    return obj


def test_what_a_controller_owns_is_left_to_its_owner() -> None:
    owned = made("ReplicaSet", "llama-1", by=("Deployment", "llama"))
    assert [found.ref for found in Snapshot.of([owned, deployment()]).workloads] == [
        "Deployment/inference/llama"
    ]


def test_what_an_operator_made_is_judged_once_if_its_own_object_is_not_there() -> None:
    owned = [
        made("ReplicaSet", "llama-1", by=("Deployment", "llama")),
        made("Deployment", "llama", by=("SomeService", "llama")),
        made("StatefulSet", "llama-a", by=("OtherService", "llama")),
        made("StatefulSet", "llama-b", by=("OtherService", "llama")),
    ]
    assert [found.ref for found in Snapshot.of(owned).workloads] == [
        "Deployment/inference/llama",
        "StatefulSet/inference/llama-a",
    ]


def test_what_an_object_without_containers_makes_is_judged_in_its_place() -> None:
    patch = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"replicas": 2},
    }
    owned = made("Deployment", "llama-kserve", by=("LLMInferenceService", "llama"))
    assert [found.kind for found in Snapshot.of([patch, owned]).workloads] == ["Deployment"]


def test_objects_that_own_each_other_are_no_endless_loop() -> None:
    one = made("Deployment", "a", by=("Deployment", "b"))
    other = made("Deployment", "b", by=("Deployment", "a"))
    assert Snapshot.of([one, other]).workloads == ()


def test_other_workloads_are_counted_and_left_alone() -> None:
    snapshot = Snapshot.of([deployment(name="web", image="nginx:1.27", args=[], command=None)])
    assert (snapshot.workloads, snapshot.other_workloads) == ((), 1)


@pytest.mark.parametrize("field", ["containers", "image"])
def test_a_patch_is_counted_and_left_alone(field: str) -> None:
    obj = deployment(image=None) if field == "image" else deployment()
    if field == "containers":
        del obj["spec"]["template"]["spec"]["containers"]
    snapshot = Snapshot.of([obj])
    assert (snapshot.workloads, snapshot.fragments, snapshot.problems) == ((), 1, ())


def test_a_wrong_type_is_a_problem_and_the_rest_is_read() -> None:
    broken = deployment()
    broken["spec"]["replicas"] = "two"
    snapshot = Snapshot.of([broken, deployment()])
    assert len(snapshot.workloads) == 1
    (problem,) = snapshot.problems
    assert problem.path == "spec.replicas"
    assert 'expected a whole number, found the string "two"' in problem.message


def test_a_saved_snapshot_can_be_judged_again() -> None:
    saved = Snapshot.of([deployment(), scaled_object()], partial=False).to_json()
    snapshot = Snapshot.from_json(saved)
    assert not snapshot.partial
    assert snapshot.scalers_for(snapshot.workloads[0])


def test_a_saved_snapshot_holds_no_secrets() -> None:
    obj = deployment(
        args=["--model=m", "--api-key=sk-1"], env=[{"name": "HF_TOKEN", "value": "hf_2"}]
    )
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "hf_3"}
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"token": "hf_4"}}
    saved = Snapshot.of([obj, secret]).to_json()
    assert not any(value in saved for value in (b"sk-1", b"hf_2", b"hf_3", b"hf_4"))


SCRIPT = """HF_TOKEN=plain-1 exec vllm serve m --api-key plain-2 --max-model-len 8192
"""


def test_a_saved_snapshot_holds_no_secrets_of_scripts_words_and_addresses() -> None:
    obj = deployment(
        image="https://u:plain-3@registry.example/vllm/vllm-openai:v0.32.0",
        command=["sh", "-c", SCRIPT],
        args=["--api-key", "plain-4"],
    )
    scaler = scaled_object()
    scaler["spec"]["triggers"][0]["metadata"]["serverAddress"] = "http://u:plain-5@prometheus:9090"
    snapshot = Snapshot.of([obj, scaler])
    assert b"plain-" not in snapshot.to_json()
    (before,), (after,) = (
        found.workloads for found in (snapshot, Snapshot.from_json(snapshot.to_json()))
    )
    assert before.engine is not None
    assert after.engine is not None
    assert after.engine.flags.keys() == before.engine.flags.keys()


@pytest.mark.parametrize("field", ["password", "authToken", "apiKey", "bearer_token"])
def test_a_saved_snapshot_holds_no_field_that_is_named_like_a_secret(field: str) -> None:
    scaler = scaled_object()
    scaler["spec"]["triggers"][0]["metadata"] |= {field: "plain-1", "tokenCount": "512"}
    saved = Snapshot.of([scaler]).to_json()
    assert b"plain-1" not in saved
    assert b"512" in saved


def test_a_saved_snapshot_holds_no_key_of_a_header_a_hook_or_a_credential() -> None:
    hook = "curl -u me:plain-1 localhost:8000/metrics; curl -H 'X-Api-Key: plain-2' localhost"
    probe = {
        "httpGet": {
            "path": "/health",
            "port": 8000,
            "httpHeaders": [
                {"name": "Authorization", "value": "Basic plain-3"},
                {"name": "X-Api-Key", "value": "plain-4"},
            ],
        }
    }
    obj = deployment(
        env=[{"name": "MY_CRED", "value": "plain-5"}, {"name": "LOG_LEVEL", "value": "info"}],
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", hook]}}},
        readinessProbe=probe,
        livenessProbe={"exec": {"command": ["curl", "--user", "me:plain-6", "localhost"]}},
    )
    scaler = scaled_object()
    scaler["spec"]["triggers"][0]["metadata"]["customHeaders"] = "X-Token=plain-7"
    saved = Snapshot.of([obj, scaler]).to_json()
    assert b"plain-" not in saved
    assert all(kept in saved for kept in (b"localhost:8000/metrics", b"info", b"/health"))


def test_a_list_whose_items_are_no_list_is_a_problem() -> None:
    (problem,) = Snapshot.of([{"apiVersion": "v1", "kind": "List", "items": {"a": 1}}]).problems
    assert (problem.path, problem.message) == ("items", "List: expected a list, found a mapping")


@pytest.mark.parametrize(
    "saved",
    [
        b"{",
        b"[]",
        b"{}",
        orjson.dumps({"kind": "drainproof-snapshot", "version": 2}),
        orjson.dumps({"kind": "drainproof-snapshot", "version": 1}),
    ],
)
def test_what_is_no_saved_snapshot_is_refused(saved: bytes) -> None:
    with pytest.raises(UserError, match="Snapshot"):
        Snapshot.from_json(saved)
