"""Writes an audit as JSON, for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from drainproof import __version__
from drainproof.judge.audit import severity_counts
from drainproof.judge.verdict import Severity, Verdict

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Row, Rows


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report: ``summary``, ``findings``, ``assumptions`` and ``problems``."""
    snapshot = result.snapshot
    counts = severity_counts(result)
    report = {
        "drainproof": __version__,
        "profile": result.profile,
        "summary": {
            **{verdict.value: result.count(verdict) for verdict in Verdict},
            "errors": counts[Severity.ERROR],
            "warnings": counts[Severity.WARNING],
            "workloads": len(snapshot.workloads),
            "other_workloads": snapshot.other_workloads,
            "files": snapshot.files,
            "problems": len(rows.problems),
            "exit_code": int(result.exit_code),
        },
        "findings": [_finding(row) for row in rows.findings],
        "assumptions": [_finding(row) for row in rows.assumptions],
        "problems": [{"message": said, "hint": hint} for said, hint in rows.problems],
    }
    return orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _finding(row: Row) -> dict[str, Any]:
    outcome, item = row.outcome, row.finding
    return {
        "check": outcome.check.slug,
        "id": outcome.check.id,
        "severity": item.severity.value if item.severity else outcome.check.severity.value,
        "verdict": item.verdict.value,
        "subject": {
            "kind": outcome.subject.kind,
            "namespace": outcome.subject.namespace,
            "name": outcome.subject.name,
        },
        "object": item.object,
        "path": item.path,
        "file": row.file,
        "line": row.line,
        "message": item.message,
    }
