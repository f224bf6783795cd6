"""Runs checks on a Snapshot: one outcome for each check on each subject."""

from __future__ import annotations

from operator import itemgetter
from sys import intern
from typing import TYPE_CHECKING, Any

import orjson
from msgspec import Struct

from drainproof.errors import ExitCode, UserError
from drainproof.judge.verdict import Severity, Verdict, exit_code
from drainproof.model import (
    accelerators,
    disruption,
    language_model,
    placement,
    routing,
    running,
    scaler,
    volumes,
)
from drainproof.model.engine import ENGINE_ANNOTATION
from drainproof.model.engines import ENGINES
from drainproof.model.finding import Finding
from drainproof.model.secrets import without_forms
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Problem
from drainproof.report.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.judge.waivers import Waiver
    from drainproof.model.finding import Located
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

TEMPLATED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
"""Kinds whose pods are what ``spec.template`` says, and nothing else."""
GIVEN = frozenset({"workload", "engine", "container", "snapshot", "profile"})
"""What there is before anything is joined."""
JOINS: dict[str, Callable[[Snapshot, Workload], object]] = {
    "scalers": scaler.of,
    "strays": scaler.strays_near,
    "services": routing.services_of,
    "budgets": disruption.budgets_for,
    "accelerators": accelerators.of,
    "placement": placement.of,
    "model": lambda _, workload: language_model.of(workload),
    "pods": running.pods_of,
    "metrics": lambda snapshot, _: snapshot.metrics,
    "config_maps": volumes.config_maps_for,
}
"""What else a check can ask for, by the name of its argument: each is found when it is first asked
for, once a subject. A subject always has an engine."""
NO_PROMETHEUS = "Prometheus was not asked, so this can't be told: --prometheus says where it is"
ALONE = frozenset(
    {"workload", "profile", "engine", "container", "model", "accelerators", "placement"}
)
"""What depends on nothing but the workload's own spec. A check that asks for no more says the same
of every workload that differs in its name and labels only, and is run once for all of them."""
ARGUMENTS = GIVEN | JOINS.keys()
"""What a check can ask for by the names of its arguments."""


_NOTHING: dict[str, Any] = {}
"""What mends a finding that a person has to decide."""


class Outcome(Struct, frozen=True, gc=False):
    """What one check said of one subject."""

    check: Check
    subject: Located
    """A workload; a waiver, where it is that which fails."""
    verdict: Verdict
    findings: tuple[Finding, ...]
    """Where it fails or can't tell, or what is waived; each has a severity."""
    assumptions: tuple[Finding, ...] = ()
    """What its verdict rests on and can't be seen."""
    waiver: Waiver | None = None
    """What waives it, if its verdict is ``waived``; None if all its findings are in the baseline,
    which don't stay among them."""


