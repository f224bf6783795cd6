"""How much longer a chaos run takes than its faults do, done by kubectl without drainproof.

On the embedded cluster, two Deployments of the simulated engine load as long as a real one may.
drainproof rolls one, adds a replica and deletes a pod, all under streams; ``kubectl`` does the same
to the other at the same time, and waits as long as the cluster needs for it: until new pods are
ready and old ones gone. Nothing streams there. A pod on which streams are in flight can't be gone
before one that began just before its deletion has ended, whoever deletes it, so there the preStop
delay is as long as a stream.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof import clusters
from drainproof.progress import PlainProgress
from tests.e2e.targets import TOKENS_PER_S, Target, sim_image, streams_image

if TYPE_CHECKING:
    from drainproof.clusters import Cluster

FAULTS = ("rollout", "scale-up", "pod-delete")
REPLICAS = 2
"""So that one serves while a deleted one is replaced."""
GOAL = 1.2


def main() -> None:
    """Measure both; print the ratio and a line of JSON; exit with 1 if it is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.chaos.run")
    parser.add_argument("--load-s", type=int, default=150, help="how long an engine loads")
    parser.add_argument("--stream-s", type=int, default=30, help="how long a stream lasts")
    parser.add_argument("--prestop-s", type=int, default=15)
    options = parser.parse_args()
    cluster = clusters.up(progress=PlainProgress())
    streams_image(cluster)
    sim_image(cluster)
    cluster.enter()
    ours, theirs = (
        Target(
            namespace=f"bench-{name}",
            flags=(f"--shutdown-timeout={2 * options.stream_s}",),
            prestop_s=prestop_s,
            grace_s=prestop_s + 2 * options.stream_s,
            load_time_s=options.load_s,
            replicas=REPLICAS,
            ready_s=REPLICAS * options.load_s + 120,
        )
        for name, prestop_s in (
            ("drainproof", options.prestop_s),
            ("kubectl", max(options.prestop_s, options.stream_s)),
        )
    )
    try:
        for target in (ours, theirs):
            target.deploy(cluster)
        for target in (ours, theirs):
            target.ready(cluster)
        with ThreadPoolExecutor() as both, tempfile.TemporaryDirectory() as folder:
            tokens = TOKENS_PER_S * options.stream_s
            run = both.submit(by_drainproof, cluster, ours, tokens, Path(folder) / "evidence")
            alone = both.submit(by_kubectl, cluster, theirs).result()
            whole = run.result()
    finally:
        for target in (ours, theirs):
            target.remove(cluster)
    ratio = whole / alone
    print(
        f"{', '.join(FAULTS)} of {REPLICAS} replicas of an engine that loads for "
        f"{options.load_s} s, under streams of {options.stream_s} s: {whole:.0f} s; "
        f"by kubectl, without streams, its pods stopping as late: {alone:.0f} s; {ratio:.2f} of it"
    )
    seconds = {"drainproof": round(whole, 1), "kubectl": round(alone, 1)}
    load = round(os.getloadavg()[0], 1)
    print(
        json.dumps({"bench": "chaos", "seconds": seconds, "ratio": round(ratio, 3), "load": load})
    )
    if ratio > GOAL:
        sys.exit(f"error: over the goal of {GOAL:g}")


def by_drainproof(cluster: Cluster, target: Target, tokens: int, evidence: Path) -> float:
    """Return how many seconds the whole command takes; it has to pass."""
    words = [word for fault in FAULTS for word in ("--fault", fault)]
    begun = time.monotonic()
    process = target.chaos(
        cluster, evidence, *words, "--rate", "1", "--tokens", str(tokens), "--after", "2"
    )
    said, errors = process.communicate(timeout=3600)
    if process.returncode:
        raise SystemExit(f"drainproof chaos ended with {process.returncode}:\n{errors}{said}")
    took_s = time.monotonic() - begun
    sys.stderr.write(errors)  # when each step was done
    return took_s


def by_kubectl(cluster: Cluster, target: Target) -> float:
    """Return how many seconds the cluster needs for the same faults, and to take them back."""
    begun = time.monotonic()

    def kubectl(*words: str) -> str:
        return cluster.kubectl("-n", target.namespace, *words)

    def pods() -> list[str]:
        return kubectl("get", "pods", "-o", "name").split()

    def settled(gone: list[str]) -> None:
        wait = f"--timeout={target.ready_s}s"
        kubectl("rollout", "status", "deployment/sim", wait)
        if gone:
            kubectl("wait", "--for=delete", wait, *gone)

    old = pods()
    kubectl("rollout", "restart", "deployment/sim")
    settled(old)
    old = pods()
    kubectl("scale", "deployment/sim", f"--replicas={REPLICAS + 1}")
    settled([])
    kubectl("scale", "deployment/sim", f"--replicas={REPLICAS}")
    settled([pod for pod in pods() if pod not in old])
    gone = pods()[:1]
    kubectl("delete", *gone, "--wait=false")
    settled(gone)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
