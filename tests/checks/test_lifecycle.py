"""What the checks on lifecycle and probes leave open, and how loud they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object, service

if TYPE_CHECKING:
    from drainproof.judge.audit import Outcome

CHECKS = registry.load(kind="manifest")


def outcome(slug: str, *objects: dict[str, Any], partial: bool = False) -> Outcome:
    snapshot = Snapshot.of(objects, partial=partial)
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS.get(slug)]).outcomes
    return found


def script(text: str) -> dict[str, Any]:
    return deployment(command=["bash", "-c", text], args=None)


def hook(**form: object) -> dict[str, Any]:
    return deployment(lifecycle={"preStop": form})


def budget(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"selector": {"matchLabels": {"app": "llama"}}, **spec},
    }


@pytest.mark.parametrize(
    ("slug", "obj"),
    [
        ("grace-period", hook(exec={"command": ["/scripts/stop.sh"]})),
        ("prestop-delay", hook(exec={"command": ["/scripts/stop.sh"]})),
        ("prestop-delay", hook(httpGet={"path": "/wait-for-drain", "port": 8022})),
        ("signal-reaches-engine", deployment(command=["/scripts/start.sh"])),
        ("signal-reaches-engine", script("exec /scripts/start.sh")),
        ("engine-drains", deployment(args=["--model=m", "--shutdown-timeout=$(SECONDS)"])),
        ("engine-drains", script('[ $A ] && B="--shutdown-timeout 90"; exec vllm serve m $B')),
        ("engine-drains", deployment(image="nvcr.io/nim/meta/llama3-8b-instruct:1.8.0", args=None)),
        ("readiness-probe", deployment(readinessProbe={"exec": {"command": ["/probe.sh"]}})),
    ],
)
def test_what_cannot_be_told_is_no_pass(slug: str, obj: dict[str, Any]) -> None:
    assert outcome(slug, obj).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("partial", "expected"), [(True, Severity.WARNING), (False, Severity.ERROR)]
)
def test_a_missing_budget_is_an_error_only_where_all_is_seen(
    partial: bool,  # noqa: FBT001 - a case
    expected: Severity,
) -> None:
    (finding,) = outcome("disruption-budget", deployment(), partial=partial).findings
    assert finding.severity is expected


def test_a_budget_points_at_its_own_field() -> None:
    (finding,) = outcome("disruption-budget", deployment(), budget(maxUnavailable=0)).findings
    assert (finding.object, finding.path) == (
        "PodDisruptionBudget/inference/llama",
        "spec.maxUnavailable",
    )


@pytest.mark.parametrize(("policy", "assumptions"), [("IfHealthyBudget", 1), ("AlwaysAllow", 0)])
def test_a_budget_that_waits_for_unhealthy_replicas_rests_on_an_assumption(
    policy: str, assumptions: int
) -> None:
    found = outcome(
        "disruption-budget",
        deployment(),
        budget(maxUnavailable=1, unhealthyPodEvictionPolicy=policy),
    )
    assert found.verdict is Verdict.PASS
    assert len(found.assumptions) == assumptions


@pytest.mark.parametrize(
    ("update", "severity"),
    [({"replicas": 3}, Severity.WARNING), ({"replicas": 1}, Severity.ERROR)],
)
def test_a_stateful_set_is_an_error_where_nothing_else_answers(
    update: dict[str, Any], severity: Severity
) -> None:
    obj = {**deployment(), "kind": "StatefulSet"}
    del obj["spec"]["strategy"]
    obj["spec"] |= update
    (finding,) = outcome("rolling-update", obj).findings
    assert finding.severity is severity


def test_a_stateful_set_whose_autoscaler_keeps_two_is_a_warning() -> None:
    obj = {**deployment(), "kind": "StatefulSet"}
    del obj["spec"]["replicas"], obj["spec"]["strategy"]
    scaler = scaled_object(scaleTargetRef={"kind": "StatefulSet", "name": "llama"})
    (found,) = outcome("rolling-update", obj, scaler).findings
    assert found.severity is Severity.WARNING
    assert "1 of 2 replicas are missing" in found.message


def test_a_percentage_says_where_it_begins_to_count_only_if_fewer_replicas_may_run() -> None:
    obj = deployment()
    obj["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": "100%", "maxSurge": 1}}
    del obj["spec"]["replicas"]
    (found,) = outcome("rolling-update", obj, scaled_object()).findings
    assert "rounds down" not in found.message


def test_bash_with_a_single_command_only_warns() -> None:
    (finding,) = outcome("signal-reaches-engine", script("vllm serve m")).findings
    assert finding.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("most", "update", "severity"),
    [
        (10, {}, Severity.WARNING),
        (10, {"maxUnavailable": "30%"}, Severity.ERROR),
        (3, {"maxUnavailable": "30%"}, Severity.WARNING),
    ],
)
def test_a_statefulset_is_judged_at_every_number_of_replicas(
    most: int, update: dict[str, Any], severity: Severity
) -> None:
    obj = {**deployment(), "kind": "StatefulSet"}
    obj["spec"] = {**obj["spec"], "updateStrategy": {"rollingUpdate": update}}
    del obj["spec"]["strategy"], obj["spec"]["replicas"]
    scaler = scaled_object(
        maxReplicaCount=most, scaleTargetRef={"name": "llama", "kind": "StatefulSet"}
    )
    (finding,) = outcome("rolling-update", obj, scaler).findings
    assert finding.severity is severity


@pytest.mark.parametrize(
    ("kind", "field", "written"),
    [
        ("Deployment", "strategy", "OnDelete"),
        ("StatefulSet", "updateStrategy", "Recreate"),
        ("DaemonSet", "updateStrategy", "rollingupdate"),
    ],
)
def test_a_type_that_the_kind_has_not_is_refused(kind: str, field: str, written: str) -> None:
    obj = {**deployment(), "kind": kind}
    obj["spec"] = {**obj["spec"], field: {"type": written}}
    if field != "strategy":
        del obj["spec"]["strategy"]
    (finding,) = outcome("rolling-update", obj).findings
    assert f"refuses the type {written}" in finding.message


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"args": ["--model=m"], "resources": {"limits": {"nvidia.com/gpu": 1}}}, True),
        ({"command": ["vllm", "serve", "m", "--shutdown-timeout=120"]}, True),
        ({"command": ["sleep", "infinity"]}, False),
        ({"image": "prom/statsd-exporter:v0.28.0"}, False),
    ],
)
def test_a_second_engine_in_the_pod_is_not_passed_over(
    beside: dict[str, Any],
    expected: bool,  # noqa: FBT001 - a case
) -> None:
    obj = deployment(args=["--model=m", "--shutdown-timeout=120"])
    second = {"name": "second", "image": "vllm/vllm-openai:v0.32.0", **beside}
    obj["spec"]["template"]["spec"]["containers"].append(second)
    found = outcome("engine-drains", obj)
    assert found.verdict is (Verdict.INCONCLUSIVE if expected else Verdict.PASS)
    assert ["runs an engine, too" in one.message for one in found.findings] == expected * [True]


def behind_a_proxy(**proxy: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a deployment with a proxy beside the engine, and a Service that leads to it."""
    obj, svc = deployment(), service()
    front: dict[str, Any] = {"name": "front", "image": "envoyproxy/envoy:v1.31.0"}
    front |= {"ports": [{"name": "proxy", "containerPort": 8080}], **proxy}
    obj["spec"]["template"]["spec"]["containers"].append(front)
    svc["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": "proxy"}]
    return obj, svc


