"""A Python that can't be had is said, a test that fails fails all, and none tested is no pass."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import debian
from drainproof.errors import UserError
from drainproof.progress import NoProgress
from tests import pythons
from tests.pythons import Interpreter, NotToBeHadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.progress import Progress

HERE = Interpreter(Path(sys.executable), "this machine's")


def has(monkeypatch: pytest.MonkeyPatch, *versions: str) -> None:
    def find(version: str, progress: Progress) -> Interpreter:  # noqa: ARG001 - its signature
        if version not in versions:
            raise NotToBeHadError(f"nobody has {version}")
        return HERE

    monkeypatch.setattr(pythons, "find", find)


def tells(monkeypatch: pytest.MonkeyPatch, tested: Callable[[], str]) -> None:
    monkeypatch.setattr(pythons, "tested", lambda *_: tested())


def fails() -> str:
    raise UserError("pytest failed: FAILED tests/test_x.py")


@pytest.mark.parametrize(
    ("there", "code"), [(("3.12", "3.13"), 0), (("3.12",), 0), ((), 3)], ids=["all", "some", "none"]
)
def test_what_was_not_tested_is_said_at_the_end_and_nothing_tested_is_no_pass(
    there: tuple[str, ...],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    has(monkeypatch, *there)
    tells(monkeypatch, lambda: "3.9.9: 7 passed")
    assert pythons.main(["3.12", "3.13"]) == code
    told = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("Python 3.9.9: 7 passed") for line in told) == len(there)
    missing = [one for one in ("3.12", "3.13") if one not in there]
    assert told[len(told) - len(missing) :] == [
        f"not tested: Python {one}: nobody has {one}" for one in missing
    ]


def test_a_test_that_fails_on_one_python_fails_all_and_the_others_are_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has(monkeypatch, "3.12", "3.13")
    results = iter(["", "3.13.1: 7 passed"])
    tells(monkeypatch, lambda: next(results) or fails())
    assert pythons.main(["3.12", "3.13"]) == 1
    told = capsys.readouterr().out
    assert "FAILED tests/test_x.py" in told
    assert "Python 3.13.1: 7 passed" in told
    assert told.splitlines()[-1] == "failed: Python 3.12"


def test_a_dependency_that_can_not_be_installed_is_said_and_no_test_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str | Path] = []

    def run(words: list[str | Path], **_: object) -> str:
        asked.extend(words)
        if pythons.LOCK in words:
            raise UserError("some-parser has no usable wheels")
        return ""

    monkeypatch.setattr(pythons, "run", run)
    with pytest.raises(NotToBeHadError, match="some-parser has no"):
        pythons.tested(HERE, ["tests"])
    assert "pytest" not in asked


@pytest.mark.parametrize("word", ["3", "3.14.1", "3.14t", "../3.14", "2.7"])
def test_what_is_no_minor_version_is_bad_usage(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        pythons.main([word])
    assert ended.value.code == 2
    assert word in capsys.readouterr().err


def test_without_root_or_without_debian_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NotToBeHadError, match="only root can unpack"):
        pythons.unpacked("3.14", NoProgress())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(debian, "package_sources", lambda *_: [])
    with pytest.raises(NotToBeHadError, match="is not Debian bookworm"):
        pythons.unpacked("3.14", NoProgress())


def test_the_python_of_this_machine_is_found_by_its_version() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = pythons.find(version, NoProgress())
    assert found.within == ()
    assert found.path.exists()


def test_the_classifiers_name_no_python_that_is_not_tested() -> None:
    text = (pythons.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    named = {line.split(" :: ")[2].strip('",') for line in text.splitlines()
             if '"Programming Language :: Python :: 3.' in line}  # fmt: skip
    assert named
    assert named <= {"3.11", *pythons.PYTHONS}
