"""A cold start: its parts, the probe that may kill it, and the threshold that is early enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.chaos import _conclude
from drainproof.judge.verdict import Verdict
from drainproof.model import chain
from drainproof.streams.history import Autoscaler
from tests.judge.climb import QUERY, Climb, killing
from tests.judge.story import T0
from tests.judge.test_scaling import LOADING, STUCK, fresh
from tests.judge.test_tally import tally_of

if TYPE_CHECKING:
    from drainproof.judge.cold import Cold
    from drainproof.judge.scaling import Scaling

PROBE = {"load_probe": "startupProbe", "load_budget_s": 30}
AVERAGE = 'avg(vllm:num_requests_waiting{namespace="inference"})'
BOTH = f"{QUERY} + {QUERY.replace('waiting', 'running')}"


def none(_at: float) -> float:
    return 0.0


def growing(at: float) -> float:
    """Return a queue that grows by one request in 2 s until the new replica serves."""
    return (at - 100) / 2 if 100 < at < 123 else 0.0


def start(**changes: Any) -> Climb:  # noqa: ANN401 - fields of a story
    """Return a story of one replica more, without a queue."""
    values: dict[str, Any] = {
        "name": "cold-start",
        "aim": None,
        "waiting": none,
        "stated": {"growth": 0.1, "answers": 1.0, "wait": 30.0},
        "probe": PROBE,
    }
    return Climb(**(values | changes))


def of(story: Climb) -> Scaling:
    (fault,) = story.judged().faults
    assert fault.scaling is not None
    return fault.scaling


def cold(story: Climb) -> Cold:
    found = of(story).cold
    assert found is not None
    return found


def loads(seconds: int, **changes: Any) -> Climb:  # noqa: ANN401 - fields of a story
    """Return a story whose replica takes so many seconds from its pod to its first token."""
    ready = 115.0 + seconds
    return start(
        end=ready + 10,
        last=int(ready) + 15,
        serves=ready + 1,
        endpoints=[(50, ["old"], []), (ready, ["old", "new"], [])],
        fresh=(
            {"at": 116, "ready": False, "node": "", "containers": []},
            {"at": 116, "ready": False, "containers": LOADING},
            {"at": ready, "containers": LOADING},
        ),
        **changes,
    )


# ── what it took ──


def test_a_load_that_fits_its_probe_and_a_threshold_that_is_early_pass() -> None:
    verdict = start().judged()
    assert (verdict.verdict, verdict.reasons, verdict.doubts) == (Verdict.PASS, (), ())
    assert [one.holds for one in of(start()).criteria] == [True] * 3
    assert of(start()).criteria[1].found == "3 s, of 30 s that its startupProbe allows"


def test_it_is_split_into_its_parts() -> None:
    scaling = of(start())
    assert [(step.what, step.took_s) for step in scaling.steps] == [
        ("pod made", 0.0),
        ("scheduling", 0.3),
        ("image", 1.5),
        ("load", 3.0),
        ("readiness", 0.0),
        ("first token", 1.0),
    ]
    assert scaling.reaction_s is None
    assert cold(start()).took_s == pytest.approx(5.8)


def test_the_first_token_is_when_the_engine_has_counted_one() -> None:
    story = start(tokens=lambda at: 7.0 if at >= 125 else 0.0)
    assert of(story).steps[-1].took_s == 4.0


def test_readiness_is_from_the_engines_first_answer_to_the_endpoints() -> None:
    story = start(endpoints=[(50, ["old"], []), (121.5, ["old", "new"], [])])
    assert [step.took_s for step in of(story).steps[-3:]] == [3.0, 0.5, 0.5]


def test_an_engine_that_tells_no_gauge_is_timed_by_its_endpoints() -> None:
    story = start(serves=None, fresh=start().fresh or (), end=120.0)
    load = next(step for step in of(story).steps if step.what == "load")
    assert (load.at, load.took_s) == (None, None)


# ── what that means for a queue ──


def test_the_queue_when_it_serves_follows_from_growth_reaction_and_cold_start() -> None:
    found = cold(start())
    # 2.2 + 0.1 (19 + 5.8); 1.0 x 30 - 0.1 (19 + 5.8)
    assert (found.asks_at, found.reaction_s) == (2.2, 19.0)
    assert (found.waiting, found.last_waits_s) == (4.68, 4.68)
    assert (found.early, found.early_threshold) == (27.52, 25.0)


def test_the_threshold_that_is_early_enough_is_one_for_each_replica() -> None:
    twice = start(replicas=((50, 2), (116, 3)))
    assert (cold(twice).asks_at, cold(twice).early_threshold) == (4.4, 12.5)


def test_the_modules_war_story_is_explained() -> None:
    """A lower threshold gains 2 requests of 45, a shorter load 26."""
    spec = {"pollingInterval": 15}
    told = {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 30}}, "spec": spec}
    stated = {"growth": 0.08, "answers": 1.0, "wait": 30.0}
    seven, better = (
        cold(loads(seconds, stated=stated, threshold=threshold, **told))
        for seconds, threshold in ((420, "5"), (90, "3"))
    )
    assert (seven.took_s, better.took_s) == (420.0, 90.0)
    assert (seven.reaction_s, better.reaction_s) == (62.0, 62.0)
    assert (seven.last_waits_s, better.last_waits_s) == (44.06, 15.46)
    assert cold(loads(420, stated=stated, threshold="3", **told)).last_waits_s == 41.86
    assert seven.early_threshold is None
    assert better.early_threshold == 16.2


def test_growth_and_answers_are_what_was_seen_of_a_queue_that_grew() -> None:
    found = cold(start(waiting=growing, stated={"wait": 30.0}))
    assert (found.growth_per_s, found.growth_stated) == (0.5, False)
    # a stream of 20 s begins each second; one ends each second of 30 s
    assert (found.answers_per_s, found.answers_at_least) == (1.0, False)


def test_answers_are_counted_while_the_fault_is_on_and_only_whole_ones() -> None:
    shorter = start(stated={"growth": 0.1}, end=125.0, stream_s=2.0)
    assert cold(shorter).answers_per_s == 1.0
    assert cold(shorter).answers_at_least

    def cut(_pod: str, sent: float, _end: float) -> Any:  # noqa: ANN401 - a fate
        return (sent + 2, {"raw": b""}) if sent > 110 else None

    assert cold(start(stated={"growth": 0.1}, stream_s=2.0, fate=cut)).answers_per_s == 0.4


def test_an_answer_that_ends_with_the_fault_is_counted_and_one_that_ends_later_is_not() -> None:
    stated = {"growth": 0.1}
    assert cold(start(stated=stated, stream_s=2.5)).answers_per_s == round(31 / 30, 3)
    assert cold(start(stated=stated, stream_s=2.6)).answers_per_s == 1.0


def test_parts_of_its_history_add_up_to_the_whole() -> None:
    records = start(stated={"growth": 0.1}).records()
    whole = _conclude(tally_of(records)).to_json()
    for first, second in ((0, 1), (1, 0)):
        tally = tally_of(records, first)
        tally.merge(tally_of(records, second))
        assert _conclude(tally).to_json() == whole


def test_a_metric_that_counts_running_requests_too_asks_by_those_that_wait() -> None:
    story = start(query=BOTH, threshold="10", waiting=growing, stated={})
    # 11 less the 4 that run on the old pod, as gauges say
    assert cold(story).asks_at == pytest.approx(7.0)
    assert cold(start(query=BOTH, threshold="10")).asks_at is None


def test_what_a_fault_holds_is_not_what_is_declared() -> None:
    held = start(threshold="9").scaled_object()
    later = Autoscaler(at=T0 + 101, object="ScaledObject/vllm", declared=held)
    assert of(start(more=(later,))).threshold == 2.0


# ── what fails ──

KILLED = fresh(
    {"at": 116.2}, {"at": 126, "node": "n", "containers": [LOADING[0] | {"restarts": 2}]}
)
STARTUP = "Container vllm failed startup probe, will be restarted"
BROKEN: dict[str, tuple[Climb, str, str]] = {
    "startup probe kills what loads": (
        start(fresh=KILLED, serves=None, extra=[killing(120, "new", STARTUP)], timeout="none"),
        chain.TO_POD,
        "its startup probe kills pod/new while it loads: restarted 2 times, and never Ready",
    ),
    "liveness probe kills what loads": (
        start(fresh=KILLED, serves=None, extra=[killing(120, "new")], timeout="none"),
        chain.TO_POD,
        "its liveness probe kills pod/new while it loads",
    ),
    "startup probe killed the first load": (
        start(extra=[killing(119, "new", STARTUP)]),
        chain.TO_POD,
        "its startup probe killed pod/new while it loaded",
    ),
    "a budget that is almost used up": (
        loads(100, probe=PROBE | {"load_budget_s": 120}),
        chain.TO_POD,
        "pod/new loaded for 100 s, of 120 s that its startupProbe allows: more than 80%",
    ),
    "a threshold that is late": (
        start(threshold="50"),
        chain.TO_KEDA,
        "the threshold 50 is too late: 25 would be early enough for 30 s; 55.0 wait when",
    ),
    "a wait that is short": (
        start(stated={"growth": 0.1, "answers": 1.0, "wait": 4.0}),
        chain.TO_KEDA,
        "the threshold 2 is too late: 1.3 would be early enough for 4 s",
    ),
    "a queue that grows too fast": (
        start(stated={"growth": 5.0, "answers": 1.0}),
        chain.TO_KEDA,
        "no threshold is early enough for 30 s; 2.2 wait when it is asked for, 126 when it serves",
    ),
    "a queue that was seen to grow too fast": (
        start(waiting=lambda at: 4 * growing(at), stated={}),
        chain.TO_KEDA,
        "no threshold is early enough for 30 s; 2.2 wait",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_would_kill_it_or_asks_too_late_fails(name: str) -> None:
    story, link, said = BROKEN[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.FAIL, verdict.doubts
    assert verdict.reasons[0].startswith(f"{link}: "), verdict.reasons
    assert said in verdict.reasons[0]
    assert of(story).broken == link


# ── what can't be said ──

DOUBTS: dict[str, tuple[Climb, str]] = {
    "growth is not known": (
        start(stated={"wait": 30.0}),
        "how fast a queue grows is not known: none grew for 10 s meanwhile",
    ),
    "a queue that was there for a moment": (
        start(stated={}, waiting=lambda at: 5.0 if 102 <= at < 108 else 0.0),
        "how fast a queue grows is not known",
    ),
    "no new pod": (
        start(
            replicas=STUCK,
            serves=None,
            fresh=({"at": 50, "name": "old", "uid": "uid-old", "created_at": T0},),
            timeout="no new pod was ready",
        ),
        "no new pod was made",
    ),
    "no node has room": (
        start(
            fresh=fresh({"at": 116.2, "unschedulable": "0/2 nodes: Insufficient nvidia.com/gpu."}),
            serves=None,
            timeout="no new pod was ready",
        ),
        "which stayed Pending: 0/2 nodes: Insufficient nvidia.com/gpu.",
    ),
    "what replicas answer under a queue is not known": (
        start(stated={"growth": 0.1}, threshold="50"),
        "the others answer at least 1.00 a second, which may be enough for a wait of 30 s or not",
    ),
    "a metric that is no sum of requests": (
        start(query=AVERAGE),
        "at how many requests that wait ScaledObject/vllm asks for a replica is not known",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_is_not_known_is_inconclusive(name: str) -> None:
    story, said = DOUBTS[name]
    verdict = story.judged()
    assert verdict.verdict is Verdict.INCONCLUSIVE, verdict.reasons
    assert any(said in doubt for doubt in verdict.doubts), verdict.doubts


def test_without_a_probe_that_kills_it_any_load_fits() -> None:
    story = loads(100, probe={"load_probe": "", "load_budget_s": None})
    assert of(story).criteria[1].found == "no startup probe or liveness probe is known to end it"
    assert story.judged().verdict is Verdict.PASS
