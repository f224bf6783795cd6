from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner

from drainproof.errors import UserError
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES
from drainproof.policies import write
from drainproof.policies.command import policies
from drainproof.policies.facts import fill

if TYPE_CHECKING:
    from pathlib import Path

ENFORCED = [check.slug for check in write.enforced()]


def said(*arguments: str) -> str:
    return CliRunner().invoke(policies, arguments, catch_exceptions=False).stdout


def exported(*arguments: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(said("export", *arguments)))


def test_list_names_every_check_with_its_policy_or_why_there_is_none() -> None:
    lines = said("list").partition("\n\n")[0].splitlines()
    assert [line.split()[1] for line in lines] == [
        check.slug for check in registry.load(kind="manifest").checks
    ]
    assert any(line.endswith(f"  none: {reason()}") for line in lines)


def reason() -> str:
    return registry.load(kind="manifest").get("has-scaler").admission


def test_a_reason_is_declared_where_a_check_joins_other_objects() -> None:
    assert reason() == "it joins autoscalers, which may be written after the workload"


def test_every_check_has_a_policy_or_says_why_there_is_none() -> None:
    checks = registry.load(kind="manifest").checks
    assert [item.slug for item in checks if item.slug not in ENFORCED and not item.admission] == []


def test_a_check_that_warns_has_a_policy_that_only_warns() -> None:
    actions = {
        policy["metadata"]["name"].removeprefix(write.PREFIX): policy["spec"]["validationActions"]
        for policy in exported("--action", "Deny")
    }
    assert actions["probe-timeouts"] == ["Warn"]
    assert actions["grace-period"] == ["Deny"]
    assert all(actions[item.slug] == ["Warn"] for item in write.enforced() if write.warns(item))


def test_whoever_applies_what_fails_can_be_warned_only() -> None:
    actions = [policy["spec"]["validationActions"] for policy in exported("--action", "Warn")]
    assert actions == [["Warn"]] * len(ENFORCED)


def test_export_writes_all_policies_and_is_stable() -> None:
    assert [item["metadata"]["name"] for item in exported()] == [
        f"drainproof-{slug}" for slug in ENFORCED
    ]
    assert said("export") == said("export")


def test_export_fills_in_the_profile_the_action_and_the_namespaces() -> None:
    options = ("--profile", "dev", "--action", "Deny", "--namespace-selector", "team=llm")
    (policy,) = exported("grace-period", *options)
    assert policy["spec"]["validationActions"] == ["Deny"]
    selector = policy["spec"]["matchConstraints"]["namespaceSelector"]
    assert selector == {"matchLabels": {"team": "llm"}}
    findings = policy["spec"]["variables"][-1]["expression"]
    assert "grace < 60" in findings


def test_an_exported_policy_says_what_each_of_its_variables_is() -> None:
    lines = said("export", "prestop-delay").splitlines()
    hooks = lines.index("    - name: hooks")
    assert lines[hooks - 1].startswith("    # ")


def test_export_writes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "policies.yaml"
    said("export", "DP101", "--output", str(file))
    assert yaml.safe_load(file.read_text())["metadata"]["name"] == "drainproof-grace-period"


def test_exporting_a_check_without_a_policy_says_why_there_is_none() -> None:
    with pytest.raises(UserError, match="has-scaler has no policy: it joins autoscalers"):
        said("export", "has-scaler")


def test_where_no_policy_is_there_export_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path}: no policy is there"):
        said("export")


def test_a_label_without_a_value_is_an_error() -> None:
    with pytest.raises(UserError, match="expected --namespace-selector LABEL=VALUE, found 'team'"):
        said("export", "--namespace-selector", "team")


def test_a_file_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{tmp_path}: can't be written"):
        said("export", "--output", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("findings: [", r"grace-period/rule\.yaml: not YAML: .*line 1"),
        ("- findings", r"grace-period/rule\.yaml: expected a mapping of names to CEL"),
        ("finding: '[]'", r"grace-period/rule\.yaml: expected the variable findings, found none"),
        ("findings: variables.hoks", r"rule\.yaml: expected the variable hoks(.|\n)*mean hooks\?"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error_that_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / "grace-period").mkdir()
    (tmp_path / "grace-period" / write.RULE).write_text(text)
    (tmp_path / write.MODEL).write_text((write.folder() / write.MODEL).read_text())
    monkeypatch.setattr(write, "folder", lambda: tmp_path)
    with pytest.raises(UserError, match=message):
        said("export", "grace-period")


def test_a_rule_that_names_what_there_is_not_is_an_error() -> None:
    check = write.enforced()[0]
    with pytest.raises(UserError, match=r"grace-period: .* found profile\.nothing"):
        fill("profile.nothing > 1", PROFILES["production"], check)
