"""What a judge is told of the cluster, at the edges of each answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.scene import Life, Scene, Span
from drainproof.streams.history import Client, Endpoints, Fault, Gauge, Pod
from tests.judge.story import Story
from tests.streams.bodies import DONE, chunk, recorded

if TYPE_CHECKING:
    from drainproof.streams.history import Record


def pod(at: float, name: str = "a", event: str = "MODIFIED", **changes: Any) -> Pod:  # noqa: ANN401 - fields of a pod
    values: dict[str, Any] = {"deletion_at": None, "grace_s": None, "containers": []}
    told = {"uid": "u", "node": "n", "phase": "Running", "ready": True}
    return Pod(at=at, event=event, name=name, **told, **(values | changes))  # type: ignore[arg-type] # as told


def deleted(at: float, deletion_at: float, name: str = "a", **changes: Any) -> Pod:  # noqa: ANN401 - fields of a pod
    return pod(at, name, deletion_at=deletion_at, grace_s=30.0, **changes)


def container(at: float | None, name: str = "vllm", code: int | None = 0) -> dict[str, Any]:
    return {"name": name, "finished_at": at, "exit_code": code, "reason": "Completed"}


def fault(at: float, phase: str, index: int = 0, **changes: Any) -> Fault:  # noqa: ANN401 - fields of a fault
    return Fault(at=at, fault="f", phase=phase, detail="", index=index, **changes)


def gauge(at: float, running: float | None, name: str = "a") -> Gauge:
    return Gauge(at=at, pod=name, running=running, waiting=None, error="")


def ready(at: float, *names: str, terminating: tuple[str, ...] = ()) -> Endpoints:
    return Endpoints(at=at, ready=list(names), terminating=list(terminating))


def scene(*records: Record, begin: float | None = 100.0) -> Scene:
    begun = [] if begin is None else [fault(begin, "begin")]
    return Scene([Story().header(), *begun, *records])


# ── A pod's life ────────────────────────────────────────────────────────────────────────────────


def life(*reports: Pod) -> Life:
    one = Life("a")
    for report in reports:
        one.see(report)
    return one


@pytest.mark.parametrize(
    ("seen", "written", "when"),
    [
        (120.4, 120.0, 120.4),  # Kubernetes cuts the fraction off
        (120.0, 120.5, 120.5),  # its clock may be ahead
        (122.0, 120.0, 122.0),
        (122.1, 120.0, 120.0),  # the watch was broken when it happened
    ],
)
def test_a_pod_is_deleted_when_that_was_seen_unless_it_was_seen_late(
    seen: float, written: float, when: float
) -> None:
    one = life(deleted(seen, written))
    assert (one.deleted, one.grace_s, one.deletion_timestamp) == (when, 30.0, written + 30)


def test_only_the_first_report_of_a_deletion_says_when_it_was() -> None:
    assert life(deleted(120, 120), deleted(121, 121)).deleted == 120


def test_a_deletion_without_a_grace_period_gives_none() -> None:
    one = life(pod(120, deletion_at=120.0))
    assert (one.grace_s, one.deletion_timestamp) == (0.0, 120.0)


def test_a_pod_is_gone_when_that_is_told_and_not_before() -> None:
    assert life(pod(1), deleted(2, 2)).gone is None
    assert life(pod(1), deleted(2, 2), deleted(3, 2, event="DELETED")).gone == 3


def test_an_end_without_a_reason_has_an_empty_one() -> None:
    end = life(pod(1, containers=[container(5.0) | {"reason": None}])).end("vllm", 0)
    assert end is not None
    assert end.reason == ""


def test_an_end_is_the_engines_own_else_that_of_the_container_that_ended_last() -> None:
    one = life(pod(1, containers=[container(9.0, "proxy", 2), container(5.0), container(None)]))
    ends = [one.end(name, 0) for name in ("vllm", "proxy", "?")]
    assert [end and end.at for end in ends] == [5, 9, 9]
    assert life(pod(1)).end("vllm", 0) is None


@pytest.mark.parametrize(("since", "at"), [(5.0, 5), (6.0, 5), (6.1, 8), (9.1, None)])
def test_an_end_is_the_first_since_a_moment_or_within_the_second_before(
    since: float, at: float | None
) -> None:
    end = life(pod(1, containers=[container(8.0)]), pod(2, containers=[container(5.0)]))
    found = end.end("vllm", since)
    assert (found and found.at) == at


# ── Faults ──────────────────────────────────────────────────────────────────────────────────────


def span_of(*records: Fault) -> Span:
    (span,) = Scene([fault(100, "begin"), *records]).spans
    return span


def test_a_fault_is_over_when_it_ended_or_was_undone() -> None:
    assert span_of().over == float("inf")
    assert span_of(fault(130, "end")).over == 130
    assert span_of(fault(130, "end"), fault(120, "undone")).over == 120


def test_a_fault_is_complete_if_it_ended_and_not_by_a_timeout() -> None:
    assert not span_of().completed
    assert not span_of(fault(130, "timeout")).completed
    assert span_of(fault(130, "end")).completed


def test_the_first_of_each_step_of_a_fault_counts() -> None:
    span = span_of(
        fault(101, "begin"),
        fault(110, "hit", pods=["a"]),
        fault(112, "hit", pods=["a"]),
        fault(120, "undone"),
        fault(125, "not-undone"),
        fault(126, "end", index=7),
    )
    assert (span.begin, span.hits, span.undone, span.end) == (100, {"a": 110}, 120, None)


def test_a_repeated_beginning_is_no_step_of_its_fault() -> None:
    assert span_of(fault(101, "begin", pods=["a"])).hits == {}


def test_a_fault_lasts_until_the_next_one_and_owns_what_is_deleted_meanwhile() -> None:
    told = scene(
        fault(130, "end"),
        fault(140, "undone"),
        fault(150, "begin", index=1),
        deleted(98.9, 98.9, "before"),
        deleted(99, 99, "cut off"),
        deleted(130, 130, "last"),
        deleted(130.1, 130.1, "late"),
        deleted(140, 140, "undoing"),
        deleted(149.5, 149.5, "next"),
    )
    first, second = told.spans
    assert (first.until, second.since) == (150, 140)
    assert [one.name for one in told.victims(first)] == ["cut off", "last"]
    assert [one.name for one in told.victims(second)] == ["next"]
    assert [one.name for one in told.stopped] == ["cut off", "last", "late", "undoing", "next"]


def test_what_was_deleted_before_the_last_fault_was_over_is_none_of_the_next_ones() -> None:
    told = scene(fault(149.4, "end"), fault(150, "begin", index=1), deleted(149.4, 149.4))
    assert [len(told.victims(span)) for span in told.spans] == [1, 1]
    told = scene(fault(149.4, "end"), fault(150, "begin", index=1), deleted(149.3, 149.3))
    assert [len(told.victims(span)) for span in told.spans] == [1, 0]


def test_a_fault_without_an_end_lasts_until_the_next_one() -> None:
    told = scene(fault(150, "begin", index=1), deleted(160, 160))
    assert [len(told.victims(span)) for span in told.spans] == [0, 1]


def test_a_pod_that_was_hit_is_a_victim_even_if_nobody_watched_it() -> None:
    told = scene(fault(110, "hit", pods=["b", "a"]), deleted(120, 120, "a"), pod(1, "c"))
    (span,) = told.spans
    assert [one.name for one in told.victims(span)] == ["a", "b"]
    assert told.victims(span)[0].deleted == 120
    assert [told.struck(span, one) for one in told.victims(span)] == [110, 110]
    assert told.struck(span, life(deleted(115, 115))) == 110
    assert told.struck(span, Life("c", deleted=116)) == 116


def test_a_pod_of_which_nothing_was_asked_has_no_end() -> None:
    told = scene(pod(1, containers=[container(5.0)]))
    assert told.end(told.lives["a"]) is None
    assert told.ended(told.lives["a"], 2) == 5


def test_the_engines_container_is_the_one_that_the_header_names() -> None:
    told = scene(pod(1, containers=[container(9.0, "proxy"), container(5.0)]))
    assert told.ended(told.lives["a"], 2) == 5


def test_the_first_header_counts_and_a_run_without_one_has_no_target() -> None:
    other = Story(prestop_s=99.0).header()
    assert Scene([Story().header(), other]).prestop_s == 15
    assert Scene([]).container == ""


# ── Endpoints ───────────────────────────────────────────────────────────────────────────────────


def test_when_a_pod_left_the_endpoints_for_good_or_since_a_moment() -> None:
    told = scene(ready(1, "a"), ready(5), ready(7), ready(9, "a"), ready(12, "b"), ready(13))
    assert told.removed("a") == 12
    assert [told.removed("a", since) for since in (4, 5, 6)] == [5, 5, 12]
    assert scene(ready(1, "a")).removed("a") is None


def test_a_pod_that_came_back_has_not_left() -> None:
    told = scene(ready(1, "a"), ready(5), ready(9, "a"))
    assert (told.removed("a"), told.removed("a", 6)) == (None, None)


def test_each_slice_tells_when_it_no_longer_listed_a_pod() -> None:
    def of(at: float, **slices: list[str]) -> Endpoints:
        return Endpoints(at=at, ready=[], terminating=[], slices=slices)

    told = scene(of(1, x=["a"], y=["a", "b"]), of(2, x=["b"], y=["a"]), of(3, x=["a"]), of(4))
    assert told.removed_by_slice("a") == {"x": 4, "y": 3}
    assert scene(of(1, x=["a"]), of(2), of(3, x=["a"])).removed_by_slice("a") == {}


def test_what_was_ready_and_since_when() -> None:
    told = scene(ready(1, "a"), ready(5, "b"), ready(9, "a", "b"), ready(11, "a"))
    assert [told.ready_at(at) for at in (0.9, 1, 4.9, 5, 99)] == [[], ["a"], ["a"], ["b"], ["a"]]
    since = [told.ready_since("a", at) for at in (0.9, 1, 4, 5, 9, 12)]
    assert since == [None, 1, 1, None, 9, 9]


def test_a_request_can_have_reached_what_was_ready_two_seconds_before_and_until_it_was_sent() -> (
    None
):
    told = scene(ready(1, "a"), ready(5, "b"), ready(9, "c"))
    reached = [told.pods_for(at) for at in (0, 1, 5, 6.9, 7, 9, 11)]
    assert reached == [("a",), ("a",), ("a", "b"), ("a", "b"), ("b",), ("b", "c"), ("c",)]


def test_a_request_that_no_ready_pod_can_have_taken_went_to_those_that_terminate() -> None:
    told = scene(ready(1, "a"), ready(5, terminating=("a",)), ready(10, "b", terminating=("a",)))
    assert [told.pods_for(at) for at in (8, 10)] == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("records", "recovered"),
    [
        ([], 0),
        ([ready(100, "a"), ready(101, "b", "c")], 0),
        ([ready(101, "a"), ready(105, "a", "c"), ready(110, "a", "c")], 5),
        ([ready(101, "a"), ready(105, "a", "c"), ready(110, "a")], None),
        ([ready(101, "a"), ready(150, "a", "c")], None),
        ([ready(60), ready(70, "a", "b"), ready(150, "a"), ready(151, "b")], 0),
    ],
)
def test_capacity_is_back_when_as_many_are_ready_as_when_the_fault_began(
    records: list[Record], recovered: float | None
) -> None:
    told = scene(ready(50, "a", "b"), *records, fault(150, "begin", index=1))
    assert told.recovered(told.spans[0]) == recovered


# ── Gauges, and the client ──────────────────────────────────────────────────────────────────────


def test_a_gauge_is_the_nearest_with_a_number_within_the_interval() -> None:
    told = scene(gauge(1, 1.0), gauge(3, 3.0), gauge(3.9, None), gauge(5, 5.0))
    at = [
        (one and one.at)
        for one in (
            told.gauge("a", 3.9, 0, 9),
            told.gauge("a", 4.2, 0, 9),
            told.gauge("a", 2.9, 1, 2.9),
            told.gauge("a", 0, 1, 9),
            told.gauge("a", 9, 0, 5),
            told.gauge("a", 0, 1.1, 9),
            told.gauge("b", 3, 0, 9),
        )
    ]
    assert at == [3, 5, 1, 1, 5, 3, None]


def test_a_pod_is_busy_since_its_gauge_first_told_of_a_stream() -> None:
    told = scene(gauge(1, None), gauge(2, 0.0), gauge(3, 1.0), gauge(4, 2.0), gauge(5, 0.0, "b"))
    assert [told.busy_since("a", start) for start in (3.0, 3.1, 4.1)] == [3, 4, None]
    assert [told.busy_since(name, 0.0) for name in "abc"] == [3, float("inf"), None]
    assert scene(gauge(1, None)).busy_since("a", 0.0) is None


@pytest.mark.parametrize(("send", "loop", "slow"), [(500, 1, 0), (501, 1, 1), (1, 501, 1)])
def test_a_client_is_slow_where_it_is_later_than_the_limit(
    send: float, loop: float, slow: int
) -> None:
    late = Client(at=1.0, in_flight=1, send_lag_ms=send, loop_lag_ms=loop, cpu_share=0.1)
    assert len(scene(late).slow) == slow


@pytest.mark.parametrize(("others", "numbered"), [(5, True), (19, True), (20, False)])
def test_whether_tokens_are_numbered_is_seen_from_the_first_pieces(
    others: int, *, numbered: bool
) -> None:
    silent = [recorded(b"", id=f"1-{number}") for number in range(others)]
    told = scene(*silent, recorded(chunk(" 0-0#1", "length") + DONE), recorded(b"", id="1-99"))
    assert told.numbered is numbered
