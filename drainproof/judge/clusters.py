"""Joins the audits of several clusters into one, in which each subject names its cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from drainproof.judge.audit import AuditResult
from drainproof.judge.waivers import waivers_on
from drainproof.model.snapshot import Problem, Snapshot
from drainproof.model.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.errors import UserError
    from drainproof.model.finding import Finding, Located


def named(result: AuditResult, cluster: str) -> AuditResult:
    """Return a cluster's audit in its name, without the objects that reports don't show.

    Args:
        result: The audit, before waivers and a baseline.
        cluster: The context.
    """
    known: dict[int, Located] = {}

    def of(who: Located) -> Located:
        if id(who) not in known:
            known[id(who)] = replace(who, cluster=cluster)
        return known[id(who)]

    def at(finding: Finding) -> Finding:
        return replace(finding, where=of(finding.where))

    snapshot = result.snapshot
    short = snapshot.of_cluster(
        cluster,
        [one for one in map(of, snapshot.workloads) if isinstance(one, Workload)],
        [item for item in snapshot.items if any(waivers_on(item.object))],
    )
    return replace(
        result,
        judged=tuple((of(subject), checks) for subject, checks in result.judged),
        notable=tuple(
            replace(
                outcome,
                subject=of(outcome.subject),
                findings=tuple(map(at, outcome.findings)),
                assumptions=tuple(map(at, outcome.assumptions)),
            )
            for outcome in result.notable
        ),
        snapshot=short,
    )


def unread(error: UserError, cluster: str, profile: str) -> AuditResult:
    """Return what stands for a cluster that can't be read: a problem, and nothing judged."""
    problem = Problem(error.message, hint=error.hint)
    snapshot = Snapshot(partial=False, problems=[problem]).of_cluster(cluster, (), ())
    return AuditResult((), (), profile, snapshot)


def together(results: Sequence[AuditResult]) -> AuditResult:
    """Return the audits of several clusters as one."""
    not_run = {item.slug: item for result in results for item in result.not_run}
    return AuditResult(
        tuple(one for result in results for one in result.judged),
        tuple(one for result in results for one in result.notable),
        results[0].profile,
        Snapshot.together([result.snapshot for result in results]),
        not_run=tuple(not_run.values()),
    )
