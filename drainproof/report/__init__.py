"""Reports: one module an output format, loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Rows

FORMATS = {
    "terminal": "for people, by workload",
    "json": "for programs; its JSON Schema is audit.schema.json, beside this file",
    "junit": "JUnit XML, for CI servers",
    "sarif": "SARIF 2.1.0, for code scanning",
    "github": "workflow commands, which annotate a pull request",
    "gitlab": "GitLab's Code Quality report, for the widget of a merge request",
    "markdown": "for a job's summary or a comment",
    "html": "one page that needs nothing else",
    "policyreport": "PolicyReport objects (wgpolicyk8s.io/v1alpha2), for kubectl apply",
    "metrics": "Prometheus' text format, for a scrape or node_exporter's textfile collector",
}
"""Each format of an audit, which is a module here, and what it is for."""
STATES = frozenset({"metrics", "policyreport"})
"""Formats that say how things are: with ``--since`` they hold all findings, not only new ones."""
OF_RUNS = {
    "terminal": "for people",
    "json": "for programs; its JSON Schema is chaos.schema.json, beside this file",
    "markdown": "for a job's summary or a comment",
    "html": "one page that needs nothing else: the run over time",
}
"""Each format of a chaos run, and what it is for."""


def write(result: AuditResult, rows: Rows, form: str) -> str:
    """Return an audit in one of :data:`FORMATS`."""
    return "".join(parts(result, rows, form))


def parts(
    result: AuditResult, rows: Rows, form: str, *, out: TextIO | None = None
) -> Iterable[str]:
    """Return an audit in one of :data:`FORMATS`, in parts to write one after the other.

    Args:
        result: The audit.
        rows: Its findings with their lines.
        form: The format.
        out: Where the terminal's report goes, for its colours and its width; None is a file.
    """
    module = importlib.import_module(f"drainproof.report.{form}")
    if form == "terminal":  # long, and so never held as a whole
        how = {"colour": module.coloured(out), "columns": module.width(out)} if out else {}
        lines: Iterable[str] = module.lines(result, rows, **how)
        return (f"{line}\n" for line in lines)
    if form == "json":
        pieces: Iterable[str] = module.parts(result, rows)
        return pieces
    return (str(module.write(result, rows)),)
