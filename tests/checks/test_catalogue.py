"""The catalogue as a whole: every check is documented, and shown to pass and to fail."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.registry import SECTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.registry import Check

FIXTURES = content("fixtures") / "manifests"
CHECKS = registry.load(kind="manifest").checks
FIRST_RULES = {
    "grace-period",
    "engine-drains",
    "prestop-delay",
    "rolling-update",
    "shared-memory",
    "readiness-probe",
    "startup-budget",
    "liveness-after-load",
    "scaling-signal",
    "has-scaler",
}
FAILS = "# Fails: "
FOR = "# Profiles: "

each_check = pytest.mark.parametrize(
    "check", [*CHECKS, *registry.load(kind="live").checks], ids=lambda check: check.slug
)


def fixtures(kind: str) -> list[Path]:
    return sorted(FIXTURES.glob(f"*/{kind}-*.yaml"))


def named(value: Path | str) -> str:
    return value if isinstance(value, str) else f"{value.parent.name}/{value.stem}"


def header(path: Path, name: str) -> str:
    """Return what a comment at the top of a fixture says: ``# Fails: …``, ``# Profiles: …``."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if line.startswith(name):
            return line.removeprefix(name)
    return ""


NOT_ASKED = {
    ("enough-replicas", "dev"),
    ("enough-replicas", "module"),  # its manifests run one
    ("has-scaler", "dev"),
    ("no-enforce-eager", "dev"),  # the module: "use for debugging"
}
"""Checks that a profile switches off by its numbers, so that nothing fails them."""


def cases(kind: str) -> list[tuple[Path, str]]:
    """Return each fixture with each profile that it is for; all, unless it names some."""
    return [
        (path, profile)
        for path in fixtures(kind)
        for profile in (header(path, FOR).split(", ") if header(path, FOR) else PROFILES)
    ]


def judged(path: Path, profile: str, *, own: bool) -> audit.AuditResult:
    found = [check for check in CHECKS if not own or check.slug == path.parent.name]
    return audit.run(files.read([path]), PROFILES[profile], found)


def test_the_first_rules_are_there_under_the_slugs_that_waivers_will_name() -> None:
    assert {check.slug for check in CHECKS} >= FIRST_RULES


def test_ids_are_unique() -> None:
    taken = Counter(check.id for check in registry.load().checks)
    assert [name for name, count in taken.items() if count > 1] == []


@each_check
def test_a_check_documents_every_section(check: Check) -> None:
    assert [name for name in SECTIONS if not check.section(name)] == []


@each_check
def test_a_check_has_a_title_that_is_one_sentence(check: Check) -> None:
    assert check.title.endswith(".")
    assert len(check.title) <= 80


@each_check
def test_the_first_sentence_of_the_fix_says_what_to_do_by_itself(check: Check) -> None:
    assert check.fix.endswith(".")
    assert not check.fix.rstrip(".").endswith(":")
    assert len(check.fix) <= 180


@each_check
def test_a_check_asks_only_for_what_the_audit_offers(check: Check) -> None:
    assert set(check.arguments) <= set(audit.ARGUMENTS)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.slug)
def test_a_check_has_manifests_that_pass_and_that_fail(check: Check) -> None:
    folder = FIXTURES / check.slug
    assert list(folder.glob("good-*.yaml")) != []
    assert list(folder.glob("bad-*.yaml")) != []


def test_a_check_has_both_under_every_profile_that_asks_for_what_it_checks() -> None:
    kinds = ("good", "bad")
    there = {(path.parent.name, profile, kind) for kind in kinds for path, profile in cases(kind)}
    missing = {
        (check.slug, profile)
        for check in CHECKS
        for profile in PROFILES
        if not there >= {(check.slug, profile, kind) for kind in kinds}
    }
    assert missing == NOT_ASKED


def test_no_fixture_is_left_of_a_check_that_is_gone() -> None:
    folders = {path.parent.name for path in (*fixtures("good"), *fixtures("bad"))}
    assert folders - {check.slug for check in CHECKS} == set()


@pytest.mark.parametrize(("path", "profile"), cases("good"), ids=named)
def test_a_good_manifest_passes_its_own_check(path: Path, profile: str) -> None:
    result = judged(path, profile, own=True)
    assert len(result.snapshot.workloads) > 0
    # a kind that the check is not about is good, too
    assert [one for one in result.problems if "can only be judged on" not in one.message] == []
    assert [item.message for _, item in result.findings] == []


@pytest.mark.parametrize(("path", "profile"), cases("bad"), ids=named)
def test_a_bad_manifest_fails_by_its_own_check_and_for_its_reason(path: Path, profile: str) -> None:
    reason = header(path, FAILS)
    assert reason
    result = judged(path, profile, own=True)
    assert result.problems == ()
    assert {outcome.verdict for outcome, _ in result.findings} == {"fail"}
    assert any(reason in item.message for _, item in result.findings)


@pytest.mark.parametrize("path", sorted((FIXTURES / "whole").glob("*.yaml")), ids=named)
def test_a_deployment_that_is_wholly_as_it_should_be_has_no_finding_of_any_check(
    path: Path,
) -> None:
    result = judged(path, "production", own=False)
    assert len(result.outcomes) > 0
    assert result.problems == ()
    found = {(outcome.check.slug, item.message) for outcome, item in result.findings}
    assert found == set()