@pytest.mark.parametrize(
    ("lifecycle", "expected"),
    [
        ({}, Verdict.FAIL),
        ({"preStop": {"tcpSocket": {"port": 1}}}, Verdict.FAIL),
        ({"preStop": {"sleep": {"seconds": 2}}}, Verdict.FAIL),
        ({"preStop": {"sleep": {"seconds": 15}}}, Verdict.INCONCLUSIVE),
        ({"preStop": {"exec": {"command": ["/drain.sh"]}}}, Verdict.INCONCLUSIVE),
        ({"preStop": {"sleep": {"seconds": 140}}}, Verdict.PASS),
    ],
)
def test_a_proxy_that_the_service_leads_to_outlasts_the_engine(
    lifecycle: dict[str, Any], expected: Verdict
) -> None:
    found = outcome("prestop-delay", *behind_a_proxy(lifecycle=lifecycle))
    assert found.verdict is expected
    assert all("containers[1]" in one.path for one in found.findings)


@pytest.mark.parametrize(
    "ports",
    [
        [{"name": "http", "port": 80, "targetPort": "http"}],
        [{"name": "http", "port": 80, "targetPort": "http"}, {"port": 81, "targetPort": "proxy"}],
        [{"name": "metrics", "port": 80, "targetPort": "proxy"}],
    ],
)
def test_a_container_that_no_request_goes_through_may_end_at_once(
    ports: list[dict[str, Any]],
) -> None:
    obj, svc = behind_a_proxy()
    svc["spec"]["ports"] = ports
    assert outcome("prestop-delay", obj, svc).verdict is Verdict.PASS


