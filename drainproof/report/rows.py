"""Turns an audit's outcomes into the rows that every report writes, lines found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct

from drainproof.collect.lines import Lines
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.secrets import without_forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.model.finding import Finding, Located
    from drainproof.model.snapshot import Problem, Snapshot

_Item = TypeVar("_Item")


class Row(Struct, frozen=True, gc=False):
    """One finding with its outcome and its place."""

    outcome: Outcome
    finding: Finding
    line: int | None
    """None for what is in no file: it came from a cluster, or was rendered."""
    word: str
    """What it is in one word: error, warning, inconclusive, waived; ``pass`` for an assumption."""
    fix: str
    """What to do, in a sentence; empty if the check doesn't say."""

    @property
    def file(self) -> str:
        """The file that it is in; empty for a live cluster."""
        return self.finding.origin.file if self.finding.origin else ""

    @property
    def place(self) -> str:
        """``file:line``, or the object itself in a live cluster."""
        if not self.file:
            return self.finding.object
        return f"{self.file}:{self.line}" if self.line else f"{self.file} (rendered)"

    @property
    def severity(self) -> Severity:
        """Its own severity, or its check's."""
        return self.finding.severity or self.outcome.check.severity

    @property
    def last(self) -> str:
        """What a report says last of it: who waived it and why, or what to do."""
        if self.outcome.waiver is not None:
            return f"waived: {self.outcome.waiver.said}"
        return f"fix: {self.fix}" if self.fix else ""

    @property
    def found(self) -> Any:  # noqa: ANN401 - any part of a manifest
        """The value at its path, secrets hidden; None if there is none, or a long one."""
        from drainproof.report.found import found  # noqa: PLC0415 - only where it is asked for

        return found(self.finding)


_SAID = {item: item.value for kind in (Severity, Verdict) for item in kind}
"""``.value`` takes longer, and is asked for very often."""
WORDS = (Severity.ERROR.value, Severity.WARNING.value, "inconclusive", "waived")
"""What a row can be in one word, the worst first."""


class Unread(Struct, frozen=True):
    """A part of the input that can't be read."""

    said: str
    """What is wrong, with its place."""
    message: str
    """The same without its place."""
    hint: str
    file: str
    line: int | None


class Count(Struct):
    """How often a check has findings of a kind."""

    findings: int = 0
    workloads: int = 0


class Rows(Struct, frozen=True):
    """Everything that a report lists."""

    findings: tuple[Row, ...]
    assumptions: tuple[Row, ...]
    problems: tuple[Unread, ...]
    counts: Mapping[tuple[str, str], Count]
    """How often each check has findings, also those that are not listed, by word and slug."""


def lines_of(places: Iterable[Finding | Problem], snapshot: Snapshot) -> list[int | None]:
    """Return the line of each finding or problem, in order; None for what is in no file."""
    listed = list(places)
    located = [(item.origin, item.path) for item in listed if item.origin is not None]
    found = iter(Lines(snapshot.texts).find(located))
    return [(next(found) or None) if item.origin is not None else None for item in listed]


def rows(result: AuditResult, *, examples: int = 0) -> Rows:
    """Return a result's findings in the order of its outcomes, with the lines they are at.

    Args:
        result: The audit.
        examples: List only the first so many of each check and word, and no assumptions; 0 lists
            all.
    """
    counts: dict[tuple[str, str], Count] = {}
    found: list[tuple[Outcome, Finding]] = []
    for outcome in result.notable:
        slug, seen = outcome.check.slug, ""
        for item in outcome.findings:
            word = _word(outcome, item)
            count = counts.get((word, slug))
            if count is None:
                count = counts[word, slug] = Count()
            count.findings += 1
            if word not in seen:  # words of which none is a part of another
                count.workloads += 1
                seen += word
            if not examples or count.findings <= examples:
                found.append((outcome, item))
    assumed = [
        (outcome, item)
        for outcome in (() if examples else result.notable)
        for item in outcome.assumptions
    ]
    places: list[Finding | Problem] = [item for _, item in (*found, *assumed)]
    places += result.problems
    lines = lines_of(places, result.snapshot)
    checks = {outcome.check.slug: outcome.check for outcome, _ in (*found, *assumed)}
    fixes = {slug: check.fix for slug, check in checks.items()}
    listed = [
        Row(outcome, item, line, _word(outcome, item), item.fix or fixes[outcome.check.slug])
        for (outcome, item), line in zip((*found, *assumed), lines, strict=False)
    ]
    problems = zip(result.problems, lines[len(listed) :], strict=True)
    return Rows(
        tuple(listed[: len(found)]),
        tuple(listed[len(found) :]),
        tuple(_unread(problem, line or problem.line) for problem, line in problems),
        counts,
    )


def _word(outcome: Outcome, finding: Finding) -> str:
    if finding.verdict is Verdict.FAIL:
        return _SAID[finding.severity or outcome.check.severity]
    return _SAID[finding.verdict]


def _unread(problem: Problem, line: int | None) -> Unread:
    where = f"{problem.file}:{line}" if line else problem.file
    said = without_forms(problem.message)
    message = ": ".join(part for part in (problem.path, said) if part)
    said = ": ".join(part for part in (where, message) if part)
    return Unread(said, message, problem.hint, problem.file, line)


def grouped(items: Iterable[_Item], subject: Callable[[_Item], Located]) -> dict[int, list[_Item]]:
    """Return what belongs to each subject, by the subject's ``id()``, in the order found."""
    found: dict[int, list[_Item]] = {}
    for item in items:
        found.setdefault(id(subject(item)), []).append(item)
    return found
