"""The audit of very many workloads is listed by check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.report.folded import EXAMPLES, FOLD_OVER
from tests.manifests import deployment
from tests.test_cli import run

if TYPE_CHECKING:
    from pathlib import Path


def manifests(path: Path, count: int) -> Path:
    """Write so many Deployments without a preStop hook; each begins on a line of its own."""
    listed = []
    for number in range(count):
        one = deployment(lifecycle=None)
        one["metadata"]["name"] = f"llama-{number}"
        listed.append(one)
    path.write_text(yaml.safe_dump_all(listed))
    return path


@pytest.mark.parametrize(
    ("count", "folded"), [(FOLD_OVER, False), (FOLD_OVER + 1, True)], ids=["few", "many"]
)
def test_only_many_workloads_are_listed_by_check(
    tmp_path: Path, count: int, *, folded: bool
) -> None:
    done = run("audit", manifests(tmp_path / "a.yaml", count), "--select", "prestop-delay")
    assert done.returncode == 1
    assert ("Listed by check" in done.stdout) == folded
    assert done.stdout.count("no preStop hook") == (1 if folded else count)
    assert f"{count} errors." in done.stdout


def test_each_check_has_its_count_its_fix_and_a_few_places_with_their_lines(tmp_path: Path) -> None:
    file = manifests(tmp_path / "a.yaml", 60)
    done = run("audit", file, "--select", "prestop-delay")
    assert "error  prestop-delay DP104  60 findings on 60 workloads" in done.stdout
    assert done.stdout.count("fix: ") == 1
    assert done.stdout.count(f"{file}:") == EXAMPLES
    lines = file.read_text().splitlines()
    for number in range(EXAMPLES):
        place = next(line for line in done.stdout.splitlines() if f"llama-{number} " in line)
        at = int(place.partition(f"{file}:")[2].split()[0])
        assert "image:" in lines[at - 1] or "containers:" in "".join(lines[at - 8 : at])
    assert "… and 57 more" in done.stdout


def test_the_worst_come_first(tmp_path: Path) -> None:
    done = run("audit", manifests(tmp_path / "a.yaml", 60))
    words = [line.split("  ")[0] for line in done.stdout.splitlines() if " findings on " in line]
    assert words == sorted(words, key=["error", "warning", "inconclusive", "waived"].index)
    assert {"error", "warning"} <= set(words)


def test_what_could_not_be_read_is_said_too(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("a: [\n")
    manifests(tmp_path / "a.yaml", 60)
    done = run("audit", tmp_path)
    assert done.returncode == 2
    assert f"error: {tmp_path}/b.yaml:2: not YAML" in done.stdout


def test_other_formats_list_every_finding_with_its_line(tmp_path: Path) -> None:
    file = manifests(tmp_path / "a.yaml", 60)
    done = run("audit", file, "--select", "prestop-delay", "--format", "github")
    assert done.stdout.count("::error file=") == 60
    assert "line=0" not in done.stdout
