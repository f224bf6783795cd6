"""Telling a live run from a dead one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.faults.lease import Lease, _here, is_dead
from tests.faults.fake import NAMESPACE, FakeCluster, Object

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


def lease(cluster: FakeCluster, holder: str, age_s: float = 0.0) -> Object:
    renewed = (datetime.now(UTC) - timedelta(seconds=age_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": holder, "renewTime": renewed}
    return cluster.put("Lease", NAMESPACE, {"metadata": {"name": "l"}, "spec": spec})


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_process_of_this_machine_that_is_no_more_is_dead(cluster: FakeCluster) -> None:
    stored = lease(cluster, f"{_here()}/{dead_pid()}")
    assert is_dead(cluster.api, NAMESPACE, stored, wait=False)


def test_a_process_of_this_machine_that_runs_is_alive(cluster: FakeCluster) -> None:
    stored = lease(cluster, f"{_here()}/{os.getpid()}")
    assert not is_dead(cluster.api, NAMESPACE, stored, wait=False)


def test_a_lease_that_looks_fresh_counts_as_alive_at_once(cluster: FakeCluster) -> None:
    assert not is_dead(cluster.api, NAMESPACE, lease(cluster, "elsewhere/1"), wait=False)


def test_a_lease_that_nobody_renews_while_it_is_watched_is_dead(cluster: FakeCluster) -> None:
    naps: list[float] = []
    stored = lease(cluster, "elsewhere/1")
    assert is_dead(cluster.api, NAMESPACE, stored, wait=True, sleep=naps.append)
    assert sum(naps) >= 15


def test_a_lease_that_is_renewed_while_it_is_watched_is_alive_however_old_it_looks(
    cluster: FakeCluster,
) -> None:
    """Clocks differ: one that runs an hour behind still renews."""
    stored = lease(cluster, "elsewhere/1", age_s=3600)

    def renew(_seconds: float) -> None:
        lease(cluster, "elsewhere/1", age_s=3590)

    assert not is_dead(cluster.api, NAMESPACE, stored, wait=False, sleep=renew)


def test_a_lease_of_a_dead_run_that_left_nothing_is_taken_over(cluster: FakeCluster) -> None:
    lease(cluster, f"{_here()}/{dead_pid()}")
    cluster.drop("Lease", NAMESPACE, "l")
    left = {"holderIdentity": f"{_here()}/{dead_pid()}", "renewTime": None}
    meta = {"name": "drainproof-deployment-vllm", "labels": {"drainproof.dev/run": "old"}}
    cluster.put("Lease", NAMESPACE, {"metadata": meta, "spec": left})
    mine = Lease(cluster.api, NAMESPACE, "deployment/vllm", "new", restore="")
    mine.take()
    stored = cluster.objects["Lease", NAMESPACE, "drainproof-deployment-vllm"]
    assert stored["metadata"]["labels"]["drainproof.dev/run"] == "new"
    mine.release()
    assert cluster.names("Lease") == []


def test_releasing_leaves_a_lease_that_another_run_has_taken_since(cluster: FakeCluster) -> None:
    mine = Lease(cluster.api, NAMESPACE, "deployment/vllm", "mine", restore="")
    mine.take()
    meta = {"name": "drainproof-deployment-vllm", "labels": {"drainproof.dev/run": "theirs"}}
    cluster.put("Lease", NAMESPACE, {"metadata": meta, "spec": {"holderIdentity": "x/1"}})
    mine.release()
    assert cluster.names("Lease") == ["drainproof-deployment-vllm"]


def test_a_process_id_of_another_container_on_a_host_of_the_same_name_says_nothing(
    cluster: FakeCluster,
) -> None:
    stored = lease(cluster, f"{_here()}0/{dead_pid()}")
    assert not is_dead(cluster.api, NAMESPACE, stored, wait=False)


def renewed(cluster: FakeCluster, mine: Lease, meanwhile: Object) -> None:
    """Write to a Lease as it is held, and wait until its holder has renewed it or lost it."""
    meta = cluster.objects["Lease", NAMESPACE, mine.name]["metadata"]
    spec = {"holderIdentity": "x/1", "renewTime": "2026-01-01T00:00:00Z"}
    with cluster.changed:
        cluster.put("Lease", NAMESPACE, {"metadata": {**meta, **meanwhile}, "spec": spec})
        key = ("Lease", NAMESPACE, mine.name)
        cluster.changed.wait_for(
            lambda: cluster.objects[key]["spec"]["renewTime"] > "2026-02", timeout=1
        )


def test_a_renewal_whose_answer_was_lost_does_not_lose_the_lease(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.lease._RENEW_S", 0.02)
    mine = Lease(cluster.api, NAMESPACE, "deployment/vllm", "mine", restore="")
    mine.take()
    renewed(cluster, mine, {})
    mine.check()
    assert cluster.objects["Lease", NAMESPACE, mine.name]["spec"]["renewTime"] > "2026-02"
    mine.release()


def test_a_lease_that_another_run_has_taken_is_lost(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.lease._RENEW_S", 0.02)
    mine = Lease(cluster.api, NAMESPACE, "deployment/vllm", "mine", restore="")
    mine.take()
    renewed(cluster, mine, {"labels": {"drainproof.dev/run": "theirs"}})
    with pytest.raises(UserError, match="was lost"):
        mine.check()
    mine.release()


def test_a_lease_that_cannot_be_renewed_for_as_long_as_it_holds_is_lost(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Lease(cluster.api, NAMESPACE, "deployment/vllm", "mine", restore="")
    mine.take()
    later = time.monotonic() + 16
    monkeypatch.setattr("drainproof.faults.lease.time.monotonic", lambda: later)
    with pytest.raises(UserError, match="could not be renewed for 16 s"):
        mine.check()
    monkeypatch.undo()
    mine.release()
