"""The verdict on a fault, as people read it at a terminal."""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING

from drainproof.judge.causes import FORESEEN, Cause
from drainproof.judge.streams import EXPLANATIONS, Outcome
from drainproof.judge.verdict import Verdict
from drainproof.progress import duration

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from drainproof.judge.chaos import ChaosVerdict, Count, Failure, Victim

WIDTH = 100
_BARS = " ▁▂▃▄▅▆▇█"
_WORST = 3
_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.INCONCLUSIVE: "yellow"}


def render(verdict: ChaosVerdict, folder: Path | str, *, colour: bool = False) -> str:
    """Return the report.

    Args:
        verdict: What is told.
        folder: The evidence, as the user may name it.
        colour: With ANSI colours.
    """
    from rich.console import Console  # noqa: PLC0415 - loads slowly, and only reports need it

    out = io.StringIO()
    console = Console(
        file=out, width=WIDTH, force_terminal=colour, highlight=False, emoji=False, markup=False
    )
    for section in (_title, _streams, _exposure, _cause, _worst, _timeline):
        section(console, verdict)
    _end(console, verdict, folder)
    return out.getvalue().rstrip("\n")


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
        console.print(
            f"  {verdict.whole} streams, {verdict.exposed:g} of them in flight on pods that were "
            "stopped: 0 dropped, 0 new requests failed"
        )
    console.print()


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
    if verdict.longest_gap_s is not None:
        console.print(
            f"  longest gap between two events that a user saw: {verdict.longest_gap_s:.1f} s"
        )
    console.print()


def _exposure(console: Console, verdict: ChaosVerdict) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    if not verdict.victims:
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
    if not verdict.gauge_agrees:
        console.print(
            "  gauge and History differ: someone else may be sending requests, too", style="yellow"
        )
    console.print()


def _cause(console: Console, verdict: ChaosVerdict) -> None:
    if not verdict.causes:
        return
    for name, number in sorted(verdict.causes.items(), key=lambda item: -item[1]):
        check = FORESEEN.get(Cause(name))
        seen = f" · foreseen by the check {check}" if check else ""
        console.print(f"cause: {name} ({number}){seen}", style="bold")
        words = next((item.evidence for item in verdict.failures if item.cause == name), "")
        if words:
            console.print(f"  {words}")
    console.print()


def _worst(console: Console, verdict: ChaosVerdict) -> None:
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


def _one(console: Console, verdict: ChaosVerdict, failure: Failure) -> None:
    silent = ", silently truncated" if failure.silently_truncated else ""
    tokens = ""
    if failure.expected_tokens is not None:
        known = failure.tokens if failure.tokens is not None else "unknown"
        tokens = f"; {known} of {failure.expected_tokens} tokens by the server's own count"
    console.print(f"  {failure.id}: {failure.outcome}{silent}: {failure.detail}{tokens}")
    marks = [
        ("due", failure.due),
        ("sent", failure.sent),
        ("first token", failure.first_token),
        ("last token", failure.last_token),
        ("end", failure.ended),
    ]
    for victim in verdict.victims:
        if victim.pod in failure.pods:
            marks += [
                (f"{victim.pod} deleted", victim.deleted),
                ("endpoint gone", victim.endpoint_removed),
                ("SIGTERM", victim.sigterm),
                ("container ended", victim.ended),
            ]
    known_marks = [(at, label) for label, at in marks if at is not None]
    zero = verdict.begin if verdict.begin is not None else failure.due
    steps = [f"{at - zero:+.1f} s {label}" for at, label in sorted(known_marks)]
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
    if verdict.end is not None:
        marks[column(verdict.end)] = "E"
    for victim in verdict.victims:
        if victim.sigterm is not None:
            marks[column(victim.sigterm)] = "T"
        marks[column(victim.deleted)] = "D"
    if verdict.begin is not None:
        marks[column(verdict.begin)] = "F"
    lost: Counter[int] = Counter(
        column(item.ended) for item in verdict.failures if item.ended is not None
    )
    crosses = "".join("x" if lost[i] else " " for i in range(len(points)))
    console.print(f"streams in flight, at most {top}; a column is {seconds:g} s", style="bold")
    console.print(f"  {bars}", soft_wrap=True)
    if crosses.strip():
        console.print(f"  {crosses.rstrip()}", style="red", soft_wrap=True)
    console.print(f"  {''.join(marks).rstrip()}", soft_wrap=True)
    legend = "F fault, D pod deleted, T SIGTERM, E fault over"
    console.print(f"  {legend}{', x stream lost' if crosses.strip() else ''}")
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
    return "unknown" if at is None else f"{max(0.0, at - victim.deleted):.1f} s"
