"""Reads a preStop hook: how long it surely keeps SIGTERM away."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import polling, shape, shell
from drainproof.model.secrets import redacted
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from drainproof.model.shape import Raw

_PYTHON_SLEEP = regex(r"\bsleep\(\s*(\d+(?:\.\d+)?)\s*\)")
_HARMLESS = frozenset(
    {"echo", "true", ":", "date", "printf", "touch", "sleep", "set", "export", "trap"}
)
"""Programs that end at once and don't fail, so that what follows ``&&`` surely runs."""


class PreStop(Struct, frozen=True):
    """What a container does before Kubernetes sends it SIGTERM."""

    path: str
    """Its field path; where it belongs if there is none."""
    form: str
    """``exec``, ``sleep``, ``httpGet``, ``tcpSocket``, or empty if there is no hook."""
    delay_s: float | None
    """Seconds that it surely keeps SIGTERM away; None if that can't be told."""
    broken: str
    """Why it fails at once, so that SIGTERM is not delayed; empty if it works."""
    argv: tuple[str, ...] = ()
    """What an ``exec`` hook that works runs."""

    @property
    def polls(self) -> bool:
        """Whether it has a loop over the engine's metrics, whatever that does."""
        return polling.polls(self.argv)


def read(container: Raw, path: str, env: Mapping[str, str]) -> PreStop:
    """Return a container's preStop hook.

    Raises:
        ShapeError: A field holds another type than Kubernetes wants.
    """
    lifecycle = shape.mapping(container, "lifecycle", path)
    path = f"{path}.lifecycle.preStop"
    hook = shape.mapping(lifecycle, "preStop", path[: -len(".preStop")]) if lifecycle else {}
    if "sleep" in hook:
        seconds = shape.integer(
            shape.mapping(hook, "sleep", path), "seconds", f"{path}.sleep", default=0
        )
        return PreStop(path, "sleep", float(seconds), broken="")
    if "exec" in hook:
        argv = shape.strings(shape.mapping(hook, "exec", path), "command", f"{path}.exec")
        return _exec(argv, path, env)
    if "httpGet" in hook:
        shape.mapping(hook, "httpGet", path)
        return PreStop(path, "httpGet", None, broken="")
    if "tcpSocket" in hook:
        broken = "a tcpSocket hook always fails: Kubernetes no longer runs it"
        return PreStop(path, "tcpSocket", 0.0, broken=broken)
    return PreStop(path, "", 0.0, broken="")


def _exec(argv: Sequence[str], path: str, env: Mapping[str, str]) -> PreStop:
    argv = shell.expand_words(argv, env)
    broken = ""
    if not argv:
        broken = "its command is empty"
    elif re.match(r"\S*(?:sleep|sh)\s", argv[0]):
        called = redacted(argv[0])
        broken = f'there is no program called "{called}" (an exec hook runs without a shell)'
    if broken:
        return PreStop(path, "exec", 0.0, broken=broken)
    return PreStop(path, "exec", _delay(argv, env), broken="", argv=argv)


def _delay(argv: Sequence[str], env: Mapping[str, str]) -> float | None:
    """Return the seconds that a command surely takes, None if that can't be told."""
    program = shell.basename(argv[0])
    if program == "timeout":
        return _timeout_delay(argv, env)
    script = shell.script_of(argv)
    if script is not None:
        return _script_delay(script, env)
    if program == "sleep":
        parts = [polling.seconds(word) for word in argv[1:]]
        known = [part for part in parts if part is not None]
        return sum(known) if known and len(known) == len(parts) else None
    if program.startswith("python"):
        code = " ".join(argv[1:])
        sleeps = [float(seconds) for seconds in _PYTHON_SLEEP.findall(code)]
        return sum(sleeps) if sleeps and not re.search(r"\b(?:for|while|if)\b", code) else None
    return 0.0 if program in _HARMLESS else None


def _timeout_delay(argv: Sequence[str], env: Mapping[str, str]) -> float | None:
    at = next((index for index, word in enumerate(argv) if index and word[:1] != "-"), len(argv))
    rest = argv[at:]
    limit = polling.seconds(rest[0]) if rest else None
    inner = _delay(rest[1:], env) if len(rest) > 1 else None
    return None if limit is None or inner is None else min(limit, inner)


def _script_delay(script: str, env: Mapping[str, str]) -> float | None:
    total = 0.0
    unsure = False
    certain = True  # whether what follows && surely runs
    for command in shell.commands(script, env):
        if command.operator in {"", ";"}:
            certain = True
        elif command.operator == "||":
            certain = False
        if command.depth or command.background or not certain:
            unsure = True
            continue
        if _signals(command):
            break
        if command.program == "exit":
            break
        delay = _delay(command.words, env)
        if delay is None:
            unsure = True
        else:
            total += delay
        certain = command.program in _HARMLESS
    return total if total or not unsure else None


def _signals(command: shell.Command) -> bool:
    """Tell whether a command stops the engine itself, so that later sleeps no longer help."""
    if command.program in {"pkill", "killall"}:
        return True
    return command.program == "kill" and "-0" not in command.words
