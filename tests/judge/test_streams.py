"""The stream checker on records: each condition alone, what it reads, and what it never lets by."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.answers import read_events
from drainproof.judge.streams import (
    CONDITIONS,
    EXPLANATIONS,
    Effect,
    Outcome,
    judge_stream,
    judge_streams,
)
from drainproof.streams.history import ClientDone, Ending, Part, Sent, Stream, pack_body
from tests.streams.bodies import (
    DONE,
    ERROR,
    OBJECT_ERROR,
    answer,
    chat_answer,
    chunk,
    event,
    recorded,
    tgi_answer,
    usage,
)
from tests.streams.raw import header

if TYPE_CHECKING:
    from drainproof.streams.history import Record

WHOLE = b"".join(answer())


def numbered(*numbers: int, stream: str = "0-0", told: int | None = None) -> list[bytes]:
    """Return an answer of an engine that numbers its tokens, with these numbers."""
    *first, last = [f" {stream}#{number}" for number in numbers]
    count = len(numbers) if told is None else told
    return [*map(chunk, first), chunk(last, "length"), usage(count), DONE]


ONE_FLAW: dict[Outcome, Stream] = {
    Outcome.REFUSED: recorded(WHOLE, ending=Ending.REFUSED),
    Outcome.NO_RESPONSE: recorded(WHOLE, ending=Ending.NO_RESPONSE),
    Outcome.NOT_A_STREAM: recorded(WHOLE, content_type="application/json"),
    Outcome.IN_BAND_ERROR: recorded(b"".join([ERROR, *answer()])),
    Outcome.ABORTED: recorded(WHOLE.replace(b'"length"', b'"abort"')),
    Outcome.MALFORMED_EVENT: recorded(b"".join([b"data: {half\n\n", *answer()])),
    Outcome.CANCELLED: recorded(WHOLE, ending=Ending.CANCELLED),
    Outcome.STALLED: recorded(WHOLE, ending=Ending.STALLED),
    Outcome.RESET: recorded(WHOLE, ending=Ending.RESET),
    Outcome.MALFORMED: recorded(WHOLE, ending=Ending.MALFORMED),
    Outcome.TRUNCATED_FRAMING: recorded(WHOLE, ending=Ending.EOF),
    Outcome.PARTIAL_EVENT: recorded(WHOLE + b"data: {}"),
    Outcome.NO_FINISH_REASON: recorded(WHOLE.replace(b'"length"', b"null")),
    Outcome.NO_DONE: recorded(b"".join(answer()[:-1])),
    Outcome.NO_USAGE: recorded(b"".join([*answer()[:-2], DONE])),
    Outcome.SHORT: recorded(b"".join(answer(4))),
    Outcome.LONG: recorded(b"".join(answer(6))),
    Outcome.WRONG_TOKENS: recorded(b"".join(numbered(1, 2, 2, 4, 5))),
}
"""For each outcome a stream that is whole but for that one thing."""


def test_every_condition_has_a_stream_that_breaks_it_alone() -> None:
    assert {*ONE_FLAW, Outcome.REJECTED} == {condition.outcome for condition in CONDITIONS}


@pytest.mark.parametrize("outcome", ONE_FLAW)
def test_a_stream_with_one_flaw_is_named_after_it(outcome: Outcome) -> None:
    assert judge_stream(ONE_FLAW[outcome]).outcome is outcome


@pytest.mark.parametrize("outcome", ONE_FLAW)
def test_a_checker_without_a_condition_would_pass_what_only_it_finds(outcome: Outcome) -> None:
    mutant = [condition for condition in CONDITIONS if condition.outcome is not outcome]
    assert judge_stream(ONE_FLAW[outcome], conditions=mutant).outcome is Outcome.COMPLETE


def test_a_checker_that_did_not_look_at_the_status_would_name_an_error_page_otherwise() -> None:
    page = recorded(b"", status=503, content_type="text/html")
    mutant = [condition for condition in CONDITIONS if condition.outcome is not Outcome.REJECTED]
    names = judge_stream(page).outcome, judge_stream(page, conditions=mutant).outcome
    assert names == (Outcome.REJECTED, Outcome.NO_FINISH_REASON)


def test_every_outcome_is_explained() -> None:
    assert set(EXPLANATIONS) == set(Outcome)


def test_a_whole_stream_is_complete() -> None:
    verdict = judge_stream(recorded(WHOLE))
    assert (verdict.outcome, verdict.effect, verdict.tokens) == (
        Outcome.COMPLETE,
        Effect.WHOLE,
        5,
    )


def test_tokens_come_from_usage_and_not_from_counting_events() -> None:
    body = b"".join([chunk("two at once"), chunk("and three", "length"), usage(5), DONE])
    verdict = judge_stream(recorded(body))
    assert (verdict.outcome, verdict.tokens, verdict.events) == (Outcome.COMPLETE, 5, 3)


def test_a_stream_of_any_length_needs_no_usage() -> None:
    body = b"".join([chunk("end", "stop"), DONE])
    assert judge_stream(recorded(body, expected_tokens=None)).outcome is Outcome.COMPLETE


def test_a_close_delimited_answer_with_its_end_marker_is_whole() -> None:
    assert judge_stream(recorded(WHOLE, ending=Ending.CLOSED)).outcome is Outcome.COMPLETE


@pytest.mark.parametrize(
    "error",
    [
        ERROR,
        OBJECT_ERROR,
        event({"error": "overloaded", "error_type": "generation"}),
        b"event: error\ndata: gone\n\n",
        b'event: error\ndata: {"message": "gone"}\n\n',
        b"event: error\n\n",
    ],
)
def test_every_form_of_error_event_is_found(error: bytes) -> None:
    verdict = judge_stream(recorded(b"".join([*answer()[:2], error, DONE])))
    assert verdict.outcome is Outcome.IN_BAND_ERROR


def test_an_error_in_band_is_told_in_the_server_own_words() -> None:
    verdict = judge_stream(recorded(ERROR + DONE))
    assert verdict.detail == "EngineCore died (code 500)"


def test_an_error_that_is_null_is_none() -> None:
    body = b"".join([chunk("a", error=None), *answer()])
    assert judge_stream(recorded(body)).outcome is Outcome.COMPLETE


@pytest.mark.parametrize(
    "extra",
    [
        b"data: [1]\n\n",
        b"data: \xff\n\n",
        b"data: hello\n\n",
        event({"choices": 3}),
        event({"choices": ["text"]}),
        event({"choices": [{"index": "x"}]}),
    ],
)
def test_an_event_that_is_no_chunk_is_malformed(extra: bytes) -> None:
    verdict = judge_stream(recorded(b"".join([chunk("a"), extra, *answer()])))
    assert verdict.outcome is Outcome.MALFORMED_EVENT


def test_output_after_the_finish_reason_is_malformed() -> None:
    body = b"".join([*answer()[:-1], chunk("more"), DONE])
    assert judge_stream(recorded(body)).outcome is Outcome.MALFORMED_EVENT


@pytest.mark.parametrize("extra", [DONE, chunk("more")])
def test_anything_after_done_is_malformed(extra: bytes) -> None:
    assert judge_stream(recorded(WHOLE + extra)).outcome is Outcome.MALFORMED_EVENT


def test_each_choice_needs_its_own_finish_reason() -> None:
    second = event({"choices": [{"index": 1, "text": "b", "finish_reason": None}]})
    verdict = judge_stream(recorded(second + WHOLE))
    assert verdict.outcome is Outcome.NO_FINISH_REASON


def test_evidence_holds_no_token_text() -> None:
    secret = b"data: {secret token\n\n"
    assert "secret" not in judge_stream(recorded(secret + WHOLE)).detail


def test_what_the_server_said_names_a_stream_before_how_its_connection_ended() -> None:
    verdict = judge_stream(recorded(chunk("a") + ERROR, ending=Ending.RESET))
    assert verdict.outcome is Outcome.IN_BAND_ERROR


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.NOT_A_STREAM,
        Outcome.IN_BAND_ERROR,
        Outcome.ABORTED,
        Outcome.MALFORMED_EVENT,
        Outcome.PARTIAL_EVENT,
        Outcome.NO_FINISH_REASON,
        Outcome.NO_DONE,
        Outcome.SHORT,
        Outcome.LONG,
        Outcome.WRONG_TOKENS,
    ],
)
def test_what_a_naive_client_takes_for_whole_is_silently_truncated(outcome: Outcome) -> None:
    assert judge_stream(ONE_FLAW[outcome]).silently_truncated


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.REFUSED,
        Outcome.NO_RESPONSE,
        Outcome.CANCELLED,
        Outcome.STALLED,
        Outcome.RESET,
        Outcome.MALFORMED,
        Outcome.TRUNCATED_FRAMING,
        Outcome.NO_USAGE,
    ],
)
def test_what_a_client_can_see_or_nobody_can_tell_is_not_silent(outcome: Outcome) -> None:
    assert not judge_stream(ONE_FLAW[outcome]).silently_truncated


# ── Tokens that are numbered ────────────────────────────────────────────────────────────────────

FOREIGN = b"".join([*numbered(1, 2)[:1], chunk(" 0-9#2"), *numbered(1, 2, 3, 4, 5)[2:]])
MASKED = FOREIGN.replace(b" 0-9#2", b"xxxxxx")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"".join(numbered(1, 2, 2, 3, 4)), "in place of token 3 came token 2"),
        (b"".join(numbered(1, 3, 4, 5, 6)), "in place of token 2 came token 3"),
        (b"".join(numbered(2, 3, 4, 5, 6)), "in place of token 1 came token 2"),
        (b"".join(numbered(1, 2, 3, 4, told=5)), "the last of 5 tokens is number 4"),
        (
            b"".join(numbered(1, 2, 3, 4, 5)).replace(b"#3", b"#x"),
            "in place of token 3 came one that is not this stream's",
        ),
        (FOREIGN, "in place of token 2 came one that is not this stream's"),
        (MASKED, "in place of token 2 came one that is not this stream's"),
    ],
)
def test_a_gap_a_repeat_and_a_foreign_token_are_found(body: bytes, words: str) -> None:
    verdict = judge_stream(recorded(body))
    assert (verdict.outcome, verdict.detail) == (Outcome.WRONG_TOKENS, words)
    assert (verdict.effect, verdict.silently_truncated) == (Effect.DROPPED, True)


def test_an_answer_of_another_stream_is_found_once_the_engine_is_known_to_number() -> None:
    records = [
        recorded(b"".join(numbered(1, 2, 3, 4, 5))),
        recorded(b"".join(numbered(1, 2, 3, 4, 5, stream="0-7")), id="0-1"),
    ]
    outcomes = [verdict.outcome for verdict in judge_streams(records)]
    assert outcomes == [Outcome.COMPLETE, Outcome.WRONG_TOKENS]


def test_an_engine_that_does_not_number_its_tokens_is_not_asked_to() -> None:
    assert judge_stream(recorded(WHOLE)).outcome is Outcome.COMPLETE


# ── Other APIs ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "api", "outcome"),
    [
        (chat_answer(), "chat", Outcome.COMPLETE),
        (chat_answer()[:-1], "chat", Outcome.NO_DONE),
        (tgi_answer(), "tgi", Outcome.COMPLETE),
        (tgi_answer()[:-1], "tgi", Outcome.NO_FINISH_REASON),
        (tgi_answer(4), "tgi", Outcome.SHORT),
        (tgi_answer(6), "tgi", Outcome.LONG),
        (tgi_answer(), "completions", Outcome.NO_DONE),
    ],
)
def test_each_api_has_its_own_end(body: list[bytes], api: str, outcome: Outcome) -> None:
    fixed = None if api == "tgi" else 5
    stream = recorded(b"".join(body), api=api, expected_tokens=fixed, max_tokens=5)
    assert judge_stream(stream).outcome is outcome


def test_a_stream_that_ends_by_itself_before_the_most_that_it_may_say_is_whole() -> None:
    body = b"".join([chunk("end", "stop"), usage(1), DONE])
    stream = recorded(body, expected_tokens=None, max_tokens=5)
    assert judge_stream(stream).outcome is Outcome.COMPLETE


# ── An answer that fills the engine's context ───────────────────────────────────────────────────

FILLED = b"".join(answer(3, prompt=7))
"""As much as a context of 10 tokens allows, of 5 tokens that were asked for."""


@pytest.mark.parametrize("fixed", [5, None])
def test_an_answer_that_fills_the_context_is_whole(fixed: int | None) -> None:
    stream = recorded(FILLED, expected_tokens=fixed, max_tokens=5)
    verdict = judge_stream(stream, context=10)
    assert (verdict.outcome, verdict.effect, verdict.silently_truncated) == (
        Outcome.COMPLETE,
        Effect.WHOLE,
        False,
    )


SHORT = {
    "the context is unknown": (FILLED, None),
    "the context is larger": (FILLED, 11),
    "the prompt alone is said to be more": (FILLED, 9),
    "the prompt is not told": (b"".join(answer(3)), 3),
    "the prompt is said to be nothing": (b"".join(answer(3, prompt=0)), 3),
    "the prompt is no number": (FILLED.replace(b'"prompt_tokens":7', b'"prompt_tokens":"7"'), 10),
    "the engine stopped by itself": (FILLED.replace(b'"length"', b'"stop"'), 10),
}
"""Answers of 3 tokens of 5, and the engine's context, which none of them is seen to fill."""


