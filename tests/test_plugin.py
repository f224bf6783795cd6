from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import orjson
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
    few = '["prestop-delay", "rolling-update", "has-scaler"]'
    (pytester.path / "drainproof.toml").write_text(f"select = {few}\n")
    path = pytester.mkdir("deploy")
    text = yaml.safe_dump_all([deployment(lifecycle=None), scaled_object()])
    (path / "a.yaml").write_text(text)
    return path


def test_a_check_on_a_subject_is_one_item_with_a_readable_id(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v")
    done.assert_outcomes(passed=2, failed=1)
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


def test_no_name_acts_on_a_terminal_or_a_ci_log(pytester: pytest.Pytester, manifests: Path) -> None:
    hostile = deployment(lifecycle=None, image="vllm/vllm-openai:v0.32.0")
    hostile["metadata"]["name"] = "a\x1b[31m\n::error::b ##[add-mask]c"
    broken = deployment(lifecycle={"preStop": "a\n::error::b"})
    broken["metadata"]["name"] = hostile["metadata"]["name"]
    (manifests / "a.yaml").write_text(yaml.safe_dump_all([hostile, broken]))
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v", "--color=no")
    shown = done.stdout.str()
    assert "prestop-delay[Deployment/inference/a\\x1b[31m\\x0a::error::b" in shown
    assert "\x1b" not in shown
    assert "##[" not in shown
    assert not any(line.lstrip().startswith("::") for line in done.outlines)


def test_standard_input_is_pytests_own(pytester: pytest.Pytester, manifests: Path) -> None:
    text = (manifests / "a.yaml").read_text()
    done = pytester.run(
        sys.executable, "-m", "pytest", CHECKS, "--manifests", "-", stdin=text.encode()
    )
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["*--manifests -: pytest keeps standard input*", "*run it with -s*"])
    done = pytester.run(
        sys.executable, "-m", "pytest", CHECKS, "--manifests", "-", "-s", stdin=text.encode()
    )
    done.assert_outcomes(passed=2, failed=1)


