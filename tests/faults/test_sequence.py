"""Several faults in one run: one load through all of them, a steady state before and after each."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.errors import UserError
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.plan import parse
from drainproof.faults.run import dry_run_on, run_on
from drainproof.judge.chaos import HISTORY
from drainproof.judge.verdict import Verdict
from drainproof.progress import NoProgress
from drainproof.streams import history
from tests.faults.doing import embed, keda, state
from tests.faults.fake import FakeCluster
from tests.faults.runner import plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict

TWICE = ("pod-delete", "readiness-flap")
QUICK = tuple(
    name for name in FAULTS if name not in {"no-flapping", "scaler-outage", "scale-from-zero"}
)
"""All but those that last as long as they are told to, and one that wants another autoscaler."""
GIVEN = {"cold-start": "cold-start:growth=0.1"}
"""What a user has to state so that some can pass."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster(replicas=2) as running:
        embed(running, monkeypatch)
        yield running


def run(cluster: FakeCluster, folder: Path, *faults: str, **changes: object) -> ChaosVerdict:
    quick = {"steady_s": 10.0, "timeout_s": 10.0}
    asked = plan(folder, faults=tuple(parse(fault) for fault in faults), **(quick | changes))
    return run_on(cluster.api, asked, NoProgress())[0]


def scaled(cluster: FakeCluster) -> None:
    """Let a ScaledObject scale the target."""
    keda(cluster)


def steps(folder: Path) -> list[history.Fault]:
    return [one for one in history.read(folder / HISTORY) if isinstance(one, history.Fault)]


