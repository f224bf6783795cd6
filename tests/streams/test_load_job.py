"""The Job of the clients: what it asks of the cluster, what is heard of it, why it can't run."""

from __future__ import annotations

import itertools
import threading
import time
from typing import TYPE_CHECKING, Any, cast

import pytest

from drainproof.errors import UserError
from drainproof.faults import load as load_module
from drainproof.faults.api import NOT_FOUND, Api, ApiError, Object
from drainproof.faults.journal import VERSION, Entry, Journal
from drainproof.faults.load import LoadJob, Runner, Secret
from drainproof.streams import history
from drainproof.streams.history import ClientDone, Clock, Sent, to_line
from drainproof.streams.settings import load_from_json
from tests.streams.raw import settings
from tests.streams.test_client import of

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 20


class Cluster:
    """An API server with pods that are what a test says, and logs that it writes."""

    def __init__(self) -> None:
        self.created: list[Object] = []
        self.pods: list[Object] = []
        self.events: list[Object] = []
        self.logs: dict[str, list[bytes]] = {}
        self._changed = threading.Condition()

    def create(self, kind: str, _namespace: str, body: Object) -> Object:
        self.created.append({"kind": kind, **body})
        return body

    def replace(self, _kind: str, _namespace: str, body: Object) -> Object:
        return body

    def list(self, kind: str, _namespace: str, **_: str) -> Object:
        return {"items": {"Pod": self.pods, "Event": self.events}[kind]}

    def find(self, _kind: str, _namespace: str, name: str) -> Object | None:
        return next((pod for pod in self.pods if pod["metadata"]["name"] == name), None)

    def log(self, _namespace: str, pod: str, *, follow: bool, **_: str) -> Iterator[bytes]:
        """Yield the lines of a pod that runs, until it ends."""
        if pod not in self.logs:
            raise ApiError(NOT_FOUND, "no such pod")
        seen = 0
        while True:
            with self._changed:
                while not (fresh := self.logs[pod][seen:]):
                    assert self._changed.wait(DEADLINE_S)
            for line in fresh:
                if not line:
                    return
                yield line
            seen += len(fresh)
            if not follow:
                return

    def pod(self, index: int, state: Object, **condition: str) -> None:
        """Add the pod of one client."""
        name = f"client-{index}"
        annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
        status = {
            "phase": "Pending",
            "conditions": [condition] if condition else [],
            "containerStatuses": [{"state": state}],
        }
        self.pods.append({"metadata": {"name": name, "annotations": annotations}, "status": status})
        self.logs[name] = []

    def say(self, index: int, *lines: bytes) -> None:
        """Write lines to a client's log; an empty one ends it."""
        with self._changed:
            for line in lines:
                number = next(_NUMBERS)
                stamp = f"2026-01-01T00:00:{number:02d}Z ".encode() if line else b""
                self.logs[f"client-{index}"].append(stamp + line)
            self._changed.notify_all()

    @property
    def job(self) -> Object:
        (job,) = (one for one in self.created if one["kind"] == "Job")
        return job


_NUMBERS = itertools.count(1)
RUNNING: Object = {"running": {}}


def job_of(cluster: Cluster, heard: list[history.Record], **changes: Any) -> LoadJob:  # noqa: ANN401
    entry = Entry(
        version=VERSION, run="r1", context="c", namespace="n", target="t", lease="l", created=0.0
    )
    api = cast("Api", cluster)
    runner = changes.pop("runner", Runner(image="client"))
    load = settings(8000, **changes)
    return LoadJob(api, Journal(api, None, entry), load, runner, 60.0, heard.append)


def started(**changes: Any) -> Cluster:  # noqa: ANN401 - settings of a load
    """Return the cluster in which a Job was made whose pods all run."""
    cluster = Cluster()
    for index in range(changes.get("parts", 1)):
        cluster.pod(index, RUNNING)
    job_of(cluster, [], **changes).start()
    for index in range(changes.get("parts", 1)):
        cluster.say(index, to_line(ClientDone(at=0.0, sent=0, recorded=0)), b"")
    return cluster


def refused(cluster: Cluster, **changes: Any) -> UserError:  # noqa: ANN401 - settings of a load
    """Return the error of a Job that can't run."""
    with pytest.raises(UserError) as caught:
        job_of(cluster, [], **changes).start()
    return caught.value


def test_its_pods_obey_restricted_pod_security() -> None:
    spec = started().job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False


def test_a_secret_goes_into_the_job_by_its_name_only() -> None:
    runner = Runner(image="client", secrets=(Secret(variable="TOKEN", name="keys", key="vllm"),))
    spec = started(runner=runner, token_env="TOKEN").job["spec"]["template"]["spec"]  # noqa: S106
    variables = spec["containers"][0]["env"][1:]
    reference = {"secretKeyRef": {"name": "keys", "key": "vllm"}}
    assert variables == [{"name": "TOKEN", "valueFrom": reference}]


def test_the_client_finds_its_load_in_its_environment() -> None:
    (setting,) = started(parts=1).job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert load_from_json(setting["value"], "the Job") == settings(8000)


def test_a_load_of_one_client_is_a_plain_job() -> None:
    assert "completionMode" not in started().job["spec"]


def test_a_load_of_three_clients_is_an_indexed_job() -> None:
    spec = started(parts=3).job["spec"]
    modes = (spec["completionMode"], spec["completions"], spec["parallelism"])
    assert (modes, spec["backoffLimit"]) == (("Indexed", 3, 3), 0)


