from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.collect import live, resources
from drainproof.content import content
from drainproof.errors import UserError
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.routing import services_of
from drainproof.model.running import every_pod, pods_of
from drainproof.model.snapshot import Snapshot
from tests.collect.api_server import FakeApi, serving
from tests.manifests import deployment, scaled_object, service

if TYPE_CHECKING:
    from pathlib import Path

    from kubernetes.client import ApiClient

DEPLOYMENTS = "/apis/apps/v1/deployments"
REPLICA_SETS = "/apis/apps/v1/replicasets"
SCALED = "/apis/keda.sh/v1alpha1/scaledobjects"
PODS = "/api/v1/pods"
NODES = "/api/v1/nodes"
CLUSTER_WIDE = (
    ("networking.k8s.io", "ingressclasses"),
    ("gateway.networking.k8s.io", "gatewayclasses"),
    ("serving.kserve.io", "clusterservingruntimes"),
)
CONFIG = "/api/v1/namespaces/inference/configmaps/settings"


def client_of(url: str) -> ApiClient:
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - slow to load

    return ApiClient(Configuration(host=url))


def stored(obj: dict[str, Any], **metadata: object) -> dict[str, Any]:
    """Return an object as a list call returns it: no kind, but what the server adds."""
    kept = {key: value for key, value in obj.items() if key not in {"kind", "apiVersion"}}
    kept["metadata"] = {**obj["metadata"], "managedFields": [{}], **metadata}
    return {"status": {"replicas": 2}, **kept}


def owned_by(kind: str, name: str) -> list[dict[str, Any]]:
    return [{"apiVersion": "v1", "kind": kind, "name": name, "uid": "u-1", "controller": True}]


def pod(**metadata: object) -> dict[str, Any]:
    """Return a running pod of the deployment, as a list call returns it."""
    spec = deployment()["spec"]["template"]["spec"]
    spec["containers"][0]["env"] = [{"name": "HF_TOKEN", "value": "hf_secret"}]
    state = {"running": {"startedAt": "2026-11-02T10:00:00Z"}}
    return {
        "metadata": {
            "name": "llama-5d9c-a",
            "namespace": "inference",
            "labels": {"app": "llama"},
            "managedFields": [{}],
            "ownerReferences": owned_by("ReplicaSet", "llama-5d9c"),
            **metadata,
        },
        "spec": {**spec, "nodeName": "gpu-a"},
        "status": {
            "phase": "Running",
            "podIP": "10.244.1.10",
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "lastTransitionTime": "2026-11-02T10:01:30Z",
                }
            ],
            "containerStatuses": [
                {"name": "vllm", "ready": True, "restartCount": 0, "state": state, "imageID": "x"}
            ],
        },
    }


def replica_set(replicas: int = 2) -> dict[str, Any]:
    spec = {**deployment()["spec"], "replicas": replicas}
    owners = owned_by("Deployment", "llama")
    metadata = {"name": "llama-5d9c", "namespace": "inference", "ownerReferences": owners}
    return {"metadata": metadata, "spec": spec, "status": {"replicas": replicas}}


def read(api: FakeApi, namespaces: list[str] | None = None) -> Snapshot:
    with serving(api):
        return live.read(client_of(api.url), namespaces)


def test_a_cluster_is_read_and_joined() -> None:
    lists = {
        DEPLOYMENTS: [stored(deployment())],
        SCALED: [stored(scaled_object())],
        "/api/v1/services": [stored(service())],
    }
    snapshot = read(FakeApi(lists))
    (workload,) = snapshot.workloads
    assert snapshot.scalers_for(workload)
    assert len(services_of(snapshot, workload)) == 1
    assert not snapshot.partial


def test_requests_only_read() -> None:
    api = FakeApi({DEPLOYMENTS: [stored(deployment())], PODS: [pod()]})
    read(api)
    assert {method for method, _ in api.seen} == {"GET"}
    assert not any("watch" in path for _, path in api.seen)


def test_secrets_are_never_asked_for() -> None:
    api = FakeApi()
    read(api)
    assert not any("secrets" in path for _, path in api.seen)
    assert "secrets" not in {resource.plural for resource in resources.RESOURCES}


def test_every_list_call_is_limited() -> None:
    api = FakeApi()
    read(api)
    listing = [path for _, path in api.seen if path not in {"/apis", "/version"}]
    assert len(listing) == len(resources.RESOURCES)
    assert all("limit=" in path for path in listing)


def test_a_long_list_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    names = [f"llama-{number}" for number in range(5)]
    api = FakeApi({DEPLOYMENTS: [stored(deployment(), name=name) for name in names]})
    assert [found.name for found in read(api).workloads] == names
    assert sum(path.startswith(DEPLOYMENTS) for _, path in api.seen) == 3


