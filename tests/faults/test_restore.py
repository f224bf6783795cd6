"""What ``restore`` finds, what it leaves alone, and what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.faults.journal import FILE, VERSION, Entry, Journal, load
from drainproof.faults.lease import Lease, _here
from drainproof.faults.restore import restore_with
from drainproof.faults.undo import Change, cordon, outage, replicas
from tests.faults.fake import NAMESPACE
from tests.faults.fake_undo import ELSEWHERE, ENTRY, NODE, TARGET, MemoryCluster

if TYPE_CHECKING:
    from pathlib import Path

JOURNAL = ("ConfigMap", NAMESPACE, "drainproof-journal-r")


@pytest.fixture
def cluster() -> MemoryCluster:
    return MemoryCluster()


def killed(cluster: MemoryCluster, folder: Path | None, entry: Entry = ENTRY) -> Journal:
    """Leave behind what a killed run does: a replica less, and a cordoned node."""
    journal = Journal(cluster.api, folder, entry)
    journal.open()
    journal.make(replicas(cluster.api.get(*TARGET), 1))
    journal.make(cordon(cluster.api.get(*NODE)))
    return journal


def restore(
    cluster: MemoryCluster, file: Path | None = None, namespace: str = NAMESPACE
) -> tuple[bool, str]:
    said: list[str] = []
    clean = restore_with(cluster.api, "fake", namespace, file, said.append)
    return clean, "\n".join(said)


def gone() -> str:
    """Return the name of a holder on this machine that is no more."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return f"{_here()}/{ended.pid}"


def held(cluster: MemoryCluster, run: str, holder: str = "elsewhere/1") -> None:
    """Let a run hold the target's Lease."""
    meta = {"name": ENTRY.lease, "labels": {"drainproof.dev/run": run}}
    spec = {
        "holderIdentity": holder,
        "renewTime": None,
        "acquireTime": "2026-01-01T00:00:00Z",
    }
    cluster.api.create("Lease", NAMESPACE, {"metadata": meta, "spec": spec})


def test_it_names_the_run_and_each_thing_that_it_puts_back(cluster: MemoryCluster) -> None:
    killed(cluster, None)
    clean, said = restore(cluster)
    assert clean
    assert said.splitlines() == [
        "run r on deployment/vllm in inference:",
        "  node/node-1: spec.unschedulable put back",
        "  deployment/vllm: spec.replicas put back",
    ]


def test_a_dry_run_shows_all_of_it_and_changes_nothing(cluster: MemoryCluster) -> None:
    killed(cluster, None)
    before = {key: item["metadata"]["resourceVersion"] for key, item in cluster.objects.items()}
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append, dry_run=True)
    assert said[1:] == [
        "  node/node-1: spec.unschedulable is True, to be None",
        "  deployment/vllm: spec.replicas is 1, to be 2",
    ]
    after = {key: item["metadata"]["resourceVersion"] for key, item in cluster.objects.items()}
    assert after == before


