"""The command line: a table of commands, each loaded when it is called."""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
from typing import NoReturn

import click

from drainproof import __version__
from drainproof.errors import ExitCode, UserError
from drainproof.examples import examples

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
    "conformance": (
        "drainproof.conformance.command:conformance",
        "Write what saved evidence shows of one deployment.",
    ),
    "diff": ("drainproof.conformance.command:diff", "Compare two conformance reports."),
    "fix": ("drainproof.fix.command:fix", "Write what can be fixed without guessing."),
    "install": (
        "drainproof.install.command:install",
        "Print or apply what an audit on a schedule needs.",
    ),
    "judge": ("drainproof.faults.command:judge", "Repeat a chaos run's verdict from its evidence."),
    "policies": (
        "drainproof.policies.command:policies",
        "Write the checks that admission can enforce as Kyverno policies.",
    ),
    "restore": ("drainproof.faults.command:restore", "Undo what an interrupted chaos run left."),
    "rules": ("drainproof.judge.command:rules", "List the checks, or explain one."),
    "simulate": (
        "drainproof.simulate.command:simulate",
        "Predict replicas, queue and cost under a load.",
    ),
}
"""Name to where the command is (``module:attribute``) and its short help."""

DEBUG = "DRAINPROOF_DEBUG"
"""Environment variable that shows tracebacks."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""What keeps standard output from being written."""
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
        gc.disable()  # what modules make is there to stay
        command: click.Command = getattr(importlib.import_module(module), attribute)
        gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - same
        """Write the names and short helps from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "drainproof audit deploy/",
        "drainproof rules grace-period",
        "drainproof chaos deployment/vllm --context staging -n inference --dry-run",
    ),
)
@click.version_option(__version__, prog_name="drainproof")
def drainproof() -> None:
    """Will a user of this LLM deployment ever see a cut-off answer?"""


def main() -> None:
    """Run the command line and exit: 0 clean, 1 findings, 2 error, 3 inconclusive."""
    if sys.stdout is None:  # closed by whoever called: only what writes nothing to it can succeed
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w")
    try:
        code = drainproof.main(standalone_mode=False)
    except UserError as error:
        _fail(str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(ExitCode.ERROR)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            _fail(f"the output cannot be written: {error.strerror}", ExitCode.ERROR)
        if DEBUG in os.environ:
            raise
        _fail(f"drainproof itself broke down: {_said(error)}\n  {_REPORT}", ExitCode.ERROR)
    else:
        if isinstance(code, int):  # what a command gives to ctx.exit()
            _leave(code)


def _said(error: Exception) -> str:
    """Return an error and the place that it comes from, on one line."""
    import traceback  # noqa: PLC0415 - only after a breakdown

    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(at.filename)}:{at.lineno}"  # noqa: PTH119 - no path of this machine
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({where})"


def _leave(code: int) -> None:
    """Exit without taking apart what is in memory, which takes as long as to judge some hundred."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fail(message: str, code: int) -> NoReturn:
    from drainproof.report.text import harmless  # noqa: PLC0415 - only after an error

    sys.stderr.write(harmless(f"error: {message}\n"))
    sys.stderr.flush()
    _quiet_exit(code)


def _quiet_exit(code: int) -> NoReturn:
    """Exit without a second complaint of Python's about an output that can't be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os._exit(code)
    sys.exit(code)
