"""Makes a report of evidence: each check's result, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drainproof import __version__
from drainproof.conformance.evidence import images, running
from drainproof.conformance.form import (
    Cluster,
    Deployment,
    Features,
    Report,
    Requirement,
    Result,
    Summary,
    Tally,
)
from drainproof.conformance.levels import FEATURES, NOT_A_CERTIFICATION, REQUIREMENTS, level_of
from drainproof.errors import ExitCode, UserError
from drainproof.judge import audit, registry
from drainproof.judge.verdict import Verdict
from drainproof.model.meant import meant
from drainproof.model.secrets import without_forms
from drainproof.model.shape import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from drainproof.conformance.evidence import Evidence, Run
    from drainproof.conformance.form import Level, Passed, Shown
    from drainproof.conformance.levels import Asked
    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check
    from drainproof.model.finding import Finding
    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload

NO_SNAPSHOT: Final = "it looks at more than the workload itself: a Snapshot of its cluster shows it"
HIDDEN: Final = (
    "a run keeps no values of variables and no secrets, which it may ask for: a Snapshot shows it"
)
NO_CLUSTER: Final = "it looks at a running cluster: a Snapshot of one shows it"
NO_RUN: Final = "no chaos run of this fault is among the evidence"

_Said = tuple["Passed", tuple[str, ...]]
"""A result with its reasons."""
_WORST: Final[tuple[Passed, ...]] = ("failed", "inconclusive", "passed", "not_run")
"""Of what several pieces of evidence say, the first of these holds."""
_OF_VERDICTS: Final[dict[Verdict, Passed]] = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.INCONCLUSIVE: "inconclusive",
}


def report(evidence: Evidence, profile: Profile, wanted: str = "", namespace: str = "") -> Report:
    """Return what evidence shows of one deployment. Waivers and baselines don't count in it.

    Args:
        evidence: What was saved.
        profile: The numbers that checks use.
        wanted: ``deployment/NAME``, or ``NAME``; empty if the evidence is of one only.
        namespace: Its namespace; empty if that is of no matter.

    Raises:
        UserError: The evidence is not all of one deployment, or holds none.
    """
    kind, where, name = _target(evidence.runs)
    if name:
        _same(wanted, namespace, (kind, where, name))
        wanted, namespace = f"{kind}/{name}", where
    subjects: list[tuple[Snapshot, Workload]] = []
    judged: list[tuple[Snapshot, Workload]] = []
    for one in evidence.seen:
        else_ = "Save a Snapshot of the namespace that it is in."
        found = meant(one.snapshot, one.snapshot.workloads, wanted, namespace, else_=else_)
        wanted, namespace = f"{found.kind}/{found.name}", found.namespace
        subjects.append((one.snapshot, found))
        judged.append(subjects[-1])
    for run in evidence.runs:
        if run.manifest is not None:
            snapshot = run.manifest.snapshot
            else_ = "It is the evidence of a chaos run, and may be damaged."
            found = meant(snapshot, snapshot.workloads, wanted, namespace, else_=else_)
            subjects.append((snapshot, found))
            judged += [] if run.manifest.hides else [subjects[-1]]
    checks = registry.load().checks
    results = tuple(
        _result(item, judged, evidence.runs, profile, HIDDEN if subjects else NO_SNAPSHOT)
        for item in checks
        if not item.applies_to or _kind(subjects, kind) in item.applies_to
    )
    said = {item.check: item.result for item in results}
    return Report(
        drainproof=__version__,
        deployment=_deployment(subjects, evidence.runs),
        cluster=_cluster(evidence),
        profile=profile.name,
        summary=Summary(core=_tally(results, "core"), extended=_tally(results, "extended")),
        checks=results,
        features=_features(said),
        kubernetes_ai_conformance=tuple(
            _requirement(one, said, _accelerators(subjects)) for one in REQUIREMENTS
        ),
        evidence=tuple(
            proof
            for proof in (
                *(one.proof for one in evidence.seen),
                *(one.manifest.proof for one in evidence.runs if one.manifest),
                *(one.proof for one in evidence.runs),
            )
        ),
    )


def exit_code(found: Report) -> ExitCode:
    """Return 0 if every core check passed, 1 if one failed, else 3."""
    core = found.summary.core
    if core.failed:
        return ExitCode.FINDINGS
    return ExitCode.INCONCLUSIVE if core.inconclusive or core.not_run else ExitCode.CLEAN


def _target(runs: Sequence[Run]) -> tuple[str, str, str]:
    """Return kind, namespace and name of what the runs disturbed; empty without a run.

    Raises:
        UserError: It was not the same.
    """
    named = {run.verdict.subject.ref: run.verdict.subject for run in runs}
    if len(named) > 1:
        raise UserError(
            f"expected chaos runs of one deployment, found {', '.join(sorted(named))}",
            hint="Write a report for each.",
        )
    for one in named.values():
        return one.kind, one.namespace, one.name
    return "", "", ""


def _same(wanted: str, namespace: str, target: tuple[str, str, str]) -> None:
    kind, _, name = wanted.rpartition("/")
    asked = (kind.lower() or target[0].lower(), namespace or target[1], name or target[2])
    if asked != (target[0].lower(), *target[1:]):
        raise UserError(
            f"expected evidence of {wanted or namespace}, found a chaos run of {'/'.join(target)}"
        )


def _kind(subjects: Sequence[tuple[Snapshot, Workload]], target: str) -> str:
    return subjects[0][1].kind if subjects else target


# ── Checks ──────────────────────────────────────────────────────────────────────────────────────


def _result(
    item: Check,
    subjects: Sequence[tuple[Snapshot, Workload]],
    runs: Sequence[Run],
    profile: Profile,
    otherwise: str,
) -> Result:
    if item.kind == "chaos":
        said = [_of_run(item, run) for run in runs] or [("not_run", (NO_RUN,))]
    else:
        said = [_of_snapshot(item, *subject, profile) for subject in subjects]
        said = said or [("not_run", (otherwise,))]
    worst = min((one for one, _ in said), key=_WORST.index)
    reasons = dict.fromkeys(reason for one, why in said if one == worst for reason in why)
    return Result(
        check=item.slug,
        id=item.id,
        title=item.title,
        kind=item.kind,  # type: ignore[arg-type]  # one of registry.KINDS
        level=level_of(item),
        result=worst,
        reasons=() if worst == "passed" else tuple(reasons),
    )


def _of_snapshot(item: Check, snapshot: Snapshot, workload: Workload, profile: Profile) -> _Said:
    """Run a check on the workload in a Snapshot.

    In one that holds not all of a cluster, what a check misses may be elsewhere: there only those
    run that look at nothing but the workload.
    """
    if snapshot.partial and item.kind == "live":
        return "not_run", (NO_CLUSTER,)
    if snapshot.partial and not audit.ALONE.issuperset(item.arguments):
        return "not_run", (NO_SNAPSHOT,)
    if snapshot.metrics is None and "metrics" in item.arguments:
        return "not_run", (audit.NO_PROMETHEUS,)
    try:
        outcome = audit.judge(item, audit.Offered(snapshot, workload, profile))
    except ShapeError as error:
        return "inconclusive", (f"{error.path}: {error.message}",)
    if outcome is None:
        return "passed", ()
    return _OF_VERDICTS[outcome.verdict], tuple(map(_told, _decisive(outcome.findings)))


def _decisive(findings: Sequence[Finding]) -> Iterable[Finding]:
    """Return the findings that a verdict comes from."""
    verdict = audit.verdict_of(findings) if findings else Verdict.PASS
    return (one for one in findings if one.verdict is verdict)


def _told(finding: Finding) -> str:
    said = without_forms(finding.message)
    return f"{finding.path}: {said}" if finding.path else said


def _of_run(item: Check, run: Run) -> _Said:
    if item.slug not in run.verdict.fault.split(","):
        return "not_run", (NO_RUN,)
    findings = list(item.rule(run.verdict))
    verdict = audit.verdict_of(findings) if findings else Verdict.PASS
    return _OF_VERDICTS[verdict], tuple(map(_told, _decisive(findings)))


# ── What follows ────────────────────────────────────────────────────────────────────────────────


def _tally(results: Iterable[Result], level: Level) -> Tally:
    found = [one.result for one in results if one.level == level]
    return Tally(
        passed=found.count("passed"),
        failed=found.count("failed"),
        inconclusive=found.count("inconclusive"),
        not_run=found.count("not_run"),
    )


def _features(said: Mapping[str, Passed]) -> Features:
    there: dict[str, list[str]] = {"supported": [], "unsupported": [], "unknown": []}
    for feature, slugs in FEATURES.items():
        found = {said[slug] for slug in slugs if slug in said}
        if "failed" in found:
            there["unsupported"].append(feature)
        else:
            there["supported" if found == {"passed"} else "unknown"].append(feature)
    return Features(**{name: tuple(features) for name, features in there.items()})


def _requirement(asked: Asked, said: Mapping[str, Passed], accelerators: int | None) -> Requirement:
    checks = {slug: said.get(slug, "not_run") for slug in asked.checks}
    found = set(checks.values())
    shown: Shown = "not_shown"
    if "failed" in found:
        shown = "no"
    elif found == {"passed"}:
        shown = "yes"
    elif "passed" in found:
        shown = "partly"
    note = NOT_A_CERTIFICATION
    if asked.of_accelerators and not accelerators:
        shown = "partly" if shown == "yes" else shown
        seen = "is not known to use" if accelerators is None else "uses no"
        note = f"the deployment {seen} accelerators, which it is about; {note}"
    return Requirement(id=asked.id, asks=asked.asks, shown=shown, checks=checks, note=note)


def _accelerators(subjects: Sequence[tuple[Snapshot, Workload]]) -> int | None:
    """Return how many the engine's container is given; None if no manifest tells."""
    for _, workload in subjects:
        if workload.container is not None:
            return workload.container.gpus
    return None


