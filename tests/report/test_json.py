from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import yaml

from drainproof.collect import files
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.report import json
from drainproof.report.rows import rows
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path


def report(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    checks = registry.load(kind="manifest").checks
    result = audit.run(files.read([path]), PROFILES["production"], checks)
    written: dict[str, Any] = orjson.loads(json.write(result, rows(result)))
    return written


def test_a_finding_has_every_field_that_programs_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = yaml.safe_dump_all(
        [scaled_object(), deployment(lifecycle={"preStop": {"sleep": {"seconds": 2}}})]
    )
    found = report(path, text)
    (finding,) = found["findings"]
    message = finding.pop("message")
    assert "delayed by 2 s only" in message
    line = text[: text.index("sleep:")].count("\n") + 1
    assert finding == {
        "check": "prestop-delay",
        "id": "DP104",
        "severity": "error",
        "verdict": "fail",
        "subject": {"kind": "Deployment", "namespace": "inference", "name": "llama"},
        "object": "Deployment/inference/llama",
        "path": "spec.template.spec.containers[0].lifecycle.preStop.sleep",
        "file": str(path),
        "line": line,
    }


def test_the_summary_counts_verdicts_workloads_and_files(tmp_path: Path) -> None:
    text = yaml.safe_dump_all([deployment(lifecycle=None), deployment(image="nginx", args=None)])
    summary = report(tmp_path / "a.yaml", text)["summary"]
    assert summary == {
        "pass": 8,
        "fail": 2,
        "inconclusive": 0,
        "waived": 0,
        "errors": 1,
        "warnings": 1,
        "workloads": 1,
        "other_workloads": 1,
        "files": 1,
        "problems": 0,
        "exit_code": 1,
    }


def test_a_finding_in_a_scaler_keeps_the_workload_as_its_subject(tmp_path: Path) -> None:
    triggers = [{"type": "cpu", "metadata": {"value": "70"}}]
    text = yaml.safe_dump_all([deployment(), scaled_object(triggers=triggers)])
    (finding,) = report(tmp_path / "a.yaml", text)["findings"]
    assert finding["subject"]["kind"] == "Deployment"
    assert (finding["object"], finding["path"]) == (
        "ScaledObject/inference/llama",
        "spec.triggers[0].type",
    )


def test_what_cannot_be_read_and_what_is_assumed_are_listed(tmp_path: Path) -> None:
    image = "vllm/vllm-openai:latest"
    text = yaml.safe_dump_all([deployment(image=image), scaled_object()]) + "---\na: [\n"
    found = report(tmp_path / "a.yaml", text)
    assert found["findings"] == []
    assert [item["check"] for item in found["assumptions"]] == ["engine-drains"]
    assert "not YAML" in found["problems"][0]["message"]
    assert found["summary"]["exit_code"] == 2
