"""The ``fix`` command: an audit whose findings are mended where nothing must be guessed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from drainproof.collect import files
from drainproof.errors import ExitCode, UserError
from drainproof.fix import in_place as files_written
from drainproof.fix import patch
from drainproof.fix.apply import Mended, mend
from drainproof.judge import audit
from drainproof.judge import config as settings
from drainproof.judge.options import FILE, config_of, settled
from drainproof.judge.verdict import Verdict
from drainproof.report.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.model.finding import Finding


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--in-place", is_flag=True, help="Write into the files themselves; comments and order stay."
)
@click.option(
    "--output",
    type=FILE,
    help="Write the patch to a file instead of standard output.",
)
@settled
def fix(**given: Any) -> None:  # noqa: ANN401 - options, by their names
    """Fix what can be fixed without guessing.

    Writes a strategic-merge patch, one document an object, to use in a kustomization or with
    kubectl patch; with --in-place, the files themselves.

    \b
    Exit code: 0 nothing is left, 1 findings are left that a person must decide, 2 bad input.
    """  # noqa: D301 - \b is click's own mark
    in_place, output = given["in_place"], given["output"]
    if in_place and output is not None:
        raise UserError("expected either --in-place or --output, found both")
    config = config_of(given)
    snapshot = files.read(given["paths"], values=given["values"], sets=given["sets"])
    checks = config.checks_for(snapshot)
    if not snapshot.workloads and not snapshot.problems:
        raise audit.nothing_to_audit(snapshot)
    mended, result = mend(
        snapshot, lambda found: settings.Audit(found, config).run(checks), hides=not in_place
    )
    if in_place:
        refused = [entry for entry in mended if not files_written.can_write(entry)]
        if refused:
            origin = refused[0].origin
            where = origin.file if origin else "no file"
            rendered = origin is not None and origin.line == 0
            raise UserError(
                f"{where}: {refused[0].ref} "
                + (
                    "was rendered from it" if rendered else "is in no YAML file that can be written"
                ),
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
    return ExitCode.FINDINGS if _left(result) else ExitCode.CLEAN


def _left(result: audit.AuditResult) -> list[tuple[audit.Outcome, Finding]]:
    return [found for found in result.findings if found[1].verdict is not Verdict.WAIVED]


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
    left = _left(result)
    for outcome, finding in left:
        place = f"{printable(finding.object)}  {printable(finding.path)}"
        click.echo(f"left   {outcome.check.slug}  {place}", err=True)
    done = sum(len(entry.checks) for entry in mended)
    click.echo(
        f"{done} fixed in {len(mended)} object{'' if len(mended) == 1 else 's'}, "
        f"{len(left)} left for a person",
        err=True,
    )
