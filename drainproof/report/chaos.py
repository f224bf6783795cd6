"""The verdict on a fault, as people read it at a terminal."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from drainproof.judge.causes import Cause
from drainproof.judge.streams import EXPLANATIONS, Outcome
from drainproof.judge.tally import ABRUPT
from drainproof.judge.verdict import Verdict
from drainproof.progress import duration
from drainproof.report import scaling
from drainproof.report.text import no_command, printable, shown

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from drainproof.judge.chaos import ChaosVerdict, FaultVerdict, Victim
    from drainproof.judge.latency import Percentiles
    from drainproof.judge.tally import Count, Failure

WIDTH = 100
_BARS = " ▁▂▃▄▅▆▇█"
_WORST = 3
_EXACT_MS = 10
"""From here on, whole milliseconds are exact enough."""
_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}


def render(verdict: ChaosVerdict, folder: Path | str, *, colour: bool = False) -> str:
    """Return the report.

    Args:
        verdict: What is told.
        folder: The evidence, as the user may name it.
        colour: With ANSI colours.
    """
    from rich.console import Console  # noqa: PLC0415 - loads slowly, and only reports need it

    verdict, folder = shown(verdict), printable(str(folder))  # an engine has its say in both
    out = io.StringIO()
    console = Console(
        file=out, width=WIDTH, force_terminal=colour, highlight=False, emoji=False, markup=False
    )
    _title(console, verdict)
    _streams(console, verdict)
    for fault in verdict.faults:
        if len(verdict.faults) > 1:
            _heading(console, fault)
        for section in (scaling.show, _exposure, _numbers, _cause, _worst):
            section(console, fault)
    _timeline(console, verdict)
    _end(console, verdict, folder)
    return "\n".join(map(no_command, out.getvalue().rstrip("\n").split("\n")))


def _title(console: Console, verdict: ChaosVerdict) -> None:
    target = verdict.target
    name = f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"
    engine = " ".join(part for part in (target.get("engine"), target.get("engine_version")) if part)
    took = ""
    if verdict.begin is not None and verdict.end is not None:
        took = f", {duration(verdict.end - verdict.begin)}"
        if not verdict.completed:
            took += " and not over"
    console.print(f"{verdict.fault} of {name} in {target.get('namespace', '')} ({engine}{took})")
    facts = [
        ("preStop delay", target.get("prestop_s"), "unknown"),
        ("engine drain", target.get("drain_s"), "unbounded or unknown"),
        ("grace period", target.get("grace_period_s"), "unknown"),
    ]
    written = ", ".join(
        f"{label} {f'{value:g} s' if value is not None else other}" for label, value, other in facts
    )
    rate, tokens = (verdict.load.get(key, "?") for key in ("rate_per_s", "max_tokens"))
    console.print(f"  {target.get('replicas', '?')} replicas; {written}")
    console.print(
        f"  {rate} streams/s of {tokens} tokens through service/{target.get('service', '?')}"
    )
    console.print()
    console.print(verdict.verdict.value.upper(), style=f"bold {_COLOURS.get(verdict.verdict, '')}")
    for reason in verdict.reasons:
        console.print(f"  {reason}")
    if verdict.verdict is Verdict.PASS:
        console.print(f"  {passed(verdict)}")
    console.print()


def passed(verdict: ChaosVerdict) -> str:
    """Say what a pass rests on."""
    excused = sum(fault.excused for fault in verdict.faults)
    abrupt = any(fault.cost == ABRUPT for fault in verdict.faults)
    where = "pods that were hit" if abrupt else "pods that were stopped"
    if not verdict.victims:
        where = "the target"
    said = f"{verdict.streams if excused else verdict.whole} streams, {verdict.exposed:g} of them "
    said += f"in flight on {where}: "
    if len(verdict.faults) > 1:
        said = (
            f"{verdict.streams} streams; {verdict.exposed:g} times one was in flight on {where}: "
        )
    if excused:
        return f"{said}{excused} lost, as an abrupt fault may, each with an error to be seen"
    return f"{said}0 dropped, 0 new requests failed"


def _heading(console: Console, fault: FaultVerdict) -> None:
    took = "" if fault.end is None else f", {duration(fault.end - fault.begin)}"
    console.print(
        f"{fault.index + 1}. {fault.fault} ({fault.cost}{took}): {fault.verdict.value.upper()}",
        style=f"bold {_COLOURS.get(fault.verdict, '')}",
    )


def _streams(console: Console, verdict: ChaosVerdict) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("streams", justify="right")
    for title in ("outcome", "what users got", "what their client noticed"):
        table.add_column(title)
    for outcome, number in sorted(verdict.outcomes.items(), key=lambda item: -item[1]):
        got, noticed = EXPLANATIONS[Outcome(outcome)]
        table.add_row(str(number), outcome, got, noticed)
    console.print(table)
    line = (
        f"  {verdict.whole} whole, {verdict.dropped} dropped, "
        f"{verdict.not_served} new requests failed"
    )
    if verdict.untold:
        line += f", {verdict.untold} untold"
    console.print(line)
    if verdict.silently_truncated:
        console.print(
            f"  {verdict.silently_truncated} silently truncated: HTTP 200 and a clean end, and "
            "not whole",
            style="bold red",
        )
    console.print()


def _exposure(console: Console, verdict: FaultVerdict) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    if not verdict.victims:
        return
    if any(victim.hit_at is not None for victim in verdict.victims):
        _hits(console, verdict)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("pod stopped", min_width=max(len(victim.pod) for victim in verdict.victims))
    for title in (
        "in flight at deletion",
        "in flight at SIGTERM",
        "endpoint gone",
        "SIGTERM",
        "ended",
        "exit code",
        "grace over",
    ):
        table.add_column(title, justify="right")
    for victim in verdict.victims:
        table.add_row(
            victim.pod,
            _counted(victim.at_deletion),
            _counted(victim.at_sigterm),
            _after(victim, victim.endpoint_removed),
            _after(victim, victim.sigterm),
            _after(victim, victim.ended),
            "unknown" if victim.exit_code is None else str(victim.exit_code),
            _after(victim, victim.killed_at),
        )
    console.print(table)
    console.print(
        "  in flight: engine's gauge (History: least to most); times since the pod's deletion"
    )
    _agreement(console, verdict)


def _agreement(console: Console, verdict: FaultVerdict) -> None:
    if not verdict.gauge_agrees:
        console.print(
            "  gauge and History differ: someone else may be sending requests, too", style="yellow"
        )
    console.print()


def _hits(console: Console, verdict: FaultVerdict) -> None:
    """Show the pods that an abrupt fault hit."""
    from rich.table import Table  # noqa: PLC0415 - same

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("pod hit", min_width=max(len(victim.pod) for victim in verdict.victims))
    for title in ("in flight when hit", "endpoint gone", "ended", "exit code"):
        table.add_column(title, justify="right")
    for victim in verdict.victims:
        table.add_row(
            victim.pod,
            _counted(victim.hit),
            _after(victim, victim.endpoint_removed),
            _after(victim, victim.ended),
            "unknown" if victim.exit_code is None else str(victim.exit_code),
        )
    console.print(table)
    console.print("  in flight: engine's gauge (History: least to most); times since the hit")
    if verdict.excused:
        again = verdict.numbers.served_again_s
        console.print(
            f"  {verdict.excused} streams and requests lost that the fault may cost"
            + ("" if again is None else f"; the last of them was sent {again:.1f} s after it")
        )
    _agreement(console, verdict)


def _numbers(console: Console, verdict: FaultVerdict) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    numbers = verdict.numbers
    console.print("numbers to plan with", style="bold")
    back = numbers.recovered_s
    capacity = (
        "capacity was not full again" if back is None else f"full capacity after {back:.1f} s"
    )
    if back == 0:
        capacity = "capacity was full throughout"
    took = "unknown" if numbers.duration_s is None else f"{numbers.duration_s:.1f} s"
    gap = verdict.longest_gap_s
    console.print(
        f"  fault: {took}; {capacity}"
        + ("" if gap is None else f"; longest gap between tokens {gap:.1f} s")
    )
    for label, needed, margin in (
        ("preStop delay", numbers.prestop_needed_s, numbers.prestop_margin_s),
        ("grace period", numbers.grace_needed_s, numbers.grace_margin_s),
    ):
        if needed is not None:
            aborts = Cause.ENGINE_ABORTS_ON_SIGTERM.value in verdict.causes
            whose = " for an engine that drains" if aborts else ""
            console.print(
                f"  {label}: {needed:.1f} s would have been enough{whose}{_spare(margin)}"
            )
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("P50 / P95 / P99 in ms")
    for title in ("before", "during", "after"):
        table.add_column(title, justify="right")
    periods = (numbers.before, numbers.during, numbers.after)
    table.add_row("time to first token", *(percentiles(one.ttft_s) for one in periods))
    table.add_row(
        "time per output token", *(percentiles(one.time_per_output_token_s) for one in periods)
    )
    console.print(table)
    console.print()


STEPS = {"deletionTimestamp": "deletionTimestamp, when the grace period ends"}
"""Steps of a stream's timeline that need an explanation."""


