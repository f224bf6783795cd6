"""What shells complete besides commands and options: checks, formats, faults, files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    import click

    from drainproof.judge.registry import Check

    Completed = list[CompletionItem]


def checks(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completed:  # noqa: ARG001 - click's signature
    """Return all checks, those of ``--checks`` among them; their ids once one is begun."""
    return _of_checks(_loaded(ctx), incomplete)


def of_audits(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completed:  # noqa: ARG001 - same
    """Return the checks that an audit can run."""
    return _of_checks((check for check in _loaded(ctx) if check.kind != "chaos"), incomplete)


def policies(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completed:  # noqa: ARG001 - same
    """Return the checks that have a policy."""
    from drainproof.policies import write  # noqa: PLC0415 - only to complete

    return _of_checks(write.enforced(), incomplete)


def faults(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completed:  # noqa: ARG001 - same
    """Return the names of the faults."""
    from drainproof.faults.catalogue import FAULTS  # noqa: PLC0415 - loads the Kubernetes client

    return _beginning(((name, "") for name in FAULTS), incomplete)


def formats(
    known: Collection[str],
) -> Callable[[click.Context, click.Parameter, str], Completed]:
    """Return what completes ``FORM`` of ``--format FORM[=FILE]``.

    Args:
        known: The formats that there are.
    """
    return lambda _ctx, _param, incomplete: _beginning(((form, "") for form in known), incomplete)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> Completed:  # noqa: ARG001 - same
    """Leave it to the shell, which knows files and folders."""
    return [CompletionItem(incomplete, type="file")]


def _loaded(ctx: click.Context) -> tuple[Check, ...]:
    from drainproof.judge import registry  # noqa: PLC0415 - only to complete

    try:
        return registry.load(ctx.params.get("folders") or ()).checks
    except UserError:
        return ()


def _of_checks(found: Iterable[Check], incomplete: str) -> Completed:
    listed = list(found)
    named = [(check.slug, check.title) for check in listed]
    if incomplete:
        named += [(check.id, check.title) for check in listed]
    return _beginning(named, incomplete)


def _beginning(named: Iterable[tuple[str, str]], incomplete: str) -> Completed:
    return [
        CompletionItem(name, help=told or None)
        for name, told in named
        if name.startswith(incomplete)
    ]
