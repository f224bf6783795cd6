from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from msgspec.structs import replace

from drainproof.collect import live, prometheus
from drainproof.collect.api import Api
from drainproof.content import content
from drainproof.errors import UserError
from drainproof.model.metrics import Histogram, Metrics
from drainproof.model.snapshot import Snapshot
from tests.collect.api_server import FakeApi, serving
from tests.collect.prometheus_server import NOW, FakePrometheus, answered, asked
from tests.collect.test_live import client_of

if TYPE_CHECKING:
    from pathlib import Path

WAITING = "vllm:num_requests_waiting"
E2E = "vllm:e2e_request_latency_seconds"
POD = {"namespace": "inference", "pod": "llama-5d9c-a"}
SERVICES = "/api/v1/services"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "USER", "PASSWORD", "CA"):
        monkeypatch.delenv(f"DRAINPROOF_PROMETHEUS_{name}", raising=False)


def cluster() -> Snapshot:
    """Return a cluster with two ready pods of vLLM 0.32."""
    path = content("fixtures") / "snapshots" / "restarts" / "good-never.json"
    return Snapshot.from_json(path.read_bytes())


def api_of(url: str = "http://127.0.0.1:1") -> Api:
    return Api(client_of(url))


def read(fake: FakePrometheus, snapshot: Snapshot | None = None) -> Metrics:
    with asked(fake):
        return prometheus.read(prometheus.find(fake.url, api_of()), snapshot or cluster())


def buckets(labels: dict[str, str], *counts: tuple[str, str]) -> list[tuple[dict[str, str], str]]:
    return [({**labels, "le": bound}, count) for bound, count in counts]


def test_the_age_of_each_pods_sample_is_kept_by_prometheus_own_clock() -> None:
    metrics = read(FakePrometheus({f"timestamp({WAITING}": [(POD, "12.5")]}))
    assert metrics.ages[WAITING] == {"inference/llama-5d9c-a": 12.5}
    assert metrics.at == NOW


def test_each_metric_is_asked_for_once_whatever_the_number_of_workloads() -> None:
    fake = FakePrometheus()
    read(fake)
    assert len(fake.queries) == len(set(fake.queries))
    assert sum(WAITING in query for query in fake.queries) == 1


def test_buckets_of_several_series_of_a_pod_are_added_up() -> None:
    series = [
        *buckets({**POD, "model_name": "a"}, ("1", "10"), ("+Inf", "20")),
        *buckets({**POD, "model_name": "b"}, ("1", "5"), ("+Inf", "5")),
    ]
    metrics = read(FakePrometheus({E2E: series}))
    assert metrics.histograms[E2E] == {
        "inference/llama-5d9c-a": Histogram(((1.0, 15.0), (math.inf, 25.0)))
    }


@pytest.mark.parametrize(
    "labels",
    [
        POD,
        {"kubernetes_namespace": "inference", "kubernetes_pod_name": "llama-5d9c-a"},
        {"namespace": "monitoring", "exported_namespace": "inference", "pod": "llama-5d9c-a"},
        {"namespace": "inference", "pod": "exporter-1", "exported_pod": "llama-5d9c-a"},
        {"pod": "llama-5d9c-a"},
        {"instance": "10.244.1.10:8000"},
    ],
    ids=["operator", "annotations", "exported-namespace", "exported-pod", "no-namespace", "ip"],
)
def test_a_pod_is_found_by_the_labels_that_people_have(labels: dict[str, str]) -> None:
    metrics = read(FakePrometheus({f"timestamp({WAITING}": [(labels, "3")]}))
    assert metrics.ages[WAITING] == {"inference/llama-5d9c-a": 3.0}


@pytest.mark.parametrize(
    "labels", [{"namespace": "other", "pod": "llama-5d9c-a"}, {"instance": "10.0.0.9:8000"}, {}]
)
def test_series_of_other_pods_are_left_out(labels: dict[str, str]) -> None:
    metrics = read(FakePrometheus({f"timestamp({WAITING}": [(labels, "3")]}))
    assert metrics.ages[WAITING] == {}


def test_values_that_are_no_numbers_are_left_out() -> None:
    series = [(POD, "NaN"), ({**POD, "pod": "llama-5d9c-b"}, "+Inf")]
    assert read(FakePrometheus({f"timestamp({WAITING}": series})).ages[WAITING] == {}


def test_a_query_that_fails_is_noted_and_the_others_are_asked() -> None:
    fake = FakePrometheus({f"timestamp({WAITING}": [(POD, "3")]}, statuses={E2E: 422})
    metrics = read(fake)
    assert metrics.ages[WAITING] != {}
    assert "HTTP 422: said 422" in metrics.failures[E2E]


# How it is let in


def test_a_token_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAINPROOF_PROMETHEUS_TOKEN", "t-1")
    fake = FakePrometheus()
    read(fake)
    assert set(fake.authorizations) == {"Bearer t-1"}


def test_a_user_and_a_password_of_the_environment_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DRAINPROOF_PROMETHEUS_USER", "reader")
    monkeypatch.setenv("DRAINPROOF_PROMETHEUS_PASSWORD", "hunter2")
    fake = FakePrometheus()
    read(fake)
    assert all(sent.startswith("Basic ") for sent in fake.authorizations)


