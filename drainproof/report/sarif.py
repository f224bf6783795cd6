"""Writes an audit as SARIF 2.1.0, as code scanning reads it."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from drainproof import __version__
from drainproof.errors import ExitCode
from drainproof.judge.baseline import identity
from drainproof.judge.verdict import Verdict
from drainproof.report.text import inert, printable

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult
    from drainproof.judge.registry import Check
    from drainproof.model.finding import Located
    from drainproof.report.rows import Row, Rows, Unread

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
ROOT = "%SRCROOT%"
"""What relative URIs are relative to: the working directory, at best a repository's top."""
FINGERPRINT = "drainproof/v1"


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report: one run, its rules those that ran, its results the findings."""
    places = {check.slug: place for place, check in enumerate(result.checks)}
    seen: Counter[str] = Counter()
    run = {
        "tool": {
            "driver": {
                "name": "drainproof",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(check) for check in result.checks],
            }
        },
        "invocations": [
            {
                "executionSuccessful": result.exit_code is not ExitCode.ERROR,
                "exitCode": int(result.exit_code),
                "toolExecutionNotifications": [
                    *(_notification(item) for item in rows.problems),
                    *(_unjudged(who, why) for who, why in result.snapshot.unjudged),
                ],
            }
        ],
        "columnKind": "unicodeCodePoints",
        "results": [_result(row, places[row.outcome.check.slug], seen) for row in rows.findings],
        "properties": {"profile": result.profile, "workloads": len(result.snapshot.workloads)},
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    written = orjson.dumps(log, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return inert(written.decode())


def _rule(check: Check) -> dict[str, Any]:
    sections = {name: check.section(name) for name in ("What it checks", "Why", "Fix", "Source")}
    written = {name: text for name, text in sections.items() if text}
    plain = "\n\n".join(f"{name}\n{text}" for name, text in written.items())
    marked = "\n\n".join(f"**{name}**\n\n{text}" for name, text in written.items())
    return {
        "id": check.id,
        "name": check.slug,
        "shortDescription": {"text": check.title or check.slug},
        "fullDescription": {"text": written.get("What it checks") or check.title or check.slug},
        "help": {
            "text": plain or check.title or check.slug,
            "markdown": marked.replace("``", "`") or check.title or check.slug,
        },
        "defaultConfiguration": {"level": check.severity.value},
        "properties": {"tags": ["kubernetes", "llm", check.kind]},
    }


def _result(row: Row, rule: int, seen: Counter[str]) -> dict[str, Any]:
    item, outcome = row.finding, row.outcome
    unsure = item.verdict is Verdict.INCONCLUSIVE
    return {
        "ruleId": outcome.check.id,
        "ruleIndex": rule,
        "kind": "open" if unsure else "fail",
        "level": "none" if unsure else row.severity.value,
        "message": {"text": printable(item.message)},
        "locations": [_location(row)],
        "partialFingerprints": {FINGERPRINT: fingerprint(row, seen)},
        "suppressions": _suppressions(row),
        "properties": {
            "check": outcome.check.slug,
            "verdict": item.verdict.value,
            "subject": outcome.subject.ref,
            "fix": row.fix,
        },
    }


def fingerprint(row: Row, seen: Counter[str]) -> str:
    """Return what a finding is known by, wherever its lines and files move.

    Args:
        row: The finding.
        seen: How often each was there before, in this report: two findings of a check at one field
            differ by their number.
    """
    key = hashlib.sha256("\0".join(identity(row.outcome, row.finding)).encode()).hexdigest()[:32]
    seen[key] += 1
    return f"{key}:{seen[key]}"


def _location(row: Row) -> dict[str, Any]:
    item = row.finding
    name = f"{item.object}#{item.path}" if item.path else item.object
    location: dict[str, Any] = {
        "logicalLocations": [
            {"fullyQualifiedName": name, "kind": "member" if item.path else "object"}
        ]
    }
    if row.file:
        location["physicalLocation"] = _physical(row.file, row.line)
    return location


def _physical(file: str, line: int | None) -> dict[str, Any]:
    region = {"region": {"startLine": line}} if line else {}
    return {"artifactLocation": _artifact(file, os.getcwd()), **region}  # noqa: PTH109 - Path is slow


@lru_cache(maxsize=64)
def _artifact(file: str, root: str) -> dict[str, str]:
    if file == "-":
        return {"uri": "stdin:"}
    path = Path(file)
    if path.is_absolute() or ".." in path.parts:
        try:
            path = path.resolve().relative_to(root)
        except ValueError:
            return {"uri": path.resolve().as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": ROOT}


def _suppressions(row: Row) -> list[dict[str, Any]]:
    """Return what waives a finding; an empty list says that nothing does."""
    waiver = row.outcome.waiver
    if waiver is None:
        return []
    return [
        {
            "kind": "inSource" if waiver.annotated else "external",
            "status": "accepted",
            "justification": printable(waiver.said),
        }
    ]


def _notification(item: Unread) -> dict[str, Any]:
    said = ". ".join(part.rstrip(".") for part in (item.message, item.hint) if part)
    found: dict[str, Any] = {"level": "error", "message": {"text": printable(said)}}
    if item.file:
        found["locations"] = [{"physicalLocation": _physical(item.file, item.line)}]
    return found


def _unjudged(who: Located, why: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "level": "note",
        "message": {"text": printable(f"not judged: {who.ref}: {why}")},
    }
    if who.file:
        found["locations"] = [{"physicalLocation": _physical(who.file, None)}]
    return found
