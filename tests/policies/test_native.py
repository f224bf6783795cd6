"""The rules as Kubernetes' own ValidatingAdmissionPolicy; tests/e2e has an API server use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from drainproof.errors import UserError
from drainproof.policies import folder, native, write
from drainproof.policies.command import policies

if TYPE_CHECKING:
    from drainproof.judge.registry import Check

CARRIED = [check for check in write.enforced() if not native.reason(check)]
LEFT = [check for check in write.enforced() if native.reason(check)]


def said(*arguments: str) -> str:
    return CliRunner().invoke(policies, arguments, catch_exceptions=False).stdout


def exported(*arguments: str) -> list[dict[str, Any]]:
    text = said("export", "--as", "ValidatingAdmissionPolicy", *arguments)
    return list(yaml.safe_load_all(text))


def test_each_policy_has_its_binding() -> None:
    found = [(item["kind"], item["metadata"]["name"]) for item in exported()]
    assert found == [
        (kind, f"drainproof-{check.slug}")
        for check in CARRIED
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    ]


def test_export_is_stable() -> None:
    assert exported() == exported()


def test_few_rules_are_more_than_this_type_can_carry() -> None:
    assert {check.slug for check in LEFT} == {"quantization", "no-inline-secrets"}


@pytest.mark.parametrize("check", LEFT, ids=lambda check: check.slug)
def test_why_a_rule_is_more_than_this_type_can_carry_is_told(check: Check) -> None:
    assert f"no ValidatingAdmissionPolicy: {native.reason(check)}" in said("list")
    with pytest.raises(UserError, match=rf"{check.slug} can have no .*: its rule needs flatten"):
        exported(check.slug)


@pytest.mark.parametrize("check", CARRIED, ids=lambda check: check.slug)
def test_it_judges_by_the_same_expressions_as_kyvernos_own(check: Check) -> None:
    kyvernos = yaml.safe_load(write.policy(check, folder.SETTINGS))["spec"]
    own = next(yaml.safe_load_all(native.policy(check, folder.SETTINGS)))["spec"]
    parts = ("matchConstraints", "matchConditions", "variables", "validations")
    assert [own[part] for part in parts] == [kyvernos[part] for part in parts]


def test_the_binding_has_the_action_and_the_namespaces() -> None:
    options = ("--action", "Deny", "--namespace-selector", "team=llm")
    policy, binding = exported("grace-period", *options)
    assert policy["spec"]["failurePolicy"] == "Ignore"
    assert "namespaceSelector" not in policy["spec"]["matchConstraints"]
    assert binding["spec"] == {
        "policyName": "drainproof-grace-period",
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"team": "llm"}}},
    }


def test_a_check_that_warns_only_warns() -> None:
    (_, binding) = exported("probe-timeouts", "--action", "Deny")
    assert binding["spec"]["validationActions"] == ["Warn"]


def test_it_says_what_each_of_its_variables_is_and_which_kubernetes_takes_it() -> None:
    text = said("export", "--as", "ValidatingAdmissionPolicy", "prestop-delay")
    assert text.splitlines()[1].startswith("# For Kubernetes 1.33 and newer")
    lines = text.splitlines()
    assert lines[lines.index("    - name: hooks") - 1].startswith("    # ")
