from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
import yaml

from drainproof.content import content
from tests.manifests import deployment, scaled_object

if TYPE_CHECKING:
    from pathlib import Path

CHECKS = content("checks") / "manifest"
SCRIPT = {"preStop": {"exec": {"command": ["/drain.sh"]}}}


@pytest.fixture
def manifests(pytester: pytest.Pytester) -> Path:
    path = pytester.mkdir("deploy")
    text = yaml.safe_dump_all([deployment(lifecycle=None), scaled_object()])
    (path / "a.yaml").write_text(text)
    return path


def test_a_check_on_a_subject_is_one_item_with_a_readable_id(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v")
    done.assert_outcomes(passed=9, failed=1)
    done.stdout.fnmatch_lines(["*::prestop-delay[[]Deployment/inference/llama[]] FAILED*"])


def test_a_failure_is_the_finding_and_no_traceback(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests)
    done.stdout.fnmatch_lines(
        ["error: deploy/a.yaml:*lifecycle.preStop", "  no preStop hook: *", "fix: Add*"]
    )
    assert "Traceback" not in done.stdout.str()
    assert "plugin.py" not in done.stdout.str()


def test_items_are_selected_by_keyword_and_by_marker(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-k", "rolling-update")
    done.assert_outcomes(passed=1, deselected=9)
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-m", "not drainproof")
    done.assert_outcomes(deselected=10)


def test_one_file_of_checks_can_be_run_alone(pytester: pytest.Pytester, manifests: Path) -> None:
    done = pytester.runpytest(CHECKS / "prestop_delay.py", "--manifests", manifests)
    done.assert_outcomes(failed=1)


def test_the_report_for_machines_has_the_checks_id(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    pytester.runpytest(CHECKS / "prestop_delay.py", "--manifests", manifests, "--junitxml=r.xml")
    properties = ET.parse(pytester.path / "r.xml").iter("property")  # noqa: S314 - our own file
    assert {item.get("name"): item.get("value") for item in properties} == {
        "check": "prestop-delay",
        "check_id": "DP104",
        "subject": "Deployment/inference/llama",
        "verdict": "fail",
    }


def test_an_inconclusive_check_never_passes(pytester: pytest.Pytester, manifests: Path) -> None:
    (manifests / "a.yaml").write_text(yaml.safe_dump(deployment(lifecycle=SCRIPT)))
    done = pytester.runpytest(CHECKS / "prestop_delay.py", "--manifests", manifests, "-v")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*prestop-delay* INCONCLUSIVE*", "inconclusive: deploy/a.yaml:*"])


def test_the_profile_changes_the_numbers(pytester: pytest.Pytester, manifests: Path) -> None:
    hook = {"preStop": {"sleep": {"seconds": 5}}}
    (manifests / "a.yaml").write_text(yaml.safe_dump(deployment(lifecycle=hook)))
    check = CHECKS / "prestop_delay.py"
    pytester.runpytest(check, "--manifests", manifests).assert_outcomes(failed=1)
    done = pytester.runpytest(check, "--manifests", manifests, "--profile", "module")
    done.assert_outcomes(passed=1)


def test_input_that_cannot_be_read_fails_once(pytester: pytest.Pytester, manifests: Path) -> None:
    (manifests / "b.yaml").write_text("a: [\n")
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v")
    done.assert_outcomes(passed=9, failed=2)
    done.stdout.fnmatch_lines(["*::readable[[]deploy/b.yaml:2[]] FAILED*"])


def test_the_same_object_in_two_files_gives_two_items(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    (manifests / "b.yaml").write_text(yaml.safe_dump(deployment()))
    done = pytester.runpytest(CHECKS / "prestop_delay.py", "--manifests", manifests, "-v")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*[[]Deployment/inference/llama@deploy/b.yaml[]] PASSED*"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "*checks need something to look at: --manifests PATH*"),
        (["--manifests", "gone"], "*gone: no such file or folder"),
        (["--manifests", "empty"], "*empty: expected manifests*"),
        (["--manifests", "other"], "*nothing to audit*"),
        (["--manifests", "deploy", "--profile", "prod"], "*expected a profile*"),
        (["--manifests", "deploy", "--context", "x"], "*expected either --manifests or --context*"),
        (["--context", "x"], "*expected --namespace NAME or --all-namespaces*"),
        (["--target", "deployment/x"], "*--target needs --context NAME and one --namespace NAME*"),
    ],
)
@pytest.mark.usefixtures("manifests")
def test_bad_usage_ends_the_run_with_one_clear_error(
    pytester: pytest.Pytester, arguments: list[str], said: str
) -> None:
    pytester.mkdir("empty")
    (pytester.mkdir("other") / "a.yaml").write_text("apiVersion: v1\nkind: Service\n")
    done = pytester.runpytest(CHECKS, *arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines([said])


def test_workers_in_parallel_collect_the_same_items(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-n", "2")
    done.assert_outcomes(passed=9, failed=1)


def test_other_peoples_tests_are_left_alone(pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("manifest")
    (folder / "test_mine.py").write_text("def test_mine():\n    pass\n")
    (folder / "rule.py").write_text("# drainproof\n@check()\ndef f(): pass\n")
    pytester.runpytest().assert_outcomes(passed=1)


def test_an_option_of_another_plugin_keeps_its_name(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(other="def pytest_addoption(parser):\n    parser.addoption('--profile')\n")
    done = pytester.runpytest_subprocess("-p", "other", "--help")
    done.stdout.fnmatch_lines(["*--drainproof-profile=NAME*"])


def test_the_plugin_imports_nothing_heavy_until_it_is_used() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport drainproof.plugin\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "['drainproof', 'drainproof.plugin']"


def test_adding_the_options_loads_no_client_and_no_parser() -> None:
    code = (
        "import sys, pytest\ntry:\n    pytest.main(['--version'])\nexcept SystemExit: pass\n"
        "heavy = ('kubernetes', 'yaml', 'yaml_rs', 'orjson', 'click', 'uvloop')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip().splitlines()[-1] == "[]"
