"""Whether the client kept up: each reason for doubt, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.judge.clients import MAX_CPU_SHARE, MAX_LAG_MS, ClientTally, judge_client
from drainproof.streams.history import Client, ClientDone, Clock, Part, Sent, Withheld
from tests.streams.bodies import recorded

if TYPE_CHECKING:
    from drainproof.streams.history import Record


def sample(
    send_lag_ms: float = 1.0,
    loop_lag_ms: float = 1.0,
    cpu_share: float = 0.1,
    client: str = "0",
    at: float = 1.0,
) -> Client:
    return Client(
        at=at,
        in_flight=1,
        send_lag_ms=send_lag_ms,
        loop_lag_ms=loop_lag_ms,
        cpu_share=cpu_share,
        client=client,
    )


BEGUN: list[Record] = [Clock(at=0.0, client="0"), Sent(id="0-0", due=0.0, sent=0.0)]
ENDED: list[Record] = [recorded(b""), ClientDone(at=9.0, sent=1, recorded=1)]


def test_a_client_that_was_never_late_kept_up() -> None:
    assert judge_client([*BEGUN, sample(), *ENDED]).kept_up


BUSY = sample(cpu_share=0.99)
DOUBTS: dict[str, tuple[list[Record], str]] = {
    "nothing at all": ([], "no client began"),
    "no samples": ([*BEGUN, *ENDED], "no client recorded how it kept up"),
    "late to send": ([*BEGUN, sample(send_lag_ms=501.0), *ENDED], "taken up 501 ms late"),
    "stood still": ([*BEGUN, sample(loop_lag_ms=900.0), *ENDED], "stood still for 900 ms"),
    "core full": ([*BEGUN, BUSY, BUSY, BUSY, *ENDED], "core was full for 3 s"),
    "died": ([*BEGUN, sample()], "1 of 1 clients did not finish"),
    "one of two died": (
        [*BEGUN, Clock(at=0.0, client="1"), sample(), *ENDED],
        "1 of 2 clients did not finish",
    ),
    "lost a stream": ([*BEGUN, sample(), ENDED[1]], "1 'stream' records were written, and 0"),
    "lost a sent": ([BEGUN[0], sample(), *ENDED], "1 'sent' records were written, and 0"),
    "doubled a part": (
        [*BEGUN, sample(), Part(id="0-0", waits=[], sizes=[], body=b""), *ENDED],
        "0 'part' records were written, and 1",
    ),
    "withheld": (
        [
            *BEGUN,
            sample(),
            Withheld(id="0-1", due=0.0, reason="too many"),
            ENDED[0],
            ClientDone(at=9.0, sent=1, recorded=1, withheld=1),
        ],
        "1 requests were not sent: too many",
    ),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_a_client_in_doubt_is_told_apart_with_its_one_reason(name: str) -> None:
    records, reason = DOUBTS[name]
    verdict = judge_client(records)
    assert not verdict.kept_up
    assert any(reason in one for one in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    "samples",
    [
        [BUSY, BUSY, sample(), BUSY],
        [BUSY, sample(cpu_share=0.99, client="1"), BUSY, sample(cpu_share=0.99, client="1")],
    ],
)
def test_a_burst_of_work_is_no_full_core(samples: list[Client]) -> None:
    assert judge_client([*BEGUN, *samples, *ENDED]).kept_up


@pytest.mark.parametrize(
    ("begin", "end", "kept_up"),
    [
        (3.5, 9.0, True),  # late before
        (3.0, 9.0, False),  # found out as it begins
        (1.0, 2.5, False),  # began to be late within
        (0.0, 2.0, True),  # late after
    ],
)
def test_lateness_counts_in_its_own_time(begin: float, end: float, *, kept_up: bool) -> None:
    tally = ClientTally()
    samples = [sample(at=2.0), sample(at=3.0, send_lag_ms=700.0), sample(at=4.0)]
    for record in [*BEGUN, *samples, *ENDED]:
        tally.add(record)
    assert tally.verdict(begin, end).kept_up is kept_up


def test_a_core_counts_as_full_while_it_was() -> None:
    tally = ClientTally()
    full = [sample(at=at, cpu_share=0.99) for at in (1.0, 2.0, 3.0, 4.0)]
    for record in [*BEGUN, *full, sample(at=5.0), *ENDED]:
        tally.add(record)
    assert tally.verdict(3.0, 4.0).reasons == ("the client's core was full for 4 s in a row",)
    assert tally.verdict(4.5, 9.0).kept_up


@pytest.mark.parametrize("name", ["died", "no samples"])
def test_what_is_missing_altogether_is_not_also_counted(name: str) -> None:
    records, reason = DOUBTS[name]
    assert [reason in one for one in judge_client(records).reasons] == [True]


def test_a_core_is_full_from_the_limit_on_and_late_is_beyond_it() -> None:
    full = sample(cpu_share=MAX_CPU_SHARE)
    assert not judge_client([*BEGUN, full, full, full, *ENDED]).kept_up
    punctual = sample(send_lag_ms=MAX_LAG_MS, loop_lag_ms=MAX_LAG_MS)
    assert judge_client([*BEGUN, punctual, *ENDED]).kept_up


@pytest.mark.parametrize(
    ("send_lag_ms", "loop_lag_ms", "said"),
    [(MAX_LAG_MS, 900.0, "the client stood still"), (900.0, MAX_LAG_MS, "a request was taken up")],
)
def test_of_two_ways_to_be_late_only_the_one_beyond_the_limit_is_told(
    send_lag_ms: float, loop_lag_ms: float, said: str
) -> None:
    late = sample(send_lag_ms=send_lag_ms, loop_lag_ms=loop_lag_ms)
    (reason,) = judge_client([*BEGUN, late, *ENDED]).reasons
    assert reason.startswith(said)


def test_of_several_reasons_to_send_nothing_the_first_is_told() -> None:
    withheld = [Withheld(id=f"0-{n}", due=0.0, reason=why) for n, why in ((1, "x"), (2, "y"))]
    done = ClientDone(at=9.0, sent=1, recorded=1, withheld=2)
    verdict = judge_client([*BEGUN, sample(), *withheld, ENDED[0], done])
    assert verdict.reasons == ("2 requests were not sent: x",)
