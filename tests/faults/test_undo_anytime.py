"""Whatever a fault changes, a run may end at any call: afterwards everything is what it was."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drainproof.errors import UserError
from drainproof.faults import journal as journal_module
from drainproof.faults.journal import FILE, Journal
from drainproof.faults.restore import restore_with
from drainproof.faults.undo import (
    MANAGED,
    Change,
    annotation,
    cordon,
    created,
    find_scalers,
    hold,
    label,
    outage,
    replicas,
    template,
    template_annotation,
)
from tests.faults.fake import NAMESPACE
from tests.faults.fake_undo import (
    ELSEWHERE,
    ENTRY,
    HPA,
    NODE,
    POD,
    SCALED,
    TARGET,
    Killed,
    MemoryCluster,
    away,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drainproof.faults.api import Api, Object


def origin(api: Api) -> str:
    running = [i for i in api.list("ReplicaSet", NAMESPACE)["items"] if i["spec"]["replicas"]]
    return str(running[0]["metadata"]["uid"])


def args(item: Object) -> list[str]:
    found: list[str] = item["spec"]["template"]["spec"]["containers"][0]["args"]
    return found


def scale_down(api: Api) -> Iterator[Change]:
    """What scaling down does: the replicas, then whatever would change them again."""
    scalers = find_scalers(api, NAMESPACE, "Deployment", "vllm")
    yield replicas(api.get(*TARGET), 1)
    for scaler in scalers:
        yield hold(scaler, 1)


FAULTS: dict[str, Callable[[Api], Iterator[Change]]] = {
    "restart": lambda api: iter(
        [template_annotation(api.get(*TARGET), "drainproof.dev/restarted-at", "now", origin(api))]
    ),
    "image": lambda api: iter([template(api.get(*TARGET), "vllm", origin(api), image="vllm:2")]),
    "more arguments": lambda api: iter(
        [template(item := api.get(*TARGET), "vllm", origin(api), args=[*args(item), "--a", "--b"])]
    ),
    "fewer arguments": lambda api: iter(
        [template(api.get(*TARGET), "vllm", origin(api), args=["--model=other"])]
    ),
    "environment": lambda api: iter(
        [template(api.get(*TARGET), "vllm", origin(api), env={"MODE": "slow", "NEW": "1"})]
    ),
    "scale-down": scale_down,
    "cordon": lambda api: iter([cordon(api.get(*NODE))]),
    "pod label": lambda api: iter([label(api.get(*POD), "app", None)]),
    "node label": lambda api: iter([label(api.get(*NODE), "zone", "b")]),
    "outage": lambda api: iter([outage(api.get(*ELSEWHERE))]),
    "target annotation": lambda api: iter([annotation(api.get(*TARGET), "a/b", "c")]),
}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is worth waiting for: what is away stays away until the test brings it back."""
    monkeypatch.setattr(journal_module, "_PATIENCE_S", 0.0)
    monkeypatch.setattr(journal_module, "_PAUSE_S", 0.0)


def run(cluster: MemoryCluster, folder: Path, faults: Sequence[str]) -> list[str]:
    """Do what a run does: a Job, one fault after the other, each undone, and an end."""
    said: list[str] = []
    journal = Journal(cluster.api, folder, ENTRY)
    try:
        journal.open()
        journal.plan(created("Job", "load"))
        meta = {"name": "load", "labels": MANAGED}
        cluster.api.create("Job", NAMESPACE, {"metadata": meta, "spec": {}})
        for fault in faults:
            mark = journal.mark
            try:
                for change in FAULTS[fault](cluster.api):
                    journal.make(change)
            finally:
                journal.undo(said.append, since=mark)
    except UserError as error:
        said.append(error.message)
    journal.undo(said.append)
    return said


def restore(cluster: MemoryCluster, journal_file: Path | None = None) -> list[str]:
    said: list[str] = []
    assert restore_with(cluster.api, "fake", NAMESPACE, journal_file, said.append), said
    return said


