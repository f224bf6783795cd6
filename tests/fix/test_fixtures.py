"""Every repair of every bad fixture: applied by kustomize and in place, the finding is gone."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.collect import files
from drainproof.content import content
from drainproof.fix import in_place, patch
from drainproof.fix.apply import Mended, mend
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.model.snapshot import Snapshot

CHECKS = {check.slug: check for check in registry.load(kind="manifest").checks}
FIXTURES = content("fixtures") / "manifests"
BAD = sorted(path for path in FIXTURES.glob("*/bad-*.yaml") if path.parent.name in CHECKS)


def audited(snapshot: Snapshot, slug: str) -> audit.AuditResult:
    return audit.run(snapshot, PROFILES["production"], [CHECKS[slug]])


def mended(path: Path, slug: str = "") -> list[Mended]:
    snapshot = files.read([path])
    return mend(snapshot, lambda found: audited(found, slug or path.parent.name))[0]


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


REPAIRED = [path for path in BAD if mended(path)]


def test_a_good_part_of_what_is_wrong_can_be_mended_without_guessing() -> None:
    assert len(REPAIRED) > 50
    assert len({path.parent.name for path in REPAIRED}) > 15


@pytest.mark.parametrize("path", REPAIRED, ids=named)
def test_in_place_the_file_becomes_the_mended_objects(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    entries = mended(copy, path.parent.name)
    in_place.write(entries)
    read = {id(entry): False for entry in entries}
    for obj in files.read([copy]).objects:
        for entry in entries:
            read[id(entry)] = read[id(entry)] or obj == entry.after
    assert set(read.values()) == {True}
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert [line for line in copy.read_text().splitlines() if line.startswith("#")] == comments


@pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl, which applies strategic-merge patches, is not installed",
)
def test_kustomize_makes_the_mended_objects_of_the_patches(tmp_path: Path) -> None:
    """All in one run of kustomize, each fixture in a namespace of its own."""
    resources, patches, expected = [], [], {}
    for number, path in enumerate(REPAIRED):
        for entry in mended(path):
            entry.before["metadata"]["namespace"] = entry.after["metadata"]["namespace"] = (
                f"n{number}"
            )
            resources.append(entry.before)
            patches.append(patch.patch(entry))
            expected[f"n{number}", entry.after["kind"], entry.after["metadata"]["name"]] = entry
    (tmp_path / "resources.yaml").write_text(yaml.safe_dump_all(resources))
    listed = []
    for number, one in enumerate(patches):
        (tmp_path / f"{number}.yaml").write_text(yaml.safe_dump(one))
        listed.append({"path": f"{number}.yaml"})
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["resources.yaml"], "patches": listed})
    )
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = {
        (obj["metadata"]["namespace"], obj["kind"], obj["metadata"]["name"]): obj
        for obj in yaml.safe_load_all(done.stdout)
    }
    assert made.keys() == expected.keys()
    wrong = [
        f"{entry.ref}: {sorted(entry.fields)}"
        for key, entry in expected.items()
        if made[key] != entry.after
    ]
    assert wrong == []
