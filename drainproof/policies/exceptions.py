"""Turns waivers into Kyverno's PolicyExceptions, and back, with nothing lost on the way."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.judge import waivers
from drainproof.policies import write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from drainproof.judge.registry import Check, Registry
    from drainproof.judge.waivers import Waiver
    from drainproof.model.shape import Raw

KIND = "PolicyException"
GROUP = "policies.kyverno.io"
_POLICY = "ValidatingPolicy"
_LAST = time(23, 59, 59, tzinfo=UTC)
"""The last second of a waiver's last day."""
_NAME = (
    "[object.kind, object.metadata.?namespace.orValue(''), object.metadata.?name"
    ".orValue(object.metadata.?generateName.orValue(''))].filter(part, part != '').join('/')"
)
"""An object's name as waivers have it."""
_HINT = "Exceptions that `drainproof policies exceptions` wrote can be turned back into waivers."


def exceptions(
    listed: Iterable[Waiver], checks: Registry, namespace: str
) -> tuple[str, tuple[Waiver, ...]]:
    """Return the exceptions for some waivers as one YAML stream, and the waivers that need none.

    Those are of checks without a policy, which keep nothing out.

    Args:
        listed: The waivers of a file.
        checks: All checks there are.
        namespace: Where the exceptions are, which Kyverno has to be told.

    Raises:
        UserError: A waiver names no check that there is, or is not for whole objects.
    """
    documents, left = [], []
    times: Counter[str] = Counter()
    for waiver in listed:
        check = _known(waiver, checks)
        if not write.has_rule(check):
            left.append(waiver)
            continue
        name = f"{write.PREFIX}{check.slug}-{_short(waiver.subject)}"
        times[name] += 1
        if times[name] > 1:  # the same again, for another reason or until another day
            name += f"-{times[name]}"
        documents.append(write.dumped(_exception(waiver, check, name, namespace)))
    return "---\n".join(documents), tuple(left)


def written(path: Path, checks: Registry) -> tuple[str, tuple[str, ...]]:
    """Return the waivers that a file's exceptions stand for, as YAML, and what was left out.

    That is the names of exceptions from other policies.

    Raises:
        UserError: The file can't be read, or holds what is no waiver or says less than one.
    """
    entries: list[dict[str, Any]] = []
    left: list[str] = []
    for where, obj in _objects(path):
        slugs = list(_slugs(obj, checks))
        if not slugs:
            left.append(str(obj["metadata"].get("name", "")))
            continue
        try:
            said = _said(obj["spec"])
        except ValueError as error:
            raise UserError(f"{where}: {error}", _HINT) from None
        entries += ({"check": slug, **said} for slug in slugs)
    if not entries:
        raise UserError(f"{path}: expected exceptions from drainproof's policies, found none")
    return write.dumped({"waivers": entries}), tuple(left)


def _exception(waiver: Waiver, check: Check, name: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "policyRefs": [{"name": write.PREFIX + check.slug, "kind": _POLICY}],
            "matchConditions": _conditions(waiver.subject, waiver.expires),
            "expiresAt": _end(waiver.expires),
            "properties": {
                "subject": waiver.subject,
                "reason": waiver.reason,
                "owner": waiver.owner,
            },
        },
    }


def _end(day: date) -> str:
    return datetime.combine(day, _LAST).isoformat().replace("+00:00", "Z")


def _conditions(subject: str, day: date) -> list[dict[str, str]]:
    """Return what is true of the objects that a waiver's subject names, up to its last day.

    Kyverno's command line looks at these only, and not at ``expiresAt``.
    """
    pattern = "".join({"*": ".*", "?": "."}.get(one, re.escape(one)) for one in subject.lower())
    matches = json.dumps(f"^{pattern}$", ensure_ascii=False)
    return [
        {"name": "subject", "expression": f"{_NAME}.lowerAscii().matches({matches})"},
        {"name": "not-expired", "expression": f"time.now() <= timestamp('{_end(day)}')"},
    ]


def _known(waiver: Waiver, checks: Registry) -> Check:
    where = f"{waiver.where.file}:{waivers.line_of(waiver.where.origin, 'check')}"
    try:
        check = checks.get(waiver.check)
    except UserError as error:
        raise UserError(f"{where}: {error.message}", error.hint) from None
    if set("([").intersection(waiver.subject):
        where = f"{waiver.where.file}:{waivers.line_of(waiver.where.origin, 'subject')}"
        raise UserError(
            f"{where}: expected Kind/namespace/name, in which * stands for anything, found "
            f"{waiver.subject!r}",
            "An exception holds for whole objects: leave the role out.",
        )
    return check


def _objects(path: Path) -> Iterator[tuple[str, Raw]]:
    """Yield the exceptions in a file with where each is."""
    from drainproof.collect import files  # noqa: PLC0415 - it takes as long as all the rest

    read = files.read([path])
    for problem in read.problems:
        raise UserError(str(problem), problem.hint)
    for item in read.items:
        obj, origin = item.object, item.origin
        where = f"{path}:{origin.line}" if origin else str(path)
        found = f"{obj.get('apiVersion')} {obj.get('kind')}"
        if not found.startswith(f"{GROUP}/") or obj["kind"] != KIND:
            raise UserError(f"{where}: expected a {KIND} of {GROUP}, found {found}", _HINT)
        if not isinstance(obj.get("metadata"), dict) or not isinstance(obj.get("spec"), dict):
            raise UserError(f"{where}: expected metadata and spec, as in every {KIND}", _HINT)
        yield where, obj


def _slugs(obj: Raw, checks: Registry) -> Iterator[str]:
    """Yield the checks whose policies an exception is from."""
    refs = obj["spec"].get("policyRefs")
    known = {write.PREFIX + check.slug: check.slug for check in checks.checks}
    for ref in refs if isinstance(refs, list) else ():
        if isinstance(ref, dict) and ref.get("kind") == _POLICY and ref.get("name") in known:
            yield known[ref["name"]]


def _said(spec: Raw) -> dict[str, Any]:
    """Return what an exception says that a waiver says, too.

    Raises:
        ValueError: It says less, or more.
    """
    properties = spec.get("properties")
    said: dict[str, Any] = {}
    for name in ("subject", "reason", "owner"):
        said[name] = properties.get(name) if isinstance(properties, dict) else None
        if not isinstance(said[name], str) or not said[name].strip():
            raise ValueError(f"spec.properties.{name}: expected {waivers.FIELDS[name]}")
    said["expires"] = _day(spec.get("expiresAt"))
    if spec.get("matchConditions") != _conditions(said["subject"], said["expires"]):
        raise ValueError(
            "spec.matchConditions: expected what stands for spec.properties.subject "
            f"({said['subject']}) and spec.expiresAt, found something else"
        )
    for name in ("images", "allowedValues"):
        if spec.get(name):
            raise ValueError(f"spec.{name}: expected nothing, since a waiver is for whole objects")
    return said


def _day(ends: object) -> date:
    try:
        found = datetime.fromisoformat(str(ends))
    except ValueError:
        found = None
    if found is None or found.timetz() != _LAST:
        raise ValueError(
            "spec.expiresAt: expected the end of a day in UTC, such as 2027-01-31T23:59:59Z, found "
            f"{'nothing' if ends is None else ends}"
        )
    return found.date()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
