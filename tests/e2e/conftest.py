"""The embedded cluster for end-to-end tests, through pytest-kind.

It is brought up if it is not there, used as it is if it is healthy, and left up:
``drainproof cluster down`` removes it. A machine that can't have it fails these tests;
``-m "not e2e"`` leaves them out.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from drainproof import clusters
from drainproof.clusters.stacks import STACKS
from drainproof.progress import PlainProgress
from fixtures.engines import install
from tests.e2e.definitions import policy_report_crd
from tests.e2e.targets import audit_image, sim_image, streams_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_kind import KindCluster

    from drainproof.clusters import Cluster

_CREATE_S = 120


@pytest.fixture(scope="session", autouse=True)
def _stacks_installed(request: pytest.FixtureRequest) -> None:
    """Install what tests of stacks need while there still is a network to build it from."""
    if _wanted(request, "stacks"):
        clusters.up(progress=PlainProgress(out=sys.__stderr__), stacks=tuple(STACKS))


def _wanted(request: pytest.FixtureRequest, fixture: str) -> bool:
    return any(fixture in getattr(item, "fixturenames", ()) for item in request.session.items)


@pytest.fixture(scope="session")
def embedded(request: pytest.FixtureRequest) -> Cluster:
    """Return the embedded cluster, with this process in its network."""
    progress = PlainProgress(out=sys.__stderr__)
    cluster = clusters.up(progress=progress)
    # What packages are fetched for comes first: the cluster's network has no uplink.
    streams_image(cluster)
    sim_image(cluster)
    if _wanted(request, "scheduled_image"):
        audit_image(cluster)
    policy_report_crd()
    install.publish(progress)
    cluster.enter()
    return cluster


@pytest.fixture(scope="session")
def scheduled_image(embedded: Cluster) -> str:
    """Return the image of an audit on a schedule, which nodes have."""
    return audit_image(embedded)


@pytest.fixture(scope="session")
def cluster(embedded: Cluster, tmp_path_factory: pytest.TempPathFactory) -> KindCluster:
    """Return the embedded cluster as pytest-kind has it: ``kubectl``, ``port_forward``, …"""
    from pytest_kind import KindCluster  # noqa: PLC0415 - with the cluster only

    # pytest-kind makes a folder where it is; it has no use for it here.
    with contextlib.chdir(tmp_path_factory.mktemp("pytest-kind")):
        kind = KindCluster(
            embedded.name,
            embedded.kubeconfig,
            image=embedded.node_image,
            kind_path=embedded.kind_bin,
            kubectl_path=embedded.kubectl_bin,
        )
        kind.create()
    return kind


class Namespace:
    """A namespace of one test, in which things are made and waited for."""

    def __init__(self, cluster: KindCluster, name: str) -> None:
        self._cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, **options: Any) -> str:  # noqa: ANN401 - pytest-kind's
        return str(self._cluster.kubectl("-n", self.name, *arguments, **options))

    def apply(self, *objects: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "-f", "-", input=json.dumps(items))

    def wait(self, what: str, condition: str, timeout_s: int = _CREATE_S) -> None:
        self.kubectl("wait", what, f"--for={condition}", f"--timeout={timeout_s}s")

    def run_to_end(self, pod: dict[str, Any]) -> str:
        """Run a pod and return its log once it has succeeded."""
        self.apply(pod)
        name = f"pod/{pod['metadata']['name']}"
        self.wait(name, "jsonpath={.status.phase}=Succeeded")
        return self.kubectl("logs", name)


@pytest.fixture
def namespace(cluster: KindCluster) -> Iterator[Namespace]:
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    yield Namespace(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], bool], float], None]:
    """Wait until a condition holds, and fail if it does not in time."""

    def wait(condition: Callable[[], bool], timeout_s: float) -> None:
        deadline, between = time.monotonic() + timeout_s, threading.Event()
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s"
            between.wait(0.5)

    return wait
