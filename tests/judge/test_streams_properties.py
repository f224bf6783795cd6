"""For any stream of a correct server: it passes however it is split, and one flaw never does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from drainproof.judge.streams import Outcome, judge_stream
from drainproof.streams.history import Ending
from tests.streams.bodies import DONE, ERROR, answer, recorded, usage

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = st.text(max_size=12)
TOKENS = st.integers(min_value=1, max_value=30)


@st.composite
def split(draw: st.DrawFn, size: int) -> list[int]:
    """Draw the sizes of the reads that bring a body of this size."""
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), max_size=20)))
    return [end - start for start, end in zip([0, *cuts], [*cuts, size], strict=True)]


@given(
    st.data(),
    TOKENS,
    TEXT,
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
    st.sampled_from([Ending.COMPLETE, Ending.CLOSED]),
)
def test_any_correct_stream_passes_however_it_is_split(
    data: st.DataObject, tokens: int, text: str, end: bytes, how: Ending
) -> None:
    comment = b": ping\n\n"
    body = comment.join(answer(tokens, text)).replace(b"\n", end)
    stream = recorded(
        body,
        read_sizes=data.draw(split(len(body))),
        expected_tokens=tokens,
        ending=how,
    )
    assert judge_stream(stream).outcome is Outcome.COMPLETE


Flaw = tuple[bytes, dict[str, Any]]


def cut(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    body = b"".join(events)
    return body[: draw(st.integers(0, len(body) - 1))], {}


def lost_end(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    """Lose one of the last three events: the reason, the usage, the end marker."""
    lost = draw(st.integers(1, 3))
    return b"".join(events[:-lost] + events[len(events) - lost + 1 :]), {}


def error(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    place = draw(st.integers(0, len(events)))
    return b"".join([*events[:place], ERROR, *events[place:]]), {}


def garbled(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    """Break one event's JSON by losing its closing brace."""
    place = draw(st.integers(0, len(events) - 2))
    return b"".join([*events[:place], events[place][:-3] + b"\n\n", *events[place + 1 :]]), {}


def abort(_: st.DrawFn, events: list[bytes]) -> Flaw:
    return b"".join(events).replace(b'"length"', b'"abort"'), {}


def miscounted(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    wrong = draw(st.integers(0, 60).filter(lambda count: count != len(events) - 2))
    return b"".join([*events[:-2], usage(wrong), DONE]), {}


def doubled_end(_: st.DrawFn, events: list[bytes]) -> Flaw:
    return b"".join([*events, DONE]), {}


def ending(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    bad = [one for one in Ending if one not in {Ending.COMPLETE, Ending.CLOSED}]
    return b"".join(events), {"ending": draw(st.sampled_from(bad))}


def status(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    wrong = st.integers(100, 599).filter(lambda code: code != 200)
    return b"".join(events), {"status": draw(wrong)}


def content_type(draw: st.DrawFn, events: list[bytes]) -> Flaw:
    return b"".join(events), {"content_type": draw(st.sampled_from(["", "text/html", "text/"]))}


def lost_part(_: st.DrawFn, events: list[bytes]) -> Flaw:
    return b"".join(events), {"parts": 1}


FLAWS: list[Callable[[st.DrawFn, list[bytes]], Flaw]] = [
    cut,
    lost_end,
    error,
    garbled,
    abort,
    miscounted,
    doubled_end,
    ending,
    status,
    content_type,
    lost_part,
]


@st.composite
def flawed(draw: st.DrawFn) -> tuple[int, Flaw]:
    tokens = draw(TOKENS)
    return tokens, draw(st.sampled_from(FLAWS))(draw, answer(tokens, draw(TEXT)))


@given(flawed())
def test_any_single_flaw_is_found(case: tuple[int, Flaw]) -> None:
    tokens, (body, changes) = case
    stream = replace(recorded(body, expected_tokens=tokens), **changes)
    assert judge_stream(stream).outcome is not Outcome.COMPLETE


@given(TOKENS, st.integers(1, 30), st.integers(1, 60))
def test_an_answer_of_fewer_tokens_is_whole_only_if_it_fills_the_context(
    tokens: int, prompt: int, context: int
) -> None:
    """Of 30 tokens that were asked for."""
    stream = recorded(b"".join(answer(tokens, prompt=prompt)), expected_tokens=30)
    whole = tokens == 30 or prompt + tokens == context
    told = judge_stream(stream, context=context).outcome
    assert told is (Outcome.COMPLETE if whole else Outcome.SHORT)


@given(flawed(), st.integers(1, 30))
def test_any_single_flaw_is_found_in_an_answer_that_fills_the_context(
    case: tuple[int, Flaw], prompt: int
) -> None:
    """Of 99 tokens that were asked for."""
    tokens, (body, changes) = case
    told = b'"prompt_tokens":%d,"completion_tokens"' % prompt
    body = body.replace(b'"completion_tokens"', told)
    stream = replace(recorded(body, expected_tokens=99), **changes)
    assert judge_stream(stream, context=prompt + tokens).outcome is not Outcome.COMPLETE


@given(st.binary(max_size=200))
def test_no_bytes_crash_the_checker_or_pass_it(body: bytes) -> None:
    assert judge_stream(recorded(body)).outcome is not Outcome.COMPLETE