def test_a_password_in_the_url_is_used_and_never_kept() -> None:
    with asked(FakePrometheus()) as fake:
        url = fake.url.replace("http://", "http://reader:hunter2@")
        metrics = prometheus.read(prometheus.find(url, api_of()), cluster())
    assert all(sent.startswith("Basic ") for sent in fake.authorizations)
    assert "hunter2" not in orjson.dumps(metrics.saved()).decode()


def test_a_password_is_in_no_error() -> None:
    url = "http://reader:hunter2@127.0.0.1:1"
    with pytest.raises(UserError) as error:
        prometheus.read(prometheus.find(url, api_of()), cluster())
    assert "hunter2" not in str(error.value)


def test_whoever_is_not_let_in_is_told_what_to_set() -> None:
    with pytest.raises(UserError, match="without credentials") as error:
        read(FakePrometheus(statuses={"time()": 401}))
    assert "DRAINPROOF_PROMETHEUS_TOKEN" in error.value.hint


def test_a_file_of_authorities_that_is_not_there_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DRAINPROOF_PROMETHEUS_CA", str(tmp_path / "ca.pem"))
    with pytest.raises(UserError, match="DRAINPROOF_PROMETHEUS_CA: expected a file"):
        prometheus.find("https://prometheus", api_of())


# What goes wrong


@pytest.mark.parametrize("where", ["prometheus", "http://", "a/b/c", "monitoring/", "ftp://x"])
def test_a_place_of_another_form_is_an_error(where: str) -> None:
    with pytest.raises(UserError, match="for --prometheus, found"):
        prometheus.find(where, api_of())


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"{}", b"[]", answered("vector", [])])
def test_a_server_that_is_no_prometheus_is_an_error(body: bytes) -> None:
    with pytest.raises(prometheus.NoAnswerError, match="does not answer"):
        read(FakePrometheus(body=body))


def test_a_prometheus_that_cannot_be_reached_is_an_error() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        place = prometheus.find(f"http://127.0.0.1:{bound.getsockname()[1]}", api_of())
        with pytest.raises(prometheus.NoAnswerError, match="does not answer"):
            prometheus.read(place, cluster())


def test_the_audit_goes_on_without_a_prometheus_that_does_not_answer() -> None:
    with serving(FakeApi()) as api:
        snapshot = live.read(client_of(api.url), prometheus="http://127.0.0.1:1")
    (problem,) = snapshot.problems
    assert "Prometheus at http://127.0.0.1:1 does not answer" in str(problem)
    assert snapshot.metrics is None


# Through the API server


def service(name: str, *ports: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "monitoring"}, "spec": {"ports": list(ports)}}


def test_a_service_is_reached_through_the_api_server() -> None:
    place = prometheus.find("monitoring/prometheus-operated:9090", api_of("http://api"))
    assert place.url == (
        "http://api/api/v1/namespaces/monitoring/services/prometheus-operated:9090/proxy"
    )


def test_a_forbidden_proxy_names_verb_and_resource() -> None:
    with asked(FakePrometheus(statuses={"time()": 403})) as fake:
        place = prometheus.find("monitoring/prometheus", api_of(fake.url))
        place = replace(place, url=fake.url)  # the API server itself refuses
        with pytest.raises(UserError, match="no permission to get services/proxy") as error:
            prometheus.read(place, cluster())
    assert "monitoring/prometheus:9090" in error.value.message


def test_the_only_prometheus_is_found_by_its_labels() -> None:
    web = {"name": "web", "port": 9090}
    with serving(FakeApi({SERVICES: [service("prometheus-operated", web)]})) as fake:
        place = prometheus.find("auto", api_of(fake.url))
    assert place.said == "Service monitoring/prometheus-operated:9090"


def test_several_prometheuses_are_named() -> None:
    web = {"name": "web", "port": 9090}
    lists = {SERVICES: [service("one", web), service("two", web)]}
    with (
        serving(FakeApi(lists)) as fake,
        pytest.raises(UserError, match="found 2: monitoring/one:9090, monitoring/two:9090"),
    ):
        prometheus.find("auto", api_of(fake.url))


def test_none_found_says_which_labels_were_looked_for() -> None:
    with serving(FakeApi({SERVICES: []})) as fake, pytest.raises(UserError) as error:
        prometheus.find("auto", api_of(fake.url))
    assert "operated-prometheus=true" in error.value.message


# What is kept


def test_metrics_are_saved_with_the_snapshot_and_read_again() -> None:
    series = buckets(POD, ("1", "10"), ("+Inf", "20"))
    metrics = read(FakePrometheus({E2E: series, f"timestamp({WAITING}": [(POD, "3")]}))
    first = Snapshot(cluster().items, partial=False, metrics=metrics)
    again = Snapshot.from_json(first.to_json())
    assert again.metrics == metrics


def test_a_damaged_snapshot_is_an_error() -> None:
    saved = orjson.loads(Snapshot(partial=False, metrics=Metrics("x", 1.0, 60)).to_json())
    for broken in ({"source": "x"}, [1], {**saved["metrics"], "ages": {"m": 3}}):
        with pytest.raises(UserError, match="a damaged Snapshot"):
            Snapshot.from_saved({**saved, "metrics": broken})
