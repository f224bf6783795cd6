"""Waivers: findings that somebody answers for, with a reason, until a day.

A waiver is written in a file, or on the subject itself as an annotation. One that is expired, or
that waives nothing, is a finding of its own, so that none outlives what it was for.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.judge.audit import Outcome
from drainproof.judge.registry import Check
from drainproof.judge.verdict import Severity, Verdict
from drainproof.model.finding import Located, Origin, named
from drainproof.model.kinds import kind_of
from drainproof.model.owners import controller_of
from drainproof.model.secrets import without_forms
from drainproof.model.shape import describe
from drainproof.model.snapshot import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from drainproof.judge.audit import AuditResult
    from drainproof.model.finding import Finding
    from drainproof.model.shape import Raw
    from drainproof.model.snapshot import Snapshot

ANNOTATION = "waive.drainproof.dev/"
"""What an annotation's key begins with; the check's slug follows."""
FIELDS = {
    "check": "the slug of a check",
    "subject": "Kind/namespace/name, in which * stands for anything",
    "reason": "why the finding may stay",
    "owner": "who answers for it",
    "expires": "the last day that it holds, such as 2027-01-31",
}
"""What every waiver says. An annotation is on its subject and names its check in its key."""

_EXAMPLE = """\
A waiver has all of check, subject, reason, owner and expires:
    waivers:
      - check: grace-period
        subject: Deployment/inference/batch-*
        reason: Answers of at most 100 tokens
        owner: team-batch
        expires: 2027-01-31"""
_ANNOTATION_EXAMPLE = (
    "Write reason, owner and expires as YAML: "
    "{reason: Answers of at most 100 tokens, owner: team-batch, expires: 2027-01-31}"
)


class Waiver(Struct, frozen=True, kw_only=True):
    """One finding, or one kind of finding on several subjects, that may stay until a day."""

    check: str
    """The slug or id of a check."""
    subject: str
    """``Kind/namespace/name`` as reports write it, with ``*``; what it is on, for an annotation."""
    reason: str
    owner: str
    expires: date
    """The last day that it holds, in UTC."""
    where: Located
    """What holds it: its entry in a file, or the subject that it is an annotation of."""
    path: str = ""
    """Field path of the annotation in ``where``; empty for an entry of a file."""

    @property
    def annotated(self) -> bool:
        """Whether it is an annotation of its subject."""
        return bool(self.path)

    @property
    def said(self) -> str:
        """Why, by whom and until when, on one line."""
        return f"{self.reason} ({self.owner}, until {self.expires})"

    def covers(self, subject: Located) -> bool:
        """Tell whether its pattern is about a subject; a name without a role is all its roles."""
        whole = "/".join(filter(None, (subject.kind, subject.namespace, subject.name)))
        pattern = self.subject.lower()
        return any(
            fnmatchcase(name.lower(), pattern) for name in {subject.ref, subject.own_ref, whole}
        )


IN_FORCE = Check(
    slug="waivers",
    id="DP001",
    severity=Severity.ERROR,
    kind="manifest",
    rule=lambda: iter(()),
    arguments=(),
    applies_to=frozenset(),
    file=Path(__file__),
    doc="""\
Waivers hold, and waive something.

What it checks
    Every waiver, in a file or in an annotation, waives a finding of this audit, and its last day
    is not over.

Why
    A waiver that nobody looks at again hides the next, worse finding in its place.

Fix
    Mend what was waived, or agree on a new day with the waiver's owner; remove a waiver that
    waives nothing.

Source
    The project's own rule.
""",
)
"""What waivers themselves are held to; no file, since it looks at waivers and not at manifests."""


class WaiverError(ValueError):
    """A waiver that lacks something, or says it in a form that can't be read.

    Args:
        field: The field that is wrong; empty is the waiver itself.
        message: What was expected and what was found.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.message = message


def read(path: Path) -> tuple[Waiver, ...]:
    """Return the waivers in a YAML file.

    Raises:
        UserError: It can't be read, or a waiver in it lacks something.
    """
    from drainproof.collect import yaml_text  # noqa: PLC0415 - only where there are waivers

    try:
        text = path.read_text(encoding="utf-8")
        documents = [text[start:end] for start, end in yaml_text.documents(text)]
        start = next((text.index(part) for part in documents if part.strip()), 0)
        found = yaml_text.parse(text[start:], is_plain=yaml_text.plain(text))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{path}: cannot be read: {said}", hint=_EXAMPLE) from None
    except yaml_text.YamlError as error:
        line = text.count("\n", 0, start) + (error.line or 1)
        raise UserError(f"{path}:{line}: not YAML: {error.message}", hint=_EXAMPLE) from None
    origin = Origin(str(path), text.count("\n", 0, start) + 1, start, len(text))
    listed = found.get("waivers") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(found) > 1:  # type: ignore[arg-type] # it is a mapping then
        what = f"the keys {', '.join(map(str, found))}" if isinstance(found, dict) else "none"
        if isinstance(found, dict) and list(found) == ["waivers"]:
            what = describe(listed)
        raise UserError(
            f"{path}: expected a list under the one key waivers, found {what}", hint=_EXAMPLE
        )
    waivers = []
    for index, entry in enumerate(listed):
        place = replace(origin, prefix=("waivers", index))
        try:
            waivers.append(waiver(entry, place))
        except WaiverError as error:
            where = ".".join(filter(None, (f"waivers[{index}]", error.field)))
            said = f"{path}:{line_of(place, error.field)}: {where}: {error.message}"
            raise UserError(said, hint=_EXAMPLE) from None
    return tuple(waivers)


