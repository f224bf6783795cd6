"""Each way in which a stream can end, made by a real server, goes through to the checker."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from drainproof.judge.streams import Effect, Outcome, StreamVerdict, judge_streams
from drainproof.streams.history import Ending
from tests.streams.bodies import DONE, ERROR, answer, chunk, usage
from tests.streams.raw import Peer, Script, play

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHOLE = b"".join(answer())
NAMED: dict[str, tuple[Script, Outcome, Ending, Effect, bool]] = {}
"""By name: what the server does, and what must come of it; the last: silently truncated."""


def ends_as(
    outcome: Outcome, ending: Ending, effect: Effect = Effect.DROPPED, *, silent: bool = False
) -> Callable[[Script], Script]:
    def register(script: Script) -> Script:
        NAMED[getattr(script, "__name__", "")] = (script, outcome, ending, effect, silent)
        return script

    return register


@ends_as(Outcome.COMPLETE, Ending.COMPLETE, Effect.WHOLE)
async def chunked_and_whole(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer())
    await peer.last_chunk()
    await peer.until_closed()


@ends_as(Outcome.COMPLETE, Ending.COMPLETE, Effect.WHOLE)
async def whole_with_content_length(peer: Peer) -> None:
    await peer.head(f"Content-Length: {len(WHOLE)}")
    await peer.send(WHOLE)
    await peer.until_closed()


@ends_as(Outcome.COMPLETE, Ending.CLOSED, Effect.WHOLE)
async def whole_until_close(peer: Peer) -> None:
    await peer.head("Connection: close")
    await peer.send(WHOLE)


@ends_as(Outcome.COMPLETE, Ending.COMPLETE, Effect.WHOLE)
async def whole_after_an_interim_answer(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await chunked_and_whole(peer)


@ends_as(Outcome.COMPLETE, Ending.COMPLETE, Effect.WHOLE)
async def whole_and_then_garbage(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:-1])
    await peer.send(b"e\r\n" + DONE + b"\r\n0\r\n\r\n\x00garbage")


@ends_as(Outcome.COMPLETE, Ending.COMPLETE, Effect.WHOLE)
async def whole_in_single_bytes(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*(bytes([byte]) for byte in WHOLE))
    await peer.last_chunk()


@ends_as(Outcome.NO_DONE, Ending.COMPLETE, silent=True)
async def chunked_without_done(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:-1])
    await peer.last_chunk()


@ends_as(Outcome.NO_FINISH_REASON, Ending.CLOSED, silent=True)
async def cut_until_close(peer: Peer) -> None:
    await peer.head("Connection: close")
    await peer.send(*answer()[:2])


@ends_as(Outcome.TRUNCATED_FRAMING, Ending.EOF)
async def fin_within_a_chunk(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2])
    await peer.send(b"ff\r\ndata: {")


@ends_as(Outcome.TRUNCATED_FRAMING, Ending.EOF)
async def fin_between_chunks(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer())


@ends_as(Outcome.TRUNCATED_FRAMING, Ending.EOF)
async def fin_before_the_content_length(peer: Peer) -> None:
    await peer.head(f"Content-Length: {len(WHOLE) + 1}")
    await peer.send(WHOLE)


@ends_as(Outcome.TRUNCATED_FRAMING, Ending.EOF, Effect.NOT_SERVED)
async def fin_within_the_head(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Ty")


@ends_as(Outcome.RESET, Ending.RESET)
async def rst_in_the_middle(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2])
    peer.reset()


@ends_as(Outcome.RESET, Ending.RESET, Effect.NOT_SERVED)
async def rst_without_an_answer(peer: Peer) -> None:
    peer.reset()


@ends_as(Outcome.PARTIAL_EVENT, Ending.COMPLETE, silent=True)
async def half_an_event_and_a_clean_end(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2], answer()[2][:30])
    await peer.last_chunk()


@ends_as(Outcome.IN_BAND_ERROR, Ending.COMPLETE, silent=True)
async def error_in_band_and_done(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2], ERROR, DONE)
    await peer.last_chunk()


@ends_as(Outcome.ABORTED, Ending.COMPLETE, silent=True)
async def finish_reason_abort(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(chunk("a"), chunk("", "abort"), usage(1), DONE)
    await peer.last_chunk()


@ends_as(Outcome.NO_FINISH_REASON, Ending.COMPLETE, silent=True)
async def done_without_a_finish_reason(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2], DONE)
    await peer.last_chunk()


@ends_as(Outcome.SHORT, Ending.COMPLETE, silent=True)
async def short_by_usage(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer(4))
    await peer.last_chunk()


@ends_as(Outcome.REJECTED, Ending.COMPLETE, Effect.NOT_SERVED)
async def status_500(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nnope")


@ends_as(Outcome.REJECTED, Ending.CLOSED, Effect.NOT_SERVED)
async def status_503(peer: Peer) -> None:
    await peer.send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")


@ends_as(Outcome.NOT_A_STREAM, Ending.COMPLETE, Effect.NOT_SERVED, silent=True)
async def wrong_content_type(peer: Peer) -> None:
    await peer.head("Content-Length: 2", media="application/json")
    await peer.send(b"{}")


@ends_as(Outcome.NO_RESPONSE, Ending.NO_RESPONSE, Effect.NOT_SERVED)
async def close_without_an_answer(_: Peer) -> None:
    pass


@ends_as(Outcome.MALFORMED, Ending.MALFORMED, Effect.NOT_SERVED)
async def not_http_at_all(peer: Peer) -> None:
    await peer.send(b"\x16\x03\x01 hello")
    await peer.until_closed()


@ends_as(Outcome.MALFORMED, Ending.MALFORMED)
async def a_chunk_size_that_is_none(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer()[:2])
    await peer.send(b"zz\r\n")
    await peer.until_closed()


def only(verdicts: list[StreamVerdict]) -> StreamVerdict:
    assert len(verdicts) == 1
    return verdicts[0]


@pytest.mark.parametrize("name", NAMED)
def test_the_checker_names_how_a_stream_ended(name: str, tmp_path: Path) -> None:
    script, outcome, ending, effect, silent = NAMED[name]
    verdict = only(list(judge_streams(play(script, tmp_path))))
    assert (verdict.outcome, verdict.ending, verdict.effect, verdict.silently_truncated) == (
        outcome,
        ending,
        effect,
        silent,
    )


async def silence_after_the_head(peer: Peer) -> None:
    await peer.head()
    await peer.until_closed()


async def silence(peer: Peer) -> None:
    await peer.until_closed()


@pytest.mark.parametrize(
    ("script", "effect"),
    [(silence_after_the_head, Effect.DROPPED), (silence, Effect.NOT_SERVED)],
)
def test_a_server_that_falls_silent_is_given_up_on(
    script: Script, effect: Effect, tmp_path: Path
) -> None:
    verdict = only(list(judge_streams(play(script, tmp_path, stall_s=0.2))))
    assert (verdict.outcome, verdict.effect) == (Outcome.STALLED, effect)


def test_a_stream_that_outlasts_the_settling_is_cancelled_and_counted_apart(
    tmp_path: Path,
) -> None:
    verdict = only(list(judge_streams(play(silence_after_the_head, tmp_path, settle_s=0.1))))
    assert (verdict.outcome, verdict.effect) == (Outcome.CANCELLED, Effect.UNTOLD)


def test_a_port_that_nobody_listens_on_refuses(tmp_path: Path) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        verdict = only(list(judge_streams(play(silence, tmp_path, url=url))))
    assert (verdict.outcome, verdict.effect) == (Outcome.REFUSED, Effect.NOT_SERVED)


def test_a_server_that_never_accepts_refuses_within_the_time_to_connect(tmp_path: Path) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:  # fill the queue of connections that nobody accepts
            sock.settimeout(0)
            sock.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        records = play(silence, tmp_path, url=url, connect_timeout_s=0.2)
        for sock in waiting:
            sock.close()
    verdict = only(list(judge_streams(records)))
    assert (verdict.outcome, verdict.detail) == (Outcome.REFUSED, "no connection within 0.2 s")


def test_a_name_that_does_not_exist_refuses(tmp_path: Path) -> None:
    verdict = only(list(judge_streams(play(silence, tmp_path, url="http://nowhere.invalid"))))
    assert verdict.outcome is Outcome.REFUSED
