"""has-scaler, where an autoscaler is there and can't be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

GOOD = content("fixtures") / "manifests" / "has-scaler" / "good-hpa.yaml"


@pytest.mark.parametrize(
    ("old", "new", "verdicts"),
    [
        ("maxReplicas: ", "maxReplicas: many #", [Verdict.INCONCLUSIVE]),
        ("maxReplicas: ", "maxReplicas: ", []),
    ],
)
def test_an_autoscaler_with_a_wrong_type_is_not_said_to_be_missing(
    tmp_path: Path, old: str, new: str, verdicts: list[Verdict]
) -> None:
    text = GOOD.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "a.yaml").write_text(text.replace(old, new), encoding="utf-8")
    found = [item for item in registry.load().checks if item.slug == "has-scaler"]
    result = audit.run(files.read([tmp_path]), PROFILES["production"], found)
    assert [finding.verdict for _, finding in result.findings] == verdicts
