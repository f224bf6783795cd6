"""Reads a preStop hook's loop over the engine's metrics: whether it goes on while streams run.

A loop that looks right may end at once: ``grep`` finds the metric's ``# HELP`` line, too, and ``[``
compares no fractions. So its condition is tried on what an engine answers when requests run, and
when none does. What can't be read that way is not taken for a wait.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.model import shell
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_SECONDS = regex(r"(\d+(?:\.\d+)?)([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_LOOP = regex(r"\b(?:while|until|for)\b")
_IN_FLIGHT = regex(
    r"num_requests_running|requests_running|num_running_reqs|tgi_batch_current_size|/metrics\b"
)
_WHOLE_LOOP = regex(
    r"\b(?P<kind>while|until|for)\s(?P<head>.*?)[;\n]\s*do\s(?P<body>.*?)[;\n]\s*done\b"
    r"(?P<after>.*)",
    re.DOTALL,
)
_OTHER_WAYS = regex(r"\b(?:if|case|while|until|for|exit|kill|pkill|killall|exec|return)\b|(&&|\|)$")
"""What before a loop may keep it from running."""
_TIMES = regex(r"\$\(seq (?:1 )?(\d+)\)|\{1\.\.(\d+)\}")
_COUNTED = regex(r"\s*\[ \"?\$\{?(\w+)\}?\"? -l(?:t|e) \"?(\d+)\"? \]\s*")
_LEAVES = regex(
    r"(?P<one>.*?)\s*&&\s*(?:break|exit(?: 0)?)\s*(?=;|\n|$)(?P<rest>.*)"
    r"|if\s(?P<other>.*?)[;\n]\s*then\s+(?:break|exit(?: 0)?)\s*[;\n]\s*fi\b(?P<last>.*)",
    re.DOTALL,
)
_SLEEP = regex(r"(?<![\w-])sleep\s+(\d+(?:\.\d+)?[smhd]?)(?![\w.$])")
_PLAIN_STEP = regex(
    r"sleep\s+[\d.]+[smhd]?|echo\b[^|&<>]*|true|:"
    r"|(\w+)=\$\(\(\s*\$?\1\s*\+\s*1\s*\)\)|\(\(\s*\w+\+\+\s*\)\)"
)
_TEST = regex(
    r"(?P<open>\[\[?|test)\s+(?P<quote>\"?)\$\((?P<asked>.*)\)(?P=quote)\s+"
    r"(?P<operator>==?|!=|-eq|-ne|-gt|-ge|-lt|-le)\s+(?P<value>\"[\w.]*\"|'[\w.]*'|[\w.]+)"
    r"(?:\s+\]\]?)?",
    re.DOTALL,
)
_WHOLE = regex(r"\s*[+-]?\d+\s*")
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "-eq": int.__eq__,
    "-ne": int.__ne__,
    "-gt": int.__gt__,
    "-ge": int.__ge__,
    "-lt": int.__lt__,
    "-le": int.__le__,
}
_AWK = regex(
    r"\s*(?:/(?P<pattern>(?:[^/\\]|\\.)*)/\s*)?\{\s*(?:print\s+(?P<field>\$2|\$NF)"
    r"|(?P<sum>\w+)\s*\+=\s*(?P<added>\$2|\$NF)\s*;?\s*\}\s*"
    r"END\s*\{\s*print\s+(?:(?P=sum)(?:\s*\+\s*0)?|int\((?P=sum)\)))\s*;?\s*\}\s*"
)
_MAX_PATTERN = 200
_MAX_REPEATS = 3
"""Repetitions in a pattern from a manifest; with more, a search could take for ever."""
_BUSY = ("1", "3", "10", "12")
"""Numbers of requests that are tried as running ones."""
_ENGINES = 2
"""Engines of a data-parallel server that are tried: one that has requests, and one that has none,
are all that a loop may tell apart."""


class Polling(Struct, frozen=True):
    """What a hook's loop over the engine's metrics does."""

    drains: bool
    """Whether it goes on while a request runs, until none does or ``most_s`` are over."""
    most_s: float
    """Seconds after which it surely ends; infinity without a bound, 0.0 without a loop."""
    ends: bool
    """Whether it surely ends while requests run."""
    why: str
    """What is wrong with it, or why that can't be told; empty if it drains or is no such loop."""


