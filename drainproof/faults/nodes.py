"""The nodes of the embedded cluster, from outside: what no API server can do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drainproof.clusters import Cluster

_STOP_S = 60.0
_ID = "containerd://"


class Nodes:
    """The containers that are a cluster's nodes.

    Args:
        cluster: The embedded cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def stop(self, node: str) -> None:
        """Stop a node at once, as a loss of power does.

        Raises:
            UserError: It could not be.
        """
        self._docker("kill", node)

    def start(self, node: str) -> None:
        """Start a node; one that runs is left as it is.

        Raises:
            UserError: It could not be.
        """
        self._docker("start", node)

    def kill_container(self, node: str, container_id: str) -> None:
        """Kill the first process of a pod's container, which takes all others with it.

        Raises:
            UserError: It could not be.
        """
        words = ("ctr", "--namespace", "k8s.io", "task", "kill", "--signal", "SIGKILL")
        self._docker("exec", node, *words, container_id.removeprefix(_ID))

    def _docker(self, *words: str) -> None:
        # kind's own docker command, which reaches the cluster's engine from anywhere
        docker = self._cluster.kind_bin.parent / "docker"
        self._cluster.run([docker, *words], timeout_s=_STOP_S)


def nodes_of(context: str) -> Nodes | None:
    """Return the nodes of the embedded cluster that a context means; None for any other."""
    from drainproof import clusters  # noqa: PLC0415 - for the embedded cluster only

    cluster = clusters.for_context(context)
    return Nodes(cluster) if cluster else None
