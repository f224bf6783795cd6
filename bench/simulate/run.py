"""How fast requests are simulated: one M/M/c queue beside Ciw and beside a process a request.

All three simulate the same queue: one replica that never changes, Poisson arrivals, exponential
lengths. Ciw is a library for queueing networks (PyPI); "simpy" is the usual way to write it with
the library that drainproof uses, a process for each request. CPU time of one core, so that what
else runs on the machine counts little; the best of some runs, which are taken in turn. Each mean
wait is printed beside Erlang C's, so that nobody is fast by being wrong.

Then the question that the command is for: 1,000 replicas with loads of 7 minutes, an hour, a burst.
"""

from __future__ import annotations

import argparse
import math
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson
import simpy

from drainproof.clusters import artefacts
from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.commands import run
from drainproof.progress import PlainProgress
from drainproof.simulate.arrivals import Burst, of_lengths, poisson
from drainproof.simulate.fleet import Service
from drainproof.simulate.policy import Policy
from drainproof.simulate.run import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

PEER = Path(__file__).parent / "peer"
PLACES = 64
LENGTH_S = 12.5
"""300 tokens at 24 a second."""
RATE = 0.9 * PLACES / LENGTH_S
GOAL_S = 10.0


class Run(NamedTuple):
    """One run of one queue."""

    requests: int
    mean_wait_s: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        """Requests simulated in a second of CPU time."""
        return self.requests / self.cpu_s


def main() -> None:
    """Run all in turn; print a line each and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python bench/simulate/run.py")
    parser.add_argument("--requests", type=int, default=50_000, help="of each run")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    duration_s = options.requests / RATE
    python = _ciw()
    queues: dict[str, Callable[[int], Run]] = {
        "drainproof": lambda seed: _drainproof(duration_s, seed),
        "simpy": lambda seed: _process_a_request(duration_s, seed),
        "ciw": lambda seed: _peer(python, duration_s, seed),
    }
    found: dict[str, list[Run]] = {name: [] for name in queues}
    for seed in range(options.runs):
        for name, queue in queues.items():
            found[name].append(queue(seed))
    best = {name: max(runs, key=lambda one: one.per_second) for name, runs in found.items()}
    print(
        f"M/M/{PLACES}, 90 % busy, {options.requests:,} requests; "
        f"mean wait by Erlang C {_erlang_c():.2f} s"
    )
    for name, one in best.items():
        waits = sum(each.mean_wait_s for each in found[name]) / options.runs
        print(
            f"{name:>10}  {one.per_second:>11,.0f} requests/s  mean wait {waits:.2f} s", flush=True
        )
    seconds, requests = _thousand_replicas()
    print(f"1,000 replicas, an hour, {requests:,} requests: {seconds:.1f} s of CPU a threshold")
    last = {
        "bench": "simulate",
        "requests": options.requests,
        **{f"{name}_per_s": round(one.per_second) for name, one in best.items()},
        "times_ciw": round(best["drainproof"].per_second / best["ciw"].per_second, 1),
        "times_simpy": round(best["drainproof"].per_second / best["simpy"].per_second, 1),
        "thousand_replicas_s": round(seconds, 2),
        "thousand_replicas_requests": requests,
        "goal_met": seconds <= GOAL_S,
    }
    print(orjson.dumps(last).decode())


def _drainproof(duration_s: float, seed: int) -> Run:
    begun = time.process_time()
    requests = of_lengths(poisson(RATE, duration_s, (), seed), LENGTH_S, "exponential", seed)
    service = Service(concurrency=PLACES, tokens_per_second=1, cold_start_s=0)
    policy = Policy(least=1, most=1, threshold=1)
    series = simulate(policy, service, requests, duration_s=duration_s, seed=seed)
    return Run(series.requests, series.mean_wait_s, time.process_time() - begun)


def _process_a_request(duration_s: float, seed: int) -> Run:
    begun = time.process_time()
    rng = random.Random(seed)  # noqa: S311 - repeatable is the point
    clock = simpy.Environment()
    places = simpy.Resource(clock, PLACES)
    waits: list[float] = []

    def request() -> Generator[simpy.Event, None, None]:
        came = clock.now
        with places.request() as place:
            yield place
            waits.append(clock.now - came)
            yield clock.timeout(rng.expovariate(1 / LENGTH_S))

    def source() -> Generator[simpy.Event, None, None]:
        while True:
            yield clock.timeout(rng.expovariate(RATE))
            clock.process(request())

    clock.process(source())
    clock.run(until=duration_s)
    return Run(len(waits), sum(waits) / len(waits), time.process_time() - begun)


def _peer(python: Path, duration_s: float, seed: int) -> Run:
    words = [python, PEER / "mmc.py", PLACES, RATE, LENGTH_S, duration_s, seed]
    done = subprocess.run(list(map(str, words)), capture_output=True, check=True)
    return Run(**orjson.loads(done.stdout))


def _ciw() -> Path:
    """Install Ciw into an environment of its own, once; return its Python."""
    lock = PEER / "requirements.lock"

    def build(into: Path) -> None:
        uv = Path(sys.executable).with_name("uv")
        run([uv, "venv", "--quiet", "--python", sys.executable, into / "venv"])
        python = into / "venv" / "bin" / "python"
        run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock])

    made = Artefact("ciw", {"lock": lock, "python": sys.version}, build, estimate_s=20)
    artefacts.ensure([made], PlainProgress())
    return made.path / "venv" / "bin" / "python"


def _erlang_c() -> float:
    """Return the mean wait of the queue, in seconds."""
    load = RATE * LENGTH_S
    terms = [load**n / math.factorial(n) for n in range(PLACES)]
    last = load**PLACES / math.factorial(PLACES) / (1 - load / PLACES)
    return last / (sum(terms) + last) * LENGTH_S / (PLACES - load)


def _thousand_replicas() -> tuple[float, int]:
    """Return the seconds of CPU that one threshold takes, and the requests."""
    requests = of_lengths(poisson(500, 3600, [Burst(3500, 600, 600)], 0), 300, "fixed", 0)
    service = Service(concurrency=PLACES, tokens_per_second=24, cold_start_s=420)
    policy = Policy(least=100, most=1000, threshold=5)
    begun = time.process_time()
    simulate(policy, service, requests, duration_s=3600)
    return time.process_time() - begun, len(requests)


if __name__ == "__main__":
    main()
