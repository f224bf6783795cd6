"""What an engine, a metric or a stranger's evidence says acts on nothing that shows it."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from drainproof.faults.command import judge as judge_command
from drainproof.judge import streams
from drainproof.judge.chaos import HISTORY, judge
from drainproof.judge.streams import Outcome, judge_stream
from drainproof.progress import PlainProgress
from drainproof.report.chaos import render
from drainproof.report.scaling import svg
from drainproof.streams.history import MOST_BODY, Part, from_line, to_line, unpack_body
from tests.judge.climb import Climb
from tests.judge.story import HALF, Fate, Story, event
from tests.report.audits import HOSTILE
from tests.streams.bodies import event as sse
from tests.streams.bodies import recorded

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.streams.history import Record

ACTS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Whatever moves a cursor, colours, or turns the reading order; newlines are the report's own."""
SAID = "owned"
"""A part of the hostile text that is harmless, and has to be there."""
FREE = {"error", "message", "reason", "detail", "engine", "engine_version", "service", "query"}
"""Fields whose text is someone else's. The names of pods are changed, too."""


def poisoned(value: Any, field: str = "") -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: poisoned(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one, field) for one in value]
    return f"{value}{HOSTILE}" if value in {"old", "new"} or (field in FREE and value) else value


def cut(pod: str, sent: float, end: float) -> Fate | None:
    """Let the engine's own error, which it chooses, end what it has in flight at SIGTERM."""
    error = sse({"error": {"message": HOSTILE, "type": HOSTILE, "code": 500}})
    return (135.2, {"raw": HALF + error}) if pod == "old" and sent < 135 < end else None


def lines(story: Story) -> list[bytes]:
    told = story.records()
    told.append(event(130.0, "old", "Killing", "stopped"))
    return [orjson.dumps(poisoned(orjson.loads(to_line(one)))) + b"\n" for one in told]


def judged(story: Story) -> ChaosVerdict:
    records: list[Record] = [from_line(line) for line in lines(story)]
    return judge(lambda: records)


def is_harmless(text: str) -> bool:
    return (
        SAID in text
        and not ACTS.search(text)
        and "##[" not in text
        and not any(line.lstrip().startswith("::") for line in text.split("\n"))
    )


STORIES = {"rollout": Story(fate=cut, container_ended=136), "scale-out": Climb()}
each_story = pytest.mark.parametrize("story", STORIES.values(), ids=list(STORIES))


@each_story
@pytest.mark.parametrize("form", ["terminal", "json", "markdown"])
def test_no_evidence_acts_on_a_terminal_or_a_ci_log(
    tmp_path: Path, story: Story, form: str
) -> None:
    (tmp_path / HISTORY).write_bytes(b"".join(lines(story)))
    done = CliRunner().invoke(judge_command, [str(tmp_path), "--format", form])
    assert is_harmless(done.stdout), done.stdout


def test_what_would_act_is_seen_to() -> None:
    """The test's own test."""
    assert not is_harmless(HOSTILE)
    assert not is_harmless(f"{SAID}\n  ::error::x")
    assert not is_harmless("nothing was told")


def test_the_engines_own_words_are_in_the_report() -> None:
    text = " ".join(render(judged(STORIES["rollout"]), "evidence/x").split())
    assert r"x\x1b]0;owned" in text


def test_a_report_in_colour_has_no_colours_but_its_own() -> None:
    text = render(judged(STORIES["rollout"]), "evidence/\x1b[5mx", colour=True)
    codes = set(re.findall(r"\x1b.{3}", text))
    assert codes != set()
    assert all(re.fullmatch(r"\x1b\[[0-9][0-9;m]", code) for code in codes)
    assert "\x1b]" not in text
    assert "\x1b[5m" not in text


def test_the_picture_holds_no_tag_and_no_control_character_of_the_evidence() -> None:
    verdict = Climb().judged()
    (fault,) = verdict.faults
    text = svg(replace(verdict, faults=(replace(fault, fault=HOSTILE),)))
    assert SAID in text
    assert not ACTS.search(text)
    tags = {one.tag.rpartition("}")[2] for one in ET.fromstring(text).iter()}  # noqa: S314 - the test
    assert tags <= {"svg", "rect", "text", "line", "polyline"}


def test_progress_shows_what_a_cluster_says_on_one_harmless_line() -> None:
    out = io.StringIO()
    progress = PlainProgress(out)
    progress.line(f"{HOSTILE}\n::error::x")
    assert is_harmless(out.getvalue())
    assert out.getvalue().count("\n") == 1


@given(error=st.text(), content_type=st.text(), body=st.binary())
def test_no_answer_of_an_engine_becomes_a_record_of_its_own(
    error: str, content_type: str, body: bytes
) -> None:
    forged = to_line(Climb().fault(0.0, "end")).decode()
    stream = recorded(
        body + b"\n" + forged.encode(), error=f"{error}\n{forged}", content_type=content_type
    )
    line = to_line(stream)
    assert line.count(b"\n") == 1
    assert from_line(line) == stream


def test_a_body_that_says_it_is_too_long_is_not_unpacked() -> None:
    size = MOST_BODY + 1
    with pytest.raises(ValueError, match="more than the 268435456 bytes"):
        unpack_body(size.to_bytes(4, "little") + bytes(size // 255 + 1))


@pytest.mark.parametrize(("most", "told"), [(2 * len(HALF), "truncated"), (len(HALF), "untold")])
def test_an_answer_whose_parts_add_up_to_too_much_is_untold(
    monkeypatch: pytest.MonkeyPatch, most: int, told: str
) -> None:
    monkeypatch.setattr(streams, "MOST_BODY", most)
    whole = recorded(HALF, parts=1)
    part = Part(id=whole.id, waits=whole.waits, sizes=whole.sizes, body=whole.body)
    verdict = judge_stream(whole, [part])
    assert (verdict.outcome == Outcome.UNACCOUNTED) is (told == "untold")
    assert ("bytes that are unpacked" in verdict.detail) is (told == "untold")
