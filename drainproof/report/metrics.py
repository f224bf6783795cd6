"""Writes an audit as metrics in Prometheus' text format, for dashboards and alerts.

Source: Prometheus' documentation, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from drainproof.judge.verdict import Verdict
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Rows

MOST_SERIES = 10_000
"""Series of findings that are written at most, so that no cluster overwhelms its Prometheus."""
MOST_LETTERS = 400
"""Letters of a label's value; kind, namespace and name are at most 253 each, and far less."""
LABELS = ("check", "id", "severity", "verdict", "namespace", "workload")
"""Of a finding. ``namespace`` is that of the workload: scrape with ``honorLabels``."""
HELP = {
    "drainproof_findings": "Findings of a check on a workload.",
    "drainproof_findings_left_out": "Findings in no series, because there are too many.",
    "drainproof_outcomes": "Checks on workloads, by what they said.",
    "drainproof_workloads": "LLM workloads that were audited.",
    "drainproof_unjudged": "Objects that serve a language model by what is not in the input.",
    "drainproof_audit_problems": "Parts of the input that could not be read.",
    "drainproof_audit_timestamp_seconds": "When the cluster or the files were read.",
    "drainproof_audit_duration_seconds": "How long reading and judging took.",
}
"""Each metric, and what it says; all are gauges."""


def write(result: AuditResult, rows: Rows) -> str:
    """Return the metrics, each with its help and type; findings are sorted, the worst first."""
    return "".join(_lines(result, rows))


def _lines(result: AuditResult, rows: Rows) -> Iterator[str]:
    found: Counter[tuple[str, ...]] = Counter()
    for row in rows.findings:
        subject = row.outcome.subject
        said = (row.severity.value, row.finding.verdict.value)
        check = row.outcome.check
        found[check.slug, check.id, *said, subject.namespace, subject.ref] += 1
    ordered = sorted(found.items(), key=lambda item: (item[0][3], item[0][2], item[0]))
    yield _head("drainproof_findings")
    for key, count in ordered[:MOST_SERIES]:
        yield _sample("drainproof_findings", dict(zip(LABELS, key, strict=True)), count)
    left_out = sum(count for _, count in ordered[MOST_SERIES:])
    yield _only("drainproof_findings_left_out", left_out)
    yield _head("drainproof_outcomes")
    for verdict in Verdict:
        yield _sample("drainproof_outcomes", {"verdict": verdict.value}, result.count(verdict))
    yield _only("drainproof_workloads", len(result.judged))
    yield _only("drainproof_unjudged", len(result.snapshot.unjudged))
    yield _only("drainproof_audit_problems", len(rows.problems))
    yield _only("drainproof_audit_timestamp_seconds", result.snapshot.taken_at or time.time())
    if result.took_s is not None:
        yield _only("drainproof_audit_duration_seconds", result.took_s)


def _head(name: str) -> str:
    return f"# HELP {name} {HELP[name]}\n# TYPE {name} gauge\n"


def _only(name: str, value: float) -> str:
    return _head(name) + _sample(name, {}, value)


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{f'{{{said}}}' if said else ''} {value!r}\n"


def _escaped(text: str) -> str:
    """Return a label's value, cut to :data:`MOST_LETTERS`, as the text format quotes it."""
    shown = printable(text)
    if len(shown) > MOST_LETTERS:
        shown = shown[: MOST_LETTERS - 1] + "…"
    return shown.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
