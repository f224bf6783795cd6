"""How the checks on Services, monitors and timeouts join objects, and what they leave open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model import routing
from drainproof.model.selector import Asking
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object
from tests.repairs import mend

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import Outcome

CHECKS = registry.load(kind="manifest")
MINE = [check for check in CHECKS.checks if check.id.startswith(("DP5", "DP6"))]
BAD = sorted(
    path
    for path in (content("fixtures") / "manifests").glob("*/bad-*.yaml")
    if path.parent.name in {check.slug for check in MINE}
)
Raw = dict[str, Any]


def outcome(slug: str, *objects: Raw, partial: bool = False) -> Outcome:
    snapshot = Snapshot.of(objects, partial=partial)
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS.get(slug)]).outcomes
    return found


def obj(kind: str, version: str, spec: Raw, **metadata: object) -> Raw:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": "llama", "namespace": "inference", **metadata},
        "spec": spec,
    }


def service(selector: Raw | None = None, target: object = "http", **metadata: object) -> Raw:
    ports = [{"name": "http", "port": 80, "targetPort": target}]
    spec = {"selector": selector or {"app": "llama"}, "ports": ports}
    return obj("Service", "v1", spec, **metadata)


def http_route(**rule: object) -> Raw:
    rules = [{"backendRefs": [{"name": "llama", "port": 80}], **rule}]
    spec = {"parentRefs": [{"name": "main"}], "rules": rules}
    return obj("HTTPRoute", "gateway.networking.k8s.io/v1", spec)


def gateway(its_class: str) -> Raw:
    spec = {"gatewayClassName": its_class}
    return obj("Gateway", "gateway.networking.k8s.io/v1", spec, name="main")


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_that_can_be_mended_is_left_after_mending(path: Path) -> None:
    _, result = mend(files.read([path]), PROFILES["production"], MINE)
    assert result.problems == ()
    left = [(found.check.slug, item.message) for found, item in result.findings if item.repair]
    assert left == []


@pytest.mark.parametrize("slug", ["service-selects-pods", "monitor-selects-service"])
def test_what_is_missing_is_an_error_only_where_all_is_seen(slug: str) -> None:
    seen = [
        outcome(slug, deployment(), scaled_object(), partial=partial).findings[0].severity
        for partial in (False, True)
    ]
    assert seen == [Severity.ERROR, Severity.WARNING]


def test_a_label_that_a_controller_adds_is_taken_as_met() -> None:
    """Argo Rollouts narrows its Services down to one ReplicaSet by such a label."""
    narrowed = service({"app": "llama", "rollouts-pod-template-hash": "5d4f9c"})
    assert outcome("service-selects-pods", deployment(), narrowed).verdict is Verdict.PASS


def test_only_labels_that_a_controller_adds_select_nothing() -> None:
    assert not routing.selects({"pod-template-hash": "5d4f9c"}, {"app": "llama"})


def test_a_port_of_an_engine_that_tells_none_is_taken_as_right() -> None:
    found = outcome("service-selects-pods", deployment(args=["--port=$(PORT)"]), service(None, 9))
    assert found.verdict is Verdict.PASS


def test_tgi_in_an_image_of_others_may_listen_elsewhere() -> None:
    args, port, tgi = ["--model-id=m"], service(None, 8080), "text-generation-inference"
    verdicts = [
        outcome("service-selects-pods", deployment(image=image, args=args), port).verdict
        for image in (f"a/huggingface-{tgi}:3.3.4", f"ghcr.io/huggingface/{tgi}:3.3.4")
    ]
    assert verdicts == [Verdict.PASS, Verdict.FAIL]


def test_a_service_whose_name_is_the_workloads_and_that_selects_another_is_not_its_own() -> None:
    other = deployment()
    other["metadata"]["name"] = "other"
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    snapshot = Snapshot.of([deployment(), other, service({"app": "other"})])
    found = {
        item.subject.name: [finding.where.kind for finding in item.findings]
        for item in audit.run(
            snapshot, PROFILES["production"], [CHECKS.get("service-selects-pods")]
        ).outcomes
    }
    assert found == {"llama": ["Deployment"], "other": []}


def test_a_port_without_a_name_and_a_label_that_is_missing_are_both_mended() -> None:
    """The module's exercise has both."""
    bare = service()
    del bare["spec"]["ports"][0]["name"]
    monitor = obj(
        "ServiceMonitor",
        "monitoring.coreos.com/v1",
        {"selector": {"matchLabels": {"app": "llama"}}, "endpoints": [{"port": "http"}]},
    )
    snapshot = Snapshot.of([deployment(), bare, monitor])
    checks = [CHECKS.get("monitor-selects-service")]
    mended, result = mend(snapshot, PROFILES["production"], checks)
    assert mended[0].after["metadata"]["labels"] == {"app": "llama"}
    assert mended[0].after["spec"]["ports"][0]["name"] == "http"
    assert result.findings == ()


