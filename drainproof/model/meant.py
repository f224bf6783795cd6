"""Finds the one workload that a user means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.model.snapshot import Snapshot
    from drainproof.model.workload import Workload


def meant(
    snapshot: Snapshot,
    among: Sequence[Workload],
    wanted: str,
    namespace: str,
    *,
    else_: str,
) -> Workload:
    """Return the one workload that is meant.

    Args:
        snapshot: What was read.
        among: Those of its workloads that may be meant.
        wanted: ``deployment/NAME``, or ``NAME``; empty if there is only one.
        namespace: Its namespace; empty if that is of no matter.
        else_: What can be done if there is none at all.

    Raises:
        UserError: There is none, or more than one.
    """
    kind, _, name = wanted.rpartition("/")
    found = [
        one
        for one in among
        if (not name or one.name == name)
        and (not kind or one.kind.lower() == kind.lower())
        and (not namespace or one.namespace == namespace)
    ]
    if len(found) == 1:
        return found[0]
    several = found or among
    listed = ", ".join(sorted(f"{one.ref} in {one.file}".removesuffix(" in ") for one in several))
    if found:
        raise UserError(
            f"expected one workload, found {len(found)}: {listed}",
            hint="Name one: --workload deployment/NAME -n NAMESPACE. Of those with the same name, "
            "give the PATH of one.",
        )
    asked = f" {wanted}" * bool(wanted) + f" in {namespace}" * bool(namespace)
    if among:
        raise UserError(f"expected the workload{asked}, found {listed}")
    problem = f"; {snapshot.problems[0]}" if snapshot.problems else ""
    raise UserError(f"expected a workload that runs an LLM engine, found none{problem}", hint=else_)
