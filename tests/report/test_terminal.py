from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from drainproof.judge import audit
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Problem, Snapshot
from drainproof.report import terminal
from drainproof.report.rows import rows
from drainproof.report.text import printable
from tests.manifests import Raw, deployment, scaled_object
from tests.report.audits import CHECKS, FEW, audited, report, waived

if TYPE_CHECKING:
    from pathlib import Path


def written(*objects: Raw, colour: bool = False, problems: tuple[Problem, ...] = ()) -> str:
    snapshot = Snapshot(Snapshot.of(objects).items, partial=False, problems=problems, source="here")
    result = audit.run(snapshot, PROFILES["production"], [CHECKS[slug] for slug in FEW])
    return "\n".join(terminal.lines(result, rows(result), colour=colour)) + "\n"


def named(name: str, **container: object) -> Raw:
    obj = deployment(**container)
    obj["metadata"]["name"] = name
    return obj


def test_a_clean_audit_says_what_it_looked_at() -> None:
    assert written(deployment(), scaled_object()).splitlines() == [
        "Deployment/inference/llama  vLLM 0.32.0, 5 of 5 checks pass",
        "",
        "no findings. 1 LLM workload in here; profile production.",
    ]


def test_a_finding_says_where_what_happens_and_the_fix() -> None:
    text = written(deployment(lifecycle=None), scaled_object())
    expected = """\
Deployment/inference/llama  vLLM 0.32.0, 1 error, 4 of 5 checks pass
  error  prestop-delay DP104  Deployment/inference/llama
      spec.template.spec.containers[0].lifecycle.preStop
      no preStop hook: SIGTERM comes at once, while the Service still sends new requests, and those
      fail; expected a delay of at least 5 s
      fix: Add lifecycle: {preStop: {sleep: {seconds: 15}}} to the engine's container, and raise
"""
    assert text.splitlines()[:6] == expected.splitlines()


def test_the_tally_counts_by_severity() -> None:
    text = written(deployment(lifecycle=None, startupProbe=None))
    assert text.splitlines()[-1].startswith("3 errors. 1 LLM workload")


def test_errors_come_before_warnings_whatever_the_order_of_checks() -> None:
    hook = {"preStop": {"sleep": {"seconds": 10}}}
    lines = written(deployment(lifecycle=hook, startupProbe=None)).splitlines()
    words = [line.split()[0] for line in lines if line[:2] == "  " and line[2:3] != " "]
    assert words == ["error", "error", "warning"]


def test_a_fix_is_said_once_a_check() -> None:
    text = written(named("a", lifecycle=None), named("b", lifecycle=None))
    assert text.count("no preStop hook") == 2
    assert text.count("fix: Add lifecycle") == 1


def test_the_most_frequent_checks_are_counted_over_several_workloads() -> None:
    text = written(named("a", lifecycle=None, startupProbe=None), named("b", lifecycle=None))
    lines = text.splitlines()
    assert lines[-5].split() == ["2", "error", "prestop-delay", "DP104"]
    assert lines[-3].split() == ["1", "error", "startup-budget", "DP202"]


def test_workloads_without_findings_take_one_line_each() -> None:
    objects = [obj for name in "abc" for obj in (named(name), scaled_object(name))]
    lines = written(*objects).splitlines()
    assert [line.split()[0] for line in lines[:3]] == [
        "Deployment/inference/a", "Deployment/inference/b", "Deployment/inference/c",
    ]  # fmt: skip
    assert lines[3] == ""


def test_a_waived_finding_stays_visible_with_its_reason(tmp_path: Path) -> None:
    text = report("terminal", audited(tmp_path / "a.yaml", waived(), scaled_object()))
    assert "  waived  prestop-delay DP104  " in text
    assert "      waived: short answers (team-batch, until 2027-01-31)" in text
    assert text.splitlines()[-1].startswith("1 waived. 1 LLM workload in 1 file")


def test_what_cannot_be_read_is_listed_with_its_hint() -> None:
    problem = Problem("not YAML", file="a.yaml", line=3, hint="Look.")
    lines = written(deployment(), scaled_object(), problems=(problem,)).splitlines()
    assert lines[-4:-2] == ["error: a.yaml:3: not YAML", "  hint: Look."]


def test_letters_of_other_scripts_are_left_alone() -> None:
    assert printable("Привіт, 日本") == "Привіт, 日本"


def test_a_wrapped_line_is_no_workflow_command() -> None:
    text = "x" * 90 + " ::error::owned"
    assert [line.strip()[:8] for line in terminal.wrapped(text)] == ["xxxxxxxx", "\\x3a:err"]


def test_colours_are_written_only_when_wanted() -> None:
    assert "\x1b[31merror\x1b[0m" in written(deployment(lifecycle=None), colour=True)
    assert "\x1b" not in written(deployment(lifecycle=None))


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_a_narrow_terminal_gets_narrow_lines(columns: int) -> None:
    obj = deployment(lifecycle=None, startupProbe=None, image="vllm/vllm-openai:latest")
    result = audit.run(Snapshot.of([obj]), PROFILES["production"], CHECKS.values())
    said = terminal.lines(result, rows(result), columns=columns)
    longest = max(len(line) for line in said if line.startswith("      ") and " " in line.strip())
    assert columns - 15 < longest <= columns


@pytest.mark.parametrize(("columns", "expected"), [(60, 60), (20, 40), (250, 100), (0, 100)])
def test_lines_are_as_wide_as_the_terminal_within_reason(
    columns: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Screen, "fileno", lambda _: 1, raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    assert terminal.width(Screen()) == expected
    assert terminal.width(io.StringIO()) == 100


def test_what_only_passes_for_a_terminal_is_taken_as_wide_enough() -> None:
    assert terminal.width(Screen()) == 100


@pytest.mark.parametrize(
    ("out", "env", "wanted"),
    [
        (Screen(), {}, True),
        (Screen(), {"NO_COLOR": "1"}, False),
        (Screen(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colours_are_for_terminals_without_no_color(
    out: io.StringIO, env: dict[str, str], *, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert terminal.coloured(out) is wanted
