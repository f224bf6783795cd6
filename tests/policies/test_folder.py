"""The files beside each rule: written from it, and tested by Kyverno's own command line."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.errors import UserError
from drainproof.policies import folder, kyverno, mutating, write

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.registry import Check

each_check = pytest.mark.parametrize("check", write.enforced(), ids=lambda check: check.slug)


def test_the_first_rules_are_there() -> None:
    assert {check.slug for check in write.enforced()} >= {
        "grace-period",
        "prestop-delay",
        "rolling-update",
        "shared-memory",
        "readiness-probe",
        "pinned-image",
        "gpu-limits",
        "token-from-secret",
        "engine-drains",
        "startup-budget",
        "liveness-after-load",
    }


def test_no_folder_is_left_of_a_check_that_is_gone() -> None:
    folders = {path.name for path in write.folder().iterdir() if path.is_dir()}
    slugs = {check.slug for check in write.enforced()}
    assert folders == {*slugs, mutating.FOLDER, write.EXAMPLES}
    mended = {check.slug for check in write.enforced() if mutating.mends(check)}
    assert {path.name for path in (write.folder() / mutating.FOLDER).iterdir()} == mended


@each_check
def test_what_stands_beside_a_rule_is_what_it_gives(check: Check) -> None:
    """``make policies`` writes them anew."""
    there = {
        path.name: path.read_text(encoding="utf-8")
        for path in (write.folder() / check.slug).iterdir()
    }
    assert there.pop(write.RULE)
    assert there == folder.contents(check)


@each_check
def test_a_policy_has_resources_that_pass_and_that_fail(check: Check) -> None:
    test = yaml.safe_load(folder.contents(check)[folder.TEST])
    assert {result["result"] for result in test["results"]} == {"pass", "fail"}


@each_check
def test_kyverno_judges_the_resources_as_the_audit_does(programs: Path, check: Check) -> None:
    ran = kyverno.tested(programs / "kubectl-kyverno", write.folder() / check.slug)
    assert ran.passed, ran.said


def test_a_resource_that_is_judged_otherwise_fails_the_test(programs: Path, tmp_path: Path) -> None:
    copy = tmp_path / "grace-period"
    shutil.copytree(write.folder() / "grace-period", copy)
    text = (copy / folder.TEST).read_text(encoding="utf-8")
    (copy / folder.TEST).write_text(text.replace("result: fail", "result: pass"), encoding="utf-8")
    ran = kyverno.tested(programs / "kubectl-kyverno", copy)
    assert not ran.passed
    assert "bad-default: Want pass, got fail" in ran.said


def test_a_policy_that_does_not_compile_is_an_error_that_names_the_file(
    programs: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "grace-period"
    shutil.copytree(write.folder() / "grace-period", copy)
    text = (copy / "policy.yaml").read_text(encoding="utf-8")
    (copy / "policy.yaml").write_text(
        text.replace("variables.findings.all(", "variables.findings.alle("), encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"grace-period/policy\.yaml: kyverno can't compile.*alle"):
        kyverno.tested(programs / "kubectl-kyverno", copy)


def test_a_resource_of_an_unknown_kind_is_an_error_that_names_the_file(
    programs: Path, tmp_path: Path
) -> None:
    """Kyverno itself lets it pass."""
    copy = tmp_path / "grace-period"
    shutil.copytree(write.folder() / "grace-period", copy)
    text = (copy / "bad.yaml").read_text(encoding="utf-8")
    (copy / "bad.yaml").write_text(text.replace("kind: Deployment", "kind: Deploiment"))
    with pytest.raises(UserError, match=r"bad\.yaml: expected a kind .* found apps/v1 Deploiment"):
        kyverno.tested(programs / "kubectl-kyverno", copy)


def test_a_folder_without_a_test_is_an_error_that_names_it(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path}: kyverno can't run its test"):
        kyverno.tested(programs / "kubectl-kyverno", tmp_path)
