"""Packages are installed as their lock file says, with what is there to install them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters.artefacts import ensure
from drainproof.clusters.packages import PYTHON, python_packages
from drainproof.errors import UserError
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from pathlib import Path

INSTALLER = """#!/bin/sh
printf '%s\\n' "$0" "$@" > "$(dirname "$0")/called"
for target; do :; done
mkdir "$target"
touch "$target/.lock"
"""


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a Python that notes how it is called; no other uv is found."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    put(folder / "python", INSTALLER)
    return folder


def put(program: Path, script: str) -> None:
    program.write_text(script)
    program.chmod(0o755)


def install(beside: Path, *, byte_code: bool = False) -> list[str]:
    """Install a lock file's packages and return the command that did it."""
    lock = beside / "requirements.lock"
    lock.write_text("one==1 --hash=sha256:00\n")
    packages = python_packages("test", lock, byte_code=byte_code)
    ensure([packages], NoProgress())
    assert list(packages.path.rglob("*")) == [packages.path / "site-packages"]
    return (beside / "called").read_text().splitlines()


def test_uv_installs_if_it_is_there(beside: Path) -> None:
    put(beside / "uv", INSTALLER)
    called = install(beside)
    python = str(beside / "python")
    assert called[:5] == [str(beside / "uv"), "pip", "install", "--python", python]


def test_pip_installs_if_uv_is_not_there(beside: Path) -> None:
    assert install(beside)[:4] == [str(beside / "python"), "-m", "pip", "install"]


@pytest.mark.parametrize("programs", [("python",), ("python", "uv")])
def test_only_what_the_lock_names_is_installed_and_nothing_is_built(
    beside: Path, programs: tuple[str, ...]
) -> None:
    for name in programs:
        put(beside / name, INSTALLER)
    called = install(beside)
    assert {"--no-deps", "--require-hashes"} <= {*called}
    assert called[called.index("--requirement") + 1] == str(beside / "requirements.lock")
    assert called[called.index("--only-binary") + 1] == ":all:"
    assert called[called.index("--python-version") + 1] == PYTHON


@pytest.mark.parametrize(("byte_code", "option"), [(True, "--compile"), (False, "--no-compile")])
def test_byte_code_is_made_if_it_is_asked_for(
    beside: Path, *, byte_code: bool, option: str
) -> None:
    assert option in install(beside, byte_code=byte_code)


def test_packages_that_cannot_be_had_are_one_clear_error(beside: Path) -> None:
    put(beside / "python", "#!/bin/sh\necho no route to the index >&2\nexit 1\n")
    with pytest.raises(UserError, match=r"(?s)packages of .*requirements.lock.*no route") as error:
        install(beside)
    assert "package index" in str(error.value.hint)
