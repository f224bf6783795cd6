from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.errors import ExitCode, UserError
from drainproof.judge import waivers
from drainproof.judge.config import Audit, Config
from drainproof.judge.registry import load
from drainproof.judge.verdict import Verdict
from drainproof.model.snapshot import Snapshot
from drainproof.report.rows import rows
from tests.manifests import Raw, deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

CHECKS = load(kind="manifest")
TODAY = date(2026, 11, 24)
WHOLE = {
    "check": "prestop-delay",
    "subject": "Deployment/inference/llama",
    "reason": "short answers",
    "owner": "team-batch",
    "expires": "2027-01-31",
}
BAD = deployment(lifecycle=None)


def written(folder: Path, *entries: Raw) -> tuple[waivers.Waiver, ...]:
    file = folder / "w.yaml"
    file.write_text(yaml.safe_dump({"waivers": list(entries)}))
    return waivers.read(file)


def audited(
    listed: tuple[waivers.Waiver, ...], *objects: Raw, checks: tuple[str, ...] = ("prestop-delay",)
) -> AuditResult:
    snapshot = Snapshot.of(objects or [BAD])
    audit = Audit(snapshot, Config(waivers=listed), today=TODAY)
    return audit.run([CHECKS.get(slug) for slug in checks])


def annotated(value: object, check: str = "prestop-delay") -> Raw:
    obj = deployment(lifecycle=None)
    obj["metadata"]["annotations"] = {f"waive.drainproof.dev/{check}": value}
    return obj


def messages(result: AuditResult) -> list[str]:
    return [item.message for _, item in result.findings if item.verdict is Verdict.FAIL]


def test_a_waived_finding_is_kept_and_does_not_fail(tmp_path: Path) -> None:
    result = audited(written(tmp_path, WHOLE))
    (outcome,) = result.outcomes
    assert (outcome.verdict, result.exit_code) == (Verdict.WAIVED, ExitCode.CLEAN)
    assert [item.verdict for item in outcome.findings] == [Verdict.WAIVED]
    assert outcome.waiver is not None
    assert outcome.waiver.said == "short answers (team-batch, until 2027-01-31)"


def test_an_inconclusive_check_can_be_waived_too(tmp_path: Path) -> None:
    obj = deployment(lifecycle={"preStop": {"exec": {"command": ["/drain.sh"]}}})
    assert audited((), obj).exit_code is ExitCode.INCONCLUSIVE
    assert audited(written(tmp_path, WHOLE), obj).exit_code is ExitCode.CLEAN


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "Deployment/inference/*"},
        {"subject": "*/llama"},
        {"subject": "deployment/*/ll?ma"},
        {"check": "DP104"},
        {"expires": date(2026, 11, 24)},
    ],
    ids=str,
)
def test_a_waiver_may_name_many_subjects_the_id_and_today(changes: Raw, tmp_path: Path) -> None:
    assert audited(written(tmp_path, {**WHOLE, **changes})).exit_code is ExitCode.CLEAN


def test_an_expired_waiver_fails_beside_the_finding_that_it_was_for(tmp_path: Path) -> None:
    result = audited(written(tmp_path, {**WHOLE, "expires": "2026-11-23"}))
    assert messages(result)[1] == (
        "the waiver of prestop-delay on Deployment/inference/llama expired on 2026-11-23, "
        "so 1 finding of it counts again; its owner is team-batch"
    )
    assert [outcome.check.slug for outcome in result.outcomes] == ["prestop-delay", "waivers"]
    assert result.exit_code is ExitCode.FINDINGS


@pytest.mark.parametrize("changes", [{"subject": "Deployment/other/*"}, {"check": "grace-period"}])
def test_a_waiver_that_waives_nothing_fails(changes: Raw, tmp_path: Path) -> None:
    listed = written(tmp_path, {**WHOLE, **changes})
    result = audited(listed, deployment(), checks=("prestop-delay", "grace-period"))
    (said,) = messages(result)
    assert said.endswith("finds nothing there")
    assert result.exit_code is ExitCode.FINDINGS


