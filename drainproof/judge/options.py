"""The options that ``audit`` and ``fix`` share, and the settings that they lead to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from drainproof import completion
from drainproof.judge import config as settings
from drainproof.judge.profiles import PROFILES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from drainproof.judge.config import Config

_Command = TypeVar("_Command", bound="Callable[..., None]")
FILE = click.Path(dir_okay=False, path_type=Path)

_SHARED = (
    click.option(
        "-f",
        "--values",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Values file for the Helm charts among PATHs, as for helm; may be repeated.",
    ),
    click.option(
        "--set",
        "sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Value for the Helm charts among PATHs, as for helm; may be repeated.",
    ),
    click.option(
        "--profile",
        "profile_name",
        type=click.Choice(list(PROFILES)),
        help="The numbers that checks use.  [default: production]",
    ),
    click.option(
        "--select",
        multiple=True,
        metavar="CHECK",
        shell_complete=completion.of_audits,
        help="Run only this check: a slug or an id, with * for anything; may be repeated.",
    ),
    click.option(
        "--ignore",
        multiple=True,
        metavar="CHECK",
        shell_complete=completion.of_audits,
        help="Don't run this check; same form.",
    ),
    click.option(
        "--waivers",
        type=FILE,
        help=f"A file of waivers.  [default: {settings.WAIVERS}, here or in a folder above]",
    ),
    click.option("--baseline", type=FILE, help="Report only findings that are not in this file."),
    click.option(
        "--config",
        "config_file",
        type=FILE,
        help="A config file.  [default: drainproof.toml, or pyproject.toml with [tool.drainproof], "
        "here or in a folder above]",
    ),
    click.option(
        "--checks",
        "folders",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A folder of checks of your own, beside drainproof's.",
    ),
)


def settled(command: _Command) -> _Command:
    """Give a command the options of Helm charts, checks, numbers, waivers and baselines."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


def config_of(given: Mapping[str, Any]) -> Config:
    """Return what holds for a command with these options.

    Raises:
        UserError: A file can't be read, or a setting is unknown or of another form.
    """
    return settings.load(
        Path(),
        file=given["config_file"],
        profile_name=given["profile_name"],
        fail_on=given.get("fail_on"),
        select=given["select"],
        ignore=given["ignore"],
        folders=given["folders"],
        waivers=given["waivers"],
        baseline=given["baseline"],
    )