# ── What it is about ────────────────────────────────────────────────────────────────────────────


def _deployment(subjects: Sequence[tuple[Snapshot, Workload]], runs: Sequence[Run]) -> Deployment:
    digests = [running(*subject) for subject in subjects] + [run.digests for run in runs]
    if not subjects:
        target = runs[0].verdict.target
        return Deployment(
            kind=str(target.get("kind", "")),
            namespace=str(target.get("namespace", "")),
            name=str(target.get("name", "")),
            engine=str(target.get("engine") or ""),
            engine_version=str(target.get("engine_version") or ""),
            images=images({}, digests),
        )
    workload = subjects[0][1]
    written = {
        str(one.get("name", "")): str(one.get("image", ""))
        for one in workload.pod_spec.get("containers") or ()
    }
    return Deployment(
        kind=workload.kind,
        namespace=workload.namespace,
        name=workload.name,
        engine=workload.engine.name if workload.engine else "",
        engine_version=workload.engine.version_text if workload.engine else "",
        images=images(written, digests),
    )


def _cluster(evidence: Evidence) -> Cluster:
    """Return what the evidence says of the cluster.

    Raises:
        UserError: Two pieces of evidence come from clusters of different versions.
    """
    versions = dict.fromkeys(
        version
        for version in (
            *(one.snapshot.cluster_version for one in evidence.seen),
            *(str(run.verdict.target.get("cluster_version") or "") for run in evidence.runs),
        )
        if version
    )
    if len(versions) > 1:
        raise UserError(
            f"expected evidence of one cluster, found versions {', '.join(versions)}",
            hint="After an upgrade, save a Snapshot and run chaos anew.",
        )
    named = [one.snapshot.source for one in evidence.seen]
    named += [f"context {run.verdict.target.get('context', '')}" for run in evidence.runs]
    sources = tuple(dict.fromkeys(filter(None, named)))
    return Cluster(sources=sources, version=next(iter(versions), ""))