class AuditResult(Struct, frozen=True):
    """What an audit said.

    Most checks pass on most subjects. To keep large audits small, those outcomes are not stored:
    :attr:`outcomes` makes them when it is asked for.
    """

    judged: tuple[tuple[Located, tuple[Check, ...]], ...]
    """Each subject, in order, with the checks that ran on it."""
    notable: tuple[Outcome, ...]
    """The outcomes that are more than a pass: with findings, assumptions or a waiver."""
    profile: str
    snapshot: Snapshot
    fail_on: Severity = Severity.ERROR
    """The least severity that fails."""
    known: int = 0
    """Findings that the baseline holds; they are not listed."""
    gone: int = 0
    """Findings of the baseline that are no more."""
    since: str = ""
    """When the Snapshot was taken that this one is compared with, in words; empty if with none.
    Then :attr:`known` counts what is as it was."""
    went: tuple[str, ...] = ()
    """What is gone since, a line each."""
    took_s: float | None = None
    """Seconds from the start of the reading to the verdicts; None if nobody measured."""
    misread: tuple[Problem, ...] = ()
    """Waivers in annotations that can't be read."""
    not_run: tuple[Check, ...] = ()
    """Checks that need a Prometheus, where none was named."""

    idle: tuple[Check, ...] = ()
    """The checks that were to run, where none of them applies to any workload."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read, or else why nothing was judged."""
        return self.unread or tuple(self._nothing_judged())

    @property
    def unread(self) -> tuple[Problem, ...]:
        """What could not be read."""
        return (*self.snapshot.problems, *self.misread)

    def _nothing_judged(self) -> Iterator[Problem]:
        if self.idle:
            found = sorted({workload.kind for workload in self.snapshot.workloads})
            wanted = sorted({kind for item in self.idle for kind in item.applies_to})
            yield Problem(
                f"nothing was judged: {', '.join(item.slug for item in self.idle)} can only be "
                f"judged on {', '.join(wanted)}, found {', '.join(found)}",
                hint="Select other checks, or none, for all that apply: drainproof rules lists "
                "them.",
            )
        elif self.not_run and not self.judged:
            yield Problem(
                f"nothing was judged: {', '.join(item.slug for item in self.not_run)} can only be "
                "judged with a Prometheus",
                hint="--prometheus says where it is.",
            )

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """What each check said of each subject, in order."""
        notable = {(id(item.check), id(item.subject)): item for item in self.notable}
        return tuple(
            notable.get((id(check), id(subject))) or Outcome(check, subject, Verdict.PASS, ())
            for subject, checks in self.judged
            for check in checks
        )

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that ran on any subject."""
        different = {id(checks): checks for _, checks in self.judged}.values()
        return tuple({check.slug: check for checks in different for check in checks}.values())

    @property
    def findings(self) -> tuple[tuple[Outcome, Finding], ...]:
        """All findings, with the outcome that each belongs to."""
        return tuple((outcome, item) for outcome in self.notable for item in outcome.findings)

    def count(self, verdict: Verdict) -> int:
        """Return how many outcomes have a verdict."""
        if verdict is Verdict.PASS:
            others = sum(outcome.verdict is not verdict for outcome in self.notable)
            return sum(len(checks) for _, checks in self.judged) - others
        return sum(outcome.verdict is verdict for outcome in self.notable)

    @property
    def exit_code(self) -> ExitCode:
        """What the command line returns; 2 if a part can't be read, or nothing was judged."""
        if self.problems or not self.judged:
            return ExitCode.ERROR
        seen = {
            item.verdict
            for outcome in self.notable
            for item in outcome.findings
            if item.verdict is not Verdict.FAIL or self.fails(item)
        }
        return exit_code(seen or {Verdict.PASS})

    def fails(self, finding: Finding) -> bool:
        """Tell whether a finding counts as a failure: it fails, at or over ``fail_on``."""
        return finding.verdict is Verdict.FAIL and (
            self.fail_on is Severity.WARNING or finding.severity is not Severity.WARNING
        )


def run(snapshot: Snapshot, profile: Profile, checks: Iterable[Check]) -> AuditResult:
    """Judge every workload that runs an LLM engine by every check that applies to its kind.

    Raises:
        UserError: A check asks for something that there is not.
    """
    from drainproof.judge.families import Families  # noqa: PLC0415 - it needs the types above

    checks = tuple(checks)
    _must_be_offered(checks)
    not_run: tuple[Check, ...] = ()
    if snapshot.metrics is None:
        not_run = tuple(item for item in checks if "metrics" in item.arguments)
        checks = tuple(item for item in checks if item not in not_run)
    applying: dict[str, _Applying] = {}
    judged: list[tuple[Located, tuple[Check, ...]]] = []
    notable: list[Outcome] = []
    said: dict[bytes, list[_Placed]] = {}
    """What the checks that ask for :data:`ALONE` said, by what they depend on."""
    families = Families(snapshot)
    for workload in snapshot.workloads:
        if workload.kind not in applying:
            applying[workload.kind] = _applying_to(workload.kind, checks)
        to_run = applying[workload.kind]
        offered = Offered(snapshot, workload, profile)
        refused: list[Check] = []
        known = families.known(workload)
        if known is not None:
            found = known.said + _judged(known.left, offered, refused)
        else:
            own = _own_spec(workload)
            twins = said.get(own)
            if twins is None:
                found = _judged(to_run.alone, offered, refused)
                if not refused:
                    said[own] = found
            else:
                found = [(place, _said_of(workload, outcome)) for place, outcome in twins]
            found = found + _judged(to_run.joined, offered, refused)
            if not refused:
                families.note(workload, to_run.checks, found)
        found.sort(key=_PLACE)
        notable += [outcome for _, outcome in found]
        ran = to_run.checks
        if refused:
            ran = tuple(item for item in ran if item not in refused)
        if ran:
            judged.append((workload, ran))
    idle = checks if checks and snapshot.workloads and not judged else ()
    return AuditResult(
        tuple(judged), tuple(notable), profile.name, snapshot, not_run=not_run, idle=idle
    )


