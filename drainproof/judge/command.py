"""The ``audit`` and ``rules`` commands: from paths or a context to reports and an exit code."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from drainproof.errors import UserError
from drainproof.judge import audit as auditing
from drainproof.judge import config as settings
from drainproof.judge import registry
from drainproof.judge.options import FILE, config_of, settled
from drainproof.report import FORMATS
from drainproof.report.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from drainproof.model.snapshot import Snapshot

STDOUT = "-"


class _InOrder(click.Command):
    """A command that knows in which order ``--format`` and ``--output`` were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the order, then parse as usual."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[__name__] = [item.name for item in order if item.name in {"formats", "outputs"}]
        return super().parse_args(ctx, args)


@click.command(cls=_InOrder)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--context", help="Audit a live cluster: the name of a kubeconfig context.")
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Namespace of the live cluster."
)
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces of the live cluster.")
@click.option(
    "--prometheus",
    default="",
    metavar="WHERE",
    help="Prometheus of the live cluster: a URL, NAMESPACE/SERVICE[:PORT] (through the API server)"
    ", or auto.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning"]),
    help="The least severity for which the exit code is 1.  [default: error]",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    metavar="FORM[=FILE]",
    help=f"{', '.join(FORMATS)}; may be repeated.  [default: terminal]",
)
@click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="FILE",
    help="Where the --format before it is written; one without goes to standard output.",
)
@click.option("--write-baseline", type=FILE, help="Write today's findings as a baseline.")
@settled
@click.option("--save", type=FILE, help="Save what was read as a Snapshot, to audit it elsewhere.")
@click.pass_context
def audit(ctx: click.Context, /, **given: Any) -> None:  # noqa: ANN401 - options, by their names
    """Audit the LLM workloads in manifests, or in a live cluster, without changing anything.

    PATH is a YAML or JSON file, a folder of them, a Helm chart, a kustomization, a saved Snapshot,
    or - for standard input.

    \b
    Exit code: 0 nothing at or over --fail-on, 1 findings, 2 bad input or nothing to audit,
    3 only inconclusive ones.
    """  # noqa: D301 - \b is click's own mark
    gc.disable()  # one short run over values that are kept to its end: collecting finds nothing
    places = destinations(given["formats"], given["outputs"], ctx.meta[__name__])
    config = config_of(given)
    snapshot = _collect(given)
    if given["save"] is not None:
        _write(given["save"], [snapshot.to_json().decode()])
    checks = config.checks_for(snapshot)
    if not snapshot.workloads and not snapshot.problems:
        raise auditing.nothing_to_audit(snapshot)
    if given["write_baseline"] is not None:
        config = replace(config, baseline=None)  # all of today's findings, old and new
    result = settings.Audit(snapshot, config).run(checks)
    if given["write_baseline"] is not None:
        _write_baseline(given["write_baseline"], result)
        return
    _report(result, places)
    sys.exit(int(result.exit_code))


def destinations(
    formats: Sequence[str], outputs: Sequence[str], order: Sequence[str]
) -> list[tuple[str, str]]:
    """Return each format with where it goes: a file, or ``-`` for standard output.

    Args:
        formats: As given, each ``FORM`` or ``FORM=FILE``.
        outputs: As given; each belongs to the format before it, or else to the one after it.
        order: Which of the two was given, in order: ``formats`` or ``outputs``.

    Raises:
        UserError: A format is unknown, an output has none, or two go to standard output.
    """
    left = {"formats": iter(formats), "outputs": iter(outputs)}
    found: list[list[str]] = []
    waiting: list[str] = []
    for name in order:
        value = next(left[name])
        if name == "formats":
            form, _, file = value.partition("=")
            if form not in FORMATS:
                raise UserError(f"expected --format {'|'.join(FORMATS)}, found {form!r}")
            found.append([form, file or (waiting.pop() if waiting else "")])
        elif found and not found[-1][1]:
            found[-1][1] = value
        elif waiting or found:
            raise UserError(
                f"--output {value} has no --format of its own",
                hint="Each --output belongs to the --format before it.",
            )
        else:
            waiting.append(value)
    if not found:
        found = [["terminal", waiting.pop() if waiting else ""]]
    listed = [(form, file or STDOUT) for form, file in found]
    if sum(file == STDOUT for _, file in listed) > 1:
        raise UserError(
            "two reports can't both go to standard output: "
            + " and ".join(form for form, file in listed if file == STDOUT),
            hint="Give one a file: --format sarif --output a.sarif --format terminal",
        )
    return listed


