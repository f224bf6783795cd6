"""Writes an audit as JSON, for programs; ``audit.schema.json`` beside this file says how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from drainproof import __version__
from drainproof.judge.audit import severity_counts
from drainproof.judge.verdict import Severity, Verdict
from drainproof.report.text import inert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drainproof.judge.audit import AuditResult
    from drainproof.model.finding import Located
    from drainproof.report.rows import Row, Rows

VERSION = 1
"""Version of the report's form; it grows where a field is removed or means something else."""


def parts(result: AuditResult, rows: Rows) -> Iterator[str]:
    """Yield the report: ``summary``, ``findings``, ``assumptions``, ``problems``, ``unjudged``.

    A cluster's report has tens of MB, so findings are written one by one.
    """
    report = {
        "drainproof": __version__,
        "version": VERSION,
        "profile": result.profile,
        "summary": summary(result, rows),
    }
    yield _written(report).removesuffix("\n}")
    problems = (
        {"message": item.said, "hint": item.hint, "file": item.file, "line": item.line}
        for item in rows.problems
    )
    unjudged = (
        {**_subject(who), "file": who.file, "why": why} for who, why in result.snapshot.unjudged
    )
    yield from _list("findings", map(_finding, rows.findings))
    yield from _list("assumptions", map(_finding, rows.assumptions))
    yield from _list("problems", problems)
    yield from _list("unjudged", unjudged)
    yield "\n}\n"


def _list(name: str, items: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield a field that is a list, behind others of the report."""
    yield f',\n  "{name}": ['
    between = "\n    "
    for item in items:
        yield between + _written(item).replace("\n", "\n    ")
        between = ",\n    "
    yield "]" if between == "\n    " else "\n  ]"


def _written(value: dict[str, Any]) -> str:
    try:
        written = orjson.dumps(
            value,
            default=str,  # what a manifest can't hold, but a check of a user's may have put there
            option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS,
        ).decode()
    except TypeError:  # half of a surrogate pair, which only the escaped form can hold
        import json  # noqa: PLC0415 - hardly ever needed

        written = json.dumps(value, default=str, indent=2)
    return inert(written)


def summary(result: AuditResult, rows: Rows) -> dict[str, Any]:
    """Return the counts of an audit."""
    snapshot = result.snapshot
    counts = severity_counts(result)
    return {
        **{verdict.value: result.count(verdict) for verdict in Verdict},
        "errors": counts[Severity.ERROR],
        "warnings": counts[Severity.WARNING],
        "baseline": result.known,
        "since": result.since,
        "gone": list(result.went),
        "workloads": len(snapshot.workloads),
        "other_workloads": snapshot.other_workloads,
        "files": snapshot.files,
        "not_run": [item.slug for item in result.not_run],
        "api_calls": dict(sorted(snapshot.calls.items())),
        "problems": len(rows.problems),
        "fail_on": result.fail_on.value,
        "exit_code": int(result.exit_code),
    }


def _subject(found: Located) -> dict[str, Any]:
    cluster = {"cluster": found.cluster} if found.cluster else {}
    return {**cluster, "kind": found.kind, "namespace": found.namespace, "name": found.name}


def _finding(row: Row) -> dict[str, Any]:
    outcome, item, waiver = row.outcome, row.finding, row.outcome.waiver
    return {
        "check": outcome.check.slug,
        "id": outcome.check.id,
        "severity": row.severity.value,
        "verdict": item.verdict.value,
        "subject": {**_subject(outcome.subject), "role": getattr(outcome.subject, "role", "")},
        "object": item.object,
        "path": item.path,
        "found": row.found,
        "file": row.file,
        "line": row.line,
        "message": item.message,
        "fix": row.fix,
        "waiver": waiver
        and {
            "reason": waiver.reason,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
            "file": waiver.where.file,
            "annotation": waiver.annotated,
        },
    }
