"""The account that ``read-only-rbac.yaml`` makes, as whoever audits a cluster would use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from drainproof.collect.live import RBAC

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.clusters import Cluster

NAME = "drainproof-audit"


def create(cluster: Cluster, folder: Path, *, prometheus: bool = False) -> Path:
    """Make the account; return a kubeconfig with the context ``reader`` in a folder.

    Args:
        cluster: Where.
        folder: Where the kubeconfig goes.
        prometheus: Whether it may ask Prometheus through the API server, in ``monitoring``.
    """
    wanted = [
        item
        for item in yaml.safe_load_all(RBAC.read_text())
        if item and (prometheus or item["metadata"].get("namespace") != "monitoring")
    ]
    cluster.kubectl("apply", "-f", "-", text_input=yaml.safe_dump_all(wanted))
    token = cluster.kubectl("-n", "drainproof", "create", "token", NAME).strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "reader", "user": {"token": token}}]
    where = config["clusters"][0]["name"]
    config["contexts"] = [{"name": "reader", "context": {"cluster": where, "user": "reader"}}]
    config["current-context"] = ""
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def remove(cluster: Cluster) -> None:
    """Delete it, as far as it is there."""
    found = ("delete", "--ignore-not-found")
    cluster.kubectl(*found, "clusterrole,clusterrolebinding", NAME, "drainproof-pods")
    cluster.kubectl(*found, "-n", "monitoring", "role,rolebinding", "drainproof-prometheus")
    cluster.kubectl(*found, "namespace", "drainproof")  # waits: it may be made again at once
