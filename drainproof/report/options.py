"""The options that say which reports a command writes, and where to: those of audit and chaos."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeVar

import click

from drainproof import completion
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_Command = TypeVar("_Command", bound="Callable[..., None]")
STDOUT = "-"


class InOrder(click.Command):
    """A command that knows in which order ``--format`` and ``--output`` were given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note the order, then parse as usual."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[__name__] = [item.name for item in order if item.name in {"formats", "outputs"}]
        return super().parse_args(ctx, args)


step_summary: Final = click.option(
    "--github-step-summary",
    is_flag=True,
    help="Add the report to the summary of this step of a GitHub workflow, too.",
)
"""Gives a command the option that :mod:`drainproof.report.summary` is for."""


def reports(known: Collection[str]) -> Callable[[_Command], _Command]:
    """Give an :class:`InOrder` command the options ``--format`` and ``--output``.

    Args:
        known: The formats that there are.
    """

    def give(command: _Command) -> _Command:
        command = click.option(
            "--output",
            "outputs",
            multiple=True,
            metavar="FILE",
            help="Where the --format before it is written; one without goes to standard output.",
        )(command)
        return click.option(
            "--format",
            "formats",
            multiple=True,
            metavar="FORM[=FILE]",
            shell_complete=completion.formats(known),
            help=f"{', '.join(known)}; may be repeated.  [default: terminal]",
        )(command)

    return give


def order_of(ctx: click.Context) -> list[str]:
    """Return which of the two options an :class:`InOrder` command was given, in order."""
    found: list[str] = ctx.meta[__name__]
    return found


def destinations(
    formats: Sequence[str],
    outputs: Sequence[str],
    order: Sequence[str],
    known: Collection[str],
) -> list[tuple[str, str]]:
    """Return each format with where it goes: a file of its own, or ``-`` for standard output.

    Args:
        formats: As given, each ``FORM`` or ``FORM=FILE``.
        outputs: As given; each belongs to the format before it, or else to the one after it.
        order: Which of the two was given, in order: ``formats`` or ``outputs``.
        known: The formats that there are.

    Raises:
        UserError: A format is unknown, an output has none, or two go to the same place.
    """
    left = {"formats": iter(formats), "outputs": iter(outputs)}
    found: list[list[str]] = []
    waiting: list[str] = []
    for name in order:
        value = next(left[name])
        if name == "formats":
            form, file = _form_and_file(value, known)
            found.append([form, file or (waiting.pop() if waiting else "")])
        elif not value:
            raise UserError("--output: expected a file, found an empty name")
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
            hint="Give one a file: --format html=report.html --format terminal",
        )
    for index, (form, file) in enumerate(listed):
        other = next((name for name, place in listed[:index] if place == file), "")
        if other and file != os.devnull:
            raise UserError(f"two reports can't both be written to {file}: {other} and {form}")
    return listed


def _form_and_file(value: str, known: Collection[str]) -> tuple[str, str]:
    """Return what ``FORM`` or ``FORM=FILE`` names; the file is empty if there is none.

    Raises:
        UserError: The format is unknown, or no file is behind the equals sign.
    """
    form, equals, file = value.partition("=")
    if form not in known:
        raise UserError(f"expected --format {'|'.join(known)}, found {form!r}")
    if equals and not file:
        raise UserError(
            f"--format {value}: expected a file after the =, found none",
            hint=f"--format {form} writes to standard output.",
        )
    return form, file
