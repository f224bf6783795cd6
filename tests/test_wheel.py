"""What people install: wheel and sdist, in an environment that has no checkout beside it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from uv import find_uv_bin

from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parent.parent
LIMIT_S = 120


def ran(command: Sequence[str | Path], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False,
        timeout=LIMIT_S, env={"PATH": "/usr/bin:/bin", "HOME": str(cwd), "UV_OFFLINE": "1"},
    )  # fmt: skip


def built(target: str, folder: Path) -> Path:
    done = ran([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder], ROOT)
    assert done.returncode == 0, done.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment with the wheel in it."""
    return environment(wheel, tmp_path_factory.mktemp("env"))


def environment(package: Path, folder: Path) -> Path:
    """Install a package into a new environment; return the folder of its programs.

    What it depends on, and what builds it, comes from the environment of the tests, by a path file:
    nothing is downloaded, and the editable install there, whose own path file is not read, stays
    out.
    """
    uv = find_uv_bin()
    assert ran([uv, "venv", "--python", sys.executable, folder / "venv"], folder).returncode == 0
    python = folder / "venv" / "bin" / "python"
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "rest.pth").write_text(sysconfig.get_path("purelib"))
    alone = ("--no-deps", "--no-build-isolation")
    done = ran([uv, "pip", "install", *alone, "--python", python, package], folder)
    assert done.returncode == 0, done.stderr
    return python.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with manifests that fail one of the two checks that are selected."""
    (tmp_path / "deploy").mkdir()
    text = yaml.safe_dump_all([deployment(lifecycle=None), scaled_object()])
    (tmp_path / "deploy" / "a.yaml").write_text(text)
    few = 'select = ["prestop-delay", "has-scaler"]\n'
    (tmp_path / "pyproject.toml").write_text(f"[tool.drainproof]\n{few}")
    return tmp_path


def test_the_wheel_installs_no_other_top_level_name(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"drainproof"}


def test_the_wheel_holds_the_schema_of_its_reports(wheel: Path) -> None:
    assert "drainproof/report/audit.schema.json" in zipfile.ZipFile(wheel).namelist()


@pytest.mark.parametrize(
    "pattern",
    ["checks/*/*.py", "policies/*/rule.yaml", "policies/*.yaml", "fixtures/clusters/**/*"],
)
def test_the_wheel_holds_all_content_that_commands_look_for(wheel: Path, pattern: str) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern) if path.is_file()]
    assert files != []
    packed = [file for file in files if "__pycache__" not in file]
    assert [file for file in packed if f"drainproof/_content/{file}" not in names] == []


@pytest.mark.parametrize(
    "command",
    [
        ["rules"],
        ["rules", "grace-period"],
        ["policies", "list"],
        ["policies", "export", "grace-period"],
        ["fix", "deploy", "--select", "has-scaler"],
        ["judge", "--help"],
    ],
    ids=" ".join,
)
def test_the_installed_commands_find_what_they_need(
    installed: Path, project: Path, command: list[str]
) -> None:
    done = ran([installed / "drainproof", *command], project)
    assert (done.returncode, "error" in done.stderr) == (0, False), done.stderr


def test_the_installed_command_audits(installed: Path, project: Path) -> None:
    formats = ["--format", "terminal", "--format", "html=page.html"]
    done = ran([installed / "drainproof", "audit", "deploy", *formats], project)
    assert done.returncode == 1, done.stderr
    assert "no preStop hook" in (project / "page.html").read_text(encoding="utf-8")
    assert "no preStop hook" in done.stdout
    where = ran(
        [installed / "python", "-c", "import drainproof; print(drainproof.__file__)"], project
    )
    assert str(installed.parent) in where.stdout


def test_the_installed_checks_run_as_pytest_items(installed: Path, project: Path) -> None:
    done = ran(
        [installed / "python", "-m", "pytest", "--pyargs", "drainproof", "--manifests", "deploy",
         "-v", "-p", "no:cacheprovider", "--junitxml=r.xml"],
        project,
    )  # fmt: skip
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "::prestop-delay[Deployment/inference/llama] FAILED" in done.stdout
    assert 'name="check_id" value="DP104"' in (project / "r.xml").read_text()


def test_the_sdist_installs_the_same_files_as_the_wheel(
    sdist: Path, wheel: Path, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = environment(sdist, tmp_path_factory.mktemp("env"))
    (package,) = programs.parent.glob("lib/python*/site-packages/drainproof")
    there = {
        f"drainproof/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = zipfile.ZipFile(wheel).namelist()
    assert there == {name for name in names if name.startswith("drainproof/")}
    done = ran([programs / "drainproof", "audit", "deploy"], project)
    assert (done.returncode, "no preStop hook" in done.stdout) == (1, True), done.stderr


def test_the_sdist_holds_the_tests_and_the_documentation_and_no_leftovers(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/test_wheel.py", "docs/audit.md", "LICENSE", "requirements.lock"} <= names
    assert [name for name in names if "__pycache__" in name or name.startswith(".venv")] == []
