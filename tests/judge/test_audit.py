from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from drainproof.errors import ExitCode, UserError
from drainproof.judge import audit
from drainproof.judge.profiles import PROFILES, profile
from drainproof.judge.registry import Check, load
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.snapshot import Problem, Snapshot
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

    Rule = Callable[[Workload], Iterator[Finding]]

PRODUCTION = PROFILES["production"]


def check(rule: Rule, applies_to: frozenset[str] = frozenset()) -> Check:
    return Check(
        "mine", "XY101", Severity.ERROR, "manifest", rule, ("workload",), applies_to, Path(), ""
    )


def passes(workload: Workload) -> Iterator[Finding]:
    if workload.engine is None:
        yield workload.finding("spec", "no engine")


def fails(workload: Workload) -> Iterator[Finding]:
    yield workload.finding("spec", "no")


def warns(workload: Workload) -> Iterator[Finding]:
    yield workload.finding("spec", "no", Severity.WARNING)


def cannot_tell(workload: Workload) -> Iterator[Finding]:
    yield workload.inconclusive("spec", "who knows")


def assumes(workload: Workload) -> Iterator[Finding]:
    yield workload.assumption("spec", "if so")


def breaks_down(workload: Workload) -> Iterator[Finding]:
    yield workload.finding("spec", str(1 / 0))


def quotes_a_secret(workload: Workload) -> Iterator[Finding]:
    yield workload.finding("spec", "whether hf_ThisIsNotARealTokenOnlyItsForm01234 is one")


def run(*rules: Rule, problems: tuple[Problem, ...] = ()) -> audit.AuditResult:
    snapshot = Snapshot(Snapshot.of([deployment()]).items, problems=problems)
    return audit.run(snapshot, PRODUCTION, [check(rule) for rule in rules])


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        ([passes], ExitCode.CLEAN),
        ([assumes], ExitCode.CLEAN),
        ([passes, fails], ExitCode.FINDINGS),
        ([warns], ExitCode.CLEAN),
        ([warns, cannot_tell], ExitCode.INCONCLUSIVE),
        ([passes, cannot_tell], ExitCode.INCONCLUSIVE),
        ([cannot_tell, fails], ExitCode.FINDINGS),
        ([breaks_down], ExitCode.INCONCLUSIVE),
        ([], ExitCode.ERROR),
    ],
)
def test_the_exit_code_says_what_was_found(rules: list[Rule], code: ExitCode) -> None:
    assert run(*rules).exit_code is code


def test_warnings_fail_where_they_are_asked_to() -> None:
    result = replace(run(warns), fail_on=Severity.WARNING)
    assert result.exit_code is ExitCode.FINDINGS


@pytest.mark.parametrize("rule", [passes, fails])
def test_input_that_cannot_be_read_is_an_error_whatever_else_was_found(rule: Rule) -> None:
    assert run(rule, problems=(Problem("x"),)).exit_code is ExitCode.ERROR


def test_a_finding_has_the_checks_severity_unless_it_has_its_own() -> None:
    found = run(fails, warns).findings
    assert [item.severity for _, item in found] == [Severity.ERROR, Severity.WARNING]


def test_an_assumption_is_kept_and_is_no_finding() -> None:
    (outcome,) = run(assumes).outcomes
    assert (outcome.verdict, outcome.findings) == (Verdict.PASS, ())
    assert [item.message for item in outcome.assumptions] == ["if so"]


def test_a_check_that_breaks_down_is_inconclusive_and_says_so() -> None:
    (outcome,) = run(breaks_down).outcomes
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.findings[0].message == (
        "the check itself broke down: ZeroDivisionError: division by zero"
    )


@pytest.mark.parametrize(
    "rule",
    [
        lambda _: iter(["a text"]),
        lambda _: iter([None]),
        lambda _: None,
        lambda workload: iter([workload.finding("spec", 5)]),
        lambda _: sys.exit(0),
    ],
    ids=["a text", "nothing", "no iterator", "no message", "exit"],
)
def test_a_check_that_yields_anything_but_findings_is_inconclusive(rule: Rule) -> None:
    (outcome,) = run(rule).outcomes
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.findings[0].message.startswith("the check itself broke down: ")


def test_a_check_looks_only_at_the_kinds_that_it_applies_to() -> None:
    snapshot = Snapshot.of([deployment()])
    only = check(fails, frozenset({"StatefulSet"}))
    assert audit.run(snapshot, PRODUCTION, [only]).outcomes == ()


def test_nothing_to_audit_says_what_there_was_instead() -> None:
    web = deployment(image="nginx:1", args=None)
    error = audit.nothing_to_audit(Snapshot.of([web, scaled_object()]))
    assert "1 workload without an LLM engine drainproof knows, 1 other object" in error.message


def test_an_unknown_profile_is_an_error() -> None:
    with pytest.raises(UserError, match="expected a profile"):
        profile("prod")


def test_the_dev_profile_asks_for_less() -> None:
    obj = deployment()
    obj["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 61
    obj["spec"]["template"]["spec"]["containers"][0]["args"] = ["--shutdown-timeout=40"]
    checks = [load(kind="manifest").get(slug) for slug in ("grace-period", "has-scaler")]
    counts = {
        name: len(audit.run(Snapshot.of([obj]), PROFILES[name], checks).findings)
        for name in ("production", "dev")
    }
    assert counts == {"production": 2, "dev": 0}


def test_a_secret_that_a_message_quotes_is_hidden() -> None:
    ((_, found),) = run(quotes_a_secret).findings
    assert found.message == "whether [hidden:a-Hugging-Face-token] is one"
