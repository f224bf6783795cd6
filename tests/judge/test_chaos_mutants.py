"""A judge of runs with one step left out or turned around is caught by a test of the judge."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from signal import ITIMER_VIRTUAL, SIGVTALRM, setitimer, signal
from sys import setprofile
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from drainproof.judge import chaos, clients, latency, scene, streams, tally
from drainproof.judge.chaos import judge
from tests.judge import (
    story,
    test_chaos,
    test_cold,
    test_fault_causes,
    test_fault_verdicts,
    test_outage,
    test_scaling,
    test_scene,
    test_streams_client,
    test_tally,
    test_timeline,
    test_verdict_words,
    test_zero,
)
from tests.judge.mutants import mutants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import CodeType, FrameType, ModuleType

    from drainproof.judge.chaos import ChaosVerdict
    from drainproof.judge.streams import StreamVerdict
    from drainproof.streams.history import Record, Stream
    from tests.judge.mutants import Mutant

JUDGE = (chaos, tally, scene, clients, latency)
TESTS = (
    test_streams_client,
    test_scene,
    test_tally,
    test_timeline,
    test_verdict_words,
    test_chaos,
    test_cold,
    test_fault_verdicts,
    test_fault_causes,
    test_scaling,
    test_outage,
    test_zero,
)


LONG_S = 2.0
"""A mutant that takes longer for one test counts the seconds since 1970, or never ends."""
FOR_TYPES = "for the type checker: it always holds"
FOR_SPEED = "for speed: it saves what would do nothing"
FOR_MEMORY = "for memory: what is kept besides is not told of"
ALIKE = {
    "Victim.known: self.hit is not None and (self.hit.gauge is not None or self.hit.least == "
    "self.hit.most) without self.hit is not None": FOR_TYPES,
    "_of_fault: … if victim.hit without it": FOR_TYPES,
    "_unexposed: … if victim.hit without it": FOR_TYPES,
    "_numbers: span.completed and span.end without span.end": FOR_TYPES,
    "_prestop_needed: removed is not None and life.deleted is not None without life.deleted is "
    "not None": FOR_TYPES,
    "_grace_needed: life.deleted or 0.0 without 0.0": FOR_TYPES,
    "_moment: gauge is None or gauge.running is None without gauge.running is None": FOR_TYPES,
    "Tally._fail: scene.lives[found.pod].deleted or sent without sent": FOR_TYPES,
    "_struck: … if life.deleted is not None without it": FOR_TYPES,
    "_steps: life.deletion_timestamp is not None → True": FOR_TYPES,
    "Scene.struck: life.deleted or 0.0 without 0.0": FOR_TYPES,
    "Latencies.add: first is None or last is None without first is None": FOR_TYPES,
    "Latencies.add: first is None or last is None without last is None": FOR_TYPES,
    "Tally.__init__: self.seen = self.unended = self.strays = 0 left out": FOR_TYPES,
    "FaultTally.serve: del self.latest_served[:-RECOVERED] left out": FOR_MEMORY,
    "ClientTally._sample: lag_ms > MAX_LAG_MS or full_s >= BUSY_RECORDS → True": FOR_MEMORY,
    "ClientTally._sample: lag_ms > MAX_LAG_MS → lag_ms >= MAX_LAG_MS": FOR_MEMORY,
    "Tally._meet: index is None or self.scene.spans[index].fault != FROM_ZERO without "
    "self.scene.spans[index].fault != FROM_ZERO": FOR_MEMORY,
    "Tally._in_flight: first == last → False": FOR_SPEED,
    "Tally._in_flight: return left out": FOR_SPEED,
    "Tally.add: failed → True": "for speed: what is whole was decided when it ended",
    "Scene.recovered: span.begin < record.at < span.until → span.begin <= record.at < span.until": (
        "what was ready at the very beginning is as many as was ready then"
    ),
    "judge: place + 1 → place - 1": "a stream without an end fails for nothing: none asks where",
}
"""Mutants that are no worse than the judge, and why."""


@dataclass
class Case:
    """A test of the judge."""

    test: partial[None]
    judged: list[list[Record]] = field(default_factory=list)
    """The Histories that it judges, in turn."""
    calls: set[CodeType] = field(default_factory=set)
    """What it calls."""

    def learn(self) -> None:
        """Run the test, and note what it judges and calls."""

        def noting(records: Callable[[], Iterable[Record]]) -> ChaosVerdict:
            self.judged.append(list(records()))
            return judge(lambda: self.judged[-1])

        def called(frame: FrameType, _event: str, _given: object) -> None:
            self.calls.add(frame.f_code)

        with judging(noting):
            self.test()
        setprofile(called)
        try:
            self.run()
        finally:
            setprofile(None)

    def run(self) -> None:
        """Run the test; its Histories are not made anew."""
        histories = iter(self.judged)

        def again(_: object) -> ChaosVerdict:
            history = next(histories)
            return judge(lambda: history)

        with judging(again):
            self.test()

    def catches(self, mutant: Mutant) -> bool:
        """Tell whether the test fails on a mutant."""
        if mutant.function.__code__ not in self.calls:
            return False
        with mutant.at_work():
            setitimer(ITIMER_VIRTUAL, LONG_S)
            try:
                self.run()
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - a mutant may raise anything
                return True
            finally:
                setitimer(ITIMER_VIRTUAL, 0)
            return False


@contextmanager
def judging(by: Callable[..., ChaosVerdict]) -> Iterator[None]:
    """Let something else judge Histories in the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (story, *TESTS):
            if hasattr(module, "judge"):
                patch.setattr(module, "judge", by)
        yield