def waiver(entry: object, origin: Origin) -> Waiver:
    """Return the waiver in an entry of a file.

    Raises:
        WaiverError: A field is missing, unknown, or of another form.
    """
    values = _fields(entry, FIELDS)
    where = Located(
        kind="Waiver",
        namespace="",
        name=f"{values['check']} of {values['subject']}",
        object={},
        origin=origin,
    )
    return Waiver(**values, where=where)


def gather(
    snapshot: Snapshot, written: Iterable[Waiver], known: Callable[[str], object]
) -> tuple[tuple[Waiver, ...], tuple[Problem, ...]]:
    """Return the waivers of an audit: those written in files, and its workloads' annotations.

    Args:
        snapshot: What is audited.
        written: The waivers of files.
        known: Raises UserError for a name that is no check's; called once for each name.

    Returns:
        The waivers, and a problem for each annotation that can't be read.

    Raises:
        UserError: A waiver of a file names no check that there is.
    """
    names: dict[str, str] = {}

    def unknown(name: str) -> str:
        if name in {IN_FORCE.slug, IN_FORCE.id}:
            return f"{name} is the check on waivers themselves, which can't be waived"
        if name not in names:
            try:
                known(name)
                names[name] = ""
            except UserError as error:
                names[name] = str(error).replace("\n  hint:", ".")
        return names[name]

    found: list[Waiver] = []
    for item in written:
        if unknown(item.check):
            raise UserError(
                f"{item.where.file}:{line_of(item.where.origin, 'check')}: {unknown(item.check)}"
            )
        found.append(item)
    problems: list[Problem] = []
    for workload, check, value in _annotations(snapshot):
        path = f"metadata.annotations[{ANNOTATION}{check}]"
        try:
            item = _annotation(workload, path, check, value)
            said = unknown(check)
        except WaiverError as error:
            said = str(error)
        if not said:
            found.append(item)
            continue
        problems.append(
            Problem(
                f"{workload.ref}: a waiver: {said}",
                file=workload.file,
                path=path,
                origin=workload.origin,
                hint=_ANNOTATION_EXAMPLE,
            )
        )
    return tuple(found), (*problems, *_on_templates(snapshot))


