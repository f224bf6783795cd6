"""The ``audit`` and ``rules`` commands: from paths or a context to reports and an exit code."""

from __future__ import annotations

import gc
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from drainproof import completion
from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples
from drainproof.judge import audit as auditing
from drainproof.judge import config as settings
from drainproof.judge import registry, since
from drainproof.judge.options import FILE, config_of, settled
from drainproof.model.secrets import without_forms
from drainproof.report import FORMATS, STATES
from drainproof.report.options import (
    STDOUT,
    InOrder,
    destinations,
    order_of,
    reports,
    step_summary,
)
from drainproof.report.output import to_file, to_standard_output
from drainproof.report.text import harmless, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.judge.registry import Check
    from drainproof.model.snapshot import Snapshot


@click.command(
    cls=InOrder,
    epilog=examples(
        "drainproof audit deploy/",
        "helm template my-chart | drainproof audit -",
        "drainproof audit deploy/ --format sarif=audit.sarif --format terminal",
        "drainproof audit --context prod -A --prometheus auto",
        "drainproof audit --contexts 'prod-*' -A",
    ),
)
@click.argument("paths", nargs=-1, metavar="[PATH]...", shell_complete=completion.files)
@click.option("--context", help="Audit a live cluster: the name of a kubeconfig context.")
@click.option(
    "--contexts",
    multiple=True,
    metavar="PATTERN",
    help="Audit all clusters whose context matches, with * for anything; may be repeated.",
)
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
    "--exit-zero",
    is_flag=True,
    help="Exit with 0 once the reports are written, whatever they say; with 2 as ever.",
)
@reports(FORMATS)
@step_summary
@click.option(
    "--since",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Report only what is new or gone since this saved Snapshot; of a folder, since the newest "
    "in it: today's is put there, too, and the last ten stay.",
)
@click.option(
    "--write-baseline", type=FILE, help="Write today's findings as a baseline, and no report."
)
@click.option(
    "--partial",
    is_flag=True,
    help="PATHs are only some of the manifests, such as those of a commit: there may be nothing to "
    "audit among them, and waivers may be for others.",
)
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
    began = time.perf_counter()
    gc.disable()  # one short run over values that are kept to its end: collecting finds nothing
    _one_purpose(given)
    places = destinations(given["formats"], given["outputs"], order_of(ctx), FORMATS)
    step = None
    if given["github_step_summary"]:
        from drainproof.report import summary  # noqa: PLC0415 - only for this option

        step = summary.file()
    config = replace(config_of(given), partial=given["partial"])
    merged, checks = _of_clusters(given, config) if given["contexts"] else (None, None)
    before = since.newest(given["since"]) if given["since"] is not None else None
    snapshot = merged.snapshot if merged else _collect(given)
    files = [given["save"], given["write_baseline"], step, *(Path(name) for _, name in places)]
    _keep_inputs(snapshot, [file for file in files if file not in {None, Path(STDOUT)}])
    if given["save"] is not None:
        to_file(given["save"], [snapshot.to_json().decode()])
    if checks is None:
        checks = config.checks_for(snapshot)
    if not snapshot.workloads and not snapshot.problems:
        nothing = auditing.nothing_to_audit(snapshot)
        if not given["partial"]:
            raise nothing
        click.echo(harmless(nothing.message), err=True)
        return
    if given["write_baseline"] is not None:
        config = replace(config, baseline=None)  # all of today's findings, old and new
    audited = settings.Audit(snapshot, config)
    result = audited.settle(merged, checks) if merged else audited.run(checks)
    result = replace(result, took_s=time.perf_counter() - began)
    if given["write_baseline"] is not None:
        _write_baseline(given["write_baseline"], result)
        return
    news = result
    if before is not None:
        news = since.compared(result, before, settings.Audit(before, config).run(checks))
    _report(result, news, places, step)
    if given["since"] is not None:
        since.keep(given["since"], snapshot)
    code = news.exit_code
    ctx.exit(int(ExitCode.CLEAN if given["exit_zero"] and code is not ExitCode.ERROR else code))


def _one_purpose(given: dict[str, Any]) -> None:
    """Make sure that a baseline is written alone.

    Raises:
        UserError: It isn't.
    """
    if given["write_baseline"] is not None and given["since"] is not None:
        raise UserError("expected either --since or --write-baseline, found both")
    reports = ("formats", "outputs", "github_step_summary")
    if given["write_baseline"] is not None and any(given[option] for option in reports):
        raise UserError(
            "--write-baseline writes a baseline and no report: expected it without --format, "
            "--output and --github-step-summary",
            hint="Write the baseline first, then report against it: --baseline FILE --format FORM",
        )


def _keep_inputs(snapshot: Snapshot, files: Sequence[Path]) -> None:
    """Make sure that nothing is written over a manifest.

    Raises:
        UserError: A file to write is one that was read.
    """
    if not files:
        return
    names = {item.origin.file for item in snapshot.items if item.origin}
    names |= {problem.file for problem in snapshot.problems}
    read = {os.path.realpath(name) for name in names}
    for file in files:
        if os.path.realpath(file) in read:
            raise UserError(
                f"{file}: a manifest of this audit, which would be overwritten",
                hint="Name another file for the report.",
            )


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
    _live_only(given, "--context")
    from drainproof.collect import connect, live  # noqa: PLC0415 - slow to load

    return live.read(
        connect.connect(context),
        namespaces or None,
        source=f"context {context}",
        prometheus=given["prometheus"],
    )


