"""The baseline: today's findings taken as given, so that only new ones are reported.

A finding is known by its check, its subject, the object and the field that it is at, and how severe
it is. Lines, files, messages and the order of named list items may change; what got worse is new.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from drainproof.collect.lines import steps
from drainproof.errors import UserError
from drainproof.judge.audit import verdict_of
from drainproof.judge.verdict import Verdict
from drainproof.judge.waivers import IN_FORCE

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.model.finding import Finding

KIND = "drainproof-baseline"
VERSION = 1
_FIELDS = ("check", "subject", "object", "path", "level")

Known = Counter[tuple[str, ...]]
"""How many findings there are of each check, subject, object, path and level."""


def identity(outcome: Outcome, finding: Finding) -> tuple[str, ...]:
    """Return what a finding is known by from one audit to the next."""
    level = finding.severity or outcome.check.severity
    if finding.verdict is Verdict.INCONCLUSIVE:
        return (*_place(outcome, finding), Verdict.INCONCLUSIVE.value)
    return (*_place(outcome, finding), level.value)


def _place(outcome: Outcome, finding: Finding) -> tuple[str, str, str, str]:
    return outcome.check.slug, outcome.subject.ref, finding.object, by_name(finding)


def by_name(finding: Finding) -> str:
    """Return a finding's path with list items by name: ``containers[name=vllm].args``."""
    at: object = finding.where.object
    written = ""
    for step in steps(finding.path):
        if isinstance(step, int):
            at = at[step] if isinstance(at, list) and step < len(at) else None
            name = at.get("name") if isinstance(at, dict) else None
            written += f"[name={name}]" if isinstance(name, str) else f"[{step}]"
        else:
            at = at.get(step) if isinstance(at, dict) else None
            written += f".{step}" if written else step
    return written


def write(result: AuditResult) -> tuple[str, int]:
    """Return an audit's findings as a baseline file, and how many they are.

    Waived ones and waivers gone bad stay out.
    """
    found = _known(result)
    lines = [
        orjson.dumps(dict(zip((*_FIELDS, "count"), (*key, count), strict=True))).decode()
        for key, count in sorted(found.items())
    ]
    listed = ",\n".join(f"  {line}" for line in lines)
    return (
        f'{{"kind": "{KIND}", "version": {VERSION}, "findings": [\n{listed}\n]}}\n',
        found.total(),
    )


def _known(result: AuditResult) -> Known:
    return Counter(
        identity(outcome, item)
        for outcome, item in result.findings
        if outcome.verdict is not Verdict.WAIVED and outcome.check is not IN_FORCE
    )


def compare(result: AuditResult, before: AuditResult, when: str) -> AuditResult:
    """Return an audit with only what is new since another; it names what is gone.

    Args:
        result: The audit of today.
        before: An earlier one, by the same checks.
        when: When its Snapshot was taken, in words.
    """
    known = _known(before)
    went = tuple(
        f"{check} at {subject}{f': {path}' if path else ''} ({level})"
        for check, subject, _, path, level in sorted((known - _known(result)).elements())
    )
    return replace(apply(result, known), since=when, went=went)


def read(file: Path) -> Known:
    """Return the findings in a baseline file.

    Raises:
        UserError: It can't be read, or is no baseline that this drainproof reads.
    """
    try:
        values = orjson.loads(file.read_bytes())
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read: {error.strerror}",
            hint=f"Write it first: drainproof audit … --write-baseline {file}",
        ) from None
    except orjson.JSONDecodeError as error:
        raise UserError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(values, dict) or values.get("kind") != KIND:
        raise UserError(f"{file}: expected a baseline, found something else")
    if values.get("version") != VERSION:
        raise UserError(
            f"{file}: a baseline of version {values.get('version')!r}; "
            f"this drainproof reads version {VERSION}"
        )
    try:
        known = Counter(
            {
                tuple(str(item[name]) for name in _FIELDS): int(item["count"])
                for item in values["findings"]
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: a damaged baseline: {error!r}") from None
    if any(count < 1 for count in known.values()):
        raise UserError(f"{file}: a damaged baseline: expected counts of at least 1")
    return known


def apply(result: AuditResult, known: Known) -> AuditResult:
    """Return an audit without the findings that a baseline holds; it counts them."""
    left = known.copy()
    notable = []
    taken = 0
    for outcome in result.notable:
        if not outcome.findings or outcome.verdict is Verdict.WAIVED or outcome.check is IN_FORCE:
            notable.append(outcome)
            continue
        new = []
        for item in outcome.findings:
            key = identity(outcome, item)
            if left[key] > 0:
                left[key] -= 1
                taken += 1
            else:
                new.append(item)
        verdict = verdict_of(new) if new else Verdict.WAIVED
        notable.append(replace(outcome, verdict=verdict, findings=tuple(new)))
    return replace(result, notable=tuple(notable), known=taken, gone=left.total())
