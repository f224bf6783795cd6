from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect import live
from drainproof.errors import UserError
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from tests.collect.api_server import FakeApi, serving
from tests.manifests import deployment, scaled_object, service

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

    from drainproof.model.snapshot import Snapshot

DEPLOYMENTS = "/apis/apps/v1/deployments"
SCALED = "/apis/keda.sh/v1alpha1/scaledobjects"


def client_of(url: str) -> ApiClient:
    from kubernetes.client import ApiClient, Configuration  # noqa: PLC0415 - slow to load

    return ApiClient(Configuration(host=url))


def stored(obj: dict[str, Any], **metadata: object) -> dict[str, Any]:
    """Return an object as a list call returns it: no kind, but what the server adds."""
    kept = {key: value for key, value in obj.items() if key not in {"kind", "apiVersion"}}
    kept["metadata"] = {**obj["metadata"], "managedFields": [{}], **metadata}
    return {**kept, "status": {"replicas": 2}}


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
    assert snapshot.scaler_for(workload) is not None
    assert len(snapshot.services_for(workload)) == 1
    assert not snapshot.partial


def test_only_list_calls_are_made_and_each_is_limited() -> None:
    api = FakeApi()
    read(api)
    assert {method for method, _ in api.seen} == {"GET"}
    assert all("limit=" in path for _, path in api.seen)
    assert not any("secrets" in path for _, path in api.seen)


def test_a_long_list_is_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    names = [f"llama-{number}" for number in range(5)]
    api = FakeApi({DEPLOYMENTS: [stored(deployment(), name=name) for name in names]})
    assert [found.name for found in read(api).workloads] == names
    assert sum(path.startswith(DEPLOYMENTS) for _, path in api.seen) == 3


def test_a_list_whose_pages_expired_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PAGE", 2)
    api = FakeApi(
        {DEPLOYMENTS: [stored(deployment()) for _ in range(3)]}, expire_once={DEPLOYMENTS}
    )
    assert len(read(api).workloads) == 3


def test_what_a_controller_owns_is_dropped() -> None:
    owned = stored(deployment(), ownerReferences=[{"kind": "Deployment", "controller": True}])
    assert read(FakeApi({"/apis/apps/v1/replicasets": [owned]})).items == ()


def test_a_cluster_without_keda_is_read() -> None:
    assert read(FakeApi(statuses={SCALED: 404})).items == ()


def test_a_missing_scaler_is_an_error_in_a_live_cluster() -> None:
    checks = [registry.load(kind="manifest").get("has-scaler")]
    snapshot = read(FakeApi({DEPLOYMENTS: [stored(deployment())]}))
    result = audit.run(snapshot, PROFILES["production"], checks)
    assert [item.severity for _, item in result.findings] == ["error"]


def test_only_the_named_namespaces_are_read() -> None:
    api = FakeApi({"/apis/apps/v1/namespaces/inference/deployments": [stored(deployment())]})
    assert len(read(api, ["inference"]).workloads) == 1
    assert all("/namespaces/inference" in path for _, path in api.seen)


def test_a_namespace_that_is_not_there_is_an_error() -> None:
    api = FakeApi(statuses={"/api/v1/namespaces/gone": 404})
    with pytest.raises(UserError, match="there is no namespace 'gone'"):
        read(api, ["gone"])


def test_a_forbidden_list_call_names_verb_and_resource() -> None:
    with pytest.raises(UserError) as error:
        read(FakeApi(statuses={DEPLOYMENTS: 403}))
    assert (
        error.value.message == "forbidden: no permission to list deployments.apps in all namespaces"
    )
    assert "kubectl auth can-i list deployments.apps -A" in error.value.hint


def test_credentials_that_are_not_accepted_are_an_error() -> None:
    with pytest.raises(UserError, match="does not accept the context's credentials"):
        read(FakeApi(statuses={DEPLOYMENTS: 401}))


def test_any_other_answer_is_an_error_with_the_servers_words() -> None:
    with pytest.raises(UserError, match="HTTP 500: said 500"):
        read(FakeApi(statuses={DEPLOYMENTS: 500}))


def test_a_server_that_cannot_be_reached_is_an_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        client = client_of(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(UserError, match="cannot be reached"):
            live.read(client)
