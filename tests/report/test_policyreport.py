from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
import yaml

from tests.manifests import deployment, scaled_object
from tests.report.audits import audited, hostile, report, waived

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult


def reports(result: AuditResult) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(report("policyreport", result)))


def test_a_report_is_about_one_workload_and_counts_its_results(tmp_path: Path) -> None:
    (found,) = reports(audited(tmp_path / "a.yaml", deployment(lifecycle=None)))
    assert (found["apiVersion"], found["kind"]) == ("wgpolicyk8s.io/v1alpha2", "PolicyReport")
    assert found["metadata"]["namespace"] == "inference"
    assert found["scope"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "inference",
        "name": "llama",
    }
    assert found["summary"] == {"pass": 3, "fail": 1, "warn": 1, "error": 0, "skip": 0}
    assert len(found["results"]) == sum(found["summary"].values())


def test_a_result_names_its_rule_and_its_place(tmp_path: Path) -> None:
    (found,) = reports(audited(tmp_path / "a.yaml", deployment(lifecycle=None), scaled_object()))
    (failed,) = [item for item in found["results"] if item["result"] == "fail"]
    assert (failed["policy"], failed["rule"], failed["severity"]) == (
        "drainproof", "prestop-delay", "high",
    )  # fmt: skip
    assert failed["message"].startswith("no preStop hook")
    assert failed["properties"]["file"] == str(tmp_path / "a.yaml")
    assert all(isinstance(value, str) for value in failed["properties"].values())


def test_what_is_waived_is_skipped_and_what_cannot_be_told_is_an_error(tmp_path: Path) -> None:
    (skipped,) = reports(audited(tmp_path / "a.yaml", waived(), scaled_object()))
    hook = {"preStop": {"exec": {"command": ["/x"]}}}
    (unsure,) = reports(audited(tmp_path / "a.yaml", deployment(lifecycle=hook)))
    assert skipped["summary"]["skip"] == 1
    assert unsure["summary"]["error"] == 1


def test_reports_have_names_of_their_own_that_kubernetes_takes(tmp_path: Path) -> None:
    second = deployment()
    second["kind"], second["spec"]["serviceName"] = "StatefulSet", "x"
    found = reports(audited(tmp_path / "a.yaml", deployment(), second, hostile()))
    names = [item["metadata"]["name"] for item in found]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,251}[a-z0-9])?", name) for name in names)


def test_a_waiver_gone_bad_is_about_no_object_of_the_cluster(tmp_path: Path) -> None:
    (found,) = reports(audited(tmp_path / "a.yaml", waived(expires="2026-01-01"), scaled_object()))
    assert [item["rule"] for item in found["results"] if item["result"] == "fail"] == [
        "prestop-delay", "waivers",
    ]  # fmt: skip


def test_each_report_is_a_document_of_yaml_and_of_json(tmp_path: Path) -> None:
    second = deployment(lifecycle=None)
    second["metadata"]["name"] = "mistral"
    text = report("policyreport", audited(tmp_path / "a.yaml", deployment(lifecycle=None), second))
    documents = [orjson.loads(part) for part in text.split("---\n")[1:]]
    assert len(documents) == 2
    assert documents == list(yaml.safe_load_all(text))
