from __future__ import annotations

import gzip
import json
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drainproof.collect import api, chain, prometheus
from drainproof.collect.api import Api
from drainproof.errors import UserError
from drainproof.faults.api import Api as ChaosApi
from drainproof.model import chain as chain_model
from drainproof.model import promql
from drainproof.model.chain import Answer, Chain, Own, Series
from drainproof.model.snapshot import Item, Snapshot
from tests.collect import loopback
from tests.collect.api_server import FakeApi, serving
from tests.collect.prometheus_server import FakePrometheus, asked
from tests.collect.test_live import client_of
from tests.collect.test_prometheus import cluster
from tests.manifests import scaled_object

if TYPE_CHECKING:
    from collections.abc import Mapping

SELECTOR = 'vllm:num_requests_waiting{namespace="inference"}'
QUERY = f"sum({SELECTOR})"
PODS = ("llama-5d9c-a", "llama-5d9c-b")
KEYS = tuple(f"inference/{name}" for name in PODS)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "WAIT_S", 1)
    monkeypatch.setattr(chain, "_AGAIN_S", 0.01)
    monkeypatch.setattr(chain, "_LATE_S", 0)


def path(name: str) -> str:
    return f"/api/v1/namespaces/inference/pods/{name}:8000/proxy/metrics"


def page(waiting: float) -> str:
    return f'vllm:num_requests_waiting{{engine="0",model_name="x"}} {waiting}\n'


def labels(pod: str) -> dict[str, str]:
    return {"namespace": "inference", "pod": pod, "job": "llama", "instance": f"{pod}:8000"}


def answers(*values: str, age: str = "30", pods: tuple[str, ...] = PODS) -> dict[str, Any]:
    """Return what Prometheus says where pods have these values; the most telling part first."""
    series = [(labels(pod), value) for pod, value in zip(pods, values, strict=True)]
    total = str(sum(float(value) for value in values))
    return {
        "count_over_time": [({}, "18")],
        "min_over_time": [({}, "2")],
        "max_over_time": [({}, "9")],
        f"timestamp({SELECTOR})": [(labels(pod), age) for pod in pods],
        QUERY: [({}, total)],
        SELECTOR: series,
    }


def read(fake: FakePrometheus, texts: Mapping[str, list[str]], **api: Any) -> tuple[Chain, FakeApi]:  # noqa: ANN401 - fields of FakeApi
    snapshot = Snapshot([*cluster().items, Item(scaled_object())], partial=False)
    with serving(FakeApi(texts=dict(texts), **api)) as server, asked(fake):
        reader = Api(client_of(server.url))
        metrics = prometheus.read(prometheus.find(fake.url, reader), snapshot, reader)
    assert metrics.chain is not None
    return metrics.chain, server


def pages(*waiting: float) -> dict[str, list[str]]:
    return {path(name): [page(value)] for name, value in zip(PODS, waiting, strict=True)}


def test_a_query_is_asked_as_it_is_with_its_least_and_most_of_late() -> None:
    found, _ = read(FakePrometheus(answers("3", "4")), pages(3, 4))
    assert found.answers == {QUERY: Answer((7.0,), 2.0, 9.0, 90)}


def test_an_answer_that_was_not_always_there_has_no_least() -> None:
    fake = FakePrometheus({**answers("3", "4"), "count_over_time": [({}, "4")]})
    found, _ = read(fake, pages(3, 4))
    assert (found.answers[QUERY].low, found.answers[QUERY].high) == (None, None)


def test_the_series_that_a_query_reads_are_kept_with_their_pods() -> None:
    fake = FakePrometheus(answers("3", "12", pods=(PODS[0], "mistral-1")))
    found, _ = read(fake, pages(3, 4))
    assert found.series[SELECTOR] == (
        Series(KEYS[0], KEYS[0], "llama llama-5d9c-a:8000", 3.0),
        Series("inference/mistral-1", "inference/mistral-1", "llama mistral-1:8000", 12.0),
    )


def test_each_pods_own_page_is_read_before_and_after_the_query() -> None:
    texts = {path(PODS[0]): [page(2), page(5)], path(PODS[1]): [page(4)]}
    found, server = read(FakePrometheus(answers("3", "4")), texts)
    assert found.own[SELECTOR] == {KEYS[0]: Own(2.0, 5.0, 3.0), KEYS[1]: Own(4.0, 4.0)}
    assert [seen for seen in server.seen if "proxy" in seen[1]] == [
        ("GET", path(name)) for name in (*PODS, *PODS)
    ]


