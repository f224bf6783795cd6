from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
import yaml

from drainproof.cli import COMMANDS
from tests.manifests import deployment, scaled_object

GOOD = yaml.safe_dump_all([deployment(), scaled_object()])
BAD = yaml.safe_dump_all([deployment(lifecycle=None), scaled_object()])
FEW = ("--select", "prestop-delay", "--select", "has-scaler")
"""Checks that GOOD passes, and of which BAD fails the first."""


def run(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "drainproof", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    folder = tmp_path / "deploy"
    folder.mkdir()
    return folder


def test_clean_manifests_exit_with_0(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    done = run("audit", manifests, *FEW)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no findings. 1 LLM workload in 1 file; profile production." in done.stdout


def test_findings_exit_with_1_and_name_file_and_line(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    done = run("audit", manifests)
    assert done.returncode == 1
    assert f"error  prestop-delay DP104  {manifests}/a.yaml:" in done.stdout


def test_broken_input_exits_with_2_and_the_rest_is_audited(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    (manifests / "b.yaml").write_text("a: [\n")
    done = run("audit", manifests)
    assert done.returncode == 2
    assert "prestop-delay" in done.stdout
    assert f"error: {manifests}/b.yaml:2: not YAML" in done.stdout


def test_only_inconclusive_findings_exit_with_3(manifests: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["/drain.sh"]}}}
    text = yaml.safe_dump_all([deployment(lifecycle=hook), scaled_object()])
    (manifests / "a.yaml").write_text(text)
    assert run("audit", manifests, *FEW).returncode == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["audit"], "expected files or folders, or --context"),
        (["audit", "gone.yaml"], "gone.yaml: no such file or folder"),
        (["audit", "-A"], "expected --context too"),
        (["audit", "--context", "x"], "expected -n NAMESPACE or -A"),
        (["audit", "--context", "x", "-A", "y"], "expected either paths or --context"),
        (["audit", "--checks", "gone", "-"], "expected a folder of checks"),
        (["audit", "-"], "nothing to audit"),
        (["audit", "--select", "prestop", "-"], "there is no check 'prestop'"),
        (["audit", "--format", "json", "--format", "html", "-"], "to standard output"),
        (["audit", "--config", "gone.toml", "-"], "gone.toml: cannot be read"),
        (["audit", "--waivers", "gone.yaml", "-"], "gone.yaml: cannot be read"),
        (["audit", "--format", "pdf", "-"], "expected --format terminal|json|junit|"),
        (["rules", "no-such"], "there is no check 'no-such'"),
        (["no-such"], "No such command 'no-such'"),
    ],
)
def test_bad_usage_exits_with_2_and_one_clear_error(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_unknown_context_exits_with_2(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    done = run("audit", "--context", "nowhere", "-A")
    assert done.returncode == 2
    assert "error: there is no context 'nowhere'" in done.stderr
    assert "Traceback" not in done.stderr


def test_standard_input_is_audited_and_lines_are_found_in_it() -> None:
    done = run("audit", "--format", "json", "-", *FEW, stdin=BAD)
    (finding,) = orjson.loads(done.stdout)["findings"]
    container = BAD[: BAD.index("- args:")].count("\n") + 1
    assert (finding["file"], finding["line"]) == ("-", container)


def test_the_report_goes_to_a_file(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    done = run("audit", manifests, *FEW, "--format", "json", "--output", tmp_path / "r.json")
    assert (done.returncode, done.stdout) == (1, "")
    assert orjson.loads((tmp_path / "r.json").read_bytes())["summary"]["fail"] == 1


def test_a_file_that_cannot_be_written_is_an_error(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    done = run("audit", manifests, "--output", manifests / "no" / "r.json")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_a_saved_snapshot_gives_the_same_verdicts_again(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    first = run("audit", manifests, "--format", "json", "--save", tmp_path / "s.json")
    (manifests / "a.yaml").unlink()
    again = run("audit", tmp_path / "s.json", "--format", "json")
    messages = [
        [item["message"] for item in orjson.loads(done.stdout)["findings"]]
        for done in (first, again)
    ]
    assert messages[0] == messages[1] != []


def test_a_check_of_a_users_own_runs_beside_the_others(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    (tmp_path / "mine.py").write_text(
        '"""Names are long."""\n'
        "from drainproof.judge.registry import Severity, check\n"
        '@check("XY101", severity=Severity.WARNING)\n'
        "def long_names(workload):\n"
        '    yield workload.finding("metadata.name", f"{workload.name} is short")\n'
    )
    done = run("audit", manifests, "--checks", tmp_path, "--select", "mine", "--fail-on", "warning")
    assert done.returncode == 1
    assert "llama is short" in done.stdout


def test_warnings_fail_only_where_they_are_asked_to(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(yaml.safe_dump(deployment()))  # no scaler: a warning in files
    done = run("audit", manifests, *FEW)
    assert (done.returncode, "1 warning." in done.stdout) == (0, True)
    assert run("audit", manifests, *FEW, "--fail-on", "warning").returncode == 1


def test_several_reports_are_written_at_once(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    sarif, html = tmp_path / "a.sarif", tmp_path / "a.html"
    done = run(
        "audit", manifests, *FEW, "--format", "sarif", "--output", sarif, "--format", "terminal",
        "--format", f"html={html}",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.startswith("Deployment/inference/llama")
    assert orjson.loads(sarif.read_bytes())["version"] == "2.1.0"
    assert html.read_text().startswith("<!doctype html>")


def test_a_baseline_is_written_and_leaves_new_findings_only(
    manifests: Path, tmp_path: Path
) -> None:
    (manifests / "a.yaml").write_text(BAD)
    known = tmp_path / "known.json"
    done = run("audit", manifests, *FEW, "--write-baseline", known)
    assert (done.returncode, done.stdout) == (0, f"{known}: 1 finding taken as given.\n")
    done = run("audit", manifests, *FEW, "--baseline", known)
    assert (done.returncode, "1 in the baseline." in done.stdout) == (0, True)
    (manifests / "b.yaml").write_text(BAD.replace("llama", "other"))
    done = run("audit", manifests, *FEW, "--baseline", known)
    assert (done.returncode, done.stdout.count("no preStop hook")) == (1, 1)


@pytest.mark.parametrize("option", [["--format", "json"], ["--output", "report.txt"]])
def test_a_baseline_is_not_written_where_a_report_is_asked_for_too(
    manifests: Path, tmp_path: Path, option: list[str]
) -> None:
    (manifests / "a.yaml").write_text(BAD)
    known = tmp_path / "known.json"
    done = run("audit", manifests, *FEW, "--write-baseline", known, *option)
    assert (done.returncode, known.exists()) == (2, False)
    assert "without --format, --output and --github-step-summary" in done.stderr


def test_settings_of_the_working_directory_hold(
    manifests: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (manifests / "a.yaml").write_text(BAD)
    monkeypatch.chdir(manifests)
    (manifests / "drainproof.toml").write_text('select = ["has-scaler"]\n')
    assert run("audit", "a.yaml").returncode == 0
    assert run("audit", "a.yaml", "--select", "prestop-delay").returncode == 1
    (manifests / "drainproof.toml").write_text('selekt = ["has-scaler"]\n')
    done = run("audit", "a.yaml")
    assert (done.returncode, "did you mean select?" in done.stderr) == (2, True)


def test_a_waiver_in_a_file_lets_a_finding_stay(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text(BAD)
    waivers = tmp_path / "w.yaml"
    waivers.write_text(
        "waivers:\n- check: prestop-delay\n  subject: Deployment/inference/*\n"
        "  reason: short answers\n  owner: team-batch\n  expires: 2999-01-31\n"
    )
    done = run("audit", manifests, *FEW, "--waivers", waivers)
    assert done.returncode == 0
    assert "waived: short answers (team-batch, until 2999-01-31)" in done.stdout
    waivers.write_text(waivers.read_text().replace("2999", "2020"))
    done = run("audit", manifests, *FEW, "--waivers", waivers)
    assert done.returncode == 1
    assert f"error  waivers DP001  {waivers}:6" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fault", "reboot"], "--fault: no fault is called 'reboot'"),
        (["--api", "grpc"], "--api: expected one of completions, chat, tgi, found 'grpc'"),
        (["--token-env", "TOKEN"], "--token-env: expected with --url only"),
        (["--plan", "plan.yaml"], "plan.yaml:2: raet: no setting has this name"),
    ],
)
def test_a_chaos_run_that_is_asked_for_wrongly_is_one_error_before_any_cluster_is_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.yaml").write_text("tokens: 9\nraet: 2\nfaults: [rollout]\n")
    done = run("chaos", "deployment/x", "--context", "none", "-n", "n", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_rules_are_listed_and_explained() -> None:
    assert "DP103  manifest  rolling-update" in run("rules").stdout
    assert "At admission\n    none: which flags" in run("rules", "known-flags").stdout
    assert "At admission" not in run("rules", "restarts").stdout
    explained = run("rules", "rolling-update").stdout
    assert "\nAt admission\n    policy" in explained
    assert explained.startswith("rolling-update (DP103, error, manifest)\n\nRolling updates keep")
    assert "\nWhy\n" in explained


def test_the_help_lists_every_command_without_loading_any() -> None:
    code = (
        "import os, sys\nfrom drainproof import cli\nsys.argv = ['drainproof', '--help']\n"
        "os._exit = sys.exit\n"
        "try:\n    cli.main()\nexcept SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('drainproof.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    *listed, loaded = done.stdout.strip().splitlines()
    assert [name for name in COMMANDS if not any(name in line for line in listed)] == []
    assert loaded == "['drainproof.cli', 'drainproof.errors', 'drainproof.examples']"


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    done = run(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_breakdown_is_one_error_and_a_traceback_only_if_asked_for(debug: str) -> None:
    code = (
        "import sys\nfrom drainproof import cli\nfrom drainproof.judge import registry\n"
        "registry.load = lambda *_, **__: 1 / 0\nsys.argv = ['drainproof', 'rules']\ncli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **({"DRAINPROOF_DEBUG": debug} if debug else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ("Traceback" in done.stderr) == bool(debug)
    if not debug:
        assert done.returncode == 2
        assert done.stderr.startswith("error: drainproof itself broke down: ZeroDivisionError")
        assert "report it" in done.stderr


def test_the_audit_of_files_loads_no_kubernetes_client(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    code = (
        "import os, sys\nfrom drainproof import cli\nos._exit = sys.exit\n"
        f"sys.argv = ['drainproof', 'audit', {str(manifests)!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit: pass\n"
        "print([name for name in ('kubernetes', 'rich', 'yaml', 'uvloop') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error(manifests: Path) -> None:
    (manifests / "a.yaml").write_text("---\n".join([BAD] * 300))
    command = [sys.executable, "-m", "drainproof", "audit", str(manifests), "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()  # as `| head -n 1` does; far more is to come
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def test_a_reader_that_goes_away_does_not_change_the_exit_code(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    command = [sys.executable, "-m", "drainproof", "audit", str(manifests), *FEW]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", [("audit", "FILES"), ("fix", "FILES"), ("rules",), ("--help",)])
def test_a_full_disk_is_one_error(manifests: Path, command: tuple[str, ...]) -> None:
    (manifests / "a.yaml").write_text(BAD)
    arguments = [str(manifests) if part == "FILES" else part for part in command]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "drainproof", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("cannot be written: No space left on device")
    assert "broke down" not in done.stderr


def test_nothing_to_audit_says_which_engines_are_known(manifests: Path) -> None:
    """To annotate another engine as one of them would be false."""
    obj = deployment(image="ollama/ollama:0.5.7", args=["serve"])
    (manifests / "a.yaml").write_text(yaml.safe_dump(obj))
    done = run("audit", manifests)
    assert done.returncode == 2
    for engine in ("vLLM (vllm)", "SGLang (sglang)", "NIM (nim)"):
        assert engine in done.stderr
    assert "drainproof.dev/engine: vllm" not in done.stderr


def in_shell(redirected: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard input or output is closed."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" -m drainproof "$@" {redirected}', sys.executable]
        + [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("command", [("audit", "FILES"), ("fix", "FILES"), ("rules",), ("--help",)])
def test_a_report_that_nobody_can_get_is_one_error(
    manifests: Path, command: tuple[str, ...]
) -> None:
    (manifests / "a.yaml").write_text(BAD)
    arguments = [str(manifests) if part == "FILES" else part for part in command]
    done = in_shell(">&-", *arguments)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("cannot be written: Bad file descriptor")
    assert "broke down" not in done.stderr


def test_standard_output_may_be_closed_where_the_report_goes_to_a_file(manifests: Path) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    report = manifests.parent / "report.json"
    done = in_shell(">&-", "audit", manifests, *FEW, f"--format=json={report}")
    assert (done.returncode, done.stderr) == (0, "")
    assert orjson.loads(report.read_bytes())["findings"] == []


def test_standard_input_that_is_closed_is_one_error() -> None:
    done = in_shell("<&-", "audit", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: standard input is closed: expected manifests on it\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("",), "expected a file or a folder, found an empty name"),
        (("FILES", "--format", "html="), "--format html=: expected a file after the =, found none"),
        (("FILES", "--output", ""), "--output: expected a file, found an empty name"),
    ],
)
def test_an_empty_name_is_one_error(manifests: Path, arguments: tuple[str, ...], said: str) -> None:
    (manifests / "a.yaml").write_text(GOOD)
    done = run("audit", *(manifests if part == "FILES" else part for part in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"error: {said}"


def test_an_error_does_not_act_on_what_shows_it(tmp_path: Path) -> None:
    file = tmp_path / "drainproof.toml"
    file.write_text('profile = "a\\u001b[31m\\n::error::b"\n')
    done = run("audit", tmp_path, "--config", file)
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert not any(line.lstrip().startswith("::") for line in done.stderr.splitlines())


@pytest.mark.parametrize("option", ["--format=json=", "--output=", "--write-baseline=", "--save="])
def test_nothing_is_written_over_a_manifest(manifests: Path, option: str) -> None:
    file = manifests / "a.yaml"
    file.write_text(GOOD)
    done = run("audit", manifests, f"{option}{manifests}/../{manifests.name}/a.yaml")
    assert done.returncode == 2
    assert "would be overwritten" in done.stderr
    assert file.read_text() == GOOD


@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_a_terminal_that_lacks_a_letter_gets_its_number(manifests: Path, form: str) -> None:
    (manifests / "a.yaml").write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "drainproof", "audit", str(manifests), "--format", form],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.isascii()


def test_among_some_manifests_there_may_be_nothing_to_audit(manifests: Path) -> None:
    (manifests / "a.yaml").write_text("on: push\n")
    assert run("audit", manifests).returncode == 2
    done = run("audit", manifests, "--partial")
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing to audit" in done.stderr
    (manifests / "b.yaml").write_text("{")
    assert run("audit", manifests, "--partial").returncode == 2
    (manifests / "b.yaml").write_text(BAD)
    assert run("audit", manifests, "--partial").returncode == 1
