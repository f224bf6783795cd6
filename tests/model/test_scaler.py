from __future__ import annotations

from typing import Any

import pytest

from drainproof.model.scaler import Policy, Scaler, also_read, is_scaler, of, series_labels
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object

HPA: dict[str, Any] = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "llama", "namespace": "inference"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 3},
}


def query(snapshot: Snapshot, name: str) -> str:
    """Return what else the first selector of a workload's query reads."""
    workload = next(item for item in snapshot.workloads if item.name == name)
    (scaler,) = of(snapshot, workload)
    found = scaler.triggers[0].query
    assert found is not None
    return also_read(snapshot, workload, found.selectors[0])


def named(name: str, *, namespace: str = "inference", model: str = "m") -> dict[str, Any]:
    """Return a deployment of that name."""
    found = deployment(args=[f"--model={model}"])
    found["metadata"] = {"name": name, "namespace": namespace}
    return found


def following(written: str, *, target: str = "llama") -> dict[str, Any]:
    """Return a ScaledObject with that query."""
    trigger = {"type": "prometheus", "metadata": {"query": written, "threshold": "5"}}
    return scaled_object(target, triggers=[trigger])


def test_a_scaled_object_has_kedas_defaults() -> None:
    obj = scaled_object()
    del obj["spec"]["minReplicaCount"], obj["spec"]["maxReplicaCount"]
    found = Scaler.from_object(obj)
    assert (found.min_replicas, found.max_replicas, found.max_written) == (0, 100, False)
    assert (found.polling_s, found.cooldown_s, found.cooldown_written) == (30, 300, False)
    assert (found.target_kind, found.target_name) == ("Deployment", "llama")
    assert (found.idle_replicas, found.fallback, found.paused_by) == (None, None, "")


def test_a_trigger_has_kedas_defaults() -> None:
    (trigger,) = Scaler.from_object(scaled_object()).triggers
    assert (trigger.metric_type, trigger.null_is_zero) == ("AverageValue", True)
    assert (trigger.threshold, trigger.activation) == ("5", None)


@pytest.mark.parametrize(
    ("written", "null_is_zero"), [("false", False), ("F", False), ("true", True), ("1", True)]
)
def test_a_boolean_in_metadata_is_read_as_go_reads_it(written: str, *, null_is_zero: bool) -> None:
    obj = following("sum(a)")
    obj["spec"]["triggers"][0]["metadata"]["ignoreNullValues"] = written
    assert Scaler.from_object(obj).triggers[0].null_is_zero is null_is_zero


@pytest.mark.parametrize("obj", [HPA, scaled_object()], ids=["HPA", "KEDA"])
def test_an_autoscaler_has_kubernetes_default_behaviour(obj: dict[str, Any]) -> None:
    found = Scaler.from_object(obj)
    assert found.scale_down is not None
    assert found.scale_up is not None
    assert (found.scale_down.window_s, found.scale_up.window_s) == (300, 0)
    assert [(item.type, item.value, item.period_s) for item in found.scale_down.policies] == [
        ("Percent", 100, 15)
    ]


@pytest.mark.parametrize(
    ("kind", "value", "replicas", "pods"),
    [("Pods", 2, 6, 2), ("Percent", 100, 6, 6), ("Percent", 50, 5, 3), ("Percent", 10, 6, 1)],
)
def test_a_policy_counts_pods_as_kubernetes_rounds_them(
    kind: str, value: int, replicas: int, pods: int
) -> None:
    assert Policy("", kind, value, 60).pods(replicas) == pods


def test_an_autoscaler_without_metrics_follows_cpu() -> None:
    found = Scaler.from_object(HPA)
    assert [trigger.metrics for trigger in found.triggers] == [("cpu",)]
    assert (found.min_replicas, found.max_replicas) == (1, 3)


