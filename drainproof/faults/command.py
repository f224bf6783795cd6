"""The commands ``drainproof chaos``, ``drainproof judge`` and ``drainproof restore``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from drainproof import completion
from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples
from drainproof.faults.options import SETTINGS
from drainproof.judge.verdict import MOST_FAILURES, exit_code
from drainproof.report import OF_RUNS, summary
from drainproof.report.options import (
    STDOUT,
    InOrder,
    destinations,
    order_of,
    reports,
    step_summary,
)
from drainproof.report.output import to_file, to_standard_output
from drainproof.report.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from drainproof.judge.chaos import ChaosVerdict

FILE = click.Path(dir_okay=False, path_type=Path)


def _settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting of a run."""
    for setting in reversed(SETTINGS):
        flag: dict[str, Any] = {"is_flag": True} if setting.kind is bool else {"type": setting.kind}
        command = click.option(
            f"--{setting.name}",
            multiple=setting.many,
            metavar=setting.metavar or None,
            help=setting.told,
            **flag,
        )(command)
    return command


@click.command(
    cls=InOrder,
    epilog=examples(
        "drainproof chaos deployment/vllm --context staging -n inference --dry-run",
        "drainproof chaos deployment/vllm --context staging -n inference --fault rollout",
        "drainproof chaos deployment/vllm --context staging -n inference --plan nightly.yaml",
    ),
)
@click.argument("target")
@click.option("--context", required=True, help="kubeconfig context; never the current one.")
@click.option("-n", "--namespace", required=True, help="The target's namespace.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[:KEY=VALUE,…]",
    shell_complete=completion.faults,
    help="What is done to the target; several are done in turn.  [default: rollout]",
)
@click.option("--plan", "file", type=FILE, help="Faults and settings in YAML.")
@click.option("--dry-run", is_flag=True, help="Print what would be touched, and change nothing.")
@click.option(
    "--yes-production",
    default="",
    metavar="CONTEXT",
    help="The context once more, if it looks like production.",
)
@_settings
@reports(OF_RUNS)
@step_summary
@click.pass_context
def chaos(  # noqa: PLR0913 - the options of the command
    ctx: click.Context,
    /,
    *,
    target: str,
    context: str,
    namespace: str,
    faults: tuple[str, ...],
    file: Path | None,
    dry_run: bool,
    yes_production: str,
    formats: tuple[str, ...],
    outputs: tuple[str, ...],
    github_step_summary: bool,
    **given: Any,  # noqa: ANN401 - settings, by their names
) -> None:
    """Disturb a live TARGET (deployment/NAME) under streams, and judge what they suffered.

    The target's namespace must allow it with the label drainproof.dev/chaos=allowed. Everything
    that is changed is written down first and undone at the end, whatever happens.
    """
    from drainproof.faults import run as runs  # noqa: PLC0415 - loads the Kubernetes client
    from drainproof.faults.live_view import progress_on  # noqa: PLC0415 - for runs only
    from drainproof.faults.plan import plan_of  # noqa: PLC0415 - loads the Kubernetes client

    places = destinations(formats, outputs, order_of(ctx), OF_RUNS)
    step = summary.file() if github_step_summary else None
    plan = plan_of(
        {setting.name: given[setting.key] for setting in SETTINGS},
        context=context,
        namespace=namespace,
        target=target,
        faults=faults,
        file=file,
        yes_production=yes_production,
    )
    if dry_run:
        for line in runs.dry_run(plan):
            _say(line)
        return
    verdict, folder = runs.run(plan, progress_on(sys.stderr))
    _show(verdict, places, folder, step)


@click.command(
    cls=InOrder,
    epilog=examples(
        "drainproof judge EVIDENCE",
        "drainproof judge EVIDENCE --failures 5000 --format html=run.html",
    ),
)
@click.argument("evidence", type=click.Path(path_type=Path))
@click.option(
    "--failures",
    type=click.IntRange(1, 1_000_000),
    default=MOST_FAILURES,
    show_default=True,
    help="How many failed streams of each fault are told one by one; all of them are counted.",
)
@reports(OF_RUNS)
@step_summary
@click.pass_context
def judge(  # noqa: PLR0913 - the options of the command
    ctx: click.Context,
    /,
    evidence: Path,
    *,
    failures: int,
    formats: tuple[str, ...],
    outputs: tuple[str, ...],
    github_step_summary: bool,
) -> None:
    """Judge the EVIDENCE folder of a run again, without a cluster."""
    from drainproof.judge.chaos import (  # noqa: PLC0415 - for this command
        HISTORY,
        VERDICT,
        judge_evidence,
    )
    from drainproof.report.scaling import write  # noqa: PLC0415 - same

    places = destinations(formats, outputs, order_of(ctx), OF_RUNS)
    step = summary.file() if github_step_summary else None
    history = (evidence / HISTORY if evidence.is_dir() else evidence).resolve()
    for _, place in places:
        if place != STDOUT and Path(place).resolve() == history:
            raise UserError(
                f"{place}: the evidence itself, which would be overwritten",
                hint="Name another file for the report.",
            )
    verdict = judge_evidence(evidence, failures)
    if evidence.is_dir():
        try:
            (evidence / VERDICT).write_bytes(verdict.to_json())
            write(verdict, evidence)
        except OSError as error:
            raise UserError(f"{evidence / VERDICT}: cannot write: {error.strerror}") from None
    _show(verdict, places, evidence, step)


@click.command(
    epilog=examples(
        "drainproof restore --context staging --dry-run",
        "drainproof restore --context staging -n inference",
        "drainproof restore --context staging --journal EVIDENCE/journal.json",
    )
)
@click.option("--context", required=True, help="kubeconfig context; never the current one.")
@click.option("-n", "--namespace", default="", help="Only this namespace; by default all.")
@click.option(
    "--journal",
    "journal_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="journal.json of the run's evidence, if the cluster's copy is gone.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be undone, and change nothing.")
def restore(context: str, namespace: str, journal_file: Path | None, *, dry_run: bool) -> None:
    """Undo what a killed run left behind. Safe to repeat."""
    from drainproof.faults.restore import restore as undo  # noqa: PLC0415 - loads the client

    if not undo(context, namespace, journal_file, _say, dry_run=dry_run):
        sys.exit(ExitCode.ERROR)


def _say(line: str) -> None:
    """Print a line that names objects of a cluster."""
    click.echo(harmless(line))


def _show(
    verdict: ChaosVerdict, places: Sequence[tuple[str, str]], folder: Path, step: Path | None
) -> None:
    """Write each report, those in files first, and end with the verdict's exit code."""
    if step is not None:
        from drainproof.report import run_markdown  # noqa: PLC0415 - for this format only

        otherwise = f"drainproof judge {folder} --format markdown"
        summary.add(step, run_markdown.lines(verdict), places, otherwise)
    for form, place in sorted(places, key=lambda item: item[1] == STDOUT):
        text = _written(verdict, form, folder)
        if place == STDOUT:
            to_standard_output([text])
        else:
            to_file(Path(place), [text])
    sys.exit(exit_code([verdict.verdict]))


def _written(verdict: ChaosVerdict, form: str, folder: Path) -> str:
    if form == "json":
        return verdict.to_json().decode()
    if form == "markdown":
        from drainproof.report.run_markdown import write  # noqa: PLC0415 - for this format only

        return write(verdict)
    if form == "html":
        from drainproof.report.run_page import page  # noqa: PLC0415 - for this format only

        return page(verdict)
    from drainproof.report.chaos import render  # noqa: PLC0415 - for terminals only

    return f"{render(verdict, folder)}\n"
