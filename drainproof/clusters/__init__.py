"""The cluster that tests and the demo run on: kind, on an engine and images that we bring along.

``up`` gives a ``Cluster``, ``find`` and ``for_context`` find one that is up, ``down`` removes it.
"""

# ruff: noqa: PLC0415 - audits of files import this too: what they don't use is imported late

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from drainproof.clusters.places import engines_folder
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from drainproof.clusters.images import BuiltImage
    from drainproof.progress import Progress

DEFAULT_NAME = "drainproof"
ENGINES_MOUNT = "/drainproof/engines"
_CONTEXT_PREFIX = "kind-"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that is up.

    Args:
        name: Its name, as kind knows it.
        kubeconfig: Its own kubeconfig; the user's is never touched.
        netns: The network namespace that it is in, or None if it is on the user's own Docker.
        kind_bin: The kind command, ready to be called from anywhere.
        kubectl_bin: A kubectl of the cluster's version.
        docker_host: The engine's address as in ``DOCKER_HOST``.
        node_image: The image that its nodes run.
    """

    name: str
    kubeconfig: Path
    netns: Path | None
    kind_bin: Path
    kubectl_bin: Path
    docker_host: str
    node_image: str

    @property
    def context(self) -> str:
        """The name of its context in its kubeconfig."""
        return f"{_CONTEXT_PREFIX}{self.name}"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with the cluster's kubeconfig and programs in front."""
        return {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "DOCKER_HOST": self.docker_host,
            "PATH": f"{self.kubectl_bin.parent}:{os.environ.get('PATH', os.defpath)}",
        }

    def enter(self) -> None:
        """Move the calling thread into the cluster's network namespace.

        Threads and processes that it starts later are in it too; threads that run already are
        not. Nothing happens if there is no namespace, or if the thread is in it.

        Raises:
            UserError: The namespace is gone, or this process may not enter it.
        """
        from drainproof.clusters import namespaces

        if self.netns is not None:
            namespaces.enter(self.netns)

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        text_input: str | None = None,
        check: bool = True,
        timeout_s: float | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the cluster's network namespace, with its kubeconfig and kubectl.

        Raises:
            UserError: It failed, and ``check`` is set; the message has what it printed.
        """
        from drainproof.clusters import namespaces

        words = [str(word) for word in argv]
        done = subprocess.run(
            namespaces.command_inside(self.netns, words),
            env=self.environment,
            input=text_input,
            stdin=subprocess.DEVNULL if text_input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        if check and done.returncode != 0:
            raise UserError(
                f"`{' '.join(words)}` failed with exit code {done.returncode}:\n"
                f"{done.stderr.strip() or done.stdout.strip()}",
            )
        return done

    def kubectl(self, *arguments: str, text_input: str | None = None) -> str:
        """Run kubectl and return what it printed; raises a ``UserError`` if it failed."""
        return self.run(
            [self.kubectl_bin, "--context", self.context, *arguments], text_input=text_input
        ).stdout

    def load_image(self, image: Path | BuiltImage) -> None:
        """Give all nodes the images of an archive; one that they have already costs nothing.

        Raises:
            UserError: kind could not load it.
        """
        from drainproof.clusters import kind

        kind.load_image(self, image)


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """What ``drainproof cluster status`` says."""

    name: str
    running: bool
    """Whether there is anything of it that runs."""
    nodes: Mapping[str, bool]
    """Whether each node is Ready, by its name."""
    problem: str
    """Why it can't be used; empty if it can."""
    cluster: Cluster | None
    stacks: Mapping[str, str] = field(default_factory=dict)
    """What is wrong with each stack that is there, by its name; empty if it serves."""

    @property
    def healthy(self) -> bool:
        """Whether it can be used as it is."""
        return self.running and not self.problem


def up(
    name: str = DEFAULT_NAME,
    *,
    progress: Progress,
    engines: Path | None = None,
    stacks: Sequence[str] = (),
) -> Cluster:
    """Bring a cluster up and return it: two Ready nodes, Services, DNS, storage, metrics.

    One that is healthy is used as it is. One that is not, or that was made from another recipe,
    is thrown away.

    Args:
        name: The cluster's name.
        progress: What is going on is reported to it.
        engines: The folder that nodes see, read-only, at ``ENGINES_MOUNT``; it may be filled
            later. By default it is in the user's cache folder.
        stacks: What is installed in it, if it is not there already: ``keda``, ``prometheus``.

    Raises:
        UserError: This machine lacks something (all of it is listed, before any work), or
            something failed.
    """
    from drainproof.clusters import lifecycle

    return lifecycle.up(name, progress, engines or engines_folder(), stacks)


def down(name: str = DEFAULT_NAME, *, progress: Progress) -> bool:
    """Remove a cluster with all its processes, mounts, namespaces, cgroups and files.

    Returns:
        Whether there was anything to remove.

    Raises:
        UserError: Something of it could not be removed.
    """
    from drainproof.clusters import lifecycle

    return lifecycle.down(name, progress)


def status(name: str = DEFAULT_NAME) -> ClusterStatus:
    """Look at a cluster, and change nothing."""
    from drainproof.clusters import lifecycle

    return lifecycle.status(name)


def shell(name: str, argv: Sequence[str] = ()) -> int:
    """Run a command, by default the user's shell, inside the cluster's network.

    KUBECONFIG, DOCKER_HOST and the PATH are set so that kubectl, kind and docker reach it.

    Returns:
        The command's exit code.

    Raises:
        UserError: The cluster is not up.
    """
    from drainproof.clusters import namespaces

    cluster = find(name)
    if cluster is None:
        raise UserError(f"the cluster {name} is not up", f"drainproof cluster up --name {name}")
    command = list(argv) or [os.environ.get("SHELL", "/bin/sh")]
    try:
        return subprocess.call(
            namespaces.command_inside(cluster.netns, command), env=cluster.environment
        )
    except FileNotFoundError as error:
        raise UserError(f"{command[0]} was not found") from error


def find(name: str = DEFAULT_NAME) -> Cluster | None:
    """Return a cluster that is up, or None. Its health is not looked at."""
    from drainproof.clusters import records

    return records.find(name)


def for_context(context: str) -> Cluster | None:
    """Return the cluster that a kubeconfig's context such as ``kind-drainproof`` means.

    None if it is not one of ours: then the context is the user's own.
    """
    if not context.startswith(_CONTEXT_PREFIX):
        return None
    return find(context.removeprefix(_CONTEXT_PREFIX))
