"""The ``fix`` command: an audit whose findings are mended where nothing must be guessed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from drainproof.collect import files
from drainproof.errors import ExitCode, UserError
from drainproof.fix import in_place as files_written
from drainproof.fix import patch
from drainproof.fix.apply import Mended, mend
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES, profile
from drainproof.report.text import printable


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--in-place", is_flag=True, help="Write into the files themselves; comments and order stay."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the patch to a file instead of standard output.",
)
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(list(PROFILES)),
    default="production",
    show_default=True,
    help="The numbers that checks use.",
)
@click.option(
    "--checks",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A folder of checks of your own, beside drainproof's.",
)
def fix(
    paths: tuple[str, ...],
    in_place: bool,  # noqa: FBT001 - click passes it by name
    output: Path | None,
    profile_name: str,
    folders: tuple[Path, ...],
) -> None:
    """Fix what can be fixed without guessing.

    Writes a strategic-merge patch, one document an object, to use in a kustomization or with
    kubectl patch; with --in-place, the files themselves.

    \b
    Exit code: 0 nothing is left, 1 findings are left that a person must decide, 2 bad input.
    """  # noqa: D301 - \b is click's own mark
    if in_place and output is not None:
        raise UserError("expected either --in-place or --output, found both")
    snapshot = files.read(paths)
    checks = registry.load(folders, kind="manifest").of("manifest")
    mended, result = mend(snapshot, profile(profile_name), checks)
    if not result.outcomes and not result.problems:
        raise audit.nothing_to_audit(snapshot)
    if in_place:
        refused = [entry for entry in mended if not files_written.can_write(entry)]
        if refused:
            raise UserError(
                f"{refused[0].ref} is in no YAML file that could be written: "
                f"{refused[0].origin.file if refused[0].origin else 'it has no file'}",
                hint="Without --in-place the same fixes are written as a patch.",
            )
        files_written.write(mended)
    else:
        _write(patch.write(mended), output)
    for problem in result.problems:
        click.echo(f"error: {printable(str(problem))}", err=True)
    _summarise(mended, result)
    sys.exit(int(_exit_code(result)))


def _exit_code(result: audit.AuditResult) -> ExitCode:
    if result.problems:
        return ExitCode.ERROR
    return ExitCode.FINDINGS if result.findings else ExitCode.CLEAN


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written: {error.strerror}") from None


def _summarise(mended: list[Mended], result: audit.AuditResult) -> None:
    """Say on standard error what was mended and what is left, so that the patch can be piped."""
    for entry in mended:
        for slug, path in entry.checks:
            click.echo(f"fixed  {slug}  {printable(entry.ref)}  {printable(path)}", err=True)
    for outcome, finding in result.findings:
        place = f"{printable(finding.object)}  {printable(finding.path)}"
        click.echo(f"left   {outcome.check.slug}  {place}", err=True)
    done = sum(len(entry.checks) for entry in mended)
    click.echo(
        f"{done} fixed in {len(mended)} objects, {len(result.findings)} left for a person",
        err=True,
    )
