"""What is read from a cluster's own words."""

from __future__ import annotations

import pytest

from drainproof.faults.observe import (
    autoscaler_record,
    endpoints_record,
    epoch,
    event_time,
    metric,
    pod_record,
)

METRICS = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m {x} y"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0 1700000000000
vllm:num_requests_running_total 99.0
nv_metrics{type="waiting"} 1
nv_metrics{type="scheduled"} 6
plain 2.5
broken{a="b"} NaNsense
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vllm:num_requests_running", 7.0),
        ("plain", 2.5),
        ('nv_metrics{type="scheduled"}', 6.0),
        ("broken", None),
        ("missing", None),
        ("", None),
    ],
)
def test_a_metric_is_summed_over_its_label_sets(name: str, value: float | None) -> None:
    assert metric(METRICS, name) == value


def test_a_pod_under_deletion_tells_when_that_was_asked_for() -> None:
    item = {
        "metadata": {
            "name": "a",
            "uid": "u",
            "deletionTimestamp": "2026-01-01T00:01:00Z",
            "deletionGracePeriodSeconds": 60,
        },
        "status": {"phase": "Running"},
    }
    record = pod_record("MODIFIED", item, 5.0)
    assert record.deletion_at == epoch("2026-01-01T00:00:00Z")
    assert record.grace_s == 60


def test_a_pod_that_no_node_takes_tells_why_in_the_schedulers_words() -> None:
    why = "0/2 nodes are available: 2 Insufficient nvidia.com/gpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    item = {
        "metadata": {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "status": {"phase": "Pending", "conditions": [condition | {"message": why}]},
    }
    record = pod_record("ADDED", item, 5.0)
    assert (record.unschedulable, record.node) == (why, "")
    assert record.created_at == epoch("2026-01-01T00:00:00Z")


def test_an_autoscaler_tells_what_it_declares_and_what_it_says() -> None:
    current = {"averageValue": "2500m", "value": "0"}
    reason = {"reason": "TooManyReplicas", "message": "the desired count is more than the maximum"}
    item = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {
            "name": "keda-hpa-vllm",
            "uid": "u",
            "managedFields": [{}],
            "ownerReferences": [{"kind": "ScaledObject", "name": "vllm"}],
        },
        "spec": {"maxReplicas": 3},
        "status": {
            "currentReplicas": 1,
            "desiredReplicas": 3,
            "lastScaleTime": "2026-01-01T00:00:00Z",
            "conditions": [
                {"type": "AbleToScale", "status": "True"},
                {"type": "ScalingLimited", "status": "True", **reason},
            ],
            "currentMetrics": [
                {"type": "Resource", "resource": {}},
                {"type": "External", "external": {"current": current}},
            ],
        },
    }
    record = autoscaler_record("MODIFIED", item, 5.0)
    assert (record.object, record.made_by) == (
        "HorizontalPodAutoscaler/keda-hpa-vllm",
        "ScaledObject/vllm",
    )
    assert (record.current, record.desired, record.value) == (1, 3, 2.5)
    assert record.scaled_at == epoch("2026-01-01T00:00:00Z")
    assert record.conditions == {
        "AbleToScale": "True",
        "ScalingLimited": "True: TooManyReplicas: the desired count is more than the maximum",
    }
    assert record.declared == {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-vllm"},
        "spec": {"maxReplicas": 3},
    }


def test_a_password_of_a_trigger_is_not_in_the_history() -> None:
    secret = "sk-" + "0123456789abcdefghij" * 2
    item = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "vllm", "uid": "u"},
        "spec": {"triggers": [{"metadata": {"customHeaders": f"X-Key={secret}"}}]},
    }
    assert secret not in str(autoscaler_record("ADDED", item, 5.0))


def test_a_container_that_was_started_again_tells_how_it_ended_before() -> None:
    status = {
        "name": "vllm",
        "restartCount": 1,
        "state": {"running": {"startedAt": "2026-01-01T00:00:09Z"}},
        "lastState": {
            "terminated": {
                "exitCode": 137,
                "reason": "OOMKilled",
                "finishedAt": "2026-01-01T00:00:05Z",
            }
        },
    }
    item = {"metadata": {"name": "a", "uid": "u"}, "status": {"containerStatuses": [status]}}
    (container,) = pod_record("MODIFIED", item, 5.0).containers
    assert (container["state"], container["exit_code"]) == ("running", 137)
    assert container["reason"] == "OOMKilled"
    assert container["finished_at"] == epoch("2026-01-01T00:00:05Z")


def test_endpoints_are_joined_over_slices_and_told_apart() -> None:
    def slice_of(name: str, *entries: tuple[str, dict[str, bool]]) -> dict[str, object]:
        return {
            "metadata": {"name": name},
            "endpoints": [
                {"targetRef": {"name": pod}, "conditions": conditions}
                for pod, conditions in entries
            ],
        }

    slices = [
        slice_of("one", ("b", {"ready": True}), ("dying", {"ready": False, "terminating": True})),
        slice_of("two", ("a", {}), ("unready", {"ready": False})),
    ]
    record = endpoints_record(slices, 1.0)
    assert (record.ready, record.terminating) == (["a", "b"], ["dying"])
    assert record.slices == {"one": ["b"], "two": ["a"]}


@pytest.mark.parametrize(
    "fields",
    [
        {"lastTimestamp": "2026-01-01T00:00:00Z", "eventTime": None},
        {"lastTimestamp": None, "eventTime": "2026-01-01T00:00:00.000000Z"},
        {"series": {"lastObservedTime": "2026-01-01T00:00:00.000000Z"}},
    ],
)
def test_an_event_says_when_it_last_happened_in_any_of_its_forms(fields: dict[str, object]) -> None:
    assert event_time({"metadata": {}, **fields}) == epoch("2026-01-01T00:00:00Z")


def test_an_event_without_any_time_has_none() -> None:
    assert event_time({"metadata": {}}) is None