def kill_at(number: int) -> Callable[[int], None]:
    def kill(now: int) -> None:
        if now >= number:
            raise Killed

    return kill


def count_calls(faults: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        cluster = MemoryCluster()
        run(cluster, Path(folder), faults)
        return cluster.calls


def assert_as_before(cluster: MemoryCluster, before: dict[str, Any]) -> None:
    cluster.settle()
    assert cluster.state() == before
    assert cluster.residue() == []
    (running,) = cluster.running()
    assert running is cluster.current()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_whole_run_leaves_everything_as_it_was(fault: str, tmp_path: Path) -> None:
    cluster = MemoryCluster()
    before = cluster.state()
    said = run(cluster, tmp_path, [fault])
    assert all("put back" in line or "job/load: deleted" in line for line in said), said
    assert_as_before(cluster, before)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_something(fault: str, tmp_path: Path) -> None:
    """Otherwise the tests of its undoing prove nothing."""
    cluster = MemoryCluster()
    before = cluster.state()
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    for change in FAULTS[fault](cluster.api):
        journal.make(change)
    assert cluster.state() != before


@pytest.mark.parametrize("arrives", [False, True], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_killed_at_any_call_is_restored_and_a_second_restore_finds_nothing(
    fault: str, *, arrives: bool, tmp_path: Path
) -> None:
    for number in range(1, count_calls([fault]) + 1):
        cluster = MemoryCluster()
        before = cluster.state()
        setattr(cluster, "after" if arrives else "before", kill_at(number))
        with pytest.raises(Killed):
            run(cluster, tmp_path / str(number), [fault])
        cluster.calm()
        restore(cluster)
        assert_as_before(cluster, before)
        writes = cluster.objects.copy()
        assert "nothing to restore" in restore(cluster)[-1]
        assert cluster.objects == writes


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_killed_at_any_call_is_finished_by_the_next(fault: str, tmp_path: Path) -> None:
    made = count_calls([fault])
    number, finished = 0, False
    while not finished:
        number += 1
        cluster = MemoryCluster()
        before = cluster.state()
        cluster.after = kill_at(made // 2)
        with pytest.raises(Killed):
            run(cluster, tmp_path / str(number), [fault])
        cluster.calm()
        cluster.before = kill_at(cluster.calls + number)
        try:
            restore(cluster)
            finished = True
        except Killed:
            cluster.calm()
            restore(cluster)
        assert_as_before(cluster, before)
    assert number > 5


@pytest.mark.parametrize("arrives", [False, True], ids=["call lost", "answer lost"])
@pytest.mark.parametrize("fault", FAULTS)
def test_an_api_server_that_goes_away_at_any_call_is_restored_when_it_is_back(
    fault: str, *, arrives: bool, tmp_path: Path
) -> None:
    for number in range(1, count_calls([fault]) + 1):
        cluster = MemoryCluster()
        before = cluster.state()

        def gone(now: int, number: int = number) -> None:
            if now >= number:
                away(now)

        setattr(cluster, "after" if arrives else "before", gone)
        run(cluster, tmp_path / str(number), [fault])
        cluster.calm()
        restore(cluster)
        assert_as_before(cluster, before)


OTHERS: dict[str, tuple[tuple[str, str, str], Object]] = {
    "replicas": (TARGET, {"spec": {"replicas": 7}}),
    "pod template": (TARGET, {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}}),
    "restart": (
        TARGET,
        {
            "spec": {
                "template": {"metadata": {"annotations": {"drainproof.dev/restarted-at": "me"}}}
            }
        },
    ),
    "hpa": (HPA, {"spec": {"maxReplicas": 9}}),
    "scaled object": (
        SCALED,
        {"metadata": {"annotations": {"autoscaling.keda.sh/paused-replicas": "3"}}},
    ),
    "pod label": (POD, {"metadata": {"labels": {"app": "mine"}}}),
    "node label": (NODE, {"metadata": {"labels": {"zone": "c"}}}),
    "prometheus": (ELSEWHERE, {"spec": {"replicas": 2}}),
    "unrelated": (TARGET, {"metadata": {"labels": {"owner": "me"}}}),
}


@settings(max_examples=400)
@given(
    faults=st.lists(st.sampled_from(list(FAULTS)), min_size=1, max_size=3),
    others=st.dictionaries(st.integers(1, 60), st.sampled_from(list(OTHERS)), max_size=2),
    end=st.one_of(st.none(), st.integers(1, 60)),
    arrives=st.booleans(),
    gone=st.one_of(st.none(), st.tuples(st.integers(1, 60), st.integers(1, 30))),
    rolled_after=st.integers(1, 40),
    from_disk=st.booleans(),
)
def test_whatever_happens_meanwhile_only_what_others_did_stays(  # noqa: PLR0913
    *,
    faults: list[str],
    others: dict[int, str],
    end: int | None,
    arrives: bool,
    gone: tuple[int, int] | None,
    rolled_after: int,
    from_disk: bool,
) -> None:
    cluster, twin = MemoryCluster(), MemoryCluster()
    cluster.rolled_after = rolled_after
    done: set[int] = set()

    def meanwhile(now: int) -> None:
        for when, other in others.items():
            if when <= now and when not in done:
                done.add(when)
                cluster.someone_else(*OTHERS[other])
                twin.someone_else(*OTHERS[other])
        if end and now >= end and not arrives:
            raise Killed
        if gone and gone[0] <= now < sum(gone):
            away(now)

    cluster.before = meanwhile
    cluster.after = kill_at(end) if end and arrives else lambda _number: None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            run(cluster, folder, faults)
        except Killed:
            gone = end = None
            cluster.after = lambda _number: None  # others go on
            if from_disk and (folder / FILE).exists():
                cluster.objects.pop(("ConfigMap", NAMESPACE, "drainproof-journal-r"), None)
                restore(cluster, folder / FILE)
        gone = end = None
        cluster.after = lambda _number: None
        restore(cluster)
        cluster.settle()
        twin.settle()
        assert cluster.state() == twin.state()
        assert cluster.residue() == []
        assert cluster.running() == [cluster.current()]


def test_a_restart_is_undone_without_a_second_rollout(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    run(cluster, tmp_path, ["restart"])
    cluster.settle()
    assert cluster.rollouts == 1


def test_amid_a_rollout_no_replica_set_that_runs_pods_is_deleted(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    cluster.rolled_after = 1000
    (old,) = cluster.running()
    said = run(cluster, tmp_path, ["restart"])
    assert "deployment/vllm: pod template put back; Kubernetes rolls back to it" in said
    cluster.settle()
    assert cluster.running() == [old]


def test_a_new_image_is_rolled_back_since_pods_that_run_it_are_not_what_was_there(
    tmp_path: Path,
) -> None:
    cluster = MemoryCluster()
    (old,) = cluster.running()
    run(cluster, tmp_path, ["image"])
    cluster.settle()
    assert cluster.rollouts == 2
    assert cluster.running() == [old]


def test_each_fault_of_a_run_is_undone_by_itself_and_the_load_goes_on(tmp_path: Path) -> None:
    cluster = MemoryCluster()
    journal = Journal(cluster.api, tmp_path, ENTRY)
    journal.open()
    journal.plan(created("Job", "load"))
    cluster.api.create("Job", NAMESPACE, {"metadata": {"name": "load", "labels": MANAGED}})
    mark = journal.mark
    journal.make(cordon(cluster.api.get(*NODE)))
    assert journal.undo(print, since=mark)
    assert not cluster.objects[NODE]["spec"].get("unschedulable")
    assert cluster.residue() == ["drainproof-journal-r", "load"]
