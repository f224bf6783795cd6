from __future__ import annotations

from typing import Any

import orjson
import pytest

from drainproof.model.conditions import conditions_of
from drainproof.model.owners import above, controllers
from drainproof.model.running import pods_of, why_none
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

LWS = "leaderworkerset.sigs.k8s.io"


def owned(kind: str, name: str, by: tuple[str, str] | None, **labels: str) -> dict[str, Any]:
    group = {"Pod": "v1", "LeaderWorkerSet": "leaderworkerset.x-k8s.io/v1"}.get(kind, "apps/v1")
    metadata: dict[str, Any] = {"name": name, "namespace": "inference", "labels": labels}
    if by:
        metadata["ownerReferences"] = [{"kind": by[0], "name": by[1], "controller": True}]
    return {"apiVersion": group, "kind": kind, "metadata": metadata}


def pod(name: str, by: tuple[str, str], **labels: str) -> dict[str, Any]:
    return {**owned("Pod", name, by, **labels), "status": {"phase": "Running"}}


def leader_worker_set() -> dict[str, Any]:
    template = deployment()["spec"]["template"]
    worker = {
        "metadata": template["metadata"],
        "spec": {**template["spec"], "containers": [{"name": "ray", "image": "ray:2"}]},
    }
    templates = {"leaderTemplate": template, "workerTemplate": worker, "size": 2}
    spec = {"replicas": 1, "leaderWorkerTemplate": templates}
    return {**owned("LeaderWorkerSet", "llama", None), "spec": spec}


def group(name: str) -> list[dict[str, Any]]:
    """Return a group's pods, by the chain of owners that the operator makes."""
    return [
        owned("StatefulSet", "llama", ("LeaderWorkerSet", "llama")),
        pod(f"{name}-0", ("StatefulSet", "llama"), **{f"{LWS}/worker-index": "0"}),
        owned("StatefulSet", f"{name}-0", ("Pod", f"{name}-0")),
        pod(f"{name}-0-1", ("StatefulSet", f"{name}-0"), **{f"{LWS}/worker-index": "1"}),
    ]


def test_a_pod_is_found_through_a_pod_that_owns_its_stateful_set() -> None:
    parents = controllers(group("llama"))
    chain = [kind for kind, _, _ in above(("Pod", "inference", "llama-0-1"), parents)]
    assert chain == ["StatefulSet", "Pod", "StatefulSet", "LeaderWorkerSet"]


def test_objects_that_own_each_other_end_somewhere() -> None:
    one, other = owned("Pod", "a", ("Pod", "b")), owned("Pod", "b", ("Pod", "a"))
    assert len(list(above(("Pod", "inference", "a"), controllers([one, other])))) < 100


def test_a_leaders_pods_are_not_its_workers() -> None:
    snapshot = Snapshot.of([leader_worker_set(), *group("llama")])
    (leader,) = [found for found in snapshot.workloads if found.role == "leader"]
    assert [found.name for found in pods_of(snapshot, leader)] == ["llama-0"]


def test_pods_of_an_operator_are_found_by_its_label() -> None:
    labels = {f"{LWS}/name": "llama", f"{LWS}/worker-index": "0"}
    alone = pod("llama-0", ("StatefulSet", "gone"), **labels)
    snapshot = Snapshot.of([leader_worker_set(), alone])
    assert [found.name for found in pods_of(snapshot, snapshot.workloads[0])] == ["llama-0"]


def test_pods_that_ended_are_not_counted() -> None:
    done = {**pod("llama-1", ("Deployment", "llama")), "status": {"phase": "Failed"}}
    snapshot = Snapshot.of([deployment(), done, pod("llama-2", ("Deployment", "llama"))])
    assert [found.name for found in pods_of(snapshot, snapshot.workloads[0])] == ["llama-2"]


def test_pods_in_files_are_not_those_of_a_cluster() -> None:
    snapshot = Snapshot.of([deployment(), pod("llama-2", ("Deployment", "llama"))], partial=True)
    assert pods_of(snapshot, snapshot.workloads[0]) == ()


@pytest.mark.parametrize(
    ("unseen", "replicas", "said"),
    [({"Pod": "pods"}, 2, "could not be listed"), ({}, 0, "0 replicas"), ({}, 2, "no pods now")],
)
def test_why_there_are_no_pods_is_said(unseen: dict[str, str], replicas: int, said: str) -> None:
    workload = deployment()
    workload["spec"]["replicas"] = replicas
    items = Snapshot.of([workload]).items
    snapshot = Snapshot(items, partial=False, unseen=unseen)
    assert said in why_none(snapshot, snapshot.workloads[0])


def test_a_time_that_is_none_is_a_problem_with_its_path() -> None:
    late = pod("llama-2", ("Deployment", "llama"))
    late["status"] = {"conditions": [{"type": "Ready", "lastTransitionTime": "yesterday"}]}
    snapshot = Snapshot.of([deployment(), late])
    assert pods_of(snapshot, snapshot.workloads[0]) == ()
    (problem,) = snapshot.problems
    assert problem.path == "status.conditions[0].lastTransitionTime"


def test_the_login_of_a_url_in_a_condition_is_left_out() -> None:
    message = "cannot reach https://me:hunter2@prom:9090/api for now"
    conditions = [{"type": "Ready", "reason": "Failed", "message": message}]
    found = conditions_of({"status": {"conditions": conditions}})["Ready"]
    assert found.said == "Failed: cannot reach https://prom:9090/api for now"


def test_a_config_maps_secrets_are_hidden_where_it_is_saved() -> None:
    text = "model: llama\napi-key: s3cret\nmax-num-batched-tokens: 8192\nHF_TOKEN=hf_1\n"
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"config.yaml": text, "HF_TOKEN": "hf_2", "MAX_TOKENS": "100"},
    }
    saved = Snapshot.of([config]).to_json()
    assert not any(secret in saved for secret in (b"s3cret", b"hf_1", b"hf_2"))
    data = orjson.loads(saved)["items"][0]["object"]["data"]
    assert "max-num-batched-tokens: 8192" in data["config.yaml"]
    assert data["MAX_TOKENS"] == "100"
