"""What is written to a History is what is read back, and damage is told and not passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.streams import history
from drainproof.streams.history import (
    Answer,
    Autoscaler,
    Client,
    ClientDone,
    Clock,
    Endpoints,
    Event,
    Fault,
    Gauge,
    Header,
    Part,
    Pod,
    Record,
    Sent,
    Withheld,
    Workload,
)
from tests.streams.bodies import recorded
from tests.streams.raw import header

if TYPE_CHECKING:
    from pathlib import Path

RECORDS: list[Record] = [
    header(),
    Clock(at=1.5, client="0"),
    Sent(id="0-0", due=1.5, sent=1.6),
    Withheld(id="0-1", due=1.5, reason="too many"),
    Part(id="0-0", waits=[1], sizes=[2], body=b"packed"),
    recorded(b"data: {}\n\n"),
    Client(at=1.0, in_flight=3, send_lag_ms=0.1, loop_lag_ms=0.2, cpu_share=0.3),
    ClientDone(at=2.0, sent=1, recorded=1, withheld=1, parts=1),
    Pod(
        at=1.0,
        event="ADDED",
        name="p",
        uid="u",
        node="n",
        phase="Running",
        ready=True,
        deletion_at=None,
        grace_s=None,
        containers=[{"name": "vllm"}],
    ),
    Endpoints(at=1.0, ready=["p"], terminating=[]),
    Gauge(at=1.0, pod="p", running=None, waiting=None, error="refused"),
    Workload(
        at=1.0, generation=1, observed_generation=1, replicas=1, updated=1, ready=1, available=1
    ),
    Event(at=1.0, object="Pod/p", reason="Killing", message="Stopping"),
    Autoscaler(
        at=1.0,
        object="HorizontalPodAutoscaler/keda-hpa-p",
        made_by="ScaledObject/p",
        declared={"spec": {"maxReplicas": 3}},
        conditions={"ScalingActive": "True"},
        current=1,
        desired=2,
        value=4.5,
        scaled_at=0.5,
    ),
    Answer(at=1.0, query="sum(x)", value=3.0, sampled=0.5, pods=1, others=["other/p"]),
    Fault(at=1.0, fault="rollout", phase="begin", detail=""),
]


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.kind)
def test_a_record_reads_back_as_it_was_written(record: Record) -> None:
    assert history.from_line(history.to_line(record)) == record


def test_a_history_reads_back_in_order(tmp_path: Path) -> None:
    path = written(tmp_path / "h", *(history.to_line(record) for record in RECORDS))
    assert list(history.read(path)) == RECORDS


def test_a_body_unpacks_to_what_was_packed() -> None:
    assert history.unpack_body(history.pack_body(b"data: {}\n\n" * 99)) == b"data: {}\n\n" * 99


def test_the_most_that_a_body_shrinks_is_read_back_and_a_greater_size_takes_no_memory() -> None:
    packed = history.pack_body(bytes(10**6))
    assert history.unpack_body(packed) == bytes(10**6)
    with pytest.raises(ValueError, match="more than it can hold"):
        history.unpack_body((2**31 - 1).to_bytes(4, "little") + packed[4:])


def test_a_last_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    lines = [history.to_line(record) for record in RECORDS]
    path = written(tmp_path / "h", *lines[:2], lines[2][:-9])
    assert list(history.read(path)) == RECORDS[:2]


HEAD = history.to_line(header())
OLDER, NEWER = (
    history.to_line(Header(version=version, tool="t", at=0.0, fault="none", target={}, load={}))
    for version in (history.VERSION - 1, history.VERSION + 1)
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEAD, b"{\n"], "h:2: damaged History"),
        ([HEAD, b"[]\n"], "h:2: damaged History"),
        ([HEAD, b'{"kind": []}\n'], "h:2: damaged History"),
        ([HEAD, b'{"kind": "sent"}\n'], "h:2: damaged History"),
        ([HEAD, b'{"kind": "part", "body": "!"}\n'], "h:2: damaged History"),
        ([HEAD, b'{"kind": "part", "body": 1}\n'], "h:2: damaged History"),
        ([HEAD, b'{"kind": "stream", "ending": "odd"}\n'], "h:2: damaged History"),
        ([HEAD, b'{"kind": "of a later version"}\n'], "h:2: damaged History"),
        ([history.to_line(RECORDS[1])], "h:1: not a History"),
        ([b"{"], "h:1: damaged History"),
        ([NEWER], "h: History version 3; this drainproof reads 2"),
        ([NEWER], "Judge it with a newer drainproof."),
        ([OLDER], "Judge it with an older drainproof."),
    ],
)
def test_a_history_that_can_not_be_trusted_is_refused(
    lines: list[bytes], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        list(history.read(written(tmp_path / "h", *lines)))
    assert said in str(refused.value)


def test_a_history_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the History: No such file"):
        list(history.read(tmp_path / "h"))
