"""Writes an audit as one HTML page that needs nothing else: workloads by checks, to search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from drainproof import __version__
from drainproof.judge.verdict import Severity, Verdict
from drainproof.report.page import page, shown
from drainproof.report.rows import WORDS, grouped
from drainproof.report.terminal import looked_at, tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.report.rows import Row, Rows

PASSED: Final = len(WORDS)
"""What a cell says of a check that passed, after the places of :data:`WORDS`."""
NOT_RUN: Final = PASSED + 1
"""What a cell says of a check that does not apply."""
_ASSUMED: Final = PASSED
"""What a finding's word is if a pass rests on it."""


class _Texts:
    """Each text once, since findings of a thousand workloads say the same."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def write(result: AuditResult, rows: Rows) -> str:
    """Return the page."""
    texts = _Texts()
    checks = {check.slug: place for place, check in enumerate(result.checks)}
    listed = grouped((*rows.findings, *rows.assumptions), lambda row: row.outcome.subject)
    outcomes = grouped(result.outcomes, lambda outcome: outcome.subject)
    subjects = [
        _subject(found, listed.get(key, []), checks, texts) for key, found in outcomes.items()
    ]
    known = {outcome.check.slug: outcome.check for found in outcomes.values() for outcome in found}
    data = {
        "tally": [[f"{said}", word] for said, word in tally(result, rows)],
        "looked_at": f"{looked_at(result)} drainproof {__version__}.",
        "problems": [[item.said, item.hint] for item in rows.problems],
        "words": [*WORDS, "pass", "not run"],
        "checks": [
            [slug, known[slug].id, known[slug].title, known[slug].severity.value] for slug in checks
        ],
        "subjects": subjects,
        "texts": list(texts.places),
    }
    return page("drainproof audit", "audit", shown(data))


def _subject(
    outcomes: list[Outcome], listed: list[Row], checks: dict[str, int], texts: _Texts
) -> dict[str, Any]:
    subject = outcomes[0].subject
    cells = [NOT_RUN] * len(checks)
    for outcome in outcomes:
        cells[checks[outcome.check.slug]] = _cell(outcome)
    for row in listed:
        place = checks[row.outcome.check.slug]
        if row.word in WORDS:
            cells[place] = min(cells[place], WORDS.index(row.word))
    return {
        **({"cluster": subject.cluster} if subject.cluster else {}),
        "kind": subject.kind,
        "namespace": subject.namespace,
        "name": subject.name,
        "file": subject.file,
        "cells": "".join(map(str, cells)),
        "findings": [_finding(row, checks, texts) for row in _worst_first(listed)],
    }


def _cell(outcome: Outcome) -> int:
    """Return what a check says of a subject, before its findings are looked at."""
    if outcome.verdict is Verdict.FAIL:
        return len(WORDS) if outcome.findings else WORDS.index(Severity.ERROR.value)
    return PASSED if outcome.verdict is Verdict.PASS else WORDS.index(outcome.verdict.value)


def _word(row: Row) -> int:
    return WORDS.index(row.word) if row.word in WORDS else _ASSUMED


def _worst_first(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=_word)


def _finding(row: Row, checks: dict[str, int], texts: _Texts) -> list[Any]:
    """Return check, word and severity, and place, path with value, message and what to do."""
    item = row.finding
    value = "" if row.found is None else f": {_json(row.found)}"
    said = (row.place, f"{item.path}{value}" if item.path else "", item.message, row.last)
    return [
        checks[row.outcome.check.slug],
        _word(row),
        row.severity.value,
        *map(texts, said),
    ]


def _json(value: Any) -> str:  # noqa: ANN401 - any part of a manifest
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
