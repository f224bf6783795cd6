"""Runs checks on a Snapshot: one outcome for each check on each subject."""

from __future__ import annotations

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
    running,
    scaler,
    volumes,
)
from drainproof.model.finding import Finding
from drainproof.model.secrets import without_forms
from drainproof.model.shape import ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.judge.waivers import Waiver
    from drainproof.model.finding import Located
    from drainproof.model.snapshot import Problem, Snapshot
    from drainproof.model.workload import Workload

TEMPLATED = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"})
"""Kinds whose pods are what ``spec.template`` says, and nothing else."""
GIVEN = frozenset({"workload", "snapshot", "profile"})
"""What there is before anything is joined."""
JOINS: dict[str, Callable[[Snapshot, Workload], object]] = {
    "engine": lambda _, workload: workload.engine,
    "container": lambda _, workload: workload.container,
    "scalers": scaler.of,
    "strays": scaler.strays_near,
    "services": lambda snapshot, workload: snapshot.services_for(workload),
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
ALONE = frozenset({"workload", "profile", "engine", "container", "model", "accelerators"})
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
    misread: tuple[Problem, ...] = ()
    """Waivers in annotations that can't be read."""
    not_run: tuple[Check, ...] = ()
    """Checks that need a Prometheus, where none was named."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read."""
        return (*self.snapshot.problems, *self.misread)

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
    checks = tuple(checks)
    for item in checks:
        unknown = [name for name in item.arguments if name not in ARGUMENTS]
        if unknown:
            raise UserError(
                f"{item.file}: the check asks for {', '.join(unknown)}",
                hint=f"There are: {', '.join(sorted(ARGUMENTS))}.",
            )
    not_run: tuple[Check, ...] = ()
    if snapshot.metrics is None:
        not_run = tuple(item for item in checks if "metrics" in item.arguments)
        checks = tuple(item for item in checks if item not in not_run)
    applying: dict[str, tuple[Check, ...]] = {}
    judged: list[tuple[Located, tuple[Check, ...]]] = []
    notable: list[Outcome] = []
    twins = _Twins(checks)
    for workload in snapshot.workloads:
        if workload.kind not in applying:
            applying[workload.kind] = tuple(
                item for item in checks if not item.applies_to or workload.kind in item.applies_to
            )
        ran = applying[workload.kind]
        offered = Offered(snapshot, workload, profile)
        known = twins.said_of(workload)
        for item in ran:
            try:
                outcome = twins.judge(item, offered, known)
            except ShapeError as error:
                snapshot.refuse(workload, error)
                ran = tuple(other for other in ran if other is not item)
                continue
            if outcome is not None:
                notable.append(outcome)
        if ran:
            judged.append((workload, ran))
    return AuditResult(tuple(judged), tuple(notable), profile.name, snapshot, not_run=not_run)


class _Twins:
    """What the checks that ask for :data:`ALONE` said, by what they depend on.

    Args:
        checks: The checks of the audit.
    """

    def __init__(self, checks: Iterable[Check]) -> None:
        self._alone = {id(item) for item in checks if ALONE.issuperset(item.arguments)}
        self._said: dict[bytes, dict[int, Outcome | None]] = {}

    def said_of(self, workload: Workload) -> dict[int, Outcome | None]:
        """Return what was said of a workload, or of a twin of it, by the check's ``id()``."""
        return self._said.setdefault(_own_spec(workload), {})

    def judge(
        self, item: Check, offered: Offered, known: dict[int, Outcome | None]
    ) -> Outcome | None:
        """Run a check, unless it said something of a twin; as :func:`judge` does."""
        if id(item) not in self._alone:
            return judge(item, offered)
        if id(item) in known:
            return _said_of(offered["workload"], known[id(item)])
        outcome = known[id(item)] = judge(item, offered)
        return outcome


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


def _said_of(workload: Workload, said: Outcome | None) -> Outcome | None:
    """Return what was said of a workload's twin as said of itself."""
    if said is None:
        return None
    findings, assumptions = (
        tuple(
            Finding(one.path, one.message, workload, one.severity, one.verdict, one.repair)
            for one in listed
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
        super().__init__(snapshot=snapshot, workload=workload, profile=profile)

    def __missing__(self, name: str) -> object:
        found = self[name] = JOINS[name](self["snapshot"], self["workload"])
        return found


def judge(check: Check, offered: Offered) -> Outcome | None:
    """Run one check on one subject; return None if it passes and there is nothing more to say.

    A check that breaks down is inconclusive, never a pass.

    Raises:
        ShapeError: A field that the check asked for holds another type than Kubernetes wants.
    """
    workload: Workload = offered["workload"]
    try:
        missing = _missing(check, offered) if check.kind == "live" else ""
        if missing:
            yielded = [workload.inconclusive("", missing)]
        else:
            yielded = list(check.rule(*[offered[name] for name in check.arguments]))
    except ShapeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a check does wrong, the others still run
        said = f"the check itself broke down: {type(error).__name__}: {error}"
        yielded = [workload.inconclusive("", said)]
    if not yielded:
        return None
    findings = tuple(
        Finding(
            intern(item.path),  # workloads of a kind have findings that say the same
            intern(without_forms(item.message)),
            item.where,
            item.severity or check.severity,
            item.verdict,
            item.repair or _NOTHING,
        )
        for item in yielded
        if item.verdict is not Verdict.PASS
    )
    assumptions = tuple(item for item in yielded if item.verdict is Verdict.PASS)
    return Outcome(check, workload, verdict_of(findings), findings, assumptions)


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
    seen = []
    if snapshot.other_workloads:
        seen.append(f"{snapshot.other_workloads} workloads that run no LLM engine drainproof knows")
    if snapshot.fragments:
        seen.append(f"{snapshot.fragments} patches of workloads that are written elsewhere")
    others = len(snapshot.items) - snapshot.other_workloads - snapshot.fragments
    if others:
        seen.append(f"{others} other objects")
    if snapshot.skipped:
        seen.append(f"{snapshot.skipped} documents that are no Kubernetes manifests")
    hint = (
        "An engine is told by its command, its flags and its image. Where neither shows it, "
        "annotate the pod template: drainproof.dev/engine: vllm"
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
