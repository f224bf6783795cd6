"""Whether the client kept up: each reason for doubt, alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.judge.clients import judge_client
from drainproof.streams.history import Client, ClientDone, Clock, Part, Sent, Withheld
from tests.streams.bodies import recorded

if TYPE_CHECKING:
    from drainproof.streams.history import Record


def sample(
    send_lag_ms: float = 1.0, loop_lag_ms: float = 1.0, cpu_share: float = 0.1, client: str = "0"
) -> Client:
    return Client(
        at=1.0,
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
        [*BEGUN, sample(), Part(id="0-0", arrivals=[], body=""), *ENDED],
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