def test_a_list_whose_pages_expired_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    names = [f"llama-{number}" for number in range(3)]
    lists = {DEPLOYMENTS: [stored(deployment(), name=name) for name in names]}
    assert len(read(FakeApi(lists, expire_once={DEPLOYMENTS})).workloads) == 3


def test_calls_are_counted_by_what_they_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    names = [f"llama-{number}" for number in range(5)]
    api = FakeApi({DEPLOYMENTS: [stored(deployment(), name=name) for name in names]})
    snapshot = read(api)
    assert snapshot.calls["list deployments.apps"] == 3
    assert snapshot.calls.total() == len(api.seen)


# What the cluster has


def test_what_the_cluster_does_not_have_is_not_asked_for() -> None:
    api = FakeApi(absent={"keda.sh", "ray.io"})
    snapshot = read(api)
    assert not any(path.startswith(("/apis/keda.sh", "/apis/ray.io")) for _, path in api.seen)
    assert snapshot.problems == ()


def test_the_cluster_says_what_it_runs_and_a_snapshot_keeps_it() -> None:
    snapshot = read(FakeApi(objects={"/version": {"gitVersion": "v1.34.1"}}))
    assert Snapshot.from_json(snapshot.to_json()).cluster_version == "v1.34.1"


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_cluster_that_does_not_say_is_read_all_the_same(status: int) -> None:
    snapshot = read(FakeApi(statuses={"/version": status}))
    assert (snapshot.cluster_version, snapshot.problems) == ("", ())


def test_discovery_is_one_call() -> None:
    api = FakeApi()
    read(api)
    assert [path for _, path in api.seen].count("/apis") == 1
    assert not any(path.startswith("/apis/") and "limit" not in path for _, path in api.seen)


def test_an_older_server_is_asked_group_by_group() -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], SCALED: [stored(scaled_object())]}
    snapshot = read(FakeApi(lists, aggregated=False, absent={"ray.io"}))
    (workload,) = snapshot.workloads
    assert snapshot.scalers_for(workload)


def test_a_forbidden_discovery_says_what_allows_it() -> None:
    with pytest.raises(UserError, match="no permission to get /apis") as error:
        read(FakeApi(statuses={"/apis": 403}))
    assert "system:discovery" in error.value.hint


def test_the_rbac_manifest_is_what_the_code_asks_for() -> None:
    written = content("drainproof/collect/read-only-rbac.yaml").read_text(encoding="utf-8")
    assert written == resources.rbac(), (
        "run: python -m drainproof.collect.resources > drainproof/collect/read-only-rbac.yaml"
    )


def test_the_rbac_manifest_allows_nothing_but_reading() -> None:
    documents = [item for item in yaml.safe_load_all(resources.rbac()) if item]
    rules = [rule for item in documents for rule in item.get("rules", ())]
    assert {verb for rule in rules for verb in rule["verbs"]} <= {"get", "list", "watch"}
    assert not any("secrets" in rule.get("resources", ()) for rule in rules)
    assert not any("*" in word for rule in rules for word in rule.get("resources", ()))


