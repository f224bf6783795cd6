"""Writes an audit as JUnit XML, as CI servers read it: a suite a workload, a case a check."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from drainproof.judge.verdict import Verdict
from drainproof.report.rows import grouped
from drainproof.report.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.judge.audit import AuditResult, Outcome
    from drainproof.report.rows import Row, Rows


def write(result: AuditResult, rows: Rows) -> str:
    """Return the report. Findings below ``fail_on`` pass, and are in their case's output."""
    by_outcome: dict[int, list[Row]] = {}
    for row in (*rows.findings, *rows.assumptions):
        by_outcome.setdefault(id(row.outcome), []).append(row)
    top = ET.Element("testsuites", name="drainproof")
    for outcomes in grouped(result.outcomes, lambda outcome: outcome.subject).values():
        subject = outcomes[0].subject
        suite = ET.SubElement(top, "testsuite", name=printable(subject.ref))
        properties = ET.SubElement(suite, "properties")
        for name, value in (("profile", result.profile), ("file", subject.file)):
            ET.SubElement(properties, "property", name=name, value=printable(value))
        for outcome in outcomes:
            _case(suite, result, outcome, by_outcome.get(id(outcome), ()))
        _count(suite)
    if rows.problems:
        suite = ET.SubElement(top, "testsuite", name="input")
        for item in rows.problems:
            place = f"{item.file}:{item.line}" if item.line else item.file
            case = ET.SubElement(
                suite, "testcase", classname="input", name=printable(place or "input")
            )
            _say(
                ET.SubElement(case, "error"),
                item.message,
                f"{printable(item.said)}\n{printable(item.hint)}",
                "input",
            )
        _count(suite)
    if result.snapshot.unjudged:
        suite = ET.SubElement(top, "testsuite", name="not judged")
        for who, why in result.snapshot.unjudged:
            name = printable(who.ref)
            case = ET.SubElement(suite, "testcase", classname="not judged", name=name)
            ET.SubElement(case, "skipped", message=printable(f"not judged: {why}"))
        _count(suite)
    for name in ("tests", "failures", "errors", "skipped"):
        top.set(name, str(sum(int(suite.get(name, "0")) for suite in top)))
    ET.indent(top)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(top, encoding="unicode") + "\n"


def _case(suite: ET.Element, result: AuditResult, outcome: Outcome, listed: Sequence[Row]) -> None:
    check = outcome.check
    case = ET.SubElement(
        suite, "testcase", classname=printable(outcome.subject.ref), name=check.slug
    )
    ET.SubElement(ET.SubElement(case, "properties"), "property", name="check_id", value=check.id)
    first = next((row for row in listed if row.finding.verdict is not Verdict.PASS), None)
    if first is not None and first.file:
        case.set("file", printable(first.file))
        if first.line:
            case.set("line", str(first.line))
    said = "\n".join(printable(f"{row.word}: {row.place}: {_at(row)}") for row in listed)
    failed = [row for row in listed if result.fails(row.finding)]
    unsure = [row for row in listed if row.finding.verdict is Verdict.INCONCLUSIVE]
    if outcome.verdict is Verdict.WAIVED:
        waiver = outcome.waiver
        why = f"waived: {waiver.said}" if waiver else "in the baseline"
        ET.SubElement(case, "skipped", message=printable(why))
    elif failed:
        text = "\n".join(filter(None, (said, printable(failed[0].last))))
        _say(ET.SubElement(case, "failure"), failed[0].finding.message, text, failed[0].word)
    elif unsure:
        _say(ET.SubElement(case, "error"), unsure[0].finding.message, said, "inconclusive")
    elif said:
        ET.SubElement(case, "system-out").text = said


def _at(row: Row) -> str:
    return ": ".join(part for part in (row.finding.path, row.finding.message) if part)


def _say(element: ET.Element, message: str, text: str, kind: str) -> None:
    element.set("message", printable(message))
    element.set("type", kind)
    element.text = text


def _count(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))