@pytest.mark.parametrize(
    ("target", "metric_type", "threshold"),
    [
        ({"type": "AverageValue", "averageValue": "2500m"}, "AverageValue", "2500m"),
        ({"type": "Value", "value": 5}, "Value", "5"),
        ({}, "", None),
    ],
)
def test_a_metric_of_an_autoscaler_has_the_target_that_it_names(
    target: dict[str, Any], metric_type: str, threshold: str | None
) -> None:
    external = {"metric": {"name": "queue"}, "target": target}
    spec = {**HPA["spec"], "metrics": [{"type": "External", "external": external}]}
    (trigger,) = Scaler.from_object({**HPA, "spec": spec}).triggers
    assert (trigger.metrics, trigger.metric_type) == (("queue",), metric_type)
    assert trigger.threshold == threshold


@pytest.mark.parametrize(
    ("annotations", "paused"),
    [
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "yes"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True),
        ({"autoscaling.keda.sh/paused-scale-in": "true"}, False),
    ],
)
def test_a_paused_scaled_object_is_told(annotations: dict[str, str], *, paused: bool) -> None:
    obj = scaled_object()
    obj["metadata"]["annotations"] = annotations
    assert bool(Scaler.from_object(obj).paused_by) is paused


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("maxReplicaCount", "3"),
        ("triggers", {}),
        ("triggers", [{"metadata": {"value": 70}}]),
        ("fallback", {"replicas": "3"}),
        ("idleReplicaCount", "0"),
        ("advanced", {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": []}}}),
        ("pollingInterval", "15s"),
    ],
)
def test_a_wrong_type_in_an_autoscaler_is_named(field: str, value: object) -> None:
    obj = scaled_object()
    obj["spec"][field] = value
    with pytest.raises(ShapeError, match=field if field != "advanced" else "scaleDown"):
        Scaler.from_object(obj)


def test_what_only_computes_a_number_of_replicas_is_no_autoscaler() -> None:
    assert not is_scaler({"apiVersion": "llmd.ai/v1alpha1", "kind": "VariantAutoscaling"})


@pytest.mark.parametrize(
    ("written", "others"),
    [
        ('sum(vllm:num_requests_waiting{namespace="inference"})', "llama-70b and others"),
        ("sum(vllm:num_requests_waiting)", "llama-70b and others"),
        ('sum(vllm:num_requests_waiting{namespace="inference",pod=~"llama-.*"})', "llama-70b"),
        ('sum(vllm:num_requests_waiting{pod=~"llama-.*"})', "llama-70b and others"),
        ('sum(vllm:num_requests_waiting{namespace="inference",pod=~"llama-[0-9a-f]+-.*"})', ""),
        ('sum(vllm:num_requests_waiting{namespace="inference",model_name="m"})', ""),
        ('sum(vllm:num_requests_waiting{namespace="inference",pod=~"(a|b).*"})', ""),
    ],
)
def test_other_workloads_that_a_query_reads_are_named(written: str, others: str) -> None:
    snapshot = Snapshot.of(
        [
            named("llama"),
            named("llama-70b"),
            named("mistral"),
            named("llama-lab", namespace="lab"),
            following(written),
        ]
    )
    assert query(snapshot, "llama") == others


def test_a_workload_whose_name_another_one_begins_with_is_read_too() -> None:
    written = 'sum(vllm:num_requests_waiting{namespace="inference",pod=~"llama-.*"})'
    objects = [named("llama"), named("llama-70b"), following(written, target="llama-70b")]
    assert query(Snapshot.of(objects), "llama-70b") == "llama"


@pytest.mark.parametrize(
    ("kind", "pod"),
    [("Deployment", "llama-5d8f9c7b6d-x7k2p"), ("StatefulSet", "llama-0")],
)
def test_pods_have_the_names_that_their_kind_gives_them(kind: str, pod: str) -> None:
    obj = named("llama")
    obj["kind"] = kind
    (workload,) = Snapshot.of([obj]).workloads
    assert workload.engine is not None
    assert series_labels(workload, workload.engine)["pod"] == (pod,)


def test_the_model_has_the_name_under_which_it_is_served() -> None:
    obj = named("llama")
    obj["spec"]["template"]["spec"]["containers"][0]["args"].append("--served-model-name=chat")
    (workload,) = Snapshot.of([obj]).workloads
    assert workload.engine is not None
    assert series_labels(workload, workload.engine)["model_name"] == ("chat",)