def _must_be_offered(checks: Iterable[Check]) -> None:
    for item in checks:
        unknown = [name for name in item.arguments if name not in ARGUMENTS]
        if unknown:
            raise UserError(
                f"{item.file}: the check asks for {', '.join(unknown)}",
                hint=f"There are: {', '.join(sorted(ARGUMENTS))}.",
            )


_Placed = tuple[int, Outcome]
"""An outcome, after the place of its check among those that apply."""
_PLACE = itemgetter(0)


class _Applying(Struct, frozen=True):
    """The checks that apply to a kind, each in two of these with its place among them."""

    checks: tuple[Check, ...]
    alone: list[tuple[int, Check]]
    """Those that ask for :data:`ALONE`."""
    joined: list[tuple[int, Check]]


def _applying_to(kind: str, checks: Iterable[Check]) -> _Applying:
    applying = tuple(item for item in checks if not item.applies_to or kind in item.applies_to)
    alone = [ALONE.issuperset(item.arguments) for item in applying]
    return _Applying(
        applying,
        [(place, item) for place, item in enumerate(applying) if alone[place]],
        [(place, item) for place, item in enumerate(applying) if not alone[place]],
    )


def _judged(
    checks: Iterable[tuple[int, Check]], offered: Offered, refused: list[Check]
) -> list[_Placed]:
    """Run some checks on a subject; return what they said beyond a pass.

    Checks that can't read a field are noted in ``refused``.
    """
    found = []
    for place, item in checks:
        try:
            outcome = judge(item, offered)
        except ShapeError as error:
            offered["snapshot"].refuse(offered["workload"], error)
            refused.append(item)
            continue
        if outcome is not None:
            found.append((place, outcome))
    return found


def _own_spec(workload: Workload) -> bytes:
    """Return what the checks that ask for :data:`ALONE` depend on.

    Where other objects fill in a part of it (ConfigMaps, runtimes, resource claims), a workload
    has no twin.
    """
    container = workload.container
    plain = (
        workload.kind in TEMPLATED
        and "resourceClaims" not in workload.pod_spec
        and (container is None or container.seen is None)
    )
    if not plain:
        return str(id(workload)).encode()
    # equal pod templates were read as one, so their identity stands for them
    rest = {**workload.object["spec"], "selector": None, "template": id(workload.pod_spec)}
    try:
        return orjson.dumps(
            (workload.kind, workload.pod_annotations, rest), option=orjson.OPT_NON_STR_KEYS
        )
    except TypeError:  # a text that is no Unicode
        return str(id(workload)).encode()


def _said_of(workload: Workload, said: Outcome) -> Outcome:
    """Return what was said of a workload's twin as said of itself."""
    findings, assumptions = (
        tuple(
            [
                Finding(
                    one.path, one.message, workload, one.severity, one.verdict, one.repair, one.fix
                )
                for one in listed
            ]
        )
        for listed in (said.findings, said.assumptions)
    )
    return Outcome(said.check, workload, said.verdict, findings, assumptions)


class Offered(dict[str, Any]):
    """What checks on one subject can ask for, by the names in :data:`ARGUMENTS`.

    Args:
        snapshot: What was collected.
        workload: The subject.
        profile: The numbers that checks use.
    """

    def __init__(self, snapshot: Snapshot, workload: Workload, profile: Profile) -> None:
        super().__init__(
            snapshot=snapshot,
            workload=workload,
            profile=profile,
            engine=workload.engine,
            container=workload.container,
        )

    def __missing__(self, name: str) -> object:
        found = self[name] = JOINS[name](self["snapshot"], self["workload"])
        return found


