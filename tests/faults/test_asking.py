"""What Prometheus answers an autoscaler's query with, and which link it shows to be broken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from drainproof.collect import prometheus
from drainproof.collect.api import Api
from drainproof.errors import UserError
from drainproof.faults.asking import Asking
from drainproof.streams import history
from drainproof.streams.history import Answer
from tests.collect.prometheus_server import NOW, FakePrometheus, asked
from tests.collect.test_live import client_of
from tests.faults.doing import Doing, scaler
from tests.faults.fake import NAMESPACE, FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.faults.crowding import Crowding

QUERY = "sum(vllm:num_requests_waiting)"
OWN = "timestamp(vllm:num_requests_waiting)"
A, B = ({"namespace": NAMESPACE, "pod": f"vllm-1-{letter}"} for letter in "ab")
OTHER = {"namespace": "other", "pod": "mistral-1-x"}


@pytest.fixture
def doing(tmp_path: Path) -> Iterator[Doing]:
    with FakeCluster(replicas=2) as cluster:
        cluster.groups = {"/apis/keda.sh/v1alpha1"}
        cluster.put("ScaledObject", NAMESPACE, scaler("ScaledObject"))
        found = Doing(cluster, "scale-out", tmp_path / "e0")
        yield found
        found.close()


def first(doing: Doing, fake: FakePrometheus) -> Answer:
    """Return the first answer that comes into the History."""
    fault = cast("Crowding", doing.fault)
    path = doing.folder / "history.jsonl"

    def answers() -> list[Answer]:
        return [one for one in history.read(path) if isinstance(one, Answer)]

    with asked(fake):
        place = prometheus.find(fake.url, Api(client_of("http://127.0.0.1:1")))
        asking = Asking(place, fault.target, [fault.declared.scaler], doing.view)
        asking.start()
        assert doing.view.wait(lambda: bool(answers()), 10.0, lambda: None)
        asking.stop()
    return answers()[0]


def stamps(*labels: dict[str, str]) -> dict[str, list[tuple[dict[str, str], str]]]:
    return {OWN: [(one, str(NOW - 3)) for one in labels]}


def test_an_answer_holds_its_value_and_how_new_its_samples_are(doing: Doing) -> None:
    answer = first(doing, FakePrometheus({**stamps(A, B), QUERY: [({}, "7")]}))
    assert (answer.query, answer.value, answer.pods, answer.others) == (QUERY, 7.0, 2, [])
    assert answer.sampled is not None
    # by the clock of this machine, not by that of Prometheus
    assert answer.at - answer.sampled == pytest.approx(3.0, abs=2.0)
    assert (answer.scraped, answer.target, answer.error) == (None, "", "")


def test_pods_of_others_that_a_query_counts_are_named(doing: Doing) -> None:
    answer = first(doing, FakePrometheus({**stamps(A, OTHER), QUERY: [({}, "7")]}))
    assert (answer.pods, answer.others) == (1, ["other/mistral-1-x"])


def test_where_the_query_has_no_answer_it_is_told_whether_the_queue_is_scraped(
    doing: Doing,
) -> None:
    answer = first(doing, FakePrometheus(stamps(A)))
    assert (answer.value, answer.pods) == (None, 1)
    assert answer.scraped == 1


def test_a_pod_that_is_not_scraped_has_no_target(doing: Doing) -> None:
    answer = first(doing, FakePrometheus(targets=[]))
    assert (answer.value, answer.scraped, answer.target) == (None, 0, "none")


def test_a_scrape_that_fails_tells_why(doing: Doing) -> None:
    target: dict[str, Any] = {
        "labels": A,
        "health": "down",
        "lastError": "dial tcp 10.0.0.7:9000:\n connection refused",
    }
    answer = first(doing, FakePrometheus(targets=[target]))
    assert answer.target == "dial tcp 10.0.0.7:9000: connection refused"


def test_a_query_that_prometheus_refuses_tells_why(doing: Doing) -> None:
    answer = first(doing, FakePrometheus(statuses={QUERY: 400}))
    assert answer.value is None
    assert "answers HTTP 400: said 400" in answer.error


def test_no_prometheus_at_all_is_an_error_before_anything_is_done(doing: Doing) -> None:
    fault = cast("Crowding", doing.fault)
    place = prometheus.find("http://127.0.0.1:1", Api(client_of("http://127.0.0.1:1")))
    with pytest.raises(UserError, match="does not answer"):
        Asking(place, fault.target, [fault.declared.scaler], doing.view)
    assert doing.writes == []
