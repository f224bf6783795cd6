"""What an autoscaler made of a load: a table of links for terminals, and a picture for anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rich.console import Console

    from drainproof.judge.chaos import ChaosVerdict, FaultVerdict
    from drainproof.judge.cold import Cold
    from drainproof.judge.links import Step
    from drainproof.judge.scaling import Scaling
    from drainproof.judge.zero import Zero

PICTURE: Final = "scaling.svg"
"""The picture's file in the evidence folder."""
_BAR: Final = 20
"""Columns of a reaction time's bars."""
_HOLDS: Final = {True: "yes", False: "NO", None: "unknown"}
_STYLES: Final = {True: "green", False: "red", None: "yellow"}

_WIDTH: Final = 960
_LEFT: Final = 270
_ROW: Final = 22
_PLOT: Final = 120
_FONT: Final = "font-family='sans-serif' font-size='12'"


def show(console: Console, verdict: FaultVerdict) -> None:
    """Print what had to hold, and the reaction time, link by link."""
    from rich.table import Table  # noqa: PLC0415 - loads slowly, and only reports need it

    scaling = verdict.scaling
    if scaling is None:
        return
    threshold = "unknown" if scaling.threshold is None else f"{scaling.threshold:g}"
    console.print(
        f"{scaling.scaler or 'the autoscaler'}: threshold {threshold}, {scaling.least} to "
        f"{scaling.most} replicas",
        style="bold",
    )
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    for title in ("holds", "what", "found"):
        table.add_column(title)
    for one in scaling.criteria:
        table.add_row(_HOLDS[one.holds], one.says, one.found, style=_STYLES[one.holds])
    console.print(table)
    console.print()
    if any(step.at is not None for step in scaling.steps):
        _reaction(console, scaling)


def _reaction(console: Console, scaling: Scaling) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    what, took_s = "reaction time", scaling.reaction_s
    if scaling.cold:
        what, took_s = "cold start", scaling.cold.took_s
    total = "" if took_s is None else f", {took_s:.1f} s"
    console.print(f"{what}{total}", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("step", no_wrap=True)
    table.add_column("link", no_wrap=True)
    table.add_column("took", justify="right")
    table.add_column("at", justify="right")
    table.add_column("", no_wrap=True)
    began, whole_s = _extent(scaling)
    for step in scaling.steps:
        at = "" if step.at is None else f"{step.at - began:.1f} s"
        took = _none(step) if step.took_s is None else f"{step.took_s:.1f} s"
        table.add_row(step.what, step.link, took, at, _bar(step, began, whole_s).rstrip())
    console.print(table)
    console.print()
    if scaling.cold:
        _queue(console, scaling.cold)
    if scaling.zero:
        _met(console, scaling.zero)


def _queue(console: Console, cold: Cold) -> None:
    """Print what a cold start means for a queue, number by number."""
    from rich.table import Table  # noqa: PLC0415 - same

    console.print("what that means for a queue", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 2), show_header=False)
    seen = "stated" if cold.growth_stated else "seen"
    least = ", at least: no queue was there all the time" if cold.answers_at_least else ""
    early = cold.early_threshold
    for label, value, unit, more in (
        ("it grows by", cold.growth_per_s, "requests/s", f", {seen}"),
        ("replicas before it answer", cold.answers_per_s, "requests/s", least),
        ("one more is asked for at", cold.asks_at, "requests that wait", ""),
        ("which takes at most", cold.reaction_s, "s", ", as declared"),
        ("when it serves there wait", cold.waiting, "requests", ""),
        ("the last of them waits", cold.last_waits_s, "s", f", of {cold.wait_s:g} s"),
        ("early enough is a threshold of", early, "", " at most"),
    ):
        said = "unknown" if value is None else f"{value:.4g} {unit}".rstrip() + more
        if label.startswith("early") and cold.early is not None and cold.early <= 0:
            said = "none"
        table.add_row(label, said)
    console.print(table)
    console.print()


def _met(console: Console, zero: Zero) -> None:
    """Print what requests met from when no replica was left."""
    from rich.table import Table  # noqa: PLC0415 - same

    first = zero.first_answer_s
    said = "no request was answered" if first is None else f"the first answer after {first:.1f} s"
    console.print(f"what users met: {said}, of {zero.within_s:g} s", style="bold")
    table = Table(box=None, padding=(0, 2, 0, 2), header_style="bold")
    table.add_column("what")
    for title in ("requests", "first", "last", "longest wait"):
        table.add_column(title, justify="right")
    for kind in zero.kinds:
        times = (f"{value:.1f} s" for value in (kind.first_s, kind.last_s, kind.longest_s))
        table.add_row(kind.what, str(kind.requests), *times)
    console.print(table)
    console.print()


def _none(step: Step) -> str:
    return "unknown" if step.unknown else "never"


def _extent(scaling: Scaling) -> tuple[float, float]:
    """Return when the first step was, and how long it is to the last."""
    at = [step.at for step in scaling.steps if step.at is not None]
    return min(at), max(max(at) - min(at), 1.0)


