"""What is simulated is what manifests declare."""

from __future__ import annotations

from typing import Any

import pytest

from drainproof.errors import UserError
from drainproof.model.snapshot import Snapshot
from drainproof.simulate import declared
from tests.manifests import deployment, scaled_object

Raw = dict[str, Any]


def hpa(metric: Raw, **spec: object) -> Raw:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llama", "namespace": "inference"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": 2,
            "maxReplicas": 9,
            "metrics": [metric],
            **spec,
        },
    }


def policy(scaler: Raw, metric: str | None = None) -> tuple[Raw, list[str]]:
    """Return the fields of the policy, and the notes."""
    snapshot = Snapshot.of([deployment(), scaler])
    workload = declared.workload_of(snapshot, "", "")
    one = declared.scaler_of(snapshot, workload)
    assert one is not None
    notes: list[str] = []
    return declared.policy_fields(one, workload.engine, metric, notes), notes


def with_query(query: str, **metadata: str) -> Raw:
    trigger = {"type": "prometheus", "metadata": {"query": query, "threshold": "5", **metadata}}
    return scaled_object(triggers=[trigger])


W, R = "vllm:num_requests_waiting", "vllm:num_requests_running"


@pytest.mark.parametrize(
    ("query", "follows", "mean", "factor"),
    [
        (f"sum({W})", ("waiting",), False, 1),
        (f'sum({W}{{namespace="inference"}}) or vector(0)', ("waiting",), False, 1),
        (f"sum({R})", ("running",), False, 1),
        (f"sum({W}) + sum({R})", ("waiting", "running"), False, 1),
        (f"sum({W} + {R})", ("waiting", "running"), False, 1),
        (f"avg({W})", ("waiting",), True, 1),
        (f"sum({W}) / count({W})", ("waiting",), True, 1),
        (f"sum({W}) * 2", ("waiting",), False, 2),
    ],
)
def test_a_query_is_a_sum_or_a_mean_of_what_it_counts(
    query: str,
    follows: tuple[str, ...],
    mean: bool,  # noqa: FBT001 - a case's
    factor: float,
) -> None:
    found, _ = policy(with_query(query))
    assert (found["follows"], found["mean"], found["factor"]) == (follows, mean, factor)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (W, "one for every replica, which KEDA refuses"),
        (f"max({W})", "neither a sum nor a mean"),
        (f"sum(rate({W}[1m]))", "neither a sum nor a mean"),
        (f"sum({W}) / sum({R})", "a ratio"),
        ("sum(vllm:kv_cache_usage_perc)", "no number of requests"),
        ("sum(some_other_thing)", "no number of requests"),
        ("sum(", "can't be parsed"),
    ],
)
def test_what_is_not_simulated_is_an_error_that_says_what_to_give(query: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        policy(with_query(query))
    assert "--metric waiting --thresholds 5" in caught.value.hint


def test_of_several_triggers_the_others_are_told_of() -> None:
    other = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
    found, notes = policy(
        scaled_object(triggers=[other, {"type": "prometheus", "metadata": {"query": f"sum({W})"}}])
    )
    assert found["follows"] == ("waiting",)
    assert notes == ["only one trigger is simulated, and not 'cpu'"]


def test_a_scaled_object_s_own_settings_and_keda_s_defaults_count() -> None:
    found, _ = policy(with_query(f"sum({W})", activationThreshold="2"))
    assert found["keda"] is True
    assert (found["least"], found["most"], found["threshold"]) == (2, 3, 5)
    assert (found["activation"], found["polling_s"], found["cooldown_s"]) == (2, 30, 300)
    written, _ = policy(
        {
            **scaled_object(pollingInterval=7, cooldownPeriod=0, idleReplicaCount=0),
        }
    )
    assert (written["polling_s"], written["cooldown_s"], written["idle"]) == (7, 0, 0)


def test_behavior_counts_where_it_is_written() -> None:
    plain, _ = policy(scaled_object())
    assert "up" not in plain
    up = {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}
    config = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": up}}}
    found, _ = policy(scaled_object(advanced=config))
    assert [(one.type, one.value, one.period_s) for one in found["up"].policies] == [
        ("Pods", 1, 60)
    ]
    assert found["down"].window_s == 300  # what Kubernetes fills in


@pytest.mark.parametrize(
    "up",
    [
        {"selectPolicy": "Most"},
        {"stabilizationWindowSeconds": -1},
        {"policies": [{"type": "Replicas", "value": 1, "periodSeconds": 60}]},
        {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 60}]},
        {"policies": [{"type": "Pods", "value": 1}]},
    ],
    ids=str,
)
def test_behavior_that_kubernetes_refuses_is_an_error(up: Raw) -> None:
    config = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": up}}}
    with pytest.raises(UserError, match=r"behavior\.scaleUp: Kubernetes refuses it"):
        policy(scaled_object(advanced=config))