NONE = Polling(drains=False, most_s=0.0, ends=False, why="")


class _UnclearError(Exception):
    """A part of a script that can't be read."""


def polls(argv: Sequence[str]) -> bool:
    """Tell whether a command mentions a loop and the engine's metrics."""
    said = " ".join(argv)
    return bool(_LOOP.search(said) and _IN_FLIGHT.search(said))


def read(argv: Sequence[str], metric: str, path: str, *, parallel: bool = False) -> Polling:
    """Return what a command's loop over the engine's metrics does.

    Args:
        argv: The command.
        metric: The metric that counts the engine's running requests.
        path: Where the engine answers with its metrics.
        parallel: Whether the server has several engines, each of which counts its own.
    """
    if not polls(argv):
        return NONE
    most_s = math.inf
    try:
        script, most_s = _script(argv)
        loop = _whole_loop(script)
        until, condition, bound = _condition(loop)
        most_s = min(most_s, bound)

        def goes_on(*running: str) -> bool:
            return _succeeds(condition, _answer(metric, running), path) is not until

        wrong = (
            f"its loop over {path} ends while requests run"
            if metric in condition
            else f"its loop does not look at {metric}, so it ends while requests run"
        )
        found = _tried(goes_on, [(running,) for running in _BUSY], most_s, wrong)
        if not (parallel and found.drains):
            return found
        busy = [
            tuple(running if index == at else "0" for index in range(_ENGINES))
            for running in _BUSY
            for at in range(_ENGINES)
        ]
        return _tried(goes_on, busy, most_s, f"{wrong} on one of the server's engines")
    except _UnclearError as error:
        why = f"whether its loop over {path} waits for running requests can't be told: {error}"
        return Polling(drains=False, most_s=most_s, ends=False, why=why)


def seconds(word: str) -> float | None:
    """Return what ``sleep`` and ``timeout`` make of a word; None if it is no time."""
    if word in {"infinity", "inf"}:
        return math.inf
    found = _SECONDS.fullmatch(word)
    return float(found[1]) * _UNITS[found[2]] if found else None


def _tried(
    goes_on: Callable[..., bool], busy: Sequence[tuple[str, ...]], most_s: float, wrong: str
) -> Polling:
    went_on = [goes_on(*running) for running in busy]
    if not all(went_on):
        return Polling(drains=False, most_s=most_s, ends=not any(went_on), why=wrong)
    if goes_on(*["0"] * len(busy[0])):
        raise _UnclearError("it goes on when no request runs")
    return Polling(drains=True, most_s=most_s, ends=False, why="")


def _answer(metric: str, running: Sequence[str]) -> list[str]:
    """Return what a server answers with that many requests running on each engine, none waiting."""
    if metric.startswith("tgi_"):
        return [f"# TYPE {metric} gauge", f"{metric} {running[0]}", "tgi_queue_size 0"]
    labels = [
        f'{{engine="{index}",model_name="meta-llama/Llama-3.1-8B"}}'
        for index in range(len(running))
    ]
    waiting = re.sub(r"(?:num_)?(?:requests_running|running_reqs)", "num_requests_waiting", metric)
    return [
        "# HELP process_open_fds Number of open file descriptors.",
        "# TYPE process_open_fds gauge",
        "process_open_fds 65.0",
        f"# HELP {metric} Number of requests in model execution batches.",
        f"# TYPE {metric} gauge",
        *(f"{metric}{own} {count}.0" for own, count in zip(labels, running, strict=True)),
        f"# HELP {waiting} Number of requests waiting to be processed.",
        f"# TYPE {waiting} gauge",
        *(f"{waiting}{own} 0.0" for own in labels),
    ]


