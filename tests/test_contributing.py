"""What CONTRIBUTING says of adding a check is done here, in a copy of the repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from drainproof.content import content

ROOT = content("checks").parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w/.-]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEPS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = ("drainproof", "checks", "policies", "fixtures", "tests", "docs", "README.md",
          "pyproject.toml", "conftest.py", "CONTRIBUTING.md", "requirements.lock")  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the repository with the example's files in it."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            leave = shutil.ignore_patterns("__pycache__", ".cache")
            shutil.copytree(source, tmp_path / name, ignore=leave, symlinks=True)
        else:
            shutil.copy(source, tmp_path / name)
    for name, text in FILE.findall(TEXT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def ran(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(folder)}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


def test_a_check_is_added_as_it_says(copy: Path) -> None:
    (steps,) = STEPS.findall(TEXT)
    printed = ""
    for command in steps.splitlines():
        done = ran(command, copy)
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        printed += done.stdout
    assert "can't be rolled back" in printed
    assert len(FILE.findall(TEXT)) == 3
    assert "DP199" in (copy / "docs" / "checks" / "your-rule.md").read_text(encoding="utf-8")
    assert "`your-rule`" in (copy / "README.md").read_text(encoding="utf-8")


def test_a_bad_manifest_that_does_not_fail_for_its_reason_is_seen_to(copy: Path) -> None:
    bad = copy / "fixtures" / "manifests" / "your-rule" / "bad-nothing-kept.yaml"
    bad.write_text(bad.read_text(encoding="utf-8").replace("Limit: 0", "Limit: 1"))
    (steps,) = STEPS.findall(TEXT)
    done = ran(steps.splitlines()[0], copy)
    assert done.returncode == 1
    assert "test_a_bad_manifest_fails_by_its_own_check" in done.stdout
