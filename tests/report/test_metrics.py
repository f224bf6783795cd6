"""Prometheus' own parser reads the metrics, and they say what the audit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from drainproof.report import metrics
from tests.manifests import deployment, scaled_object
from tests.report.audits import HOSTILE, audited, hostile, report, waived

if TYPE_CHECKING:
    from pathlib import Path

    from prometheus_client.samples import Sample

    from drainproof.judge.audit import AuditResult


def samples(text: str) -> dict[str, list[Sample]]:
    return {found.name: list(found.samples) for found in text_string_to_metric_families(text)}


def written(result: AuditResult) -> dict[str, list[Sample]]:
    return samples(report("metrics", result))


def test_each_finding_is_counted_by_check_severity_verdict_and_workload(tmp_path: Path) -> None:
    result = audited(tmp_path / "a.yaml", deployment(lifecycle=None), scaled_object())
    (found,) = written(result)["drainproof_findings"]
    assert found.labels == {
        "check": "prestop-delay",
        "id": "DP104",
        "severity": "error",
        "verdict": "fail",
        "namespace": "inference",
        "workload": "Deployment/inference/llama",
    }
    assert found.value == 1


def test_a_clean_audit_has_its_metrics_and_no_finding(tmp_path: Path) -> None:
    said = written(audited(tmp_path / "a.yaml"))
    assert said["drainproof_findings"] == []
    assert said["drainproof_workloads"][0].value == 1


def test_a_waived_finding_is_no_failure(tmp_path: Path) -> None:
    (found,) = written(audited(tmp_path / "a.yaml", waived(), scaled_object()))[
        "drainproof_findings"
    ]
    assert found.labels["verdict"] == "waived"


def test_when_it_was_and_how_long_it_took_are_told(tmp_path: Path) -> None:
    result = audited(tmp_path / "a.yaml")
    result.snapshot.taken_at = 1_764_000_000.5
    said = written(replace(result, took_s=2.25))
    assert said["drainproof_audit_timestamp_seconds"][0].value == 1_764_000_000.5
    assert said["drainproof_audit_duration_seconds"][0].value == 2.25
    assert "drainproof_audit_duration_seconds" not in written(result)


def test_a_name_can_add_no_label_and_no_line(tmp_path: Path) -> None:
    obj = hostile()
    obj["metadata"]["name"] = f'"}} 1\nforged{{x="\\{HOSTILE}'
    said = written(audited(tmp_path / "a.yaml", obj))
    assert set(said) <= set(metrics.HELP)
    assert all(set(found.labels) == set(metrics.LABELS) for found in said["drainproof_findings"])
    assert 'forged{x="' in said["drainproof_findings"][0].labels["workload"]


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    obj = deployment(lifecycle=None)
    obj["metadata"]["name"] = "x" * 5000
    (found, *_) = written(audited(tmp_path / "a.yaml", obj))["drainproof_findings"]
    assert len(found.labels["workload"]) == metrics.MOST_LETTERS


def test_too_many_findings_are_left_out_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [deployment(lifecycle=None) for _ in range(3)]
    for number, obj in enumerate(several):
        obj["metadata"]["name"] = f"llama-{number}"
    result = audited(tmp_path / "a.yaml", *several)
    everything = len(result.findings)
    monkeypatch.setattr(metrics, "MOST_SERIES", 2)
    said = written(result)
    assert len(said["drainproof_findings"]) == 2
    assert said["drainproof_findings_left_out"][0].value == everything - 2


def test_a_broken_line_is_seen_by_the_parser(tmp_path: Path) -> None:
    text = report("metrics", audited(tmp_path / "a.yaml", deployment(lifecycle=None)))
    with pytest.raises(ValueError, match="could not convert"):
        samples(text.replace('check="', "check=", 1))
