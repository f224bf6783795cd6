"""What the checks on autoscalers propose does mend what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES
from tests.repairs import mend

if TYPE_CHECKING:
    from pathlib import Path

FIXTURES = content("fixtures") / "manifests"
CHECKS = [check for check in registry.load(kind="manifest").checks if check.id.startswith("DP4")]
SLUGS = {check.slug for check in CHECKS}
BAD = sorted(path for path in FIXTURES.glob("*/bad-*.yaml") if path.parent.name in SLUGS)


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_that_can_be_mended_is_left_after_mending(path: Path) -> None:
    _, result = mend(files.read([path]), PROFILES["production"], CHECKS)
    assert result.problems == ()
    left = [(outcome.check.slug, item.message) for outcome, item in result.findings if item.repair]
    assert left == []


def test_the_modules_queue_trigger_is_compared_with_its_mean_after_mending() -> None:
    module = FIXTURES / "module"
    snapshot = files.read([module / "vllm-llama3-8b.yaml", module / "scaledobject-queue.yaml"])
    mended, result = mend(snapshot, PROFILES["module"], CHECKS)
    scaled = next(item.after for item in mended if item.after["kind"] == "ScaledObject")
    assert scaled["spec"]["triggers"][0]["metricType"] == "Value"
    assert {outcome.check.slug for outcome, _ in result.findings} == {"one-scaler"}


def test_a_bare_gauge_is_summed_after_mending() -> None:
    path = FIXTURES / "metric-exists" / "bad-not-aggregated.yaml"
    mended, _ = mend(files.read([path]), PROFILES["production"], CHECKS)
    scaled = next(item.after for item in mended if item.after["kind"] == "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    assert query == 'sum(vllm:num_requests_waiting{namespace="inference"})'
