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

_MARKS = dict(zip(WORDS, ("❌", "⚠️", "❔", "⏸️"), strict=True))
_MARKUP = re.compile(r"[\\`*_~<>&|\[\]!$]")
_LINKS = re.compile(r"([@#]|://|www)(?=[\w.])", re.IGNORECASE)


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report: a heading with the tally, and a table for each workload with findings."""
    return "\n".join(_lines(result, rows)) + "\n"


def _lines(result: AuditResult, rows: Rows) -> Iterator[str]:
    counts = ", ".join(text for text, _ in tally(result, rows)) or "no findings"
    yield f"## drainproof: {text(counts)}"
    yield ""
    yield text(looked_at(result))
    by_subject = grouped(result.outcomes, lambda outcome: outcome.subject)
    for key, listed in grouped(rows.findings, lambda row: row.outcome.subject).items():
        subject, outcomes = listed[0].outcome.subject, by_subject[key]
        passed = sum(item.verdict is Verdict.PASS for item in outcomes)
        yield ""
        yield f"### {text(subject.ref)}"
        yield ""
        yield f"{passed} of {len(outcomes)} checks pass"
        yield ""
        yield "| | check | where | what | fix |"
        yield "| --- | --- | --- | --- | --- |"
        for row in sorted(listed, key=lambda row: WORDS.index(row.word)):
            yield _row(row)
    if rows.problems:
        yield ""
        yield "### Unreadable input"
        yield ""
        for item in rows.problems:
            yield f"- {text(item.said)}" + (f" ({text(item.hint)})" if item.hint else "")


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