def test_a_monitor_that_drops_what_no_autoscaler_follows_is_right() -> None:
    rules = [{"action": "drop", "sourceLabels": ["__name__"], "regex": "vllm:num_.*"}]
    spec = {
        "selector": {"matchLabels": {"app": "llama"}},
        "podMetricsEndpoints": [{"port": "http", "metricRelabelings": rules}],
    }
    monitor = obj("PodMonitor", "monitoring.coreos.com/v1", spec)
    seen = [
        outcome("monitor-selects-service", deployment(), monitor, *more).verdict
        for more in ((), (scaled_object(),))
    ]
    assert seen == [Verdict.PASS, Verdict.FAIL]


def test_a_pattern_of_another_dialect_is_left_alone() -> None:
    rules = [{"action": "keep", "sourceLabels": ["__name__"], "regex": "(?P<n>["}]
    spec = {
        "selector": {"matchLabels": {"app": "llama"}},
        "podMetricsEndpoints": [{"port": "http", "metricRelabelings": rules}],
    }
    monitor = obj("PodMonitor", "monitoring.coreos.com/v1", spec)
    found = outcome("monitor-selects-service", deployment(), monitor, scaled_object())
    assert found.verdict is Verdict.PASS


def test_a_prometheus_without_a_selector_takes_no_monitor() -> None:
    spec = {"selector": {"matchLabels": {"app": "llama"}}, "endpoints": [{"port": "http"}]}
    monitor = obj("ServiceMonitor", "monitoring.coreos.com/v1", spec)
    prometheus = obj("Prometheus", "monitoring.coreos.com/v1", {}, name="main")
    labelled = service(labels={"app": "llama"})
    found = outcome("monitor-selects-service", deployment(), labelled, monitor, prometheus)
    assert "no Prometheus takes it" in found.findings[0].message


def test_a_route_without_timeouts_rests_on_its_gateway() -> None:
    found = outcome("stream-timeouts", deployment(), service(), http_route())
    assert found.verdict is Verdict.PASS
    assert "the Gateway main" in found.assumptions[0].message


def test_a_route_of_a_gateway_that_bounds_nothing_rests_on_nothing() -> None:
    found = outcome("stream-timeouts", deployment(), service(), http_route(), gateway("istio"))
    assert (found.verdict, found.assumptions) == (Verdict.PASS, ())


def test_a_backend_request_is_not_mended_over_its_request() -> None:
    """The API server refuses a backendRequest that is longer than the request."""
    route = http_route(timeouts={"request": "5m", "backendRequest": "20s"})
    (found,) = outcome("stream-timeouts", deployment(), service(), route).findings
    assert found.path == "spec.rules[0].timeouts.backendRequest"
    assert found.repair == {}


def test_an_ingress_of_an_unknown_controller_rests_on_it() -> None:
    spec = {"defaultBackend": {"service": {"name": "llama", "port": {"number": 80}}}}
    ingress = obj("Ingress", "networking.k8s.io/v1", spec)
    found = outcome("stream-timeouts", deployment(), service(), ingress)
    assert "the default Ingress controller" in found.assumptions[0].message


