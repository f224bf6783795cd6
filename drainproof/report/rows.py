"""Turns an audit's outcomes into the rows that every report writes, lines found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from drainproof.collect.lines import Lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.model.finding import Finding
    from drainproof.model.snapshot import Problem, Snapshot


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


def lines_of(places: Iterable[Finding | Problem], snapshot: Snapshot) -> list[int | None]:
    """Return the line of each finding or problem, in order; None for what is in no file."""
    listed = list(places)
    located = [(item.origin, item.path) for item in listed if item.origin is not None]
    found = iter(Lines(snapshot.texts).find(located))
    return [next(found) if item.origin is not None else None for item in listed]


def rows(result: AuditResult) -> Rows:
    """Return a result's findings in the order of its outcomes, with the lines they are at."""
    found = [(outcome, item) for outcome in result.outcomes for item in outcome.findings]
    assumed = [(outcome, item) for outcome in result.outcomes for item in outcome.assumptions]
    places: list[Finding | Problem] = [item for _, item in (*found, *assumed)]
    places += result.problems
    lines = lines_of(places, result.snapshot)
    listed = [
        Row(outcome, item, line)
        for (outcome, item), line in zip((*found, *assumed), lines, strict=False)
    ]
    problems = zip(result.problems, lines[len(listed) :], strict=True)
    return Rows(
        tuple(listed[: len(found)]),
        tuple(listed[len(found) :]),
        tuple((_said(problem, line), problem.hint) for problem, line in problems),
    )


def _said(problem: Problem, line: int | None) -> str:
    line = line or problem.line
    where = f"{problem.file}:{line}" if line else problem.file
    return ": ".join(part for part in (where, problem.path, problem.message) if part)
