"""A simulation as people read it at a terminal, and as JSON; ``simulate.schema.json`` says how."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from drainproof import __version__
from drainproof.progress import duration
from drainproof.report.text import harmless, inert, plural
from drainproof.simulate.whatif import MAY_WAIT, cheapest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from rich.console import Console

    from drainproof.simulate.series import Error
    from drainproof.simulate.whatif import Outcome, Simulation

VERSION = 1
"""Version of the JSON's form; it grows where a field is removed or means something else."""
WIDTH = 100
_NARROWEST = 60
_POINTS = 600
"""How many points a list over time has at most, in JSON."""
_BARS = " ▁▂▃▄▅▆▇█"
_LABEL = 18
"""Columns in front of the bars: what is shown, and the most of it."""


def width(out: TextIO) -> int:
    """Return the columns to write to ``out``."""
    if not out.isatty():
        return WIDTH
    return max(_NARROWEST, min(WIDTH, shutil.get_terminal_size().columns))


def render(simulation: Simulation, *, columns: int = WIDTH) -> str:
    """Return the report as text of at most so many columns."""
    from rich.console import Console  # noqa: PLC0415 - loads slowly, and only reports need it

    out = io.StringIO()
    console = Console(file=out, width=columns, highlight=False, emoji=False, markup=False)
    _title(console, simulation)
    for outcome in simulation.outcomes:
        _over_time(console, outcome, columns, simulation)
    _table(console, simulation)
    _answer(console, simulation)
    lines = [line.rstrip() for line in out.getvalue().rstrip("\n").split("\n")]
    return harmless("\n".join(lines)) + "\n"


def _title(console: Console, simulation: Simulation) -> None:
    policy, service = simulation.policy, simulation.service
    console.print(
        f"{simulation.subject or 'a workload'}, simulated for {duration(simulation.duration_s)}"
    )
    console.print(
        f"  {policy.least} to {policy.most} replicas of {plural(service.gpus, 'GPU')}, each with "
        f"{plural(service.concurrency, 'stream')} of {service.tokens_per_second:.4g} tokens/s"
    )
    probes = ""
    if service.probe_delay_s or service.probe_periods_s:
        least = max(service.cold_start_s, service.probe_delay_s)
        most = least + sum(service.probe_periods_s)
        probes = f", ready after {least:g} to {most:g} s by its probes"
    console.print(f"  cold start {duration(service.cold_start_s)}{probes}")
    counted = "+".join(policy.follows)
    whose = "mean over the replicas" if policy.mean else "sum of the replicas"
    console.print(
        f"  scales on {counted} requests ({whose}, {policy.metric_type}), "
        f"scraped every {policy.scrape_s:g} s"
    )
    console.print(f"  {simulation.requests:,} requests: {simulation.load}")
    for note in simulation.notes:
        console.print(f"  note: {note}")
    console.print()


