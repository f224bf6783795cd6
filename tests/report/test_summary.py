"""A step's summary keeps what was there, and what GitHub would not take is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof.report import markdown, summary
from drainproof.report.rows import rows
from drainproof.report.run_markdown import write
from tests.judge.story import Story
from tests.manifests import deployment
from tests.report.audits import audited, report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Done

LINES = [(0, "head"), (2, "warning"), (1, "error"), (3, "gone"), (1, "é" * 200)]
BEFORE = "said by another"


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "summary"
    file.write_text(BEFORE)
    monkeypatch.setenv(summary.VARIABLE, str(file))
    return file


def test_an_audit_is_added_to_what_is_there(
    step: Path, tmp_path: Path, run: Callable[..., Done]
) -> None:
    manifest = tmp_path / "a.yaml"
    text = report("markdown", audited(manifest, deployment(lifecycle=None)))
    assert run("audit", manifest, "--github-step-summary").code == 1
    said = step.read_text(encoding="utf-8")
    assert said.startswith(f"{BEFORE}\n\n## drainproof: ")
    row = next(line for line in text.splitlines() if "prestop-delay" in line)
    assert row in said.splitlines()


def test_a_run_is_added_to_what_is_there(
    step: Path, evidence: Path, run: Callable[..., Done]
) -> None:
    done = run("judge", evidence, "--github-step-summary")
    assert (done.code, "worst streams" in done.out) == (1, True)
    text = run("judge", evidence, "--format", "markdown").out
    assert step.read_text(encoding="utf-8") == f"{BEFORE}\n\n{text}"


def test_two_reports_of_a_step_stay(step: Path, evidence: Path, run: Callable[..., Done]) -> None:
    for _ in range(2):
        run("judge", evidence, "--github-step-summary")
    assert step.read_text(encoding="utf-8").count("\n\n## drainproof: ") == 2


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(
    "words",
    [
        ["audit", "nowhere/"],
        ["judge", "nowhere/"],
        ["chaos", "deployment/a", "--context", "none", "-n", "a"],
    ],
    ids=lambda words: words[0],
)
def test_without_a_step_it_is_one_error_before_anything_is_done(
    value: str | None, words: list[str], monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    if value is None:
        monkeypatch.delenv(summary.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(summary.VARIABLE, value)
    done = run(*words, "--github-step-summary")
    assert (done.code, done.out) == (2, "")
    assert "$GITHUB_STEP_SUMMARY, which names the file to write to, is not set" in done.errors
    assert "Elsewhere: --format markdown=FILE" in done.errors


def test_a_summary_that_can_not_be_written_is_an_error(
    evidence: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    monkeypatch.setenv(summary.VARIABLE, "/nowhere/summary")
    done = run("judge", evidence, "--github-step-summary")
    assert done.code == 2
    assert "/nowhere/summary: cannot be written: No such file or directory" in done.errors


def test_a_manifest_is_not_taken_for_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    manifest = tmp_path / "a.yaml"
    manifest.write_text(yaml.safe_dump(deployment(lifecycle=None)))
    monkeypatch.setenv(summary.VARIABLE, str(manifest))
    before = manifest.read_text()
    done = run("audit", manifest, "--github-step-summary")
    assert (done.code, manifest.read_text()) == (2, before)
    assert "a manifest of this audit" in done.errors


@pytest.mark.parametrize("room", range(150, 700, 7))
def test_what_fits_is_the_most_severe_and_the_rest_is_counted(room: int) -> None:
    said = summary.fitted(LINES, room, "all.md")
    assert len(said.encode()) <= room
    kept = [line for _, line in LINES if line in said.splitlines()]
    by_rank = [line for _, line in sorted(LINES, key=lambda item: item[0])]
    assert set(kept) == set(by_rank[: len(kept)])
    found = re.match(
        r"\*\*(\d+) lines \((\d+) KiB\) are left out here\*\*.* All of it: all.md", said
    )
    left = int(found[1]) if found else 0
    assert left + len(kept) == len(LINES) or said == ""


def test_where_all_of_it_fits_nothing_is_said() -> None:
    assert summary.fitted(LINES, 1000, "all.md") == "".join(f"{line}\n" for _, line in LINES)


def test_no_more_is_written_than_github_takes(step: Path) -> None:
    lines = [(0, "head"), *((1 + at % 4, f"{at} {'x' * 90}") for at in range(20_000))]
    summary.add(step, lines, [("terminal", "-"), ("json", "all.json")], "otherwise")
    said = step.read_bytes()
    assert summary.LIMIT - 200 < len(said) <= summary.LIMIT
    assert b"All of it: all.json" in said
    summary.add(step, lines, [("terminal", "-")], "otherwise")
    assert len(step.read_bytes()) <= summary.LIMIT


def test_a_summary_without_room_is_left_as_it_is_and_that_is_said(
    step: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step.write_bytes(b"x" * (summary.LIMIT - 10))
    summary.add(step, LINES, [], "otherwise")
    assert step.read_bytes() == b"x" * (summary.LIMIT - 10)
    assert "is full, so nothing was added" in capsys.readouterr().err


def test_errors_of_a_late_workload_stay_where_warnings_of_an_early_one_go(tmp_path: Path) -> None:
    early, late = deployment(), deployment(lifecycle=None)
    early["metadata"]["name"], late["metadata"]["name"] = "early", "late"
    result = audited(tmp_path / "a.yaml", early, late)
    lines = list(markdown.lines(result, rows(result)))
    whole = summary.fitted(lines, 100_000, "")
    assert whole.index("has-scaler") < whole.index("prestop-delay") < whole.rindex("has-scaler")
    told = [summary.fitted(lines, room, "") for room in range(200, len(whole.encode()), 10)]
    assert any("prestop-delay" in said and "has-scaler" not in said for said in told)
    assert not any("has-scaler" in said and "prestop-delay" not in said for said in told)


def test_an_audit_that_is_cut_says_how_to_get_all_of_it(
    step: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    manifest = tmp_path / "a.yaml"
    manifest.write_text(yaml.safe_dump(deployment(lifecycle=None)))
    monkeypatch.setattr(summary, "LIMIT", 900)
    run("audit", manifest, "--github-step-summary")
    assert len(step.read_bytes()) <= 900
    assert "All of it: --format markdown=FILE writes it" in step.read_text()


def test_failed_streams_stay_where_what_passed_goes(
    step: Path, evidence: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Done]
) -> None:
    whole = run("judge", evidence, "--format", "markdown").out
    step.write_text("")
    monkeypatch.setattr(summary, "LIMIT", len(whole.encode()) - 100)
    run("judge", evidence, "--github-step-summary")
    said = step.read_text()
    assert all(line in said for line in whole.splitlines() if line.startswith(("| 0-", "| 1-")))
    assert "| 3. container-kill | 10.2 s |" in whole
    assert "| 3. container-kill | 10.2 s |" not in said
    assert f"drainproof judge {evidence} --format markdown" in said.replace("&#95;", "_")


def test_a_pass_says_what_it_rests_on() -> None:
    text = write(Story().judged())
    assert text.startswith("## drainproof: ✅ PASS: rollout of deployment/vllm in inference\n")
    assert "in flight on pods that were stopped: 0 dropped, 0 new requests failed" in text
    assert "### Failed streams" not in text