@pytest.mark.parametrize("why", SHORT)
def test_an_answer_that_ends_before_its_length_and_the_context_is_short(why: str) -> None:
    body, context = SHORT[why]
    verdict = judge_stream(recorded(body), context=context)
    assert (verdict.outcome, verdict.detail) == (Outcome.SHORT, "3 of 5 tokens")
    assert verdict.silently_truncated


def test_an_answer_that_fills_the_context_is_whole_only_if_nothing_else_is_wrong() -> None:
    cut = b"".join(answer(3, prompt=7)[:-1])
    assert judge_stream(recorded(cut), context=10).outcome is Outcome.NO_DONE


@pytest.mark.parametrize(
    ("target", "outcome"), [({"max_model_len": 10}, Outcome.COMPLETE), ({}, Outcome.SHORT)]
)
def test_the_context_is_what_the_header_of_a_history_tells(
    target: dict[str, int], outcome: Outcome
) -> None:
    records: list[Record] = [header(**target), recorded(FILLED)]
    assert [verdict.outcome for verdict in judge_streams(records)] == [outcome]


# ── Reading server-sent events ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_may_end_in_three_ways(end: bytes) -> None:
    assert judge_stream(recorded(WHOLE.replace(b"\n", end))).outcome is Outcome.COMPLETE


