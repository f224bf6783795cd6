"""What the checks on autoscalers can't tell, and what they assume: neither is a finding."""

from __future__ import annotations

from typing import Any

import pytest

from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment, scaled_object

CHECKS = {check.slug: check for check in registry.load(kind="manifest").checks}


def outcome(slug: str, trigger: dict[str, Any], *, image: str = "", **spec: Any) -> Any:  # noqa: ANN401 - an Outcome
    """Return what a check says of a deployment with a ScaledObject of one trigger."""
    workload = deployment(image=image or "vllm/vllm-openai:v0.32.0")
    snapshot = Snapshot.of([workload, scaled_object(triggers=[trigger], **spec)])
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS[slug]]).outcomes
    return found


def prometheus(query: str, **metadata: str) -> dict[str, Any]:
    """Return a Prometheus trigger."""
    return {"type": "prometheus", "metadata": {"query": query, "threshold": "5", **metadata}}


@pytest.mark.parametrize(
    ("query", "server", "said"),
    [
        ("sum(rate(a[{{ .Values.window }}]))", "", "placeholder"),
        ("sum(median_over_time(a[5m]))", "", "unknown function"),
        ("sum(a) default 0", "http://vmselect.monitoring:8481", "not Prometheus' own"),
    ],
)
def test_a_query_that_is_not_quite_promql_is_inconclusive(
    query: str, server: str, said: str
) -> None:
    found = outcome("metric-exists", prometheus(query, serverAddress=server))
    assert found.verdict == "inconclusive"
    assert said in found.findings[0].message


@pytest.mark.parametrize(
    ("query", "image", "said"),
    [
        ("sum(vllm:kv_cache_usage_perc)", "vllm/vllm-openai:latest", "the image exports"),
        ("sum(rate(vllm:num_incoming_requests_total[1m]))", "", "a router"),
        ("sum(vllm:num_requests_waiting:sum)", "", "recording rule"),
    ],
)
def test_a_metric_that_may_be_there_passes_with_what_is_assumed(
    query: str, image: str, said: str
) -> None:
    found = outcome("metric-exists", prometheus(query), image=image)
    assert found.verdict == "pass"
    assert said in found.assumptions[0].message


def test_a_fallback_for_values_rests_on_a_keda_that_knows_them() -> None:
    trigger = prometheus("avg(a)", ignoreNullValues="false") | {"metricType": "Value"}
    found = outcome("scaling-fallback", trigger, fallback={"failureThreshold": 3, "replicas": 3})
    assert found.verdict == "pass"
    assert "2.18" in found.assumptions[0].message


@pytest.mark.parametrize(
    "trigger",
    [
        prometheus("sum(my_app_load)"),
        {"type": "kubernetes-workload", "metadata": {"podSelector": "app=x", "value": "1"}},
    ],
)
def test_a_signal_that_says_nothing_by_its_name_is_inconclusive(trigger: dict[str, Any]) -> None:
    assert outcome("scaling-signal", trigger).verdict == "inconclusive"


def test_a_threshold_that_is_a_placeholder_is_inconclusive() -> None:
    trigger = prometheus("sum(a)", threshold="${THRESHOLD}")
    assert outcome("scaling-threshold", trigger).verdict == "inconclusive"


def test_a_missing_autoscaler_is_an_error_in_a_cluster() -> None:
    (found,) = audit.run(
        Snapshot.of([deployment()]), PROFILES["production"], [CHECKS["has-scaler"]]
    ).outcomes
    assert found.findings[0].severity == "error"


def test_hidden_metrics_that_a_flag_brings_back_exist() -> None:
    args = ["--model=m", "--show-hidden-metrics-for-version=0.11"]
    query = (
        "histogram_quantile(0.95,"
        " sum by (le) (rate(vllm:time_per_output_token_seconds_bucket[2m])))"
    )
    workload = deployment(image="vllm/vllm-openai:v0.12.0", args=args)
    scaler = scaled_object(triggers=[prometheus(query) | {"metricType": "Value"}])
    snapshot = Snapshot.of([workload, scaler])
    (found,) = audit.run(snapshot, PROFILES["production"], [CHECKS["metric-exists"]]).outcomes
    assert found.verdict == "pass"
