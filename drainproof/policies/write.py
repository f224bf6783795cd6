"""Writes a check's Kyverno policy from its rule, with a profile's numbers filled in."""

from __future__ import annotations

import difflib
import re
import textwrap
from typing import TYPE_CHECKING, Any

import yaml
from msgspec import Struct

from drainproof.content import content
from drainproof.errors import UserError
from drainproof.judge import registry
from drainproof.judge.verdict import Severity
from drainproof.policies.facts import RESOURCES, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from drainproof.judge.profiles import Profile
    from drainproof.judge.registry import Check

ACTIONS = ("Audit", "Warn", "Deny")
PREFIX = "drainproof-"
"""What the names of the policies begin with; the check's slug follows."""
MODEL = "model.yaml"
"""What the rules share."""
RULE = "rule.yaml"
EXAMPLES = "examples"
"""The folder of policies that are no check's twin, to start from."""
_NAMED = re.compile(r"\bvariables\.(\w+)")
_COMMENTED = re.compile(r"((?:^#.*\n)+)(\w+):", re.MULTILINE)
_WIDTH = 100
_AMBIGUOUS = re.compile(r"[yYnN]|[-+]?\.?[0-9][0-9A-Za-z_.+-]*")
"""What may be no text in YAML 1.1 as Go reads it."""


class Settings(Struct, frozen=True, kw_only=True):
    """What is chosen when policies are written."""

    profile: Profile
    action: str = "Audit"
    """``Audit`` reports, ``Warn`` tells whoever applies it, ``Deny`` keeps out; a check that warns
    has ``Warn`` in the place of ``Deny``."""
    namespaces: Mapping[str, str] = {}
    """Labels of the namespaces that the policies hold in; all by default."""


def folder() -> Path:
    """Return the folder of the rules."""
    return content("policies")


def enforced() -> tuple[Check, ...]:
    """Return the checks that have a policy."""
    checks = registry.load(kind="manifest").checks
    return tuple(check for check in checks if has_rule(check))


def has_rule(check: Check) -> bool:
    """Tell whether a check has a policy."""
    return (folder() / check.slug / RULE).is_file()


def warns(check: Check) -> bool:
    """Tell whether a check warns, so that its policy never keeps anything out."""
    return check.severity is Severity.WARNING


def policies(
    checks: Iterable[Check],
    settings: Settings,
    one: Callable[[Check, Settings], str] | None = None,
) -> str:
    """Return the policies of some checks as one YAML stream.

    Args:
        checks: Whose policies.
        settings: What is chosen.
        one: Writes the policy of one check; :func:`policy` if it is not given.
    """
    return "---\n".join((one or policy)(check, settings) for check in checks)


def policy(check: Check, settings: Settings) -> str:
    """Return the policy of a check as commented YAML; equal input gives equal text.

    Raises:
        UserError: The check has no rule, or its rule names something that there is not.
    """
    sources = rules(check)
    spec: dict[str, Any] = {
        "validationActions": [action(check, settings)],
        "matchConstraints": {**namespaces(settings), **resources()},
        **judged(check, settings, sources),
    }
    what = "findings are warnings" if warns(check) else "errors are errors"
    return (
        f"# {check.id} {check.slug}, as `drainproof audit` judges it: its {what} here.\n"
        f"# Written by `drainproof policies export` from {RULE}.\n"
        + explained(dumped({**head("ValidatingPolicy", check, settings), "spec": spec}), sources)
    )


def rules(check: Check) -> tuple[Path, Path]:
    """Return the files with what a check's rule rests on, and with the rule itself.

    Raises:
        UserError: It has none.
    """
    if not has_rule(check):
        raise UserError(f"{check.slug} has no policy", "See: drainproof policies list")
    return folder() / MODEL, folder() / check.slug / RULE


def head(kind: str, check: Check, settings: Settings) -> dict[str, Any]:
    """Return what one of Kyverno's policies begins with."""
    return {
        "apiVersion": "policies.kyverno.io/v1",
        "kind": kind,
        "metadata": {
            "name": PREFIX + check.slug,
            "annotations": {
                "policies.kyverno.io/title": check.title.rstrip("."),
                "policies.kyverno.io/category": "LLM serving",
                "policies.kyverno.io/severity": "medium" if warns(check) else "high",
                "policies.kyverno.io/description": check.fix,
                **origin(check, settings),
            },
        },
    }


