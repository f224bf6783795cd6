"""The client as the program that runs in a pod: settings in, records out, signals, crashes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import orjson
import pytest

from drainproof.judge.clients import judge_client
from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import __main__ as program
from drainproof.streams import history
from tests.streams.bodies import answer
from tests.streams.raw import Peer, header, serving

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_S = 30


async def started(port: int, **changes: object) -> asyncio.subprocess.Process:
    load = {
        "url": f"http://127.0.0.1:{port}",
        "model": "tiny",
        "max_tokens": 200,
        "arrivals": "constant",
        "rate_per_s": 0.001,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "drainproof.streams",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {program.VARIABLE: orjson.dumps(load | changes).decode()},
        limit=1 << 20,
    )


async def lines_until(process: asyncio.subprocess.Process, kind: str) -> list[bytes]:
    assert process.stdout is not None
    lines: list[bytes] = []
    while not lines or orjson.loads(lines[-1])["kind"] != kind:
        lines.append(await process.stdout.readline())
        assert lines[-1], f"the client ended before any {kind!r} record"
    return lines


async def rest(process: asyncio.subprocess.Process) -> tuple[list[bytes], bytes, int | None]:
    output, errors = await process.communicate()
    return output.splitlines(keepends=True), errors, process.returncode


def saved(lines: list[bytes], folder: Path) -> list[history.Record]:
    path = folder / "history.jsonl"
    path.write_bytes(history.to_line(header()) + b"".join(lines))
    return list(history.read(path))


def test_after_sigterm_streams_in_flight_finish_and_no_new_ones_begin(tmp_path: Path) -> None:
    told = asyncio.Event()

    async def slow(peer: Peer) -> None:
        await peer.head()
        events = answer(200)
        await peer.chunks(*events[:100])
        await told.wait()
        await peer.chunks(*events[100:])
        await peer.last_chunk()

    async def run() -> tuple[list[bytes], bytes, int | None]:
        async with serving(slow) as port:
            process = await started(port)
            lines = await lines_until(process, "sent")
            process.send_signal(signal.SIGTERM)
            told.set()
            more, errors, code = await rest(process)
            return lines + more, errors, code

    lines, errors, code = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    records = saved(lines, tmp_path)
    assert (errors, code, judge_client(records).missing) == (b"", 0, ())
    assert [verdict.outcome for verdict in judge_streams(records)] == [Outcome.COMPLETE]


def test_a_second_signal_cancels_what_is_in_flight(tmp_path: Path) -> None:
    async def endless(peer: Peer) -> None:
        await peer.head()
        await peer.until_closed()

    async def run() -> tuple[list[bytes], int | None]:
        async with serving(endless) as port:
            process = await started(port)
            lines = await lines_until(process, "sent")
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)  # another number, so that both are delivered
            more, _, code = await rest(process)
            return lines + more, code

    lines, code = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    outcomes = [verdict.outcome for verdict in judge_streams(saved(lines, tmp_path))]
    assert (outcomes, code) == ([Outcome.CANCELLED], 0)


def test_what_was_recorded_before_a_kill_can_be_read_and_does_not_pass(tmp_path: Path) -> None:
    async def half(peer: Peer) -> None:
        await peer.head()
        await peer.chunks(*answer(200)[:150])
        await peer.until_closed()

    async def run() -> list[bytes]:
        async with serving(half) as port:
            process = await started(port)
            lines = await lines_until(process, "part")
            process.kill()
            more, _, _ = await rest(process)
            return lines + more

    lines = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    records = saved([*lines[:-1], lines[-1][:-7]], tmp_path)  # the last line, cut by the kill
    (verdict,) = judge_streams(saved(lines, tmp_path))
    assert (verdict.outcome, verdict.events > 0, len(records)) == (
        Outcome.UNACCOUNTED,
        True,
        len(lines),
    )
    assert judge_client(records).missing


def test_a_reader_that_goes_away_ends_the_program_with_words() -> None:
    async def quick(peer: Peer) -> None:
        await peer.head()

    async def run() -> tuple[bytes, int | None]:
        async with serving(quick) as port:
            process = await started(port, rate_per_s=50.0)
            assert process.stdout is not None
            assert process.stderr is not None
            await process.stdout.readline()
            process.stdout._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
            return await process.stderr.read(), await process.wait()

    errors, code = asyncio.run(asyncio.wait_for(run(), DEADLINE_S))
    assert (errors.startswith(b"drainproof: cannot write"), code) == (True, 2)


@pytest.mark.parametrize(
    ("arguments", "config", "said"),
    [
        ([], None, "no settings were given"),
        (["--config", "/nowhere.json"], None, "/nowhere.json: cannot read"),
        ([], "{}", "DRAINPROOF_LOAD: the load setting 'url' is missing"),
        ([], '{"url": "http://a", "model": "m", "rate_per_s": 0}', "'rate_per_s': expected"),
        ([], '{"url": "http://a", "model": "m", "token_env": "NOT_SET"}', "NOT_SET is not set"),
        ([], '{"url": "https://a", "model": "m", "ca_file": "/no.pem"}', "cannot read /no.pem"),
        (
            ["--output", "/nowhere/out"],
            '{"url": "http://a", "model": "m"}',
            "/nowhere/out: cannot write",
        ),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    arguments: list[str],
    config: str | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv(program.VARIABLE, raising=False)
    if config is not None:
        monkeypatch.setenv(program.VARIABLE, config)
    code = program.main(arguments)
    output = capfd.readouterr()
    assert (code, output.out, said in output.err) == (2, "", True), output.err


def test_the_client_imports_nothing_that_a_small_image_would_lack() -> None:
    async def run() -> bytes:
        script = (
            "import sys; had = set(sys.modules); import drainproof.streams.__main__; "
            "new = {name: sys.modules[name] for name in set(sys.modules) - had}; "
            "print(*{name.partition('.')[0] for name in new if hasattr(new[name], '__file__')})"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", script, stdout=asyncio.subprocess.PIPE
        )
        return (await process.communicate())[0]

    imported = set(asyncio.run(run()).decode().split())
    # Python 3.15's own, although it is not in its list
    own = sys.stdlib_module_names | {"_missing_stdlib_info"}
    foreign = {name for name in imported if name not in own}
    assert foreign - {"drainproof", "lz4", "orjson", "uvloop", "httptools"} == set()
