"""A whole run against the fake cluster: what it changes, and that nothing of it stays."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.faults.restore import restore_with
from drainproof.faults.run import run_on
from drainproof.faults.undo import digest
from drainproof.judge.verdict import Verdict
from drainproof.progress import NoProgress
from tests.faults.fake import NAMESPACE, FakeCluster
from tests.faults.runner import plan
from tests.streams.bodies import answer
from tests.streams.test_local import Server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict
    from tests.streams.raw import Peer

PATIENCE_S = 60


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster() as running:
        yield running


def run(cluster: FakeCluster, folder: Path, **changes: object) -> ChaosVerdict:
    return run_on(cluster.api, plan(folder, **changes), NoProgress())[0]


def refused(cluster: FakeCluster, folder: Path, **changes: object) -> UserError:
    """Return the error of a run that must not go through, and see that nothing of it stayed."""
    before = digest(cluster.template)
    with pytest.raises(UserError) as caught:
        run(cluster, folder, **changes)
    assert cluster.residue() == []
    assert digest(cluster.template) == before
    return caught.value


def process(cluster: FakeCluster, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.runner", cluster.url, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_rollout_of_a_sound_target_passes_and_leaves_nothing(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    before = digest(cluster.template)
    verdict = run(cluster, tmp_path)
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ())
    assert verdict.exposed == 9
    assert cluster.residue() == []
    assert digest(cluster.template) == before


def test_putting_the_template_back_does_not_roll_a_second_time(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    run(cluster, tmp_path)
    pods = [name for name in cluster.names("Pod") if name.startswith("vllm-")]
    assert len(pods) == 1
    assert pods[0].startswith("vllm-2-")
    assert cluster.names("ReplicaSet") == ["vllm-2"]
    item = cluster.objects["Deployment", NAMESPACE, "vllm"]
    assert not item["spec"].get("paused")


def test_nothing_is_changed_before_it_is_in_the_journal(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """At each write, what is about to be made stands in the journal, on disk and in the cluster."""
    missing = []

    def look(_number: int) -> None:
        what = cluster.writes[-1]
        method, _, path = what.partition(" ")
        made = path.rsplit("/", 1)[-1]
        if "journal" in str(cluster.writes[-2:]) or "leases" in path:
            return
        if method == "POST" and made in {"jobs", "configmaps"} and len(cluster.writes) > 2:
            kind = {"jobs": "Job", "configmaps": "ConfigMap"}[made]
        elif method == "PATCH" and "deployments" in path:
            kind = "Deployment"
        else:
            return
        disk = (tmp_path / "journal.json").read_text()
        maps = [
            item["data"]["journal.json"]
            for (found, _, name), item in cluster.objects.items()
            if found == "ConfigMap" and "journal" in name
        ]
        if f'"{kind}"' not in disk or not maps or f'"{kind}"' not in maps[0]:
            missing.append(what)

    cluster.before_write = look
    run(cluster, tmp_path)
    assert missing == []
    assert any(write.startswith("POST") and write.endswith("/jobs") for write in cluster.writes)


def test_a_rollout_that_gets_stuck_is_undone_and_inconclusive(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.stuck = True
    before = digest(cluster.template)
    verdict = run(cluster, tmp_path, timeout_s=0.5)
    assert verdict.verdict is Verdict.INCONCLUSIVE
    assert "no pod was stopped" in verdict.reasons[0]
    assert digest(cluster.template) == before


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")]
)
def test_an_interrupt_in_the_middle_of_a_rollout_undoes_everything(
    cluster: FakeCluster, tmp_path: Path, number: signal.Signals, word: str
) -> None:
    cluster.stuck = True
    before = digest(cluster.template)
    running = process(cluster, tmp_path / "evidence")
    interrupted = threading.Event()

    def interrupt(_number: int) -> None:
        if "deployments" in cluster.writes[-1] and not interrupted.is_set():
            interrupted.set()
            running.send_signal(number)

    cluster.after_write = interrupt
    _, errors = running.communicate(timeout=PATIENCE_S)
    assert interrupted.is_set(), errors
    assert running.returncode == 2
    assert f"error: interrupted by {word}; the target is as it was" in errors
    assert digest(cluster.template) == before
    assert cluster.residue() == []


def test_a_run_that_is_killed_after_any_write_can_be_restored(tmp_path: Path) -> None:
    with FakeCluster() as whole:
        run(whole, tmp_path / "whole")
        count = len(whole.writes)

    def kill_after(number: int) -> tuple[int, list[str], bool, bool]:
        with FakeCluster() as cluster:
            before = digest(cluster.template)
            running = process(cluster, tmp_path / str(number))

            def kill(now: int) -> None:
                if now == number:
                    running.kill()

            cluster.after_write = kill
            running.communicate(timeout=PATIENCE_S)
            said: list[str] = []
            assert restore_with(cluster.api, "fake", NAMESPACE, None, said.append), said
            spec = cluster.objects["Deployment", NAMESPACE, "vllm"]["spec"]
            same = digest(cluster.template) == before
            return running.returncode, cluster.residue(), same, bool(spec.get("paused"))

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(kill_after, range(1, count + 1)))
    assert results[:-1] == [(-signal.SIGKILL, [], True, False)] * (count - 1)


def test_restoring_twice_finds_nothing_the_second_time(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    running = process(cluster, tmp_path / "evidence")
    cluster.after_write = lambda _number: (
        running.kill() if "deployments" in cluster.writes[-1] else None
    )
    running.communicate(timeout=PATIENCE_S)
    first: list[str] = []
    second: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, None, first.append)
    assert restore_with(cluster.api, "fake", NAMESPACE, None, second.append)
    assert any("pod template put back" in line for line in first)
    assert "nothing to restore" in second[0]


def test_a_killed_run_can_be_restored_from_its_journal_on_disk(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    before = digest(cluster.template)
    evidence = tmp_path / "evidence"
    running = process(cluster, evidence)
    cluster.after_write = lambda _number: (
        running.kill() if "deployments" in cluster.writes[-1] else None
    )
    running.communicate(timeout=PATIENCE_S)
    for name in cluster.names("ConfigMap"):
        cluster.drop("ConfigMap", NAMESPACE, name)
    said: list[str] = []
    journal = evidence / "journal.json"
    assert restore_with(cluster.api, "fake", "", journal, said.append)
    assert digest(cluster.template) == before
    assert cluster.residue() == []


def test_a_second_run_on_the_same_target_is_refused(cluster: FakeCluster, tmp_path: Path) -> None:
    seen: list[UserError] = []

    def again(_number: int) -> None:
        if cluster.writes[-1].endswith("/jobs") and not seen:
            cluster.after_write = lambda _number: None
            other = threading.Thread(target=second)
            other.start()

    def second() -> None:
        try:
            run(cluster, tmp_path / "second")
        except UserError as error:
            seen.append(error)
        done.set()

    done = threading.Event()
    cluster.after_write = again
    first = run(cluster, tmp_path / "first")
    assert done.wait(PATIENCE_S)
    assert first.verdict is Verdict.PASS
    assert "another run" in seen[0].message


def test_a_killed_run_must_be_restored_before_the_next(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    running = process(cluster, tmp_path / "evidence")
    cluster.after_write = lambda _number: (
        running.kill() if "deployments" in cluster.writes[-1] else None
    )
    running.communicate(timeout=PATIENCE_S)
    cluster.after_write = lambda _number: None
    with pytest.raises(UserError, match="has left changes behind") as caught:
        run(cluster, tmp_path / "next")
    assert "drainproof restore --context fake" in caught.value.hint


def test_a_client_that_cannot_be_scheduled_is_one_clear_error(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.load._SCHEDULE_S", 0.0)
    cluster.unschedulable = True
    error = refused(cluster, tmp_path)
    assert "cannot be scheduled: 0/2 nodes are available" in error.message


def test_an_image_that_cannot_be_had_is_one_clear_error(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.pull_error = "ErrImagePull"
    error = refused(cluster, tmp_path)
    assert "cannot start from image client: ErrImagePull" in error.message
    assert "--image" in error.hint


def test_a_target_that_serves_no_whole_stream_is_not_disturbed(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.broken_client = True
    error = refused(cluster, tmp_path)
    assert "does not serve streams before the fault" in error.message
    assert not any("deployments" in write for write in cluster.writes)


def test_evidence_is_never_mixed_with_that_of_another_run(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    (tmp_path / "something").touch()
    assert "not empty" in refused(cluster, tmp_path).message


def test_a_change_that_someone_else_makes_meanwhile_is_left(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    """A deployment by someone else during the run is theirs; only our annotation goes."""

    def deploy(_number: int) -> None:
        if "deployments" in cluster.writes[-1]:
            cluster.after_write = lambda _number: None
            cluster.template["metadata"]["annotations"]["version"] = "2"

    cluster.after_write = deploy
    run(cluster, tmp_path)
    assert cluster.template["metadata"]["annotations"] == {"team": "search", "version": "2"}
    assert "vllm-1" in cluster.names("ReplicaSet")


def test_streams_may_come_from_this_machine_instead_of_a_job(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    async def slow(peer: Peer) -> None:
        await peer.head()
        for piece in answer():
            await peer.chunks(piece)
            await asyncio.sleep(0.05)
        await peer.last_chunk()
        await peer.until_closed()

    before = digest(cluster.template)
    with Server(slow) as port:
        verdict = run(cluster, tmp_path, url=f"http://127.0.0.1:{port}")
    assert verdict.streams > 0
    assert verdict.whole == verdict.streams
    assert not any(write.endswith("/jobs") for write in cluster.writes)
    assert digest(cluster.template) == before
    assert cluster.residue() == []