def test_what_asks_for_labels_is_found_by_the_label_that_fewest_ask_for() -> None:
    entries = [({"app": "vllm", "model": str(number)}, number) for number in range(100)]
    asking = Asking([*entries, ({}, -1)])
    assert list(asking.candidates({"app": "vllm", "model": "7"})) == [7]
    assert asking.for_nothing == [-1]


@pytest.mark.parametrize(
    ("kind", "version", "spec"),
    [
        ("Service", "v1", {"selector": {"app": "llama"}, "ports": {"port": 80}}),
        ("Ingress", "networking.k8s.io/v1", {"rules": "all"}),
        ("HTTPRoute", "gateway.networking.k8s.io/v1", {"rules": [{"timeouts": {"request": 30}}]}),
        ("ServiceMonitor", "monitoring.coreos.com/v1", {"endpoints": [{"port": ["http"]}]}),
        ("InferencePool", "inference.networking.k8s.io/v1", {"targetPorts": [{"number": "x"}]}),
    ],
)
def test_a_wrong_type_in_a_related_object_is_one_problem(
    kind: str, version: str, spec: Raw
) -> None:
    snapshot = Snapshot.of([deployment(), obj(kind, version, spec)])
    result = audit.run(snapshot, PROFILES["production"], MINE)
    assert [problem.message.partition(":")[0] for problem in result.problems] == [
        f"{kind}/inference/llama"
    ]


def bystander(**container: object) -> Raw:
    found = deployment(image="registry.example/team/chat:1.4.0", args=None, **container)
    found["metadata"] = {**found["metadata"], "name": "chat"}
    return found


def test_an_engine_that_may_just_not_be_recognised_is_only_warned_of() -> None:
    (finding,) = outcome("service-selects-pods", deployment(), bystander(), service()).findings
    assert finding.severity is Severity.WARNING
    assert "runs no engine that is known here" in finding.message


def test_another_workload_without_the_named_port_gets_no_requests() -> None:
    other = bystander(ports=[{"name": "web", "containerPort": 8000}], resources=None)
    assert outcome("service-selects-pods", deployment(), other, service()).findings == ()


def test_what_an_operator_made_is_no_other_workload() -> None:
    other = bystander(resources=None)
    owner = {"apiVersion": "x.dev/v1", "kind": "Chat", "name": "a", "controller": True}
    other["metadata"] = {**other["metadata"], "ownerReferences": [owner]}
    assert outcome("service-selects-pods", deployment(), other, service()).findings == ()


@pytest.mark.parametrize("written", ["600", "1.5m", "1d", "-5s", "forever", "infinity", "100000s"])
def test_a_duration_that_gateway_api_does_not_take_is_refused(written: str) -> None:
    route = http_route(timeouts={"request": written})
    (found,) = outcome("stream-timeouts", deployment(), service(), route).findings
    assert f"refuses {written}" in found.message


@pytest.mark.parametrize("written", ["0s", "600s", "10m", "1h30m", "60000ms1h"])
def test_a_duration_that_gateway_api_takes_is_judged(written: str) -> None:
    route = http_route(timeouts={"request": written})
    found = outcome("stream-timeouts", deployment(), service(), route).findings
    assert not any("refuses" in one.message for one in found)


def test_a_backend_request_over_its_request_is_refused() -> None:
    route = http_route(timeouts={"request": "5m", "backendRequest": "10m"})
    (found,) = outcome("stream-timeouts", deployment(), service(), route).findings
    assert "longer than the request" in found.message


def test_an_annotation_that_is_no_string_is_the_ingress_own_problem() -> None:
    key = "nginx.ingress.kubernetes.io/proxy-read-timeout"
    ingress = obj("Ingress", "networking.k8s.io/v1", {}, annotations={key: 3600})
    snapshot = Snapshot.of([deployment(), service(), ingress])
    result = audit.run(snapshot, PROFILES["production"], [CHECKS.get("stream-timeouts")])
    (problem,) = result.problems
    assert problem.path == f"metadata.annotations[{key}]"
    assert "Ingress/inference/llama" in problem.message
    assert len(result.judged) == 1
