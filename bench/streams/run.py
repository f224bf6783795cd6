"""What the streaming client costs and how much one core carries, beside its peers, in one run.

All clients read the same streams from the same source, in turns, on a core of their own where there
are two. Only drainproof's keeps what it read: its records are on disk, and are judged after the
measurement to see that they can be. Measured are

- CPU time for each event. What a process costs that reads one stream of one token is taken off, so
  that starting an interpreter is not counted as reading. What else the machine does changes by the
  minute, so clients take turns, and are compared by the medians of what each round says.
- The most streams at once, at 10 tokens/s each, of which the 99th percentile of events is received
  less than 10 ms after it was sent: the highest of some numbers, in few tries; and what an event
  costs there, where a core is full and few wake it in vain.
- Memory for each stream, and whether two clients carry 1.8 times what is too much for one. Each has
  a limit of CPU, as pods have, so that two fit on the core beside the source's. Its periods are
  10 ms, not Kubernetes' 100 ms, in which a client that used its share up stands still for longer
  than an event may be late. It takes root.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from drainproof.clusters.engine import CGROUPS
from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import history
from drainproof.streams.history import Clock, Part, Stream, unpack_body

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).parent
CLIENTS = ("drainproof", "go", "c", "aiohttp", "httpx")
SHARE = {"httpx": 10}
"""Who reads only so small a part of the streams where CPU is measured: a core can't keep up with
all, and events that pile up are cheaper to read."""
OPENED_PER_S = 2000
"""How many streams are opened in a second, evenly; at least over one second. They end as slowly,
and are as spread as those of users, of whom not all begin at once."""
STEADY_S = 6.0
"""For how long all streams are open where lag is measured."""
LAG_MS = 10.0
"""The lag that 99 of 100 events may have."""
RATE = 10.0
"""Tokens/s of each stream where as many as possible are open."""
GOAL = 5000
"""Streams at ``RATE`` that one core is to carry."""
LADDER = (50, 100, 200, 350, 500, 700, 1000, 1400, 2000, 2800, 4000, GOAL, 6300, 8000)
"""Numbers of streams at once that are tried."""
FULL = 1.5
"""How full a core may be, by what an event costs on a core that is not, where looking begins."""
TRIES = 5
"""Rounds in which a client's place on the ladder is looked for."""
TWICE = 1.8
"""How many times as much as one two clients are to carry."""
CPU_LIMIT = 0.2
"""The share of a core that each client may use where two are compared with one."""
PERIOD_US = 10_000
"""The time in which a client may use no more than its share."""
EACH_OPENS_PER_S = 500
"""How many streams each client with a limit opens in a second, one as fast as each of two."""
FINE = 1.05
"""How much more each number of streams is that one client with a limit may be given."""
FINE_STEPS = 104
"""How many such numbers there are, from the ladder's first to its last."""
TURNS = 5
"""How often one client is given again what was too much, and two ``TWICE`` as much, by turns."""
BUSY = 0.25
"""Load for each core, before anything is measured, from which on others are in the way."""
LIMIT = 1.5
"""No client may take longer for one round than so many times what the streams last."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The load of one round."""

    streams: int
    tokens: int
    """In each stream."""
    tokens_per_s: float
    """In each stream."""
    clients: int = 1
    """Processes that share the streams; drainproof only."""
    limited: bool = False
    """Whether each of them may use no more than ``CPU_LIMIT`` of a core."""

    @property
    def events(self) -> int:
        """Number of events in all: the tokens, and each stream's usage and ``[DONE]``."""
        return self.streams * (self.tokens + 2)

    @property
    def opening_s(self) -> float:
        """Over how long the streams are opened, evenly."""
        each = EACH_OPENS_PER_S * self.clients if self.limited else OPENED_PER_S
        return max(1.0, self.streams / each)


def lag_pace(streams: int, clients: int = 1, *, limited: bool = False) -> Pace:
    """Return the load at which lag is measured: all streams are open at once for ``STEADY_S``."""
    pace = Pace(streams, 1, RATE, clients, limited)
    return replace(pace, tokens=round((pace.opening_s + STEADY_S) * RATE))


