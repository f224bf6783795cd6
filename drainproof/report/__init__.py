"""Reports: one module an output format, loaded when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Rows

FORMATS = {
    "terminal": "for people, by workload",
    "json": "for programs; its JSON Schema is audit.schema.json, beside this file",
    "junit": "JUnit XML, for CI servers",
    "sarif": "SARIF 2.1.0, for code scanning",
    "github": "workflow commands, which annotate a pull request",
    "markdown": "for a job's summary or a comment",
    "html": "one page that needs nothing else",
    "policyreport": "PolicyReport objects (wgpolicyk8s.io/v1alpha2), for kubectl apply",
}
"""Each format, which is a module here, and what it is for."""


def write(result: AuditResult, rows: Rows, form: str) -> str:
    """Return an audit in one of :data:`FORMATS`."""
    return "".join(parts(result, rows, form))


def parts(result: AuditResult, rows: Rows, form: str, *, colour: bool = False) -> Iterable[str]:
    """Return an audit in one of :data:`FORMATS`, in parts to write one after the other.

    Args:
        result: The audit.
        rows: Its findings with their lines.
        form: The format.
        colour: Whether the terminal's report may be coloured.
    """
    module = importlib.import_module(f"drainproof.report.{form}")
    if form == "terminal":  # long, and so never held as a whole
        lines: Iterable[str] = module.lines(result, rows, colour=colour)
        return (f"{line}\n" for line in lines)
    if form == "json":
        pieces: Iterable[str] = module.parts(result, rows)
        return pieces
    return (str(module.write(result, rows)),)
