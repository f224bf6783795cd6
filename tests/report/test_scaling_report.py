"""What an autoscaler made of a load, as people see it: what had to hold, links, a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from drainproof.report.chaos import render
from drainproof.report.scaling import PICTURE, svg, write
from tests.judge.climb import Climb
from tests.judge.story import Story
from tests.judge.test_cold import start
from tests.judge.test_scaling import BROKEN, stuck
from tests.judge.test_zero import Empty, stays

if TYPE_CHECKING:
    from pathlib import Path

SVG = "{http://www.w3.org/2000/svg}"


def told(story: Story) -> str:
    return render(story.judged(), "evidence/x")


def words(story: Story) -> list[str]:
    root = ET.fromstring(svg(story.judged()))  # noqa: S314 - our own
    return [text.text or "" for text in root.iter(f"{SVG}text")]


def test_each_thing_that_has_to_hold_is_a_line() -> None:
    lines = told(Climb()).splitlines()
    assert any(
        line.split() == ["yes", "one", "autoscaler", "ScaledObject/vllm", "alone"] for line in lines
    )
    assert sum(line.startswith("  yes ") for line in lines) == 7


def test_what_broke_is_told_with_its_link() -> None:
    text = " ".join(told(BROKEN["maxReplicas reached"][0]).split())
    assert "HPA → Deployment: held by maxReplicas 1: there are 1 replicas" in text
    assert "NO replicas rise in time" in text


def test_the_reaction_time_is_a_table_of_links_that_fits_a_terminal() -> None:
    text = told(Climb())
    assert "reaction time, 20.0 s" in text
    (line,) = (line for line in text.splitlines() if line.startswith("  HPA asks for more"))
    assert "KEDA → HPA" in line
    assert line.split()[7:11] == ["11.0", "s", "14.0", "s"]
    assert max(map(len, text.splitlines())) <= 100


def test_links_that_nobody_watched_are_unknown_and_those_that_never_came_say_so() -> None:
    lines = told(Climb(answers=False)).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  sample scraped")] == [
        "unknown"
    ]
    lines = told(stuck()).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("  pod made")] == ["never"]


def test_other_faults_have_no_such_section() -> None:
    assert "reaction time" not in told(Story())


def test_a_cold_start_is_told_part_by_part_and_what_it_means_for_a_queue() -> None:
    text = " ".join(told(start()).split())
    assert "cold start, 5.8 s" in text
    assert "image 1.5 s 1.8 s" in text
    assert "it grows by 0.1 requests/s, stated" in text
    assert "the last of them waits 4.68 s, of 30 s" in text
    assert "early enough is a threshold of 25 at most" in text
    assert max(map(len, told(start()).splitlines())) <= 100
    assert "cold-start: pass, 5.8 s from its pod to its first token" in words(start())


def test_what_is_not_known_of_a_cold_start_says_so_and_so_does_no_threshold() -> None:
    text = " ".join(told(start(stated={})).split())
    assert "it grows by unknown" in text
    assert "requests/s, at least: no queue was there all the time" in text
    too_fast = told(start(stated={"growth": 5.0, "answers": 1.0}))
    assert "early enough is a threshold of none" in " ".join(too_fast.split())


def test_what_users_met_at_zero_is_a_table() -> None:
    text = " ".join(told(Empty()).split())
    assert "what users met: the first answer after 10.0 s, of 60 s" in text
    assert "refused 10 0.0 s 9.0 s 0.1 s" in text
    assert "no request was answered" in told(stays())
    title = "scale-from-zero: pass, 11.0 s from the first request to a new replica that serves"
    assert title in words(Empty())


def test_the_picture_holds_the_same_links() -> None:
    found = words(Climb())
    assert "scale-out: pass, 20.0 s from the queue to a new replica that serves" in found
    assert {"HPA asks for more", "11.0 s", "requests waiting, at most 10"} <= set(found)


def test_the_picture_is_in_the_evidence_of_faults_of_scaling_only(tmp_path: Path) -> None:
    write(Story().judged(), tmp_path)
    assert not (tmp_path / PICTURE).exists()
    write(Climb().judged(), tmp_path)
    assert (tmp_path / PICTURE).read_text(encoding="utf-8").startswith("<svg")
