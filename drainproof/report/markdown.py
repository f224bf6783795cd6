"""Writes an audit as GitHub's Markdown, for a job's summary or a comment."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from drainproof.judge.verdict import Verdict
from drainproof.report.rows import WORDS, grouped
from drainproof.report.terminal import looked_at, tally
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Row, Rows

    Line = tuple[int, str]
    """A line of a report with its rank: where there is no room, the highest are left out first."""

_MARKS = dict(zip(WORDS, ("❌", "⚠️", "❔", "⏸️"), strict=True))
_GONE = 1 + len(WORDS)
_MARKUP = re.compile(r"[\\`*_~<>&|\[\]!$]")
_LINKS = re.compile(r"([@#]|://|www)(?=[\w.])", re.IGNORECASE)


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report: a heading with the tally, and a table for each workload with findings."""
    return "".join(f"{line}\n" for _, line in lines(result, rows))


def lines(result: AuditResult, rows: Rows) -> Iterator[Line]:
    """Yield the report: what is gone ranks highest, then findings, the least severe first."""
    counts = ", ".join(text for text, _ in tally(result, rows)) or "no findings"
    yield from ranked(0, f"## drainproof: {text(counts)}", "", text(looked_at(result)))
    by_subject = grouped(result.outcomes, lambda outcome: outcome.subject)
    for key, listed in grouped(rows.findings, lambda row: row.outcome.subject).items():
        subject, outcomes = listed[0].outcome.subject, by_subject[key]
        passed = sum(item.verdict is Verdict.PASS for item in outcomes)
        listed.sort(key=_rank)
        yield from ranked(
            _rank(listed[0]),
            *("", f"### {text(subject.ref)}", ""),
            *(f"{passed} of {len(outcomes)} checks pass", ""),
            *("| | check | where | what | fix |", "| --- | --- | --- | --- | --- |"),
        )
        yield from ((_rank(row), _row(row)) for row in listed)
    if result.went:
        gone = (f"- {text(line)}" for line in result.went)
        yield from ranked(_GONE, "", f"### Gone since {text(result.since)}", "", *gone)
    if rows.problems:
        unread = (
            f"- {text(item.said)}" + (f" ({text(item.hint)})" if item.hint else "")
            for item in rows.problems
        )
        yield from ranked(0, "", "### Not judged", "", *unread)


def ranked(rank: int, *said: str) -> Iterator[Line]:
    """Yield lines that have the same rank."""
    yield from ((rank, line) for line in said)


def _rank(row: Row) -> int:
    return 1 + WORDS.index(row.word)


def _row(row: Row) -> str:
    item, check, waiver = row.finding, row.outcome.check, row.outcome.waiver
    place = f"{text(row.place)}<br>{text(item.path)}" if item.path else text(row.place)
    last = f"waived: {text(waiver.said)}" if waiver else text(row.fix)
    cells = (f"{_MARKS[row.word]} {row.word}", f"{check.slug} {check.id}", place)
    return f"| {' | '.join(cells)} | {text(item.message)} | {last} |"


def text(said: str) -> str:
    """Return a text that Markdown shows as it is: no markup, no link, nobody mentioned."""
    plain = _LINKS.sub("\\1\u200b", printable(said))
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", plain)
