"""Writes a chaos run as GitHub's Markdown, for a job's summary or a comment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from drainproof.judge.verdict import Verdict
from drainproof.report.chaos import passed, percentiles
from drainproof.report.markdown import ranked, text
from drainproof.report.run_page import facts, failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict, FaultVerdict
    from drainproof.judge.tally import Failure
    from drainproof.report.markdown import Line

MARKS: Final = {Verdict.FAIL: "❌", Verdict.INCONCLUSIVE: "❔", Verdict.PASS: "✅"}
_RANKS: Final = {Verdict.FAIL: 1, Verdict.INCONCLUSIVE: 3, Verdict.PASS: 4}
_STREAMS: Final = 2
"""Failed streams go before what is no failure."""
_HOLDS: Final = {True: "✅ yes", False: "❌ no", None: "❔ unknown"}


def write(verdict: ChaosVerdict) -> str:
    """Return the report: verdict, faults, failed streams with causes, numbers to plan with."""
    return "".join(f"{line}\n" for _, line in lines(verdict))


def lines(verdict: ChaosVerdict) -> Iterator[Line]:
    """Yield the report: what passed ranks highest, then what is inconclusive."""
    target = verdict.target
    name = f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"
    what = f"{verdict.fault} of {name} in {target.get('namespace', '')}"
    said = f"{MARKS[verdict.verdict]} {verdict.verdict.value.upper()}: {text(what)}"
    reasons = verdict.reasons or (passed(verdict),)
    yield from ranked(0, f"## drainproof: {said}", "", text("; ".join(facts(verdict))), "")
    yield from ranked(0, *(f"- {text(reason)}" for reason in reasons))
    yield from _faults(verdict)
    yield from _criteria(verdict)
    yield from _failures(verdict)
    yield from _numbers(verdict)


def _faults(verdict: ChaosVerdict) -> Iterator[Line]:
    columns = ("", "fault", "may cost", "streams", "whole", "dropped", "silently truncated")
    yield from _head(0, "Faults", *columns, "new requests failed", "in flight when hit")
    for fault in verdict.faults:
        yield _row(
            _RANKS[fault.verdict],
            f"{MARKS[fault.verdict]} {fault.verdict.value}",
            _named(fault),
            fault.cost,
            *(fault.streams, fault.whole, fault.dropped, fault.silently_truncated),
            *(fault.not_served, f"{fault.exposed:g}"),
        )


def _criteria(verdict: ChaosVerdict) -> Iterator[Line]:
    """Yield what an autoscaler had to do."""
    scaled = [
        (fault, one) for fault in verdict.faults if fault.scaling for one in fault.scaling.criteria
    ]
    if scaled:
        yield from _head(_STREAMS, "Scaling", "holds", "fault", "what", "found")
    for fault, one in scaled:
        rank = _STREAMS if one.holds is False else _RANKS[Verdict.PASS]
        yield _row(rank, _HOLDS[one.holds], _named(fault), one.says, one.found)


def _failures(verdict: ChaosVerdict) -> Iterator[Line]:
    causes = [
        (fault, name, count, next((one for one in fault.failures if one.cause == name), None))
        for fault in verdict.faults
        for name, count in sorted(fault.causes.items(), key=lambda item: -item[1])
    ]
    if not causes:
        return
    yield from _head(1, "Causes", "fault", "cause", "streams", "foreseen by the check", "evidence")
    for fault, name, count, first in causes:
        check, evidence = (first.check or "", first.evidence) if first else ("", "")
        yield _row(1, _named(fault), name, count, check, evidence)
    yield from ranked(_STREAMS, "", "### Failed streams", "", text(failed(verdict)))
    columns = ("outcome", "what was found", "tokens", "cause", "can have been on")
    yield from _head(_STREAMS, "", "stream", "fault", *columns)
    for fault in verdict.faults:
        worst = sorted(fault.failures, key=lambda one: (not one.silently_truncated, one.due))
        for one in worst:
            yield _row(_STREAMS, one.id, _named(fault), *_told(one))


def _told(failure: Failure) -> tuple[str, ...]:
    silent = ", silently truncated" if failure.silently_truncated else ""
    tokens = ""
    if failure.expected_tokens is not None:
        known = "unknown" if failure.tokens is None else failure.tokens
        tokens = f"{known} of {failure.expected_tokens}"
    where = ", ".join(failure.pods) or "no pod that is known"
    return f"{failure.outcome}{silent}", failure.detail, tokens, failure.cause.value, where


def _numbers(verdict: ChaosVerdict) -> Iterator[Line]:
    columns = ("fault", "took", "full capacity", "longest gap between tokens")
    needed = ("preStop delay needed", "to spare", "grace period needed", "to spare")
    first = "time to first token in ms, P50 / P95 / P99: before"
    yield from _head(
        _RANKS[Verdict.PASS], "Numbers to plan with", *columns, *needed, first, "during", "after"
    )
    for fault in verdict.faults:
        said = fault.numbers
        full = {None: "not again", 0.0: "at all times"}.get(said.recovered_s)
        times = (
            fault.longest_gap_s,
            *(said.prestop_needed_s, said.prestop_margin_s),
            *(said.grace_needed_s, said.grace_margin_s),
        )
        waits = (percentiles(one.ttft_s) for one in (said.before, said.during, said.after))
        yield _row(
            _RANKS[Verdict.PASS],
            _named(fault),
            _seconds(said.duration_s),
            full or f"after {said.recovered_s:.1f} s",
            *map(_seconds, times),
            *waits,
        )


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} s"


def _named(fault: FaultVerdict) -> str:
    return f"{fault.index + 1}. {fault.fault}"


def _head(rank: int, title: str, *columns: str) -> Iterator[Line]:
    """Yield a table's title, if it has one, and its head."""
    yield from ranked(rank, "", *((f"### {title}", "") if title else ()))
    yield from ranked(rank, f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}")


def _row(rank: int, *cells: object) -> Line:
    return rank, f"| {' | '.join(text(str(cell)) for cell in cells)} |"