def test_all_faults_share_one_load_and_each_is_judged_and_undone(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    scaled(cluster)
    before = state(cluster)
    verdict = run(cluster, tmp_path, *(GIVEN.get(name, name) for name in QUICK))
    assert [(one.fault, one.index) for one in verdict.faults] == [
        (name, index) for index, name in enumerate(QUICK)
    ]
    assert [one.reasons for one in verdict.faults] == [()] * len(QUICK)
    assert verdict.verdict is Verdict.PASS
    assert state(cluster) == before
    assert cluster.residue() == []
    jobs = [write for write in cluster.writes if write.endswith("/jobs")]
    assert len(jobs) == 4  # the streams', and the crowds of endpoint-lag, scale-out and scale-in


def from_zero(cluster: FakeCluster) -> None:
    keda(cluster, fewest=0)
    cluster.sleeps = True


def test_streams_stop_until_no_replica_is_left_and_come_again(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    from_zero(cluster)
    verdict = run(cluster, tmp_path, "scale-from-zero:profile=dev", steady_s=30.0)
    assert (verdict.verdict, verdict.reasons) == (Verdict.PASS, ()), verdict.doubts
    (found,) = verdict.faults
    assert found.scaling is not None
    assert found.scaling.zero is not None
    kinds = {one.what: one.requests for one in found.scaling.zero.kinds}
    assert kinds["rejected"] == found.excused > 0
    assert kinds["answered"] >= 20
    assert [step.phase for step in steps(tmp_path)] == [
        "steady",
        "begin",
        "hit",
        "end",
        "steady",
        "undone",
    ]
    assert cluster.residue() == []


def test_a_run_from_zero_that_cuts_streams_fails(cluster: FakeCluster, tmp_path: Path) -> None:
    from_zero(cluster)
    cluster.cut_after_write = cluster.struck = True
    with pytest.raises(UserError, match="does not serve streams before the fault"):
        run(cluster, tmp_path, "scale-from-zero:profile=dev")
    assert cluster.residue() == []


def test_a_steady_state_is_proved_before_and_after_each(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    run(cluster, tmp_path, *TWICE)
    told = [(step.index, step.phase) for step in steps(tmp_path) if step.phase != "hit"]
    assert told == [
        *((0, phase) for phase in ("steady", "begin", "end", "undone")),
        *((1, phase) for phase in ("steady", "begin", "end", "steady", "undone")),
    ]
    assert all(earlier.at <= later.at for earlier, later in pairwise(steps(tmp_path)))


@pytest.mark.parametrize("fault", QUICK)
def test_what_every_fault_must_not_cost_fails_it(
    cluster: FakeCluster, tmp_path: Path, fault: str
) -> None:
    """Streams that end cleanly and are not whole are never excused, whatever was done."""
    cluster.cut_after_write = True
    scaled(cluster)
    verdict = run(cluster, tmp_path, fault)
    assert verdict.verdict is Verdict.FAIL, verdict.reasons
    (found,) = verdict.faults
    assert (found.fault, found.verdict) == (fault, Verdict.FAIL)
    assert found.silently_truncated > 0


@pytest.mark.parametrize("cut", [False, True], ids=["sound", "streams cut"])
def test_an_outage_is_judged_by_what_keda_says_and_by_its_streams(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, cut: bool
) -> None:
    monkeypatch.setattr("drainproof.faults.catalogue.scaler_outage.SETTLE_S", 0.1)
    cluster.cut_after_write = cut
    scaled(cluster)
    before = state(cluster)
    verdict = run(cluster, tmp_path, "scaler-outage:for=5")
    assert verdict.verdict is (Verdict.FAIL if cut else Verdict.PASS), verdict.reasons
    (found,) = verdict.faults
    assert found.cost == "control-plane"
    assert found.scaling is not None
    assert [one.holds for one in found.scaling.criteria] == [True] * 4
    assert state(cluster) == before


def test_one_that_costs_streams_does_not_stain_the_others(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.cut_after_write = True

    def heal() -> None:
        cluster.cut_after_write = False

    def hurt(_number: int) -> None:
        if "/pods/" in cluster.writes[-1]:
            cluster.later(heal, 0.3)

    cluster.after_write = hurt
    verdict = run(cluster, tmp_path, "pod-delete", "scale-down")
    assert [one.verdict for one in verdict.faults] == [Verdict.FAIL, Verdict.PASS]
    assert verdict.verdict is Verdict.FAIL


def test_a_sequence_after_which_the_target_is_not_steady_is_cut_short_and_proves_nothing(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.back_after_s = 60.0
    verdict = run(cluster, tmp_path, "pod-delete:timeout=0.3", "scale-down", steady_s=3.0)
    assert verdict.verdict is not Verdict.PASS
    last = [step for step in steps(tmp_path) if step.fault == "scale-down"]
    assert [step.phase for step in last[:1]] == ["timeout"]
    assert "no steady state" in last[0].detail
    assert not any("deployments" in write for write in cluster.writes)
    assert cluster.residue() == []


def test_one_that_cannot_work_refuses_the_whole_run_unless_it_may_be_left_out(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    faults = (parse("pod-delete"), parse("scale-down:by=2"))
    with pytest.raises(UserError, match="none would be left to serve"):
        run_on(cluster.api, plan(tmp_path / "a", faults=faults), NoProgress())
    assert not any("pods" in write for write in cluster.writes)
    left_out: dict[int, UserError] = {}
    verdict, _ = run_on(cluster.api, plan(tmp_path / "b", faults=faults), NoProgress(), left_out)
    assert [one.fault for one in verdict.faults] == ["pod-delete"]
    assert list(left_out) == [1]


def test_a_dry_run_tells_all_and_changes_nothing_not_even_a_lease(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    scaled(cluster)
    every = (fault for fault in FAULTS if fault != "scale-from-zero")
    asked = plan(tmp_path / "evidence", faults=tuple(parse(fault) for fault in every))
    said = "\n".join(dry_run_on(cluster.api, asked))
    for words in (
        "deployment/vllm in inference of context fake; nothing is changed now",
        "  lease/drainproof-deployment-vllm",
        "  job/drainproof-RUN: 1 streaming clients, image client",
        "rollout (graceful), for at most",
        "  deployment/vllm: spec.replicas=1",
        "  node/n-a: spec.unschedulable=True",
        "node-loss (abrupt)",
        "no-flapping (graceful)",
        "  they come 4 times, every 60 s",
        "scaler-outage (control-plane)",
        "  every autoscaler of the cluster that needs KEDA's operator is affected, not only",
    ):
        assert words in said
    assert cluster.writes == []
    assert not (tmp_path / "evidence").exists()


def test_a_dry_run_is_refused_as_the_run_would_be(cluster: FakeCluster, tmp_path: Path) -> None:
    asked = plan(tmp_path, faults=(parse("scale-down:by=2"),))
    with pytest.raises(UserError, match="none would be left"):
        list(dry_run_on(cluster.api, asked))


def test_clients_keep_off_the_node_that_will_be_lost(cluster: FakeCluster, tmp_path: Path) -> None:
    jobs: list[dict[str, Any]] = []

    def look(_number: int) -> None:
        jobs.extend(
            item for (kind, _, _), item in cluster.objects.items() if kind == "Job" and not jobs
        )

    cluster.after_write = look
    run(cluster, tmp_path, "node-loss")
    affinity = jobs[0]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert '"values": ["n-a"]' in str(affinity).replace("'", '"')
