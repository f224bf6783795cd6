"""Writes an audit as one HTML page that needs nothing else: no script, no font, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import orjson

from drainproof import __version__
from drainproof.judge.verdict import Verdict
from drainproof.report.rows import WORDS, grouped
from drainproof.report.terminal import looked_at, tally
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.report.rows import Row, Rows

_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --dim: #59636e; --error: #cf222e;
  --warning: #9a6700; --inconclusive: #8250df; --waived: #59636e; --good: #1a7f37; }
@media (prefers-color-scheme: dark) { :root { --line: #3d444d; --dim: #9198a1; --error: #f85149;
  --warning: #d29922; --inconclusive: #ab7df8; --waived: #9198a1; --good: #3fb950; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0; display: inline; }
code, .place { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
.dim, .place { color: var(--dim); }
details { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; padding: .6rem 1rem; }
summary { cursor: pointer; }
article { border-top: 1px solid var(--line); margin-top: .8rem; padding-top: .8rem; }
article p { margin: .2rem 0; }
.word { font-weight: 600; } .good { color: var(--good); }
""" + "\n".join(f".{word} {{ color: var(--{word}); }}" for word in WORDS)


def write(result: AuditResult, rows: Rows) -> str:
    """Return the page."""
    return "\n".join(_lines(result, rows)) + "\n"


def _lines(result: AuditResult, rows: Rows) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield (
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    )
    yield f"<title>drainproof audit</title><style>{_STYLE}</style></head><body>"
    said = [f'<span class="{word}">{text(count)}</span>' for count, word in tally(result, rows)]
    yield f"<h1>{', '.join(said) or '<span class=good>no findings</span>'}</h1>"
    yield f'<p class="dim">{text(looked_at(result))} drainproof {__version__}.</p>'
    for item in rows.problems:
        yield f'<p><span class="word error">unreadable</span> {text(item.said)} '
        yield f'<span class="dim">{text(item.hint)}</span></p>'
    findings = grouped(rows.findings, lambda row: row.outcome.subject)
    assumed = grouped(rows.assumptions, lambda row: row.outcome.subject)
    for key, outcomes in grouped(result.outcomes, lambda outcome: outcome.subject).items():
        yield from _subject(outcomes, findings.get(key, []), assumed.get(key, []))
    yield "</body></html>"


def _subject(outcomes: list[Outcome], listed: list[Row], assumed: list[Row]) -> Iterator[str]:
    subject = outcomes[0].subject
    passed = [outcome.check.slug for outcome in outcomes if outcome.verdict is Verdict.PASS]
    yield f"<details{' open' if listed else ''}><summary><h2>{text(subject.ref)}</h2> "
    yield f'<span class="dim">{len(passed)} of {len(outcomes)} checks pass</span> '
    yield f'<span class="place">{text(subject.file)}</span></summary>'
    for row in sorted(listed, key=lambda row: WORDS.index(row.word)):
        yield from _finding(row)
    for row in assumed:
        yield f'<article><p><span class="word dim">assumed</span> {row.outcome.check.slug}</p>'
        yield f"<p>{text(row.finding.message)}</p></article>"
    if passed:
        yield f'<article class="dim"><p>passed: {text(", ".join(passed))}</p></article>'
    yield "</details>"


def _finding(row: Row) -> Iterator[str]:
    item, check, waiver = row.finding, row.outcome.check, row.outcome.waiver
    yield f'<article><p><span class="word {row.word}">{row.word}</span> '
    yield f'<b>{text(check.slug)}</b> {check.id} <span class="place">{text(row.place)}</span></p>'
    if item.path:
        value = "" if row.found is None else f": {text(_json(row.found))}"
        yield f"<p><code>{text(item.path)}{value}</code></p>"
    yield f"<p>{text(item.message)}</p>"
    last = f"waived: {waiver.said}" if waiver else f"fix: {row.fix}"
    yield f'<p class="dim">{text(last)}</p></article>'


def _json(value: Any) -> str:  # noqa: ANN401 - any part of a manifest
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def text(said: str) -> str:
    """Return a text that a browser shows as it is."""
    return escape(printable(said), quote=True)
