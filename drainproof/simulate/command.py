"""The command ``drainproof simulate``: from manifests and options to a prediction."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from drainproof import completion
from drainproof.errors import UserError
from drainproof.examples import examples
from drainproof.model.limits import seconds
from drainproof.report.output import to_standard_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from drainproof.simulate.arrivals import Arrivals, Burst
    from drainproof.simulate.fleet import Service
    from drainproof.simulate.measured import Measured
    from drainproof.simulate.policy import Policy

_Command = TypeVar("_Command", bound="Callable[..., None]")
DURATION_S = 1800.0
"""How long a run lasts if nothing says so."""
SCRAPE_S = 15.0
"""How often Prometheus looks if nothing says so."""
LONGEST_S = 7 * 86400.0
MOST_REPLICAS = 10_000
LARGEST = 1e9
LEAST = 0.001
"""The smallest threshold: Kubernetes counts in thousandths."""
_BURST = re.compile(r"([\d.]+)@([\d.a-z]+)\+([\d.a-z]+)")


def _seconds(written: str) -> float:
    """Read a time such as ``7m``, ``90s`` or ``90``."""
    found = seconds(written)
    if found is None or not 0 <= found <= LONGEST_S:
        raise click.BadParameter(f"expected a time such as 7m or 90s, found {written!r}")
    return found


def _burst(written: str) -> Burst:
    """Read requests a second, from when and for how long: ``40@60s+2m``."""
    from drainproof.simulate.arrivals import Burst  # noqa: PLC0415 - for this command

    found = _BURST.fullmatch(written)
    rate, begin, length = (found[1], found[2], found[3]) if found else ("", "", "")
    number, begin_s, length_s = _positive(rate), seconds(begin), seconds(length)
    if number is None or begin_s is None or length_s is None:
        raise click.BadParameter(f"expected RATE@BEGIN+LENGTH such as 40@60s+2m, found {written!r}")
    return Burst(number, begin_s, length_s)


def _thresholds(written: str) -> tuple[float, ...]:
    """Read numbers over 0 with commas between them; each counts once."""
    found = [_positive(word) for word in written.split(",")]
    numbers = [number for number in found if number is not None and number >= LEAST]
    if len(numbers) != len(found):
        raise click.BadParameter(f"expected numbers over 0 such as 5,10,20, found {written!r}")
    return tuple(dict.fromkeys(numbers))


def _positive(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if 1 / LARGEST <= number <= LARGEST else None


def _over_0(written: str) -> float:
    """Read a number over 0."""
    found = _positive(written)
    if found is None:
        raise click.BadParameter(f"expected a number over 0, found {written!r}")
    return found


def _time(name: str, told: str, **more: Any) -> Callable[[_Command], _Command]:  # noqa: ANN401 - click's own
    """Return an option that is a time."""
    return click.option(f"--{name}", type=_seconds, metavar="TIME", help=told, **more)


@click.command(
    epilog=examples(
        "drainproof simulate deploy/ --rate 8 --burst 40@5m+2m --cold-start 7m \\",
        "    --tokens 300 --tokens-per-second 24 --thresholds 5,20,50",
        "drainproof simulate deploy/ --measured EVIDENCE",
    )
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.files)
@click.option(
    "--workload",
    default="",
    metavar="[KIND/]NAME",
    help="The workload, if PATHs have several: deployment/NAME.",
)
@click.option("-n", "--namespace", default="", help="Its namespace.")
@click.option(
    "--arrivals",
    "trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A trace: CSV whose rows are the second of one request, or seconds,requests.",
)
@click.option(
    "--measured",
    "evidence",
    type=click.Path(path_type=Path),
    metavar="EVIDENCE",
    help="The evidence of a chaos run of scale-out, scale-in or no-flapping: requests, pace, cold "
    "start and replicas are as they were there, and how far off the prediction is is said.",
)
@click.option(
    "--rate", type=_over_0, metavar="NUMBER", help="Requests a second on average, at random times."
)
@click.option(
    "--burst",
    "bursts",
    type=_burst,
    metavar="RATE@BEGIN+LENGTH",
    multiple=True,
    help="Requests a second on top of --rate, for a while: 40@60s+2m; may be repeated.",
)
@_time("cold-start", "Measured, from a container's start until its engine answers.")
@_time("schedule", "Until a new pod's container starts, such as for a node to come.  [default: 0s]")
@click.option(
    "--tokens",
    type=_over_0,
    metavar="NUMBER",
    help="Length of an answer, in tokens.",
)
@click.option(
    "--lengths",
    type=click.Choice(["fixed", "exponential"]),
    default="fixed",
    show_default=True,
    help="Whether all answers have --tokens tokens, or so many on average.",
)
@click.option(
    "--tokens-per-second",
    type=_over_0,
    metavar="NUMBER",
    help="Of one stream, in a replica that runs as many as it can.",
)
@click.option(
    "--tokens-per-second-alone",
    type=_over_0,
    metavar="NUMBER",
    help="Of a stream that is alone; between the two the rate falls evenly.  [default: the same]",
)
@_time("prefill", "From a stream's begin to its first token.  [default: 0s]", default="0s")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    help="Streams that a replica runs at once.  [default: the engine's --max-num-seqs]",
)
@click.option(
    "--thresholds",
    type=_thresholds,
    metavar="N[,N…]",
    help="Thresholds to compare.  [default: the autoscaler's own]",
)
@click.option(
    "--metric",
    type=click.Choice(["waiting", "running", "waiting+running"]),
    help="Requests that the autoscaler counts, summed over the replicas.  [default: as its query]",
)
@click.option(
    "--metric-type",
    type=click.Choice(["AverageValue", "Value"]),
    help="How the metric is compared with the threshold.  [default: as declared]",
)
@click.option(
    "--min-replicas", type=click.IntRange(0, MOST_REPLICAS), help="[default: as declared]"
)
@click.option(
    "--max-replicas", type=click.IntRange(1, MOST_REPLICAS), help="[default: as declared]"
)
@click.option(
    "--replicas",
    type=click.IntRange(0, MOST_REPLICAS),
    help="Replicas that are ready at the start.  [default: the minimum]",
)
@click.option("--gpus-per-replica", type=click.IntRange(1, 10_000), help="[default: as declared]")
@_time(
    "probe-delay", "From when the engine answers until it is ready.  [default: as probes have it]"
)
@_time("scrape-interval", f"Prometheus'.  [default: as monitors have it, else {SCRAPE_S:g}s]")
@_time("duration", "How long a run lasts.  [default: 30m, or the trace]")
@_time(
    "slo",
    "To the first token, for 99 % of requests: what thresholds have to meet.  [default: 30s]",
    default="30s",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    default=0,
    metavar="INTEGER",
    help="Another one is another run.  [default: 0]",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    show_default=True,
    help="How the prediction is printed.",
)
def simulate(format_: str, **given: Any) -> None:  # noqa: ANN401 - options, by their names
    """Predict replicas, queue and GPU-hours under a load, from an autoscaler's declared policy.

    PATH is a manifest, or anything else that audit takes: it holds the workload and its
    ScaledObject or HorizontalPodAutoscaler. Options go before what is declared; without PATHs
    --thresholds, --max-replicas and --concurrency are needed. Without --measured, --cold-start,
    --tokens and --tokens-per-second are.
    """
    from drainproof.report import simulate as report  # noqa: PLC0415 - for this command
    from drainproof.simulate.whatif import Simulation, outcomes  # noqa: PLC0415 - same

    measured = _measured(given)
    subject, policy_fields, service_fields, notes = _declared(given)
    service = _service(service_fields, given)
    policy, thresholds = _policy(policy_fields, given)
    duration_s, arrivals = _arrivals(given, measured)
    declared = policy_fields.get("threshold")
    simulation = Simulation(
        subject=subject,
        policy=policy,
        service=service,
        requests=len(arrivals),
        load=_load(given, arrivals, duration_s),
        duration_s=duration_s,
        slo_s=given["slo"],
        seed=given["seed"],
        notes=notes,
        measured=measured.replicas if measured else None,
        outcomes=outcomes(
            policy,
            service,
            arrivals,
            thresholds,
            duration_s=duration_s,
            slo_s=given["slo"],
            declared=declared,
            replicas=given["replicas"],
            seed=given["seed"],
        ),
    )
    if format_ == "json":
        to_standard_output([report.to_json(simulation)])
    else:
        to_standard_output([report.render(simulation, columns=report.width(sys.stdout))])


def _measured(given: dict[str, Any]) -> Measured | None:
    """Return what a chaos run measured; it goes into the options that were not given.

    Raises:
        UserError: It can't be read, or an option is missing without it.
    """
    if given["evidence"] is not None:
        from drainproof.judge.chaos import HISTORY  # noqa: PLC0415 - for this option
        from drainproof.simulate import measured  # noqa: PLC0415 - same

        found = measured.read(given["evidence"] / HISTORY)
        if given["cold_start"] is None and given["probe_delay"] is None:
            given["probe_delay"] = 0.0  # it was measured until the pod was ready
        given["replicas"] = given["replicas"] or found.replicas[0][1]
        for name in ("cold_start", "schedule"):
            given[name] = getattr(found, f"{name}_s") if given[name] is None else given[name]
        given["tokens_per_second"] = given["tokens_per_second"] or found.tokens_per_second
        return found
    for name in ("cold_start", "tokens", "tokens_per_second"):
        if given[name] is None:
            option = f"--{name.replace('_', '-')}"
            raise UserError(f"expected {option}, found none", hint="Or give --measured EVIDENCE.")
    return None


def _declared(given: dict[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any], list[str]]:
    """Return the workload's name, and what manifests say of its autoscaler and of itself."""
    notes: list[str] = []
    if not given["paths"]:
        if given["workload"] or given["namespace"]:
            raise UserError("--workload and -n choose among manifests: expected PATHs, found none")
        return "", {}, {}, notes
    from drainproof.collect import files  # noqa: PLC0415 - only where files are read
    from drainproof.simulate import declared  # noqa: PLC0415 - same

    snapshot = files.read(given["paths"])
    workload = declared.workload_of(snapshot, given["workload"], given["namespace"])
    scaler = declared.scaler_of(snapshot, workload)
    fields: dict[str, Any] = {}
    if scaler is not None:
        fields = declared.policy_fields(scaler, workload.engine, given["metric"], notes)
    elif given["thresholds"] is None or given["max_replicas"] is None:
        raise UserError(
            f"expected an autoscaler of {workload.ref}, found none in {', '.join(given['paths'])}",
            hint="Add its ScaledObject or HorizontalPodAutoscaler, or give --thresholds and "
            "--max-replicas.",
        )
    interval_s = declared.scrape_s(snapshot)
    if interval_s is not None:
        fields["scrape_s"] = interval_s
    notes += [f"not read: {problem}" for problem in snapshot.problems]
    return workload.ref, fields, declared.service_fields(workload, notes), notes


