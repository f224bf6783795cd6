"""Writes an audit as GitHub's workflow commands, which annotate the lines of a pull request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.verdict import Severity, Verdict
from drainproof.report.terminal import looked_at, tally
from drainproof.report.text import printable

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Row, Rows


def write(result: AuditResult, rows: Rows) -> str:
    """Return a command for each finding and problem, and a last line that is none."""
    lines = [
        _command(level(row), row.file, row.line, f"{check.slug} ({check.id})", said(row))
        for row in rows.findings
        for check in (row.outcome.check,)
    ]
    for item in rows.problems:
        text = "\n".join(part for part in (item.message, item.hint) if part)
        lines.append(_command("error", item.file, item.line, "drainproof: input", text))
    counts = ", ".join(counted for counted, _ in tally(result, rows)) or "no findings"
    lines.append(f"drainproof: {printable(counts)}. {printable(looked_at(result))}")
    return "\n".join(lines) + "\n"


def level(row: Row) -> str:
    """Return what a finding is here: error, warning or notice."""
    if row.finding.verdict is Verdict.WAIVED:
        return "notice"
    if row.finding.verdict is Verdict.INCONCLUSIVE or row.severity is Severity.WARNING:
        return "warning"
    return "error"


def said(row: Row) -> str:
    """Return what there is to say of a finding, a line each: where, what, what to do."""
    item = row.finding
    parts = [
        f"{item.object}: {item.path}" if item.path else item.object,
        f"inconclusive: {item.message}" if item.verdict is Verdict.INCONCLUSIVE else item.message,
        row.last,
    ]
    return "\n".join(part for part in parts if part)


def _command(level: str, file: str, line: int | None, title: str, message: str) -> str:
    properties = {"file": file if file != "-" else "", "line": str(line or ""), "title": title}
    written = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{level} {written}::{_data(message)}"


def _data(text: str) -> str:
    """Escape a message: its line ends are the only control characters that are kept."""
    lines = (printable(line) for line in text.split("\n"))
    return "\n".join(lines).replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
