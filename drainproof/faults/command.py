"""The commands ``drainproof chaos``, ``drainproof judge`` and ``drainproof restore``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from drainproof.errors import ExitCode, UserError
from drainproof.judge.verdict import exit_code
from drainproof.progress import PlainProgress

_FORMAT = click.option(
    "--format",
    "format_",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    show_default=True,
    help="How the verdict is printed.",
)


@click.command()
@click.argument("target")
@click.option("--context", required=True, help="kubeconfig context; never the current one.")
@click.option("-n", "--namespace", required=True, help="The target's namespace.")
@click.option("--fault", default="rollout", show_default=True, help="What is done to the target.")
@click.option("--service", default="", help="Service to send streams through.")
@click.option("--port", type=int, help="The Service's port.")
@click.option("--model", default="", help="Model to ask for; by default the one that is served.")
@click.option(
    "--rate", default=0.7, show_default=True, help="Streams begun per second, on average."
)
@click.option("--tokens", default=1200, show_default=True, help="Length of each stream.")
@click.option("--image", help="Image of the streaming client.")
@click.option(
    "--node-selector", multiple=True, metavar="KEY=VALUE", help="Nodes for the client's pod."
)
@click.option(
    "--evidence", type=click.Path(path_type=Path, file_okay=False), help="Folder for the evidence."
)
@click.option("--timeout", type=float, help="Seconds that the fault may take.")
@click.option(
    "--steady", default=300.0, show_default=True, help="Seconds until the first streams are whole."
)
@click.option(
    "--after", default=10.0, show_default=True, help="Seconds of streams after the fault."
)
@_FORMAT
def chaos(  # noqa: PLR0913, PLR0917 - the options of the command
    target: str,
    context: str,
    namespace: str,
    fault: str,
    service: str,
    port: int | None,
    model: str,
    rate: float,
    tokens: int,
    image: str | None,
    node_selector: tuple[str, ...],
    evidence: Path | None,
    timeout: float | None,
    steady: float,
    after: float,
    format_: str,
) -> None:
    """Disturb a live TARGET (deployment/NAME) under streams, and judge what they suffered.

    The target's namespace must allow it with the label drainproof.dev/chaos=allowed. Everything
    that is changed is written down first and undone at the end, whatever happens.
    """
    from drainproof.faults.load import Runner  # noqa: PLC0415 - loads the Kubernetes client
    from drainproof.faults.run import Plan, run  # noqa: PLC0415 - same

    plan = Plan(
        context=context,
        namespace=namespace,
        target=target,
        fault=fault,
        service=service,
        port=port,
        model=model,
        rate_per_s=rate,
        tokens=tokens,
        evidence=evidence,
        timeout_s=timeout,
        steady_s=steady,
        after_s=after,
        runner=Runner(image=image or "", node_selector=_labels(node_selector)),
    )
    verdict, folder = run(plan, PlainProgress())
    _show(verdict, format_, folder)


@click.command()
@click.argument("evidence", type=click.Path(path_type=Path))
@_FORMAT
def judge(evidence: Path, format_: str) -> None:
    """Judge the EVIDENCE folder of a run again, without a cluster."""
    from drainproof.judge.chaos import VERDICT, judge_evidence  # noqa: PLC0415 - for this command

    verdict = judge_evidence(evidence)
    if evidence.is_dir():
        try:
            (evidence / VERDICT).write_bytes(verdict.to_json())
        except OSError as error:
            raise UserError(f"{evidence / VERDICT}: cannot write: {error.strerror}") from None
    _show(verdict, format_, evidence)


@click.command()
@click.option("--context", required=True, help="kubeconfig context; never the current one.")
@click.option("-n", "--namespace", default="", help="Only this namespace; by default all.")
@click.option(
    "--journal",
    "journal_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="journal.json of the run's evidence, if the cluster's copy is gone.",
)
def restore(context: str, namespace: str, journal_file: Path | None) -> None:
    """Undo what a killed run left behind. Safe to repeat."""
    from drainproof.faults.restore import restore as undo  # noqa: PLC0415 - loads the client

    if not undo(context, namespace, journal_file, click.echo):
        sys.exit(ExitCode.ERROR)


def _show(verdict: object, format_: str, folder: Path) -> None:
    from drainproof.judge.chaos import ChaosVerdict  # noqa: PLC0415 - loaded by then

    if not isinstance(verdict, ChaosVerdict):
        raise TypeError(type(verdict))
    if format_ == "json":
        click.echo(verdict.to_json().decode(), nl=False)
    else:
        from drainproof.report.chaos import render  # noqa: PLC0415 - for terminals only

        click.echo(render(verdict, folder))
    sys.exit(exit_code([verdict.verdict]))


def _labels(pairs: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    found = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--node-selector: expected KEY=VALUE, found {pair!r}")
        found.append((key, value))
    return tuple(found)
