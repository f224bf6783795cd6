"""``--help`` ends with examples that the command takes, and shells complete what it offers."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from drainproof.cli import drainproof

if TYPE_CHECKING:
    from collections.abc import Iterator

BIN = Path(sys.executable).parent
MARK = "Examples:\n"


def commands(
    command: click.Command, *names: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield a command and all below it, with the words that call each."""
    yield names, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, *names, name)


COMMANDS = dict(commands(drainproof))


def examples_of(command: click.Command) -> list[str]:
    """Return the examples, a line each."""
    text = (command.epilog or "").partition(MARK)[2].replace("\\\n", " ")
    return [line.strip() for line in text.splitlines()]


def taken(line: str) -> tuple[str, ...]:
    """Parse an example as the program would, without running it; return the words that call it.

    Raises:
        click.UsageError: The command does not take it.
    """
    words = shlex.split(line.rpartition(" | drainproof")[2] if " | drainproof" in line else line)
    for stop in ("|", ">"):
        words = words[: words.index(stop)] if stop in words else words
    words = [word for word in words if word != "drainproof"]
    names: tuple[str, ...] = ()
    while isinstance(COMMANDS[names], click.Group):
        names, words = (*names, words[0]), words[1:]
        if names not in COMMANDS:
            raise click.UsageError(f"no such command: {names[-1]}")
    with COMMANDS[names].make_context(names[-1], words):
        return names


@pytest.mark.parametrize("names", list(COMMANDS), ids=" ".join)
def test_the_help_of_a_command_ends_with_examples_that_it_takes(names: tuple[str, ...]) -> None:
    command = COMMANDS[names]
    shown = command.get_help(click.Context(command))
    listed = examples_of(command)
    assert listed != []
    called = [taken(line) for line in listed]
    assert all(line.split(" \\")[0].split("  ")[0] in shown for line in listed)
    assert any(words[: len(names)] == names for words in called)


@pytest.mark.parametrize(
    "line", ["drainproof audti deploy/", "drainproof audit --fromat json", "drainproof chaos x"]
)
def test_an_example_that_no_command_takes_is_seen_to(line: str) -> None:
    """The test's own test."""
    with pytest.raises(click.UsageError):
        taken(line)


def completing(shell: str, what: str, **words: str) -> str:
    done = subprocess.run(
        [BIN / "drainproof"],
        env={"PATH": os.environ["PATH"], "_DRAINPROOF_COMPLETE": f"{shell}_{what}", **words},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("shell", "registers"),
    [("bash", "complete -o nosort"), ("zsh", "compdef"), ("fish", "complete --no-files")],
)
def test_a_shell_is_given_a_script_that_completes(shell: str, registers: str) -> None:
    script = completing(shell, "source")
    assert registers in script
    assert f"_DRAINPROOF_COMPLETE={shell}_complete" in script


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(
    ("typed", "offered", "left"),
    [
        ("drainproof au", "audit", "chaos"),
        ("drainproof policies exp", "export", "list"),
        ("drainproof audit --prof", "--profile", "--values"),
        ("drainproof audit --profile mo", "module", "production"),
        ("drainproof rules gra", "grace-period", "prestop-delay"),
        ("drainproof policies export gra", "grace-period", "grace-covers-latency"),
        ("drainproof policies test gra", "grace-period", "prestop-delay"),
        ("drainproof audit --format s", "sarif", "terminal"),
        ("drainproof judge evidence --format ht", "html", "sarif"),
        ("drainproof audit --select DP1", "DP104", "DP201"),
        ("drainproof fix --ignore ro", "rolling-update", "rollout"),
        ("drainproof chaos deployment/x --fault ro", "rollout", "evict"),
    ],
)
def test_a_shell_completes_commands_options_and_their_values(
    shell: str, typed: str, offered: str, left: str
) -> None:
    words = typed.split()
    at = words[-1] if shell == "fish" else str(len(words) - 1)
    given = " ".join(words)
    out = completing(shell, "complete", COMP_WORDS=given, COMP_CWORD=at)
    assert offered in out
    assert left not in out


@pytest.mark.parametrize("command", ["audit", "fix", "simulate"])
def test_a_shell_completes_files_by_itself(command: str) -> None:
    out = completing("bash", "complete", COMP_WORDS=f"drainproof {command} dep", COMP_CWORD="2")
    assert out == "file,dep\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_takes_its_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "complete"
    script.write_text(completing(shell, "source"))
    done = subprocess.run([program, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
