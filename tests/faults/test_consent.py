"""Everything that must hold before a target is disturbed, each refused with what to do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.consent import Target, consent, served_model
from tests.faults.fake import NAMESPACE, FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


def ask(cluster: FakeCluster, target: str = "deployment/vllm", **changes: Any) -> Target:  # noqa: ANN401 - options
    return consent(cluster.api, context="c", namespace=NAMESPACE, target=target, **changes)


def refusal(cluster: FakeCluster, target: str = "deployment/vllm", **changes: Any) -> UserError:  # noqa: ANN401 - options
    with pytest.raises(UserError) as caught:
        ask(cluster, target, **changes)
    assert cluster.writes == []
    return caught.value


def change(cluster: FakeCluster, kind: str, name: str, **parts: Any) -> None:  # noqa: ANN401 - JSON
    namespace = "" if kind == "Namespace" else NAMESPACE
    item = copy.deepcopy(cluster.objects[kind, namespace, name])
    for key, value in parts.items():
        item[key] = item.get(key, {}) | value
    cluster.put(kind, namespace, item)


def test_a_target_that_serves_in_a_namespace_that_allows_it_is_found_with_its_service(
    cluster: FakeCluster,
) -> None:
    target = ask(cluster)
    assert (target.service, target.port, target.engine_port) == ("vllm", 80, 8000)
    assert target.url == "http://vllm.inference.svc:80"
    assert target.pods == ("vllm-1-a",)
    assert target.workload.grace_period_s == 40


@pytest.mark.parametrize("labels", [{}, {"drainproof.dev/chaos": "no"}])
def test_a_namespace_without_the_label_is_refused_with_the_command_that_sets_it(
    cluster: FakeCluster, labels: dict[str, str]
) -> None:
    cluster.put("Namespace", "", {"metadata": {"name": NAMESPACE, "labels": labels}})
    error = refusal(cluster)
    assert "does not allow chaos" in error.message
    assert "kubectl --context c label namespace inference" in error.hint


def test_a_namespace_that_does_not_exist_is_refused(cluster: FakeCluster) -> None:
    cluster.drop("Namespace", "", NAMESPACE)
    assert "namespace inference does not exist" in refusal(cluster).message


def test_a_target_that_does_not_exist_is_refused_with_those_that_do(cluster: FakeCluster) -> None:
    error = refusal(cluster, "deployment/other")
    assert "deployment/other does not exist" in error.message
    assert error.hint == "There are: vllm."


@pytest.mark.parametrize("target", ["vllm", "statefulset/vllm", "deployment/"])
def test_a_target_of_another_form_or_kind_is_refused(cluster: FakeCluster, target: str) -> None:
    assert "expected a target" in refusal(cluster, target).message


def test_a_target_without_a_ready_pod_is_refused(cluster: FakeCluster) -> None:
    cluster._pod("vllm-1-a", ready=False)  # noqa: SLF001 - what its kubelet would report
    assert "no ready pod" in refusal(cluster).message


def test_a_service_that_selects_nothing_is_refused(cluster: FakeCluster) -> None:
    change(cluster, "Service", "vllm", spec={"selector": {"app": "other"}})
    error = refusal(cluster)
    assert "no Service in namespace inference selects the pods" in error.message
    assert "vllm selects app=other" in error.hint
    assert "selects app=other" in refusal(cluster, service="vllm").message


def test_a_service_that_does_not_exist_is_refused(cluster: FakeCluster) -> None:
    assert "service/x does not exist" in refusal(cluster, service="x").message


def test_of_several_services_one_must_be_named(cluster: FakeCluster) -> None:
    twin = copy.deepcopy(cluster.objects["Service", NAMESPACE, "vllm"])
    twin["metadata"]["name"] = "twin"
    cluster.put("Service", NAMESPACE, twin)
    cluster._endpoints(["vllm-1-a"], [], "twin")  # noqa: SLF001 - what its controller would write
    error = refusal(cluster)
    assert "several Services select the pods of deployment/vllm: vllm, twin" in error.message
    assert "--service" in error.hint
    assert ask(cluster, service="twin").service == "twin"


def test_a_headless_twin_of_the_service_is_passed_over(cluster: FakeCluster) -> None:
    twin = copy.deepcopy(cluster.objects["Service", NAMESPACE, "vllm"])
    twin["metadata"]["name"] = "headless"
    twin["spec"]["clusterIP"] = "None"
    cluster.put("Service", NAMESPACE, twin)
    assert ask(cluster).service == "vllm"


def test_a_service_without_a_ready_endpoint_is_refused(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.consent._ENDPOINTS_S", 0.0)
    cluster._endpoints([], ["vllm-1-a"])  # noqa: SLF001 - what its controller would write
    assert "no ready endpoint" in refusal(cluster).message


def test_a_port_that_the_service_does_not_have_is_refused(cluster: FakeCluster) -> None:
    assert "service/vllm has no port 81" in refusal(cluster, port=81).message


def test_of_several_ports_the_one_that_leads_to_the_engine_is_taken(cluster: FakeCluster) -> None:
    ports = [{"port": 81, "targetPort": 9000}, {"port": 80, "targetPort": 8000}]
    change(cluster, "Service", "vllm", spec={"ports": ports})
    assert ask(cluster).port == 80


def test_a_target_that_runs_no_engine_is_refused(cluster: FakeCluster) -> None:
    item = copy.deepcopy(cluster.objects["Deployment", NAMESPACE, "vllm"])
    container = {"name": "web", "image": "nginx:1"}
    item["spec"]["template"]["spec"]["containers"] = [container]
    cluster.put("Deployment", NAMESPACE, item)
    assert "no container of deployment/vllm runs an LLM engine" in refusal(cluster).message


PRODUCTION = ("prod", "eks-prod-1", "Production", "eu_prd", "live", "live-2")


@pytest.mark.parametrize("context", PRODUCTION)
def test_a_context_that_looks_like_production_takes_a_second_word(
    cluster: FakeCluster, context: str
) -> None:
    with pytest.raises(UserError) as caught:
        consent(cluster.api, context=context, namespace=NAMESPACE, target="deployment/vllm")
    assert f"context {context} looks like production" in caught.value.message
    assert f"--yes-production {context}" in caught.value.hint
    assert cluster.writes == []
    found = consent(
        cluster.api,
        context=context,
        namespace=NAMESPACE,
        target="deployment/vllm",
        yes_production=context,
    )
    assert found.name == "vllm"


@pytest.mark.parametrize("context", ["staging", "kind-drainproof", "delivery", "olive", "dev"])
def test_other_contexts_do_not(cluster: FakeCluster, context: str) -> None:
    consent(cluster.api, context=context, namespace=NAMESPACE, target="deployment/vllm")


def test_a_second_word_for_another_context_is_none(cluster: FakeCluster) -> None:
    error = refusal(cluster, yes_production="prod-2")
    assert "--yes-production names 'prod-2', and the context is 'c'" in error.message


def test_a_production_server_behind_another_contexts_name_is_seen(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(cluster.api), "host", "https://api.prod.example.com")
    assert "API server https://api.prod.example.com looks like" in refusal(cluster).message


@pytest.mark.parametrize(
    ("kind", "field", "least", "floor"),
    [
        ("HorizontalPodAutoscaler", "minReplicas", 1, 1),
        ("HorizontalPodAutoscaler", "minReplicas", 5, 3),
        ("ScaledObject", "minReplicaCount", 2, 2),
        ("ScaledObject", "minReplicaCount", 0, 1),
    ],
)
def test_the_floor_is_the_least_of_replicas_and_autoscalers(
    cluster: FakeCluster, kind: str, field: str, least: int, floor: int
) -> None:
    change(cluster, "Deployment", "vllm", spec={"replicas": 3})
    assert ask(cluster).floor == 3
    cluster.groups = {"/apis/keda.sh/v1alpha1"}
    scaler = {"scaleTargetRef": {"kind": "Deployment", "name": "vllm"}, field: least}
    cluster.put(kind, NAMESPACE, {"metadata": {"name": "s"}, "spec": scaler})
    assert ask(cluster).floor == floor


def test_permission_for_keda_is_asked_for_only_where_it_is_installed(cluster: FakeCluster) -> None:
    cluster.denied = {("list", "scaledobjects")}
    ask(cluster)
    cluster.groups = {"/apis/keda.sh/v1alpha1"}
    assert "list scaledobjects.keda.sh" in refusal(cluster).message


def test_a_service_that_speaks_https_is_spoken_to_so(cluster: FakeCluster) -> None:
    assert ask(cluster, tls=True).url == "https://vllm.inference.svc:80"


def test_missing_permissions_are_all_named_by_verb_and_resource(cluster: FakeCluster) -> None:
    cluster.denied = {("create", "jobs"), ("get", "pods/log")}
    error = refusal(cluster)
    assert "create jobs.batch" in error.message
    assert "get pods/log" in error.message
    assert "kubectl auth can-i" in error.hint


def test_the_model_is_the_one_that_the_engine_says_it_serves(cluster: FakeCluster) -> None:
    assert served_model(cluster.api, ask(cluster)) == "m"