@dataclass(frozen=True, slots=True)
class Round:
    """What one client took for one round."""

    cpu_s: float
    peak_bytes: int
    late_ms: float
    """The source's own worst delay."""
    lag_ms: float | None
    """The 99th percentile, if it was asked for."""


class TooMuchError(Exception):
    """The client did not read all streams whole, or took too long."""


def main() -> None:
    """Measure all clients and print a table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="bench/streams/run.py")
    parser.add_argument("--streams", type=int, default=400, help="at once (default 400)")
    parser.add_argument("--tokens", type=int, default=100, help="in each stream (default 100)")
    parser.add_argument("--rate", type=float, default=25.0, help="tokens/s each (default 25)")
    parser.add_argument("--rounds", type=int, default=3, help="for each client (default 3)")
    parser.add_argument(
        "--clients", nargs="+", choices=CLIENTS, default=CLIENTS, help="whom to measure"
    )
    options = parser.parse_args()
    pace = Pace(options.streams, options.tokens, options.rate)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(prefix="drainproof-bench-") as name:
        bench = Bench(Path(name))
        load = os.getloadavg()[0]
        if load > BUSY * len(bench.cores):
            print(f"Other programs keep the machine busy (load {load:.1f}): lags are theirs too.")
        us = costs(bench, options.clients, pace, options.rounds)
        found: dict[str, object] = {
            "load_before": round(load, 1),
            "us_per_event": {one: round(statistics.median(us[one]), 2) for one in us},
        }
        if "go" in us and "drainproof" in us:
            found["ratio_to_go"] = round(ratio(us["drainproof"], us["go"]), 2)
        most = {one: most_streams(bench, one, statistics.median(us[one])) for one in us}
        found["streams_on_a_core"] = most
        if "drainproof" in most:
            found |= alone(bench)
            found |= two_beside_one(bench)
    print(orjson.dumps({"bench": "streams", **found}).decode())


def costs(bench: Bench, clients: Iterable[str], pace: Pace, rounds: int) -> dict[str, list[float]]:
    """Measure, and print, the CPU µs for each event."""
    us: dict[str, list[float]] = {client: [] for client in clients}
    late_ms = 0.0
    for number in range(rounds):
        for client in list(us)[:: -1 if number % 2 else 1]:
            streams = max(1, pace.streams // SHARE.get(client, 1))
            us[client].append(bench.us_per_event(client, replace(pace, streams=streams)))
            late_ms = max(late_ms, bench.done[client, streams].late_ms)
    few = [f"{pace.streams // SHARE[one]} of {one}" for one in us if one in SHARE]
    print(
        f"{' '.join([f'{pace.streams} streams at once', *(f'({one})' for one in few)])}, "
        f"{pace.tokens_per_s:g} tokens/s each, {pace.events} events a round; medians of {rounds}; "
        f"the source was {late_ms:.1f} ms late at worst"
    )
    print(f"{'client':<12}{'µs/event':>10}{'of Go':>8}{'of C':>8}   all rounds")
    for client, values in us.items():
        ratios = "".join(
            f"{ratio(values, us[peer]):>8.2f}" if peer in us else f"{'':>8}" for peer in ("go", "c")
        )
        each = " ".join(f"{value:.2f}" for value in values)
        print(f"{client:<12}{statistics.median(values):>10.2f}{ratios}   {each}")
    return us


def ratio(us: list[float], peer: list[float]) -> float:
    """Return how many times as much as a peer a client costs, in the median of the rounds."""
    return statistics.median(one / other for one, other in zip(us, peer, strict=True))


def most_streams(bench: Bench, client: str, us: float) -> int | None:
    """Find, and print, how many streams at once a client reads on one core without lag.

    Returns:
        The most of the ladder's numbers that were read so; None if none of those tried was.
    """
    # an event costs less where a core is full than where it is measured
    can = min(GOAL, FULL * 1e6 / (us * RATE))
    at = max(index for index, streams in enumerate(LADDER) if streams <= max(can, LADDER[0]))
    tried: list[tuple[int, float]] = []
    good, bad = -1, len(LADDER)
    while len(tried) < TRIES and good < at < bad:
        lag_ms = bench.lag_ms(client, lag_pace(LADDER[at]))
        tried.append((LADDER[at], lag_ms))
        if lag_ms < LAG_MS:
            good = at
        elif len(tried) > 1:  # the first is tried twice, as other programs only ever add
            bad = at
        else:
            continue
        at = (good + bad) // 2
    steps = ", ".join(f"{streams}: {lag_ms:.1f}" for streams, lag_ms in tried)
    if good < 0:
        words = f"fewer than {min(tried)[0]}"
    else:
        words = f"{'at least ' if bad > good + 1 else ''}{LADDER[good]}"
    print(f"{client:<12}{words} streams at {RATE:g} tokens/s; P99 lag in ms: {steps}")
    return LADDER[good] if good >= 0 else None


def alone(bench: Bench) -> dict[str, object]:
    """Measure, and print, what only drainproof is asked for."""
    found: dict[str, object] = {}
    if goal := bench.done.get(("drainproof", GOAL)):
        memory = (goal.peak_bytes - bench.idle("drainproof").peak_bytes) / GOAL / 1000
        us = {
            one: round(bench.us(one, lag_pace(GOAL)), 2)
            for one in CLIENTS
            if (one, GOAL) in bench.done
        }
        print(f"drainproof at {GOAL} streams: {memory:.1f} KB of memory a stream")
        print(f"µs/event at {GOAL} streams: {', '.join(f'{one} {us[one]}' for one in us)}")
        found = {
            f"p99_lag_ms_at_{GOAL}": goal.lag_ms,
            "kb_per_stream": round(memory, 1),
            f"us_per_event_at_{GOAL}": us,
        }
    return found


def two_beside_one(bench: Bench) -> dict[str, object]:
    """Find, and print, whether two clients carry ``TWICE`` what is too much for one."""
    limited = Limited(bench)
    try:
        with cpu_limits(2) as bench.limits:
            over = limited.too_much()
            turns = TURNS
            while turns:
                if limited.carry(1, rung(over)):
                    over, turns = over + 1, TURNS
                elif limited.carry(2, round(TWICE * rung(over))):
                    break
                else:
                    turns -= 1
    except OSError as error:
        two = f"not measured, as CPU can't be limited here: {error}"
        print(f"two clients beside one: {two}")
        return {"two_clients": two}
    for (clients, streams), lag_ms in sorted(limited.lags_ms.items()):
        print(
            f"{clients} of drainproof, {CPU_LIMIT:g} of a core each: {streams} streams, "
            f"P99 lag {lag_ms:.1f} ms"
        )
    lag_ms = limited.lags_ms.get((2, round(TWICE * rung(over))), inf)
    two = f"{'carry' if lag_ms < LAG_MS else 'do not carry'} {TWICE} times as much"
    print(f"two clients beside one, for which {rung(over)} streams are too much: {two}")
    return {"too_much_with_a_limit": rung(over), "two_clients": two}


def rung(step: int) -> int:
    """Return one of the numbers of streams that a client with a limit may be given."""
    return round(LADDER[0] * FINE**step)


class Limited:
    """What clients with a limit of CPU carry."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.lags_ms: dict[tuple[int, int], float] = {}
        """The least of all tries, by the number of clients and of streams."""

    def carry(self, clients: int, streams: int) -> bool:
        """Try whether so many clients read so many streams without lag."""
        lag_ms = self._bench.lag_ms("drainproof", lag_pace(streams, clients, limited=True))
        key = clients, streams
        self.lags_ms[key] = min(lag_ms, self.lags_ms.get(key, inf))
        return lag_ms < LAG_MS

    def too_much(self) -> int:
        """Return the first step at which there are more streams than one client carries."""
        under, over = -1, FINE_STEPS
        while over - under > 1:
            middle = (under + over) // 2
            # tried twice, as other programs only ever add
            if self.carry(1, rung(middle)) or self.carry(1, rung(middle)):
                under = middle
            else:
                over = middle
        return over


