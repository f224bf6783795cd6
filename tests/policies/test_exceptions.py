"""Waivers become Kyverno's PolicyExceptions, and those become the same waivers again."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drainproof.errors import UserError
from drainproof.judge import registry, waivers
from drainproof.model.finding import Located
from drainproof.policies import exceptions, folder, kyverno, write
from drainproof.policies.command import policies

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.waivers import Waiver

CHECKS = registry.load()
WHOLE: dict[str, Any] = {
    "check": "grace-period",
    "subject": "Deployment/inference/batch-*",
    "reason": "Answers of at most 100 tokens",
    "owner": "team-batch",
    "expires": "2027-01-31",
}
NAMES = st.text("abz-*?.", min_size=1, max_size=8)
SUBJECTS = st.tuples(st.sampled_from(["Deployment", "*", "Job"]), NAMES, NAMES).map("/".join)
TEXTS = st.text(max_size=40).map(lambda said: " ".join(said.split())).filter(bool)
ENTRIES = st.fixed_dictionaries(
    {
        "check": st.sampled_from([check.slug for check in write.enforced()]),
        "subject": SUBJECTS,
        "reason": TEXTS,
        "owner": TEXTS,
        "expires": st.dates(),
    }
)


def file_of(folder: Path, *entries: dict[str, Any]) -> Path:
    file = folder / "waivers.yaml"
    quoted = yaml.dump(list(entries), default_style="'", sort_keys=False)
    file.write_text(f"waivers:\n{quoted}")
    return file


def waivers_of(folder: Path, *entries: dict[str, Any]) -> tuple[Waiver, ...]:
    return waivers.read(file_of(folder, *entries))


def exceptions_of(folder: Path, *entries: dict[str, Any]) -> list[dict[str, Any]]:
    text, left = exceptions.exceptions(waivers_of(folder, *entries), CHECKS, "kyverno")
    assert not left
    return list(yaml.safe_load_all(text))


def back(folder: Path, *objects: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    file = folder / "exceptions.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return exceptions.written(file, CHECKS)


def told(waiver: Waiver) -> tuple[str, str, str, str, date]:
    return waiver.check, waiver.subject, waiver.reason, waiver.owner, waiver.expires


def said(*arguments: str) -> str:
    return CliRunner().invoke(policies, arguments, catch_exceptions=False).stdout


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(entries=st.lists(ENTRIES, min_size=1, max_size=4))
def test_nothing_is_lost_on_the_way_there_and_back(
    tmp_path: Path, entries: list[dict[str, Any]]
) -> None:
    before = waivers_of(tmp_path, *entries)
    text, _ = exceptions.exceptions(before, CHECKS, "kyverno")
    (tmp_path / "exceptions.yaml").write_text(text, encoding="utf-8")
    again, left = exceptions.written(tmp_path / "exceptions.yaml", CHECKS)
    (tmp_path / "again.yaml").write_text(again, encoding="utf-8")
    assert [*map(told, waivers.read(tmp_path / "again.yaml"))] == [*map(told, before)]
    assert left == ()
    names = [item["metadata"]["name"] for item in yaml.safe_load_all(text)]
    assert len(set(names)) == len(names)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(subject=SUBJECTS, name=st.text("abz-.", min_size=1, max_size=6))
def test_an_exception_is_for_what_its_waiver_is_for(
    tmp_path: Path, subject: str, name: str
) -> None:
    (waiver,) = waivers_of(tmp_path, {**WHOLE, "subject": subject})
    (exception,) = exceptions_of(tmp_path, {**WHOLE, "subject": subject})
    condition, _ = exception["spec"]["matchConditions"]
    pattern = re.fullmatch(r'.*\.matches\("(.*)"\)', condition["expression"])
    assert pattern is not None
    obj = Located(kind="Deployment", namespace="ab", name=name, object={})
    whole = f"Deployment/ab/{name}".lower()
    found = re.search(pattern[1].replace("\\\\", "\\"), whole)
    assert bool(found) == waiver.covers(obj)


def test_an_exception_ends_with_the_last_day_of_its_waiver(tmp_path: Path) -> None:
    (exception,) = exceptions_of(tmp_path, WHOLE)
    assert exception["spec"]["expiresAt"] == "2027-01-31T23:59:59Z"
    assert exception["spec"]["policyRefs"] == [
        {"name": "drainproof-grace-period", "kind": "ValidatingPolicy"}
    ]


def test_the_command_line_writes_one_from_the_other(tmp_path: Path) -> None:
    made = tmp_path / "exceptions.yaml"
    arguments = ("--namespace", "policies", "--output", str(made))
    said("exceptions", str(file_of(tmp_path, WHOLE)), *arguments)
    assert yaml.safe_load(made.read_text())["metadata"]["namespace"] == "policies"
    again = yaml.safe_load(said("waivers", str(made)))
    assert again == {"waivers": [{**WHOLE, "expires": date(2027, 1, 31)}]}


def test_what_a_cluster_has_is_read_as_kubectl_prints_it(tmp_path: Path) -> None:
    (exception,) = exceptions_of(tmp_path, WHOLE)
    exception["spec"]["reportResult"] = "skip"
    printed = {"apiVersion": "v1", "kind": "List", "items": [exception, exception]}
    text, _ = back(tmp_path, printed)
    assert [entry["owner"] for entry in yaml.safe_load(text)["waivers"]] == ["team-batch"] * 2


def test_a_waiver_of_a_check_without_a_policy_needs_no_exception(tmp_path: Path) -> None:
    file = file_of(tmp_path, WHOLE, {**WHOLE, "check": "has-scaler"})
    ran = CliRunner().invoke(policies, ["exceptions", str(file)])
    assert len(list(yaml.safe_load_all(ran.stdout))) == 1
    assert ran.stderr == "has-scaler: no policy, so no exception is needed\n"


def test_exceptions_from_other_policies_are_left_out_and_named(tmp_path: Path) -> None:
    (ours,) = exceptions_of(tmp_path, WHOLE)
    other = {**ours, "metadata": {"name": "theirs"}}
    other["spec"] = {"policyRefs": [{"name": "theirs", "kind": "ValidatingPolicy"}]}
    text, left = back(tmp_path, ours, other)
    assert len(yaml.safe_load(text)["waivers"]) == 1
    assert left == ("theirs",)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"check": "grace-perio"}, r"waivers.yaml:2: there is no check 'grace-perio'"),
        (
            {"subject": "LeaderWorkerSet/a/b (leader)"},
            r"waivers.yaml:3: expected Kind/namespace/name, .*found 'LeaderWorkerSet/a/b \(leader",
        ),
        ({"owner": ""}, r"waivers.yaml:5: waivers\[0\].owner: expected who answers for it"),
    ],
)
def test_a_waiver_that_is_wrong_is_an_error_that_names_its_line(
    tmp_path: Path, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        said("exceptions", str(file_of(tmp_path, {**WHOLE, **wrong})))


def test_a_file_with_nothing_to_write_an_exception_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a waiver of a check with a policy, found none"):
        said("exceptions", str(file_of(tmp_path, {**WHOLE, "check": "has-scaler"})))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"properties": {}}, r"exceptions.yaml:1: spec\.properties\.subject: expected Kind/"),
        ({"properties": None}, r"spec\.properties\.subject: expected"),
        ({"expiresAt": None}, r"spec\.expiresAt: expected the end of a day in UTC.*found nothing"),
        ({"expiresAt": "2027-01-31T12:00:00Z"}, r"spec\.expiresAt: .*found 2027-01-31T12"),
        ({"matchConditions": []}, r"spec\.matchConditions: expected what stands for .*batch-\*"),
        ({"images": ["*"]}, r"spec\.images: expected nothing"),
    ],
)
def test_an_exception_that_is_no_waiver_is_an_error_that_names_the_field(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    (exception,) = exceptions_of(tmp_path, WHOLE)
    exception["spec"] |= wrong
    with pytest.raises(UserError, match=message):
        back(tmp_path, exception)


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"apiVersion": "v1", "kind": "Pod"}, "expected a PolicyException of .*found v1 Pod"),
        ({"apiVersion": "kyverno.io/v2", "kind": "PolicyException"}, r"found kyverno\.io/v2"),
        (
            {"apiVersion": "policies.kyverno.io/v1", "kind": "PolicyException", "metadata": {}},
            "expected metadata and spec",
        ),
    ],
)
def test_what_is_no_exception_is_an_error(
    tmp_path: Path, obj: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        back(tmp_path, obj)


def test_a_file_that_is_not_there_or_not_yaml_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [\n")
    for command in ("exceptions", "waivers"):
        for file in (tmp_path / "none.yaml", broken):
            with pytest.raises(UserError, match=re.escape(str(file))):
                said(command, str(file))


def test_kyverno_lets_in_what_is_waived_until_the_waiver_ends(
    programs: Path, tmp_path: Path
) -> None:
    """By the real command line: a bad object, an exception, and one that has expired."""
    check = registry.load(kind="manifest").get("grace-period")
    bad = tmp_path / "bad.yaml"
    (obj, *_) = yaml.safe_load_all((write.folder() / check.slug / "bad.yaml").read_text())
    bad.write_text(yaml.safe_dump(obj))
    policy = tmp_path / "policy.yaml"
    policy.write_text(write.policy(check, folder.SETTINGS))
    subject = f"Deployment/{obj['metadata']['namespace']}/{obj['metadata']['name'][:-1]}*"
    results = {}
    for day in ("2999-01-31", "2001-01-31"):
        file = tmp_path / f"{day}.yaml"
        entry = {**WHOLE, "subject": subject, "expires": day}
        text, _ = exceptions.exceptions(waivers_of(tmp_path, entry), CHECKS, "kyverno")
        file.write_text(text)
        ran = kyverno.run(
            programs / "kubectl-kyverno",
            *("apply", policy, "--resource", bad, "--exception", file, "--remove-color"),
        )
        results[day] = ran.stdout.strip().splitlines()[-1]
    assert results == {
        "2999-01-31": "pass: 0, fail: 0, warn: 0, error: 0, skip: 1",
        "2001-01-31": "pass: 0, fail: 1, warn: 0, error: 0, skip: 0",
    }