def _spare(margin: float | None) -> str:
    if margin is None:
        return ""
    return f" ({abs(margin):.1f} s {'to spare' if margin >= 0 else 'more than there are'})"


def percentiles(found: Percentiles) -> str:
    """Write P50, P95 and P99 in milliseconds."""
    if not found.streams:
        return "-"
    return " / ".join(
        f"{seconds * 1e3:.0f}" for seconds in (found.p50, found.p95, found.p99) if seconds
    )


def _cause(console: Console, verdict: FaultVerdict) -> None:
    if not verdict.causes:
        return
    for name, number in sorted(verdict.causes.items(), key=lambda item: -item[1]):
        first = next((item for item in verdict.failures if item.cause == name), None)
        seen = f" · foreseen by the check {first.check}" if first and first.check else ""
        console.print(f"cause: {name} ({number}){seen}", style="bold")
        if first:
            console.print(f"  {first.evidence}")
    console.print()


def _worst(console: Console, verdict: FaultVerdict) -> None:
    if not verdict.failures:
        return
    silent_first = sorted(
        verdict.failures, key=lambda item: (not item.silently_truncated, item.due)
    )
    shown = silent_first[:_WORST]
    console.print(f"worst streams ({len(shown)} of {sum(verdict.causes.values())})", style="bold")
    for failure in shown:
        _one(console, verdict, failure)
    console.print()


