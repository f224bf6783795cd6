"""The clients' Job on a real cluster, in a namespace that enforces restricted Pod Security."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect.connect import connect
from drainproof.errors import UserError
from drainproof.faults.api import Api
from drainproof.faults.journal import VERSION, Entry, Journal
from drainproof.faults.load import LoadJob, Runner, Secret
from drainproof.judge.clients import judge_client
from drainproof.judge.streams import Outcome, judge_streams
from drainproof.streams.history import Clock, Stream
from drainproof.streams.settings import Load
from tests.e2e.targets import Target, streams_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.clusters import Cluster
    from drainproof.streams import history
    from tests.e2e.conftest import Namespace

pytestmark = pytest.mark.e2e

ENGINE = Target(namespace="streams-engine")
IN_TIME_S = 60
"""Within this, a Job that can't run must say so; most of it is the scheduler's patience."""
TOKEN = "sk-0123456789abcdef"  # noqa: S105 - nobody's


@pytest.fixture(scope="module")
def _engine(embedded: Cluster) -> Iterator[None]:
    ENGINE.deploy(embedded)
    ENGINE.ready(embedded)
    yield
    ENGINE.remove(embedded)


@pytest.fixture
def restricted(namespace: Namespace) -> Namespace:
    label = "pod-security.kubernetes.io/enforce=restricted"
    namespace.kubectl("label", "namespace", namespace.name, label)
    return namespace


class Jobs:
    """Makes Jobs in one namespace, and keeps what is heard of them."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._api = Api(connect(cluster.context))
        self._image = streams_image(cluster)
        self._namespace = namespace
        self.heard: list[history.Record] = []

    def make(self, image: str = "", **changes: Any) -> LoadJob:  # noqa: ANN401 - settings
        runner = Runner(image=image or self._image, **changes.pop("runner", {}))
        entry = Entry(
            version=VERSION,
            run="r1",
            context="c",
            namespace=self._namespace,
            target="deployment/sim",
            lease="none",
            created=time.time(),
        )
        journal = Journal(self._api, None, entry)
        journal.open()
        load = Load(
            url=f"http://sim.{ENGINE.namespace}.svc",
            model="sim",
            max_tokens=10,
            rate_per_s=5.0,
            **changes,
        )
        return LoadJob(self._api, journal, load, runner, 120.0, self.heard.append)

    def refused(self, **changes: Any) -> UserError:  # noqa: ANN401 - settings of a load
        """Return why a Job can't run, which must be said in time."""
        job = self.make(**changes)
        begun = time.monotonic()
        with pytest.raises(UserError) as caught:
            job.start()
        assert time.monotonic() - begun < IN_TIME_S
        return caught.value


@pytest.fixture
def jobs(embedded: Cluster, restricted: Namespace) -> Jobs:
    return Jobs(embedded, restricted.name)


def secret(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


@pytest.mark.usefixtures("_engine")
def test_two_pods_under_restricted_pod_security_make_one_history(
    jobs: Jobs,
    restricted: Namespace,
    eventually: Callable[[Callable[[], bool], float], None],
) -> None:
    restricted.apply(secret("keys", vllm=TOKEN))
    token = Secret(variable="TOKEN", name="keys", key="vllm")
    job = jobs.make(parts=2, token_env="TOKEN", runner={"secrets": (token,)})  # noqa: S106 - a name
    job.start()
    eventually(lambda: sum(isinstance(one, Stream) for one in jobs.heard) >= 20, IN_TIME_S)
    job.stop()
    assert job.wait(), job.words()
    assert judge_client(jobs.heard).missing == ()
    assert {one.client for one in jobs.heard if isinstance(one, Clock)} == {"0", "1"}
    assert {verdict.outcome for verdict in judge_streams(jobs.heard)} == {Outcome.COMPLETE}
    made = restricted.kubectl("get", "jobs,pods", "-o", "json")
    assert json.loads(made)["items"]
    assert TOKEN not in made


def test_a_secret_that_is_not_there_is_named_in_time(jobs: Jobs) -> None:
    token = Secret(variable="TOKEN", name="keys", key="vllm")
    error = jobs.refused(token_env="TOKEN", runner={"secrets": (token,)})  # noqa: S106 - a name
    assert 'secret "keys" not found' in error.message
    assert "secret/keys key vllm" in error.hint


def test_an_image_that_can_not_be_had_is_named_in_time(jobs: Jobs) -> None:
    error = jobs.refused(image="registry.invalid/drainproof/client:none")
    assert "cannot start from image registry.invalid/drainproof/client:none" in error.message


def test_a_quota_that_leaves_no_room_is_said_in_time(jobs: Jobs, restricted: Namespace) -> None:
    quota = {"kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    restricted.apply({"apiVersion": "v1", **quota})
    assert "exceeded quota: none" in jobs.refused().message


def test_nodes_that_do_not_exist_are_said_in_time(jobs: Jobs) -> None:
    error = jobs.refused(runner={"node_selector": (("no", "where"),)})
    assert "cannot be scheduled" in error.message
    assert "--node-selector" in error.hint
