"""A History on disk gives the verdict of its records, however it is shared out and ordered."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import orjson
import pytest

from drainproof.errors import UserError
from drainproof.judge.chaos import judge, judge_evidence
from drainproof.judge.evidence import _share, tally_file
from drainproof.judge.scene import Scene
from drainproof.judge.streams import StreamChecker
from drainproof.judge.verdict import MOST_FAILURES
from drainproof.streams.history import Part, Sent, Stream, pack_body, read, to_line
from tests.judge.story import ABORTED, HALF, T0, Fate, Killed, Story, sequence
from tests.streams.bodies import answer, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.tally import Tally
    from drainproof.streams.history import Record


def cut() -> list[Record]:
    """Return the records of two faults, with streams that fail, are lost, and come in parts."""

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        if pod == "old" and sent < 135 < end:
            return 135.2, {"raw": ABORTED}
        return (sent + 1, {"raw": HALF}) if sent == 70.5 else None

    first = Story(fate=fate, container_ended=136, lose=frozenset({20}))
    records: list[Record] = []
    for record in sequence(first, Killed(index=1, t0=T0 + 400)):
        if isinstance(record, Stream) and record.body and record.id.endswith("7"):
            whole = b"".join(answer(5))
            part = Part(id=record.id, waits=[9], sizes=[100], body=pack_body(whole[:100]))
            rest = recorded(whole[100:]).body
            values = {name: getattr(record, name) for name in Stream.__slots__}
            values |= {"parts": 1, "body": rest, "waits": [9_991], "sizes": [len(whole) - 100]}
            records += [part, Stream(**values)]
        else:
            records.append(record)
    return records


def on_disk(folder: Path, records: list[Record]) -> Path:
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(map(to_line, records)))
    return path


def shared(path: Path, shares: int, told: int = MOST_FAILURES) -> Tally:
    """Do in this process what :func:`tally_file` does in several."""
    tallies = [_share(path, Scene(read(path)), share, shares, told) for share in range(shares)]
    for other in tallies[1:]:
        tallies[0].merge(other)
    return tallies[0]


@pytest.mark.parametrize("shares", [1, 2, 3, 7])
def test_a_history_that_is_shared_out_gives_the_verdict_of_the_whole(
    shares: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = cut()
    path = on_disk(tmp_path, records)
    whole = judge(lambda: records).to_json()
    monkeypatch.setattr(
        "drainproof.judge.chaos.tally_file", lambda _, told: shared(path, shares, told)
    )
    assert judge_evidence(tmp_path).to_json() == whole


def test_processes_that_share_a_history_give_the_verdict_of_one(tmp_path: Path) -> None:
    path = on_disk(tmp_path, cut())
    alone, both = tally_file(path, 1), tally_file(path, 2)
    assert (alone.faults, alone.deltas) == (both.faults, both.deltas)


def test_streams_may_end_in_any_order(tmp_path: Path) -> None:
    records = [*cut()]
    head, rest = records[0], records[1:]
    whole = judge_evidence(on_disk(tmp_path, records).parent)
    order = {record.id: place for place, record in enumerate(rest) if isinstance(record, Part)}
    random.Random(1).shuffle(rest)  # noqa: S311 - repeatable is the point
    # a stream's parts come before it, whatever else is where
    rest.sort(key=lambda one: isinstance(one, Part) and one.id in order, reverse=True)
    other = judge_evidence(on_disk(tmp_path, [head, *rest]).parent)
    assert (other.verdict, other.outcomes) == (whole.verdict, whole.outcomes)
    assert [one.causes for one in other.faults] == [one.causes for one in whole.faults]


def test_a_request_that_is_told_of_after_its_end_is_not_kept() -> None:
    checker = StreamChecker()
    for number in range(3):
        checker.take(recorded(b"", id=f"0-{number}"))
        checker.take(Sent(id=f"0-{number}", due=1000.0, sent=1000.5))
    assert list(checker.left()) == []


def test_lines_that_another_program_wrote_are_read_as_well(tmp_path: Path) -> None:
    records = cut()
    path = on_disk(tmp_path, records)
    spaced = [
        orjson.dumps(dict(reversed(orjson.loads(line).items()))) + b"\n"
        for line in path.read_bytes().splitlines()
    ]
    path.write_bytes(b"".join(spaced))
    assert judge_evidence(path).to_json() == judge(lambda: records).to_json()


def test_a_last_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    records = Story().records()
    last = next(record for record in reversed(records) if isinstance(record, Stream))
    path = on_disk(tmp_path, records)
    before = judge_evidence(path).outcomes
    with path.open("ab") as file:
        file.write(to_line(last)[:-40])
    assert judge_evidence(path).outcomes == before


@pytest.mark.parametrize("kind", ["sent", "stream"])
def test_a_damaged_line_is_named(kind: str, tmp_path: Path) -> None:
    lines = [to_line(record) for record in Story().records()]
    place = max(number for number, line in enumerate(lines) if f'"kind":"{kind}"'.encode() in line)
    lines[place] = lines[place][:-20] + b"\n"
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(UserError, match=rf":{place + 1}: damaged History"):
        judge_evidence(path)


def test_what_is_kept_is_the_streams_in_flight() -> None:
    """However many streams go by, no more is held than what is open."""
    checker = StreamChecker()
    for number in range(1000):
        checker.take(Sent(id=f"0-{number}", due=1.0, sent=1.0))
        checker.take(Part(id=f"0-{number}", waits=[], sizes=[], body=b""))
        if number >= 10:
            checker.take(recorded(b"", id=f"0-{number - 10}", parts=1))
        assert checker.held <= 22