def _script(argv: Sequence[str]) -> tuple[str, float]:
    """Return the script with the loop, and the seconds that ``timeout`` leaves it."""
    script = shell.script_of(argv)
    if script is None:
        raise _UnclearError("it is no shell script")
    most_s = math.inf
    if shell.basename(argv[0]) == "timeout":
        most_s = next((s for word in argv[1:] if (s := seconds(word)) is not None), math.inf)
    for command in shell.commands(script):
        inner = shell.script_of(command.words)
        if inner is not None and polls([inner]):
            if command.depth or command.background or command.operator not in {"", ";"}:
                raise _UnclearError("it runs under a condition")
            found, limit = _script(command.words)
            return found, min(most_s, limit)
    return script, most_s


def _whole_loop(script: str) -> re.Match[str]:
    loop = _WHOLE_LOOP.search(script.replace("\\\n", " "))
    if loop is None or "#" in script:
        raise _UnclearError("it can't be read")
    before = loop.string[: loop.start()].rstrip(" ")
    if _OTHER_WAYS.search(before) or re.match(r"\s*&(?!&)", loop["after"]):
        raise _UnclearError("it may not run, or runs in the background")
    if _LOOP.search(loop["head"]) or _LOOP.search(loop["body"]):
        raise _UnclearError("it has another loop inside")
    return loop


def _condition(loop: re.Match[str]) -> tuple[bool, str, float]:
    """Return whether the condition ends the loop, the condition, the loop's most seconds."""
    head, body = loop["head"].strip(), loop["body"].strip()
    if loop["kind"] == "for":
        _, _, items = head.partition(" in ")
        found = _TIMES.fullmatch(items.strip())
        if found is None and re.search(r"[$`{*?\[]", items):
            raise _UnclearError(f"how often it runs can't be told from {items.strip()[:40]!r}")
        times = float(found[1] or found[2]) if found else len(items.split())
        return _leaving(body, times)
    if loop["kind"] == "while" and head in {"true", ":"}:
        return _leaving(body, math.inf)
    if not _plain(body):
        raise _UnclearError("it does more than sleep")
    parts = re.split(r"\s&&\s", head)
    counted = [found for part in parts if (found := _COUNTED.fullmatch(part))]
    asked = [part for part in parts if not _COUNTED.fullmatch(part)]
    if len(asked) != 1 or len(counted) > 1 or (counted and loop["kind"] == "until"):
        raise _UnclearError("it has more than one condition")
    bound = math.inf
    if counted:
        if counted[0][1] not in body:
            raise _UnclearError(f"nothing counts ${counted[0][1]} up")
        bound = float(counted[0][2]) * _slept(body)
    return loop["kind"] == "until", asked[0], bound


def _leaving(body: str, times: float) -> tuple[bool, str, float]:
    found = _LEAVES.fullmatch(body)
    if found is None or not _plain(found["rest"] or found["last"] or ""):
        raise _UnclearError("it does more than look and sleep")
    slept = _slept(body)
    return True, found["one"] or found["other"], times * slept if slept else times


def _plain(body: str) -> bool:
    steps = [step.strip() for step in re.split(r"[;\n]", body)]
    return all(_PLAIN_STEP.fullmatch(step) for step in steps if step)


def _slept(body: str) -> float:
    return sum(seconds(word) or 0.0 for word in _SLEEP.findall(body))


def _succeeds(condition: str, answer: Sequence[str], path: str) -> bool:
    """Tell whether a condition holds when the engine answers with these lines."""
    condition = condition.strip()
    if condition.startswith("! "):
        return not _succeeds(condition[2:], answer, path)
    found = _TEST.fullmatch(condition)
    if found is None:
        return _piped(condition, answer, path)[1]
    said = "\n".join(_piped(found["asked"], answer, path)[0])
    if not found["quote"] and found["open"] != "[[":
        if len(said.split()) != 1:
            return False  # too few or too many words: [ fails
        said = said.strip()
    return _compared(said, found["operator"], found["value"].strip("\"'"))


def _compared(said: str, operator: str, value: str) -> bool:
    if operator not in _COMPARE:
        return (said == value) is (operator != "!=")
    if not (_WHOLE.fullmatch(said) and _WHOLE.fullmatch(value)):
        return False  # [ compares whole numbers only, and fails
    return _COMPARE[operator](int(said), int(value))


