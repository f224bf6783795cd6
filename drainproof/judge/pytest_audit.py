"""The audit as pytest items: one for each check and subject, and one for each waiver of a check."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge.registry import load_file
from drainproof.judge.verdict import Verdict
from drainproof.judge.waivers import IN_FORCE
from drainproof.model.secrets import without_forms
from drainproof.report.rows import Row, rows
from drainproof.report.text import harmless, printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.judge.config import Audit
    from drainproof.judge.registry import Check
    from drainproof.model.finding import Located

WARNING = "warning"
"""The property of a passed item that holds a finding below ``--fail-on``."""


class Judged:
    """What one check said of every subject; judged when the first item of it runs.

    Args:
        audit: The audit of this run.
        check: The check.
    """

    def __init__(self, audit: Audit, check: Check) -> None:
        self.audit = audit
        self.check = check

    @cached_property
    def result(self) -> AuditResult:
        """What the check said."""
        return self.audit.run([self.check])

    @cached_property
    def outcomes(self) -> dict[tuple[str, int], Outcome]:
        """The outcomes, by the slug of their check and their subject's ``id()``."""
        return {(item.check.slug, id(item.subject)): item for item in self.result.outcomes}

    @cached_property
    def rows(self) -> dict[int, list[Row]]:
        """The findings and assumptions of each outcome, by its ``id()``."""
        listed = rows(self.result)
        found: dict[int, list[Row]] = {}
        for row in (*listed.findings, *listed.assumptions):
            found.setdefault(id(row.outcome), []).append(row)
        return found


def items(file: pytest.File, audit: Audit, *, first: bool) -> Iterator[pytest.Item]:
    """Yield the items of a file with a check in it.

    Args:
        file: The file.
        audit: The audit of this run.
        first: Whether what can't be read is said here.

    Raises:
        UserError: The file can't be loaded.
    """
    check = load_file(file.path, file.path.parent.name)
    snapshot = audit.snapshot
    if first:
        for problem in (*snapshot.problems, *audit.misread):
            where = f"{problem.file}:{problem.line}" if problem.line else problem.file
            said = f"{problem}\n  hint: {problem.hint}" if problem.hint else str(problem)
            yield UnreadableItem.from_parent(file, name=f"readable[{printable(where)}]", said=said)
    if check is None or not audit.config.runs(check):
        return
    if check.kind == "live" and snapshot.partial:
        return
    judged = Judged(audit, check)
    names: set[str] = set()
    for workload in snapshot.workloads:
        if not check.applies_to or workload.kind in check.applies_to:
            name = _unique(check.slug, workload, names)
            yield CheckItem.from_parent(
                file, name=name, judged=judged, check=check, subject=workload
            )
    for waiver in audit.waivers:
        if waiver.check in {check.slug, check.id}:
            name = _unique(IN_FORCE.slug, waiver.where, names, f"{check.slug} of {waiver.subject}")
            yield CheckItem.from_parent(
                file, name=name, judged=judged, check=IN_FORCE, subject=waiver.where
            )


def _unique(slug: str, subject: Located, names: set[str], ref: str = "") -> str:
    """Return an item's name; the same object in two files, such as two overlays, makes two."""
    ref = printable(ref or subject.ref)
    file, line = printable(subject.file), subject.origin.line if subject.origin else 0
    for name in (
        f"{slug}[{ref}]",
        f"{slug}[{ref}@{file}]",
        f"{slug}[{ref}@{file}:{line}]",
        f"{slug}[{ref}#{len(names)}]",
    ):
        if name not in names:
            names.add(name)
            return name
    raise AssertionError(name)


class CheckItem(pytest.Item):
    """One check on one subject."""

    def __init__(self, *, judged: Judged, check: Check, subject: Located, **kwargs: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**kwargs)
        self.judged = judged
        self.check = check
        self.subject = subject
        self.add_marker("drainproof")
        self.user_properties += [
            ("check", check.slug),
            ("check_id", check.id),
            ("subject", printable(subject.ref)),
        ]

    def runtest(self) -> None:
        """Judge; raise what fails, can't be told or is waived."""
        result = self.judged.result
        outcome = self.judged.outcomes.get((self.check.slug, id(self.subject)))
        if outcome is None:
            if self.check in result.not_run:
                pytest.skip("it needs a Prometheus: --prometheus says where one is")
            if self.check is not IN_FORCE:
                self._fail_unread()
            self.user_properties.append(("verdict", Verdict.PASS.value))
            return
        self.user_properties.append(("verdict", outcome.verdict.value))
        listed = self.judged.rows.get(id(outcome), [])
        for row in listed:
            if row.finding.verdict is Verdict.PASS:
                self.user_properties.append(("assumption", printable(row.finding.message)))
            elif row.word == WARNING and not result.fails(row.finding):
                self.user_properties.append((WARNING, _written(row)))
        if outcome.verdict is Verdict.WAIVED:
            waiver = outcome.waiver
            why = printable(f"waived: {waiver.said}" if waiver else "in the baseline")
            self.user_properties.append(("waiver", why))
            pytest.xfail(why)
        if any(_counts(result, row) for row in listed):
            raise NotPassed([row for row in listed if row.finding.verdict is not Verdict.PASS])

    def _fail_unread(self) -> None:
        """Fail, since a field of the subject holds a type that can't be judged."""
        unread = [
            printable(without_forms(str(problem)))
            for problem in self.judged.result.problems
            if problem.origin is self.subject.origin
        ]
        pytest.fail("\n".join(unread) or "it could not be judged", pytrace=False)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401 - pytest's
        """Write the findings instead of a traceback."""
        if isinstance(excinfo.value, NotPassed):
            lines = [_written(row) for row in excinfo.value.rows]
            fixes = dict.fromkeys(row.fix for row in excinfo.value.rows if row.fix)
            return "\n".join((*lines, *(printable(f"fix: {fix}") for fix in fixes)))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads a failure with."""
        return self.path, None, self.name


class UnreadableItem(pytest.Item):
    """A part of the input that can't be read."""

    def __init__(self, *, said: str, **kwargs: Any) -> None:  # noqa: ANN401 - pytest's
        super().__init__(**kwargs)
        self.said = harmless(without_forms(said))
        self.add_marker("drainproof")

    def runtest(self) -> None:
        """Fail."""
        pytest.fail(self.said, pytrace=False)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest heads the failure with."""
        return self.path, None, self.name


class NotPassed(Exception):  # noqa: N818 - a verdict, not an error
    """A check that failed, or could not be decided."""

    def __init__(self, listed: list[Row]) -> None:
        super().__init__(f"{len(listed)} findings")
        self.rows = listed


def _counts(result: AuditResult, row: Row) -> bool:
    """Tell whether a finding fails its item: one that fails, or one that could not be told."""
    return result.fails(row.finding) or row.finding.verdict is Verdict.INCONCLUSIVE


def _written(row: Row) -> str:
    where = f"{row.word}: {row.place}: {row.finding.path}"
    return f"{printable(where)}\n  {printable(row.finding.message)}"