def test_clients_whose_clocks_differ_are_merged_on_one() -> None:
    cluster, heard = Cluster(), list[history.Record]()
    now = time.time()
    for index, ahead in enumerate((3600.0, -3600.0)):
        cluster.pod(index, RUNNING)
        there = now + ahead
        cluster.say(
            index,
            to_line(Clock(at=there, client=str(index))),
            to_line(Sent(id=f"{index}-0", due=there, sent=there)),
            to_line(ClientDone(at=there, sent=1, recorded=0, client=str(index))),
            b"",
        )
    job = job_of(cluster, heard, parts=2)
    job.start()
    assert job.wait()
    assert all(one.sent == pytest.approx(now, abs=2) for one in of(Sent, heard))
    assert sorted(round(one.skew_s / 600) for one in of(Clock, heard)) == [-6, 6]


def test_the_run_is_over_early_when_one_of_two_clients_is() -> None:
    cluster, heard = Cluster(), list[history.Record]()
    for index in range(2):
        cluster.pod(index, RUNNING)
        cluster.say(index, to_line(Clock(at=time.time(), client=str(index))))
    job = job_of(cluster, heard, parts=2)
    job.start()
    assert not job.ended
    cluster.pods[1]["status"]["containerStatuses"] = [{"state": {"terminated": {}}}]
    cluster.say(1, b"Killed", b"")
    cluster.say(0, to_line(ClientDone(at=0.0, sent=0, recorded=0)), b"")
    assert (job.wait(), job.ended, job.words()) == (False, True, "Killed")


# ── Why it can't run, in time ───────────────────────────────────────────────────────────────────


def test_a_job_that_may_not_be_created_is_refused_in_the_servers_words() -> None:
    class Forbidding(Cluster):
        def create(self, _kind: str, _namespace: str, _body: Object) -> Object:
            raise ApiError(403, 'jobs.batch is forbidden: User "u" cannot create resource "jobs"')

    assert "cannot create resource" in refused(Forbidding()).message


def test_a_quota_that_leaves_no_room_is_said_at_once() -> None:
    cluster = Cluster()
    cluster.events = [{"message": "pods is forbidden: exceeded quota: pods=10"}]
    error = refused(cluster)
    assert "may not create its pods: pods is forbidden: exceeded quota" in error.message
    assert "50m CPU and 96Mi memory" in error.hint


def test_a_quota_that_wants_limits_says_how_to_give_them() -> None:
    cluster = Cluster()
    cluster.events = [{"message": "failed quota: q: must specify limits.memory for: client"}]
    assert "--client-limit" in refused(cluster).hint


def test_limits_are_those_that_were_given() -> None:
    runner = Runner(image="client", limits=(("memory", "512Mi"),))
    (container,) = started(runner=runner).job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "512Mi"}


def test_a_secret_that_is_not_there_is_said_by_name() -> None:
    cluster = Cluster()
    reason = "CreateContainerConfigError"
    cluster.pod(0, {"waiting": {"reason": reason, "message": 'secret "keys" not found'}})
    runner = Runner(image="client", secrets=(Secret(variable="TOKEN", name="keys", key="vllm"),))
    error = refused(cluster, runner=runner)
    assert 'secret "keys" not found' in error.message
    assert error.hint == "It takes from namespace n: secret/keys key vllm."


def test_a_secret_that_its_kubelet_has_not_read_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = "failed to sync secret cache: timed out waiting for the condition"
    cluster = Cluster()
    cluster.pod(0, {"waiting": {"reason": "CreateContainerConfigError", "message": said}})
    monkeypatch.setattr(load_module, "_START_S", -1.0)
    assert "runs 0 of its 1 clients after -1 s: client-0: Create" in refused(cluster).message


def test_an_image_that_can_not_be_pulled_is_said_even_if_the_first_client_runs() -> None:
    cluster = Cluster()
    cluster.pod(0, RUNNING)
    cluster.pod(1, {"waiting": {"reason": "ErrImagePull", "message": "denied"}})
    assert "client-1 cannot start from image client: ErrImagePull: denied" in (
        refused(cluster, parts=2).message
    )


def test_pods_for_which_there_is_no_room_say_what_they_ask_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_module, "_SCHEDULE_S", -1.0)
    cluster = Cluster()
    cluster.pod(0, {}, reason="Unschedulable", message="0/2 nodes: Insufficient cpu")
    error = refused(cluster)
    assert "cannot be scheduled: 0/2 nodes: Insufficient cpu" in error.message
    assert "50m CPU" in error.hint


def test_a_client_that_ends_at_once_is_quoted() -> None:
    cluster = Cluster()
    cluster.pod(0, {"terminated": {"exitCode": 2}})
    cluster.say(0, b"drainproof: no settings were given")
    assert refused(cluster).message.endswith("exit code 2: drainproof: no settings were given")


def test_pods_that_never_get_anywhere_are_given_up_with_their_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_module, "_START_S", -1.0)
    cluster = Cluster()
    cluster.pod(0, {"waiting": {"reason": "ContainerCreating"}})
    assert "runs 0 of its 1 clients" in (error := refused(cluster)).message
    assert "client-0: ContainerCreating" in error.message


def test_prompts_that_no_environment_holds_are_refused_before_anything_is_made() -> None:
    cluster = Cluster()
    assert "100000" in refused(cluster, prompts=("a" * 200_000,)).message
    assert cluster.created == []
