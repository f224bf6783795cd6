"""Tells what stands between the kubelet and the engine, and whether SIGTERM gets past it.

This reads scripts as :mod:`drainproof.model.shell` does, and is no shell: where it can't tell, it
says so.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from drainproof.model import shell
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from drainproof.model.engines import EngineFacts
    from drainproof.model.shell import Command

_SAYS = frozenset({"echo", "printf", "trap", "export", "which", "alias"})
"""Programs that may have an engine's command line among their words without running it."""
_EXEC = regex(r"(?<![\w./$%-])exec(?=[ \t])")
_MARK = "%exec"
"""Written for ``exec`` before a script is read: the reader leaves it out, as it makes no difference
to what runs, and here it makes all of it."""
_TERM = frozenset({"TERM", "SIGTERM", "15"})
_HARD = frozenset({"-9", "-KILL", "-SIGKILL", "KILL", "SIGKILL", "9"})
_KILLERS = frozenset({"kill", "pkill", "killall"})


class Path(Enum):
    """How SIGTERM fares on its way to the engine."""

    REACHES = "reaches"
    BY_BASH = "bash replaces itself with a single command, unasked"
    WITHOUT_EXEC = "a shell waits for the engine and keeps the signal"
    PIPED = "the engine runs in a pipe, and the shell waits for that"
    BACKGROUND = "the engine runs in the background of a shell without a trap"
    TRAP_ENDS = "the shell's trap ends the shell, and the container with it"
    TRAP_KILLS = "the shell's trap kills the engine"
    TRAP_LEAVES = "the trap passes the signal on, and then the shell ends"
    UNSEEN = "the script that starts the engine is not in the manifest"


class Signalled(Struct, frozen=True):
    """What was found out about one command line."""

    path: Path
    shell: str = ""
    """The shell in front, without folders; empty if there is none."""
    script: str = ""
    """The shell's script, or the name of the one that can't be seen."""
    first: bool = True
    """Whether the shell is the first process that the command line starts."""
    start: re.Pattern[str] | None = None
    """Matches in the script where ``exec`` is missing; None if adding it would not be enough."""


_DIRECT = Signalled(Path.REACHES)


def follow(
    argv: Sequence[str],
    env: Mapping[str, str],
    facts: EngineFacts,
    *,
    own: bool = False,
    file: Callable[[str], str | None] = lambda _: None,
) -> Signalled:
    """Return how SIGTERM fares when a container starts with ``argv``.

    Args:
        argv: The container's command and arguments, as they are written.
        env: Variables whose value is known.
        facts: The engine that the container is known to run.
        own: Whether the first word is the program; else the image's own may come before it.
        file: Returns the text of a file in the container; None if it is not known.
    """
    at = shell.shell_at(argv)
    if at is None:
        text = file(argv[0]) if argv else None
        if text is not None:
            return _file(text, _interpreter(text), argv[0], env, facts)
        unseen = bool(argv) and (own or argv[0].endswith(".sh"))
        unseen = unseen and not facts.is_started_by(" ".join(argv))
        return Signalled(Path.UNSEEN, script=argv[0]) if unseen else _DIRECT
    words = shell.expand_words(argv[at:], env)
    program = shell.basename(words[0])
    script = shell.script_of(words)
    if script is None:
        name = next((word for word in words[1:] if not word.startswith("-")), "")
        found = _DIRECT
        if name and not facts.is_started_by(name):
            text = file(name)
            found = Signalled(Path.UNSEEN, script=name)
            found = found if text is None else _file(text, program, name, env, facts)
    else:
        found = _script(script, program, env, facts)
        text = file(found.script) if found.path is Path.UNSEEN and found.script else None
        if text is not None:  # of what the script becomes at its end, by exec
            found = _file(text, _interpreter(text), found.script, env, facts)
    return replace(
        found, shell=found.shell or program, script=found.script or script or "", first=at == 0
    )


def _interpreter(text: str) -> str:
    """Return the shell that a script's first line names; ``sh`` if it names none."""
    first = text.partition("\n")[0] if text.startswith("#!") else ""
    names = (shell.basename(word) for word in reversed(first.removeprefix("#!").split()))
    return next((name for name in names if name in shell.SHELLS), "sh")


def _file(
    text: str, program: str, name: str, env: Mapping[str, str], facts: EngineFacts
) -> Signalled:
    """Return how SIGTERM fares in a script of a file."""
    found = _script(text, program, env, facts)
    return replace(found, shell=program, script=found.script or name, start=None)