def _policy(fields: dict[str, Any], given: dict[str, Any]) -> tuple[Policy, tuple[float, ...]]:
    """Return the policy, and the thresholds to try."""
    from drainproof.simulate.policy import Policy  # noqa: PLC0415 - same

    fields = {"least": 1, **fields}
    for name, option in (
        ("least", "min_replicas"),
        ("most", "max_replicas"),
        ("metric_type", "metric_type"),
        ("scrape_s", "scrape_interval"),
    ):
        if given[option] is not None:
            fields[name] = given[option]
    if given["metric"] is not None:
        fields["follows"] = tuple(given["metric"].split("+"))
    thresholds = given["thresholds"] or tuple(
        [fields["threshold"]] if fields.get("threshold") else []
    )
    if not thresholds:
        raise UserError("expected a threshold, found none", hint="Give --thresholds 5,10,20.")
    if "most" not in fields:
        raise UserError(
            "expected a maximum of replicas, found none", hint="Give --max-replicas 10."
        )
    if min(thresholds) < LEAST:
        raise UserError(f"expected a threshold over 0, found {min(thresholds):g}")
    policy = Policy(**{"scrape_s": SCRAPE_S, **fields, "threshold": thresholds[0]})
    if not 0 <= policy.least <= policy.most or not 1 <= policy.most <= MOST_REPLICAS:
        raise UserError(
            f"expected a minimum of replicas up to the maximum, found {policy.least} and "
            f"{policy.most}"
        )
    if policy.scrape_s < 1:
        raise UserError(f"expected a scrape interval of 1 s or more, found {policy.scrape_s:g} s")
    if policy.polling_s < 1:
        raise UserError(f"expected a pollingInterval of 1 s or more, found {policy.polling_s:g}")
    return policy, thresholds


