"""Chaos runs for reports to write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from drainproof.judge.chaos import judge
from drainproof.streams.history import from_line, to_line
from tests.judge.story import ABORTED, SILENT, T0, Fate, Killed, Story, sequence
from tests.report.audits import HOSTILE

if TYPE_CHECKING:
    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.streams.history import Record


def cut(raw: bytes = ABORTED) -> Story:
    """Return a rollout that cuts four streams off at SIGTERM."""

    def fate(pod: str, sent: float, end: float) -> Fate | None:
        return (135.2, {"raw": raw}) if pod == "old" and sent < 135 < end else None

    return Story(fate=fate, container_ended=136)


def three() -> list[Record]:
    """Return a History of three faults: a rollout and an eviction that cut streams, and a kill."""
    second = cut(SILENT)
    second.index, second.t0, second.name = 1, T0 + 400, "evict"
    return sequence(cut(), second, Killed(index=2, t0=T0 + 800))


def hostile_run() -> ChaosVerdict:
    """Return a failed rollout whose pods, target and streams have names that would act."""
    story = cut()
    records = []
    for record in story.records():
        line = to_line(record)
        for name in ("old", "inference", "0-55"):
            line = line.replace(b'"%b"' % name.encode(), orjson.dumps(f"{name}{HOSTILE}"))
        records.append(from_line(line))
    return judge(lambda: records)
