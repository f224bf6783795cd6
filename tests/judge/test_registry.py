from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.judge.verdict import Severity
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

if TYPE_CHECKING:
    from pathlib import Path

MINE = '''"""Mine holds.

What it checks
    Something.

    In two paragraphs.

Fix
    Do ``this``. Then that.
"""
from drainproof.judge.registry import Severity, check

@check("XY101", severity=Severity.WARNING, kinds=("Deployment",))
def mine(workload, profile):
    {body}
'''


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    return path


def mine(body: str = 'yield workload.finding("spec", "no")') -> str:
    return MINE.replace("{body}", body)


def test_a_users_checks_are_found_beside_the_projects_own(tmp_path: Path) -> None:
    found = registry.load([folder(tmp_path, my_rule=mine())])
    assert {"my-rule", "engine-drains"} <= {check.slug for check in found.checks}


def test_a_check_is_what_its_file_says(tmp_path: Path) -> None:
    (check,) = registry.load([folder(tmp_path, my_rule=mine())], own=False).checks
    assert (check.slug, check.id, check.severity) == ("my-rule", "XY101", Severity.WARNING)
    assert (check.kind, check.arguments) == ("manifest", ("workload", "profile"))
    assert check.title == "Mine holds."
    assert check.section("What it checks") == "Something.\n\nIn two paragraphs."
    assert check.fix == "Do this."


def test_the_folder_tells_what_a_check_looks_at(tmp_path: Path) -> None:
    for kind in ("manifest", "chaos"):
        (tmp_path / kind).mkdir()
        folder(tmp_path / kind, **{f"{kind}_rule": mine().replace("101", str(len(kind)) + "11")})
    found = registry.load([tmp_path], own=False)
    assert [check.slug for check in found.of("chaos")] == ["chaos-rule"]


def test_files_with_an_underscore_in_front_are_left_alone(tmp_path: Path) -> None:
    folder(tmp_path, _shared="raise RuntimeError", my_rule=mine())
    assert len(registry.load([tmp_path], own=False).checks) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def (", "cannot be loaded: SyntaxError"),
        ("import no_such_module", "cannot be loaded: ModuleNotFoundError"),
        ("import sys\nsys.exit(0)", "cannot be loaded: SystemExit"),
        ("x = 1", "expected files with a check in them"),
        (MINE.replace("XY101", "1").replace("{body}", "yield"), "expected an id such as DP104"),
        (MINE.replace("XY101", "DP101").replace("{body}", "yield"), "id DP101 is taken by"),
        (
            mine() + mine().partition('"""\nfrom')[2].partition("\n")[2].replace("mine", "b"),
            "expected one check a file, found 2",
        ),
    ],
)
def test_a_file_that_holds_no_proper_check_is_an_error(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(UserError, match=said):
        registry.load([folder(tmp_path, my_rule=text)])


def test_a_slug_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="slug engine-drains is taken by"):
        registry.load([folder(tmp_path, engine_drains=mine())])


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder of checks"):
        registry.load([tmp_path / "gone"])


def test_an_unknown_slug_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match="there is no check") as error:
        registry.load().get("engine-drain")
    assert error.value.hint == "Did you mean engine-drains?"


@pytest.mark.parametrize(
    ("name", "near"),
    [("Engine_Drains", "engine-drains"), ("dp103", "DP103"), ("DP1O3", "DP103")],
)
def test_the_nearest_is_found_whatever_the_case(name: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        registry.load().get(name)
    assert error.value.hint == f"Did you mean {near}?"


def test_a_check_is_found_by_slug_and_by_id() -> None:
    found = registry.load()
    assert found.get("rolling-update") is found.get("DP103")


def test_a_check_that_asks_for_something_unknown_is_an_error(tmp_path: Path) -> None:
    text = mine().replace("(workload, profile)", "(workload, gpu)")
    checks = registry.load([folder(tmp_path, my_rule=text)], own=False).checks
    with pytest.raises(UserError, match="the check asks for gpu"):
        audit.run(Snapshot.of([deployment()]), PROFILES["dev"], checks)
