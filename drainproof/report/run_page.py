"""Writes a chaos run as one HTML page that needs nothing else: the run over time, each failure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from drainproof import __version__
from drainproof.judge.streams import EXPLANATIONS, Outcome
from drainproof.progress import duration
from drainproof.report.chaos import STEPS
from drainproof.report.page import page as written
from drainproof.report.page import shown
from drainproof.report.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.chaos import ChaosVerdict, FaultVerdict
    from drainproof.judge.tally import Failure
    from drainproof.judge.timeline import Series

Mark = tuple[float, str, str, str]
"""When, in seconds; its letter; what happened; to what."""


def page(verdict: ChaosVerdict) -> str:
    """Return the page. Its times are seconds since the first fault began, or the first stream."""
    flow = verdict.in_flight
    zero = verdict.begin if verdict.begin is not None else flow.begin if flow else 0.0
    target = verdict.target
    name = f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"
    data = {
        "title": f"{verdict.fault} of {name} in {target.get('namespace', '')}",
        "verdict": verdict.verdict.value,
        "reasons": verdict.reasons,
        "facts": list(facts(verdict)),
        "outcomes": [
            [number, outcome, *EXPLANATIONS[Outcome(outcome)]]
            for outcome, number in sorted(verdict.outcomes.items(), key=lambda item: -item[1])
        ],
        "faults": [_fault(fault, zero) for fault in verdict.faults],
        "marks": sorted(_marks(verdict, zero)),
        "timeline": _timeline(verdict, zero),
        "failures": [
            _failure(failure, fault, zero) for fault in verdict.faults for failure in fault.failures
        ],
        "failed": failed(verdict),
    }
    return written(f"drainproof chaos: {shown(data['title'])}", "run", shown(data))


def facts(verdict: ChaosVerdict) -> Iterator[str]:
    """Yield what was run, in a sentence each."""
    target = verdict.target
    engine = " ".join(part for part in (target.get("engine"), target.get("engine_version")) if part)
    if verdict.begin is not None and verdict.end is not None:
        took = duration(verdict.end - verdict.begin)
        yield f"{took}{'' if verdict.completed else ' and not over'}"
    replicas = target.get("replicas")
    how_many = plural(replicas, "replica") if isinstance(replicas, int) else "replicas unknown"
    yield f"{engine or 'engine unknown'}, {how_many}"
    rate, tokens = (verdict.load.get(key, "?") for key in ("rate_per_s", "max_tokens"))
    yield f"{rate} streams/s of {tokens} tokens through service/{target.get('service', '?')}"
    yield f"drainproof {__version__}"


def _fault(fault: FaultVerdict, zero: float) -> dict[str, Any]:
    return {
        "name": fault.fault,
        "cost": fault.cost,
        "verdict": fault.verdict.value,
        "begin": _since(fault.begin, zero),
        "end": None if fault.end is None else _since(fault.end, zero),
        "counts": [
            fault.streams, fault.whole, fault.dropped, fault.not_served, fault.excused,
            fault.silently_truncated,
        ],
        "gap_s": fault.longest_gap_s,
        "causes": sorted(fault.causes.items(), key=lambda item: -item[1]),
        "evidence": fault.evidence,
        "check": fault.check,
    }  # fmt: skip


def _marks(verdict: ChaosVerdict, zero: float) -> Iterator[Mark]:
    """Yield what was done, and what happened in the cluster."""
    for fault in verdict.faults:
        yield _since(fault.begin, zero), "F", "fault begins", fault.fault
        if fault.end is not None:
            yield _since(fault.end, zero), "E", "fault over", fault.fault
        for victim in fault.victims:
            code = "" if victim.exit_code is None else f", exit code {victim.exit_code}"
            for at, letter, what in (
                (victim.hit_at, "H", "pod hit"),
                (victim.deleted, "D", "pod deleted"),
                (victim.endpoint_removed, "P", "endpoint gone"),
                (victim.sigterm, "T", "SIGTERM"),
                (victim.ended, "X", f"container ended{code}"),
            ):
                if at is not None:
                    yield _since(at, zero), letter, what, victim.pod
    if verdict.timeline:
        for one in verdict.timeline.became_ready:
            yield _since(one.at, zero), "R", "pod ready", one.pod


def _timeline(verdict: ChaosVerdict, zero: float) -> dict[str, Any] | None:
    flow, timeline = verdict.in_flight, verdict.timeline
    if flow is None or timeline is None:
        return None
    return {
        "begin": _since(flow.begin, zero),
        "step_s": flow.step_s,
        "in_flight": flow.counts,
        "pods": [
            [one.pod or f"{plural(timeline.others, 'other pod')} together", _short(one.counts)]
            for one in timeline.pods
        ],
        "waiting": _short(timeline.waiting),
        "ready": timeline.ready,
        "wanted": timeline.wanted,
        "lost": timeline.lost,
        "gaps_s": _short(timeline.gaps_s),
        "ready_more": timeline.became_ready_more,
    }


def _short(series: Series) -> list[float | None]:
    return [None if value is None else round(value, 3) for value in series]


def _failure(failure: Failure, fault: FaultVerdict, zero: float) -> dict[str, Any]:
    times = ("due", "sent", "first_token", "last_token", "ended")
    told = asdict(failure)
    told |= {key: None if told[key] is None else _since(told[key], zero) for key in times}
    told["timeline"] = [
        [_since(step.at, zero), STEPS.get(step.what, step.what), step.pod, step.detail]
        for step in failure.timeline
    ]
    return told | {"cause": failure.cause.value, "fault": f"{fault.index + 1}. {fault.fault}"}


def failed(verdict: ChaosVerdict) -> str:
    """Say how many streams failed in all, and how many of them are listed one by one."""
    listed = len(verdict.failures)
    charged = sum(verdict.causes.values())
    excused = sum(fault.excused for fault in verdict.faults)
    said = f"{plural(charged, 'stream')} failed"
    if charged:
        said += f"; {'all' if listed == charged else f'the first {listed}'} are listed one by one"
    if excused:
        said += f"; {excused} more were lost that an abrupt fault may cost, and are not listed"
    if verdict.failed_before:
        said += f"; {verdict.failed_before} failed before the first fault, and are not listed"
    return f"{said}."


def _since(at: float, zero: float) -> float:
    return round(at - zero, 3)
