"""Writes an audit for people: grouped by workload, the worst first, with tallies and fixes."""

from __future__ import annotations

import os
from collections import Counter
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from drainproof.judge.verdict import Verdict
from drainproof.model.workload import Workload
from drainproof.report import folded
from drainproof.report.folded import folds
from drainproof.report.rows import WORDS, grouped
from drainproof.report.text import no_command, plural, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TextIO

    from drainproof.judge.audit import AuditResult
    from drainproof.model.finding import Located
    from drainproof.report.rows import Row, Rows

WIDTH = 100
"""Columns that a line takes at most, also where there are more: what is longer is hard to read."""
NARROWEST = 40
INDENT = 6
_PAD = " " * INDENT
_COMMON = 10
"""How many of the most frequent checks the last tally lists."""
_STYLES = {"red": "31", "yellow": "33", "green": "32", "magenta": "35", "bold": "1", "dim": "2"}
_WORD_STYLES = dict(zip(WORDS, ("red", "yellow", "magenta", "dim"), strict=True))
_ORDER = {word: place for place, word in enumerate(WORDS)}


def coloured(out: TextIO) -> bool:
    """Tell whether colours are wanted: on a terminal, unless NO_COLOR is set."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width(out: TextIO) -> int:
    """Return how many columns a line may take there: those of the terminal, if it is one."""
    if not out.isatty():
        return WIDTH
    try:
        columns = os.get_terminal_size(out.fileno()).columns
    except (OSError, ValueError):  # it only passes for a terminal
        return WIDTH
    return min(max(columns, NARROWEST), WIDTH) if columns else WIDTH


def lines(
    result: AuditResult, rows: Rows, *, colour: bool = False, columns: int = WIDTH
) -> Iterator[str]:
    """Return the report, line by line; what can be broken is in so many columns."""
    return _Report(result, rows, colour=colour, columns=columns).lines()


def tally(result: AuditResult, rows: Rows) -> list[tuple[str, str]]:
    """Return how many findings there are of each kind, in words, each with its kind's word."""
    counts: Counter[str] = Counter()
    for (word, _), count in rows.counts.items():
        counts[word] += count.findings
    said = [(counted(counts[word], word), word) for word in WORDS if counts[word]]
    if result.known:
        as_before = f"as on {result.since}" if result.since else "in the baseline"
        said.append((f"{result.known} {as_before}", "waived"))
    if rows.problems and not result.unread:
        said.append(("nothing judged", "error"))
    elif rows.problems:
        said.append((f"{plural(len(rows.problems), 'input')} unreadable", "error"))
    return said


def counted(count: int, word: str) -> str:
    """Write how many findings there are of a kind: ``2 errors``, ``2 waived``."""
    return plural(count, word) if word in {"error", "warning"} else f"{count} {word}"


def looked_at(result: AuditResult) -> str:
    """Return what the audit looked at, as a sentence."""
    snapshot = result.snapshot
    workloads = plural(len(snapshot.workloads), "LLM workload")
    files = f" in {plural(snapshot.files, 'file')}" if snapshot.files else ""
    source = f" in {snapshot.source}" if snapshot.source else ""
    others = f", {plural(snapshot.other_workloads, 'other')} left alone"
    others = others if snapshot.other_workloads else ""
    calls = f"; {plural(snapshot.calls.total(), 'API call')}" if snapshot.calls else ""
    without = f" Not run without --prometheus: {_slugs(result)}." if result.not_run else ""
    unjudged = "".join(f" Not judged: {who.ref}: {why}." for who, why in snapshot.unjudged)
    return (
        f"{workloads}{files}{source}{others}; profile {result.profile}{calls}.{without}{unjudged}"
    )


def _slugs(result: AuditResult) -> str:
    return ", ".join(item.slug for item in result.not_run)


def ran_on(result: AuditResult) -> list[tuple[Located, int]]:
    """Return each subject once, with the number of checks that ran on it."""
    subjects = {id(subject): subject for subject, _ in result.judged}
    counts: Counter[int] = Counter()
    for subject, checks in result.judged:
        counts[id(subject)] += len(checks)
    return [(subject, counts[key]) for key, subject in subjects.items()]