def _bar(step: Step, began: float, whole_s: float) -> str:
    if step.at is None or step.took_s is None:
        return ""
    until = round((step.at - began) / whole_s * _BAR)
    since = round((step.at - step.took_s - began) / whole_s * _BAR)
    return " " * since + ("█" * (until - since) or "▏")


def write(verdict: ChaosVerdict, folder: Path) -> None:
    """Draw the picture into an evidence folder, if a fault of the run is about scaling.

    Raises:
        OSError: The file can't be written.
    """
    if any(fault.scaling is not None for fault in verdict.faults):
        (folder / PICTURE).write_text(svg(verdict), encoding="utf-8")


def svg(verdict: ChaosVerdict) -> str:
    """Return a picture of all faults of scaling: queue and replicas over time, and the links."""
    parts: list[str] = []
    top = 10
    for fault in verdict.faults:
        if fault.scaling is not None:
            drawn, height = _drawn(fault, fault.scaling, top)
            parts += drawn
            top += height
    return "\n".join(
        (
            (
                f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{top}' "
                f"viewBox='0 0 {_WIDTH} {top}'>"
            ),
            f"<rect width='{_WIDTH}' height='{top}' fill='white'/>",
            *parts,
            "</svg>\n",
        )
    )


def _drawn(fault: FaultVerdict, scaling: Scaling, top: int) -> tuple[list[str], int]:
    """Return a fault's drawing and its height."""
    title = f"{fault.fault}: {fault.verdict.value}"
    if scaling.cold and scaling.cold.took_s is not None:
        title += f", {scaling.cold.took_s:.1f} s from its pod to its first token"
    elif scaling.reaction_s is not None:
        since = "first request" if scaling.zero else "queue"
        title += f", {scaling.reaction_s:.1f} s from the {since} to a new replica that serves"
    begin, end = fault.begin, fault.end or fault.begin
    times = [*(at for at, _ in scaling.queue), *(at for at, _ in scaling.replicas)]
    span_s = max(max(times, default=end) - begin, end - begin, 1.0)

    def x(at: float) -> float:
        return _LEFT + max(0.0, min(1.0, (at - begin) / span_s)) * (_WIDTH - _LEFT - 20)

    drawn = [_text(10, top + 16, title, bold=True)]
    top += 30
    drawn += _plot(scaling, top, x, begin + span_s)
    drawn.append(_text(_LEFT, top + _PLOT + 16, "0 s"))
    drawn.append(_text(_WIDTH - 20, top + _PLOT + 16, f"{span_s:.0f} s", anchor="end"))
    height = _PLOT + 30
    for step in scaling.steps:
        y = top + height
        drawn.append(_text(10, y + 14, f"{step.what}"))
        if step.at is not None and step.took_s is not None:
            left = x(step.at - step.took_s)
            drawn.append(
                f"<rect x='{left:.1f}' y='{y + 3}' width='{max(x(step.at) - left, 1.5):.1f}' "
                f"height='{_ROW - 8}' fill='#4477aa'/>"
            )
            drawn.append(_text(x(step.at) + 6, y + 14, f"{step.took_s:.1f} s"))
        else:
            drawn.append(_text(_LEFT, y + 14, _none(step)))
        height += _ROW
    return drawn, height + 50


def _plot(scaling: Scaling, top: int, x: Callable[[float], float], end: float) -> Iterator[str]:
    """Yield the queue as a line, and the replicas as steps."""
    bottom = top + _PLOT
    longest = max((count for _, count in scaling.queue), default=0.0) or 1.0
    most = max((count for _, count in scaling.replicas), default=0) or 1
    yield f"<line x1='{_LEFT}' y1='{bottom}' x2='{_WIDTH - 20}' y2='{bottom}' stroke='#888'/>"
    points = " ".join(
        f"{x(at):.1f},{bottom - count / longest * (_PLOT - 10):.1f}" for at, count in scaling.queue
    )
    yield f"<polyline points='{points}' fill='none' stroke='#cc6677' stroke-width='2'/>"
    steps: list[str] = []
    following = [at for at, _ in scaling.replicas[1:]] + [end]
    for (at, count), until in zip(scaling.replicas, following, strict=True):
        y = bottom - count / most * (_PLOT - 10)
        steps += [f"{x(at):.1f},{y:.1f}", f"{x(until):.1f},{y:.1f}"]
    yield (
        f"<polyline points='{' '.join(steps)}' fill='none' stroke='#117733' stroke-width='2' "
        "stroke-dasharray='6 3'/>"
    )
    yield _text(10, top + 24, f"requests waiting, at most {longest:g}", colour="#cc6677")
    yield _text(10, top + 44, f"replicas, at most {most}", colour="#117733")
    if scaling.threshold is not None:
        yield _text(10, top + 64, f"threshold {scaling.threshold:g} for each replica")


def _text(  # noqa: PLR0913 - how a text looks
    x: float,
    y: float,
    said: str,
    *,
    bold: bool = False,
    anchor: str = "start",
    colour: str = "#222",
) -> str:
    weight = " font-weight='bold'" if bold else ""
    return (
        f"<text x='{x:.1f}' y='{y}' {_FONT}{weight} text-anchor='{anchor}' fill='{colour}'>"
        f"{escape(printable(said))}</text>"
    )
