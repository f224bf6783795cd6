"""The ``fix`` command: an audit whose findings are mended where nothing must be guessed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from drainproof import completion
from drainproof.collect import files
from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples
from drainproof.fix import in_place as files_written
from drainproof.fix import patch
from drainproof.fix.apply import Mended, mend
from drainproof.judge import audit
from drainproof.judge import config as settings
from drainproof.judge.options import FILE, config_of, settled
from drainproof.judge.verdict import Verdict
from drainproof.model.secrets import without_forms
from drainproof.report.output import to_file, to_standard_output
from drainproof.report.text import printable

if TYPE_CHECKING:
    from drainproof.model.finding import Finding


@click.command(
    epilog=examples(
        "drainproof fix deploy/ > fixes.yaml",
        "drainproof fix deploy/ --in-place",
        "drainproof fix deploy/ --select grace-period --select prestop-delay",
    )
)
@click.argument(
    "paths", nargs=-1, required=True, metavar="PATH...", shell_complete=completion.files
)
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
        snapshot,
        lambda found: settings.Audit(found, config).run(checks),
        refuses=(lambda _: False) if in_place else (lambda entry: not patch.can_write(entry)),
    )
    if in_place:
        refused = [entry for entry in mended if not files_written.can_write(entry)]
        if refused:
            origin = refused[0].origin
            where = origin.file if origin else "no file"
            rendered = origin is not None and origin.line == 0
            raise UserError(
                f"{where}: {refused[0].ref} "
                + ("was rendered from it" if rendered else "is in no file that can be written"),
                hint="Without --in-place the same fixes are written as a patch.",
            )
        files_written.write(mended)
    elif output is None:
        to_standard_output([patch.write(mended)])
    else:
        to_file(output, [patch.write(mended)])
    for problem in result.problems:
        click.echo(f"error: {printable(without_forms(str(problem)))}", err=True)
    _summarise(mended, result)
    sys.exit(int(_exit_code(result)))


def _exit_code(result: audit.AuditResult) -> ExitCode:
    if result.problems:
        return ExitCode.ERROR
    return ExitCode.FINDINGS if _left(result) else ExitCode.CLEAN


def _left(result: audit.AuditResult) -> list[tuple[audit.Outcome, Finding]]:
    return [found for found in result.findings if found[1].verdict is not Verdict.WAIVED]


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