def test_a_byte_order_mark_comments_and_other_fields_are_passed_over() -> None:
    body = b"\xef\xbb\xbf: hello\nid: 7\nretry: 10\nname\n" + WHOLE + b": bye\n\n"
    assert judge_stream(recorded(body)).outcome is Outcome.COMPLETE


def test_data_over_several_lines_is_one_event() -> None:
    events, left = read_events(b'data: {"a":\ndata:1}\ndata\n\n')
    assert ([event.data for event in events], left) == ([b'{"a":\n1}\n'], "")


def test_only_one_space_after_the_colon_belongs_to_the_field() -> None:
    assert read_events(b"data:  x\n\n")[0][0].data == b" x"


def test_events_end_where_their_blank_line_does() -> None:
    assert [event.end for event in read_events(b"data: a\n\ndata: b\r\n\r\n")[0]] == [9, 20]


@pytest.mark.parametrize("cut", [b"d", b"data: [DONE]", b"data: [DONE]\n", b": pi", b"id: 3\n"])
def test_an_event_without_its_blank_line_is_partial(cut: bytes) -> None:
    assert judge_stream(recorded(WHOLE + cut)).outcome is Outcome.PARTIAL_EVENT


def test_a_line_separator_within_a_token_does_not_end_a_line() -> None:
    body = b"".join(answer(text="\u2028\x85\x0b"))
    assert judge_stream(recorded(body)).outcome is Outcome.COMPLETE