def origin(check: Check, settings: Settings) -> dict[str, str]:
    """Return the annotations that say which check a policy is, and whose numbers it holds to."""
    return {"drainproof.dev/check": check.id, "drainproof.dev/profile": settings.profile.name}


def action(check: Check, settings: Settings) -> str:
    """Return what a check's policy does with what fails."""
    return "Warn" if settings.action == "Deny" and warns(check) else settings.action


def namespaces(settings: Settings) -> dict[str, Any]:
    """Return the selector of the namespaces that are chosen; empty if it is all of them."""
    if not settings.namespaces:
        return {}
    return {"namespaceSelector": {"matchLabels": dict(settings.namespaces)}}


def resources() -> dict[str, Any]:
    """Return the rules that match all kinds with pods that policies know."""
    return {
        "resourceRules": [
            {
                "apiGroups": [group],
                "apiVersions": ["*"],
                "operations": ["CREATE", "UPDATE"],
                "resources": sorted(
                    name for (other, _), name in RESOURCES.items() if other == group
                ),
            }
            for group in sorted({group for group, _ in RESOURCES})
        ]
    }


def conditions() -> list[dict[str, str]]:
    """Return what leaves out objects that nobody wrote."""
    return [
        {
            # its owner is what a person wrote, and what must be mended
            "name": "no-controller-made-it",
            "expression": "!object.metadata.?ownerReferences.orValue([])"
            ".exists(owner, owner.?controller.orValue(false))",
        }
    ]


def variables(
    check: Check, settings: Settings, sources: Sequence[Path], root: str
) -> list[dict[str, str]]:
    """Return the variable of this name and those that it rests on, with all numbers filled in.

    Raises:
        UserError: A file can't be read, or names something that there is not.
    """
    known = {name: text for source in sources for name, text in _read(source).items()}
    needed = _needed(known, root, sources[-1])
    return [
        {"name": name, "expression": fill(text, settings.profile, check)}
        for name, text in needed.items()
    ]


def judged(check: Check, settings: Settings, sources: Sequence[Path]) -> dict[str, Any]:
    """Return what judges an object, which is the same in Kyverno's type and in Kubernetes' own."""
    return {
        "matchConditions": conditions(),
        "variables": variables(check, settings, sources, "findings"),
        "validations": [
            {
                "expression": "variables.findings.all(said, said == '')",
                "message": f"{check.title} {check.fix}",
                "messageExpression": "variables.findings.filter(said, said != '').join('; ')",
            }
        ],
    }


def explained(written: str, sources: Iterable[Path]) -> str:
    """Return a policy with what the rules' sources say above each variable."""
    for source in sources:
        for said, name in _COMMENTED.findall(source.read_text(encoding="utf-8")):
            entry = f"    - name: {name}\n"
            written = written.replace(entry, textwrap.indent(said, "    ") + entry)
    return written


def dumped(obj: Mapping[str, Any]) -> str:
    """Return an object as YAML, its keys in the order in which they are."""
    return yaml.dump(obj, Dumper=_Dumper, sort_keys=False, width=_WIDTH, allow_unicode=True)


def _read(file: Path) -> dict[str, str]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"{file}: can't be read: {said}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file}: expected a mapping of names to CEL expressions")
    return {str(name): str(text).strip() for name, text in found.items()}


def _needed(variables: Mapping[str, str], root: str, file: Path) -> dict[str, str]:
    """Return a variable and what it rests on, in the order in which they are written."""
    waiting, wanted = [root], set[str]()
    while waiting:
        name = waiting.pop()
        if name not in variables:
            near = difflib.get_close_matches(name, variables, 1)
            hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(variables)}"
            raise UserError(f"{file}: expected the variable {name}, found none of that name", hint)
        if name not in wanted:
            wanted.add(name)
            waiting += _NAMED.findall(variables[name])
    return {name: text for name, text in variables.items() if name in wanted}


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, and lists inside mappings indented."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - PyYAML's signature
        super().increase_indent(flow, indentless=False)


def _reads_otherwise(text: str) -> bool:
    """Tell whether Kubernetes takes a text for something else than PyYAML does: ``y``, ``1e3``."""
    from drainproof.collect import yaml_text  # noqa: PLC0415 - for what looks like that only

    return _AMBIGUOUS.fullmatch(text) is not None and yaml_text.parse(text, is_plain=False) != text


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _reads_otherwise(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