def _on_templates(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield a problem for each annotation that is on a pod template and not on its workload."""
    for workload in snapshot.workloads:
        template = workload.pod_path.removesuffix(".spec")
        if template == workload.pod_path:
            continue  # a pod is its own template
        for key in workload.pod_annotations:
            if key.startswith(ANNOTATION):
                yield Problem(
                    f"{workload.ref}: a waiver: it is on the pod template, where it waives nothing",
                    file=workload.file,
                    path=f"{template}.metadata.annotations[{key}]",
                    origin=workload.origin,
                    hint=f"Write it under metadata.annotations of the {workload.kind} itself.",
                )


def line_of(place: Origin | None, field: str) -> int:
    """Return the line of a field of a waiver, which only messages need."""
    from drainproof.collect.lines import Lines  # noqa: PLC0415 - as said

    return Lines().find([(place, field)])[0] if place else 0


def _annotations(snapshot: Snapshot) -> Iterator[tuple[Located, str, object]]:
    """Yield each annotation that waives: its object, the check's name in its key, its value.

    Those of objects that are no workload, such as a scaler, are among them: they waive nothing, and
    whoever wrote them has to know. What a controller made has its owner's.
    """
    for workload in snapshot.workloads:
        for check, value in waivers_on(workload.object):
            yield workload, check, value
    for item in snapshot.items:
        for check, value in waivers_on(item.object):
            obj = item.object
            if kind_of(obj) is None and controller_of(obj) is None:
                yield Located(**named(obj), object=obj, origin=item.origin), check, value


def waivers_on(obj: Raw) -> Iterator[tuple[str, object]]:
    """Yield each annotation of an object that waives: the check's name in its key, its value."""
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if isinstance(annotations, dict):
        for key, value in annotations.items():
            if isinstance(key, str) and key.startswith(ANNOTATION):
                yield key.removeprefix(ANNOTATION), value


def _annotation(subject: Located, path: str, check: str, value: object) -> Waiver:
    from drainproof.collect import yaml_text  # noqa: PLC0415 - only where there are waivers

    text = str(value)
    try:
        entry = yaml_text.parse(text, is_plain=yaml_text.plain(text))
    except yaml_text.YamlError as error:
        raise WaiverError("", f"not YAML: {error.message}") from None
    fields = {name: FIELDS[name] for name in ("reason", "owner", "expires")}
    values = _fields(entry, fields)
    return Waiver(check=check, subject=subject.ref, where=subject, path=path, **values)


def _fields(entry: object, wanted: Mapping[str, str]) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise WaiverError("", f"expected {', '.join(wanted)}, found {entry!r:.40}")
    for key in entry:
        if key not in wanted:
            import difflib  # noqa: PLC0415 - only for a typing error

            near = difflib.get_close_matches(str(key), wanted, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise WaiverError(str(key), f"expected one of {', '.join(wanted)}{hint}")
    values: dict[str, Any] = {}
    for name, what in wanted.items():
        value = entry.get(name)
        if name == "expires":
            values[name] = _day(value, what)
        elif isinstance(value, str) and value.strip():
            values[name] = without_forms(" ".join(value.split()))
        else:
            found = "nothing" if value is None or value == "" else repr(value)
            raise WaiverError(name, f"expected {what}, found {found:.40}")
    return values


def _day(value: object, what: str) -> date:
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value) if isinstance(value, str) else date.fromisoformat("")
    except ValueError:
        found = "nothing" if value is None else repr(value)
        raise WaiverError("expires", f"expected {what}, found {found:.40}") from None


def apply(  # noqa: PLR0913 - what is told of waivers can be chosen
    result: AuditResult,
    waivers: Iterable[Waiver],
    ran: Iterable[Check],
    today: date | None = None,
    *,
    held: bool = True,
    unused: bool = True,
) -> AuditResult:
    """Return an audit with its waived outcomes marked, and an outcome for each waiver gone bad.

    Waivers of checks that did not run are left alone.

    Args:
        result: The audit.
        waivers: What :func:`gather` returned.
        ran: The checks of the audit.
        today: The day, in UTC; now by default.
        held: Whether waivers gone bad count, as they do unless the check on them is ignored.
        unused: Whether those that waive nothing do; not where what they waive may be elsewhere.
    """
    today = today or datetime.now(UTC).date()
    by_check = _by_check(waivers, ran)
    used: Counter[int] = Counter()
    notable = []
    for outcome in result.notable:
        if outcome.findings and outcome.check.slug in by_check:
            about = by_check[outcome.check.slug].about(outcome.subject)
            used.update({id(item): len(outcome.findings) for item in about})
            holds = next((item for item in about if item.expires >= today), None)
            notable.append(_waived(outcome, holds) if holds else outcome)
        else:
            notable.append(outcome)
    bad: dict[int, list[Finding]] = {}
    for item in (item for listed in by_check.values() for item in listed.all):
        said = _gone_bad(item, used[id(item)], today)
        if said is not None and held and (unused or used[id(item)]):
            bad.setdefault(id(item.where), []).append(item.where.finding(*said, Severity.ERROR))
    failed = [
        Outcome(IN_FORCE, found[0].where, Verdict.FAIL, tuple(found)) for found in bad.values()
    ]
    return replace(
        result,
        judged=(*result.judged, *((outcome.subject, (IN_FORCE,)) for outcome in failed)),
        notable=(*notable, *failed),
    )


class _Listed:
    """The waivers of one check."""

    def __init__(self) -> None:
        self.all: list[Waiver] = []
        self._patterns: list[Waiver] = []
        self._annotated: dict[int, list[Waiver]] = {}

    def add(self, item: Waiver) -> None:
        self.all.append(item)
        if item.annotated:
            self._annotated.setdefault(id(item.where.object), []).append(item)
        else:
            self._patterns.append(item)

    def about(self, subject: Located) -> list[Waiver]:
        own = self._annotated.get(id(subject.object), ())
        return [*own, *(item for item in self._patterns if item.covers(subject))]


def _by_check(waivers: Iterable[Waiver], ran: Iterable[Check]) -> dict[str, _Listed]:
    found = list(waivers)
    if not found:
        return {}
    slugs = {name: item.slug for item in ran for name in (item.slug, item.id)}
    listed: dict[str, _Listed] = {}
    for item in found:
        if item.check in slugs:
            listed.setdefault(slugs[item.check], _Listed()).add(item)
    return listed


def _waived(outcome: Outcome, by: Waiver) -> Outcome:
    findings = tuple(replace(item, verdict=Verdict.WAIVED) for item in outcome.findings)
    return replace(outcome, verdict=Verdict.WAIVED, findings=findings, waiver=by)


def _gone_bad(item: Waiver, used: int, today: date) -> tuple[str, str] | None:
    """Return the field at which a waiver fails, and what is wrong with it; None if it holds."""
    name = f"the waiver of {item.check} on {item.subject}"
    if item.expires < today:
        count = "1 finding of it counts" if used == 1 else f"{used} findings of it count"
        what = f"so {count} again" if used else "and it waives nothing"
        said = f"{name} expired on {item.expires}, {what}; its owner is {item.owner}"
        return item.path or "expires", said
    if not used:
        return item.path, f"{name} waives nothing: {item.check} finds nothing there"
    return None
