"""An audit since an earlier Snapshot tells what is new and what is gone, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import jsonschema
import orjson
import pytest
import yaml

import drainproof
from drainproof.collect import files
from drainproof.errors import UserError
from drainproof.judge import since
from drainproof.model.snapshot import Problem, Snapshot
from tests.manifests import Raw, deployment, scaled_object

SCHEMA = Path(drainproof.__file__).parent / "report" / "audit.schema.json"
CHECKS = ("--select", "prestop-delay", "--select", "startup-budget")
OLD = deployment(lifecycle=None)
OTHER = deployment(startupProbe=None)
FINE = deployment()


def audit(folder: Path, obj: Raw, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "a.yaml").write_text(yaml.safe_dump_all([obj, scaled_object()]))
    command = [sys.executable, "-m", "drainproof", "audit", "a.yaml", *CHECKS, *more]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    first = audit(tmp_path, OLD, "--since", "kept")
    assert (first.returncode, "prestop-delay" in first.stdout) == (1, True)
    return folder


@pytest.mark.usefixtures("kept")
def test_what_was_there_before_is_no_news(tmp_path: Path) -> None:
    again = audit(tmp_path, OLD, "--since", "kept")
    assert (again.returncode, again.stderr) == (0, "")
    assert "prestop-delay" not in again.stdout
    assert "1 as on 20" in again.stdout


@pytest.mark.usefixtures("kept")
def test_what_is_new_fails_and_what_is_gone_is_named(tmp_path: Path) -> None:
    done = audit(tmp_path, OTHER, "--since", "kept")
    assert done.returncode == 1
    assert "startup-budget" in done.stdout
    assert "gone: prestop-delay at Deployment/inference/llama" in done.stdout


@pytest.mark.usefixtures("kept")
def test_programs_and_a_comment_are_told_what_is_gone(tmp_path: Path) -> None:
    forms = ("--format", "json=a.json", "--format", "markdown")
    done = audit(tmp_path, OTHER, "--since", "kept", *forms)
    told = orjson.loads((tmp_path / "a.json").read_bytes())
    jsonschema.validate(told, orjson.loads(SCHEMA.read_bytes()))
    (gone,) = told["summary"]["gone"]
    assert gone.startswith("prestop-delay at Deployment/inference/llama")
    assert told["summary"]["since"].startswith("20")
    assert "### Gone since 20" in done.stdout


@pytest.mark.usefixtures("kept")
def test_metrics_hold_all_findings_and_not_only_new_ones(tmp_path: Path) -> None:
    done = audit(tmp_path, OLD, "--since", "kept", "--format", "metrics")
    assert 'check="prestop-delay"' in done.stdout
    assert done.returncode == 0


def test_a_snapshot_that_was_saved_is_compared_with_and_stays(tmp_path: Path) -> None:
    audit(tmp_path, OLD, "--save", "then.json")
    before = (tmp_path / "then.json").read_bytes()
    assert audit(tmp_path, FINE, "--since", "then.json").returncode == 0
    assert (tmp_path / "then.json").read_bytes() == before


def test_findings_are_no_failure_where_reports_are_all_that_is_wanted(tmp_path: Path) -> None:
    assert audit(tmp_path, OLD).returncode == 1
    assert audit(tmp_path, OLD, "--exit-zero").returncode == 0
    (tmp_path / "bad.yaml").write_text("a: [")
    assert audit(tmp_path, OLD, "bad.yaml", "--exit-zero").returncode == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("nowhere", None, "cannot be read"), ("kept.json", "{}", "not a saved Snapshot")],
)
def test_what_is_no_snapshot_is_one_error(
    tmp_path: Path, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = audit(tmp_path, OLD, "--since", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {name}: {said}")


def test_a_baseline_is_not_written_since_something(tmp_path: Path) -> None:
    done = audit(tmp_path, OLD, "--since", ".", "--write-baseline", "b.json")
    assert (done.returncode, "found both" in done.stderr) == (2, True)


def snapshot(at: float, problems: tuple[Problem, ...] = ()) -> Snapshot:
    return Snapshot([], taken_at=at, problems=problems)


def test_the_last_ten_snapshots_stay(tmp_path: Path) -> None:
    for number in range(since.KEEP + 3):
        since.keep(tmp_path, snapshot(1_764_000_000.0 + number))
    left = sorted(tmp_path.iterdir())
    assert len(left) == since.KEEP
    found = since.newest(tmp_path)
    assert found is not None
    assert found.taken_at == 1_764_000_000.0 + since.KEEP + 2


def test_a_snapshot_of_which_a_part_is_missing_is_not_kept(tmp_path: Path) -> None:
    since.keep(tmp_path, snapshot(1.0, (Problem("forbidden"),)))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "snapshot-19700101T000001Z.json").mkdir()
    with pytest.raises(UserError, match="cannot keep the Snapshot"):
        since.keep(tmp_path, snapshot(1.0))


def test_a_workload_of_a_wrong_type_does_not_keep_a_snapshot_away(tmp_path: Path) -> None:
    obj = deployment()
    obj["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = "soon"
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(obj))
    found = files.read([tmp_path / "a.yaml"])
    since.keep(tmp_path, found)
    assert len(list(tmp_path.glob("snapshot-*"))) == 1