def test_a_pod_that_disagrees_is_read_again_until_it_agrees() -> None:
    texts = {path(PODS[0]): [page(8), page(8), page(9), page(3)], path(PODS[1]): [page(4)]}
    found, server = read(FakePrometheus(answers("3", "4")), texts)
    assert found.own[SELECTOR][KEYS[0]] == Own(3.0, 9.0, 6.0)
    assert len([seen for seen in server.seen if "proxy" in seen[1]]) == 8


def test_a_pod_that_never_agrees_was_scraped_meanwhile() -> None:
    found, _ = read(FakePrometheus(answers("3", "4", age="0.00001")), pages(8, 4))
    assert found.own[SELECTOR][KEYS[0]] == Own(8.0, 8.0, covered=True)


def test_a_pod_that_is_not_scraped_in_time_is_left_uncovered() -> None:
    found, _ = read(FakePrometheus(answers("3", "4", age="900")), pages(8, 4))
    assert found.own[SELECTOR][KEYS[0]] == Own(8.0, 8.0, covered=False)


def test_a_pod_that_may_not_be_read_says_which_permission_is_missing() -> None:
    statuses = {path(name): 403 for name in PODS}
    found, _ = read(FakePrometheus(answers("3", "4")), {}, statuses=statuses)
    assert found.own[SELECTOR][KEYS[0]].error == (
        "forbidden: no permission to get pods/proxy in namespace inference"
    )


def test_a_pod_without_metrics_says_so() -> None:
    texts = {path(name): ["vllm:num_requests_waiting is great\n"] for name in PODS}
    found, _ = read(FakePrometheus(answers("3", "4")), texts)
    assert found.own[SELECTOR][KEYS[0]].error == "what it answers with are no metrics"


def test_more_pods_than_are_worth_it_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "MOST_PODS", 1)
    found, server = read(FakePrometheus(answers("3", "4")), pages(3, 4))
    assert {seen for seen in server.seen if "proxy" in seen[1]} == {("GET", path(PODS[0]))}
    assert found.own[SELECTOR][KEYS[1]].error == "more than 1 pods: this one was not read"


@pytest.mark.parametrize(("status", "refused"), [(400, True), (422, True), (503, False)])
def test_a_query_that_prometheus_takes_for_wrong_is_told_from_one_that_failed(
    status: int, *, refused: bool
) -> None:
    found, _ = read(FakePrometheus(statuses={QUERY: status}), pages(3, 4))
    assert found.answers[QUERY].refused is refused
    assert f"HTTP {status}" in found.answers[QUERY].error


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_what_is_no_number_is_none(value: str) -> None:
    found, _ = read(FakePrometheus({**answers("3", "4"), QUERY: [({}, value)]}), pages(3, 4))
    assert found.answers[QUERY].values == (None,)


def target(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "discoveredLabels": {"__address__": "10.244.1.10:8000"},
        "labels": {"namespace": "inference", "pod": PODS[0], "instance": "10.244.1.10:8000"},
        "scrapePool": "serviceMonitor/inference/llama/0",
        "scrapeUrl": "http://10.244.1.10:8000/metrics?token=hunter2",
        "lastError": "",
        "health": "up",
        **more,
    }


def test_targets_in_the_pods_are_kept_without_what_may_be_secret() -> None:
    found, _ = read(FakePrometheus(answers("3", "4"), targets=[target()]), pages(3, 4))
    (one,) = found.targets
    assert (one.pod, one.address, one.path, one.port) == (
        KEYS[0],
        "10.244.1.10:8000",
        "/metrics",
        8000,
    )
    assert "hunter2" not in str(found)


def test_targets_elsewhere_are_left_out() -> None:
    other = target(labels={"namespace": "other", "pod": "x"}, discoveredLabels={})
    found, _ = read(FakePrometheus(answers("3", "4"), targets=[other]), pages(3, 4))
    assert found.targets == ()


