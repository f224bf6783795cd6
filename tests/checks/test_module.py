"""What the audit says of the module's own manifests, where they break its rules or newer facts."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES

MODULE = content("fixtures") / "manifests" / "module"
EXPECTED: dict[str, dict[str, list[str]]] = orjson.loads((MODULE / "expected.json").read_bytes())
CASES = [(profile, inputs) for profile, found in EXPECTED.items() for inputs in found]


def findings(profile: str, names: str) -> list[str]:
    """Return the findings on some of the module's files, one line each."""
    snapshot = files.read([MODULE / name for name in names.split(" + ")])
    checks = registry.load(kind="manifest").checks
    result = audit.run(snapshot, PROFILES[profile], checks)
    lines: list[Any] = []
    for outcome, item in result.findings:
        word = item.severity if item.verdict == "fail" else item.verdict
        lines.append(f"{word} {outcome.check.slug}: {item.path}: {item.message}")
    return lines if result.outcomes else ["nothing to audit"]


@pytest.mark.parametrize(("profile", "inputs"), CASES)
def test_the_modules_manifests_have_the_expected_findings(profile: str, inputs: str) -> None:
    assert findings(profile, inputs) == EXPECTED[profile][inputs]


def test_every_manifest_of_the_module_is_covered() -> None:
    covered = {
        name for found in EXPECTED.values() for inputs in found for name in inputs.split(" + ")
    }
    assert covered == {path.name for path in MODULE.glob("*.yaml")}


def test_no_file_of_the_module_passes_the_claim_that_vllm_drains_by_default() -> None:
    inputs = "graceful-termination.yaml"
    assert any(line.startswith("error engine-drains") for line in EXPECTED["module"][inputs])
