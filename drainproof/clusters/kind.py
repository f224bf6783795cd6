"""kind makes the cluster; this says how it is to be made, and looks at what it has become."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from typing import TYPE_CHECKING

import yaml

from drainproof.clusters import ENGINES_MOUNT, Cluster, recipe
from drainproof.clusters.commands import run
from drainproof.clusters.images import BuiltImage
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from drainproof.clusters.records import Record

_READY_S = 180
_SERVICES = (
    ("kube-system", "coredns"),
    ("local-path-storage", "local-path-provisioner"),
    ("kube-system", "metrics-server"),
)
"""What the cluster itself needs, by namespace and Deployment."""

# The cluster is thrown away, not repaired: its database need not survive a loss of power. There is
# one of each controller, so they need not agree on a leader every two seconds.
_KUBEADM = """\
kind: ClusterConfiguration
etcd:
  local:
    extraArgs:
      unsafe-no-fsync: "true"
controllerManager:
  extraArgs:
    leader-elect: "false"
scheduler:
  extraArgs:
    leader-elect: "false"
"""
# Two cores are too few to keep one node for the control plane alone.
_UNTAINTED = """\
kind: InitConfiguration
nodeRegistration:
  taints: []
"""


def configuration(engines: Path) -> str:
    """Return kind's configuration: a control plane that takes pods, and a worker."""
    mount = {"hostPath": str(engines), "containerPath": ENGINES_MOUNT, "readOnly": True}
    return yaml.safe_dump(
        {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "kubeadmConfigPatches": [_KUBEADM, _UNTAINTED],
            "nodes": [
                {"role": "control-plane", "extraMounts": [mount]},
                {"role": "worker", "extraMounts": [mount]},
            ],
        }
    )


def write_commands(record: Record, kind: Path, kube: Path) -> None:
    """Put ``kind``, ``kubectl`` and ``docker`` that work from anywhere beside the kubeconfig."""
    folder = record.cluster().kind_bin.parent
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kubectl").symlink_to(kube)
    enter, docker = "", shutil.which("docker") or ""
    if record.engine is not None:
        # The docker command is the engine root's, and only runs where that is mounted.
        enter = f"nsenter --target {record.engine.pid} --mount --net --wdns=/ -- "
        docker = "/usr/bin/docker"
    host = f"DOCKER_HOST={shlex.quote(record.docker_host)}"
    path = f'PATH={shlex.quote(str(folder))}:"$PATH"'
    for name, line in {
        "docker": f'{host} exec {enter}{docker} "$@"',
        "kind": f'{host} {path} exec {shlex.quote(str(kind))} "$@"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


def create(cluster: Cluster, configuration_file: Path) -> None:
    """Make the cluster; it is not Ready yet when this returns."""
    cluster.kubeconfig.touch(0o600)
    environment = {
        key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")
    }
    run(
        [
            cluster.kind_bin, "create", "cluster",
            f"--name={cluster.name}",
            f"--image={cluster.node_image}",
            f"--kubeconfig={cluster.kubeconfig}",
            f"--config={configuration_file}",
        ],
        env=environment,
    )  # fmt: skip
    cluster.kubeconfig.chmod(0o600)


def nodes(cluster: Cluster) -> Mapping[str, bool]:
    """Return whether each node is Ready, by name; none at all if the API does not answer."""
    done = cluster.run(
        [cluster.kubectl_bin, "get", "nodes", "-o", "json", "--request-timeout=5s"], check=False
    )
    if done.returncode != 0:
        return {}
    return {
        node["metadata"]["name"]: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in node["status"].get("conditions", [])
        )
        for node in json.loads(done.stdout)["items"]
    }


def wait_ready(cluster: Cluster, count: int) -> None:
    """Wait until ``count`` nodes are there and Ready.

    Raises:
        UserError: They are not, after three minutes.
    """
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        found = nodes(cluster)
        if len(found) == count and all(found.values()):
            return
        time.sleep(0.5)
    raise UserError(f"after {_READY_S} s, {count} Ready nodes were expected; found: {found}")


def add_metrics(cluster: Cluster) -> None:
    """Install metrics-server, and keep what the cluster itself needs on the control plane.

    A fault may take the worker away. Names that can't be resolved meanwhile would be a loss of DNS,
    which is another one.
    """
    cluster.kubectl("apply", "-f", "-", text_input=recipe.manifest("metrics-server.yaml"))
    kept = {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}}
    patch = json.dumps({"spec": {"template": {"spec": kept}}})
    for namespace, deployment in _SERVICES:
        cluster.kubectl("patch", f"deployment/{deployment}", "-n", namespace, "-p", patch)


def wait_services(cluster: Cluster) -> None:
    """Wait until DNS, storage and metrics serve.

    Raises:
        UserError: They do not, after three minutes.
    """
    for namespace, deployment in _SERVICES:
        cluster.kubectl(
            "rollout", "status", f"deployment/{deployment}", "-n", namespace,
            f"--timeout={_READY_S}s",
        )  # fmt: skip
    cluster.kubectl(
        "wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available",
        f"--timeout={_READY_S}s",
    )  # fmt: skip


def load_image(cluster: Cluster, image: Path | BuiltImage) -> None:
    """Give all nodes the images of an archive."""
    if isinstance(image, BuiltImage):
        if _has_image(cluster, image.name):
            return
        image = image.archive
    run([cluster.kind_bin, "load", "image-archive", image, "--name", cluster.name])


def _has_image(cluster: Cluster, name: str) -> bool:
    """Say whether all nodes have an image whose tag changes with its content."""
    listing = ["ctr", "--namespace", "k8s.io", "images", "ls", "--quiet"]
    return all(
        f"docker.io/{name}" in run(
            [cluster.kind_bin.parent / "docker", "exec", node, *listing]
        ).splitlines()
        for node in nodes(cluster)
    )  # fmt: skip