def every_test() -> Iterator[partial[None]]:
    """Yield the tests of the judge, with each of their parameters."""
    for module in TESTS:
        for name, test in vars(module).items():
            if name.startswith("test_"):
                for given in parameters(test):
                    yield partial(run, test, given)


def parameters(test: Callable[..., None]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}]
    for mark in getattr(test, "pytestmark", ()):
        names, rows = mark.args
        names = [names] if isinstance(names, str) else names
        given = [dict(zip(names, row if len(names) > 1 else [row], strict=True)) for row in rows]
        found = [one | more for one in found for more in given]
    return found


def run(test: Callable[..., None], given: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        fixtures = {"tmp_path": Path(folder), "monkeypatch": patch}
        wanted = {name: one for name, one in fixtures.items() if name in signature(test).parameters}
        test(**given, **wanted)


def too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError


@pytest.fixture(scope="module")
def cases() -> Iterator[list[Case]]:
    """Return all cases. Their streams are judged only once, as no mutant changes that."""
    real = streams.judge_stream
    known: dict[tuple[int, bool, int | None], tuple[Stream, StreamVerdict]] = {}
    learning = True

    def judge_stream(
        stream: Stream,
        *given: Any,  # noqa: ANN401 - as it was given
        numbered: bool,
        context: int | None,
    ) -> StreamVerdict:
        key = id(stream), numbered, context
        if key in known:
            return known[key][1]
        verdict = real(stream, *given, numbered=numbered, context=context)
        if learning:
            known[key] = stream, verdict
        return verdict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "judge_stream", judge_stream)
        found = [Case(test) for test in every_test()]
        for case in found:
            case.learn()
        learning = False
        before = signal(SIGVTALRM, too_long)
        yield found
        signal(SIGVTALRM, before)


@pytest.mark.parametrize("module", JUDGE)
def test_no_step_of_the_judge_can_be_changed_unseen(module: ModuleType, cases: list[Case]) -> None:
    alive = []
    for mutant in mutants(module):
        if mutant.name in ALIKE:
            continue
        caught_by = next((case for case in cases if case.catches(mutant)), None)
        if caught_by is None:
            alive.append(mutant.name)
        else:
            cases.remove(caught_by)
            cases.insert(0, caught_by)  # it catches others like it
    assert alive == []


def test_every_mutant_that_is_no_worse_is_one() -> None:
    every = {mutant.name for module in JUDGE for mutant in mutants(module)}
    assert set(ALIKE) - every == set()