def test_a_run_that_is_alive_is_left_alone_and_others_are_not(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.restore.is_dead", lambda *_, **__: False)
    killed(cluster, None)
    killed(cluster, None, replace(ENTRY, run="other", lease="another"))
    held(cluster, "r")
    clean, said = restore(cluster)
    assert not clean
    assert "left alone: run r on deployment/vllm is alive, held by elsewhere/1" in said
    assert "run other on deployment/vllm in inference:\n  node/node-1" in said
    assert JOURNAL in cluster.objects


def test_a_journal_that_cannot_be_read_does_not_stop_the_others(cluster: MemoryCluster) -> None:
    before = cluster.state()
    killed(cluster, None)
    killed(cluster, None, replace(ENTRY, run="newer"))
    newer = {"version": VERSION + 1}
    cluster.objects["ConfigMap", NAMESPACE, "drainproof-journal-newer"]["data"] = {
        FILE: orjson.dumps(newer).decode()
    }
    clean, said = restore(cluster)
    assert not clean
    assert f"journal version {VERSION + 1}; this drainproof reads {VERSION}" in said
    assert cluster.state() == before


def test_a_journal_that_speaks_for_another_namespace_is_left_alone(cluster: MemoryCluster) -> None:
    """Whoever may write ConfigMaps in one namespace gets nothing undone in another."""
    killed(cluster, None)
    stored = cluster.objects[JOURNAL]["data"]
    forged = orjson.loads(stored[FILE]) | {"namespace": "kube-system"}
    stored[FILE] = orjson.dumps(forged).decode()
    clean, said = restore(cluster)
    assert not clean
    assert "a journal of namespace kube-system, left alone" in said


def test_the_journal_on_disk_will_do_when_the_clusters_is_gone(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    before = cluster.state()
    killed(cluster, tmp_path)
    cluster.objects.pop(JOURNAL)
    assert restore(cluster, tmp_path / FILE)[0]
    assert cluster.state() == before


def test_the_journal_on_disk_remembers_what_was_undone(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    killed(cluster, tmp_path)
    restore(cluster, tmp_path / FILE)
    cluster.someone_else(NODE, {"spec": {"unschedulable": True}})
    restore(cluster, tmp_path / FILE)
    assert cluster.objects[NODE]["spec"]["unschedulable"] is True


def test_the_journal_on_disk_is_not_undone_under_another_run(
    cluster: MemoryCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.restore.is_dead", lambda *_, **__: False)
    killed(cluster, tmp_path)
    held(cluster, "later")
    clean, said = restore(cluster, tmp_path / FILE)
    assert not clean
    assert "run later on deployment/vllm is alive" in said
    assert cluster.objects[TARGET]["spec"]["replicas"] == 1


def test_a_journal_of_another_cluster_is_refused(cluster: MemoryCluster, tmp_path: Path) -> None:
    killed(cluster, tmp_path, replace(ENTRY, context="production"))
    with pytest.raises(UserError, match="is of context production, not of fake"):
        restore(cluster, tmp_path / FILE)


def test_permissions_are_asked_for_by_what_the_journal_holds(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(cluster, None)
    monkeypatch.setattr(
        cluster, "allowed", lambda verb, kind, *_: (verb, kind) != ("patch", "Node")
    )
    clean, said = restore(cluster)
    assert not clean
    assert "no permission in namespace inference to: patch nodes" in said
    assert cluster.objects[NODE]["spec"]["unschedulable"] is True


def test_the_lease_of_a_run_that_is_undone_is_free(cluster: MemoryCluster) -> None:
    killed(cluster, None)
    held(cluster, "r", gone())
    assert restore(cluster)[0]
    assert cluster.residue() == []


def test_what_cannot_be_undone_from_disk_is_said_and_no_more(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    journal = killed(cluster, tmp_path)
    journal.plan(Change(undo="unheard-of", kind="Node", name="n"))
    cluster.objects.pop(JOURNAL)
    clean, said = restore(cluster, tmp_path / FILE)
    assert not clean
    assert "could not undo node/n" in said
    assert "configmap" not in said
    assert cluster.objects[TARGET]["spec"]["replicas"] == 2


def test_a_folder_that_cannot_be_written_stops_no_undoing(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    before = cluster.state()
    journal = killed(cluster, tmp_path / "evidence")
    (tmp_path / "evidence" / FILE).unlink()
    (tmp_path / "evidence").rmdir()
    (tmp_path / "evidence").touch()
    said: list[str] = []
    assert journal.undo(said.append)
    assert cluster.state() == before
    assert "cannot write the journal" in said[1]


def test_a_change_that_would_burst_the_config_map_is_not_made(cluster: MemoryCluster) -> None:
    journal = Journal(cluster.api, None, ENTRY)
    journal.open()
    big = replicas(cluster.api.get(*TARGET), 1)
    with pytest.raises(UserError, match="a ConfigMap takes 1000000"):
        journal.make(replace(big, digest="x" * 1_000_000))
    assert cluster.objects[TARGET]["spec"]["replicas"] == 2
    assert journal.undo(print)


def test_what_is_undone_leaves_the_clusters_copy_and_stays_in_that_on_disk(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    for _ in range(3):
        journal.make(cordon(cluster.api.get(*NODE)))
        journal.undo(print, since=0)
    assert load(cluster.objects[JOURNAL]["data"][FILE], "x").changes == ()
    kept = load((tmp_path / FILE).read_bytes(), "x").changes
    assert [change.undone for change in kept] == [True] * 3


def test_a_lease_is_not_taken_while_a_journal_of_the_target_is_left(
    cluster: MemoryCluster,
) -> None:
    """The Lease may be gone: deleted by hand, or lost when the API server was away."""
    killed(cluster, None)
    lease = Lease(cluster.api, NAMESPACE, "deployment/vllm", "new", restore="drainproof restore")
    with pytest.raises(UserError, match="run r was killed and has left changes behind"):
        lease.look()


def test_a_second_run_is_told_who_holds_the_target_and_since_when(cluster: MemoryCluster) -> None:
    first = Lease(cluster.api, NAMESPACE, "deployment/vllm", "first", restore="")
    first.take()
    since = cluster.objects["Lease", NAMESPACE, first.name]["spec"]["acquireTime"]
    second = Lease(cluster.api, NAMESPACE, "deployment/vllm", "second", restore="")
    with pytest.raises(UserError, match="another run") as caught:
        second.take()
    first.release()
    assert "(first)" in caught.value.message
    assert f"/{os.getpid()} since {since}" in caught.value.message


# ── in another namespace ────────────────────────────────────────────────────────────────────────


def outed(cluster: MemoryCluster, folder: Path | None = None) -> None:
    """Leave behind what a run does that was killed while Prometheus was away."""
    journal = Journal(cluster.api, folder, ENTRY)
    journal.open()
    journal.make(outage(cluster.api.get(*ELSEWHERE)))
    assert cluster.objects[ELSEWHERE]["spec"]["replicas"] == 0


def forbid(cluster: MemoryCluster) -> None:
    """Let the other namespace not allow chaos any more."""
    cluster.someone_else(("Namespace", "", "monitoring"), {"metadata": {"labels": None}})


def test_what_is_away_in_another_namespace_is_put_back_from_the_targets_own(
    cluster: MemoryCluster,
) -> None:
    outed(cluster)
    clean, said = restore(cluster)
    assert clean
    assert said.splitlines()[1:] == [
        "  prometheus/k8s in namespace monitoring: spec.replicas put back"
    ]
    assert cluster.objects[ELSEWHERE]["spec"] == {"shards": 1}
    assert cluster.residue() == []


def test_a_dry_run_names_the_other_namespace(cluster: MemoryCluster) -> None:
    outed(cluster)
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append, dry_run=True)
    assert said[1:] == ["  prometheus/k8s in namespace monitoring: spec.replicas is 0, to be None"]


def test_a_journal_speaks_for_another_namespace_only_if_that_allows_chaos(
    cluster: MemoryCluster,
) -> None:
    """Whoever may write ConfigMaps in one namespace gets nothing undone in another."""
    outed(cluster)
    forbid(cluster)
    clean, said = restore(cluster)
    assert not clean
    assert "run r changed something in namespace monitoring" in said
    assert "does not allow chaos" in said
    assert cluster.objects[ELSEWHERE]["spec"]["replicas"] == 0


def test_the_journal_on_disk_does_whatever_that_namespace_allows(
    cluster: MemoryCluster, tmp_path: Path
) -> None:
    outed(cluster, tmp_path)
    forbid(cluster)
    assert restore(cluster, tmp_path / FILE)[0]
    assert cluster.objects[ELSEWHERE]["spec"] == {"shards": 1}


@pytest.mark.parametrize("forged", [{"undo": "replicas"}, {"kind": "Node"}, {"kind": "ReplicaSet"}])
def test_nothing_but_an_outage_is_undone_in_another_namespace(
    cluster: MemoryCluster, forged: dict[str, str]
) -> None:
    outed(cluster)
    stored = cluster.objects[JOURNAL]["data"]
    content = orjson.loads(stored[FILE])
    content["changes"][0] |= forged
    stored[FILE] = orjson.dumps(content).decode()
    clean, said = restore(cluster)
    assert not clean
    assert "this version does not know how to undo" in said
    assert cluster.objects[ELSEWHERE]["spec"]["replicas"] == 0


def test_permissions_are_asked_for_where_each_change_is(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    outed(cluster)
    refused = ("patch", "Prometheus", "monitoring")
    monkeypatch.setattr(cluster, "allowed", lambda *asked: asked[:3] != refused)
    clean, said = restore(cluster)
    assert not clean
    assert "no permission in namespace monitoring to: patch prometheuses.monitoring" in said