def judge(check: Check, offered: Offered) -> Outcome | None:
    """Run one check on one subject; return None if it passes and there is nothing more to say.

    A check that breaks down is inconclusive, never a pass.

    Raises:
        ShapeError: A field that the check asked for holds another type than Kubernetes wants.
    """
    try:
        missing = _missing(check, offered) if check.kind == "live" else ""
        if missing:
            yielded = [offered["workload"].inconclusive("", missing)]
        else:
            yielded = list(check.rule(*map(offered.__getitem__, check.arguments)))
            for item in yielded:
                if not isinstance(item, Finding) or not isinstance(item.message, str):
                    raise TypeError(f"expected findings, each with a message, found {item!r:.80}")  # noqa: TRY301 - as if the check had raised it
    except ShapeError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a check does wrong, the others still run
        said = f"the check itself broke down: {type(error).__name__}: {error}"
        yielded = [offered["workload"].inconclusive("", said)]
    if not yielded:
        return None
    findings, assumptions = [], []
    for item in yielded:
        if item.verdict is Verdict.PASS:
            assumptions.append(item)
            continue
        findings.append(
            Finding(
                intern(item.path),  # workloads of a kind have findings that say the same
                intern(without_forms(item.message)),
                item.where,
                item.severity or check.severity,
                item.verdict,
                item.repair or _NOTHING,
                intern(without_forms(item.fix)) if item.fix else "",
            )
        )
    verdict = verdict_of(findings)
    return Outcome(check, offered["workload"], verdict, tuple(findings), tuple(assumptions))


def _missing(check: Check, offered: Offered) -> str:
    """Return what keeps a live check from being decided; empty if nothing does."""
    if "pods" in check.arguments and not offered["pods"]:
        return running.why_none(offered["snapshot"], offered["workload"])
    if "metrics" in check.arguments and offered["metrics"] is None:
        return NO_PROMETHEUS
    return ""


def verdict_of(findings: Sequence[Finding]) -> Verdict:
    """Return the verdict of a check that has these findings on a subject."""
    if len(findings) == 1:
        return findings[0].verdict
    verdicts = {item.verdict for item in findings}
    return next(
        (found for found in (Verdict.FAIL, Verdict.INCONCLUSIVE) if found in verdicts), Verdict.PASS
    )


def nothing_to_audit(snapshot: Snapshot) -> UserError:
    """Return the error for an input without an LLM workload; it says what there was instead."""
    seen = [f"{who.ref} ({why})" for who, why in snapshot.unjudged]
    if snapshot.other_workloads:
        seen.append(
            f"{plural(snapshot.other_workloads, 'workload')} without an LLM engine drainproof knows"
        )
    if snapshot.fragments:
        patches = "patch" if snapshot.fragments == 1 else "patches"
        seen.append(f"{snapshot.fragments} {patches} of workloads that are written elsewhere")
    others = len(snapshot.items) - snapshot.other_workloads - snapshot.fragments
    if others > 0:  # of several clusters, other objects are not kept
        seen.append(plural(others, "other object"))
    if snapshot.skipped:
        seen.append(f"{plural(snapshot.skipped, 'document')} without a Kubernetes manifest")
    known = ", ".join(f"{facts.title} ({facts.name})" for facts in ENGINES)
    hint = (
        f"The engines that are known: {known}. One is told by its command, its flags and its "
        "image; where none of these shows it, annotate the pod template with its name: "
        f"{ENGINE_ANNOTATION}"
    )
    if any(item.object.get("kind") == "Kustomization" for item in snapshot.items):
        hint = "Build the kustomization first: kubectl kustomize FOLDER | drainproof audit -"
    return UserError(
        "nothing to audit: expected a workload that runs an LLM engine, found "
        + (", ".join(seen) or "no manifest"),
        hint=hint,
    )


def severity_counts(result: AuditResult) -> dict[Severity, int]:
    """Return how many findings of each severity there are, neither waived nor inconclusive."""
    counts = dict.fromkeys(Severity, 0)
    for _, item in result.findings:
        if item.severity is not None and item.verdict is Verdict.FAIL:
            counts[item.severity] += 1
    return counts
