"""What the streaming client costs: CPU time for each event, beside a Go client and a C reader.

All three read the same streams from the same source, in turns, on a core of their own where there
are two. Only drainproof's keeps what it read: its records are on disk, and are judged after the
measurement to see that they can be. What a process costs that reads one stream of one token is
taken off, so that starting an interpreter is not counted as reading.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams import history

HERE = Path(__file__).parent
CLIENTS = ("drainproof", "go", "c")
OPENING_S = 1.0
"""Over how long the streams are opened, evenly."""
LIMIT_S = 120.0
"""No client may take longer than this for one round."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The load of one round."""

    streams: int
    tokens: int
    """In each stream."""
    tokens_per_s: float
    """In each stream."""

    @property
    def events(self) -> int:
        """Number of events in all: the tokens, and each stream's usage and ``[DONE]``."""
        return self.streams * (self.tokens + 2)


def main() -> None:
    """Measure all clients and print a table and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="bench/streams/run.py")
    parser.add_argument("--streams", type=int, default=400, help="at once (default 400)")
    parser.add_argument("--tokens", type=int, default=150, help="in each stream (default 150)")
    parser.add_argument("--rate", type=float, default=25.0, help="tokens/s each (default 25)")
    parser.add_argument("--rounds", type=int, default=3, help="for each client (default 3)")
    options = parser.parse_args()
    pace = Pace(options.streams, options.tokens, options.rate)
    with tempfile.TemporaryDirectory(prefix="drainproof-bench-") as name:
        folder = Path(name)
        build(folder)
        us: dict[str, list[float]] = {client: [] for client in CLIENTS}
        late_ms = 0.0
        for _ in range(options.rounds):
            for client in CLIENTS:
                idle_s, _ = measure(client, folder, replace(pace, streams=1, tokens=1))
                used_s, late = measure(client, folder, pace)
                us[client].append((used_s - idle_s) * 1e6 / pace.events)
                late_ms = max(late_ms, late)
    report(pace, us, late_ms)


def build(folder: Path) -> None:
    """Compile the source of the streams and the two peers."""
    for name in ("source", "reader"):
        flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["cc", *flags, "-o", folder / name, HERE / f"{name}.c"], check=True)
    subprocess.run(
        ["go", "build", "-o", folder / "reader-go", HERE / "reader.go"],
        check=True,
        env=os.environ | {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": ""},
    )


def measure(client: str, folder: Path, pace: Pace) -> tuple[float, float]:
    """Let a client read one round of streams.

    Returns:
        The client's CPU seconds, and the source's worst delay in ms.
    """
    cores = sorted(os.sched_getaffinity(0))
    interval_us = round(1e6 / pace.tokens_per_s)
    source = subprocess.Popen(
        pinned(cores[0], folder / "source", pace.streams, pace.tokens, interval_us),
        stdout=subprocess.PIPE,
    )
    with source:
        try:
            assert source.stdout is not None  # noqa: S101
            port = int(source.stdout.readline())
            command = pinned(cores[-1], *command_of(client, folder, port, pace))
            used_s = cpu_of(command, folder / f"{client}.out")
            late_ms = float(source.stdout.readline())
        finally:
            source.kill()
    whole = count_whole(client, folder)
    if whole != pace.streams:
        sys.exit(f"{client} read {whole} of {pace.streams} streams whole: nothing to compare")
    return used_s, late_ms


def command_of(client: str, folder: Path, port: int, pace: Pace) -> list[object]:
    """Return the command that makes a client read the streams."""
    if client == "go":
        return [folder / "reader-go", port, pace.streams, OPENING_S]
    if client == "c":
        return [folder / "reader", port, pace.streams, OPENING_S]
    load = {
        "url": f"http://127.0.0.1:{port}",
        "model": "tiny",
        "max_tokens": pace.tokens,
        "arrivals": "constant",
        "rate_per_s": pace.streams / OPENING_S,
        "duration_s": OPENING_S,
    }
    config = folder / "load.json"
    config.write_bytes(orjson.dumps(load))
    return [sys.executable, "-m", "drainproof.streams", "--config", config]


def pinned(core: int, *command: object) -> list[str]:
    """Return the command that runs a command on one core."""
    return ["taskset", "-c", str(core), *(str(part) for part in command)]


def cpu_of(command: list[str], output: Path) -> float:
    """Run a command, its output in a file; return its CPU time in seconds, user and system."""
    with output.open("wb") as file:
        process = subprocess.Popen(["timeout", str(LIMIT_S), *command], stdout=file)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed: {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def count_whole(client: str, folder: Path) -> int:
    """Return how many streams a client read whole; drainproof's are judged by their records."""
    output = (folder / f"{client}.out").read_bytes()
    if client != "drainproof":
        return int(output)
    records = (history.from_line(line) for line in output.splitlines())
    return sum(verdict.outcome is Outcome.COMPLETE for verdict in judge_streams(records))


def report(pace: Pace, us: dict[str, list[float]], late_ms: float) -> None:
    """Print what was measured: each client's best round, since other programs only ever add."""
    best = {client: min(values) for client, values in us.items()}
    print(
        f"{pace.streams} streams at once, {pace.tokens_per_s:g} tokens/s each, {pace.events} events"
        f" a round; best of {len(us['c'])}; the source was {late_ms:.1f} ms late at worst"
    )
    print(f"{'client':<12}{'µs/event':>10}{'of Go':>8}{'of C':>8}   all rounds")
    for client in CLIENTS:
        rounds = " ".join(f"{value:.2f}" for value in us[client])
        ratios = f"{best[client] / best['go']:>8.2f}{best[client] / best['c']:>8.2f}"
        print(f"{client:<12}{best[client]:>10.2f}{ratios}   {rounds}")
    rounded = {client: round(value, 2) for client, value in best.items()}
    print(orjson.dumps({"bench": "streams", "us_per_event": rounded}).decode())


if __name__ == "__main__":
    main()