def knative(**annotations: str) -> dict[str, Any]:
    """Return a Knative Service; underscores in the annotations' names become dashes."""
    pods = named("llama")["spec"]["template"]
    pods["metadata"]["annotations"] = {
        f"autoscaling.knative.dev/{key.replace('_', '-')}": value
        for key, value in annotations.items()
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {"template": pods},
    }


def inference_service(annotations: dict[str, str], **predictor: object) -> dict[str, Any]:
    """Return a KServe InferenceService that runs vLLM."""
    containers = named("llama")["spec"]["template"]["spec"]["containers"]
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "llama",
            "namespace": "inference",
            "annotations": {f"serving.kserve.io/{key}": it for key, it in annotations.items()},
        },
        "spec": {"predictor": {"containers": containers, **predictor}},
    }


def brought(obj: dict[str, Any], *others: dict[str, Any]) -> list[tuple[int, int, bool, str]]:
    """Return the autoscalers of a workload: bounds, whether the maximum is written, signal."""
    snapshot = Snapshot.of([obj, *others])
    return [
        (item.min_replicas, item.max_replicas, item.max_written, item.triggers[0].written)
        for item in of(snapshot, snapshot.workloads[0])
    ]


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({"min_scale": "1", "max_scale": "4"}, (1, 4, True, "concurrency")),
        ({}, (0, 100, False, "concurrency")),
        ({"max_scale": "0"}, (0, 100, False, "concurrency")),
        ({"minScale": "2", "metric": "rps"}, (2, 100, False, "rps")),
        ({"min_scale": "many"}, (0, 100, False, "concurrency")),
    ],
)
def test_knative_brings_its_autoscaler(
    annotations: dict[str, str], expected: tuple[int, int, bool, str]
) -> None:
    assert brought(knative(**annotations)) == [expected]


@pytest.mark.parametrize(
    ("annotations", "predictor", "expected"),
    [
        ({}, {"maxReplicas": 3}, [(1, 3, True, "concurrency")]),
        ({}, {"minReplicas": 0}, [(0, 100, False, "concurrency")]),
        ({}, {"maxReplicas": 3, "scaleMetric": "rps"}, [(1, 3, True, "rps")]),
        ({"deploymentMode": "RawDeployment"}, {"maxReplicas": 3}, [(1, 3, True, "cpu")]),
        ({"deploymentMode": "Standard"}, {"minReplicas": 3}, []),
        ({"autoscalerClass": "none"}, {"maxReplicas": 3}, []),
        (
            {"autoscalerClass": "keda"},
            {
                "maxReplicas": 3,
                "autoScaling": {
                    "metrics": [
                        {"type": "External", "external": {"metric": {"query": "sum(a)"}}},
                    ]
                },
            },
            [(1, 3, True, "sum(a)")],
        ),
        (
            {"autoscalerClass": "keda"},
            {
                "maxReplicas": 3,
                "autoScaling": {
                    "metrics": [
                        {"type": "PodMetric", "podmetric": {"metric": {"query": "sum(a)"}}},
                    ]
                },
            },
            [(1, 3, True, "sum(a)")],
        ),
    ],
)
def test_kserve_brings_the_autoscaler_that_it_is_told_to(
    annotations: dict[str, str],
    predictor: dict[str, Any],
    expected: list[tuple[int, int, bool, str]],
) -> None:
    assert brought(inference_service(annotations, **predictor)) == expected


def test_an_autoscaler_of_the_deployment_that_kserve_makes_is_the_services_own() -> None:
    service = inference_service({"autoscalerClass": "external"})
    found = brought(service, scaled_object("llama-predictor"))
    assert [(least, most) for least, most, _, _ in found] == [(2, 3)]


def test_the_http_add_on_follows_requests() -> None:
    address = {"scalerAddress": "keda-add-ons-http-external-scaler.keda:9090"}
    obj = scaled_object(triggers=[{"type": "external-push", "metadata": address}])
    assert [item.written for item in Scaler.from_object(obj).triggers] == ["requests"]