@pytest.mark.parametrize(
    ("metric", "kind", "threshold"),
    [
        (
            {"type": "Pods", "pods": {"metric": {"name": "vllm_num_requests_waiting"},
             "target": {"type": "AverageValue", "averageValue": "2500m"}}},
            "Pods", 2.5,
        ),
        (
            {"type": "External", "external": {"metric": {"name": "vllm_num_requests_waiting"},
             "target": {"type": "Value", "value": "7"}}},
            "Value", 7,
        ),
    ],
)  # fmt: skip
def test_an_hpa_s_metric_has_its_type_and_its_quantity(
    metric: Raw, kind: str, threshold: float
) -> None:
    found, _ = policy(hpa(metric))
    assert (found["metric_type"], found["threshold"]) == (kind, threshold)
    assert (found["least"], found["most"], found.get("keda")) == (2, 9, None)
    assert found["null_is_zero"] is False


def test_another_metric_than_its_own_may_be_simulated() -> None:
    found, _ = policy(with_query("sum(some_other_thing)"), metric="waiting")
    assert "follows" not in found


def test_a_pause_and_a_range_are_told_of() -> None:
    paused = with_query(f"sum(avg_over_time({W}[5m]))")
    paused["metadata"]["annotations"] = {"autoscaling.keda.sh/paused-scale-out": "true"}
    _, notes = policy(paused)
    assert len(notes) == 2


def test_a_replica_is_what_its_pods_declare() -> None:
    args = ["--model=a/b", "--max-num-seqs=32", "--data-parallel-size=2"]
    probe = {"httpGet": {"path": "/health", "port": 8000}, "initialDelaySeconds": 60}
    container = deployment(
        args=args, readinessProbe=probe, resources={"limits": {"nvidia.com/gpu": 8}}
    )
    workload = declared.workload_of(Snapshot.of([container]), "", "")
    assert declared.service_fields(workload, []) == {
        "concurrency": 64,
        "gpus": 8,
        "prestop_s": 15,
        "probe_delay_s": 60,
        "probe_periods_s": (10, 10),
    }


def named(name: str, namespace: str = "inference") -> Raw:
    made = deployment()
    made["metadata"] = {"name": name, "namespace": namespace}
    return made


@pytest.mark.parametrize(
    ("asked", "namespace"),
    [("a", ""), ("deployment/a", ""), ("Deployment/a", "inference")],
)
def test_a_workload_is_meant_by_its_name(asked: str, namespace: str) -> None:
    snapshot = Snapshot.of([named("a"), named("b")])
    assert declared.workload_of(snapshot, asked, namespace).name == "a"


@pytest.mark.parametrize(
    ("names", "asked", "namespace", "said"),
    [
        (["a", "b"], "", "", "expected one workload, found 2: .*/a, .*/b"),
        (["a", "b"], "c", "", "expected the workload c, found .*/a, .*/b"),
        (["a"], "statefulset/a", "", "expected the workload statefulset/a, found"),
        (["a"], "a", "other", "expected the workload a in other, found"),
        ([], "", "", "expected a workload that runs an LLM engine, found none"),
    ],
)
def test_anything_but_one_workload_is_an_error_that_lists_them(
    names: list[str], asked: str, namespace: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        declared.workload_of(Snapshot.of([named(name) for name in names]), asked, namespace)


def monitor(interval: str) -> Raw:
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "a"},
        "spec": {"endpoints": [{"port": "http", "interval": interval}]},
    }


def test_the_scrape_interval_is_what_all_monitors_say() -> None:
    assert declared.scrape_s(Snapshot.of([monitor("30s")])) == 30
    assert declared.scrape_s(Snapshot.of([monitor("30s"), monitor("5s")])) is None
    assert declared.scrape_s(Snapshot.of([monitor("")])) is None
