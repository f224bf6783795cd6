"""Clusters are found by their records, and never by what a user's own kubeconfig says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drainproof import clusters
from drainproof.clusters import artefacts, engine, kind, lifecycle, packages, preflight, records
from drainproof.clusters.places import state_folder
from drainproof.clusters.processes import Process
from drainproof.clusters.records import Record
from drainproof.errors import UserError
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(engine, "CGROUPS", tmp_path / "cgroup")


@pytest.fixture
def record() -> Record:
    """Stand for a cluster whose engine is this very process."""
    process = Process.of(os.getpid())
    record = Record("mine", process, "unix:///run/d.sock", "drainproof/node:1", complete=True)
    record.save()
    return record


@pytest.fixture
def sleeper() -> Iterator[Process]:
    """Stand for an engine: a process that a test may end, and that ends with it."""
    with subprocess.Popen(["sleep", "600"]) as running:
        yield Process.of(running.pid) or pytest.fail("it does not run")
        running.kill()


def test_a_cluster_that_is_up_is_found_by_name_and_by_context(record: Record) -> None:
    found = clusters.find("mine")
    assert found is not None
    assert found.context == "kind-mine"
    assert found.netns == Path(f"/proc/{os.getpid()}/ns/net")
    assert clusters.for_context("kind-mine") == found == record.cluster()


@pytest.mark.parametrize("context", ["mine", "kind-other", "production", ""])
@pytest.mark.usefixtures("record")
def test_a_context_that_is_not_ours_means_no_cluster(context: str) -> None:
    assert clusters.for_context(context) is None


def test_a_cluster_whose_engine_is_gone_is_not_found(record: Record) -> None:
    assert record.engine is not None
    replace(record, engine=replace(record.engine, started=1)).save()
    assert clusters.find("mine") is None
    assert not clusters.status("mine").running


def test_a_cluster_that_was_never_finished_is_not_found_and_not_healthy(record: Record) -> None:
    replace(record, complete=False).save()
    assert clusters.find("mine") is None
    assert clusters.status("mine").problem == "it was never brought up to the end"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "mine"}'])
def test_a_record_that_can_not_be_read_is_as_good_as_none(record: Record, text: str) -> None:
    (state_folder(record.name) / "cluster.json").write_text(text)
    assert clusters.find("mine") is None


def test_down_ends_the_engine_of_a_record_that_another_version_wrote(
    tmp_path: Path, sleeper: Process
) -> None:
    file = tmp_path / "state" / "drainproof" / "clusters" / "mine" / "cluster.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"name": "mine", "engine": asdict(sleeper), "new": 1}))
    assert clusters.find("mine") is None
    assert clusters.down("mine", progress=NoProgress()) is True
    assert not sleeper.alive


def test_the_folder_of_a_cluster_is_closed_to_others(record: Record) -> None:
    assert state_folder(record.name).stat().st_mode & 0o077 == 0


def test_down_of_a_cluster_that_is_not_there_says_so() -> None:
    assert clusters.down("none", progress=NoProgress()) is False


def test_down_removes_what_a_killed_up_left() -> None:
    """Its engine is gone, its folder and an empty cgroup are not."""
    process = Process(os.getpid(), started=1, boot="")
    Record("mine", process, "unix:///run/d.sock", "drainproof/node:1").save()
    above = engine.CGROUPS / "memory" / "below"
    cgroup = above / engine.cgroup_name(state_folder("mine")) / "kubelet"
    cgroup.mkdir(parents=True)
    assert clusters.down("mine", progress=NoProgress()) is True
    assert not state_folder("mine").exists()
    assert not cgroup.parent.exists()
    assert cgroup.parent.parent.exists()


def test_down_says_what_it_could_not_remove(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "stop", lambda *_: ["/sys/fs/cgroup/memory/drainproof-mine"])
    with pytest.raises(UserError, match="could not be removed: /sys/fs/cgroup/memory"):
        clusters.down("mine", progress=NoProgress())
    assert records.load(record.name) is not None


def test_an_up_that_fails_leaves_nothing_running(
    monkeypatch: pytest.MonkeyPatch, sleeper: Process
) -> None:
    def start(state: Path, record: Callable[[Process], None]) -> Process:
        assert state == state_folder("mine")
        record(sleeper)
        return sleeper

    def fail(*_: object) -> None:
        raise UserError("kind did not like it")

    monkeypatch.setattr(lifecycle, "usable_docker", lambda: False)
    monkeypatch.setattr(preflight, "check", lambda **_: None)
    monkeypatch.setattr(artefacts, "ensure", lambda *_: None)
    monkeypatch.setattr(packages, "client_image", lambda _: None)
    monkeypatch.setattr(engine, "socket_path", lambda _: Path("/run/d.sock"))
    monkeypatch.setattr(engine, "start", start)
    monkeypatch.setattr(kind, "create", fail)
    with pytest.raises(UserError, match="kind did not like it"):
        clusters.up("mine", progress=NoProgress())
    assert not sleeper.alive
    assert not state_folder("mine").exists()


def test_the_streaming_client_is_built_before_there_is_a_cluster_with_no_way_out(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def create(name: str, _: Path) -> clusters.Cluster:
        order.append(f"cluster {name}")
        return record.cluster()

    monkeypatch.setattr(lifecycle, "usable_docker", lambda: False)
    monkeypatch.setattr(preflight, "check", lambda **_: None)
    monkeypatch.setattr(artefacts, "ensure", lambda *_: None)
    monkeypatch.setattr(packages, "client_image", lambda _: order.append("client"))
    monkeypatch.setattr(lifecycle, "_create", create)
    clusters.up("new", progress=NoProgress())
    assert order == ["client", "cluster new"]


def test_a_healthy_cluster_is_used_with_the_streaming_client_of_today(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = record.cluster()
    nodes = {"one": True, "two": True}
    found = clusters.ClusterStatus("mine", running=True, nodes=nodes, problem="", cluster=cluster)
    built: list[str] = []
    monkeypatch.setattr(lifecycle, "status", lambda _: found)
    monkeypatch.setattr(packages, "client_image", lambda _: built.append("client"))
    assert clusters.up("mine", progress=NoProgress()) == cluster
    assert built == ["client"]


def test_kind_is_told_to_leave_the_users_kubeconfig_alone(record: Record) -> None:
    own = Path.home() / ".kube" / "config"
    own.parent.mkdir(parents=True)
    own.write_text("mine\n")
    cluster = record.cluster()
    cluster.kind_bin.parent.mkdir()
    cluster.kind_bin.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$(dirname "$0")/called"\n')
    cluster.kind_bin.chmod(0o755)
    kind.create(cluster, Path("kind.yaml"))
    called = (cluster.kind_bin.parent / "called").read_text().splitlines()
    assert f"--kubeconfig={cluster.kubeconfig}" in called
    assert own.read_text() == "mine\n"
    assert cluster.kubeconfig.stat().st_mode & 0o777 == 0o600


def test_programs_run_with_the_clusters_kubeconfig_and_its_kubectl_first(record: Record) -> None:
    cluster = record.cluster()
    done = cluster.run(
        [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    )
    environment = json.loads(done.stdout)
    assert environment["KUBECONFIG"] == str(cluster.kubeconfig)
    assert environment["PATH"].split(":")[0] == str(cluster.kubectl_bin.parent)


def test_a_program_that_fails_in_the_cluster_is_explained(record: Record) -> None:
    with pytest.raises(UserError, match=r"(?s)exit code 4.*not today"):
        record.cluster().run(["sh", "-c", "echo not today >&2; exit 4"])


def test_shell_returns_the_exit_code(record: Record) -> None:
    assert clusters.shell(record.name, ["sh", "-c", "exit 7"]) == 7


def test_shell_of_a_cluster_that_is_not_up_says_how_to_bring_it_up() -> None:
    with pytest.raises(UserError, match="drainproof cluster up"):
        clusters.shell("none", ["true"])


def test_a_path_too_long_for_a_socket_is_said_before_anything_is_started() -> None:
    with pytest.raises(UserError, match="too long for a socket"):
        engine.socket_path(Path("/" + "x" * 120))


@pytest.mark.parametrize(("pulls", "usable"), [(True, True), (False, False)])
def test_the_users_docker_is_used_if_it_can_pull_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pulls: bool, usable: bool
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$1" = pull ] && exit {0 if pulls else 1}\nexit 1\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert lifecycle.usable_docker() is usable


def test_importing_clusters_loads_nothing_heavy() -> None:
    code = "import sys, drainproof.clusters; print({'yaml', 'tarfile'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