def test_waivers_gone_bad_can_be_ignored_where_the_input_is_a_part(tmp_path: Path) -> None:
    listed = written(tmp_path, {**WHOLE, "subject": "Deployment/other/*"})
    config = Config(waivers=listed, ignore=("waivers",))
    config.refuse_unknown()
    result = Audit(Snapshot.of([deployment()]), config, today=TODAY).run(
        [CHECKS.get("prestop-delay")]
    )
    assert messages(result) == []


def test_where_some_manifests_are_audited_waivers_may_be_for_others_but_not_expired(
    tmp_path: Path,
) -> None:
    listed = written(
        tmp_path,
        {**WHOLE, "subject": "Deployment/other/*"},
        {**WHOLE, "subject": "Deployment/other/*", "expires": "2026-11-23"},
        {**WHOLE, "expires": "2026-11-23"},
    )
    audit = Audit(Snapshot.of([BAD]), Config(waivers=listed, partial=True), today=TODAY)
    _, expired = messages(audit.run([CHECKS.get("prestop-delay")]))
    assert "expired on 2026-11-23, so 1 finding of it counts again" in expired


def test_a_waiver_of_a_check_that_does_not_run_is_left_alone(tmp_path: Path) -> None:
    listed = written(tmp_path, {**WHOLE, "check": "has-scaler"})
    assert messages(audited(listed, deployment())) == []


def test_a_waiver_gone_bad_is_at_its_own_line(tmp_path: Path) -> None:
    listed = written(tmp_path, WHOLE, {**WHOLE, "expires": "2026-11-23"})
    (row,) = [row for row in rows(audited(listed)).findings if row.outcome.check.slug == "waivers"]
    lines = (tmp_path / "w.yaml").read_text().splitlines()
    assert row.file == str(tmp_path / "w.yaml")
    assert lines[(row.line or 0) - 1].strip() == "expires: '2026-11-23'"


@pytest.mark.parametrize(
    "value",
    [
        "reason: short answers\nowner: team-batch\nexpires: 2027-01-31\n",
        '{"reason": "short answers", "owner": "team-batch", "expires": "2027-01-31"}',
    ],
    ids=["YAML", "JSON"],
)
def test_a_waiver_can_be_an_annotation_of_its_subject(value: str) -> None:
    other = deployment(lifecycle=None)
    other["metadata"]["name"] = "other"
    result = audited((), annotated(value), other)
    assert [outcome.verdict for outcome in result.outcomes] == [Verdict.WAIVED, Verdict.FAIL]


def test_an_annotation_that_is_expired_or_waives_nothing_fails_on_its_subject() -> None:
    value = "{reason: r, owner: o, expires: 2026-11-23}"
    expired = audited((), annotated(value))
    unused = audited((), annotated(value.replace("2026", "2027"), "grace-period"),
                     checks=("grace-period",))  # fmt: skip
    for result, slug in ((expired, "prestop-delay"), (unused, "grace-period")):
        outcome = result.outcomes[-1]
        assert (outcome.check.slug, outcome.subject.ref) == (
            "waivers",
            "Deployment/inference/llama",
        )
        (finding,) = outcome.findings
        assert finding.path == f"metadata.annotations[waive.drainproof.dev/{slug}]"


def test_an_annotation_on_an_object_that_is_no_workload_waives_nothing_and_fails() -> None:
    stray = scaled_object()
    stray["metadata"]["annotations"] = {
        "waive.drainproof.dev/prestop-delay": "{reason: r, owner: o, expires: 2027-01-31}"
    }
    made = {**stray, "kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2"}
    made["metadata"] = {
        **stray["metadata"],
        "ownerReferences": [{"kind": "ScaledObject", "name": "llama", "controller": True}],
    }
    (said,) = messages(audited((), deployment(), stray, made))
    assert said.startswith("the waiver of prestop-delay on ScaledObject/inference/llama waives")


def test_a_token_in_a_reason_is_never_shown(tmp_path: Path) -> None:
    token = "hf_" + "a1B2c3D4" * 4
    (waiver,) = written(tmp_path, {**WHOLE, "reason": f"until {token} is gone"})
    assert waiver.said.startswith("until [hidden:a-Hugging-Face-token] is gone (team-batch")


@pytest.mark.parametrize("name", ["waivers", "DP001"])
def test_waivers_themselves_cannot_be_waived(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"w\.yaml:2: .* on waivers themselves"):
        audited(written(tmp_path, {**WHOLE, "check": name}))


