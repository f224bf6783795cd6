from __future__ import annotations

from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from tests.manifests import deployment, scaled_object
from tests.report.audits import audited, hostile, report, waived

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

SCHEMA = orjson.loads((resources("drainproof.report") / "audit.schema.json").read_bytes())
SHORT = {"preStop": {"sleep": {"seconds": 2}}}
SCRIPT = {"preStop": {"exec": {"command": ["/drain.sh"]}}}


def written(result: AuditResult) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(report("json", result))
    return found


def test_a_finding_has_every_field_that_programs_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    found = written(audited(path, scaled_object(), deployment(lifecycle=SHORT)))
    (finding,) = found["findings"]
    assert "delayed by 2 s only" in finding.pop("message")
    assert finding.pop("fix").startswith("Add lifecycle")
    text = path.read_text()
    assert finding == {
        "check": "prestop-delay",
        "id": "DP104",
        "severity": "error",
        "verdict": "fail",
        "subject": {
            "kind": "Deployment", "namespace": "inference", "name": "llama", "role": "",
        },
        "object": "Deployment/inference/llama",
        "path": "spec.template.spec.containers[0].lifecycle.preStop.sleep",
        "found": {"seconds": 2},
        "file": str(path),
        "line": text[: text.index("sleep:")].count("\n") + 1,
        "waiver": None,
    }  # fmt: skip


def test_what_an_operator_runs_and_nothing_shows_is_named_as_not_judged(tmp_path: Path) -> None:
    spec = {"serveConfigV2": "applications: [{import_path: 'ray.serve.llm:build_openai_app'}]"}
    served = {"apiVersion": "ray.io/v1", "kind": "RayService", "metadata": {"name": "llama"}}
    result = audited(tmp_path / "a.yaml", deployment(), {**served, "spec": spec})
    found = written(result)
    Draft202012Validator(SCHEMA).validate(found)
    (one,) = found["unjudged"]
    assert (one["kind"], one["name"]) == ("RayService", "llama")


def test_the_summary_counts_verdicts_workloads_and_files(tmp_path: Path) -> None:
    other = deployment(image="nginx", args=None)
    summary = written(audited(tmp_path / "a.yaml", deployment(lifecycle=None), other))["summary"]
    assert summary == {
        "pass": 3,
        "fail": 2,
        "inconclusive": 0,
        "waived": 0,
        "errors": 1,
        "warnings": 1,
        "baseline": 0,
        "since": "",
        "gone": [],
        "workloads": 1,
        "other_workloads": 1,
        "files": 1,
        "problems": 0,
        "not_run": [],
        "api_calls": {},
        "fail_on": "error",
        "exit_code": 1,
    }


def test_a_finding_in_a_scaler_keeps_the_workload_as_its_subject(tmp_path: Path) -> None:
    triggers = [{"type": "cpu", "metadata": {"value": "70"}}]
    result = audited(tmp_path / "a.yaml", deployment(), scaled_object(triggers=triggers))
    (finding,) = written(result)["findings"]
    assert finding["subject"]["kind"] == "Deployment"
    assert (finding["object"], finding["path"]) == (
        "ScaledObject/inference/llama",
        "spec.triggers[0].type",
    )


def test_a_waived_finding_says_by_what(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    (finding,) = written(audited(path, waived(), scaled_object()))["findings"]
    assert finding["verdict"] == "waived"
    assert finding["waiver"] == {
        "reason": "short answers",
        "owner": "team-batch",
        "expires": "2027-01-31",
        "file": str(path),
        "annotation": True,
    }


def test_what_cannot_be_read_and_what_is_assumed_are_listed(tmp_path: Path) -> None:
    image = "vllm/vllm-openai:latest"
    (tmp_path / "b.yaml").write_text("a: [\n")
    result = audited(tmp_path / "a.yaml", deployment(image=image), {"a": 1}, scaled_object())
    assert [item["check"] for item in written(result)["assumptions"]] == ["engine-drains"]


CASES = {
    "clean": [deployment(), scaled_object()],
    "errors and warnings": [deployment(lifecycle=SHORT)],
    "inconclusive": [deployment(lifecycle=SCRIPT)],
    "assumed": [deployment(image="vllm/vllm-openai:latest")],
    "waived": [waived(), scaled_object()],
    "expired": [waived(expires="2026-01-01")],
    "a waiver that can't be read": [waived(owner="")],
    "a wrong type": [deployment(startupProbe=3), scaled_object()],
    "numbers that JSON has not": [
        deployment(lifecycle=SHORT),
        scaled_object(maxReplicaCount=2**70),
    ],
    "hostile": [hostile()],
}


@pytest.mark.parametrize("objects", CASES.values(), ids=CASES)
def test_every_report_is_as_the_published_schema_says(objects: list[Any], tmp_path: Path) -> None:
    found = written(audited(tmp_path / "a.yaml", *objects))
    Draft202012Validator.check_schema(SCHEMA)
    errors = [error.message for error in Draft202012Validator(SCHEMA).iter_errors(found)]
    assert errors == []


def test_the_schema_refuses_what_is_no_report(tmp_path: Path) -> None:
    found = written(audited(tmp_path / "a.yaml", deployment(lifecycle=SHORT)))
    found["findings"][0]["verdict"] = "maybe"
    assert not Draft202012Validator(SCHEMA).is_valid(found)
