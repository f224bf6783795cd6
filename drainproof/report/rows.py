"""Turns an audit's outcomes into the rows that every report writes, lines found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drainproof.collect.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.model.finding import Finding, Origin
    from drainproof.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Row:
    """One finding with its outcome and its place."""

    outcome: Outcome
    finding: Finding
    line: int | None

    @property
    def file(self) -> str:
        """The file that it is in; empty for a live cluster."""
        return self.finding.origin.file if self.finding.origin else ""

    @property
    def place(self) -> str:
        """``file:line``, or the object itself in a live cluster."""
        return f"{self.file}:{self.line}" if self.file else self.finding.object


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that a report lists."""

    findings: tuple[Row, ...]
    assumptions: tuple[Row, ...]
    problems: tuple[tuple[str, str], ...]
    """Message with its place, and hint, of each part of the input that can't be read."""


def lines_of(findings: Iterable[Finding], snapshot: Snapshot) -> dict[tuple[Origin, str], int]:
    """Return the line of each finding in a file, by its origin and path."""
    places = ((item.origin, item.path) for item in findings if item.origin is not None)
    return Lines(snapshot.texts).find(places)


def rows(result: AuditResult) -> Rows:
    """Return a result's findings in the order of its outcomes, with the lines they are at."""
    found = [(outcome, item) for outcome in result.outcomes for item in outcome.findings]
    assumed = [(outcome, item) for outcome in result.outcomes for item in outcome.assumptions]
    places = [(item.origin, item.path) for _, item in (*found, *assumed) if item.origin is not None]
    places += [
        (problem.origin, problem.path) for problem in result.problems if problem.origin is not None
    ]
    lines = Lines(result.snapshot.texts).find(places)

    def row(outcome: Outcome, item: Finding) -> Row:
        return Row(outcome, item, lines[item.origin, item.path] if item.origin else None)

    problems = []
    for problem in result.problems:
        line = lines[problem.origin, problem.path] if problem.origin else problem.line
        where = f"{problem.file}:{line}" if line else problem.file
        said = ": ".join(part for part in (where, problem.path, problem.message) if part)
        problems.append((said, problem.hint))
    return Rows(
        tuple(row(*pair) for pair in found), tuple(row(*pair) for pair in assumed), tuple(problems)
    )
