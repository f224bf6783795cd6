"""Chaos checks under pytest: the items of a session share one run, and each has its own verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.content import content
from drainproof.faults import run as runs
from drainproof.faults.catalogue import FAULTS
from drainproof.faults.load import Runner
from drainproof.faults.options import SETTINGS
from drainproof.progress import NoProgress
from tests.faults.doing import embed
from tests.faults.fake import NAMESPACE, FakeCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.errors import UserError
    from drainproof.faults.plan import Plan

CHECKS = str(content("checks") / "chaos")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCluster]:
    with FakeCluster(replicas=2) as running:
        embed(running, monkeypatch)
        yield running


@pytest.fixture
def plans(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans of the runs that were done, on the fake cluster."""
    done: list[Plan] = []

    def run(plan: Plan, _progress: object, refused: dict[int, UserError]) -> Any:  # noqa: ANN401 - as it is
        done.append(plan)
        quick = replace(plan, runner=Runner(image="client"), after_s=0.2, steady_s=10.0)
        return runs.run_on(cluster.api, quick, NoProgress(), refused)

    monkeypatch.setattr(runs, "run", run)
    return done


def chaos(pytester: pytest.Pytester, *options: str | Path) -> pytest.RunResult:
    return pytester.runpytest(
        *(CHECKS, "-p", "no:cacheprovider", "-rs", "--context", "fake", "--namespace", NAMESPACE),
        *("--target", "deployment/vllm", "--rate", "20", "--tokens", "5"),
        *("--fault-timeout", "10", *options),
    )


def test_the_faults_of_a_session_share_one_run(
    pytester: pytest.Pytester, plans: list[Plan]
) -> None:
    junit = pytester.path / "junit.xml"
    faults = ("--fault", "scale-down", "--fault", "pod-delete", "--fault", "rollout")
    result = chaos(pytester, *faults, "--junit-xml", junit, "--evidence", pytester.path / "e")
    result.assert_outcomes(passed=3)
    (plan,) = plans
    assert [fault.name for fault in plan.faults] == ["scale-down", "pod-delete", "rollout"]
    assert (pytester.path / "e" / "verdict.json").exists()
    assert junit.read_text().count('name="verdict" value="pass"') == 3


def test_what_is_deselected_is_not_done(pytester: pytest.Pytester, plans: list[Plan]) -> None:
    chaos(
        pytester, "-k", "evict or scale-down or scale-up", "--evidence", pytester.path / "e"
    ).assert_outcomes(passed=3, deselected=len(FAULTS) - 3)
    assert [fault.name for fault in plans[0].faults] == ["scale-down", "scale-up", "evict"]


def test_one_that_cuts_streams_fails_its_own_item_with_its_report(
    pytester: pytest.Pytester, plans: list[Plan], cluster: FakeCluster
) -> None:
    cluster.cut_after_write = True

    def hurt(_number: int) -> None:
        if "/pods/" in cluster.writes[-1]:
            cluster.later(lambda: setattr(cluster, "cut_after_write", False), 0.3)

    cluster.after_write = hurt
    faults = ("--fault", "pod-delete", "--fault", "scale-down")
    result = chaos(pytester, *faults, "--evidence", pytester.path / "e")
    result.assert_outcomes(passed=1, failed=1)
    assert len(plans) == 1
    result.stdout.fnmatch_lines(["*_ pod-delete[[]deployment/vllm[]] _*"])


def test_what_cannot_be_done_here_is_skipped_with_the_reason_unless_it_was_named(
    pytester: pytest.Pytester, plans: list[Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drainproof.faults.catalogue.node_loss.nodes_of", lambda _context: None)
    options = ("-k", "node-loss or pod-delete", "--evidence")
    result = chaos(pytester, *options, pytester.path / "a")
    result.assert_outcomes(passed=1, skipped=1, deselected=len(FAULTS) - 2)
    result.stdout.fnmatch_lines(["*SKIPPED*can't be done here: node-loss stops a node's machine*"])
    named = ("--fault", "node-loss", "--fault", "pod-delete", "--evidence", pytester.path / "b")
    chaos(pytester, *named).assert_outcomes(passed=1, failed=1)
    assert len(plans) == 2


def test_a_plan_is_read_as_on_the_command_line(
    pytester: pytest.Pytester, plans: list[Plan]
) -> None:
    pytester.makefile(".yaml", plan="faults:\n- evict\n- fault: scale-up\n  by: 2\n")
    chaos(pytester, "--plan", "plan.yaml", "--evidence", pytester.path / "e").assert_outcomes(
        passed=2
    )
    assert plans[0].faults[1].options == {"by": 2}


def test_a_bad_plan_or_fault_is_one_clear_error(
    pytester: pytest.Pytester, plans: list[Plan]
) -> None:
    pytester.makefile(".yaml", plan="faults:\n- reboot\n")
    result = chaos(pytester, "--plan", "plan.yaml")
    result.stdout.fnmatch_lines(["*plan.yaml:2: faults[[]0[]]: no fault is called 'reboot'*"])
    chaos(pytester, "--fault", "reboot").stdout.fnmatch_lines(["*no fault is called 'reboot'*"])
    assert plans == []


def test_every_setting_has_the_name_that_it_has_on_the_command_line(
    pytester: pytest.Pytester,
) -> None:
    said = pytester.runpytest("--help").stdout.str()
    assert [name for name in (f"--{s.name}" for s in SETTINGS) if name not in said] == []