def _over_time(console: Console, outcome: Outcome, columns: int, simulation: Simulation) -> None:
    series = outcome.series
    per = -(-len(series.waiting) // (columns - _LABEL - 4))
    declared = " (declared)" if outcome.declared else ""
    console.print(f"threshold {outcome.threshold:g}{declared}; a column is {per} s")
    for label, values in (
        ("waiting", series.waiting),
        ("replicas", series.replicas),
        ("ready", series.ready),
    ):
        top = max(series.waiting) if label == "waiting" else max(series.replicas)
        bars = "".join(_bar(max(values[at : at + per]), top) for at in range(0, len(values), per))
        console.print(f"  {label:<8} {max(values):>8,} {bars.rstrip()}", soft_wrap=True)
    console.print(f"  {_reacted(outcome)}")
    off = simulation.error_of(outcome)
    if off is not None:
        console.print(f"  {_off(off)}")
    console.print()


def _bar(value: int, top: int) -> str:
    return _BARS[-(-value * (len(_BARS) - 1) // top)] if top else " "


def _reacted(outcome: Outcome) -> str:
    found = outcome.reactions
    if outcome.peak_replicas == outcome.series.replicas[0] and found.asked_s is None:
        return (
            "never more replicas than at the start: the queue was "
            + ("over" if found.over_threshold_s is not None else "never over")
            + " the threshold"
        )
    steps = [
        ("queue over the threshold", found.over_threshold_s),
        ("more replicas asked for", found.asked_s),
        ("the first ready", found.ready_s),
        ("queue empty", found.empty_s),
    ]
    return ", ".join(
        f"{what} at {duration(at)}" if at is not None else f"{what}: never" for what, at in steps
    )


def _off(off: Error) -> str:
    """Say how far from the measured run it is."""
    said = (
        f"measured: off by {off.mean_replicas:.2g} replicas on average and by "
        f"{off.most_replicas} at most"
    )
    if off.first_scale_out_s is None:
        return f"{said}; only one of the two scales out"
    late = "later" if off.first_scale_out_s >= 0 else "earlier"
    return f"{said}; scales out {abs(off.first_scale_out_s):g} s {late}"


def _table(console: Console, simulation: Simulation) -> None:
    from rich.table import Table  # noqa: PLC0415 - same

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in (
        "threshold",
        "peak queue",
        "P50 / P95 / P99 wait",
        f"over {simulation.slo_s:g} s",
        "peak replicas",
        "changes",
        "GPU-hours",
    ):
        table.add_column(title, justify="right")
    for one in simulation.outcomes:
        table.add_row(
            f"{one.threshold:g}",
            f"{one.peak_waiting:,}",
            " / ".join(f"{wait:.1f}" for wait in (one.wait_p50_s, one.wait_p95_s, one.wait_p99_s))
            + " s",
            f"{one.over_slo:.1%}",
            str(one.peak_replicas),
            str(one.changes),
            f"{one.gpu_hours:.1f}",
        )
    console.print(table)
    console.print()


def _answer(console: Console, simulation: Simulation) -> None:
    goal = f"a first token within {simulation.slo_s:g} s for {1 - MAY_WAIT:.0%} of requests"
    best = cheapest(simulation.outcomes)
    if best is not None:
        console.print(
            f"threshold {best.threshold:g} meets {goal} at the least cost, "
            f"{best.gpu_hours:.1f} GPU-hours"
        )
        return
    nearest = min(simulation.outcomes, key=lambda one: (one.over_slo, one.gpu_hours))
    console.print(
        f"no threshold of these meets {goal}; nearest is {nearest.threshold:g}, with "
        f"{nearest.over_slo:.1%} of requests over it: a cold start of "
        f"{duration(simulation.service.cold_start_s)} wants more replicas before the load comes"
    )


def to_json(simulation: Simulation) -> str:
    """Return the report as JSON."""
    best = cheapest(simulation.outcomes)
    policy = msgspec.to_builtins(simulation.policy)
    for unread in ("threshold", "up", "down"):
        policy.pop(unread)
    report = {
        "drainproof": __version__,
        "version": VERSION,
        "subject": simulation.subject,
        "policy": {
            **policy,
            "scale_up": _pace(simulation.policy.up),
            "scale_down": _pace(simulation.policy.down),
        },
        "service": msgspec.to_builtins(simulation.service),
        "load": {"requests": simulation.requests, "description": simulation.load},
        "duration_s": simulation.duration_s,
        "slo_s": simulation.slo_s,
        "seed": simulation.seed,
        "notes": simulation.notes,
        "measured": simulation.measured,
        "thresholds": [
            {**_outcome(one), "error": msgspec.to_builtins(simulation.error_of(one))}
            for one in simulation.outcomes
        ],
        "cheapest": None if best is None else best.threshold,
    }
    return inert(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode()) + "\n"


def _pace(pace: Any) -> dict[str, Any] | None:  # noqa: ANN401 - a Pace or None
    if pace is None:
        return None
    return {
        "window_s": pace.window_s,
        "select": pace.select,
        "policies": [
            {"type": one.type, "value": one.value, "period_s": one.period_s}
            for one in pace.policies
        ],
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    series = one.series
    step = -(-len(series.waiting) // _POINTS)
    return {
        "threshold": one.threshold,
        "declared": one.declared,
        "peak_waiting": one.peak_waiting,
        "wait_s": {"p50": one.wait_p50_s, "p95": one.wait_p95_s, "p99": one.wait_p99_s},
        "over_slo": one.over_slo,
        "meets_slo": one.meets_slo,
        "peak_replicas": one.peak_replicas,
        "changes": one.changes,
        "gpu_hours": one.gpu_hours,
        "longest_drain_s": series.longest_drain_s,
        "requests": {
            "came": series.requests,
            "finished": series.finished,
            "waiting": series.waiting[-1],
            "running": series.running[-1],
        },
        "reactions": msgspec.to_builtins(one.reactions),
        "series": {
            "step_s": step,
            "waiting": _thinned(series.waiting, step),
            "running": _thinned(series.running, step),
            "replicas": _thinned(series.replicas, step),
            "ready": _thinned(series.ready, step),
        },
    }


def _thinned(values: Sequence[int], step: int) -> list[int]:
    return list(values[::step])
