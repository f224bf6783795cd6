"""Writes the audit of many workloads for people: grouped by check, each with a few examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.report.rows import WORDS
from drainproof.report.text import plural, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from drainproof.judge.audit import AuditResult
    from drainproof.report.rows import Row, Rows

FOLD_OVER = 50
"""More workloads with findings than anybody scrolls through: they are listed by check then."""
EXAMPLES = 3
"""Places that are shown of each check."""


def folds(result: AuditResult) -> bool:
    """Tell whether so many workloads have findings that they are listed by check."""
    return len({id(outcome.subject) for outcome in result.notable if outcome.findings}) > FOLD_OVER


def lines(
    rows: Rows,
    paint: Callable[[str, str], str],
    wrapped: Callable[[str], Sequence[str]],
    styles: dict[str, str],
) -> Iterator[str]:
    """Yield the findings, the worst and then the most frequent first.

    Args:
        rows: The findings, of which the first :data:`EXAMPLES` of each check and word are shown.
        paint: Colours a text in a style.
        wrapped: Breaks a text into indented lines.
        styles: The style of each word.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows.findings:
        groups.setdefault((row.word, row.outcome.check.slug), []).append(row)
    order = {word: place for place, word in enumerate(WORDS)}
    for key in sorted(
        rows.counts, key=lambda key: (order[key[0]], -rows.counts[key].findings, key)
    ):
        (word, slug), listed = key, groups[key][:EXAMPLES]
        count = rows.counts[key]
        first = listed[0]
        said = f"{plural(count.findings, 'finding')} on {plural(count.workloads, 'workload')}"
        head = f"{paint(word, styles[word])}  {paint(slug, 'bold')} {first.outcome.check.id}"
        yield f"{head}  {said}"
        yield from wrapped(printable(first.finding.message))
        if first.last and first.outcome.waiver is None:
            yield from wrapped(printable(first.last))
        for row in listed:
            place = f"{row.place}  {row.outcome.subject.ref}  {row.finding.path}"
            yield f"      {paint(printable(place.rstrip()), 'dim')}"
        if count.findings > len(listed):
            yield f"      {paint(f'… and {count.findings - len(listed)} more', 'dim')}"
        yield ""
    yield "Listed by check, since so many workloads have findings; --format json lists every one."
    yield ""