@contextmanager
def cpu_limits(number: int) -> Iterator[list[Path]]:
    """Make cgroups whose processes together get no more than ``CPU_LIMIT`` of a core, for a while.

    Raises:
        OSError: They can't be made here.
    """
    quota_us = round(CPU_LIMIT * PERIOD_US)
    old = (CGROUPS / "cpu" / "cpu.shares").exists()  # version 1
    settings = (
        {"cpu.cfs_period_us": PERIOD_US, "cpu.cfs_quota_us": quota_us}
        if old
        else {"cpu.max": f"{quota_us} {PERIOD_US}"}
    )
    groups: list[Path] = []
    try:
        for index in range(number):
            group = CGROUPS / ("cpu" if old else "") / f"drainproof-bench-{os.getpid()}-{index}"
            group.mkdir()
            groups.append(group)
            for name, value in settings.items():
                with (group / name).open("r+") as file:
                    file.write(str(value))
        yield groups
    finally:
        for group in groups:
            group.rmdir()


class Bench:
    """The programs, and how they are measured."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: dict[str, Round] = {}
        self.done: dict[tuple[str, int], Round] = {}
        """The last round that a client read whole, by the client and the number of streams."""
        self.limits: list[Path] = []
        """The cgroups that limit the CPU of clients, one for each."""
        self.cores = sorted(os.sched_getaffinity(0))
        for name in ("source", "reader"):
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run(["cc", *flags, "-o", folder / name, HERE / f"{name}.c"], check=True)
        subprocess.run(
            ["go", "build", "-o", folder / "reader-go", HERE / "reader.go"],
            check=True,
            env=os.environ | {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""},
        )

    def us_per_event(self, client: str, pace: Pace) -> float:
        """Return the CPU µs that a client takes for each event."""
        self._measure(client, pace)
        return self.us(client, pace)

    def us(self, client: str, pace: Pace) -> float:
        """Return the CPU µs that a client took for each event of a round that it read whole."""
        cpu_s = self.done[client, pace.streams].cpu_s
        return (cpu_s - self.idle(client).cpu_s) * 1e6 / pace.events

    def lag_ms(self, client: str, pace: Pace) -> float:
        """Return by how much the 99th percentile of events is late, once all streams are open.

        It is infinite if the client doesn't read them all.
        """
        try:
            return self._measure(client, pace, lag=True).lag_ms or inf
        except TooMuchError:
            return inf

    def idle(self, client: str) -> Round:
        """Return what a client takes that reads one stream of one token."""
        if client not in self._idle:
            self._idle[client] = self._measure(client, Pace(1, 1, RATE))
        return self._idle[client]

    def _measure(self, client: str, pace: Pace, *, lag: bool = False) -> Round:
        """Let a client read one round of streams.

        Raises:
            TooMuchError: It didn't read them all.
        """
        interval_us = round(1e6 / pace.tokens_per_s)
        source = subprocess.Popen(
            pinned(self.cores[0], self._folder / "source", pace.streams, pace.tokens, interval_us),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        with source:
            try:
                assert source.stdout is not None  # noqa: S101
                port = int(source.stdout.readline())
                commands = [
                    self._command(client, port, pace, part, lag=lag) for part in range(pace.clients)
                ]
                lasts_s = pace.opening_s + pace.tokens / pace.tokens_per_s
                cpu_s, peak_bytes = used_by(
                    LIMIT * lasts_s + 5,
                    [self._placed(pace, part, command) for part, command in enumerate(commands)],
                    [self._out(client, part) for part in range(pace.clients)],
                )
                late_ms = float(source.stdout.readline() or "inf")
            finally:
                source.kill()
        whole, lag_ms = self._result(client, pace, lag=lag)
        if whole != pace.streams:
            raise TooMuchError(f"{client} read {whole} of {pace.streams} streams whole")
        done = Round(cpu_s, peak_bytes, late_ms, lag_ms)
        if not pace.limited:
            self.done[client, pace.streams] = done
        return done

    def _placed(self, pace: Pace, part: int, command: list[object]) -> list[str]:
        """Return the command that runs one client on a core that is not the source's, if it can."""
        cores = self.cores[1:] or self.cores
        words = pinned(cores[-1 - part % len(cores)], *command)
        if not pace.limited:
            return words
        enter = 'echo $$ > "$0" && exec "$@"'
        return ["sh", "-c", enter, str(self.limits[part] / "cgroup.procs"), *words]

    def _out(self, client: str, part: int = 0) -> Path:
        return self._folder / f"{client}-{part}.out"

    def _command(self, client: str, port: int, pace: Pace, part: int, *, lag: bool) -> list[object]:
        """Return the command that makes a client read the streams."""
        arguments = [port, pace.streams, pace.opening_s, *([STEADY_S] if lag else [])]
        if client == "go":
            return [self._folder / "reader-go", *arguments]
        if client == "c":
            return [self._folder / "reader", *arguments]
        if client != "drainproof":
            return [sys.executable, HERE / "reader.py", client, *arguments]
        load = {
            "url": f"http://127.0.0.1:{port}",
            "model": "tiny",
            "max_tokens": pace.tokens,
            "max_in_flight": pace.streams,
            "arrivals": "constant",
            "rate_per_s": pace.streams / pace.opening_s,
            "duration_s": (pace.streams - 0.5) * pace.opening_s / pace.streams,
            "part": part,
            "parts": pace.clients,
            "client": str(part),
        }
        config = self._folder / f"load-{part}.json"
        config.write_bytes(orjson.dumps(load))
        return [sys.executable, "-m", "drainproof.streams", "--config", config]

    def _result(self, client: str, pace: Pace, *, lag: bool) -> tuple[int, float | None]:
        """Return how many streams were read whole, and the 99th percentile of the events' lag.

        drainproof's are judged by their records, and their lag is what the records say.
        """
        if client != "drainproof":
            said, *more = self._out(client).read_text().split()
            return int(said), float(more[0]) if more else None
        outs = [self._out(client, part).read_bytes() for part in range(pace.clients)]
        records = [history.from_line(line) for out in outs for line in out.splitlines()]
        whole = sum(verdict.outcome is Outcome.COMPLETE for verdict in judge_streams(records))
        if not lag:
            return whole, None
        late = sorted(lags(records, pace.opening_s))
        return whole, late[len(late) * 99 // 100] if late else None


def lags(records: list[history.Record], opening_s: float) -> Iterator[float]:
    """Yield by how many ms each event came later than its text says that it was sent."""
    opened_ns = 0.0
    parts: dict[str, list[Part | Stream]] = {}
    for record in records:
        if isinstance(record, Clock):
            opened_ns = (record.at + opening_s) * 1e9
        elif isinstance(record, Part):
            parts.setdefault(record.id, []).append(record)
        elif isinstance(record, Stream):
            pieces = [*parts.pop(record.id, ()), record]
            reads = (
                read for piece in pieces for read in zip(piece.waits, piece.sizes, strict=True)
            )
            body = b"".join(unpack_body(piece.body) for piece in pieces)
            received = micros = 0
            at = body.find(b"@")
            while at >= 0:
                end = body.index(b"\n\n", at)
                while received <= end:
                    waited, size = next(reads)
                    micros += waited
                    received += size
                sent_ns = int(body[at + 1 : at + 20])
                if opened_ns <= sent_ns <= opened_ns + STEADY_S * 1e9:
                    yield ((record.sent or 0.0) * 1e9 + micros * 1e3 - sent_ns) / 1e6
                at = body.find(b"@", end)


def pinned(core: int, *command: object) -> list[str]:
    """Return the command that runs a command on one core."""
    return ["taskset", "-c", str(core), *(str(part) for part in command)]


def used_by(limit_s: float, commands: list[list[str]], outputs: list[Path]) -> tuple[float, int]:
    """Run commands at once, their output in files; return CPU seconds and peak bytes of all.

    Raises:
        TooMuchError: One failed or took too long.
    """
    processes = []
    for command, output in zip(commands, outputs, strict=True):
        with output.open("wb") as file:
            limited = ["timeout", str(limit_s), *command]
            processes.append(subprocess.Popen(limited, stdout=file, stderr=subprocess.DEVNULL))
    cpu_s, peak_bytes, failed = 0.0, 0, 0
    try:
        for process in processes:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            failed = failed or process.returncode
            cpu_s += usage.ru_utime + usage.ru_stime
            peak_bytes += usage.ru_maxrss * 1024
    finally:
        for process in processes:
            if process.returncode is None:  # Ctrl-C
                process.terminate()
                process.wait()
    if failed:
        raise TooMuchError(f"{commands[0]} failed: {failed}")
    return cpu_s, peak_bytes


if __name__ == "__main__":
    main()
