"""Writes a check's rule as Kubernetes' own ValidatingAdmissionPolicy, which needs no Kyverno."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from drainproof.errors import UserError
from drainproof.judge.profiles import PROFILES
from drainproof.policies import write

if TYPE_CHECKING:
    from drainproof.judge.registry import Check
    from drainproof.policies.write import Settings

KIND = "ValidatingAdmissionPolicy"
SINCE = "1.33"
"""The first Kubernetes that takes these expressions: comprehensions with two variables."""
BEYOND: dict[str, str] = {
    name: f"its rule needs {name}(), which Kubernetes before 1.35 does not have in CEL"
    for name in ("flatten", "distinct")
}
"""Functions of CEL that a rule may call and this type does not have, with what is said of them."""

_ANY = write.Settings(profile=PROFILES["production"])
_CALLS = re.compile(r"\.(\w+)\(")


def reason(check: Check) -> str:
    """Return why this type can't carry a check's rule; empty if it can."""
    called = set(_CALLS.findall(write.policy(check, _ANY)))
    return next((why for name, why in BEYOND.items() if name in called), "")


def policy(check: Check, settings: Settings) -> str:
    """Return a check's policy and its binding as commented YAML; equal input gives equal text.

    Raises:
        UserError: The check has no rule, or one that this type can't carry.
    """
    why = reason(check)
    if why:
        raise UserError(f"{check.slug} can have no {KIND}: {why}", "See: drainproof policies list")
    sources = write.rules(check)
    name = write.PREFIX + check.slug
    known = {"name": name, "annotations": write.origin(check, settings)}
    spec: dict[str, Any] = {
        # what costs the API server too much to judge can't be told, and is let in
        "failurePolicy": "Ignore",
        "matchConstraints": write.resources(),
        **write.judged(check, settings, sources),
    }
    binding: dict[str, Any] = {
        "policyName": name,
        "validationActions": [write.action(check, settings)],
    }
    if settings.namespaces:
        binding["matchResources"] = write.namespaces(settings)
    what = "findings are warnings" if write.warns(check) else "errors are errors"
    return (
        f"# {check.id} {check.slug}, as `drainproof audit` judges it: its {what} here.\n"
        f"# For Kubernetes {SINCE} and newer, by itself. "
        f"Written by `drainproof policies export` from {write.RULE}.\n"
        + write.explained(write.dumped(_object(KIND, known, spec)), sources)
        + "---\n"
        + write.dumped(_object(f"{KIND}Binding", known, binding))
    )


def _object(kind: str, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    }
