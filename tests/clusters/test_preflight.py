"""What a machine lacks is said at once, before anything is built."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest

from drainproof.clusters import artefacts, debian, engine, golang, preflight
from drainproof.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make this machine one that lacks nothing, whatever it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(engine, "has_capability", lambda _: True)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(golang, "go_version", lambda: "1.99.0")
    monkeypatch.setattr(debian, "package_sources", lambda *_: ["deb"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))


def found(*, to_build: bool = True) -> str:
    return "\n".join(preflight.problems(own_engine=True, to_build=to_build))


def test_a_machine_with_everything_has_no_problem() -> None:
    assert found() == ""


def test_not_being_root_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "must be run by root" in found()


def test_a_root_without_the_power_to_make_namespaces_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "has_capability", lambda _: False)
    assert "CAP_SYS_ADMIN" in found()


def test_a_machine_without_go_is_told_which_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "go_version", lambda: None)
    assert "Go 1.24.0 or later is not installed" in found()


@pytest.mark.parametrize("version", ["1.9.7", "1.23.12", "1.24rc1"])
def test_a_go_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(golang, "go_version", lambda: version)
    monkeypatch.setattr(golang, "go_tool", lambda: "/opt/go")
    assert f"/opt/go is {version}" in found()


def test_a_disk_that_is_too_full_is_said_with_both_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 3 * 10**9))
    assert "15 GB of free disk are needed" in found()
    assert "3.0 GB are free" in found()


@pytest.mark.parametrize(("to_build", "needed"), [(True, 23), (False, 8)])
def test_stacks_that_must_be_built_need_disk_of_their_own(
    monkeypatch: pytest.MonkeyPatch, *, to_build: bool, needed: int
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 3 * 10**9))
    said = preflight.problems(own_engine=True, to_build=to_build, also=True)
    assert [one for one in said if f"{needed} GB of free disk are needed" in one]


def test_a_cluster_whose_artefacts_are_there_needs_less_disk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 6 * 10**9))
    assert found(to_build=False) == ""


def test_a_cluster_whose_artefacts_are_there_needs_no_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golang, "go_version", lambda: None)
    assert found(to_build=False) == ""


def test_missing_programs_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda tool: None if tool in {"unshare", "nsenter"} else tool
    )
    assert "not on the PATH: nsenter, unshare" in found()


def test_a_machine_that_is_not_debian_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "dpkg" else tool)
    assert "a Debian machine is needed" in found()


def test_a_debian_without_sources_of_the_release_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(debian, "package_sources", lambda *_: [])
    assert "apt has no source for Debian bookworm" in found()


def test_everything_that_is_missing_is_in_one_error_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(golang, "go_version", lambda: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**9))
    with pytest.raises(UserError) as error:
        preflight.check(own_engine=True)
    lines = str(error.value).splitlines()[1:]
    assert [line.split()[1] for line in lines] == ["it", "Go", "15"]
    assert not artefacts.artefacts_folder().exists()


def test_without_a_docker_of_the_users_a_private_one_is_checked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(artefacts, "missing", lambda _: [])
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    preflight.check(own_engine=False)
    with pytest.raises(UserError):
        preflight.check(own_engine=True)