def test_items_are_selected_by_keyword_and_by_marker(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-k", "rolling-update")
    done.assert_outcomes(passed=1, deselected=2)
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-m", "not drainproof")
    done.assert_outcomes(deselected=3)


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
    strict = ("--manifests", manifests, "--fail-on", "warning")
    pytester.runpytest(check, *strict).assert_outcomes(failed=1)
    pytester.runpytest(check, *strict, "--profile", "module").assert_outcomes(passed=1)


def test_a_finding_below_fail_on_passes_and_is_listed(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    hook = {"preStop": {"sleep": {"seconds": 5}}}
    (manifests / "a.yaml").write_text(yaml.safe_dump(deployment(lifecycle=hook)))
    done = pytester.runpytest(CHECKS / "prestop_delay.py", "--manifests", manifests, "-v")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        [
            "*::prestop-delay* WARNING*",
            "*drainproof: findings below --fail-on*",
            "prestop-delay[[]Deployment/inference/llama[]]",
            "warning: deploy/a.yaml:*",
            "  SIGTERM is delayed by 5 s*",
        ]
    )


WAIVER = "{{reason: short answers, owner: team-batch, expires: {}}}"


def waive(manifests: Path, day: str) -> None:
    obj = deployment(lifecycle=None)
    obj["metadata"]["annotations"] = {"waive.drainproof.dev/prestop-delay": WAIVER.format(day)}
    (manifests / "a.yaml").write_text(yaml.safe_dump_all([obj, scaled_object()]))


def test_a_waived_finding_is_an_expected_failure_with_its_reason(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    waive(manifests, "2999-01-31")
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-rx", "--junitxml=r.xml")
    done.assert_outcomes(passed=3, xfailed=1)  # the waiver itself is an item that passes
    done.stdout.fnmatch_lines(["XFAIL * waived: short answers (team-batch, until 2999-01-31)"])
    (skipped,) = ET.parse(pytester.path / "r.xml").iter("skipped")  # noqa: S314 - our own file
    assert skipped.get("message") == "waived: short answers (team-batch, until 2999-01-31)"


def test_an_expired_waiver_fails_as_an_item_of_its_own(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    waive(manifests, "2020-01-31")
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v")
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(
        ["*::waivers[[]prestop-delay of Deployment/inference/llama[]] FAILED*", "*expired on 2020*"]
    )


def test_a_waiver_that_cannot_be_read_fails_once(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    waive(manifests, "tomorrow")
    done = pytester.runpytest(CHECKS, "--manifests", manifests)
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(["*a waiver: expires: expected the last day that it holds*"])


def test_findings_of_the_baseline_are_expected_failures(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    command = [sys.executable, "-m", "drainproof", "audit", "deploy", "--write-baseline", "b.json"]
    subprocess.run(command, cwd=pytester.path, check=True, capture_output=True, timeout=60)
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "--baseline", "b.json", "-rx")
    done.assert_outcomes(passed=2, xfailed=1)
    done.stdout.fnmatch_lines(["XFAIL * in the baseline"])


def test_the_plugin_and_the_command_line_say_the_same(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    waive(manifests, "2020-01-31")
    command = [sys.executable, "-m", "drainproof", "audit", "deploy", "--format", "json"]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, check=False, timeout=60)
    findings = orjson.loads(done.stdout)["findings"]
    pytester.runpytest(CHECKS, "--manifests", manifests, "--junitxml=r.xml")
    cases = ET.parse(pytester.path / "r.xml").iter("testcase")  # noqa: S314 - our own file
    failed = {
        item.get("value")
        for case in cases
        if case.find("failure") is not None
        for item in case.iter("property")
        if item.get("name") == "check"
    }
    assert failed == {item["check"] for item in findings} == {"prestop-delay", "waivers"}


def test_a_field_of_the_wrong_type_fails_what_needs_it_without_a_traceback(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    text = yaml.safe_dump_all([deployment(), scaled_object(minReplicaCount="two")])
    (manifests / "a.yaml").write_text(text)
    done = pytester.runpytest(CHECKS, "--manifests", manifests)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["*expected a whole number, found the string*"])
    assert "Traceback" not in done.stdout.str()


def test_the_name_of_the_package_means_its_own_checks(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    done = pytester.runpytest("--pyargs", "drainproof", "--manifests", manifests)
    done.assert_outcomes(passed=2, failed=1)
    done = pytester.runpytest("--pyargs", "drainproof")
    done.stderr.fnmatch_lines(["*checks need something to look at*"])


def test_input_that_cannot_be_read_fails_once(pytester: pytest.Pytester, manifests: Path) -> None:
    (manifests / "b.yaml").write_text("a: [\n")
    done = pytester.runpytest(CHECKS, "--manifests", manifests, "-v")
    done.assert_outcomes(passed=2, failed=2)
    done.stdout.fnmatch_lines(["*::readable[[]deploy/b.yaml:2[]] FAILED*"])


def test_what_cannot_be_read_fails_once_also_where_one_check_is_run(
    pytester: pytest.Pytester, manifests: Path
) -> None:
    (manifests / "b.yaml").write_text("a: [1,\nb: 2\n")
    done = pytester.runpytest(CHECKS / "rolling_update.py", "--manifests", manifests)
    done.assert_outcomes(passed=1, failed=1)
    done = pytester.runpytest(CHECKS, CHECKS.parent / "live", "--manifests", manifests, "-q")
    assert done.stdout.str().count("::readable[") == 1


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
        (["--manifests", "deploy", "--waivers", "gone"], "*gone: cannot be read*"),
        (["--manifests", "deploy", "--baseline", "gone"], "*gone: cannot be read*"),
        (["--manifests", "deploy", "--drainproof-config", "gone"], "*gone: cannot be read*"),
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
    done.assert_outcomes(passed=2, failed=1)


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
