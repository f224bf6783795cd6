"""The pre-commit hook and the GitHub Action run what they say, as their hosts would run it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from drainproof.content import content
from tests.manifests import deployment

ROOT = content("checks").parent
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
BIN = Path(sys.executable).parent


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": os.environ["HOME"], **variables}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(deployment(lifecycle=None)))
    return file


def test_the_pre_commit_hook_fails_on_the_files_that_it_is_given(manifest: Path) -> None:
    command = [*shlex.split(HOOKS[0]["entry"]), str(manifest)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "prestop-delay" in done.stdout


def test_the_pre_commit_hook_lets_a_commit_pass_that_changes_no_llm_workload(
    tmp_path: Path,
) -> None:
    (tmp_path / "ci.yaml").write_text("on: push\n")
    command = [*shlex.split(HOOKS[0]["entry"]), str(tmp_path / "ci.yaml")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0


def test_the_pre_commit_hook_leaves_the_settings_of_the_project_alone(manifest: Path) -> None:
    """An option would go before the same setting of a config file."""
    (manifest.parent / "drainproof.toml").write_text('ignore = ["*"]\n')
    command = [*shlex.split(HOOKS[0]["entry"]), manifest.name]
    done = subprocess.run(
        command,
        env=environment(),
        cwd=manifest.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no check is left to run" in done.stderr


@pytest.mark.parametrize(
    ("file", "taken"), [("deploy/a.yaml", True), ("chart/templates/a.yaml", False)]
)
def test_the_pre_commit_hook_leaves_the_templates_of_charts_alone(
    file: str, *, taken: bool
) -> None:
    assert (re.search(HOOKS[0]["exclude"], file) is None) is taken


def step(manifest: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the Action's audit step as GitHub does: a bash script with its variables."""
    script = next(item for item in ACTION["runs"]["steps"] if item.get("id") == "audit")
    defaults = {name: str(value.get("default", "")) for name, value in ACTION["inputs"].items()}
    given = {**defaults, **inputs}
    folder = manifest.parent
    variables = {
        name: given[value.removeprefix("${{ inputs.").removesuffix(" }}")]
        for name, value in script["env"].items()
    }
    files = {
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_OUTPUT": str(folder / "out"),
    }
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script["run"]],
        env=environment(**variables, **files),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, folder


def test_the_action_annotates_and_fails_with_the_audits_exit_code(manifest: Path) -> None:
    done, folder = step(manifest, paths=f"{manifest}\n\n", sarif="found.sarif")
    assert done.returncode == 1, done.stderr
    assert "::error file=" in done.stdout
    assert (folder / "out").read_text() == "exit-code=1\n"
    assert "prestop-delay" in (folder / "summary").read_text()
    assert orjson.loads((folder / "found.sarif").read_bytes())["version"] == "2.1.0"


def test_an_input_of_the_action_is_never_run(manifest: Path) -> None:
    done, folder = step(manifest, paths="$(touch owned)\n`touch owned`; touch owned")
    assert done.returncode == 2
    assert not (folder / "owned").exists()
    assert "${{" not in next(s for s in ACTION["runs"]["steps"] if s.get("id") == "audit")["run"]
