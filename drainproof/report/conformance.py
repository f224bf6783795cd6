"""A conformance report as YAML, as JSON and for people; ``conformance.schema.json`` says how."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from drainproof.conformance.form import KIND, VERSION, Report
from drainproof.errors import UserError
from drainproof.report.text import harmless, inert, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from drainproof.conformance.compare import Difference
    from drainproof.conformance.form import Image, Result, Tally

WIDTH = 100
MAX_BYTES = 16 * 2**20
"""Largest report that is read, in bytes; one has some 50 kB."""
_LONGEST = 1 << 30
"""Columns of a line of YAML, so that no text is broken in two."""


def to_json(report: Report) -> str:
    """Return it as JSON."""
    built = msgspec.to_builtins(report)
    return inert(orjson.dumps(built, option=orjson.OPT_INDENT_2).decode()) + "\n"


def to_yaml(report: Report) -> str:
    """Return it as YAML, each text on one line and escaped for terminals."""
    import yaml  # noqa: PLC0415 - for this format only

    built = shown(msgspec.to_builtins(report))
    return str(yaml.safe_dump(built, sort_keys=False, width=_LONGEST))


def to_terminal(report: Report) -> str:
    """Return it as people read it: what did not pass, and the counts of all."""
    return harmless("\n".join(_lines(report))) + "\n"


WRITERS: dict[str, Callable[[Report], str]] = {
    "terminal": to_terminal,
    "yaml": to_yaml,
    "json": to_json,
}
FORMATS = {
    "terminal": "for people",
    "yaml": "to keep and to compare; its JSON Schema is conformance.schema.json, beside this file",
    "json": "the same, for programs",
}
"""Each format, and what it is for."""


def _lines(report: Report) -> Iterator[str]:
    deployment, cluster = report.deployment, report.cluster
    engine = f"{deployment.engine} {deployment.engine_version}".strip()
    version = f"Kubernetes {cluster.version}" if cluster.version else "Kubernetes unknown"
    yield f"{deployment.ref}  {engine}, {version}, profile {report.profile}"
    yield from map(_image, deployment.images)
    yield ""
    for level in ("core", "extended"):
        yield f"{level:<8}  {_counts(getattr(report.summary, level))}"
        yield from _checks([one for one in report.checks if one.level == level])
    yield ""
    for word in ("supported", "unsupported", "unknown"):
        features = ", ".join(getattr(report.features, word)) or "none"
        yield from _wrapped(f"features {word}: {features}", 0)
    yield ""
    yield "Kubernetes AI Conformance: evidence for these requirements, and no certification"
    for asked in report.kubernetes_ai_conformance:
        yield f"  {asked.id}: {_plain(asked.shown)}"
    yield ""
    yield "rests on"
    for proof in report.evidence:
        yield f"  {proof.file}  sha256:{proof.sha256}"


def _image(image: Image) -> str:
    said = f"  {image.container}: {image.image}"
    if not image.digest:
        return f"{said} (no digest is known)"
    return said if image.digest in image.image else f"{said} {image.digest}"


def _checks(results: Iterable[Result]) -> Iterator[str]:
    """Yield the checks of a level that did not pass, with their reasons."""
    not_run = []
    for one in results:
        if one.result == "not_run":
            not_run.append(one.check)
        elif one.result != "passed":
            yield f"  {one.result}  {one.check} {one.id}"
            for reason in one.reasons:
                yield from _wrapped(reason, 6)
    if not_run:
        yield from _wrapped(f"not run: {', '.join(not_run)}", 2)


def _counts(tally: Tally) -> str:
    counts = msgspec.structs.asdict(tally)
    return ", ".join(f"{count} {_plain(word)}" for word, count in counts.items())


def _plain(word: str) -> str:
    return word.replace("_", " ")


def _wrapped(text: str, indent: int) -> Iterable[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )


def difference(found: Difference) -> str:
    """Return two reports compared, as people read it."""
    lines = []
    for word in ("worse", "better", "new", "gone"):
        for one in found.changes:
            if one.word != word:
                continue
            mark = " (worse)" if one.worsens and word != "worse" else ""
            before, after = _plain(one.before), _plain(one.after)
            lines.append(f"{word:<6}  {one.check}: {before} → {after}{mark}")
            if one.worsens:
                lines += [line for reason in one.reasons for line in _wrapped(reason, 10)]
    lines += [
        f"changed  {one.what}: {one.before or 'none'} → {one.after or 'none'}"
        for one in found.others
    ]
    return harmless("\n".join(lines or ["The two say the same."])) + "\n"


def read(path: Path) -> Report:
    """Read a report, in YAML or JSON.

    Raises:
        UserError: It can't be read, or is no report of a version that this drainproof reads.
    """
    found = _parsed(path)
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise UserError(
            f"{path}: expected a conformance report, found something else",
            hint="Write one: drainproof conformance EVIDENCE --format yaml=FILE",
        )
    if found.get("version") != VERSION:
        raise UserError(
            f"{path}: a conformance report of version {found.get('version')!r:.20}; "
            f"this drainproof reads version {VERSION}"
        )
    try:
        return msgspec.convert(found, Report)
    except msgspec.ValidationError as error:
        raise UserError(f"{path}: a damaged conformance report: {error}") from None


def _parsed(path: Path) -> Any:  # noqa: ANN401 - whatever is in the file
    from drainproof.collect import yaml_text  # noqa: PLC0415 - only where one is read

    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES // 2**20} MiB, which no report has")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    try:
        return yaml_text.parse(text, is_plain=yaml_text.plain(text))
    except yaml_text.YamlError as error:
        where = f"{path}:{error.line}" if error.line else str(path)
        raise UserError(f"{where}: not YAML or JSON: {error}") from None
