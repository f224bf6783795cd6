"""A token is sent to the server and is nowhere else, whatever the server does with it."""

from __future__ import annotations

import os
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import history
from drainproof.streams.client import PART_AGE_NS, SILENT_NS, Exchange, StreamClient
from drainproof.streams.history import Part, Stream, unpack_body
from tests.streams.bodies import answer, chunk
from tests.streams.raw import Peer, play, settings
from tests.streams.test_client import Kept, Wire, of

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "sk-0123456789abcdef"  # noqa: S105 - nobody's
KEY = 'a"quoted\\key'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    monkeypatch.setenv("TEST_KEY", KEY)


SECRETS: dict[str, Any] = {"token_env": "TEST_TOKEN", "headers_from": (("X-Key", "TEST_KEY"),)}


def everything(records: list[history.Record]) -> bytes:
    """Return all that a History says, its bodies unpacked."""
    bodies = [unpack_body(one.body) for one in records if isinstance(one, Stream | Part)]
    return b"".join([*map(history.to_line, records), *bodies])


def test_the_server_gets_the_token_and_the_headers(tmp_path: Path) -> None:
    requests: list[bytes] = []

    async def noting(peer: Peer) -> None:
        requests.append(peer.request)

    play(noting, tmp_path, **SECRETS)
    assert f"\r\nauthorization: Bearer {TOKEN}\r\n".encode() in requests[0]
    assert f"\r\nx-key: {KEY}\r\n".encode() in requests[0]


async def refusing(peer: Peer) -> None:
    body = f'{{"error": "no such token: {TOKEN}, no such key: a\\"quoted\\\\key or {KEY}"}}'
    head = f"HTTP/1.1 401 {TOKEN}\r\nContent-Type: {TOKEN}\r\nWWW-Authenticate: {TOKEN}\r\n"
    await peer.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body.encode())


async def telling(peer: Peer) -> None:
    first, *rest = answer()
    await peer.head()
    await peer.chunks(first.replace(b" w\xc3\xb6rd", TOKEN.encode()), *rest)
    await peer.last_chunk()


async def babbling(peer: Peer) -> None:
    await peer.send(f"HTTP/{TOKEN} {TOKEN}\r\n\r\n".encode())


async def dripping(peer: Peer) -> None:
    """Send the token again and again, in chunks of one byte each, for several parts."""
    await peer.head()
    await peer.chunks(*(b"%c" % byte for byte in (TOKEN.encode() + b" ") * 30))
    await peer.last_chunk()


@pytest.mark.parametrize("script", [refusing, telling, babbling, dripping])
def test_a_secret_that_the_server_sends_back_is_in_no_record(
    script: object, tmp_path: Path
) -> None:
    records = play(script, tmp_path, **SECRETS)  # type: ignore[arg-type] # one of the four
    said = everything(records)
    assert len(of(Stream, records)) == 1
    assert [one for one in (TOKEN.encode(), KEY.encode()) if one in said] == []


def test_a_stream_in_which_a_secret_was_masked_is_judged_as_it_was(tmp_path: Path) -> None:
    (verdict,) = judge_streams(play(telling, tmp_path, **SECRETS))
    assert verdict.outcome is Outcome.COMPLETE, verdict


def test_a_secret_that_a_read_cuts_is_masked_when_the_record_is_due_between() -> None:
    kept = Kept()
    client = StreamClient(settings(1, **SECRETS), kept, os.environ)
    made = Exchange(client, "0-0", 1.0, b"", 5)
    made.connection_made(Wire())  # type: ignore[arg-type] # a transport that goes nowhere
    made.data_received(b"HTTP/1.1 200 OK\r\n\r\n" + chunk(" a") + TOKEN[:9].encode())
    made.look(monotonic_ns() + PART_AGE_NS + SILENT_NS)
    made.data_received(TOKEN[9:].encode() + b" and more")
    made.connection_lost(None)
    assert TOKEN[:9].encode() not in everything(kept.records)


def test_what_is_too_short_to_be_a_secret_leaves_answers_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "data")

    async def whole(peer: Peer) -> None:
        await peer.head()
        await peer.chunks(*answer())
        await peer.last_chunk()

    (verdict,) = judge_streams(play(whole, tmp_path, headers_from=(("X-Tenant", "TEST_KEY"),)))
    assert verdict.outcome is Outcome.COMPLETE
