"""What is known of each cluster that is up is in one file, written before anything is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from drainproof.clusters import Cluster
from drainproof.clusters.places import state_folder
from drainproof.clusters.processes import Process


@dataclass(frozen=True, slots=True)
class Record:
    """What must be known of a cluster to find, to judge and to remove it.

    Args:
        name: The cluster's name.
        engine: The first process of its engine, or None if it is on the user's own Docker.
        docker_host: The engine's address.
        node_image: The image that its nodes run.
        artefacts: The names of the artefacts' folders that it runs from.
        complete: Whether it was brought up to the end.
    """

    name: str
    engine: Process | None
    docker_host: str
    node_image: str
    artefacts: tuple[str, ...] = ()
    complete: bool = False

    @property
    def alive(self) -> bool:
        """Whether its engine runs; the user's own is taken to."""
        return self.engine is None or self.engine.alive

    @property
    def netns(self) -> Path | None:
        """The network namespace that it is in, or None if it is in this machine's."""
        return None if self.engine is None else Path(f"/proc/{self.engine.pid}/ns/net")

    def cluster(self) -> Cluster:
        """Return it as others see it."""
        state = state_folder(self.name)
        return Cluster(
            name=self.name,
            kubeconfig=state / "kubeconfig",
            netns=self.netns,
            kind_bin=state / "bin" / "kind",
            kubectl_bin=state / "bin" / "kubectl",
            docker_host=self.docker_host,
            node_image=self.node_image,
        )

    def save(self) -> None:
        """Write it to the cluster's folder, whole or not at all."""
        target = _file(self.name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = target.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self), indent=2))
        unfinished.replace(target)


def load(name: str) -> Record | None:
    """Read what is known of a cluster; None if there is nothing.

    One that another version wrote still says which engine to end. It counts as incomplete, as
    does one that can't be read.
    """
    try:
        stored = json.loads(_file(name).read_text())
    except OSError:
        return None
    except ValueError:
        stored = {}
    try:
        engine = stored["engine"]
        engine = Process(**engine) if engine else None
    except (TypeError, KeyError):
        return Record(name, None, "", "")
    try:
        stored["artefacts"] = tuple(stored["artefacts"])
        return Record(**{**stored, "engine": engine})
    except (TypeError, KeyError):
        return Record(name, engine, "", "")


def find(name: str) -> Cluster | None:
    """Return a cluster whose engine runs and that was brought up to the end."""
    record = load(name)
    return record.cluster() if record and record.complete and record.alive else None


def _file(name: str) -> Path:
    return state_folder(name) / "cluster.json"
