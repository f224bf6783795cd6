"""GitLab takes the report, and knows a finding again when its lines moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from drainproof.judge.config import Audit, Config
from drainproof.model.snapshot import Snapshot
from tests.manifests import Raw, deployment, scaled_object
from tests.report.audits import CHECKS, TODAY, audited, hostile, report, waived

TEXT = {"type": "string", "minLength": 1}
FORM = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": TEXT,
            "check_name": TEXT,
            "fingerprint": TEXT,
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {**TEXT, "not": {"pattern": r"^(\./|/)"}},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}
"""The form by GitLab's documentation, "Code Quality report format"; it publishes no schema."""
CASES = {
    "clean": [deployment(), scaled_object()],
    "findings": [deployment(lifecycle=None)],
    "inconclusive": [deployment(lifecycle={"preStop": {"exec": {"command": ["/x"]}}})],
    "waived": [waived(), scaled_object()],
    "unreadable": [waived(owner=""), scaled_object()],
    "hostile": [hostile()],
}


def found(path: Path, *objects: Raw) -> list[dict[str, Any]]:
    return list(orjson.loads(report("gitlab", audited(path, *objects))))


@pytest.mark.parametrize("objects", CASES.values(), ids=CASES)
def test_the_documented_form_takes_it(
    objects: list[Raw], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = found(Path("./a.yaml"), *objects)
    assert [error.message for error in Draft202012Validator(FORM).iter_errors(written)] == []
    assert bool(written) is (objects is not CASES["clean"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"severity": "error"},
        {"fingerprint": ""},
        {"location": {"path": "./a", "lines": {"begin": 1}}},
    ],
)
def test_the_documented_form_would_refuse_another(wrong: dict[str, Any], tmp_path: Path) -> None:
    (one, *_) = found(tmp_path / "a.yaml", deployment(lifecycle=None))
    assert not Draft202012Validator(FORM).is_valid([one | wrong])


def test_a_finding_leads_to_its_line_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    monkeypatch.chdir(tmp_path)
    (one,) = found(tmp_path / "deploy" / "a.yaml", deployment(lifecycle=None), scaled_object())
    assert one["location"]["path"] == "deploy/a.yaml"
    assert one["location"]["lines"]["begin"] > 1
    assert (one["check_name"], one["severity"]) == ("prestop-delay (DP104)", "major")
    assert "no preStop hook" in one["description"]
    assert "; fix: Add" in one["description"]


@pytest.mark.parametrize(
    ("objects", "severity", "said"),
    [
        ([deployment()], "minor", "no autoscaler"),
        (CASES["inconclusive"], "minor", "inconclusive: "),
        (CASES["waived"], "info", "waived: short answers"),
        (CASES["unreadable"], "blocker", "who answers for it"),
    ],
    ids=["warning", "inconclusive", "waived", "unreadable"],
)
def test_a_severity_says_what_a_finding_is(
    objects: list[Raw], severity: str, said: str, tmp_path: Path
) -> None:
    listed = found(tmp_path / "a.yaml", *objects)
    assert any(one["severity"] == severity and said in one["description"] for one in listed), listed


def test_fingerprints_stay_when_lines_move_and_differ_from_each_other(tmp_path: Path) -> None:
    def fingerprints(*objects: Raw) -> list[str]:
        return [one["fingerprint"] for one in found(tmp_path / "a.yaml", *objects)]

    bad = deployment(lifecycle=None, startupProbe=None)
    first = fingerprints(bad, scaled_object())
    assert fingerprints(scaled_object(), bad) == first
    assert len(set(first)) == len(first) == 2
    assert len(set(fingerprints(bad, bad, scaled_object()))) == 4


def test_a_live_object_is_named_where_a_file_would_be() -> None:
    snapshot = Snapshot.of([deployment(lifecycle=None)])
    result = Audit(snapshot, Config(), today=TODAY).run([CHECKS["prestop-delay"]])
    (one,) = orjson.loads(report("gitlab", result))
    assert one["location"] == {"path": "Deployment/inference/llama", "lines": {"begin": 1}}
