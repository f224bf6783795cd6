"""How long the audit of one large file takes, beside kube-score on the same file.

Wall time of the whole process, interpreter start included, in turns. kube-score is built from its
Go module, once, into the user's cache; it writes its shortest format, drainproof its usual one.
The two look for different things: this compares the waiting, not the findings.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import orjson

from drainproof.clusters import artefacts, golang
from drainproof.errors import UserError
from drainproof.progress import PlainProgress

HERE = Path(__file__).parent
KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score"
LIMIT_S = 300.0
"""No run may take longer than this."""

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
"""


def main() -> None:
    """Measure both and print a table, the ratio, and a last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, prog="bench/audit/run.py")
    parser.add_argument("--workloads", type=int, default=1000, help="each with a ScaledObject")
    parser.add_argument("--rounds", type=int, default=7, help="for each tool (default 7)")
    options = parser.parse_args()
    peer = golang.go_binary(HERE / "peers", KUBE_SCORE, name="kube-score", estimate_s=60)
    artefacts.ensure([peer], PlainProgress())
    with tempfile.TemporaryDirectory(prefix="drainproof-bench-") as name:
        file = Path(name) / "manifests.yaml"
        file.write_text(manifests(options.workloads), encoding="utf-8")
        commands = {
            "drainproof": [sys.executable, "-m", "drainproof", "audit", str(file)],
            "kube-score": [str(peer.path / "kube-score"), "score", "-o", "ci", str(file)],
        }
        said = run([*commands["drainproof"], "--format", "json"])[1]
        judged = orjson.loads(said)["summary"]["workloads"]
        if judged != options.workloads:
            raise SystemExit(f"drainproof judged {judged} of {options.workloads} workloads")
        seconds: dict[str, list[float]] = {tool: [] for tool in commands}
        for _ in range(options.rounds):
            for tool, command in commands.items():
                seconds[tool].append(run(command)[0])
        size = file.stat().st_size / 1e6
    print(f"{options.workloads} Deployments + {options.workloads} ScaledObjects, {size:.1f} MB")
    print(f"{'tool':<12}{'min s':>8}{'median s':>10}   of {options.rounds} runs each")
    for tool, taken in seconds.items():
        print(f"{tool:<12}{min(taken):>8.3f}{statistics.median(taken):>10.3f}")
    best = {tool: min(taken) for tool, taken in seconds.items()}
    middle = {tool: statistics.median(taken) for tool, taken in seconds.items()}
    print(
        f"drainproof / kube-score: {best['drainproof'] / best['kube-score']:.2f} (min), "
        f"{middle['drainproof'] / middle['kube-score']:.2f} (median)"
    )
    last = {"bench": "audit", "seconds": {tool: round(taken, 4) for tool, taken in best.items()}}
    print(orjson.dumps(last).decode())


def manifests(workloads: int) -> str:
    """Return a Deployment and its ScaledObject, ``workloads`` times."""
    return "---\n".join(
        text.format(n=number) for number in range(workloads) for text in (DEPLOYMENT, SCALED_OBJECT)
    )


def run(command: list[str]) -> tuple[float, bytes]:
    """Run a tool to its end; return seconds and what it printed.

    Both tools exit with 1 for findings; anything else is an error. Python may keep its compiled
    modules, as it does for users; the first run writes them.
    """
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False, env=env, timeout=LIMIT_S)
    taken = time.perf_counter() - start
    if done.returncode not in {0, 1}:
        raise SystemExit(f"{command[0]}: exit code {done.returncode}: {done.stderr.decode()[:500]}")
    return taken, done.stdout


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