def _collect(given: dict[str, Any]) -> Snapshot:
    paths, context = given["paths"], given["context"]
    namespaces, all_namespaces = given["namespaces"], given["all_namespaces"]
    if context is None:
        if namespaces or all_namespaces or given["prometheus"]:
            raise UserError(
                "-n, -A and --prometheus are for a live cluster: expected --context too",
                hint="drainproof never takes the current context by itself.",
            )
        if not paths:
            raise UserError(
                "expected files or folders, or --context with -n or -A, found neither",
                hint="For example: drainproof audit deploy/",
            )
        from drainproof.collect import files  # noqa: PLC0415 - only where files are read

        return files.read(paths, values=given["values"], sets=given["sets"])
    if paths:
        raise UserError("expected either paths or --context, found both")
    if bool(namespaces) == all_namespaces:
        raise UserError(
            "expected -n NAMESPACE or -A with --context, "
            + ("found both" if namespaces else "found neither")
        )
    from drainproof.collect import connect, live  # noqa: PLC0415 - slow to load

    return live.read(
        connect.connect(context),
        namespaces or None,
        source=f"context {context}",
        prometheus=given["prometheus"],
    )


def _report(result: auditing.AuditResult, places: Sequence[tuple[str, str]]) -> None:
    """Write each report; those in files first, since a reader of standard output may go away."""
    from drainproof.report import parts  # noqa: PLC0415 - after the audit, so errors come fast
    from drainproof.report.folded import EXAMPLES, folds  # noqa: PLC0415 - same
    from drainproof.report.rows import rows  # noqa: PLC0415 - same

    brief = {form for form, _ in places} == {"terminal"} and folds(result)
    found = rows(result, examples=EXAMPLES if brief else 0)
    for form, place in sorted(places, key=lambda item: item[1] == STDOUT):
        if place == STDOUT:
            from drainproof.report.terminal import coloured  # noqa: PLC0415 - same

            sys.stdout.writelines(parts(result, found, form, colour=coloured(sys.stdout)))
        else:
            _write(Path(place), parts(result, found, form))


def _write_baseline(path: Path, result: auditing.AuditResult) -> None:
    """Write a baseline. What can't be read is an error: its findings would be missing.

    Raises:
        UserError: A part of the input can't be read, or the file can't be written.
    """
    from drainproof.judge import baseline  # noqa: PLC0415 - only where it is written

    if result.problems:
        raise UserError(f"no baseline of input that can't be read: {result.problems[0]}")
    text, count = baseline.write(result)
    _write(path, [text])
    click.echo(f"{path}: {plural(count, 'finding')} taken as given.")


def _write(path: Path, parts: Iterable[str]) -> None:
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(parts)
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
    from drainproof.judge.waivers import IN_FORCE  # noqa: PLC0415 - a check that is in no file

    found = registry.Registry((IN_FORCE, *registry.load(folders).checks))
    if slug is None:
        width = max((len(item.slug) for item in found.checks), default=0)
        for item in found.checks:
            click.echo(f"{item.id}  {item.kind:<8}  {item.slug:<{width}}  {item.title}")
        return
    item = found.get(slug)
    click.echo(f"{item.slug} ({item.id}, {item.severity.value}, {item.kind})\n")
    click.echo(item.doc.strip())
