"""The client's own conduct: open-loop, bounded, and honest about itself."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import tracemalloc
from time import monotonic_ns
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.errors import UserError
from drainproof.judge.clients import judge_client
from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import history
from drainproof.streams.arrivals import Pattern, due_times
from drainproof.streams.client import PART_AGE_NS, SILENT_NS, Exchange, StreamClient
from drainproof.streams.history import (
    Client,
    ClientDone,
    Clock,
    Ending,
    Part,
    Sent,
    Stream,
    Withheld,
    unpack_body,
)
from drainproof.streams.recorder import Recorder
from tests.streams.bodies import SSE, answer, chat_answer, tgi_answer
from tests.streams.raw import Peer, Script, play, serving, settings

if TYPE_CHECKING:
    from pathlib import Path

R = TypeVar("R")


def of(kind: type[R], records: list[history.Record]) -> list[R]:
    return [record for record in records if isinstance(record, kind)]


async def silence(peer: Peer) -> None:
    await peer.until_closed()


async def whole(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer())
    await peer.last_chunk()


@pytest.mark.parametrize("script", [whole, silence])
def test_requests_are_due_when_the_seed_says_however_slow_the_server(
    script: Script, tmp_path: Path
) -> None:
    records = play(
        script,
        tmp_path,
        arrivals="poisson",
        rate_per_s=300.0,
        duration_s=0.1,
        seed=3,
        settle_s=0,
    )
    start = of(Clock, records)[0].at
    offsets = [stream.due - start for stream in of(Stream, records)]
    pattern = Pattern(rate_per_s=300.0, duration_s=0.1, seed=3)
    planned = [due for _, due in due_times(pattern)]
    assert sorted(offsets) == pytest.approx(planned, abs=1e-5)


@pytest.mark.parametrize(
    ("api", "path", "events"),
    [
        ("completions", b"/v1/completions", answer(4)),
        ("chat", b"/v1/chat/completions", chat_answer(4)),
        ("tgi", b"/generate_stream", tgi_answer(4)),
    ],
)
def test_every_api_is_spoken_and_recorded_under_its_name(
    api: str, path: bytes, events: list[bytes], tmp_path: Path
) -> None:
    asked: list[bytes] = []

    async def spoken(peer: Peer) -> None:
        asked.append(peer.request.split()[1])
        await peer.head()
        await peer.chunks(*events)
        await peer.last_chunk()

    records = play(spoken, tmp_path, api=api, max_tokens=4, keep_text=True)
    (stream,) = of(Stream, records)
    assert (asked, stream.api, stream.ending) == ([path], api, Ending.COMPLETE)
    assert (stream.expected_tokens, stream.max_tokens) == (None if api == "tgi" else 4, 4)
    assert unpack_body(stream.body) == b"".join(events)


def test_each_stream_says_how_many_tokens_it_asked_for(tmp_path: Path) -> None:
    records = play(
        whole, tmp_path, lengths="uniform", max_tokens=900, rate_per_s=100.0, duration_s=0.1
    )
    streams = of(Stream, records)
    assert len({stream.max_tokens for stream in streams}) > 5
    assert all(stream.expected_tokens == stream.max_tokens for stream in streams)


def test_every_request_has_a_connection_of_its_own(tmp_path: Path) -> None:
    ports: list[int] = []

    async def noting(peer: Peer) -> None:
        ports.append(peer.port)
        await whole(peer)
        await peer.until_closed()

    play(noting, tmp_path, rate_per_s=100.0, duration_s=0.05)
    assert len(set(ports)) == 5


def test_requests_beyond_the_cap_are_recorded_as_withheld_and_make_doubt(tmp_path: Path) -> None:
    records = play(
        silence, tmp_path, rate_per_s=1000.0, duration_s=0.01, max_in_flight=3, settle_s=0
    )
    counts = (len(of(Stream, records)), len(of(Withheld, records)))
    assert counts == (3, 7)
    assert any("7 requests were not sent" in one for one in judge_client(records).reasons)


def test_users_who_have_no_answer_yet_ask_nothing_more_and_make_no_doubt(tmp_path: Path) -> None:
    records = play(
        silence,
        tmp_path,
        rate_per_s=1000.0,
        duration_s=0.01,
        max_in_flight=3,
        users=True,
        settle_s=0,
    )
    assert (len(of(Stream, records)), of(Withheld, records)) == (3, [])
    assert not any("were not sent" in one for one in judge_client(records).reasons)


def test_a_client_without_file_descriptors_blames_itself_and_not_the_server(
    tmp_path: Path,
) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    class Starving(Recorder):
        def __call__(self, record: history.Record) -> None:
            if isinstance(record, Clock):  # the loop has what it needs, no connection is open yet
                free = os.dup(0)
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
            super().__call__(record)

    try:
        records = play(silence, tmp_path, recorder=Starving, url="http://127.0.0.1:9")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    withheld = [record.reason for record in of(Withheld, records)]
    assert (of(Stream, records), withheld) == ([], ["[Errno 24] Too many open files"])


def test_a_run_begins_with_its_clock_and_ends_with_its_counts(tmp_path: Path) -> None:
    records = play(whole, tmp_path, rate_per_s=100.0, duration_s=0.05)[1:]
    assert isinstance(records[0], Clock)
    assert records[-1] == ClientDone(at=of(ClientDone, records)[0].at, sent=5, recorded=5)


def test_what_was_received_is_recorded_when_the_client_breaks_down(tmp_path: Path) -> None:
    sent = asyncio.Event()

    async def half(peer: Peer) -> None:
        await peer.head()
        await peer.chunks(*answer()[:3])
        sent.set()
        await peer.until_closed()

    async def broken(descriptor: int) -> None:
        async with serving(half) as port, asyncio.timeout(20):
            client = StreamClient(settings(port, keep_text=True), Recorder(descriptor))
            running = asyncio.create_task(client.run())
            await sent.wait()
            for _ in range(20):  # the bytes are here: the loop has only to come by
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait({running})

    path = tmp_path / "records"
    with path.open("wb") as file:
        asyncio.run(broken(file.fileno()))
    (stream,) = of(Stream, [history.from_line(line) for line in path.read_bytes().splitlines()])
    assert (stream.ending, unpack_body(stream.body)) == (Ending.CANCELLED, b"".join(answer()[:3]))


def test_even_a_short_run_says_how_the_client_kept_up(tmp_path: Path) -> None:
    assert of(Client, play(whole, tmp_path))


def test_times_of_a_stream_are_in_order_and_after_the_run_began(tmp_path: Path) -> None:
    records = play(whole, tmp_path)
    start, (stream,) = of(Clock, records)[0].at, of(Stream, records)
    times = [start, stream.due, stream.connected, stream.sent, stream.answered, stream.ended]
    assert times == sorted(times, key=lambda at: at or 0.0)


def test_a_request_that_was_refused_was_never_sent(tmp_path: Path) -> None:
    records = play(whole, tmp_path, url="http://nowhere.invalid")
    assert (of(Sent, records), of(ClientDone, records)[0].recorded) == ([], 1)


# ── What one exchange makes of bytes, without a network ─────────────────────────────────────────


class Wire:
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        self.open = True

    def write(self, _: bytes) -> None:
        assert self.open

    def close(self) -> None:
        self.open = False

    abort = close


class Kept(Recorder):
    """A recorder that keeps its records."""

    def __init__(self) -> None:
        super().__init__(os.open(os.devnull, os.O_WRONLY))
        self.lines: list[bytes] = []

    def __call__(self, record: history.Record) -> None:
        super().__call__(record)
        self.lines.append(history.to_line(record))

    @property
    def records(self) -> list[history.Record]:
        os.close(self._descriptor)
        return [history.from_line(line) for line in self.lines]


def exchange(tokens: int) -> tuple[Exchange, Kept]:
    kept = Kept()
    made = Exchange(StreamClient(settings(1, max_tokens=tokens), kept), "0-0", 1.0, b"", tokens)
    made.connection_made(Wire())  # type: ignore[arg-type]
    return made, kept


def wire(events: list[bytes], chunk_sizes: int) -> bytes:
    """Return the HTTP message that brings these events in chunks of so many bytes."""
    body = b"".join(events)
    pieces = [body[at : at + chunk_sizes] for at in range(0, len(body), chunk_sizes)]
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {SSE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join([head, *chunks, b"0\r\n\r\n"])


@given(st.data(), st.integers(1, 40), st.text(max_size=8), st.integers(1, 400))
def test_a_correct_answer_is_whole_however_it_is_chunked_and_split(
    data: st.DataObject, tokens: int, text: str, chunk_size: int
) -> None:
    message = wire(answer(tokens, text), chunk_size)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(message) - 1), max_size=200)))
    made, kept = exchange(tokens)
    for start, end in zip([0, *cuts], [*cuts, len(message)], strict=True):
        made.data_received(message[start:end])
    assert [verdict.outcome for verdict in judge_streams(kept.records)] == [Outcome.COMPLETE]


@given(st.data(), st.integers(1, 40))
def test_an_answer_that_is_cut_anywhere_is_never_whole(data: st.DataObject, tokens: int) -> None:
    message = wire(answer(tokens), 100)
    made, kept = exchange(tokens)
    made.data_received(message[: data.draw(st.integers(1, len(message) - 1))])
    made.connection_lost(None)
    outcomes = [verdict.outcome for verdict in judge_streams(kept.records)]
    assert outcomes == [Outcome.TRUNCATED_FRAMING]


def test_waits_go_on_from_one_part_to_the_next() -> None:
    made, kept = exchange(200)
    for piece in [wire([], 1)[:-5], *[b"1\r\n\n\r\n"] * 400, b"0\r\n\r\n"]:
        made.data_received(piece)
    (stream,) = of(Stream, records := kept.records)
    pieces: list[Part | Stream] = [*of(Part, records), stream]
    assert (len(pieces), sum(sum(piece.sizes) for piece in pieces)) == (7, 400)
    lasted_us = (stream.ended - (stream.sent or 0.0)) * 1e6
    assert 0 < sum(sum(piece.waits) for piece in pieces) < lasted_us + 1


def test_a_long_stream_is_recorded_in_parts_whose_lines_logs_do_not_split() -> None:
    made, kept = exchange(1200)
    words = (f" w{number * 2654435761 % 99991}" for number in range(2000))
    events = [answer(2, next(words))[0] for _ in range(1199)] + answer(1200)[-3:]
    message = [wire([event], 10_000)[:-5].partition(b"\r\n\r\n")[2] for event in events]
    made.data_received(wire([], 1)[:-5])
    for piece in [*message, b"0\r\n\r\n"]:
        made.data_received(piece)
    longest = max(len(line) for line in kept.lines)
    (verdict,) = judge_streams(records := kept.records)
    assert (verdict.outcome, len(of(Part, records)) > 10, longest < 16_384) == (
        Outcome.COMPLETE,
        True,
        True,
    )


def test_what_came_is_recorded_after_seconds_even_if_it_is_little() -> None:
    made, kept = exchange(5)
    made.data_received(wire(answer()[:3], 1000)[:-5])
    made.look(monotonic_ns() + PART_AGE_NS + SILENT_NS)
    assert len(of(Part, kept.records)) == 1


def test_what_came_just_now_waits_for_more() -> None:
    made, kept = exchange(5)
    made.data_received(wire(answer()[:3], 1000)[:-5])
    made.look(monotonic_ns())
    assert of(Part, kept.records) == []


def test_memory_does_not_grow_with_the_streams_that_have_ended() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    client = StreamClient(settings(1), Recorder(null))
    message = wire(answer(5), 100)

    def streams(count: int) -> int:
        for number in range(count):
            made = Exchange(client, f"0-{number}", 1.0, b"", 5)
            made.connection_made(Wire())  # type: ignore[arg-type]
            made.data_received(message)
        gc.collect()
        # Of the client alone: other threads of the test's process allocate too.
        ours = tracemalloc.Filter(inclusive=True, filename_pattern="*/drainproof/streams/*")
        kept = tracemalloc.take_snapshot().filter_traces([ours])
        return sum(trace.size for trace in kept.traces)

    tracemalloc.start()
    before = streams(200)
    after = streams(2000)
    tracemalloc.stop()
    os.close(null)
    assert after - before < 20_000  # 10 bytes a stream


async def refuse(peer: Peer) -> None:
    peer.reset()


@pytest.mark.parametrize("script", [whole, silence, refuse])
def test_a_stream_that_ended_leaves_nothing_for_the_garbage_collector(
    script: Script, tmp_path: Path
) -> None:
    gc.collect()
    gc.disable()
    try:
        assert of(Stream, play(script, tmp_path, rate_per_s=100.0, duration_s=0.1, settle_s=1))
        left = [one for one in gc.get_objects() if isinstance(one, Exchange)]
    finally:
        gc.enable()
    assert left == []


def test_a_long_stream_takes_no_more_memory_than_a_part_of_it() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    made = Exchange(StreamClient(settings(1), Recorder(null)), "0-0", 1.0, b"", 5)
    made.connection_made(Wire())  # type: ignore[arg-type]
    made.data_received(wire([], 1)[:-5])
    piece = wire([answer(2)[0]], 10_000)[:-5].partition(b"\r\n\r\n")[2]

    def events(count: int) -> int:
        for _ in range(count):
            made.data_received(bytes(bytearray(piece)))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before = events(1000)
    after = events(20_000)
    tracemalloc.stop()
    os.close(null)
    assert after - before < 20_000  # 1 byte an event


def test_a_client_that_stood_still_says_so(tmp_path: Path) -> None:
    class Slow(Recorder):
        def __call__(self, record: history.Record) -> None:
            super().__call__(record)
            until = monotonic_ns() + 700_000_000
            while isinstance(record, Sent) and monotonic_ns() < until:
                pass

    records = play(whole, tmp_path, recorder=Slow, rate_per_s=10.0, duration_s=0.15)
    assert max(record.loop_lag_ms for record in of(Client, records)) > 500
    assert max(record.send_lag_ms for record in of(Client, records)) > 500
    assert len(judge_client(records).reasons) >= 2


def test_an_interim_answer_is_not_the_answer() -> None:
    made, kept = exchange(5)
    made.data_received(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    made.connection_lost(None)
    (stream,) = of(Stream, kept.records)
    assert (stream.ending, stream.status) == (Ending.EOF, None)


def test_records_that_can_not_be_written_end_the_run_with_words(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(UserError, match="cannot write the streams' records: Broken pipe"):
        play(whole, tmp_path, recorder=lambda _: Recorder(writing), duration_s=None)
    os.close(writing)
