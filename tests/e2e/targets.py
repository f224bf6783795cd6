"""Deployments of the simulated engine, one a namespace, for runs that disturb them at once."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import drainproof
from drainproof.clusters.packages import client_image, python_image
from drainproof.content import content
from drainproof.judge.chaos import HISTORY, VERDICT
from drainproof.judge.evidence import tally_file
from drainproof.progress import PlainProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.clusters import Cluster

T = TypeVar("T")
GONE_S = 120
"""Within this, the namespace of an earlier run is gone."""
TOKENS_PER_S = 5
"""Slow, since what an engine does at SIGTERM is the same at any pace, and each token costs CPU."""
READY_S = 120
ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Deployment of the simulated engine in a namespace of its own."""

    namespace: str
    flags: tuple[str, ...] = ()
    prestop_s: int = 0
    grace_s: int = 30
    consent: bool = True
    service_selects: str = "sim"
    load_time_s: float = 1.0
    replicas: int = 1
    surge: int = 1
    """Pods that a rollout may have too many; without one, it may have one too few."""
    engine: str = "vllm"
    ready_s: int = READY_S
    """What it may take until it serves."""

    def manifests(self, image: str) -> dict[str, Any]:
        """Return all its objects as one List."""
        labels = {"app": "sim"}
        probe = {"httpGet": {"path": "/health", "port": 8000}, "periodSeconds": 1}
        container: dict[str, Any] = {
            "name": "vllm",
            "image": image,
            "args": [
                "serve",
                "sim",
                f"--api={self.engine}",
                f"--token-rate={TOKENS_PER_S}",
                f"--load-time={self.load_time_s}",
                *self.flags,
            ],
            "ports": [{"containerPort": 8000, "name": "http"}],
            "readinessProbe": probe,
            "resources": {"requests": {"cpu": "10m", "memory": "48Mi"}},
        }
        if self.prestop_s:
            container["lifecycle"] = {"preStop": {"sleep": {"seconds": self.prestop_s}}}
        meta = {"labels": labels, "annotations": {"drainproof.dev/engine": self.engine}}
        pod = {
            "terminationGracePeriodSeconds": self.grace_s,
            "enableServiceLinks": False,
            "containers": [container],
        }
        allowed = {"drainproof.dev/chaos": "allowed"} if self.consent else {}
        where = {"namespace": self.namespace}
        update = {"maxUnavailable": 1 - self.surge, "maxSurge": self.surge}
        items = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": allowed},
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "sim", **where},
                "spec": {
                    "replicas": self.replicas,
                    "selector": {"matchLabels": labels},
                    "strategy": {"type": "RollingUpdate", "rollingUpdate": update},
                    "template": {"metadata": meta, "spec": pod},
                },
            },
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "sim", **where},
                "spec": {
                    "selector": {"app": self.service_selects},
                    "ports": [{"port": 80, "targetPort": "http"}],
                },
            },
        ]
        return {"apiVersion": "v1", "kind": "List", "items": items}

    def deploy(self, cluster: Cluster) -> None:
        """Create it; :meth:`ready` waits for it."""
        self.apply(cluster, self.manifests(sim_image(cluster)))

    def apply(self, cluster: Cluster, manifests: dict[str, Any]) -> None:
        """Create what it is made of, once a namespace of an earlier run is gone."""
        name = f"namespace/{self.namespace}"
        phase = ("-o", "jsonpath={.status.phase}")
        if cluster.kubectl("get", name, "--ignore-not-found", *phase) == "Terminating":
            cluster.kubectl("wait", name, "--for=delete", f"--timeout={GONE_S}s")
        cluster.kubectl("apply", "-f", "-", text_input=json.dumps(manifests))

    def ready(self, cluster: Cluster) -> None:
        """Wait until it serves, whatever its readiness probe says."""
        where = ("-n", self.namespace)
        cluster.kubectl(*where, "rollout", "status", "deployment/sim", f"--timeout={self.ready_s}s")
        deadline, between = time.monotonic() + self.ready_s, threading.Event()
        while "loaded" not in cluster.kubectl(*where, "logs", "deployment/sim"):
            assert time.monotonic() < deadline, f"not loaded within {self.ready_s} s"
            between.wait(0.5)

    def remove(self, cluster: Cluster) -> None:
        """Delete the namespace, without waiting for it."""
        cluster.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def template(self, cluster: Cluster) -> dict[str, Any]:
        """Return its pod template as it is stored."""
        found = cluster.kubectl("-n", self.namespace, "get", "deployment", "sim", "-o", "json")
        template: dict[str, Any] = json.loads(found)["spec"]["template"]
        return template

    def residue(self, cluster: Cluster) -> list[str]:
        """Return what drainproof left in the namespace."""
        found = cluster.kubectl(
            *("-n", self.namespace, "get", "jobs,configmaps,leases", "-o", "name"),
            *("-l", "app.kubernetes.io/managed-by=drainproof"),
        )
        return found.split()

    def chaos(
        self, cluster: Cluster, evidence: Path, *options: str, image: str = ""
    ) -> subprocess.Popen[str]:
        """Begin a chaos run on it."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "drainproof", "chaos", "deployment/sim"),
                *("--context", cluster.context, "-n", self.namespace),
                *("--image", image or streams_image(cluster), "--evidence", str(evidence)),
                *options,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def while_the_client_kept_up(run: Callable[[Path], T], folder: Path) -> T:
    """Repeat a run whose client was too slow.

    The machine is shared. Where even the client stands still, what a busy node does to streams is
    not what a test is about, and nothing passes.

    Args:
        run: Makes one run, whose evidence it puts into the folder that it is given.
        folder: Where those folders go.
    """
    for attempt in range(1, ATTEMPTS):
        evidence = folder / str(attempt)
        made = run(evidence)
        if not _slow(evidence):
            return made
    return run(folder / str(ATTEMPTS))


def _slow(evidence: Path) -> bool:
    if not (evidence / VERDICT).exists():
        return False
    scene = tally_file(evidence / HISTORY).scene
    return any(scene.clients.verdict(span.begin, span.until).slow for span in scene.spans)


@cache
def sim_image(cluster: Cluster) -> str:
    """Build the simulated engine's image and load it into the nodes; return its name."""
    source = content("fixtures/engines") / "sim"
    lock = source / "requirements.lock"
    start = ("python3", "-m", "sim")
    image = python_image("drainproof/sim", lock, {"sim": source}, start, PlainProgress())
    cluster.load_image(image)
    return image.name


@cache
def streams_image(cluster: Cluster) -> str:
    """Build the streaming client's image and load it into the nodes; return its name."""
    image = client_image(PlainProgress())
    cluster.load_image(image)
    return image.name


@cache
def audit_image(cluster: Cluster) -> str:
    """Build an image that audits, of what the real one installs, and load it; return its name."""
    files = {
        "drainproof": Path(drainproof.__file__).parent,
        "drainproof/_content/checks": content("checks"),
    }
    lock = content("deploy") / "requirements.lock"
    start = ("python3", "-m", "drainproof")
    image = python_image("drainproof/audit", lock, files, start, PlainProgress())
    cluster.load_image(image)
    return image.name