@pytest.mark.parametrize(
    ("value", "check", "said"),
    [
        ("{reason: r, expires: 2027-01-31}", "prestop-delay", "owner: expected who answers for it"),
        ("until next year", "prestop-delay", "expected reason, owner, expires, found"),
        ("{reason: [", "prestop-delay", "not YAML"),
        ("{reason: r, owner: o, expires: 2027-01-31}", "prestop-delai", "mean prestop-delay?"),
    ],
)
def test_an_annotation_that_cannot_be_read_is_bad_input_and_the_rest_is_audited(
    value: str, check: str, said: str
) -> None:
    result = audited((), annotated(value, check))
    (problem,) = result.problems
    assert said in problem.message
    assert "Deployment/inference/llama: a waiver" in problem.message
    assert result.exit_code is ExitCode.ERROR
    assert len(messages(result)) == 1


def test_an_annotation_of_the_pod_template_is_bad_input() -> None:
    obj = annotated("{reason: r, owner: o, expires: 2027-01-31}")
    annotations = obj["metadata"].pop("annotations")
    obj["spec"]["template"]["metadata"]["annotations"] = annotations
    result = audited((), obj)
    (problem,) = result.problems
    assert "on the pod template, where it waives nothing" in problem.message
    (key,) = annotations
    assert problem.path == f"spec.template.metadata.annotations[{key}]"
    assert result.exit_code is ExitCode.ERROR
    assert len(messages(result)) == 1


def test_an_annotation_of_a_pod_is_its_own() -> None:
    deployment = annotated("{reason: r, owner: o, expires: 2027-01-31}")
    template = deployment["spec"]["template"]
    metadata = {**deployment["metadata"], "labels": template["metadata"].get("labels", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    assert audited((), pod).problems == ()


@pytest.mark.parametrize("field", list(WHOLE))
def test_every_field_of_a_waiver_is_required(field: str, tmp_path: Path) -> None:
    for missing in ({}, {field: ""}, {field: None}, {field: 7}):
        entry = {name: value for name, value in WHOLE.items() if name != field} | missing
        with pytest.raises(UserError, match=rf"w\.yaml:\d+: waivers\[1\]\.{field}: expected"):
            written(tmp_path, WHOLE, entry)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("waivers:\n- [\n", r"w\.yaml:\d: not YAML"),
        ("- check: x\n", "expected a list under the one key waivers"),
        ("waivers: {}\n", "expected a list under the one key waivers, found a mapping"),
        ("waivers:\n", "expected a list under the one key waivers, found null"),
        ("waiver: []\n", "expected a list under the one key waivers, found the keys waiver"),
        ("", "expected a list under the one key waivers, found none"),
        ("waivers: []\nprofile: dev\n", "expected a list under the one key waivers"),
        ("waivers:\n- until 2027\n", r"w\.yaml:2: waivers\[0\]: expected check, subject"),
        ("waivers:\n- {expires: tomorrow}\n", r"waivers\[0\]\.check: expected the slug"),
        ("waivers:\n- {until: 2027-01-31}\n", r"waivers\[0\]\.until: expected one of"),
        ("waivers:\n- {resaon: x}\n", "did you mean reason?"),
    ],
)
def test_a_file_of_another_form_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        waivers.read(tmp_path / "w.yaml")


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        waivers.read(tmp_path / "none.yaml")


def test_an_empty_list_and_a_document_separator_are_fine(tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text("# none yet\n---\nwaivers: []\n")
    assert waivers.read(tmp_path / "w.yaml") == ()


def test_a_waiver_of_a_check_that_there_is_not_is_an_error_with_a_suggestion(
    tmp_path: Path,
) -> None:
    (tmp_path / "w.yaml").write_text(
        "waivers:\n- check: prestop-dely\n  subject: a\n  reason: b\n  owner: c\n"
        "  expires: 2027-01-31\n"
    )
    listed = waivers.read(tmp_path / "w.yaml")
    with pytest.raises(
        UserError, match=r"w\.yaml:2: there is no check 'prestop-dely'.*prestop-delay"
    ):
        audited(listed)
