"""Reads shell scripts well enough to see which commands run, in what order, with which words.

Manifests start engines and delay shutdown through ``sh -c`` strings. This is no shell: it knows
quoting, continuations, comments, redirections, variables with a known value, and which commands are
inside loops and conditions. What it does not know, it leaves as it is written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
_MAX_SCRIPT = 64 * 1024
"""Characters of a script that are read; longer ones hold data, not commands."""

_TOKEN = re.compile(
    r"""
      (?P<blank> \\\r?\n | [ \t\r]+ )
    | (?P<comment> \#[^\n]* )
    | (?P<redirect> \d*(?: &>>? | [<>]&\d*-? | >> | <<<? | [<>] )[ \t]* )
    | (?P<operator> && | \|\| | ;; | [;&|()\n] )
    | (?P<word> (?: [^\s;&|()<>'"\\`$]+ | \\. | '[^']*' | "(?:[^"\\]|\\.)*"
                | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*` | \$\{[^}]*\} | \$ )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE = re.compile(
    r"""
      '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | \\(?P<escaped>.) | (?P<bare>[^'"\\]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?-([^}$]*))?\}|(\w+))")
_REFERENCE = re.compile(r"\$(\$?)\((\w+)\)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")

_OPENERS = frozenset({"if", "while", "until", "for", "case", "select"})
_CLOSERS = frozenset({"fi", "done", "esac"})
_JOINERS = frozenset(
    {"then", "do", "else", "elif", "!", "{", "}", "exec", "command", "time", "nohup"}
)


class Command(Struct, frozen=True):
    """One simple command of a script."""

    words: tuple[str, ...]
    operator: str
    """What came before it: empty, ``;``, ``&&``, ``||`` or ``|``."""
    depth: int
    """How many loops and conditions it is inside; 0 runs exactly once."""
    background: bool
    """Whether the script goes on without waiting for it."""

    @property
    def program(self) -> str:
        """Its name without folders; empty if it has no words."""
        return basename(self.words[0]) if self.words else ""


def basename(program: str) -> str:
    """Return a program's name without its folders."""
    return program.rsplit("/", 1)[-1]


def script_of(argv: Sequence[str]) -> str | None:
    """Return the script in ``[sh, -c, SCRIPT]``; None if ``argv`` is something else."""
    if not argv or basename(argv[0]) not in SHELLS:
        return None
    for index, word in enumerate(argv[1:-1], 1):
        if word.startswith("-") and not word.startswith("--") and "c" in word:
            return argv[index + 1]
    return None


def expand_references(text: str, env: Mapping[str, str]) -> str:
    """Expand Kubernetes' own ``$(NAME)``; what has no known value stays as it is."""
    if "$(" not in text:
        return text
    return _REFERENCE.sub(
        lambda found: f"$({found[2]})" if found[1] else env.get(found[2], found[0]), text
    )


def expand(text: str, env: Mapping[str, str]) -> str:
    """Expand ``$NAME``, ``${NAME}`` and ``${NAME:-default}`` where a value is known."""
    if "$" not in text:
        return text

    def value(found: re.Match[str]) -> str:
        known = env.get(found[1] or found[3])
        if known is not None:
            return known
        return found[2] if found[2] is not None else found[0]

    return _VARIABLE.sub(value, text)


def commands(script: str, env: Mapping[str, str] | None = None) -> tuple[Command, ...]:
    """Return a script's simple commands in the order in which they are written."""
    return _commands(script[:_MAX_SCRIPT], tuple((env or {}).items()) if "$" in script else ())


@lru_cache(maxsize=512)
def _commands(script: str, known: tuple[tuple[str, str], ...]) -> tuple[Command, ...]:
    reader = _Reader(dict(known))
    at = 0
    while at < len(script):
        token = _TOKEN.match(script, at)
        if token is None:
            at += 1  # a quote that is never closed
            continue
        at = token.end()
        reader.take(token.lastgroup or "", token[0])
    reader.close("")
    return tuple(reader.found)


class _Reader:
    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.found: list[Command] = []
        self.words: list[str] = []
        self.operator = ""
        self.depth = 0
        self.skip = False
        """Whether the next word is the target of a redirection."""

    def take(self, kind: str, token: str) -> None:
        if kind == "word":
            if not self.skip:
                self.words.append(_unquote(token, self.env))
            self.skip = False
        elif kind == "redirect":
            self.skip = not re.search(r"[<>]&", token)  # 2>&1 has its target in it
        elif kind == "operator":
            self.close(token)

    def close(self, after: str) -> None:
        """End the command that is being read; ``after`` is the operator behind it."""
        self.skip = False
        while self.words and self._keyword(self.words[0]):
            pass
        if self.words:
            words = tuple(self.words)
            self.found.append(Command(words, self.operator, self.depth, after == "&"))
        self.words = []
        self.operator = ";" if after in {"\n", "&", "(", ")", ";;"} else after

    def _keyword(self, first: str) -> bool:
        """Take a keyword or an assignment off the command; return whether there was one."""
        if first in _OPENERS:
            self.depth += 1
            self.words = [] if first in {"for", "case", "select"} else self.words[1:]
        elif first in _CLOSERS:
            self.depth = max(0, self.depth - 1)
            self.words = self.words[1:]
        elif first in _JOINERS:
            self.words = self.words[1:]
        elif _ASSIGNMENT.match(first):
            name, _, value = first.partition("=")
            if self.depth == 0:
                self.env[name] = value
            self.words = self.words[1:]
        else:
            return False
        return True


def _unquote(word: str, env: Mapping[str, str]) -> str:
    if "'" not in word and '"' not in word and "\\" not in word:
        return expand(word, env)
    parts: list[str] = []
    for piece in _PIECE.finditer(word):
        if piece["single"] is not None:
            parts.append(piece["single"])
        elif piece["escaped"] is not None:
            parts.append("" if piece["escaped"] == "\n" else piece["escaped"])
        elif piece["double"] is not None:
            parts.append(expand(re.sub(r'\\([\\"$`\n])', r"\1", piece["double"]), env))
        else:
            parts.append(expand(piece["bare"], env))
    return "".join(parts)