def test_a_target_without_labels_of_its_pod_is_found_by_its_address() -> None:
    found, _ = read(FakePrometheus(answers("3", "4"), targets=[target(labels={})]), pages(3, 4))
    assert [one.pod for one in found.targets] == [KEYS[0]]


def test_a_server_that_has_no_targets_to_tell_of_says_so() -> None:
    found, _ = read(FakePrometheus(answers("3", "4")), pages(3, 4))
    assert "HTTP 404" in found.targets_error


def test_the_chain_is_saved_and_read_again() -> None:
    found, _ = read(FakePrometheus(answers("3", "4"), targets=[target()]), pages(3, 4))
    assert Chain.from_saved(found.saved()) == found


def test_a_damaged_chain_is_an_error() -> None:
    with pytest.raises(TypeError, match="targets"):
        Chain.from_saved({"targets": 3})


def raw(body: bytes, *, forever: bool = False, **headers: str) -> type[BaseHTTPRequestHandler]:
    """Return a server whose answer is this body, again and again if it is to have no end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            with suppress(OSError):  # whoever asked has had enough
                while True:
                    self.wfile.write(body)
                    if not forever:
                        break

        def log_message(self, *args: object) -> None:
            pass

    return Handler


def scraped(handler: type[BaseHTTPRequestHandler], which: str) -> bytes:
    """Return a pod's page as the audit or a chaos run reads it."""
    with loopback.serving(handler) as url:
        if which == "audit":
            return Api(client_of(url)).get("get pods/proxy", "/x", most=api.MOST_PAGE)[1]
        return ChaosApi(client_of(url)).scrape("n", "p", 8000, "/metrics", timeout_s=1).encode()


each_reader = pytest.mark.parametrize("which", ["audit", "chaos"])


@each_reader
def test_a_page_of_metrics_is_read(which: str) -> None:
    assert scraped(raw(page(3).encode()), which) == page(3).encode()


@each_reader
def test_a_page_without_an_end_is_not_read_on(which: str) -> None:
    with pytest.raises(UserError, match="more than 16 MiB, which is not read on"):
        scraped(raw(b"x" * 2**20, forever=True), which)


@each_reader
def test_a_page_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    monkeypatch.setattr(api, "_READ_S", 0.2)
    with pytest.raises(UserError, match=r"takes more than|timed out"):
        scraped(raw(b"x", forever=True), which)


@each_reader
def test_a_page_that_says_it_is_compressed_is_not_unpacked(which: str) -> None:
    bomb = gzip.compress(bytes(2**26))
    found = scraped(raw(bomb, Content_Encoding="gzip"), which)
    assert len(found) < 2**20


HOSTILE_QUERY = f"{QUERY}) or vector(1"
"""Ends the brackets that are put around it."""


def test_a_query_is_never_put_into_brackets_that_it_could_end() -> None:
    fake = FakePrometheus(answers("3", "4"))
    with asked(fake):
        place = prometheus.find(fake.url, Api(client_of(fake.url)))
        asking = prometheus.Conversation(place)
        reading = chain._Reading(  # noqa: SLF001 - nothing else asks with so little around it
            chain.Asking(asking.at, asking.targets, asking.clock, lambda _: None, lambda _: ""),
            Api(client_of(fake.url)),
        )
        assert reading._range(HOSTILE_QUERY, 0.0, 90) == (None, None)  # noqa: SLF001
        assert fake.queries == []
        assert reading._range(f"{QUERY} # ", 0.0, 90) == (2.0, 9.0)  # noqa: SLF001
    assert all(promql.parse(query).error == "" for query in fake.queries)


@given(value=st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@example('"} or vector(1) or x{a="')
@example("\\")
@example("`'\n")
@example("'\x1e")
def test_a_filters_value_stays_a_value_where_its_selector_is_asked_for(value: str) -> None:
    written = json.dumps(value, ensure_ascii=False)
    straight = chain_model.straight(f"sum(vllm:num_requests_waiting{{a={written}}})")
    if straight is None:  # what Prometheus' own parser refuses
        assert promql.parse(f"x{{a={written}}}").error
        return
    ((selector, _),) = straight.selectors
    read_again = promql.parse(f"timestamp({selector})")
    assert [one.use.metric for one in read_again.selectors] == ["vllm:num_requests_waiting"]
    assert [one.value for one in read_again.selectors[0].matchers] == [value]
