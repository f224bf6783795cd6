"""Clients as processes of this machine: started, heard, stopped."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.judge.clients import judge_client
from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import history
from drainproof.streams.history import Clock, Sent, Stream
from drainproof.streams.local import LocalClients
from tests.streams.bodies import answer
from tests.streams.raw import Peer, Script, serving, settings
from tests.streams.test_client import of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 30


class Server:
    """The raw server in a thread, for clients that are waited for in this one."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> int:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        return self.port

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(DEADLINE_S)

    def _run(self) -> None:
        async def serve() -> None:
            async with serving(self._script) as self.port:
                self._ready.set()
                await self._over.wait()

        self._loop.run_until_complete(serve())
        self._loop.close()


class Heard(list[history.Record]):
    """The records of a run, which can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def __call__(self, record: history.Record) -> None:
        with self._changed:
            self.append(record)
            self._changed.notify_all()

    def wait(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, DEADLINE_S), self


async def whole(peer: Peer) -> None:
    await peer.head()
    await peer.chunks(*answer())
    await peer.last_chunk()
    await peer.until_closed()


@pytest.fixture
def port() -> Iterator[int]:
    with Server(whole) as found:
        yield found


def test_two_clients_share_a_load_into_one_history(port: int) -> None:
    heard = Heard()
    clients = LocalClients(settings(port, duration_s=None, rate_per_s=50.0, parts=2), heard)
    clients.start()
    heard.wait(lambda: len(of(Stream, heard)) >= 10)
    clients.stop()
    assert clients.wait()
    assert judge_client(heard).missing == ()
    assert {one.client for one in of(Clock, heard)} == {"0", "1"}
    assert {verdict.outcome for verdict in judge_streams(heard)} == {Outcome.COMPLETE}


def test_no_request_of_a_shared_load_is_sent_twice(port: int) -> None:
    heard = Heard()
    clients = LocalClients(settings(port, duration_s=0.5, rate_per_s=40.0, parts=2), heard)
    clients.start()
    assert clients.wait()
    numbers = Counter(one.id.split("-")[1] for one in of(Sent, heard))
    assert sorted(numbers, key=int) == [str(number) for number in range(20)]
    assert set(numbers.values()) == {1}


def test_a_client_that_dies_is_heard_to_its_last_record_and_has_ended(port: int) -> None:
    heard = Heard()
    clients = LocalClients(settings(port, duration_s=None), heard)
    clients.start()
    heard.wait(lambda: bool(of(Stream, heard)))
    assert not clients.ended
    clients.kill()
    assert (clients.wait(), clients.ended) == (False, True)


def test_a_client_that_can_not_run_says_why(port: int) -> None:
    clients = LocalClients(settings(port, url="https://127.0.0.1:1", ca_file="/none.pem"), Heard())
    with pytest.raises(UserError, match=r"ended at once: drainproof: ca_file: cannot read /none"):
        clients.start()


def test_a_secret_that_is_missing_is_said_before_anything_starts(port: int) -> None:
    clients = LocalClients(settings(port, token_env="NOT_SET"), Heard(), {})  # noqa: S106 - a name
    with pytest.raises(UserError, match="NOT_SET is not set"):
        clients.start()


def test_a_secret_is_in_no_command_line(port: int) -> None:
    heard = Heard()
    token = "sk-0123456789abcdef"  # noqa: S105 - nobody's
    load = settings(port, duration_s=None, token_env="TEST_TOKEN")  # noqa: S106 - a name
    clients = LocalClients(load, heard, os.environ | {"TEST_TOKEN": token})
    clients.start()
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    clients.stop()
    assert clients.wait()
    assert any(b"drainproof.streams" in line for line in lines)
    assert not any(token.encode() in line for line in lines)
