"""The commands ``drainproof conformance`` and ``drainproof diff``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples
from drainproof.judge.profiles import PROFILES, profile
from drainproof.report.conformance import FORMATS
from drainproof.report.options import STDOUT, InOrder, destinations, order_of, reports
from drainproof.report.output import to_file, to_standard_output
from drainproof.report.text import harmless

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE = click.Path(path_type=Path)


@click.command(
    cls=InOrder,
    epilog=examples(
        "drainproof conformance EVIDENCE snapshot.json --format yaml=report.yaml",
        "drainproof conformance snapshot.json --workload deployment/vllm -n inference",
        "drainproof conformance EVIDENCE --format yaml=report.yaml --sign",
    ),
)
@click.argument("evidence", nargs=-1, required=True, type=FILE)
@click.option(
    "--workload",
    default="",
    metavar="[KIND/]NAME",
    help="The workload, if a Snapshot has several: deployment/NAME.",
)
@click.option("-n", "--namespace", default="", help="Its namespace.")
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(list(PROFILES)),
    default="production",
    show_default=True,
    help="The numbers that checks use.",
)
@click.option("--sign", is_flag=True, help="Have cosign sign each file that is written.")
@click.option(
    "--sign-key",
    default="",
    metavar="KEY",
    help="The key for --sign, as cosign takes it.  [default: an identity, as cosign finds it]",
)
@reports(FORMATS)
@click.pass_context
def conformance(  # noqa: PLR0913 - the options of the command
    ctx: click.Context,
    /,
    *,
    evidence: tuple[Path, ...],
    workload: str,
    namespace: str,
    profile_name: str,
    sign: bool,
    sign_key: str,
    formats: tuple[str, ...],
    outputs: tuple[str, ...],
) -> None:
    """Write what saved EVIDENCE shows of one deployment, check by check. Asks no cluster.

    EVIDENCE is a Snapshot that `drainproof audit --save` wrote, or the evidence folder of a chaos
    run; several are taken together.

    \b
    Exit code: 0 every core check passed, 1 one failed, 2 bad input, 3 one was not run or is
    inconclusive.
    """  # noqa: D301 - \b is click's own mark
    from drainproof.conformance import evidence as saved  # noqa: PLC0415 - for this command
    from drainproof.conformance import results  # noqa: PLC0415 - same
    from drainproof.conformance import sign as signing  # noqa: PLC0415 - same
    from drainproof.report.conformance import WRITERS  # noqa: PLC0415 - same

    places = destinations(formats, outputs, order_of(ctx), FORMATS)
    written = [Path(place) for _, place in places if place != STDOUT]
    if sign_key and not sign:
        raise UserError("--sign-key is for --sign: expected both")
    if sign and not written:
        raise UserError(
            "--sign signs files: expected one, found standard output only",
            hint="For example: --format yaml=report.yaml --sign",
        )
    program = signing.cosign() if sign else ""
    found = saved.gather(evidence)
    _keep(found.files, written)
    report = results.report(found, profile(profile_name), workload, namespace)
    for form, place in sorted(places, key=lambda item: item[1] == STDOUT):
        text = WRITERS[form](report)
        if place == STDOUT:
            to_standard_output([text])
        else:
            to_file(Path(place), [text])
    for file in written if sign else ():
        click.echo(harmless(f"{file}: signed, {signing.sign(program, file, sign_key)}"), err=True)
    ctx.exit(int(results.exit_code(report)))


def _keep(read: Iterable[Path], written: Iterable[Path]) -> None:
    """Make sure that no evidence is written over.

    Raises:
        UserError: A file to write is one that was read.
    """
    kept = {os.path.realpath(file) for file in read}
    for file in written:
        if os.path.realpath(file) in kept:
            raise UserError(
                f"{file}: the evidence itself, which would be overwritten",
                hint="Name another file for the report.",
            )


@click.command(epilog=examples("drainproof diff last-week.yaml today.yaml"))
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.pass_context
def diff(ctx: click.Context, /, before: Path, after: Path) -> None:
    """Say what is better, worse, new and gone in conformance report AFTER, held against BEFORE.

    \b
    Exit code: 0 nothing got worse, 1 something did, 2 bad input. A check that passed and was not
    run again, and one that was not run before and fails, count as worse.
    """  # noqa: D301 - \b is click's own mark
    from drainproof.conformance.compare import compare  # noqa: PLC0415 - for this command
    from drainproof.report.conformance import difference, read  # noqa: PLC0415 - same

    found = compare(read(before), read(after))
    to_standard_output([difference(found)])
    ctx.exit(int(ExitCode.FINDINGS if found.worsens else ExitCode.CLEAN))
