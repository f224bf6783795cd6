"""The ``audit`` and ``rules`` commands: from paths or a context to a report and an exit code."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drainproof.errors import UserError
from drainproof.judge import audit as auditing
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES, profile

if TYPE_CHECKING:
    from drainproof.model.snapshot import Snapshot


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--context", help="Audit a live cluster: the name of a kubeconfig context.")
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Namespace of the live cluster."
)
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces of the live cluster.")
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(list(PROFILES)),
    default="production",
    show_default=True,
    help="The numbers that checks use.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["terminal", "json"]),
    default="terminal",
    show_default=True,
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the report to a file."
)
@click.option(
    "--checks",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of checks of your own, beside drainproof's.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save what was read as a Snapshot, to audit it again elsewhere.",
)
def audit(  # noqa: PLR0913, PLR0917 - one parameter an option
    paths: tuple[str, ...],
    context: str | None,
    namespaces: tuple[str, ...],
    all_namespaces: bool,  # noqa: FBT001 - click passes it by name
    profile_name: str,
    form: str,
    output: Path | None,
    folders: tuple[Path, ...],
    save: Path | None,
) -> None:
    """Audit the LLM workloads in manifests, or in a live cluster, without changing anything.

    PATH is a YAML or JSON file, a folder of them, a saved Snapshot, or - for standard input.

    \b
    Exit code: 0 no findings, 1 findings, 2 bad input or nothing to audit, 3 only inconclusive ones.
    """  # noqa: D301 - \b is click's own mark
    gc.disable()  # one short run over values that are kept to its end: collecting finds nothing
    snapshot = _collect(paths, context, namespaces, all_namespaces=all_namespaces)
    if save is not None:
        _write(save, snapshot.to_json().decode())
    found = registry.load(folders, kind="manifest").of("manifest")
    result = auditing.run(snapshot, profile(profile_name), found)
    if not result.outcomes and not result.problems:
        raise auditing.nothing_to_audit(snapshot)
    text = report(result, form, colour=output is None)
    if output is not None:
        _write(output, text)
    else:
        sys.stdout.write(text)
    sys.exit(int(result.exit_code))


def report(result: auditing.AuditResult, form: str, *, colour: bool) -> str:
    """Return a report in a format; ``colour`` allows colours where the terminal can show them."""
    from drainproof.report.rows import rows  # noqa: PLC0415 - after the audit, so errors come fast

    found = rows(result)
    if form == "json":
        from drainproof.report import json  # noqa: PLC0415 - only the format that is asked for

        return json.write(result, found)
    from drainproof.report import terminal  # noqa: PLC0415 - same

    return terminal.write(result, found, colour=colour and terminal.coloured(sys.stdout))


def _collect(
    paths: tuple[str, ...],
    context: str | None,
    namespaces: tuple[str, ...],
    *,
    all_namespaces: bool,
) -> Snapshot:
    if context is None:
        if namespaces or all_namespaces:
            raise UserError(
                "-n and -A are for a live cluster: expected --context too",
                hint="drainproof never takes the current context by itself.",
            )
        if not paths:
            raise UserError(
                "expected files or folders, or --context with -n or -A, found neither",
                hint="For example: drainproof audit deploy/",
            )
        from drainproof.collect import files  # noqa: PLC0415 - only where files are read

        return files.read(paths)
    if paths:
        raise UserError("expected either paths or --context, found both")
    if bool(namespaces) == all_namespaces:
        raise UserError(
            "expected -n NAMESPACE or -A with --context, "
            + ("found both" if namespaces else "found neither")
        )
    from drainproof.collect import connect, live  # noqa: PLC0415 - slow to load

    return live.read(connect.connect(context), namespaces or None, source=f"context {context}")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


@click.command()
@click.argument("slug", required=False)
@click.option(
    "--checks",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of checks of your own, beside drainproof's.",
)
def rules(slug: str | None, folders: tuple[Path, ...]) -> None:
    """List the checks, or explain one: what it checks, why, the fix, the source."""
    found = registry.load(folders)
    if slug is None:
        width = max((len(item.slug) for item in found.checks), default=0)
        for item in found.checks:
            click.echo(f"{item.id}  {item.kind:<8}  {item.slug:<{width}}  {item.title}")
        return
    item = found.get(slug)
    click.echo(f"{item.slug} ({item.id}, {item.severity.value}, {item.kind})\n")
    click.echo(item.doc.strip())
