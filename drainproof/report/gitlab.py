"""Writes an audit as GitLab's Code Quality report, which a merge request shows and compares."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from drainproof.report.github import level, said
from drainproof.report.sarif import fingerprint
from drainproof.report.text import inert, printable

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult
    from drainproof.model.finding import Located
    from drainproof.report.rows import Row, Rows, Unread

_SEVERITIES: Final = {"error": "major", "warning": "minor", "notice": "info"}


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report: a list of findings, and of input that can't be read or judged."""
    seen: Counter[str] = Counter()
    found = [
        *(_finding(row, seen) for row in rows.findings),
        *map(_unread, rows.problems),
        *(_unjudged(who, why) for who, why in result.snapshot.unjudged),
    ]
    return inert(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode()) + "\n"


def _finding(row: Row, seen: Counter[str]) -> dict[str, Any]:
    check = row.outcome.check
    return {
        "description": _line(said(row)),
        "check_name": f"{check.slug} ({check.id})",
        "fingerprint": fingerprint(row, seen),
        "severity": _SEVERITIES[level(row)],
        "location": _location(row.file or row.finding.object, row.line),
    }


def _unread(item: Unread) -> dict[str, Any]:
    return {
        "description": _line("\n".join(part for part in (item.message, item.hint) if part)),
        "check_name": "drainproof: input",
        "fingerprint": hashlib.sha256(f"{item.file}\0{item.message}".encode()).hexdigest()[:32],
        "severity": "blocker",
        "location": _location(item.file or "input", item.line),
    }


def _unjudged(who: Located, why: str) -> dict[str, Any]:
    return {
        "description": _line(f"not judged: {who.ref}: {why}"),
        "check_name": "drainproof: input",
        "fingerprint": hashlib.sha256(f"{who.ref}\0{why}".encode()).hexdigest()[:32],
        "severity": "info",
        "location": _location(who.file or "input", None),
    }


def _line(text: str) -> str:
    return printable(text.replace("\n", "; "))


def _location(file: str, line: int | None) -> dict[str, Any]:
    """Return a place. What is in no file is named, since GitLab takes nothing without a path."""
    return {"path": printable(os.path.relpath(file)), "lines": {"begin": line or 1}}
