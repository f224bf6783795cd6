"""The command line: a table of commands, each loaded when it is called."""

from __future__ import annotations

import importlib
import os
import sys

import click

from drainproof import __version__
from drainproof.errors import ExitCode, UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "audit": (
        "drainproof.judge.command:audit",
        "Audit manifests or a live cluster; changes nothing.",
    ),
    "chaos": (
        "drainproof.faults.command:chaos",
        "Disturb a target under streaming load, and judge it.",
    ),
    "cluster": ("drainproof.clusters.command:cluster", "Bring the embedded cluster up or down."),
    "fix": ("drainproof.fix.command:fix", "Write what can be fixed without guessing."),
    "judge": ("drainproof.faults.command:judge", "Repeat a chaos run's verdict from its evidence."),
    "restore": ("drainproof.faults.command:restore", "Undo what an interrupted chaos run left."),
    "rules": ("drainproof.judge.command:rules", "List the checks, or explain one."),
}
"""Name to where the command is (``module:attribute``) and its short help."""

DEBUG = "DRAINPROOF_DEBUG"
"""Environment variable that shows tracebacks."""
_REPORT = f"This is a defect of drainproof, not of your input: report it. {DEBUG}=1 shows more."
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""


class LazyGroup(click.Group):
    """A group that lists its commands without loading them, so that ``audit FILE`` starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - same
        """Load one command; None if there is none of that name."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - same
        """Write the names and short helps from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="drainproof")
def drainproof() -> None:
    """Will a user of this LLM deployment ever see a cut-off answer?"""


def main() -> None:
    """Run the command line and exit: 0 clean, 1 findings, 2 error, 3 inconclusive."""
    try:
        drainproof.main(standalone_mode=False)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.ERROR)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if DEBUG in os.environ:
            raise
        _fail(f"drainproof itself broke down: {_said(error)}\n  {_REPORT}", ExitCode.ERROR)


def _said(error: Exception) -> str:
    """Return an error and the place that it comes from, on one line."""
    import traceback  # noqa: PLC0415 - only after a breakdown

    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(at.filename)}:{at.lineno}"  # noqa: PTH119 - no path of this machine
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({where})"


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)
