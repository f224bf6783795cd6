"""What is read from a cluster's own words."""

from __future__ import annotations

import pytest

from drainproof.faults.observe import endpoints_record, epoch, event_time, metric, pod_record

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
    def slice_of(*entries: tuple[str, dict[str, bool]]) -> dict[str, object]:
        return {
            "endpoints": [
                {"targetRef": {"name": name}, "conditions": conditions}
                for name, conditions in entries
            ]
        }

    slices = [
        slice_of(("b", {"ready": True}), ("dying", {"ready": False, "terminating": True})),
        slice_of(("a", {}), ("unready", {"ready": False})),
    ]
    record = endpoints_record(slices, 1.0)
    assert (record.ready, record.terminating) == (["a", "b"], ["dying"])


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
