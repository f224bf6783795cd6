"""The checks of live clusters, each shown to pass, to fail and to be undecided on a Snapshot.

A fixture is what ``drainproof audit --save`` writes, with what it is for beside it: ``fails`` or
``unclear`` (a part of the message), and ``profiles`` if it is not for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.registry import Check

FIXTURES = content("fixtures") / "snapshots"
CHECKS = {check.slug: check for check in registry.load(kind="live").checks}

each_check = pytest.mark.parametrize("check", CHECKS.values(), ids=lambda check: check.slug)


def cases(kind: str) -> list[Any]:
    """Return each fixture of a kind with each profile that it is for."""
    return [
        pytest.param(path, profile, id=f"{path.parent.name}/{path.stem}-{profile}")
        for path in sorted(FIXTURES.glob(f"*/{kind}-*.json"))
        for profile in said(path, "profiles") or PROFILES
    ]


def said(path: Path, key: str) -> Any:  # noqa: ANN401 - a text, or a list of them
    return orjson.loads(path.read_bytes()).get(key)


def judged(path: Path, profile: str) -> audit.AuditResult:
    snapshot = Snapshot.from_json(path.read_bytes())
    return audit.run(snapshot, PROFILES[profile], [CHECKS[path.parent.name]])


def test_every_live_rule_is_there_under_the_slug_that_waivers_will_name() -> None:
    assert set(CHECKS) == {
        "metric-is-fresh",
        "scaler-is-ready",
        "endpoints-ready",
        "cold-start-fits-probes",
        "grace-covers-latency",
        "latency-objectives",
        "surge-has-a-gpu",
        "restarts",
        "target-is-up",
        "query-answers",
        "scaler-active",
        "scaler-makes-hpa",
    }


@each_check
@pytest.mark.parametrize("kind", ["good", "bad", "unclear"])
def test_a_check_has_snapshots_that_pass_that_fail_and_that_leave_it_undecided(
    check: Check, kind: str
) -> None:
    assert list((FIXTURES / check.slug).glob(f"{kind}-*.json")) != []


def test_no_snapshot_is_left_of_a_check_that_is_gone() -> None:
    assert {path.parent.name for path in FIXTURES.glob("*/*.json")} - CHECKS.keys() == set()


@pytest.mark.parametrize(("path", "profile"), cases("good"))
def test_a_good_cluster_passes(path: Path, profile: str) -> None:
    result = judged(path, profile)
    assert result.problems == ()
    assert [(outcome.verdict, outcome.findings) for outcome in result.outcomes] == [("pass", ())]


@pytest.mark.parametrize(("path", "profile"), cases("bad"))
def test_a_bad_cluster_fails_for_its_reason(path: Path, profile: str) -> None:
    result = judged(path, profile)
    assert result.problems == ()
    assert {outcome.verdict for outcome, _ in result.findings} == {"fail"}
    messages = [item.message for _, item in result.findings]
    assert any(said(path, "fails") in message for message in messages), messages


@pytest.mark.parametrize(("path", "profile"), cases("unclear"))
def test_what_is_not_there_to_see_is_undecided_and_never_a_pass(path: Path, profile: str) -> None:
    result = judged(path, profile)
    assert result.problems == ()
    assert {outcome.verdict for outcome in result.outcomes} == {"inconclusive"}
    messages = [item.message for _, item in result.findings]
    assert any(said(path, "unclear") in message for message in messages), messages


@each_check
def test_a_workload_that_has_no_pods_is_never_passed_by_what_looks_at_pods(check: Check) -> None:
    if "pods" not in check.arguments:
        pytest.skip("it looks at no pods")
    path = next(iter(FIXTURES.glob("*/unclear-scaled-to-zero.json")))
    snapshot = Snapshot.from_json(path.read_bytes())
    outcome = audit.judge(check, audit.Offered(snapshot, snapshot.workloads[0], PROFILES["dev"]))
    assert outcome is not None
    assert outcome.verdict == "inconclusive"


@each_check
def test_a_saved_snapshot_is_judged_as_it_was(check: Check) -> None:
    for path in sorted((FIXTURES / check.slug).glob("*.json")):
        first = Snapshot.from_json(path.read_bytes())
        again = Snapshot.from_json(first.to_json())
        messages = [
            [item.message for _, item in audit.run(one, PROFILES["production"], [check]).findings]
            for one in (first, again)
        ]
        assert messages[0] == messages[1]


def test_a_message_of_a_controller_is_shown_without_the_password_in_it() -> None:
    result = judged(FIXTURES / "scaler-is-ready" / "bad-keda-not-ready.json", "production")
    (message,) = [item.message for _, item in result.findings]
    assert "hunter2" not in message
    assert "http://prometheus:x" in message