_CONFIG = "proxy.istio.io/config"


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, Verdict.INCONCLUSIVE),
        ({_CONFIG: '{"terminationDrainDuration": "20s"}'}, Verdict.INCONCLUSIVE),
        ({_CONFIG: '{"terminationDrainDuration": "150s"}'}, Verdict.PASS),
        ({_CONFIG: "terminationDrainDuration: 3m"}, Verdict.PASS),
        ({_CONFIG: "proxyMetadata: {EXIT_ON_ZERO_ACTIVE_CONNECTIONS: 'true'}"}, Verdict.PASS),
        ({"sidecar.istio.io/nativeSidecar": "true"}, Verdict.PASS),
        ({"traffic.sidecar.istio.io/excludeInboundPorts": "9000, 8000"}, Verdict.PASS),
    ],
)
def test_an_injected_proxy_of_istio_has_to_drain(
    annotations: dict[str, str], expected: Verdict
) -> None:
    obj = deployment()
    metadata = obj["spec"]["template"]["metadata"]
    metadata["labels"]["sidecar.istio.io/inject"] = "true"
    metadata["annotations"] = annotations
    assert outcome("prestop-delay", obj).verdict is expected
    del metadata["labels"]["sidecar.istio.io/inject"]
    assert outcome("prestop-delay", obj).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("of_namespace", "of_pods", "expected"),
    [
        ({"istio-injection": "enabled"}, {}, Verdict.INCONCLUSIVE),
        ({"istio.io/rev": "1-24"}, {}, Verdict.INCONCLUSIVE),
        ({}, {"istio.io/rev": "1-24"}, Verdict.INCONCLUSIVE),
        ({"istio-injection": "enabled"}, {"sidecar.istio.io/inject": "false"}, Verdict.PASS),
        ({"istio-injection": "disabled", "istio.io/rev": "1-24"}, {}, Verdict.PASS),
        ({"istio.io/dataplane-mode": "ambient"}, {}, Verdict.PASS),
    ],
)
def test_a_namespace_has_a_proxy_injected_unless_the_pods_say_no(
    of_namespace: dict[str, str], of_pods: dict[str, str], expected: Verdict
) -> None:
    obj = deployment()
    obj["spec"]["template"]["metadata"]["labels"] |= of_pods
    metadata = {"name": "inference", "labels": of_namespace}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    assert outcome("prestop-delay", obj, namespace, partial=True).verdict is expected
    metadata["name"] = "other"
    alone = outcome("prestop-delay", obj, namespace, partial=True).verdict
    assert alone is (expected if "istio.io/rev" in of_pods else Verdict.PASS)


@pytest.mark.parametrize(
    ("containers", "expected"),
    [(["vllm", "istio-proxy"], Verdict.INCONCLUSIVE), (["vllm"], Verdict.PASS)],
    ids=["beside the engine", "none, or a native sidecar"],
)
def test_pods_of_a_live_cluster_show_whether_a_proxy_was_injected(
    containers: list[str], expected: Verdict
) -> None:
    obj = deployment()
    obj["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] = "true"
    owner = [{"kind": "Deployment", "name": "llama", "controller": True}]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "llama-0", "namespace": "inference", "ownerReferences": owner},
        "spec": {"containers": [{"name": name} for name in containers]},
        "status": {"containerStatuses": [{"name": name} for name in containers]},
    }
    found = outcome("prestop-delay", obj, pod)
    assert found.verdict is expected
    assert all("Istio's proxy runs in Pod/" in one.message for one in found.findings)
    assert all("terminationDrainDuration" in one.fix for one in found.findings)
    waits = {**pod, "status": {"phase": "Pending"}}
    assert outcome("prestop-delay", obj, waits).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("grace_s", "expected"), [(None, Verdict.FAIL), (135, Verdict.FAIL), (136, Verdict.PASS)]
)
def test_workers_of_a_group_have_as_long_as_their_leader(
    grace_s: int | None, expected: Verdict
) -> None:
    leader, worker = deployment()["spec"]["template"], deployment()["spec"]["template"]
    worker["spec"]["containers"] = [{"name": "ray", "image": "rayproject/ray:2.9.0"}]
    worker["spec"]["terminationGracePeriodSeconds"] = grace_s
    if grace_s is None:
        del worker["spec"]["terminationGracePeriodSeconds"]
    obj = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"leaderWorkerTemplate": {"leaderTemplate": leader, "workerTemplate": worker}},
    }
    found = outcome("grace-period", obj)
    assert found.verdict is expected
    assert all("workerTemplate" in one.path for one in found.findings)


@pytest.mark.parametrize(
    ("key", "value", "seconds"),
    [
        ("cloud.google.com/gke-spot", "true", "15 s"),
        ("kubernetes.azure.com/scalesetpriority", "spot", "30 s"),
    ],
)
def test_a_spot_node_whose_notice_is_short_is_a_warning(key: str, value: str, seconds: str) -> None:
    obj = deployment()
    obj["spec"]["template"]["spec"]["nodeSelector"] = {key: value}
    found = outcome("grace-period", obj)
    assert found.verdict is Verdict.FAIL
    (finding,) = found.findings
    assert finding.severity is Severity.WARNING
    assert finding.path == f"spec.template.spec.nodeSelector[{key}]"
    assert seconds in finding.message


def test_required_affinity_to_spot_nodes_is_one_warning() -> None:
    obj = deployment()
    asked = {"key": "cloud.google.com/gke-spot", "operator": "In", "values": ["true"]}
    obj["spec"]["template"]["spec"]["affinity"] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [asked]}, {"matchExpressions": [asked]}]
            }
        }
    }
    assert len(outcome("grace-period", obj).findings) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cloud.google.com/gke-spot", "false"),
        ("karpenter.sh/capacity-type", "spot"),
        ("kubernetes.azure.com/scalesetpriority", "regular"),
    ],
)
def test_nodes_that_stay_or_give_longer_notice_are_no_finding(key: str, value: str) -> None:
    obj = deployment()
    obj["spec"]["template"]["spec"]["nodeSelector"] = {key: value}
    assert outcome("grace-period", obj).verdict is Verdict.PASS
