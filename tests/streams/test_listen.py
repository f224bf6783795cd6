"""What is made of the lines that a client prints, and of what time it is there."""

from __future__ import annotations

import time

import pytest

from drainproof.streams import history
from drainproof.streams.history import Client, ClientDone, Clock, Ending, Sent, Stream, to_line
from drainproof.streams.listen import Listener
from tests.streams.bodies import recorded


def heard(ahead_s: float, asked_before_s: float = 5.0) -> tuple[list[history.Record], float]:
    """Return what is heard of a client whose clock is so much ahead, and the time here."""
    records: list[history.Record] = []
    now = time.time()
    there = now + ahead_s
    listener = Listener(now - asked_before_s, records.append)
    stream = recorded(b"", due=there, connected=there, sent=there, answered=None, ended=there)
    for record in (
        Clock(at=there, client="1"),
        Sent(id="1-0", due=there, sent=there),
        stream,
        Client(at=there, in_flight=0, send_lag_ms=0, loop_lag_ms=0, cpu_share=0, client="1"),
        ClientDone(at=there, sent=1, recorded=1, client="1"),
    ):
        listener.line(to_line(record))
    assert listener.done
    return records, now


def times(record: history.Record) -> list[float]:
    names = ("at", "due", "connected", "ended")
    return [value for name in names if (value := getattr(record, name, None)) is not None]


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_a_clock_that_can_not_be_right_is_put_right_in_every_record(ahead_s: float) -> None:
    records, now = heard(ahead_s)
    assert all(at == pytest.approx(now, abs=1.0) for one in records for at in times(one))
    assert [type(one) for one in records] == [Clock, Sent, Stream, Client, ClientDone]


def test_the_counts_of_a_client_are_no_times() -> None:
    done = heard(3600.0)[0][-1]
    assert isinstance(done, ClientDone)
    assert (done.sent, done.recorded) == (1, 1)


def test_the_skew_and_its_bounds_are_in_the_history() -> None:
    clock = heard(3600.0)[0][0]
    assert isinstance(clock, Clock)
    assert clock.skew_low_s == clock.skew_s == pytest.approx(3600.0, abs=1.0)
    assert clock.skew_high_s == pytest.approx(3605.0, abs=1.0)


def test_a_clock_that_may_be_right_is_left_as_it_is() -> None:
    records, now = heard(-2.0)  # its start may have been 2 s ago, and the line slow
    assert isinstance(records[0], Clock)
    assert (records[0].skew_s, records[1]) == (0.0, Sent(id="1-0", due=now - 2, sent=now - 2))


def test_several_clients_are_on_one_clock() -> None:
    (first, *_), _ = heard(3600.0)
    (second, *_), _ = heard(-7200.0)
    assert times(first) == pytest.approx(times(second), abs=1.0)


def test_words_that_are_no_record_are_kept_and_not_passed_on() -> None:
    records: list[history.Record] = []
    listener = Listener(0.0, records.append)
    for line in (b"Traceback (most recent call last):\n", b"\xff\n"):
        listener.line(line)
    assert (records, listener.words()) == ([], "Traceback (most recent call last):\n\ufffd")


def test_a_stream_without_times_of_its_own_keeps_none() -> None:
    refused = recorded(b"", sent=None, connected=None, answered=None, ending=Ending.REFUSED)
    moved = history.earlier(refused, 10.0)
    assert isinstance(moved, Stream)
    assert (moved.sent, moved.due, moved.ended) == (None, refused.due - 10, refused.ended - 10)
