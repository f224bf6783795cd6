"""Writes an audit for people: grouped by workload, with tallies and what to do about findings."""

from __future__ import annotations

import os
import re
from itertools import groupby
from typing import TYPE_CHECKING

from drainproof.judge.audit import severity_counts
from drainproof.judge.verdict import Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.judge.registry import Check
    from drainproof.model.workload import Workload
    from drainproof.report.rows import Row, Rows

WIDTH = 100
INDENT = 6
_STYLES = {"red": "31", "yellow": "33", "green": "32", "magenta": "35", "bold": "1", "dim": "2"}
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BIDIRECTIONAL = re.compile(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def coloured(out: TextIO) -> bool:
    """Tell whether colours are wanted: on a terminal, unless NO_COLOR is set."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Escape what would move a terminal's cursor or change its colours or reading order."""
    if text.isascii() and text.isprintable():
        return text
    text = _BIDIRECTIONAL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def write(result: AuditResult, rows: Rows, *, colour: bool = False) -> str:
    """Return the report, each line ended."""
    return "\n".join(_Report(result, rows, colour=colour).lines()) + "\n"


class _Report:
    def __init__(self, result: AuditResult, rows: Rows, *, colour: bool) -> None:
        self.result = result
        self.rows = rows
        self.colour = colour
        self.fixes: dict[str, tuple[str, ...]] = {}

    def lines(self) -> Iterator[str]:
        rows = {id(row.finding): row for row in (*self.rows.findings, *self.rows.assumptions)}
        for _, group in groupby(self.result.outcomes, key=lambda outcome: id(outcome.subject)):
            yield from self._workload(list(group), rows)
        for said, hint in self.rows.problems:
            yield f"{self._paint('error:', 'red')} {printable(said)}"
            if hint:
                yield f"  {self._paint('hint:', 'bold')} {hint}"
        if self.rows.problems:
            yield ""
        yield self._tally()

    def _workload(self, outcomes: list[Outcome], rows: dict[int, Row]) -> Iterator[str]:
        subject = outcomes[0].subject
        yield self._heading(subject, outcomes)
        for outcome in outcomes:
            for item in outcome.findings:
                yield from self._finding(rows[id(item)])
            for item in outcome.assumptions:
                said = f"{outcome.check.slug}: {printable(item.message)}"
                yield f"  {self._paint('assumed', 'dim')}  {said}"
            if outcome.findings:
                yield from self._fix(outcome.check)
        yield ""

    def _heading(self, subject: Workload, outcomes: list[Outcome]) -> str:
        engine = subject.engine
        passed = sum(outcome.verdict is Verdict.PASS for outcome in outcomes)
        where = subject.file
        about = [engine.label if engine else "", f"{passed} of {len(outcomes)} checks pass"]
        name = self._paint(printable(subject.ref), "bold")
        details = ", ".join(part for part in about if part)
        return f"{name}  {printable(details)}" + (
            f"  {self._paint(printable(where), 'dim')}" if where else ""
        )

    def _finding(self, row: Row) -> Iterator[str]:
        item, check = row.finding, row.outcome.check
        word, style = _word(row)
        label = self._paint(word, style)
        slug = self._paint(check.slug, "bold")
        yield f"  {label}  {slug} {check.id}  {self._paint(printable(row.place), 'dim')}"
        if item.path:
            yield " " * INDENT + self._paint(printable(item.path), "dim")
        yield from _wrapped(printable(item.message))

    def _fix(self, check: Check) -> tuple[str, ...]:
        if check.slug not in self.fixes:
            self.fixes[check.slug] = _wrapped(f"fix: {check.fix}")
        return self.fixes[check.slug]

    def _tally(self) -> str:
        result = self.result
        words = {Severity.ERROR: ("error", "red"), Severity.WARNING: ("warning", "yellow")}
        parts = []
        counts = severity_counts(result)
        unsure = sum(item.verdict is Verdict.INCONCLUSIVE for _, item in result.findings)
        for severity, (word, style) in words.items():
            if counts[severity]:
                parts.append(self._paint(_plural(counts[severity], word), style))
        if unsure:
            parts.append(self._paint(f"{unsure} inconclusive", "magenta"))
        if self.rows.problems:
            parts.append(
                self._paint(f"{_plural(len(self.rows.problems), 'input')} unreadable", "red")
            )
        said = ", ".join(parts) or self._paint("no findings", "green")
        snapshot = result.snapshot
        looked = _plural(len(snapshot.workloads), "LLM workload")
        others = (
            f", {snapshot.other_workloads} others left alone" if snapshot.other_workloads else ""
        )
        files = f" in {_plural(snapshot.files, 'file')}" if snapshot.files else ""
        source = f" in {snapshot.source}" if snapshot.source else ""
        return f"{said}. {looked}{files}{source}{others}; profile {result.profile}."

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour else text


def _wrapped(text: str) -> tuple[str, ...]:
    lines: list[str] = []
    room = WIDTH - INDENT
    while len(text) > room:
        cut = text.rfind(" ", 1, room + 1)
        if cut < 0:  # one long word
            cut = text.find(" ", room)
            if cut < 0:
                break
        lines.append(" " * INDENT + text[:cut])
        text = text[cut + 1 :]
    return (*lines, " " * INDENT + text)


def _word(row: Row) -> tuple[str, str]:
    if row.finding.verdict is Verdict.INCONCLUSIVE:
        return "inconclusive", "magenta"
    if row.finding.severity is Severity.WARNING:
        return "warning", "yellow"
    return "error", "red"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")