# ── Times ───────────────────────────────────────────────────────────────────────────────────────


def timed() -> Stream:
    """A whole stream sent at 1000.5, whose events come 10 ms apart but for 1 s after the third."""
    events = answer()
    micros = [10_000, 20_000, 30_000, 1_030_000, 1_040_000, 1_050_000, 1_060_000]
    return recorded(WHOLE, read_sizes=[len(event) for event in events], micros=micros)


def test_time_to_first_token_counts_from_when_the_request_was_due() -> None:
    assert judge_stream(timed()).ttft_s == pytest.approx(0.51)


def test_the_longest_gap_is_found_and_dated() -> None:
    verdict = judge_stream(timed())
    assert (verdict.longest_gap_s, verdict.longest_gap_at) == pytest.approx((1.0, 1000.53))


def test_time_per_token_is_taken_over_the_tokens_that_usage_counts() -> None:
    assert judge_stream(timed()).seconds_per_token == pytest.approx(1.03 / 4)


def test_an_event_arrives_with_the_read_that_brings_its_last_byte() -> None:
    sizes = [len(WHOLE) - 1, 1]
    verdict = judge_stream(recorded(WHOLE, read_sizes=sizes))
    assert (verdict.longest_gap_s, verdict.last_token) == pytest.approx((0.01, 1000.51))


