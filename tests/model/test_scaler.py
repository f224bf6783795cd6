from __future__ import annotations

import pytest

from drainproof.model.scaler import Scaler, metric_names
from drainproof.model.shape import ShapeError
from tests.manifests import scaled_object


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ('sum(vllm:num_requests_waiting{namespace="a"})', ("vllm:num_requests_waiting",)),
        ("sum by (pod) (tgi_queue_size)", ("tgi_queue_size",)),
        ("avg without(gpu) (DCGM_FI_DEV_GPU_UTIL)", ("DCGM_FI_DEV_GPU_UTIL",)),
        ("a{x='b c'} / on(pod) group_left(node) d", ("a", "d")),
        ("histogram_quantile(0.95, sum(rate(x_bucket[2m])) by (le))", ("x_bucket",)),
        ('{__name__="up"} > bool 0', ("up",)),
        ("max_over_time(a[5m:30s] offset 5m)", ("a",)),
        ("", ()),
    ],
)
def test_the_metrics_in_a_query_are_found(query: str, names: tuple[str, ...]) -> None:
    assert metric_names(query) == names


def test_a_scaled_object_has_kedas_defaults() -> None:
    obj = scaled_object()
    del obj["spec"]["minReplicaCount"], obj["spec"]["maxReplicaCount"]
    found = Scaler.from_object(obj)
    assert (found.min_replicas, found.max_replicas) == (0, 100)
    assert (found.target_kind, found.target_name) == ("Deployment", "llama")


def test_an_autoscaler_without_metrics_follows_cpu() -> None:
    found = Scaler.from_object(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}, "maxReplicas": 3},
        }
    )
    assert [trigger.metrics for trigger in found.triggers] == [("cpu",)]
    assert (found.min_replicas, found.max_replicas) == (1, 3)


@pytest.mark.parametrize(
    ("field", "value"),
    [("maxReplicaCount", "3"), ("triggers", {}), ("triggers", [{"metadata": {"value": 70}}])],
)
def test_a_wrong_type_in_an_autoscaler_is_named(field: str, value: object) -> None:
    obj = scaled_object()
    obj["spec"][field] = value
    with pytest.raises(ShapeError, match=field):
        Scaler.from_object(obj)
