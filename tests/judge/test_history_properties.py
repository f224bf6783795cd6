"""Any History that a model of a correct server makes passes; with any one corruption, none does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drainproof.judge.chaos import judge
from drainproof.judge.scene import ROUTING_LAG_S
from drainproof.judge.verdict import Verdict
from drainproof.streams.history import (
    Client,
    ClientDone,
    Clock,
    Ending,
    Endpoints,
    Event,
    Fault,
    Gauge,
    Pod,
    Sent,
    Stream,
)
from tests.judge.story import T0, Fate, Killed, Story, sequence
from tests.streams.bodies import DONE, ERROR, answer, usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.streams.history import Record

TOKENS = 5


DELAYS_S = st.integers(0, 30)


@st.composite
def rollouts(draw: st.DrawFn, delays_s: st.SearchStrategy[int] = DELAYS_S) -> Story:
    """Draw a rollout of a server that drains, whose streams outlast its preStop delay."""
    prestop_s = draw(delays_s)
    stream_s = prestop_s + draw(st.integers(13, 30))
    deleted = draw(st.integers(112, 130))
    teardown_s = draw(st.integers(1, 15))
    lag_s = draw(st.sampled_from([0.05, 0.5, 1.0]))
    # its last request comes before it is told to end, or while nodes still send some
    ended = deleted + max(prestop_s, lag_s) + stream_s + teardown_s
    ready = deleted - draw(st.integers(1, 10)) - 0.5
    return Story(
        prestop_s=float(prestop_s),
        stream_s=float(stream_s),
        first=50,
        last=int(ended) + 5,
        deleted=float(deleted),
        container_ended=ended,
        grace_s=float(int(ended - deleted) + 10),
        exit_code=draw(st.sampled_from([0, 143])),
        end=ended + draw(st.integers(2, 30)),
        endpoints=[
            (40, ["old"], []),
            (ready, ["new", "old"], []),
            (deleted + lag_s, ["new"], ["old"]),
            (ended + 1, ["new"], []),
        ],
    )


EVENTS = answer(TOKENS)
CORRUPTIONS: dict[str, dict[str, Any]] = {
    "cut": {"raw": b"".join(EVENTS[:3])},
    "cut within an event": {"raw": b"".join(EVENTS)[:200]},
    "lost its reason": {"raw": b"".join(EVENTS[:-3] + EVENTS[-2:])},
    "lost its end": {"raw": b"".join(EVENTS[:-1])},
    "lost its usage": {"raw": b"".join([*EVENTS[:-2], DONE])},
    "short": {"raw": b"".join(answer(TOKENS - 1))},
    "long": {"raw": b"".join(answer(TOKENS + 1))},
    "miscounted": {"raw": b"".join([*EVENTS[:-2], usage(3), DONE])},
    "an error in band": {"raw": b"".join([*EVENTS[:2], ERROR, *EVENTS[2:]])},
    "aborted": {"raw": b"".join(EVENTS).replace(b'"length"', b'"abort"')},
    "doubled its end": {"raw": b"".join([*EVENTS, DONE])},
    "rejected": {"raw": b"", "status": 503, "content_type": "application/json"},
    "a page": {"content_type": "text/html"},
    "a lost part": {"parts": 1},
    "damaged": {"sizes": [2]},
    **{
        f"ended as {ending.value}": {"ending": ending, "error": "gone"}
        for ending in Ending
        if ending not in {Ending.COMPLETE, Ending.CLOSED}
    },
}


@settings(max_examples=30)
@given(rollouts())
def test_any_history_of_a_correct_server_passes(story: Story) -> None:
    verdict = story.judged()
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())


@settings(max_examples=60)
@given(rollouts(), st.sampled_from(sorted(CORRUPTIONS)), st.data())
def test_any_single_corruption_is_found(story: Story, name: str, data: st.DataObject) -> None:
    chosen = data.draw(st.integers(0, story.last - story.first - 1)) + story.first + 0.5

    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        return (end, dict(CORRUPTIONS[name])) if sent == chosen else None

    story.fate = fate
    assert story.judged().verdict is not Verdict.PASS


@settings(max_examples=15)
@given(rollouts(), st.data())
def test_any_lost_record_of_a_stream_is_found(story: Story, data: st.DataObject) -> None:
    story.lose = frozenset({data.draw(st.integers(0, story.last - story.first - 1))})
    assert story.judged().verdict is Verdict.INCONCLUSIVE


# ── Abrupt faults ───────────────────────────────────────────────────────────────────────────────


@st.composite
def kills(draw: st.DrawFn) -> Killed:
    """Draw a kill of a server that is back in time, and whose other pod serves meanwhile."""
    recover_s = draw(st.integers(1, 20))
    return Killed(
        name=draw(st.sampled_from(["container-kill", "force-delete", "node-loss"])),
        ending=draw(st.sampled_from([Ending.EOF, Ending.RESET])),
        stream_s=float(draw(st.integers(5, 30))),
        recover_s=float(recover_s),
        end=float(draw(st.integers(122, 150))),
        last=draw(st.integers(155, 170)),
    )


LOUD = {"raw": b"".join(EVENTS[:3]), "ending": Ending.RESET, "error": "gone"}
NOT_SERVED = {"rejected", "a page", "ended as refused", "ended as no-response"}
"""Corruptions that can befall a new request only."""


@settings(max_examples=30)
@given(kills())
def test_any_history_of_a_server_that_survives_a_kill_passes(story: Killed) -> None:
    verdict = story.judged()
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())


@settings(max_examples=60)
@given(kills(), st.sampled_from(sorted(CORRUPTIONS)), st.data())
def test_any_single_corruption_on_another_pod_is_found(
    story: Killed, name: str, data: st.DataObject
) -> None:
    """Also in the time in which new requests may fail: what had begun was served."""
    lost_s = 1.0 if name in NOT_SERVED else story.stream_s
    chosen = data.draw(st.sampled_from(surely_on_b(story)))

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + lost_s, dict(CORRUPTIONS[name])) if sent == chosen else None

    story.fate = fate
    recovered = chosen > 120 + story.recover_s
    if recovered or name not in NOT_SERVED:
        assert story.judged().verdict is not Verdict.PASS


def surely_on_b(story: Killed) -> list[float]:
    """Return when requests were sent that cannot have been on the pod that was hit."""
    return [
        number + 0.5
        for number in range(story.first, story.last)
        if 120.6 + ROUTING_LAG_S <= number + 0.5 < 126
    ]


@settings(max_examples=30)
@given(kills(), st.data())
def test_any_new_request_that_fails_after_the_time_to_recover_is_found(
    story: Killed, data: st.DataObject
) -> None:
    failed = data.draw(st.integers(121, story.last - 1)) + 0.5
    late = failed > 120 + story.recover_s

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (sent + 0.1, dict(CORRUPTIONS["rejected"])) if sent == failed else None

    story.fate = fate
    assert (story.judged().verdict is Verdict.FAIL) is late


@settings(max_examples=30)
@given(kills(), st.integers(0, 9))
def test_any_answer_on_the_victim_that_ends_cleanly_is_found(story: Killed, number: int) -> None:
    """An abrupt fault excuses what a client can see, and nothing else."""
    chosen = 118.5 - 2 * (number % max(1, int(story.stream_s) // 2))

    def fate(_pod: str, sent: float, _end: float) -> Fate | None:
        return (120.1, {"raw": b"".join([*EVENTS[:2], ERROR, DONE])}) if sent == chosen else None

    story.fate = fate
    assert story.judged().verdict is Verdict.FAIL


# ── Faults that stop no pod ─────────────────────────────────────────────────────────────────────


@st.composite
def sparings(draw: st.DrawFn) -> Story:
    """Draw a fault that ends no pod, under a server that serves on."""
    return Story(
        name=draw(st.sampled_from(["scale-up", "keda-away", "readiness-flap"])),
        cost=draw(st.sampled_from(["graceful", "control-plane"])),
        stops=False,
        deleted=None,
        stream_s=float(draw(st.integers(3, 30))),
        end=float(draw(st.integers(110, 160))),
        endpoints=[(50, ["old"], []), (draw(st.integers(101, 150)), ["new", "old"], [])],
    )


@settings(max_examples=20)
@given(sparings())
def test_any_history_of_a_fault_that_stops_no_pod_passes(story: Story) -> None:
    verdict = story.judged()
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())


@settings(max_examples=40)
@given(sparings(), st.sampled_from(sorted(CORRUPTIONS)), st.data())
def test_any_single_corruption_under_a_fault_that_stops_no_pod_is_found(
    story: Story, name: str, data: st.DataObject
) -> None:
    chosen = data.draw(st.integers(story.first, story.last - 1)) + 0.5

    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        return (end, dict(CORRUPTIONS[name])) if sent == chosen else None

    story.fate = fate
    assert story.judged().verdict is not Verdict.PASS


# ── Several faults, several clients ─────────────────────────────────────────────────────────────


@st.composite
def runs(draw: st.DrawFn) -> list[Story]:
    """Draw a run of two or three faults of any kind, one after the other."""
    prestop_s = draw(DELAYS_S)
    one = st.one_of(rollouts(st.just(prestop_s)), kills(), sparings())
    stories = draw(st.lists(one, min_size=2, max_size=3))
    for index, story in enumerate(stories):
        story.index, story.t0, story.prestop_s = index, T0 + 400 * index, float(prestop_s)
    return stories


def clients(records: list[Record], number: int) -> list[Record]:
    """Share the streams of a History out to several clients."""
    told: list[Record] = []
    for record in records:
        match record:
            case Clock() | Client():
                told += [replace(record, client=str(one)) for one in range(number)]
            case ClientDone():
                for one in range(number):
                    mine = [
                        r for r in records if isinstance(r, Sent | Stream) and of(r, number) == one
                    ]
                    sent = sum(isinstance(r, Sent) for r in mine)
                    told.append(replace(record, sent=sent, recorded=len(mine) - sent))
            case _:
                told.append(record)
    return told


def of(record: Sent | Stream, number: int) -> int:
    """Return which of so many clients sent a request."""
    return int(record.id.split("-")[1]) % number


def verdict_of(records: Sequence[Record]) -> Verdict:
    return judge(lambda: records).verdict


@settings(max_examples=20)
@given(runs(), st.integers(1, 3))
def test_any_run_of_several_faults_and_clients_passes(stories: list[Story], number: int) -> None:
    verdict = judge(lambda: clients(sequence(*stories), number))
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())
    assert len(verdict.faults) == len(stories)


@settings(max_examples=40)
@given(runs(), st.sampled_from(sorted(CORRUPTIONS)), st.integers(1, 3), st.data())
def test_any_single_corruption_in_one_of_several_faults_is_found(
    stories: list[Story], name: str, number: int, data: st.DataObject
) -> None:
    spoilt = data.draw(st.sampled_from(stories))
    # no sooner than all that an abrupt fault may cost
    first = 150 if isinstance(spoilt, Killed) else 100
    chosen = data.draw(st.integers(first, spoilt.last - 1)) + 0.5

    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        return (end, dict(CORRUPTIONS[name])) if sent == chosen else None

    spoilt.fate = fate
    assert verdict_of(clients(sequence(*stories), number)) is not Verdict.PASS


@settings(max_examples=30)
@given(runs(), st.integers(1, 3), st.data())
def test_any_lost_record_of_a_client_is_found(
    stories: list[Story], number: int, data: st.DataObject
) -> None:
    """Its end, its first words, or what it sent or got; but not one of its many samples."""
    records = clients(sequence(*stories), number)
    of_clients = [r for r in records if isinstance(r, Sent | Stream | ClientDone)]
    kind = data.draw(st.sampled_from([Sent, Stream, ClientDone]))
    lost = data.draw(st.sampled_from([r for r in of_clients if isinstance(r, kind)]))
    assert verdict_of([r for r in records if r is not lost]) is Verdict.INCONCLUSIVE


# ── What the cluster said ───────────────────────────────────────────────────────────────────────

CUT_AT_SIGTERM = {"raw": b"".join([*EVENTS[:3], ERROR, DONE])}


def of_the_cluster(records: list[Record]) -> list[Record]:
    return [r for r in records if isinstance(r, Fault | Pod | Endpoints | Gauge | Event)]


@settings(max_examples=60)
@given(st.one_of(rollouts(), kills()), st.data())
def test_no_lost_record_of_the_cluster_makes_a_failed_run_pass(
    story: Story, data: st.DataObject
) -> None:
    """Whatever is not known of the cluster, a stream that was lost was lost."""
    chosen = 125.5 if isinstance(story, Killed) else story.first + 50.5
    story.recover_s = min(story.recover_s, 1.0)

    def fate(_pod: str, sent: float, end: float) -> Fate | None:
        return (end, dict(CORRUPTIONS["short"])) if sent == chosen else None

    story.fate = fate
    records = story.records()
    lost = data.draw(st.sampled_from(of_the_cluster(records)))
    assert verdict_of([r for r in records if r is not lost]) is not Verdict.PASS


@settings(max_examples=60)
@given(st.one_of(rollouts(), kills()), st.data())
def test_no_lost_record_of_the_cluster_makes_a_sound_run_fail(
    story: Story, data: st.DataObject
) -> None:
    """Without a beginning or a hit nothing is proven, and nothing is excused."""
    records = story.records()
    lost = data.draw(st.sampled_from([r for r in of_the_cluster(records) if not needed(r)]))
    assert verdict_of([r for r in records if r is not lost]) is not Verdict.FAIL


def needed(record: Record) -> bool:
    """Tell whether a fault is excused what it may cost by what this record says."""
    if isinstance(record, Fault):
        return record.phase in {"begin", "hit"}
    return isinstance(record, Endpoints) and record.ready == ["a", "b"]


@settings(max_examples=30)
@given(st.one_of(rollouts(), kills()), st.sampled_from(["begin", "end"]))
def test_a_fault_whose_beginning_or_end_is_not_known_proves_nothing(
    story: Story, phase: str
) -> None:
    records = [r for r in story.records() if not (isinstance(r, Fault) and r.phase == phase)]
    assert verdict_of(records) is Verdict.INCONCLUSIVE


@settings(max_examples=20)
@given(rollouts())
def test_a_rollout_of_whose_pods_nothing_is_known_proves_nothing(story: Story) -> None:
    records = [r for r in story.records() if not isinstance(r, Pod)]
    assert verdict_of(records) is Verdict.INCONCLUSIVE


@settings(max_examples=20)
@given(kills())
def test_a_kill_of_which_no_hit_is_known_excuses_nothing(story: Killed) -> None:
    records = [r for r in story.records() if not (isinstance(r, Fault) and r.phase == "hit")]
    assert verdict_of(records) is Verdict.FAIL
