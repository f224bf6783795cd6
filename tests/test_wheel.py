"""What people install: the wheel, in an environment that has no checkout beside it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    done = ran([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], ROOT)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment with the wheel in it.

    What the wheel depends on comes from the environment of the tests, by a path file: nothing is
    downloaded, and the editable install there, whose own path file is not read, stays out.
    """
    folder = tmp_path_factory.mktemp("env")
    uv = find_uv_bin()
    assert ran([uv, "venv", "--python", sys.executable, folder / "venv"], folder).returncode == 0
    python = folder / "venv" / "bin" / "python"
    done = ran([uv, "pip", "install", "--no-deps", "--python", python, wheel], folder)
    assert done.returncode == 0, done.stderr
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "rest.pth").write_text(sysconfig.get_path("purelib"))
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


def test_the_installed_command_audits(installed: Path, project: Path) -> None:
    done = ran([installed / "drainproof", "audit", "deploy"], project)
    assert done.returncode == 1, done.stderr
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
