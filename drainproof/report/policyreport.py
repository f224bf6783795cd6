"""Writes an audit as PolicyReport objects, which dashboards for Kubernetes policies read.

One report a workload, as Kyverno has it, so that none outgrows what the API server stores. The
audit writes them and applies nothing: ``kubectl apply -f`` does.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.workload import Workload
from drainproof.report.rows import grouped
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.model.finding import Located
    from drainproof.report.rows import Row, Rows

API_VERSION = "wgpolicyk8s.io/v1alpha2"
SOURCE = "drainproof"
RESULTS = ("pass", "fail", "warn", "error", "skip")
"""What a result can be. ``error``: it could not be told; ``skip``: it is waived."""
CLUSTER = "drainproof.dev/cluster"
"""The annotation that says which context a report belongs to, where there are several."""
_NAME_LENGTH = 200
_NOT_NAME = re.compile(r"[^a-z0-9]+")


def write(result: AuditResult, rows: Rows) -> str:
    """Return the reports as YAML, one document each.

    Each is written as JSON, which is YAML too: no YAML library writes thousands of them quickly.
    """
    by_outcome = grouped_by_outcome(rows.findings)
    at = int(result.snapshot.taken_at or time.time())
    subjects = grouped(result.outcomes, lambda outcome: outcome.subject).values()
    return "".join(_document(_report(outcomes, by_outcome, at)) for outcomes in subjects)


def _document(report: dict[str, Any]) -> str:
    return f"---\n{orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()}\n"


def grouped_by_outcome(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Return the rows of each outcome, by its ``id()``."""
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(id(row.outcome), []).append(row)
    return found


def _report(
    outcomes: Sequence[Outcome], by_outcome: dict[int, list[Row]], at: int
) -> dict[str, Any]:
    subject = outcomes[0].subject
    results = [
        found
        for outcome in outcomes
        for found in _results(outcome, by_outcome.get(id(outcome), ()), at)
    ]
    counts = Counter(found["result"] for found in results)
    metadata: dict[str, Any] = {
        "name": _name(subject),
        "labels": {"app.kubernetes.io/managed-by": SOURCE},
    }
    if subject.namespace:
        metadata["namespace"] = printable(subject.namespace)
    if subject.cluster:
        metadata["annotations"] = {CLUSTER: printable(subject.cluster)}
    return {
        "apiVersion": API_VERSION,
        "kind": "PolicyReport",
        "metadata": metadata,
        **({"scope": _reference(subject)} if isinstance(subject, Workload) else {}),
        "summary": {name: counts[name] for name in RESULTS},
        "results": results,
    }


def _results(outcome: Outcome, listed: Sequence[Row], at: int) -> list[dict[str, Any]]:
    check = outcome.check
    common = {
        "source": SOURCE,
        "policy": SOURCE,
        "rule": check.slug,
        "category": check.kind,
        "timestamp": {"seconds": at, "nanos": 0},
        "scored": True,
    }
    if not listed:
        passed = outcome.verdict is Verdict.PASS
        said = {} if passed else {"message": "in the baseline"}
        return [
            {
                **common,
                "result": "pass" if passed else "skip",
                **said,
                "properties": {"id": check.id},
            }
        ]
    return [
        {
            **common,
            "result": _word(row),
            "severity": "high" if row.severity is Severity.ERROR else "medium",
            "message": _message(row),
            "properties": {
                name: printable(value)
                for name, value in {
                    "id": check.id,
                    "object": row.finding.object,
                    "path": row.finding.path,
                    "file": row.file,
                    "line": str(row.line or ""),
                    "fix": row.fix,
                }.items()
                if value
            },
        }
        for row in listed
    ]


def _word(row: Row) -> str:
    if row.finding.verdict is Verdict.WAIVED:
        return "skip"
    if row.finding.verdict is Verdict.INCONCLUSIVE:
        return "error"
    return "fail" if row.severity is Severity.ERROR else "warn"


def _message(row: Row) -> str:
    waiver = row.outcome.waiver
    said = f"{row.finding.message}; waived: {waiver.said}" if waiver else row.finding.message
    return printable(said)


def _reference(subject: Located) -> dict[str, str]:
    written = {
        "apiVersion": str(subject.object.get("apiVersion") or ""),
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
    }
    return {name: printable(value) for name, value in written.items() if value}


def _name(subject: Located) -> str:
    """Return a name that the API server takes, one for each subject in a namespace."""
    own = "-".join((subject.kind, subject.name, getattr(subject, "role", ""))).lower()
    short = hashlib.sha256(f"{subject.ref} {subject.file}".encode()).hexdigest()[:8]
    readable = _NOT_NAME.sub("-", own)[:_NAME_LENGTH].strip("-")
    return f"{SOURCE}-{readable}-{short}"
