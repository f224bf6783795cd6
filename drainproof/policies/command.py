"""The ``policies`` command: the checks that admission can enforce, as Kyverno policies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from drainproof import completion
from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES
from drainproof.policies import kyverno, mutating, native, reach, write
from drainproof.progress import PlainProgress
from drainproof.report.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drainproof.judge.registry import Check

FORMS: Mapping[str, Callable[[Check, write.Settings], str]] = {
    "ValidatingPolicy": write.policy,
    native.KIND: native.policy,
    mutating.KIND: mutating.policy,
}
"""The kinds that a check's rule is written as, and what writes each."""
_CARRIES: Mapping[str, Callable[[Check], bool]] = {
    native.KIND: lambda check: not native.reason(check),
    mutating.KIND: mutating.mends,
}
_OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), help="A file; standard output if none."
)


@click.group(
    epilog=examples(
        "drainproof policies export --profile production --action Audit | kubectl apply -f -",
        "drainproof policies exceptions drainproof-waivers.yaml",
    )
)
def policies() -> None:
    """The checks that admission can enforce, as Kyverno policies."""


@policies.command("list", epilog=examples("drainproof policies list"))
def list_() -> None:
    """List the checks with their policy, or why there is none, and what no policy sees."""
    checks = registry.load(kind="manifest").checks
    width = max(len(check.slug) for check in checks)
    for check in checks:
        click.echo(f"{check.id}  {check.slug:<{width}}  {reach.at_admission(check)}")
    click.echo("\nNo policy sees, and so each admits:")
    for limit in reach.LIMITS:
        click.echo(f"  {limit}")


@policies.command(
    epilog=examples(
        "drainproof policies export | kubectl apply -f -",
        "drainproof policies export grace-period --action Deny",
        "drainproof policies export --as ValidatingAdmissionPolicy --output policies.yaml",
    )
)
@click.argument("slugs", nargs=-1, metavar="[CHECK]...", shell_complete=completion.policies)
@click.option(
    "--profile",
    "profile_name",
    type=click.Choice(list(PROFILES)),
    default="production",
    show_default=True,
    help="Whose numbers are filled in.",
)
@click.option(
    "--as",
    "kind",
    type=click.Choice(list(FORMS), case_sensitive=False),
    default="ValidatingPolicy",
    show_default=True,
    help="Kyverno's kind that judges, Kubernetes' own, or Kyverno's that adds what is missing.",
)
@click.option(
    "--action",
    type=click.Choice(write.ACTIONS),
    default="Audit",
    show_default=True,
    help="Audit reports what fails, Warn tells whoever applies it, Deny keeps it out; or it warns "
    "where the check only warns.",
)
@click.option(
    "--namespace-selector",
    "labels",
    multiple=True,
    metavar="LABEL=VALUE",
    help="Only namespaces with this label; may be repeated.",
)
@_OUTPUT
def export(  # noqa: PLR0913, PLR0917 - one argument an option
    slugs: Sequence[str],
    profile_name: str,
    kind: str,
    action: str,
    labels: Sequence[str],
    output: Path | None,
) -> None:
    """Write policies as YAML for kubectl apply: all of them, or those of some checks."""
    settings = write.Settings(
        profile=PROFILES[profile_name],
        action=action,
        namespaces=dict(_label(label) for label in labels),
    )
    carries = _CARRIES.get(kind) if not slugs else None
    chosen = [check for check in _chosen(slugs) if carries is None or carries(check)]
    _put(write.policies(chosen, settings, FORMS[kind]), output)


@policies.command(epilog=examples("drainproof policies exceptions drainproof-waivers.yaml"))
@click.argument("file", type=click.Path(path_type=Path), metavar="WAIVERS")
@click.option(
    "--namespace",
    default="kyverno",
    show_default=True,
    help="Where they are; Kyverno's --exceptionNamespace.",
)
@_OUTPUT
def exceptions(file: Path, namespace: str, output: Path | None) -> None:
    """Write a file's waivers as Kyverno's PolicyExceptions.

    They end when the waivers do, for which Kyverno has to be 1.19 or newer.
    """
    from drainproof.judge import waivers  # noqa: PLC0415 - they need the audit's types
    from drainproof.policies import exceptions as made  # noqa: PLC0415 - for this command only

    text, left = made.exceptions(waivers.read(file), registry.load(), namespace)
    for waiver in left:
        click.echo(f"{printable(waiver.check)}: no policy, so no exception is needed", err=True)
    if not text:
        raise UserError(f"{file}: expected a waiver of a check with a policy, found none")
    _put(text, output)


@policies.command("waivers", epilog=examples("drainproof policies waivers exceptions.yaml"))
@click.argument("file", type=click.Path(path_type=Path), metavar="EXCEPTIONS")
@_OUTPUT
def waivers_(file: Path, output: Path | None) -> None:
    """Write Kyverno's PolicyExceptions as a file of waivers."""
    from drainproof.policies import exceptions as made  # noqa: PLC0415 - for this command only

    text, left = made.written(file, registry.load())
    for name in left:
        click.echo(
            f"{printable(name)}: from policies that are not drainproof's, and left out", err=True
        )
    _put(text, output)


@policies.command(
    epilog=examples("drainproof policies test", "drainproof policies test grace-period")
)
@click.argument("slugs", nargs=-1, metavar="[CHECK]...", shell_complete=completion.policies)
@click.pass_context
def test(ctx: click.Context, slugs: Sequence[str]) -> None:
    """Run Kyverno's own test of the policies: good and bad resources of each check.

    \b
    Exit code: 0 all as expected, 1 a policy judges otherwise, 2 it can't be run.
    """  # noqa: D301 - \b is click's own mark
    program = kyverno.command(PlainProgress())
    chosen = _chosen(slugs)
    folders = {check.slug: write.folder() / check.slug for check in chosen}
    folders |= {
        f"{mutating.FOLDER}/{check.slug}": mutating.folder(check)
        for check in filter(mutating.mends, chosen)
    }
    failed = 0
    for name, folder in folders.items():
        ran = kyverno.tested(program, folder)
        click.echo(f"{'ok  ' if ran.passed else 'FAIL'}  {name}: {ran.said}")
        failed += not ran.passed
    if failed:
        click.echo(f"{failed} of {plural(len(folders), 'test')} failed")
        ctx.exit(ExitCode.FINDINGS)


def _put(text: str, output: Path | None) -> None:
    """Write a text to a file, or to standard output if there is none.

    Raises:
        UserError: The file can't be written.
    """
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: can't be written: {error.strerror}") from error


def _chosen(slugs: Sequence[str]) -> tuple[Check, ...]:
    """Return the checks with these slugs or ids; all that have a policy if there are none."""
    enforced = write.enforced()
    if not enforced:
        raise UserError(f"{write.folder()}: no policy is there", "Install drainproof anew.")
    if not slugs:
        return enforced
    found = registry.load(kind="manifest")
    chosen = tuple(found.get(slug) for slug in slugs)
    for check in chosen:
        if check.slug not in {item.slug for item in enforced}:
            why = f": {check.admission}" if check.admission else ""
            raise UserError(f"{check.slug} has no policy{why}", "See: drainproof policies list")
    return chosen


def _label(written: str) -> tuple[str, str]:
    name, equals, value = written.partition("=")
    if not equals or not name:
        raise UserError(f"expected --namespace-selector LABEL=VALUE, found {written!r}")
    return name, value