def _one(console: Console, verdict: FaultVerdict, failure: Failure) -> None:
    silent = ", silently truncated" if failure.silently_truncated else ""
    tokens = ""
    if failure.expected_tokens is not None:
        known = failure.tokens if failure.tokens is not None else "unknown"
        tokens = f"; {known} of {failure.expected_tokens} tokens by the server's own count"
    console.print(f"  {failure.id}: {failure.outcome}{silent}: {failure.detail}{tokens}")
    several = len({step.pod for step in failure.timeline} - {""}) > 1
    steps = []
    for step in failure.timeline:
        pod = step.pod if several or step.what in {"deleted", "hit"} else ""
        what = STEPS.get(step.what, step.what)
        words = (f"{step.at - verdict.begin:+.1f} s", pod, what, step.detail)
        steps.append(" ".join(filter(None, words)))
    console.print("    " + " → ".join(steps))
    console.print(f"    can have been on {', '.join(failure.pods) or 'no pod that is known'}")


def _timeline(console: Console, verdict: ChaosVerdict) -> None:
    flow = verdict.in_flight
    if flow is None or not flow.counts:
        return
    columns = WIDTH - 4
    per = max(1, -(-len(flow.counts) // columns))
    points = [max(flow.counts[i : i + per]) for i in range(0, len(flow.counts), per)]
    top = max(points)
    bars = "".join(_BARS[-(-point * (len(_BARS) - 1) // top)] if top else " " for point in points)
    seconds = per * flow.step_s

    def column(at: float) -> int:
        return min(len(points) - 1, max(0, int((at - flow.begin) / seconds)))

    marks = [" "] * len(points)
    for fault in verdict.faults:
        if fault.end is not None:
            marks[column(fault.end)] = "E"
        for victim in fault.victims:
            for at, mark in ((victim.sigterm, "T"), (victim.deleted, "D"), (victim.hit_at, "H")):
                if at is not None:
                    marks[column(at)] = mark
        marks[column(fault.begin)] = "F"
    lost: Counter[int] = Counter(
        column(item.ended) for item in verdict.failures if item.ended is not None
    )
    crosses = "".join("x" if lost[i] else " " for i in range(len(points)))
    console.print(f"streams in flight, at most {top}; a column is {seconds:g} s", style="bold")
    console.print(f"  {bars}", soft_wrap=True)
    if crosses.strip():
        console.print(f"  {crosses.rstrip()}", style="red", soft_wrap=True)
    console.print(f"  {''.join(marks).rstrip()}", soft_wrap=True)
    names = {
        "F": "fault",
        "H": "pod hit",
        "D": "pod deleted",
        "T": "SIGTERM",
        "E": "fault over",
    }
    legend = [f"{mark} {name}" for mark, name in names.items() if mark in marks]
    console.print(f"  {', '.join(legend + ['x stream lost'] * bool(crosses.strip()))}")
    console.print()


def _end(console: Console, verdict: ChaosVerdict, folder: Path | str) -> None:
    if verdict.check:
        console.print(
            f"the check {verdict.check} foresees this from the manifest: drainproof audit "
            f"{folder}/snapshot.json",
            soft_wrap=True,
        )
    console.print(f"evidence: {folder} (judge it again: drainproof judge {folder})", soft_wrap=True)


def _counted(count: Count | None) -> str:
    if count is None:
        return "unknown"
    gauge = "no gauge" if count.gauge is None else f"{count.gauge:g}"
    span = f"{count.least}" if count.least == count.most else f"{count.least} to {count.most}"
    return f"{gauge} ({span})"


def _after(victim: Victim, at: float | None) -> str:
    return "unknown" if at is None else f"{max(0.0, at - victim.struck):.1f} s"
