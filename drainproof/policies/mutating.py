"""Writes what adds a field that is missing as Kyverno's MutatingPolicy: for those who choose to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.policies import write

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.registry import Check
    from drainproof.policies.write import Settings

KIND = "MutatingPolicy"
PREFIX = f"{write.PREFIX}mend-"
"""What the names of these policies begin with; the check's slug follows."""
FOLDER = "mutating"
"""The folder of their rules, beside those of the checks."""
_PATCH = "variables.mends.map(m, JSONPatch{op: 'add', path: string(m.path), value: m.value})"


def folder(check: Check) -> Path:
    """Return the folder with what adds what a check misses."""
    return write.folder() / FOLDER / check.slug


def mends(check: Check) -> bool:
    """Tell whether there is a policy that adds what a check misses."""
    return (folder(check) / write.RULE).is_file()


def policy(check: Check, settings: Settings) -> str:
    """Return the policy that adds what a check misses, as commented YAML.

    Equal input gives equal text.

    Raises:
        UserError: There is none, or its rule names something that there is not.
    """
    if not mends(check):
        raise UserError(
            f"{check.slug} has no {KIND}: what it wants is not safe to guess",
            "See: drainproof policies list",
        )
    sources = (write.rules(check)[0], folder(check) / write.RULE)
    head = write.head(KIND, check, settings)
    head["metadata"]["name"] = PREFIX + check.slug
    spec: dict[str, Any] = {
        "matchConstraints": {**write.namespaces(settings), **write.resources()},
        "matchConditions": [
            *write.conditions(),
            {
                "name": "its-pods-can-change",
                "expression": "request.operation == 'CREATE' || !(object.kind in ['Pod', 'Job'])",
            },
        ],
        "variables": write.variables(check, settings, sources, "mends"),
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": _PATCH}}],
    }
    return (
        f"# {check.id} {check.slug}: adds what is missing, and changes nothing that is there.\n"
        f"# Written by `drainproof policies export` from {FOLDER}/{check.slug}/{write.RULE}.\n"
        + write.explained(write.dumped({**head, "spec": spec}), sources)
    )