def _live_only(given: dict[str, Any], option: str) -> None:
    """Make sure that what is given goes with a live cluster.

    Raises:
        UserError: It doesn't.
    """
    namespaces, all_namespaces = given["namespaces"], given["all_namespaces"]
    if given["paths"]:
        raise UserError(f"expected either paths or {option}, found both")
    if bool(namespaces) == all_namespaces:
        raise UserError(
            f"expected -n NAMESPACE or -A with {option}, "
            + ("found both" if namespaces else "found neither")
        )


AT_ONCE = 4
"""How many clusters are read at once; no more of their objects are in memory than of so many."""


def _of_clusters(
    given: dict[str, Any], config: settings.Config
) -> tuple[auditing.AuditResult, Sequence[Check]]:
    """Audit all clusters that are meant, some at once; one that can't be read is a problem.

    Raises:
        UserError: What is given does not go together, or a pattern matches no context.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only for several clusters
    from threading import Lock  # noqa: PLC0415 - same

    from drainproof.collect import connect, live  # noqa: PLC0415 - slow to load
    from drainproof.judge import clusters  # noqa: PLC0415 - only for several clusters
    from drainproof.model.snapshot import Snapshot  # noqa: PLC0415 - same

    if given["context"] is not None:
        raise UserError("expected either --context or --contexts, found both")
    _live_only(given, "--contexts")
    for option in ("save", "since"):
        if given[option] is not None:
            raise UserError(
                f"--{option} keeps Snapshots of one cluster: expected --context, found --contexts"
            )
    if "://" in given["prometheus"]:
        raise UserError(
            "a URL is the Prometheus of one cluster: expected --prometheus auto or "
            "NAMESPACE/SERVICE with --contexts, found a URL"
        )
    checks = config.checks_for(Snapshot(partial=False))
    alone = Lock()  # of a login, and of what only one core can do anyway

    def audited(context: str) -> auditing.AuditResult:
        try:
            with alone:
                client = connect.of_kubeconfig(context)
            snapshot = live.read(
                client, given["namespaces"] or None, prometheus=given["prometheus"]
            )
        except UserError as error:
            return clusters.unread(error, context, config.profile.name)
        with alone:
            found = clusters.named(auditing.run(snapshot, config.profile, checks), context)
            del snapshot
            gc.collect()
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        results = list(pool.map(audited, connect.matching(given["contexts"])))
    return clusters.together(results), checks


def _report(
    result: auditing.AuditResult,
    news: auditing.AuditResult,
    places: Sequence[tuple[str, str]],
    step: Path | None,
) -> None:
    """Write each report; those in files first, since a reader of standard output may go away.

    Args:
        result: All that was found.
        news: What of it is to be reported as new.
        places: Each format and where it goes.
        step: The summary of a GitHub job's step to add to, too.
    """
    from drainproof.report import parts  # noqa: PLC0415 - after the audit, so errors come fast
    from drainproof.report.folded import EXAMPLES, folds  # noqa: PLC0415 - same
    from drainproof.report.rows import rows  # noqa: PLC0415 - same

    brief = step is None and {form for form, _ in places} == {"terminal"} and folds(news)
    found = rows(news, examples=EXAMPLES if brief else 0)
    if step is not None:
        from drainproof.report import markdown, summary  # noqa: PLC0415 - only for this option

        summary.add(step, markdown.lines(news, found), places, "--format markdown=FILE writes it")
    for form, place in sorted(places, key=lambda item: item[1] == STDOUT):
        state = form in STATES and news is not result
        told = (result, rows(result)) if state else (news, found)
        if place == STDOUT:
            to_standard_output(parts(*told, form, out=sys.stdout))
        else:
            to_file(Path(place), parts(*told, form), at_once=form == "metrics")


def _write_baseline(path: Path, result: auditing.AuditResult) -> None:
    """Write a baseline. What can't be judged is an error: its findings would be missing.

    Raises:
        UserError: A part of the input can't be judged, or the file can't be written.
    """
    from drainproof.judge import baseline  # noqa: PLC0415 - only where it is written

    if result.problems:
        first = without_forms(str(result.problems[0]))
        raise UserError(f"no baseline where not all could be judged: {first}")
    text, count = baseline.write(result)
    to_file(path, [text])
    click.echo(f"{path}: {plural(count, 'finding')} taken as given.")


@click.command(epilog=examples("drainproof rules", "drainproof rules grace-period"))
@click.argument("slug", required=False, shell_complete=completion.checks)
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
    if item.kind == "manifest":
        from drainproof.policies.reach import at_admission  # noqa: PLC0415 - for one check only

        click.echo(f"\nAt admission\n    {at_admission(item)}")
