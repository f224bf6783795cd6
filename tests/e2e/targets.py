"""Deployments of the simulated engine, one a namespace, for runs that disturb them at once."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from drainproof.clusters.packages import client_image, python_image
from drainproof.content import content
from drainproof.progress import PlainProgress

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.clusters import Cluster

TOKENS_PER_S = 15
READY_S = 120


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
        meta = {"labels": labels, "annotations": {"drainproof.dev/engine": "vllm"}}
        pod = {
            "terminationGracePeriodSeconds": self.grace_s,
            "enableServiceLinks": False,
            "containers": [container],
        }
        allowed = {"drainproof.dev/chaos": "allowed"} if self.consent else {}
        where = {"namespace": self.namespace}
        update = {"maxUnavailable": 0, "maxSurge": 1}
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
                    "replicas": 1,
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
        manifests = json.dumps(self.manifests(sim_image(cluster)))
        cluster.kubectl("apply", "-f", "-", text_input=manifests)

    def ready(self, cluster: Cluster) -> None:
        """Wait until it serves."""
        cluster.kubectl(
            *("-n", self.namespace, "rollout", "status", "deployment/sim"),
            f"--timeout={READY_S}s",
        )

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
