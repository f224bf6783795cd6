"""A checker with one step changed is told from the real one by the tests' own cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import causes, streams, tally
from drainproof.judge.streams import PartLine
from drainproof.streams.history import (
    ClientDone,
    Ending,
    Part,
    Sent,
    Stream,
    pack_body,
    to_line,
)
from tests.judge.mutants import mutants
from tests.judge.test_causes import CASES
from tests.judge.test_fault_causes import FAULTS, SPOILT, TABLE, sound, unready
from tests.judge.test_streams import FILLED, FOREIGN, ONE_FLAW, SHORT, numbered
from tests.streams.bodies import (
    DONE,
    ERROR,
    answer,
    chat_answer,
    chunk,
    recorded,
    tgi_answer,
    usage,
)
from tests.streams.raw import header

if TYPE_CHECKING:
    from drainproof.judge.causes import Found
    from drainproof.streams.history import Record

FOR_TYPES = "for the type checker: only pods with a deletion are looked at there"
ALIKE = {
    "Failed.stopped: life.deleted is not None and life.name not in self.struck without "
    "life.deleted is not None": "a pod without a deletion has no SIGTERM and no end, and no grace",
    "_hung: life.deleted or 0.0 without 0.0": FOR_TYPES,
    "_stopped: life.deleted or 0.0 without 0.0": FOR_TYPES,
    "_misrouted: life.deleted or 0.0 without 0.0": FOR_TYPES,
    "_not_ready_yet: since <= struck → since < struck": "times of two watches",
    "StreamVerdict.seconds_per_token: self.first_token is None or self.last_token is None or "
    "(not self.tokens) without self.first_token is None": "it has both, or neither",
    "StreamVerdict.seconds_per_token: self.first_token is None or self.last_token is None or "
    "(not self.tokens) without self.last_token is None": "it has both, or neither",
    "numbers_tokens: return False left out": "None is as false",
}
"""Mutants that are no worse, and why."""

# ── Causes ──────────────────────────────────────────────────────────────────────────────────────


def failures() -> list[tuple[tuple[Any, ...], Found]]:
    """Return each failed stream of the stories, as the judge asks for its cause, and that."""
    asked: list[tuple[tuple[Any, ...], Found]] = []
    real = causes.cause_of

    def noting(*given: Any) -> Found:  # noqa: ANN401 - as it was given
        found = real(*given)
        asked.append((given, found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "cause_of", noting)
        for fault, cause in TABLE:
            SPOILT[cause](sound(fault)).judged()
        for fault in FAULTS:
            unready(sound(fault)).judged()
        for case in CASES.values():
            noting(*case.asked())
    return asked


def found_by(given: tuple[Any, ...]) -> object:
    try:
        return causes.cause_of(*given)
    except Exception as error:  # noqa: BLE001 - a mutant that crashes is told from the real one
        return error


def test_no_step_to_a_cause_can_be_changed_unseen() -> None:
    asked = failures()
    alive = []
    for mutant in mutants(causes):
        with mutant.at_work():
            if all(found_by(given) == found for given, found in asked):
                alive.append(mutant.name)
    assert set(alive) - set(ALIKE) == set()


# ── Streams ─────────────────────────────────────────────────────────────────────────────────────

BODY = b"".join(answer(30))
SIZES = [len(event) for event in answer(30)]


def cases() -> list[list[Record | PartLine]]:
    """Return Histories, each with something that only one condition tells apart."""
    numbered_ = b"".join(numbered(1, 2, 3, 4, 5))
    one: list[list[Record | PartLine]] = [[stream] for stream in ONE_FLAW.values()]
    one += [
        [recorded(body, api=api, expected_tokens=fixed, max_tokens=limit)]
        for body, api, fixed, limit in (
            (b"".join(chat_answer()), "chat", 5, 5),
            (b"".join(tgi_answer()), "tgi", None, 5),
            (b"".join(tgi_answer(4)), "tgi", None, 5),
            (b"".join(tgi_answer(6)), "tgi", None, 5),
            (b"".join(tgi_answer()[:-1]), "tgi", None, 5),
            (b"".join(tgi_answer()), "completions", None, 5),
            (b"".join([chunk("end", "stop"), usage(1), DONE]), "completions", None, 5),
            (b"".join([chunk("end", "stop"), usage(9), DONE]), "completions", None, 5),
            (b"".join([chunk("end", "stop"), usage(9), DONE]), "completions", None, None),
            (b"".join([chunk("end", "length"), usage(9), DONE]), "completions", None, None),
            (b"".join([chunk("end", "stop"), DONE]), "completions", None, 5),
            (b"".join([chunk("end", "length"), DONE]), "completions", None, 5),
        )
    ]
    one += [
        [recorded(body)]
        for body in (
            numbered_,
            b"".join(numbered(1, 2, 3, 4, 5, told=5)[:-2]) + DONE,
            b"".join(numbered(1, 2, 3, 4, told=5)),
            FOREIGN,
            b"".join(numbered(1, 3, 4, 5, 6)),
            numbered_.replace(b"#3", b"#x"),
            b"",
            b"".join(answer()[1:]).replace(b'"finish_reason":"length"', b'"finish_reason":null'),
            b"".join([*answer()[:-3], DONE]),
            chunk("a") + ERROR,
        )
    ]
    whole = b"".join(answer())
    one += [
        [recorded(whole, **changes)]
        for changes in (
            {"ending": Ending.CLOSED},
            {"status": 500},
            {"status": 500, "ending": Ending.RESET},
            {"status": None, "ending": Ending.REFUSED, "error": "Connect call failed"},
            {"ending": Ending.RESET, "error": "x" * 300},
            {"content_type": "text/event-stream"},
            {"content_type": "", "status": None},
            {"sent": None, "ending": Ending.REFUSED},
            {"sizes": ["x"]},
            {"sizes": [3]},
            {"waits": [1, 1]},
            {"parts": 2},
        )
    ]
    head = Part(id="0-0", waits=[5_000], sizes=[100], body=pack_body(BODY[:100]))
    rest = recorded(BODY[100:], parts=1, expected_tokens=30)
    sent = Sent(id="0-0", due=1000.0, sent=1000.5)
    done = ClientDone(at=1.0, sent=2, recorded=2)
    twice = b"".join(numbered(1, 1, 2, 3, 4)[:-2])
    told = recorded(usage(5) + DONE, parts=1)
    long = b": " + b"x" * 60_000 + b"\n"
    one += [
        [
            Part(id="0-0", waits=[1], sizes=[len(long)], body=pack_body(long)),
            recorded(long, parts=1),
        ],
        [recorded(BODY, expected_tokens=30, read_sizes=SIZES)],
        [sent, head, rest],
        [head, head, rest],
        [rest],
        [sent],
        [sent, head],
        [head],
        [recorded(whole), sent],
        [sent, recorded(whole), sent],
        [recorded(whole), done],
        [sent, done],
        [recorded(numbered_), recorded(b"".join(numbered(1, 2, 3, 4, 5, stream="9")))],
        [sent, PartLine("0-0", to_line(head)), rest],
        [sent, PartLine("0-0", b"{")],
        [sent, Part(id="0-0", waits=[9], sizes=SIZES[:1], body=pack_body(BODY[: SIZES[0]]))],
        [PartLine("0-0", b"{"), rest],
        [recorded(whole), recorded(FOREIGN)],
        [Part(id="0-0", waits=[1], sizes=[len(twice)], body=pack_body(twice)), told],
        [recorded(b"".join([chunk(" 0-0#1", "length"), DONE]), expected_tokens=None)],
    ]
    one += [[header(max_model_len=context), recorded(body)] for body, context in SHORT.values()]
    one += [[header(max_model_len=10), recorded(FILLED)]]
    return one


def told_by(records: list[Record | PartLine]) -> object:
    try:
        checker = streams.StreamChecker(context=10)
        held = [(checker.take(record), checker.held, checker.strays) for record in records]
        streams_ = [record for record in records if isinstance(record, Stream)]
        alone = [streams.judge_stream(record) for record in streams_]
        paces = [verdict.seconds_per_token for verdict in alone]
        left = list(checker.left()), checker.unended, checker.held
        told = list(streams.judge_streams(records))  # type: ignore[arg-type] # lines, too
    except Exception as error:  # noqa: BLE001 - a mutant that crashes is told from the real one
        return error
    return told, alone, paces, held, left


def test_no_step_to_the_verdict_on_a_stream_can_be_changed_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MOST_BODY", 100_000)
    expected = [(records, told_by(records)) for records in cases()]
    assert not any(isinstance(told, Exception) for _, told in expected)
    alive = []
    for mutant in mutants(streams):
        with mutant.at_work():
            if all(told_by(records) == told for records, told in expected):
                alive.append(mutant.name)
    assert set(alive) - set(ALIKE) == set()
