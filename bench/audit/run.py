"""How long the audit of one large file takes, beside other linters on the same file.

Wall time and peak memory of the whole process, interpreter start included, in turns. The others are
built or installed once, into the user's cache; each writes its shortest format and drainproof its
usual one, with all its checks. They look for different things: this compares the waiting, not the
findings. Kyverno is given three rules.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from bench import usage
from bench.audit import peers
from drainproof.errors import UserError
from drainproof.progress import PlainProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.usage import Usage

SLOW = frozenset({"kyverno", "checkov"})
"""These take minutes on the large file: they are run on the small one only, and fewer times."""
MEGABYTE = 10**6

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: vllm-{n}
  namespace: inference
spec:
  replicas: 1
  selector:
    matchLabels:
      app: vllm-{n}
  template:
    metadata:
      labels:
        app: vllm-{n}
    spec:
      containers:
        - name: vllm
          image: vllm/vllm-openai:v0.6.5
          args:
            - --model=meta-llama/Llama-3.1-8B-Instruct
            - --tensor-parallel-size=1
            - --gpu-memory-utilization=0.90
            - --max-model-len=8192
            - --max-num-seqs=64
            - --port=8000
          ports:
            - containerPort: 8000
              name: http
          env:
            - name: HUGGING_FACE_HUB_TOKEN
              valueFrom:
                secretKeyRef:
                  name: hf-token
                  key: token
          resources:
            limits:
              nvidia.com/gpu: 1
              cpu: "8"
              memory: 32Gi
          readinessProbe:
            httpGet:
              path: /health
              port: 8000
            initialDelaySeconds: 120
            periodSeconds: 10
          volumeMounts:
            - name: dshm
              mountPath: /dev/shm
      volumes:
        - name: dshm
          emptyDir:
            medium: Memory
            sizeLimit: 8Gi
      terminationGracePeriodSeconds: 120
---
"""
SCALED_OBJECT = """\
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: vllm-{n}
  namespace: inference
spec:
  scaleTargetRef:
    name: vllm-{n}
  minReplicaCount: 1
  maxReplicaCount: 3
  triggers:
    - type: prometheus
      metadata:
        serverAddress: http://prometheus.monitoring:9090
        query: |
          sum(vllm:num_requests_waiting{{namespace="inference",pod=~"vllm-{n}-.*"}})
        threshold: "5"
---
"""


def word(number: int) -> str:
    """Return a name without a number, in which alone fleets differ that are read at once."""
    return "".join(
        chr(ord("a") + byte % 26) for byte in hashlib.sha256(b"%d" % number).digest()[:9]
    )


def main() -> None:
    """Measure all on the small file and the fast ones on the large one; print tables and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m bench.audit.run")
    parser.add_argument("--workloads", type=int, default=1000, help="each with a ScaledObject")
    parser.add_argument("--large", type=int, default=25_000, help="the same, for the large file")
    parser.add_argument("--rounds", type=int, default=7, help="for each tool (default 7)")
    parser.add_argument("--all", action="store_true", help="the slow ones on the large file too")
    options = parser.parse_args()
    others = peers.set_up(PlainProgress())
    own = [sys.executable, "-m", "drainproof", "audit"]
    tools = {"drainproof": own, **others}
    slow_rounds = min(2, options.rounds)
    small = measure(
        options.workloads,
        tools,
        {name: slow_rounds if name in SLOW else options.rounds for name in tools},
    )
    two = {name: tools[name] for name in ("drainproof", "kube-score")}
    words = measure(options.workloads, two, dict.fromkeys(two, options.rounds), word)
    large_tools = {name: tools[name] for name in tools if options.all or name not in SLOW}
    large = measure(options.large, large_tools, dict.fromkeys(large_tools, slow_rounds))
    last = {
        "bench": "audit",
        "objects": 2 * options.workloads,
        "seconds": {name: round(best(runs), 4) for name, runs in small.items()},
        "peak_mb": {name: round(peak(runs)) for name, runs in small.items()},
        "of_kube_score": round(best(small["drainproof"]) / best(small["kube-score"]), 3),
        "named_by_words": {
            "seconds": {name: round(best(runs), 4) for name, runs in words.items()},
            "of_kube_score": round(best(words["drainproof"]) / best(words["kube-score"]), 3),
        },
        "large": {
            "objects": 2 * options.large,
            "seconds": {name: round(best(runs), 3) for name, runs in large.items()},
            "peak_mb": {name: round(peak(runs)) for name, runs in large.items()},
        },
    }
    print(orjson.dumps(last).decode())


def measure(
    workloads: int,
    tools: dict[str, list[str]],
    rounds: dict[str, int],
    named: Callable[[int], object] = int,
) -> dict[str, list[Usage]]:
    """Run every tool on one file, in turns, and print what that took."""
    runs: dict[str, list[Usage]] = {name: [] for name in tools}
    with tempfile.TemporaryDirectory(prefix="drainproof-bench-") as folder:
        file = Path(folder) / "manifests.yaml"
        with file.open("w", encoding="utf-8") as stream:
            for number in range(workloads):
                stream.write(DEPLOYMENT.format(n=named(number)))
                stream.write(SCALED_OBJECT.format(n=named(number)))
        print(
            f"\n{workloads} Deployments + {workloads} ScaledObjects, as vllm-{named(17)}, "
            f"{file.stat().st_size / MEGABYTE:.1f} MB"
        )
        for turn in range(max(rounds.values())):
            for name, command in tools.items():
                if turn < rounds[name]:
                    runs[name].append(usage.of_tool([*command, str(file)]))
        judged = summary([*tools["drainproof"], "--format", "json", str(file)])
    if judged != workloads:
        raise SystemExit(f"drainproof judged {judged} of {workloads} workloads")
    print(f"{'tool':<13}{'runs':>5}{'min s':>9}{'median s':>10}{'peak MB':>9}{'x drainproof':>14}")
    for name, listed in runs.items():
        middle = statistics.median(one.seconds for one in listed)
        ratio = best(listed) / best(runs["drainproof"])
        print(
            f"{name:<13}{len(listed):>5}{best(listed):>9.3f}{middle:>10.3f}"
            f"{peak(listed):>9.0f}{ratio:>14.2f}"
        )
    ratio = best(runs["drainproof"]) / best(runs["kube-score"])
    per_object = best(runs["drainproof"]) / (2 * workloads) * 1e6
    print(f"drainproof / kube-score: {ratio:.2f}; drainproof takes {per_object:.0f} µs an object")
    return runs


def best(runs: list[Usage]) -> float:
    """Return the shortest time, in seconds."""
    return min(one.seconds for one in runs)


def peak(runs: list[Usage]) -> float:
    """Return the largest peak memory, in megabytes."""
    return max(one.peak_bytes for one in runs) / MEGABYTE


def summary(command: list[str]) -> int:
    """Return how many workloads drainproof judged, by its own report."""
    said = orjson.loads(usage.of_tool(command).out)
    return int(said["summary"]["workloads"])


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
