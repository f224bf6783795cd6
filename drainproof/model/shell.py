"""Reads shell scripts well enough to see which commands run, in what order, with which words.

Manifests start engines and delay shutdown through ``sh -c`` strings. This is no shell: it knows
quoting, continuations, comments, redirections, variables and lists with a known value, and which
commands are inside loops and conditions. What it does not know, it leaves as it is written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
INITS = frozenset({"tini", "tini-static", "dumb-init", "catatonit", "docker-init"})
"""First processes that pass SIGTERM on to their child, and end when it ends."""
PREFIXES = frozenset(
    {"env", "nice", "ionice", "nohup", "numactl", "taskset", "chrt", "stdbuf", "timeout", "gosu"}
)
"""Programs that become the command behind them, or pass SIGTERM on to it."""
_BEFORE = INITS | PREFIXES
_MAX_SCRIPT = 64 * 1024
"""Characters of a script that are read; longer ones hold data, not commands."""
_MAX_VALUE = 16 * 1024
"""Characters of a variable's value; a longer one is not filled in."""
_MAX_REFERENCES = 64
"""Variables in one word; a word with more is left as it is written."""
MAX_GROWTH = 256 * 1024
"""Characters that filling in variables may add: ``A=$A$A`` doubles each time."""

_TOKEN = regex(
    r"""
      (?P<blank> \\\r?\n | [ \t\r]+ )
    | (?P<comment> \#[^\n]* )
    | (?P<redirect> \d*(?: &>>? | [<>]&\d*-? | >> | <<<? | [<>] )[ \t]* )
    | (?P<operator> && | \|\| | ;; | [;&|()\n] )
    | (?P<word> (?: [^\s;&|()<>'"\\`$]+ | \\. | '[^']*' | "(?:[^"\\]|\\.)*"
                | \$\((?:[^()]|\([^()]*\))*\) | `[^`]*` | \$\{(?:[^{}]|\{[^{}]*\})*\} | \$ )+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_PIECE = regex(
    r"""
      '(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | \\(?P<escaped>.) | (?P<bare>[^'"\\]+)
    """,
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = regex(r"\$(?:\{(\w+)(?::?-([^}$]*))?\}|(\w+))")
_REFERENCE = regex(r"\$(\$?)\((\w+)\)")
_ASSIGNMENT = regex(r"([A-Za-z_]\w*)(\+?)=")
_WHOLE_VARIABLE = regex(r"\$(?:\w+|\{\w+(?::?-[^}$]*)?\})")
"""A word that is one variable without quotes: the shell splits its value into words."""
_WHOLE_LIST = regex(r"\"?\$(?:([@*])|\{([@*])\}|\{(\w+)\[[@*]\]\})\"?")
_DECLARES = frozenset({"export", "declare", "readonly", "typeset", "local"})
_SURE = _DECLARES | {"", "set", "cd", "echo", "true", ":", "source", ".", "ulimit", "unset"}
"""Programs that hardly fail, so that what follows ``&&`` runs; empty is an assignment."""

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


def shell_at(argv: Sequence[str]) -> int | None:
    """Return which word is the shell, if it comes first or behind what only prepares for it."""
    for index, word in enumerate(argv):
        program = basename(word)
        if program in SHELLS:
            return index
        if index == 0 and program not in _BEFORE:
            return None
    return None


def script_of(argv: Sequence[str]) -> str | None:
    """Return the script in ``[sh, -c, SCRIPT]``; None if ``argv`` is something else."""
    at = _script_at(argv)
    return None if at is None else argv[at]


def arguments_of(argv: Sequence[str]) -> tuple[str, ...]:
    """Return what the script in ``[sh, -c, SCRIPT, NAME, ARGUMENT…]`` knows as ``$@``."""
    at = _script_at(argv)
    return () if at is None else tuple(argv[at + 2 :])


def _script_at(argv: Sequence[str]) -> int | None:
    at = shell_at(argv)
    if at is None:
        return None
    asked = skip = False
    for index in range(at + 1, len(argv)):
        word = argv[index]
        if skip:
            skip = False
        elif word == "--":
            return index + 1 if asked and index + 1 < len(argv) else None
        elif word.startswith(("-", "+")):
            asked = asked or ("c" in word and not word.startswith("--"))
            skip = word[-1:] == "o" and not word.startswith("--")
        elif asked:
            return index
        elif basename(word) not in SHELLS:  # busybox sh
            return None
    return None


def expand_references(text: str, env: Mapping[str, str]) -> str:
    """Expand Kubernetes' own ``$(NAME)``; what has no known value stays as it is."""
    if "$(" not in text or text.count("$(") > _MAX_REFERENCES:
        return text

    def value(found: re.Match[str]) -> str:
        if found[1]:
            return f"$({found[2]})"
        known = env.get(found[2])
        return found[0] if known is None or len(known) > _MAX_VALUE else known

    return _REFERENCE.sub(value, text)


def expand_words(words: Iterable[str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Expand Kubernetes' own ``$(NAME)`` in each word; the last ones stay if it gets too much."""
    expanded: list[str] = []
    growth = 0
    for word in words:
        expanded.append(expand_references(word, env) if growth < MAX_GROWTH else word)
        growth += len(expanded[-1]) - len(word)
    return tuple(expanded)


def expand(text: str, env: Mapping[str, str]) -> str:
    """Expand ``$NAME``, ``${NAME}`` and ``${NAME:-default}`` where a value is known."""
    if "$" not in text or text.count("$") > _MAX_REFERENCES:
        return text

    def value(found: re.Match[str]) -> str:
        known = env.get(found[1] or found[3])
        if known is not None:
            return known if len(known) <= _MAX_VALUE else found[0]
        return found[2] if found[2] is not None else found[0]

    return _VARIABLE.sub(value, text)


def commands(
    script: str, env: Mapping[str, str] | None = None, arguments: Sequence[str] | None = None
) -> tuple[Command, ...]:
    """Return a script's simple commands in the order in which they are written.

    Args:
        script: The script.
        env: Variables whose value is known.
        arguments: What the script knows as ``$@``; None is not known.
    """
    script = script[:_MAX_SCRIPT]
    if "$" not in script:
        return _read(script, (), None)[0]
    known = tuple((env or {}).items())
    return _read(script, known, None if arguments is None else tuple(arguments))[0]


def assignments(script: str) -> tuple[tuple[str, str], ...]:
    """Return the variables that a script sets, each with what it is set to."""
    return _read(script[:_MAX_SCRIPT], (), None)[1]


@lru_cache(maxsize=512)
def _read(
    script: str, known: tuple[tuple[str, str], ...], arguments: tuple[str, ...] | None
) -> tuple[tuple[Command, ...], tuple[tuple[str, str], ...]]:
    reader = _Reader(dict(known), arguments)
    at = 0
    while at < len(script):
        token = _TOKEN.match(script, at)
        if token is None:
            at += 1  # a quote that is never closed
            continue
        at = token.end()
        reader.take(token.lastgroup or "", token[0])
    reader.close("")
    return tuple(reader.found), tuple(reader.assigned)


class _Reader:
    def __init__(self, env: dict[str, str], arguments: tuple[str, ...] | None) -> None:
        self.env = env
        self.lists = {} if arguments is None else dict.fromkeys("@*", arguments)
        """Arrays by name, and the script's own arguments."""
        self.found: list[Command] = []
        self.assigned: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.operator = ""
        self.depth = 0
        self.growth = 0
        """Characters that variables have been filled in with."""
        self.skip = False
        """Whether the next word is the target of a redirection."""
        self.list: list[str] | None = None
        """The items of the array that is being read."""
        self.sure = True
        """Whether all that came before in this chain of ``&&`` surely succeeds."""
        self.in_chain: set[str] = set()
        """Variables that have their value only where the chain has come that far."""

    def take(self, kind: str, written: str) -> None:
        if self.list is not None:
            if kind == "word":
                self.list += self._expanded(written)
            elif written == ")":
                self._end_list()
        elif kind == "word":
            if not self.skip:
                self.words += self._expanded(written)
            self.skip = False
        elif kind == "redirect":
            self.skip = not re.search(r"[<>]&", written)  # 2>&1 has its target in it
        elif kind == "operator":
            if written == "(" and self.words and _ASSIGNMENT.fullmatch(self.words[-1]):
                self.list = []
            else:
                self.close(written)

    def close(self, after: str) -> None:
        """End the command that is being read; ``after`` is the operator behind it."""
        self.skip = False
        while self.words and self._keyword(self.words[0]):
            pass
        if self.words:
            words = tuple(self.words)
            command = Command(words, self.operator, self.depth, after == "&")
            self.found.append(command)
            if command.program in _DECLARES:
                for word in words[1:]:
                    self._assign(word)
            self.sure = self.sure and command.program in _SURE
        self.words = []
        self.operator = ";" if after in {"\n", "&", "(", ")", ";;"} else after
        if self.operator == ";":
            self._end_chain()

    def _end_chain(self) -> None:
        for name in self.in_chain:
            self._forget(name)
        self.in_chain.clear()
        self.sure = True

    def _end_list(self) -> None:
        word, items = self.words.pop(), tuple(self.list or ())
        self.list = None
        found = _ASSIGNMENT.match(word)
        if found is None:
            return
        name, more = found[1], found[2]
        if not more:
            self.lists[name] = items
        elif name in self.lists:
            self.lists[name] += items
        self._weigh(name)

    def _assign(self, word: str) -> bool:
        """Take a value from a word, if it is an assignment; return whether it is one."""
        found = _ASSIGNMENT.match(word)
        if found is None:
            return False
        name, value = found[1], word[found.end() :]
        self.assigned.append((name, value))
        if found[2]:
            value = self.env.get(name, f"${name}") + value
        self.env[name] = value
        if "$(" in value or "`" in value:
            self._forget(name)
        self._weigh(name)
        return True

    def _weigh(self, name: str) -> None:
        """Forget what was just assigned, now or later, unless it surely is."""
        if self.depth or self.operator in {"||", "|"}:
            self._forget(name)
        elif self.operator == "&&" and not self.sure:
            self.in_chain.add(name)

    def _forget(self, name: str) -> None:
        self.env[name] = f"${name}"  # as it is written, where it is used
        self.lists.pop(name, None)

    def _expanded(self, token: str) -> list[str]:
        """Return the words that a word of the script stands for."""
        found = self._filled_in(token)
        if "$" in token:
            self.growth += sum(map(len, found)) + len(found)
        return found

    def _filled_in(self, token: str) -> list[str]:
        if "$" in token and self.growth < MAX_GROWTH:
            found = _WHOLE_LIST.fullmatch(token)
            items = self.lists.get(found[1] or found[2] or found[3]) if found else None
            if items is not None:
                return list(items)
            if _WHOLE_VARIABLE.fullmatch(token):
                value = expand(token, self.env)
                return [value] if "$" in value else value.split()
        return [_unquote(token, self.env if self.growth < MAX_GROWTH else {})]

    def _keyword(self, first: str) -> bool:
        """Take a keyword or an assignment off the command; return whether there was one."""
        if first in _OPENERS:
            self.depth += 1
            self.words = [] if first in {"for", "case", "select"} else self.words[1:]
        elif first in _CLOSERS:
            self.depth = max(0, self.depth - 1)
            self.words = self.words[1:]
        elif first in _JOINERS or self._assign(first):
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
            text = re.sub(r"\\\r?\n", "", piece["double"])
            parts.append(expand(re.sub(r'\\([\\"$`])', r"\1", text), env))
        else:
            parts.append(expand(piece["bare"], env))
    return "".join(parts)