def _piped(script: str, answer: Sequence[str], path: str) -> tuple[list[str], bool]:
    """Return the lines that a pipe from the engine's metrics ends with, and if it succeeds."""
    if re.search(r"[`<>]|\$\(", re.sub(r"\d?>&\d|\d?>\s*/dev/null", "", script)):
        raise _UnclearError("it can't be read")
    commands = shell.commands(script)
    if not commands:
        raise _UnclearError("it can't be read")
    lines, succeeded = list(answer), True
    for index, command in enumerate(commands):
        if command.depth or command.background or command.operator != ("|" if index else ""):
            raise _UnclearError("it has more than one condition")
        if index == 0:
            if not _asks(command.words, path):
                raise _UnclearError(f"it does not begin with curl or wget of {path}")
        elif command.program in {"grep", "egrep", "fgrep"}:
            lines, succeeded = _grep(command, lines)
        elif command.program in {"awk", "gawk", "mawk"}:
            lines, succeeded = _awk(command.words[1:], lines), True
        else:
            raise _UnclearError(f"what {command.program} makes of the metrics can't be told")
    return lines, succeeded


def _asks(words: Sequence[str], path: str) -> bool:
    if not any(path in word for word in words):
        return False
    prints = any(re.fullmatch(r"-[a-zA-Z]*O-?|--output-document=-", word) for word in words)
    program = shell.basename(words[0])
    return program == "curl" or (program == "wget" and prints)


def _grep(command: shell.Command, lines: Iterable[str]) -> tuple[list[str], bool]:
    options = "".join(word[1:] for word in command.words[1:] if word[:1] == "-")
    patterns = [word for word in command.words[1:] if word[:1] != "-"]
    if len(patterns) != 1 or not set(options) <= set("qsEFvih"):
        raise _UnclearError("what grep makes of the metrics can't be told")
    extended = "E" in options or command.program == "egrep"
    if "F" in options or command.program == "fgrep":
        pattern = re.compile(re.escape(patterns[0]))
    else:
        pattern = _pattern(patterns[0], extended=extended, ignore_case="i" in options)
    found = [line for line in lines if bool(pattern.search(line)) is not ("v" in options)]
    return ([] if "q" in options else found), bool(found)


def _awk(words: Sequence[str], lines: Sequence[str]) -> list[str]:
    program = _AWK.fullmatch(words[0]) if len(words) == 1 else None
    if program is None:
        raise _UnclearError("what awk makes of the metrics can't be told")
    if program["pattern"]:
        pattern = _pattern(program["pattern"].replace("\\/", "/"), extended=True)
        lines = [line for line in lines if pattern.search(line)]
    field = partial(_field, name=program["field"] or program["added"])
    if program["field"]:
        return [field(line) for line in lines]
    total = sum(float(text) for line in lines if re.fullmatch(r"[\d.]+", text := field(line)))
    return [f"{total:g}"]


def _field(line: str, name: str) -> str:
    words = line.split()
    if name == "$NF":
        return words[-1]
    return words[1] if len(words) > 1 else ""


def _pattern(written: str, *, extended: bool, ignore_case: bool = False) -> re.Pattern[str]:
    """Return a pattern of grep or awk, if it is one that Python reads in the same way."""
    text = written.replace("[[:digit:]]", "[0-9]").replace("[[:space:]]", r"\s")
    repeats = len(re.findall(r"[*+]", text))
    if (
        len(text) > _MAX_PATTERN
        or repeats > _MAX_REPEATS
        or re.search(r"\)[*+?{]|\{\d|\[:", text)
        or re.search(r"\\[^.\[\]*^$/s{}|-]" if extended else r"\\[^.\[\]*^$/s-]", text)
    ):
        raise _UnclearError(f"what the pattern {written[:40]!r} finds can't be told")
    if not extended:
        text = re.sub(r"(\[[^\]]*\])|([+?{}()|])", lambda m: m[1] or f"\\{m[2]}", text)
    try:
        return re.compile(text, re.IGNORECASE if ignore_case else 0)
    except re.error:
        raise _UnclearError(f"the pattern {written[:40]!r} can't be read") from None
