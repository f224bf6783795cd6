"""What a model says is in no record, and what is left is judged as the whole would be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.judge.streams import Outcome, judge_stream, judge_streams
from drainproof.streams.client import MOST_ITEMS, Exchange, StreamClient
from drainproof.streams.history import Part
from drainproof.streams.mask import without_text
from tests.streams.bodies import answer, chat_answer, chunk, event, recorded, tgi_answer
from tests.streams.raw import Peer, play, settings
from tests.streams.test_client import Kept, Wire, wire
from tests.streams.test_secrets import everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from drainproof.streams.history import Record

ANSWERS = [answer, chat_answer, tgi_answer]


@pytest.mark.parametrize("make", ANSWERS)
@given(text=st.text(min_size=1, max_size=30))
def test_an_answer_keeps_its_size_and_its_shape(
    make: Callable[[int, str], list[bytes]], text: str
) -> None:
    for one in make(3, text):
        masked = without_text(one, "0-0")
        assert len(masked) == len(one)
        _, _, value = masked.strip().partition(b":")
        assert value.strip() == b"[DONE]" or orjson.loads(value)


@pytest.mark.parametrize("make", ANSWERS)
@given(text=st.text('abcdefgh"\\\n🙂ö', min_size=4, max_size=30))
def test_no_text_is_left(make: Callable[[int, str], list[bytes]], text: str) -> None:
    masked = without_text(b"".join(make(3, text)), "0-0")
    assert orjson.dumps(text)[1:-1] not in masked


@given(text=st.text(max_size=30), cut=st.integers(0, 2000))
def test_a_masked_answer_is_judged_as_the_whole_is(text: str, cut: int) -> None:
    body = b"".join(answer(4, text))[:cut]
    whole, masked = (
        judge_stream(recorded(one, expected_tokens=4)) for one in (body, without_text(body, "0-0"))
    )
    assert whole == masked


def test_a_text_that_the_end_cuts_is_masked_up_to_it() -> None:
    assert without_text(b'data: {"text":"a \\"secret', "0-0") == b'data: {"text":"xxxxxxxxxx'


@pytest.mark.parametrize("between", [b":", b": ", b" : ", b" :", b":\n"])
def test_a_text_is_masked_however_its_json_is_spaced(between: bytes) -> None:
    body = b'{"text"%b"a \\"b","index"%b0,"text"%b"c"}' % (between, between, between)
    masked = b'{"text"%b"xxxxx","index"%b0,"text"%b"x"}' % (between, between, between)
    assert without_text(body, "0-0") == masked


def test_a_number_of_a_token_is_masked_and_still_one() -> None:
    (value,) = (orjson.loads(one[5:]) for one in tgi_answer(1))
    (masked,) = (orjson.loads(without_text(one, "0-0")[5:]) for one in tgi_answer(1))
    assert (value["token"]["id"], masked["token"]["id"]) == (29, 11)


@pytest.mark.parametrize("text", [" 0-7#12"])
def test_what_the_simulated_engine_says_is_kept(text: str) -> None:
    assert without_text(chunk(text), "0-7") == chunk(text)


@pytest.mark.parametrize("text", [" 0-8#12", " 0-7#", " 0-7#1 and more", "0-7#12"])
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert text.encode() not in without_text(chunk(text), "0-7")


def sent(tokens: int, pieces: Iterable[bytes], **changes: object) -> list[Record]:
    """Return the records of an answer whose pieces come in a read each."""
    kept = Kept()
    client = StreamClient(settings(1, max_tokens=tokens, **changes), kept)
    made = Exchange(client, "0-0", 1.0, b"", tokens)
    made.connection_made(Wire())  # type: ignore[arg-type] # a transport that goes nowhere
    made.data_received(wire([], 1)[:-5])
    for piece in pieces:
        made.data_received(b"%x\r\n%b\r\n" % (len(piece), piece))
    made.data_received(b"0\r\n\r\n")
    return kept.records


@pytest.mark.parametrize("keep", [True, False])
def test_texts_are_in_the_history_only_if_they_are_asked_for(keep: bool) -> None:  # noqa: FBT001
    records = sent(200, answer(200, " lighthouse"), keep_text=keep)
    assert any(isinstance(one, Part) for one in records)
    assert (b"lighthouse" in everything(records)) is keep
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.COMPLETE]


def test_an_event_that_comes_in_two_reads_is_not_recorded_between_them() -> None:
    """Otherwise the second half of its text would be where nothing says that it is text."""
    body = b"".join(answer(300, " lighthouse"))
    records = sent(300, [body[at : at + 101] for at in range(0, len(body), 101)])
    assert sum(isinstance(one, Part) for one in records) > 1
    assert b"house" not in everything(records)
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.COMPLETE]


def test_a_body_without_lines_is_recorded_in_bounded_memory() -> None:
    records = sent(1, [b"."] * (3 * MOST_ITEMS))
    assert sum(isinstance(one, Part) for one in records) > 1


def test_a_prompt_that_an_error_repeats_is_not_recorded(tmp_path: Path) -> None:
    prompt = 'Tell me about "lighthouses".'

    async def repeating(peer: Peer) -> None:
        body = orjson.dumps({"detail": [{"input": prompt}]})
        head = f"HTTP/1.1 422 No\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        await peer.send(head.encode() + b"\r\n\r\n" + body)

    records = play(repeating, tmp_path, prompts=(prompt,))
    assert b"lighthouses" not in everything(records)
    assert event({"detail": [{"input": "*" * 30}]})[6:-2] in everything(records)


def test_a_prompt_that_an_error_in_band_repeats_is_not_recorded() -> None:
    prompt = "Tell me about lighthouses."
    error = event({"error": {"message": f"cannot answer: {prompt}", "code": 500}})
    records = sent(3, [*answer(3)[:1], error], prompts=(prompt,))
    assert b"lighthouses" not in everything(records)
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.IN_BAND_ERROR]