class _Report:
    def __init__(self, result: AuditResult, rows: Rows, *, colour: bool, columns: int) -> None:
        self.result = result
        self.rows = rows
        self.colour = colour
        self.wrapped = partial(wrapped, room=columns - INDENT)
        self.fixed: set[tuple[str, str]] = set()
        """Checks with the fixes that were said already."""
        self.heads: dict[tuple[str, str], str] = {}
        """How a finding of a check begins, by the check's slug and the finding's word."""

    def lines(self) -> Iterator[str]:
        if folds(self.result):
            yield from folded.lines(self.rows, self._paint, self.wrapped, _WORD_STYLES)
            yield from self._problems()
        else:
            yield from self._by_workload()
        said = tally(self.result, self.rows)
        counts = ", ".join(self._paint(text, _WORD_STYLES[word]) for text, word in said)
        yield f"{counts or self._paint('no findings', 'green')}. {looked_at(self.result)}"
        if self.result.since:
            yield from (printable(f"gone: {line}") for line in self.result.went)
        elif self.result.gone:
            gone = plural(self.result.gone, "finding")
            are = "is" if self.result.gone == 1 else "are"
            yield f"{gone} of the baseline {are} gone: write it anew with --write-baseline."

    def _by_workload(self) -> Iterator[str]:
        rows = grouped(self.rows.findings, lambda row: row.outcome.subject)
        assumed = grouped(self.rows.assumptions, lambda row: row.outcome.subject)
        bare = False
        """Whether the last line was a heading alone, which needs no blank line before the next."""
        failed = Counter(
            id(item.subject) for item in self.result.notable if item.verdict is not Verdict.PASS
        )
        for subject, ran in ran_on(self.result):
            listed = rows.get(id(subject), ())
            body = [*self._findings(listed), *self._assumed(assumed.get(id(subject), ()))]
            if body and bare:
                yield ""
            yield self._heading(subject, listed, ran - failed[id(subject)], ran)
            yield from body
            bare = not body
            if body:
                yield ""
        if bare:
            yield ""
        yield from self._problems()
        yield from self._common(len(rows))

    def _problems(self) -> Iterator[str]:
        for problem in self.rows.problems:
            yield f"{self._paint('error:', 'red')} {printable(problem.said)}"
            if problem.hint:
                yield f"  {self._paint('hint:', 'bold')} {printable(problem.hint)}"
        if self.rows.problems:
            yield ""

    def _heading(self, subject: Located, listed: Sequence[Row], passed: int, ran: int) -> str:
        about = []
        if isinstance(subject, Workload) and subject.engine:
            about.append(subject.engine.label)
        words = Counter(row.word for row in listed)
        about += [counted(words[word], word) for word in WORDS if words[word]]
        if isinstance(subject, Workload):
            about.append(f"{passed} of {ran} checks pass")
        name = self._paint(printable(subject.ref), "bold")
        where = self._paint(printable(subject.file), "dim")
        return "  ".join(part for part in (name, printable(", ".join(about)), where) if part)

    def _findings(self, listed: Iterable[Row]) -> Iterator[str]:
        for row in sorted(listed, key=lambda row: _ORDER[row.word]):
            item, check, word = row.finding, row.outcome.check, row.word
            if (check.slug, word) not in self.heads:
                label = self._paint(word, _WORD_STYLES[word])
                head = f"  {label}  {self._paint(check.slug, 'bold')} {check.id}"
                self.heads[check.slug, word] = head
            place = self._paint(printable(row.place), "dim")
            yield f"{self.heads[check.slug, word]}  {place}"
            if item.path:
                yield _PAD + self._paint(printable(item.path), "dim")
            yield from self.wrapped(printable(item.message))
            if row.outcome.waiver is None:
                if (check.slug, row.fix) in self.fixed:
                    continue
                self.fixed.add((check.slug, row.fix))
            if row.last:
                yield from self.wrapped(printable(row.last))

    def _assumed(self, listed: Iterable[Row]) -> Iterator[str]:
        for row in listed:
            check = row.outcome.check
            yield f"  {self._paint('assumed', 'dim')}  {check.slug} {check.id}"
            yield from self.wrapped(printable(row.finding.message))

    def _common(self, workloads: int) -> Iterator[str]:
        """Yield the most frequent checks, where several workloads have findings."""
        counts = Counter(
            (row.outcome.check.slug, row.outcome.check.id, row.word)
            for row in self.rows.findings
            if row.finding.verdict is not Verdict.WAIVED
        )
        if workloads < 2 or len(counts) < 2:  # noqa: PLR2004 - several
            return
        shown = counts.most_common(_COMMON)
        width = max(len(str(count)) for _, count in shown)
        for (slug, check_id, word), count in shown:
            label = self._paint(f"{word:<12}", _WORD_STYLES[word])
            yield f"{count:>{width}}  {label}  {slug} {check_id}"
        if len(counts) > len(shown):
            yield f"{'…':>{width}}  and {len(counts) - len(shown)} more"
        yield ""

    def _paint(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and text else text


@lru_cache(maxsize=256)  # workloads of a kind have findings that say the same
def wrapped(text: str, room: int = WIDTH - INDENT) -> tuple[str, ...]:
    """Return a text in indented lines, of which none can be taken for a workflow command."""
    lines: list[str] = []
    while len(text) > room:
        cut = text.rfind(" ", 1, room + 1)
        if cut < 0:  # one long word
            cut = text.find(" ", room)
            if cut < 0:
                break
        lines.append(text[:cut])
        text = text[cut + 1 :]
    lines.append(text)
    return tuple(no_command(_PAD + line) for line in lines)