def test_every_path_that_is_asked_for_is_in_the_rbac_manifest() -> None:
    workload = deployment(envFrom=[{"configMapRef": {"name": "settings"}}])
    api = FakeApi(
        {DEPLOYMENTS: [stored(workload)], "/apis/networking.k8s.io/v1/ingresses": [ingress()]}
    )
    read(api)
    read(api, ["inference"])
    allowed = {
        (group, resource, verb)
        for rule in resources.cluster_role()["rules"]
        for group in rule.get("apiGroups", ())
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    for _, path in api.seen:
        bare = path.partition("?")[0]
        if bare not in {"/apis", "/version"}:
            assert asked(bare) in allowed, path


def asked(path: str) -> tuple[str, str, str]:
    """Return group, resource and verb of a request, as the API server takes it."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
    if rest[0] == "namespaces" and len(rest) > 2:
        rest = rest[2:]
    return group, rest[0], "get" if len(rest) == 2 else "list"


def ingress() -> dict[str, Any]:
    return {"metadata": {"name": "llama", "namespace": "inference"}, "spec": {"rules": []}}


def test_every_kind_that_a_check_joins_over_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: set[tuple[str, str]] = set()
    original = Snapshot.read

    def noting(self: Snapshot, group: str, kind: str, reader: Any) -> list[Any]:  # noqa: ANN401
        asked_for.add((group, kind))
        return original(self, group, kind, reader)

    monkeypatch.setattr(Snapshot, "read", noting)
    checks = [check for check in registry.load().checks if check.kind != "chaos"]
    for path in sorted((content("fixtures") / "snapshots").glob("*/*.json")):
        audit.run(Snapshot.from_json(path.read_bytes()), PROFILES["production"], checks)
    got_otherwise = {("", "ConfigMap"), ("extensions", "Ingress")}
    assert ("apps", "Deployment") in asked_for
    assert asked_for - set(resources.RESOURCES) - got_otherwise == set()


# What is kept


def test_what_is_of_no_use_is_not_kept() -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    lists = {DEPLOYMENTS: [stored(deployment(), annotations={annotation: "{}", "a": "b"})]}
    (obj,) = read(FakeApi(lists)).objects
    assert "managedFields" not in obj["metadata"]
    assert "status" not in obj
    assert obj["metadata"]["annotations"] == {"a": "b"}


def test_the_status_of_an_autoscaler_is_kept() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True"}]}
    (obj,) = read(FakeApi({SCALED: [{**stored(scaled_object()), "status": status}]})).objects
    assert obj["status"] == status


def test_a_deployments_replica_sets_and_pods_are_no_workloads_of_their_own() -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], REPLICA_SETS: [replica_set()], PODS: [pod()]}
    snapshot = read(FakeApi(lists))
    assert [found.kind for found in snapshot.workloads] == ["Deployment"]
    assert (snapshot.other_workloads, snapshot.fragments) == (0, 0)


def test_a_pod_is_found_by_the_deployment_that_owns_its_replica_set() -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], REPLICA_SETS: [replica_set()], PODS: [pod()]}
    snapshot = read(FakeApi(lists))
    (found,) = pods_of(snapshot, snapshot.workloads[0])
    state = found.containers["vllm"]
    assert found.ready
    assert (found.ready_since or 0) - (state.running_since or 0) == 90
    assert (found.node, found.devices) == ("gpu-a", {"nvidia.com/gpu": 1})


def test_of_a_pod_that_is_owned_no_variable_is_kept() -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], REPLICA_SETS: [replica_set()], PODS: [pod()]}
    snapshot = read(FakeApi(lists))
    (kept,) = [obj for obj in snapshot.objects if obj["kind"] == "Pod"]
    assert "hf_secret" not in str(kept)
    assert "image" not in kept["spec"]["containers"][0]
    assert kept["status"]["containerStatuses"][0]["imageID"] == "x"


def test_replica_sets_of_earlier_versions_are_dropped() -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], REPLICA_SETS: [replica_set(0)]}
    assert [obj["kind"] for obj in read(FakeApi(lists)).objects] == ["Deployment"]


def test_what_an_unknown_operator_owns_is_judged_itself() -> None:
    owned = stored(deployment(), ownerReferences=owned_by("NIMService", "llama"))
    snapshot = read(FakeApi({DEPLOYMENTS: [owned], REPLICA_SETS: [replica_set()]}))
    assert [found.ref for found in snapshot.workloads] == ["Deployment/inference/llama"]


def test_where_deployments_may_not_be_listed_their_replica_sets_are_judged() -> None:
    api = FakeApi({REPLICA_SETS: [replica_set()]}, statuses={DEPLOYMENTS: 403})
    assert [found.kind for found in read(api).workloads] == ["ReplicaSet"]


def test_pods_that_ended_are_not_asked_for() -> None:
    api = FakeApi()
    read(api)
    (path,) = [path for _, path in api.seen if path.startswith(PODS)]
    assert "fieldSelector=status.phase%21%3DSucceeded%2Cstatus.phase%21%3DFailed" in path


def test_config_maps_are_got_only_where_an_llm_workload_names_them() -> None:
    workload = deployment(envFrom=[{"configMapRef": {"name": "settings"}}])
    other = deployment(image="nginx:1.27", args=None, envFrom=[{"configMapRef": {"name": "web"}}])
    settings = {"metadata": {"name": "settings", "namespace": "inference"}, "data": {"A": "1"}}
    api = FakeApi(
        {DEPLOYMENTS: [stored(workload), stored(other, name="web")]}, objects={CONFIG: settings}
    )
    snapshot = read(api)
    assert [path for _, path in api.seen if "configmaps" in path] == [CONFIG]
    assert [obj["data"] for obj in snapshot.objects if obj["kind"] == "ConfigMap"] == [{"A": "1"}]


def test_a_config_map_that_is_not_there_is_no_problem() -> None:
    workload = deployment(envFrom=[{"configMapRef": {"name": "settings", "optional": True}}])
    assert read(FakeApi({DEPLOYMENTS: [stored(workload)]})).problems == ()


# Where and when


def test_a_missing_scaler_is_an_error_in_a_live_cluster() -> None:
    checks = [registry.load(kind="manifest").get("has-scaler")]
    snapshot = read(FakeApi({DEPLOYMENTS: [stored(deployment())]}))
    result = audit.run(snapshot, PROFILES["production"], checks)
    assert [item.severity for _, item in result.findings] == ["error"]


def test_only_the_named_namespaces_are_read() -> None:
    api = FakeApi({"/apis/apps/v1/namespaces/inference/deployments": [stored(deployment())]})
    snapshot = read(api, ["inference"])
    assert len(snapshot.workloads) == 1
    assert snapshot.namespaces == ("inference",)
    cluster_wide = {"/apis", "/version", *(plural for _, plural in CLUSTER_WIDE), "nodes"}
    for _, path in api.seen:
        last = path.partition("?")[0].rpartition("/")[2]
        assert "/namespaces/inference" in path or {path, last} & cluster_wide


def test_a_namespace_that_is_not_there_is_an_error() -> None:
    api = FakeApi(statuses={"/api/v1/namespaces/gone": 404})
    with pytest.raises(UserError, match="there is no namespace 'gone'"):
        read(api, ["gone"])


# What goes wrong


def test_a_forbidden_list_call_names_verb_and_resource_and_the_rest_is_read() -> None:
    api = FakeApi({DEPLOYMENTS: [stored(deployment())]}, statuses={SCALED: 403})
    snapshot = read(api)
    (problem,) = snapshot.problems
    assert (
        str(problem) == "forbidden: no permission to list scaledobjects.keda.sh in all namespaces"
    )
    assert "kubectl auth can-i list scaledobjects.keda.sh -A" in problem.hint
    assert len(snapshot.workloads) == 1


def test_what_may_be_among_the_unlisted_is_undecided_and_no_finding() -> None:
    api = FakeApi({DEPLOYMENTS: [stored(deployment())]}, statuses={SCALED: 403})
    checks = [registry.load(kind="manifest").get("has-scaler")]
    result = audit.run(read(api), PROFILES["production"], checks)
    assert [item.verdict for _, item in result.findings] == ["inconclusive"]
    assert "scaledobjects.keda.sh" in result.findings[0][1].message
    assert result.exit_code == 2


def test_who_may_list_nothing_cluster_wide_can_still_be_told_that_a_scaler_is_missing() -> None:
    paths = {f"/apis/{group}/v1/{plural}": 403 for group, plural in CLUSTER_WIDE}
    api = FakeApi(
        {"/apis/apps/v1/namespaces/inference/deployments": [stored(deployment())]},
        statuses={NODES: 403, **paths},
    )
    checks = [registry.load(kind="manifest").get("has-scaler")]
    result = audit.run(read(api, ["inference"]), PROFILES["production"], checks)
    assert [item.verdict for _, item in result.findings] == ["fail"]
    assert result.problems == ()


def test_nodes_may_be_forbidden_to_whoever_audits_one_namespace() -> None:
    snapshot = read(FakeApi(statuses={NODES: 403}), ["inference"])
    assert snapshot.problems == ()
    assert snapshot.unseen == {"Node": "nodes"}


def test_a_forbidden_list_of_nodes_is_a_problem_for_whoever_audits_all() -> None:
    (problem,) = read(FakeApi(statuses={NODES: 403})).problems
    assert "no permission to list nodes" in str(problem)


def test_a_forbidden_config_map_is_named_once() -> None:
    workload = deployment(envFrom=[{"configMapRef": {"name": name}} for name in ("settings", "b")])
    api = FakeApi({DEPLOYMENTS: [stored(workload)]}, statuses={CONFIG: 403})
    (problem,) = read(api).problems
    assert str(problem) == "forbidden: no permission to get configmaps in namespace inference"


def test_credentials_that_are_not_accepted_are_an_error() -> None:
    with pytest.raises(UserError, match="does not accept the context's credentials"):
        read(FakeApi(statuses={DEPLOYMENTS: 401}))


def test_any_other_answer_is_told_in_the_servers_words() -> None:
    snapshot = read(FakeApi({PODS: [pod()]}, statuses={DEPLOYMENTS: 500}))
    assert ["HTTP 500: said 500" in str(problem) for problem in snapshot.problems] == [True]
    assert len(every_pod(snapshot)) == 1


def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        client = client_of(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(UserError, match="cannot be reached"):
            live.read(client)


def test_a_reading_can_be_saved_and_judged_again(tmp_path: Path) -> None:
    lists = {DEPLOYMENTS: [stored(deployment())], REPLICA_SETS: [replica_set()], PODS: [pod()]}
    first = read(FakeApi(lists, statuses={SCALED: 403}))
    path = tmp_path / "snapshot.json"
    path.write_bytes(first.to_json())
    again = Snapshot.from_json(path.read_bytes())
    assert len(pods_of(again, again.workloads[0])) == 1
    assert (again.unseen, again.taken_at) == (first.unseen, first.taken_at)
