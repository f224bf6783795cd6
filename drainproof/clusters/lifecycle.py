"""Up, down and status of a cluster; killed at any point, the next one cleans up after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

from drainproof.clusters import (
    ClusterStatus,
    artefacts,
    engine,
    kind,
    packages,
    preflight,
    recipe,
    records,
    stacks,
)
from drainproof.clusters.artefacts import locked
from drainproof.clusters.commands import run
from drainproof.clusters.places import clusters_folder, state_folder
from drainproof.clusters.records import Record
from drainproof.clusters.versions import versions
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drainproof.clusters import Cluster
    from drainproof.clusters.processes import Process
    from drainproof.progress import Progress

_NODES = 2


def up(name: str, progress: Progress, engines: Path, with_stacks: Sequence[str]) -> Cluster:
    """See ``drainproof.clusters.up``."""
    wanted = stacks.named(with_stacks)
    built = [stacks.artefact(stack.name) for stack in wanted]
    with _alone(name, progress):
        found = status(name)
        if found.cluster is not None and found.healthy:
            progress.line(f"the cluster {name} is up already")
            packages.client_image(progress)
            if artefacts.missing(built):
                preflight.check(own_engine=found.cluster.netns is not None, also=built)
            artefacts.ensure(built, progress)
            _add(found.cluster, wanted, progress)
            return found.cluster
        own = not usable_docker()
        preflight.check(own_engine=own, also=built)
        if found.problem and found.running:
            progress.line(f"the cluster {name} is thrown away: {found.problem}")
        _remove(name)
        artefacts.ensure([*recipe.needed(own_engine=own), *built], progress)
        # Inside the cluster's network, nothing can be fetched that it is made from.
        packages.client_image(progress)
        engines.mkdir(parents=True, exist_ok=True)
        with progress.step(f"cluster {name}", 40):
            try:
                create = _create if own else _create_on_users_docker
                cluster = create(name, engines)
            except BaseException:
                _remove(name)
                raise
        _add(cluster, wanted, progress)
        return cluster


def _add(cluster: Cluster, wanted: Sequence[stacks.Stack], progress: Progress) -> None:
    """Install the stacks that are not there; a cluster whose stack fails stays up."""
    there = stacks.installed(cluster) if wanted else {}
    lacking = [stack for stack in wanted if there.get(stack.name) != ""]
    for stack in wanted:
        if stack not in lacking:
            progress.line(f"{stack.name} is there already")
    if lacking:
        with progress.step(" and ".join(stack.name for stack in lacking), 40):
            stacks.install(cluster, lacking)


def _create(name: str, engines: Path) -> Cluster:
    state = state_folder(name)
    state.mkdir(parents=True, mode=0o700)
    record = Record(
        name=name,
        engine=None,
        docker_host=f"unix://{engine.socket_path(state)}",
        node_image=recipe.node_image_name(),
        artefacts=tuple(one.path.name for one in recipe.needed(own_engine=True)),
    )

    def remember(process: Process) -> None:
        replace(record, engine=process).save()

    record = replace(record, engine=engine.start(state, remember))
    return _finish(record, engines)


def _create_on_users_docker(name: str, engines: Path) -> Cluster:
    where = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    record = Record(
        name=name,
        engine=None,
        docker_host=os.environ.get("DOCKER_HOST") or run(where).strip(),
        node_image=users_node_image(),
        artefacts=tuple(one.path.name for one in recipe.needed(own_engine=False)),
    )
    record.save()
    return _finish(record, engines)


def _finish(record: Record, engines: Path) -> Cluster:
    cluster = record.cluster()
    built = recipe.programs().path
    kind.write_commands(record, built / "kind", built / "kube")
    configuration = cluster.kubeconfig.with_name("kind.yaml")
    configuration.write_text(kind.configuration(engines))
    kind.create(cluster, configuration)
    if record.engine is None:
        # kind's own node image has neither what pods run on nor metrics.
        cluster.load_image(recipe.system_images().path / "images.tar")
        kind.add_metrics(cluster)
    kind.wait_ready(cluster, _NODES)
    kind.wait_services(cluster)
    replace(record, complete=True).save()
    return cluster


def down(name: str, progress: Progress) -> bool:
    """See ``drainproof.clusters.down``."""
    with _alone(name, progress):
        if not state_folder(name).exists():
            return False
        with progress.step(f"removing the cluster {name}", 5):
            _remove(name)
        return True


def _remove(name: str) -> None:
    record, state = records.load(name), state_folder(name)
    command = state / "bin" / "kind"
    if record is not None and record.engine is None and command.exists():
        run([command, "delete", "cluster", "--name", name])
    left = engine.stop(state, record.engine if record else None)
    if not left and state.exists():
        shutil.rmtree(state)
    if left:
        raise UserError(
            f"of the cluster {name}, these could not be removed: {', '.join(left)}",
            "end what still uses them, then run `drainproof cluster down` again",
        )


def status(name: str) -> ClusterStatus:
    """See ``drainproof.clusters.status``."""
    record = records.load(name)
    if record is None or not record.alive:
        return ClusterStatus(name, running=False, nodes={}, problem="it is not up", cluster=None)
    cluster = record.cluster()
    found = kind.nodes(cluster) if record.complete else {}
    unready = [node for node, ready in found.items() if not ready]
    problem = ""
    if not record.complete:
        problem = "it was never brought up to the end"
    elif not found:
        problem = "its API does not answer"
    elif len(found) != _NODES:
        problem = f"it has {len(found)} nodes, not {_NODES}"
    elif unready:
        problem = f"not Ready: {', '.join(unready)}"
    elif record.engine is not None and record.node_image != recipe.node_image_name():
        problem = "it was made from another recipe"
    there = {} if problem else stacks.installed(cluster)
    return ClusterStatus(
        name, running=True, nodes=found, problem=problem, cluster=cluster, stacks=there
    )


@contextlib.contextmanager
def _alone(name: str, progress: Progress) -> Iterator[None]:
    with locked(clusters_folder() / f".{name}.lock", progress, f"cluster {name}"):
        yield


def users_node_image() -> str:
    """Return the name of kind's own node image of the same Kubernetes."""
    return f"kindest/node:{versions().kubernetes}"


def usable_docker() -> bool:
    """Say whether the user has a Docker engine that has, or can pull, kind's own node image."""
    if shutil.which("docker") is None:
        return False
    for command in (("image", "inspect"), ("pull", "--quiet")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                ["docker", *command, users_node_image()],
                capture_output=True, check=False, timeout=600,
            )  # fmt: skip
            if done.returncode == 0:
                return True
    return False
