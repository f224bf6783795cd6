"""An answer that is recognised as a whole says what reading it event by event says."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drainproof.judge.answers import Answer, read_answer, read_any_answer
from drainproof.streams.mask import without_text
from tests.streams.bodies import DONE, ERROR, answer, chat_answer, chunk, tgi_answer, usage

if TYPE_CHECKING:
    from collections.abc import Callable

MADE: list[Callable[[int, str], list[bytes]]] = [answer, chat_answer, tgi_answer]
STRANGE = [
    ERROR,
    DONE,
    usage(3),
    usage(3, 9),
    chunk("more"),
    chunk(" x", "abort"),
    chunk(" x", "stop"),
    chunk(""),
    b": ping\n\n",
    b"data: {half\n\n",
    b"event: error\ndata: {}\n\n",
    b'"choices":[{"index":0,"text":" x","finish_reason":null}]}\n\n',
    b"\x00\n\n",
    b"data: [1]\r\n\r\n",
    b"\xef\xbb\xbf",
    b"\n\n",
]


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Draw an answer, often whole, and the sizes of the reads that bring it."""
    texts = draw(st.lists(st.text("ab 🙂\\", max_size=4), min_size=1, max_size=12))
    make = draw(st.sampled_from(MADE))
    events = [one for text in texts for one in make(3, text)[:-3]]
    events += make(3, texts[0])[-3:]
    if draw(st.booleans()):
        place = draw(st.integers(0, len(events)))
        lost = draw(st.integers(0, 1))
        events[place : place + lost] = draw(st.lists(st.sampled_from(STRANGE), max_size=2))
    if draw(st.booleans()):
        events = [without_text(one, "0-0") for one in events]
    pieces = list(events)
    for _ in range(draw(st.integers(0, 3))):
        if len(pieces) > 1:
            place = draw(st.integers(0, len(pieces) - 2))
            pieces[place : place + 2] = [b"".join(pieces[place : place + 2])]
    if draw(st.booleans()):
        pieces = pieces[: draw(st.integers(0, len(pieces)))]
    body = b"".join(pieces)
    if draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))]
        return body, [len(body)] if body else []
    return body, [len(piece) for piece in pieces if piece]


def plain(answer_: Answer, reads: list[int]) -> Answer:
    """Return an answer that says where its events end even if each read brought one."""
    if answer_.ends is None:
        return msgspec.structs.replace(answer_, ends=list(accumulate(reads)))
    return answer_


LONG = [chunk("x" * (number % 4 + 1)) for number in range(20)]
WHOLE = [*LONG, chunk("x", "length"), usage(21), DONE]
TOLD = [*LONG, chunk("x", "length"), usage(21, 7), DONE]


@given(bodies())
@example((b"".join(WHOLE), [len(one) for one in WHOLE]))
@example((b"".join(LONG), [len(one) for one in LONG]))
@example((b"".join(TOLD), [len(one) for one in TOLD]))
@example((b"".join(WHOLE), [*[len(one) for one in WHOLE[:-3]], len(b"".join(WHOLE[-3:]))]))
def test_both_ways_of_reading_say_the_same(case: tuple[bytes, list[int]]) -> None:
    body, reads = case
    assert plain(read_answer(body, reads), reads) == read_any_answer(body)


def test_the_tokens_of_the_prompt_are_read_with_those_of_the_answer() -> None:
    read = read_answer(b"".join(TOLD), [len(one) for one in TOLD])
    assert (read.tokens, read.prompt_tokens) == (21, 7)


@pytest.mark.parametrize("events", [WHOLE, WHOLE[:-1], LONG], ids=["whole", "no end", "cut"])
def test_the_short_way_is_taken_for_a_usual_answer(events: list[bytes]) -> None:
    assert read_answer(b"".join(events), [len(one) for one in events]).ends is None


def test_a_line_that_only_looks_like_the_rest_of_an_event_is_not_taken_for_one() -> None:
    known = [len(one) for one in WHOLE]
    read_answer(b"".join(WHOLE), known)
    tail = LONG[0].partition(b'"choices"')
    line = b"".join(tail[1:])
    body = b"".join([WHOLE[0], *[line] * 5, *WHOLE[-3:]])
    reads = [len(WHOLE[0]), *[len(line)] * 5, *known[-3:]]
    assert plain(read_answer(body, reads), reads) == read_any_answer(body)
