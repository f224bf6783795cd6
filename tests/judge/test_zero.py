"""A start from zero: what users meet, when one is answered, and why a replica may never come."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.chaos import _conclude
from drainproof.judge.verdict import Verdict
from drainproof.model import chain
from drainproof.streams.history import Ending, Gauge
from tests.judge.climb import Climb
from tests.judge.story import T0, WHOLE, Fate
from tests.judge.test_cold import of
from tests.judge.test_scaling import second_hpa
from tests.judge.test_tally import tally_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.judge.zero import Zero
    from drainproof.streams.history import Record, Stream

DEMAND = {"type": "kubernetes-workload", "metadata": {"podSelector": "app=client", "value": "1"}}
CRON = {"type": "cron", "metadata": {"start": "0 8 * * *", "end": "0 18 * * *"}}
LOADING = [{"name": "vllm", "state": "running", "started_at": T0 + 121, "restarts": 0}]
REFUSED = {"raw": b"", "ending": Ending.REFUSED, "status": None, "sent": None}
UNAVAILABLE = {"raw": b"", "status": 503, "content_type": "text/plain"}


def refused(pod: str, sent: float, _end: float) -> Fate | None:
    """Refuse what comes while no pod is ready."""
    return (sent + 0.1, dict(REFUSED)) if pod == "none" else None


def trigger(query: str) -> dict[str, Any]:
    said = {"serverAddress": "http://p:9090", "query": query, "threshold": "1"}
    return {"type": "prometheus", "metadata": said}


@dataclass
class Empty(Climb):
    """No stream comes from 100 s on, and ``old`` is gone at 110 s.

    Requests come again from 116 s on, and are refused. A replica is asked for at 120 s; ``new`` is
    ready at 126 s, and serves from 127 s on.
    """

    name: str = "scale-from-zero"
    cost: str = "abrupt"
    recover_s: float = 60.0
    end: float | None = 135.0
    last: int = 160
    stream_s: float = 4.0
    pause: tuple[float, float] = (97.0, 116.0)
    hits: tuple[tuple[float, str], ...] = ((116.0, "old"),)
    deleted: float | None = 106.0
    container_ended: float = 109.0
    fate: Any = refused
    aim: float | None = None
    answers: bool = False
    replicas: Sequence[tuple[float, int]] = ((50, 1), (106, 0), (120, 1))
    serves: float | None = 127.0
    endpoints: list[tuple[float, list[str], list[str]]] = field(
        default_factory=lambda: [(50, ["old"], []), (106, [], ["old"]), (126, ["new"], [])]
    )
    fresh: Sequence[dict[str, Any]] | None = (
        {"at": 120.2, "ready": False, "node": "", "containers": [], "created_at": T0 + 120},
        {"at": 121.0, "ready": False, "containers": [], "created_at": T0 + 120},
        {"at": 122.0, "ready": False, "containers": LOADING, "created_at": T0 + 120},
        {"at": 126.0, "containers": LOADING, "created_at": T0 + 120},
    )
    stated: dict[str, Any] = field(default_factory=lambda: {"within": 60, "profile": "dev"})
    triggers: Sequence[dict[str, Any]] = (DEMAND,)

    def scaled_object(self) -> dict[str, Any]:
        found = super().scaled_object()
        found["spec"] |= {"minReplicaCount": 0, "triggers": list(self.triggers)}
        return found

    def gauges(self, streams: list[tuple[str, Stream]]) -> list[tuple[float, Record]]:
        return [
            (at, gauge)
            for at, gauge in super().gauges(streams)
            if isinstance(gauge, Gauge) and (gauge.pod == "new" or at < self.t0 + 106)
        ]


def stays(**changes: Any) -> Empty:  # noqa: ANN401 - fields of a story
    """Return a story in which no replica comes."""
    values: dict[str, Any] = {
        "replicas": ((50, 1), (106, 0)),
        "endpoints": [(50, ["old"], []), (106, [], ["old"])],
        "fresh": ({"at": 50, "name": "old", "uid": "uid-old", "created_at": T0},),
        "serves": None,
        "end": 176.0,
        "last": 176,
        "timeout": "no replica served within 60 s",
        "triggers": (trigger("sum(vllm:num_requests_waiting)"),),
    }
    return Empty(**(values | changes))


def zero(story: Climb) -> Zero:
    found = of(story).zero
    assert found is not None
    return found


# ── what users met ──


def test_a_replica_that_comes_in_time_passes_where_zero_is_allowed() -> None:
    verdict = Empty().judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    assert [one.holds for one in of(Empty()).criteria] == [True] * 6
    assert verdict.faults[0].excused == verdict.not_served == 10


def test_what_requests_met_is_counted_by_kind_with_its_times() -> None:
    def worse(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "none" and sent > 121:
            return (sent + 3.5, dict(UNAVAILABLE))
        return refused(pod, sent, end)

    found = zero(Empty(fate=worse))
    assert [(one.what, one.requests, one.first_s, one.last_s) for one in found.kinds] == [
        ("answered", 34, 10.0, 43.0),
        ("refused", 5, 0.0, 4.0),
        ("rejected", 5, 5.0, 9.0),
    ]
    assert {one.what: one.longest_s for one in found.kinds}["rejected"] == 3.5
    assert found.first_answer_s == pytest.approx(10.0, abs=0.02)
    assert found.within_s == 60.0


def test_a_request_that_waits_is_told_with_its_wait() -> None:
    def waits(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "none" and sent > 125:  # as with an ingress that holds it
            return end + 3, {"waits": [3_000_000], "sizes": [len(WHOLE)]}
        return refused(pod, sent, end)

    story = Empty(fate=waits)
    longest = {one.what: one.longest_s for one in zero(story).kinds}
    assert longest["answered"] == pytest.approx(3.0, abs=0.1)
    assert (
        of(story).criteria[-1].found.endswith(f"the longest wait was {longest['answered']:.1f} s")
    )


def test_it_is_split_into_its_parts() -> None:
    assert [(step.what, step.took_s) for step in of(Empty()).steps] == [
        ("requests come", 0.0),
        ("replica asked for", 4.0),
        ("pod made", 0.2),
        ("scheduling", 0.8),
        ("image", 1.0),
        ("load", 5.0),
        ("readiness", 0.0),
        ("first token", 0.0),
    ]
    assert of(Empty()).reaction_s == 11.0


def test_parts_of_its_history_add_up_to_the_whole() -> None:
    records = Empty().records()
    whole = _conclude(tally_of(records)).to_json()
    for first, second in ((0, 1), (1, 0)):
        tally = tally_of(records, first)
        tally.merge(tally_of(records, second))
        assert _conclude(tally).to_json() == whole


def test_requests_before_the_last_replica_was_gone_are_not_counted() -> None:
    story = Empty(pause=(0.0, 0.0), hits=((116.5, "old"),))
    assert sum(one.requests for one in zero(story).kinds) == 44
    told_twice = replace(story, hits=((116.5, "old"), (118.0, "older")))
    assert sum(one.requests for one in zero(told_twice).kinds) == 44
    assert sum(one.requests for one in zero(replace(story, hits=())).kinds) == 0


def test_in_production_users_see_errors_however_fast_it_is() -> None:
    for stated in ({"profile": "production"}, {"profile": "module"}, {}):
        verdict = Empty(stated=stated).judged()
        assert verdict.verdict is Verdict.FAIL
        (reason,) = verdict.reasons
        assert reason == (
            "users see errors while there is no replica: 10 refused (0.0 to 9.0 s); the longest "
            "wait was 0.1 s"
        )


# ── what fails ──

OWN = "which only its own engines tell: without a replica there is none to be asked, so it can"
BROKEN: dict[str, tuple[Empty, str, str]] = {
    "it asks the engine's own metric": (
        stays(),
        chain.TO_QUERY,
        f"its query asks for vllm:num_requests_waiting, {OWN} never leave zero",
    ),
    "and Prometheus has no answer": (
        stays(answers=True, scraped=lambda _at: None),
        chain.TO_QUERY,
        "its query has no answer, and asks for vllm:num_requests_waiting",
    ),
    "or says 0": (
        stays(
            triggers=(trigger("sum(vllm:num_requests_waiting) or vector(0)"),),
            answers=True,
            scraped=lambda _at: 0.0,
        ),
        chain.TO_QUERY,
        "its query says 0, and asks for vllm:num_requests_waiting",
    ),
    "the module's own": (
        stays(triggers=(trigger("sum(rate(vllm:request_success_total[5m]))"),)),
        chain.TO_QUERY,
        f"asks for vllm:request_success_total, {OWN}",
    ),
    "KEDA is not ready": (
        stays(keda={"Ready": "False: ScaledObjectCheckFailed: no such server"}),
        chain.TO_KEDA,
        "KEDA says Ready False: ScaledObjectCheckFailed",
    ),
    "KEDA is paused": (
        stays(keda={"Paused": "True: ScaledObjectPaused"}),
        chain.TO_KEDA,
        "KEDA says Paused True: ScaledObjectPaused",
    ),
    "no trigger sees the requests": (
        stays(triggers=(CRON,), keda={"Active": "False: ScalerNotActive"}),
        chain.TO_KEDA,
        "KEDA says Active False: ScalerNotActive: no trigger sees requests that find no replica",
    ),
    "one of several might": (
        stays(
            triggers=(trigger("sum(vllm:num_requests_waiting)"), CRON),
            keda={"Active": "False"},
        ),
        chain.TO_KEDA,
        "KEDA says Active False: no trigger sees",
    ),
    "Prometheus is away": (
        stays(
            triggers=(trigger("sum(gateway_requests)"),),
            answers=True,
            answer={"error": "Prometheus at p does not answer"},
        ),
        chain.TO_QUERY,
        "Prometheus at p does not answer",
    ),
    "KEDA is active, and nothing is made": (
        stays(triggers=(DEMAND,)),
        chain.TO_DEPLOYMENT,
        "no replica came in 60 s of requests: KEDA says Active, and replicas did not rise",
    ),
    "two autoscalers": (
        Empty(more=(second_hpa(),)),
        chain.TO_DEPLOYMENT,
        "HorizontalPodAutoscaler/by-cpu scales it too",
    ),
    "a model that never loads": (
        Empty(
            serves=None,
            endpoints=[(50, ["old"], []), (106, [], ["old"])],
            fresh=(Empty().fresh or ())[:3],
            timeout="no replica served within 60 s",
        ),
        chain.TO_POD,
        "its model never loads",
    ),
    "no request is answered": (
        Empty(
            fate=lambda _pod, sent, _end: (sent + 0.1, dict(UNAVAILABLE)) if sent > 116 else None
        ),
        chain.TO_STREAMS,
        "a replica came, and no request was answered",
    ),
    "an answer that is late": (
        Empty(recover_s=8.0),
        chain.TO_STREAMS,
        "the first answer came after 10.0 s, and 8 s are allowed",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_never_comes_or_too_late_fails_and_is_named(name: str) -> None:
    story, link, said = BROKEN[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL, verdict.doubts
    assert of(story).broken == link
    assert any(reason.startswith(f"{link}: ") and said in reason for reason in verdict.reasons), (
        verdict.reasons
    )


# ── what can't be said ──

DOUBTS: dict[str, tuple[Empty, str]] = {
    "it did not go to zero": (
        Empty(
            hits=(),
            replicas=((50, 1),),
            deleted=None,
            endpoints=[(50, ["old"], [])],
            timeout="replicas did not go to zero by themselves within 30 s",
        ),
        "replicas did not go to zero in 35 s without a stream",
    ),
    "no request came": (
        Empty(pause=(97.0, 300.0)),
        "no request came while there was no replica",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_was_not_put_to_the_test_is_inconclusive(name: str) -> None:
    story, said = DOUBTS[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE, verdict.reasons
    assert any(said in doubt for doubt in verdict.doubts), verdict.doubts


def test_requests_that_fail_once_the_time_is_over_fail() -> None:
    def later(pod: str, sent: float, end: float) -> Fate | None:
        return (sent + 0.1, dict(UNAVAILABLE)) if sent == 155.5 else refused(pod, sent, end)

    verdict = Empty(fate=later, recover_s=20.0).judged()
    assert verdict.verdict is Verdict.FAIL
    assert "1 new requests failed, the last 39.5 s after the fault" in verdict.reasons[0]
