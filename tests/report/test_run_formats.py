"""The formats of a run's verdict, chosen as those of an audit are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson
import pytest

from drainproof.judge.chaos import judge, judge_evidence
from drainproof.report.run_markdown import write
from drainproof.report.run_page import page
from tests.judge.climb import Climb
from tests.judge.story import Killed, Story
from tests.report.runs import hostile_run, three

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.commands import Done


def test_a_run_is_written_in_several_formats_at_once(
    evidence: Path, tmp_path: Path, run: Callable[..., Done]
) -> None:
    html = tmp_path / "run.html"
    done = run("judge", evidence, "--format", f"html={html}", "--format", "json")
    assert done.code == 1
    assert orjson.loads(done.out) == orjson.loads(judge_evidence(evidence).to_json())
    assert html.read_text(encoding="utf-8") == page(judge_evidence(evidence))


def test_so_many_failed_streams_are_told_as_are_asked_for(
    evidence: Path, run: Callable[..., Done]
) -> None:
    told = orjson.loads(run("judge", evidence, "--format", "json", "--failures", "1").out)
    assert max(len(fault["failures"]) for fault in told["faults"]) == 1
    assert told == orjson.loads(judge_evidence(evidence, told=1).to_json())
    assert max(len(fault.failures) for fault in judge_evidence(evidence).faults) > 1


def test_a_file_of_its_own_may_be_named_by_output(
    evidence: Path, tmp_path: Path, run: Callable[..., Done]
) -> None:
    html = tmp_path / "run.html"
    assert run("judge", evidence, "--format", "html", "--output", html) == (1, "", "")
    assert html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_without_a_format_the_report_is_for_people(
    evidence: Path, run: Callable[..., Done]
) -> None:
    assert "worst streams" in run("judge", evidence).out


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("sarif", "expected --format terminal|json|markdown|html, found 'sarif'"),
        ("html=/nowhere/a.html", "/nowhere/a.html: cannot be written"),
        ("html={evidence}/history.jsonl", "the evidence itself, which would be overwritten"),
    ],
)
def test_a_format_that_can_not_be_written_is_an_error(
    given: str, said: str, evidence: Path, run: Callable[..., Done]
) -> None:
    before = (evidence / "history.jsonl").read_bytes()
    done = run("judge", evidence, "--format", given.format(evidence=evidence))
    assert (done.code, done.out) == (2, "")
    assert said in done.errors
    assert (evidence / "history.jsonl").read_bytes() == before


def test_a_format_is_refused_before_anything_is_done_to_a_target(
    run: Callable[..., Done],
) -> None:
    done = run("chaos", "--context", "none", "-n", "a", "deployment/b", "--format", "sarif")
    assert done.code == 2
    assert "expected --format terminal|json|markdown|html" in done.errors


@pytest.mark.parametrize(
    ("story", "said"),
    [
        (Story(), "0 streams failed."),
        (Killed(), "0 streams failed; 11 more were lost that an abrupt fault may cost"),
        (Climb(), "0 streams failed."),
        (Story(first=170), '"timeline":null'),
        (Story(begin=None, end=None), "the fault never began"),
    ],
)
def test_a_page_says_how_many_failed_in_all(story: Story, said: str) -> None:
    assert said in page(story.judged())


def test_a_page_lists_each_failed_stream_of_the_verdict() -> None:
    verdict = judge(three)
    text = page(verdict)
    data = orjson.loads(text.split('id="data">')[1].split("</script>")[0])
    assert [one["id"] for one in data["failures"]] == [one.id for one in verdict.failures]
    assert data["failed"].startswith("8 streams failed; all are listed one by one; 11 more")


def test_markdown_of_evidence_is_text() -> None:
    text = write(hostile_run())
    assert "owned" in text
    rest = re.sub(r"&#\d+;", "", text)
    assert not re.search(r"[<`*]|\]\(|://\w|@\w|#\d", rest)


def test_a_row_of_a_markdown_table_has_as_many_cells_as_its_head() -> None:
    for verdict in (hostile_run(), judge(three), Climb().judged()):
        cells = 0
        for line in write(verdict).splitlines():
            if line.startswith("|"):
                assert line.count("|") == (cells or line.count("|"))
            cells = line.count("|")


def test_markdown_tells_faults_streams_causes_and_numbers() -> None:
    text = write(judge(three))
    assert "| ❌ fail | 1. rollout | graceful | 130 | 126 | 4 | 4 | 0 | 5 |" in text
    assert "| ✅ pass | 3. container-kill | abrupt | 70 | 59 | 10 | 0 | 1 | 10 |" in text
    assert "| 2. evict | engine-aborts-on-sigterm | 4 | engine-drains | cut 0.2 s after" in text
    assert "| 1-55 | 2. evict | short, silently truncated | 4 of 5 tokens |" in text
    assert "| 1. rollout | 55.0 s | at all times | 0.0 s | 2.1 s | 12.9 s | 22.1 s |" in text


def test_markdown_says_what_an_autoscaler_had_to_do() -> None:
    assert "| ✅ yes | 1. scale-out | the queue falls | from 10 to 0" in write(Climb().judged())