def test_a_stream_without_events_has_no_times() -> None:
    verdict = judge_stream(recorded(b""))
    assert (verdict.ttft_s, verdict.longest_gap_s, verdict.seconds_per_token) == (None, None, None)


# ── Histories ───────────────────────────────────────────────────────────────────────────────────


def sent(number: int) -> Sent:
    return Sent(id=f"0-{number}", due=1000.0, sent=1000.5)


def parts_of(stream: Stream, *cuts: int) -> list[Record]:
    """Return the records of a stream whose body was recorded in pieces, cut at these offsets."""
    edges = [0, *cuts, len(WHOLE)]
    pieces = [
        recorded(WHOLE[start:end], id=stream.id, parts=len(cuts)) for start, end in pairwise(edges)
    ]
    heads = [
        Part(id=piece.id, waits=piece.waits, sizes=piece.sizes, body=piece.body)
        for piece in pieces[:-1]
    ]
    return [*heads, pieces[-1]]


def test_a_stream_in_parts_is_judged_as_one() -> None:
    records = parts_of(recorded(WHOLE), 100, 333)
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.COMPLETE]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_stream_that_lost_a_part_is_unaccounted(lost: int) -> None:
    records = parts_of(recorded(WHOLE), 100, 333)
    del records[lost]
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.UNACCOUNTED]


def test_streams_in_parts_do_not_mix() -> None:
    first, second = (parts_of(recorded(WHOLE, id=name), 100, 333) for name in ("a", "b"))
    mixed = [record for pair in zip(first, second, strict=True) for record in pair]
    outcomes = [(verdict.id, verdict.outcome) for verdict in judge_streams(mixed)]
    assert outcomes == [("a", Outcome.COMPLETE), ("b", Outcome.COMPLETE)]


def test_a_request_whose_end_was_never_recorded_is_unaccounted() -> None:
    verdicts = list(judge_streams([sent(0), sent(1), recorded(WHOLE, id="0-1")]))
    assert [(verdict.id, verdict.outcome, verdict.effect) for verdict in verdicts] == [
        ("0-1", Outcome.COMPLETE, Effect.WHOLE),
        ("0-0", Outcome.UNACCOUNTED, Effect.UNTOLD),
    ]


def test_what_an_unaccounted_stream_had_received_is_told() -> None:
    head = parts_of(recorded(WHOLE), 600)[0]
    (verdict,) = judge_streams([sent(0), head])
    assert (verdict.outcome, verdict.first_token) == (Outcome.UNACCOUNTED, 1000.51)


def test_a_stream_of_which_every_record_is_lost_shows_in_the_client_own_count() -> None:
    records: list[Record] = [sent(0), recorded(WHOLE), ClientDone(at=0.0, sent=2, recorded=2)]
    outcomes = [verdict.outcome for verdict in judge_streams(records)]
    assert outcomes == [Outcome.COMPLETE, Outcome.UNACCOUNTED]


def test_parts_of_a_stream_that_nothing_else_is_known_of_are_unaccounted() -> None:
    outcomes = [verdict.outcome for verdict in judge_streams(parts_of(recorded(WHOLE), 600)[:1])]
    assert outcomes == [Outcome.UNACCOUNTED]


@pytest.mark.parametrize(
    "damage",
    [
        {"body": b"!"},
        {"body": b"not packed"},
        {"body": pack_body(WHOLE)[:-8]},
        {"sizes": [3]},
        {"sizes": ["x"]},
        {"sizes": 1},
        {"waits": []},
        {"waits": 1},
    ],
)
def test_a_damaged_record_is_unaccounted_and_not_a_crash(damage: dict[str, Any]) -> None:
    assert judge_stream(replace(recorded(WHOLE), **damage)).outcome is Outcome.UNACCOUNTED