def _service(fields: dict[str, Any], given: dict[str, Any]) -> Service:
    from drainproof.simulate.fleet import Service  # noqa: PLC0415 - same

    if given["probe_delay"] is not None:
        # seconds after the engine answers, so that they come on top of the cold start
        fields |= {"probe_delay_s": 0.0, "probe_periods_s": ()}
    if given["concurrency"] is not None:
        fields["concurrency"] = given["concurrency"]
    if given["gpus_per_replica"] is not None:
        fields["gpus"] = given["gpus_per_replica"]
    if "concurrency" not in fields:
        raise UserError(
            "expected how many streams a replica runs at once, found no --max-num-seqs",
            hint="Give --concurrency 64.",
        )
    full, alone = given["tokens_per_second"], given["tokens_per_second_alone"]
    if alone is not None and alone < full:
        raise UserError(
            f"expected a stream that is alone to be as fast as others or faster, found {alone:g} "
            f"and {full:g} tokens/s"
        )
    return Service(
        **fields,
        tokens_per_second=full,
        tokens_per_second_alone=alone,
        prefill_s=given["prefill"],
        cold_start_s=given["cold_start"] + (given["probe_delay"] or 0.0),
        schedule_s=given["schedule"] or 0.0,
    )


def _arrivals(given: dict[str, Any], measured: Measured | None) -> tuple[float, Arrivals]:
    """Return how long the run lasts, and the requests.

    Those of a run that was measured as they came then, each with its own length.
    """
    from drainproof.simulate import arrivals  # noqa: PLC0415 - same

    trace, duration_s, seed = given["trace"], given["duration"], given["seed"]
    if measured is not None:
        if trace is not None or given["rate"] is not None or given["bursts"]:
            raise UserError("--measured brings its own requests: expected no other load")
        times, requests = measured.arrivals.times_s, measured.arrivals
        if given["tokens"] is not None:
            requests = arrivals.of_lengths(times, given["tokens"], given["lengths"], seed)
        return measured.duration_s if duration_s is None else duration_s, requests
    if (trace is None) == (given["rate"] is None):
        raise UserError(
            "expected --rate or --arrivals, found " + ("neither" if trace is None else "both"),
            hint="--rate 4 is four requests a second at random; --arrivals FILE is a trace.",
        )
    if trace is not None:
        if given["bursts"]:
            raise UserError("--burst goes with --rate, found --arrivals: put bursts into the trace")
        times = arrivals.read(trace, seed)
        duration_s = math.floor(times[-1]) + 1.0 if duration_s is None else duration_s
    else:
        duration_s = DURATION_S if duration_s is None else duration_s
        late = next((one for one in given["bursts"] if one.begin_s >= duration_s), None)
        if late is not None:
            raise UserError(
                f"expected each burst to begin within the run of {duration_s:g} s, found one at "
                f"{late.begin_s:g} s",
                hint="Let it begin earlier, or give a longer run: --duration "
                f"{late.begin_s + late.length_s:g}s",
            )
        times = arrivals.poisson(given["rate"], duration_s, given["bursts"], seed)
    duration_s = float(math.ceil(duration_s))
    if not 1 <= duration_s <= LONGEST_S:
        raise UserError(f"expected a run of 1 s to 7 days, found {duration_s:g} s")
    return duration_s, arrivals.of_lengths(times, given["tokens"], given["lengths"], seed)


def _load(given: dict[str, Any], arrivals: Arrivals, duration_s: float) -> str:
    """Return in words what comes."""
    if given["evidence"] is not None:
        mean = len(arrivals) / duration_s
        return f"as measured in {given['evidence']}, {mean:.3g} requests/s on average"
    if given["trace"] is not None:
        mean = len(arrivals) / duration_s
        return f"{given['trace']}: {mean:.3g} requests/s on average"
    words = [f"{given['rate']:g} requests/s"]
    words += [
        f"{one.rate:g}/s more from {one.begin_s:g} s to "
        f"{min(duration_s, one.begin_s + one.length_s):g} s"
        for one in given["bursts"]
    ]
    return ", ".join(words)