class _Step(Struct, frozen=True):
    """One command, and what the shell does around it."""

    command: Command
    words: tuple[str, ...]
    execs: bool
    evals: bool
    piped: bool

    @property
    def program(self) -> str:
        return shell.basename(self.words[0]) if self.words else ""


def _steps(script: str, env: Mapping[str, str], *, evals: bool = False) -> list[_Step]:
    found = shell.commands(_EXEC.sub(_MARK, script), env)
    steps = []
    for index, command in enumerate(found):
        words = command.words
        piped = command.operator == "|" or (
            index + 1 < len(found) and found[index + 1].operator == "|"
        )
        if words[0] == "eval" and not evals:
            steps += [
                replace(step, command=replace(step.command, depth=command.depth), piped=piped)
                for step in _steps(" ".join(words[1:]), {}, evals=True)
            ]
            continue
        execs = words[0].startswith(_MARK)
        if execs:
            rest = words[0].removeprefix(_MARK)
            words = (rest, *words[1:]) if rest else words[1:]
        steps.append(_Step(command, words, execs, evals, piped))
    return steps


def _script(script: str, program: str, env: Mapping[str, str], facts: EngineFacts) -> Signalled:
    steps = _steps(script, env)
    starts = [
        index
        for index, step in enumerate(steps)
        if step.program not in _SAYS and facts.is_started_by(" ".join(step.words))
    ]
    if not starts:
        last = steps[-1] if steps else None
        if last is None or not last.execs or not last.words:
            return Signalled(Path.UNSEEN)
        passes_on = last.words[0] in {"$@", "$*", "${@}"}
        return Signalled(Path.REACHES) if passes_on else Signalled(Path.UNSEEN, "", last.words[0])
    for index in starts:
        found = _start(steps, index, program, script)
        if found.path is not Path.REACHES:
            return found
    return Signalled(Path.REACHES)


def _start(steps: Sequence[_Step], index: int, program: str, script: str) -> Signalled:
    step = steps[index]
    if step.piped:
        return Signalled(Path.PIPED)
    if step.command.background:
        return Signalled(_in_background(steps, index))
    if step.execs:
        return Signalled(Path.REACHES)
    last = index == len(steps) - 1
    start = _position(step, script) if last and not step.evals else None
    alone = len(steps) == 1 and not step.evals and not step.command.depth
    if program == "bash" and alone and "<" not in script and ">" not in script:
        return Signalled(Path.BY_BASH, start=start)
    return Signalled(Path.WITHOUT_EXEC, start=start)


def _position(step: _Step, script: str) -> re.Pattern[str] | None:
    """Return what matches right where the engine's command begins in a script, and only there."""
    words = [re.escape(word) for word in step.words[:2]]
    start = re.compile(r"(?<![^\s;&|({])(?=" + r"\s+".join(words) + r"(?:\s|\\|$))")
    return start if len(start.findall(script)) == 1 else None


def _in_background(steps: Sequence[_Step], index: int) -> Path:
    """Return what a trap makes of SIGTERM while the engine runs in the background."""
    trap = next(
        (step for step in steps if step.program == "trap" and _TERM & set(step.words[2:])), None
    )
    if trap is None:
        return Path.BACKGROUND
    body = _steps(trap.words[1], {})
    does = {step.program for step in body}
    # the name of a function: its body is somewhere among the script's commands
    function = len(body) == 1 and len(body[0].words) == 1 and not does & {"exit", "wait", ":"}
    signals = [
        step
        for step in (steps if function else body)
        if step.program in _KILLERS and "-0" not in step.words
    ]
    if not signals:
        no_signal = Path.TRAP_ENDS if "exit" in does else Path.BACKGROUND
        return Path.UNSEEN if function else no_signal
    if any(_HARD & set(step.words[1:]) for step in signals):
        return Path.TRAP_KILLS
    return Path.REACHES if _waits(steps, index, does, function=function) else Path.TRAP_LEAVES


def _waits(steps: Sequence[_Step], index: int, does: set[str], *, function: bool) -> bool:
    """Tell whether the shell waits for the engine to end after its trap has run.

    The signal interrupts the ``wait`` that the script is in, so it takes a second one.
    """
    if "wait" in does:
        return True
    if "exit" in does:
        return False
    waits = [step for step in steps if step.program == "wait"]
    behind = [step for step in steps[index + 1 :] if step.program == "wait"]
    return len(waits if function else behind) > 1 or any(step.command.depth for step in behind)
