from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import golang
from drainproof.errors import UserError
from drainproof.policies import kyverno
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from pathlib import Path


def program(folder: Path, said: str) -> Path:
    """Put a program called kyverno into a folder that says this when it is asked its version."""
    found = folder / "kyverno"
    found.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    found.chmod(0o755)
    return found


@pytest.mark.parametrize(
    "said", ["Version: v1.19.1", "Version: 1.17.0\nTime: now", "Version: v2.0.0"]
)
def test_a_version_that_knows_the_policies_fits(said: str) -> None:
    assert kyverno.fits(said)


@pytest.mark.parametrize("said", ["Version: v1.16.3", "Version: ---", "", "v1.19.1"])
def test_an_older_or_unknown_version_does_not_fit(said: str) -> None:
    assert not kyverno.fits(said)


def test_the_command_line_on_the_path_is_taken_if_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = program(tmp_path, "Version: v1.19.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert kyverno.command(NoProgress()) == there


def test_one_that_does_not_fit_and_no_go_is_an_error_that_says_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = program(tmp_path, "Version: v1.10.0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(golang, "go_tool", lambda: None)
    with pytest.raises(UserError, match=rf"1\.17 or newer, found another version at {there}"):
        kyverno.command(NoProgress())


def test_none_at_all_and_no_go_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(golang, "go_tool", lambda: None)
    with pytest.raises(UserError, match="found none on the PATH"):
        kyverno.command(NoProgress())
