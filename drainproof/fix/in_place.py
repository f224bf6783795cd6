"""Writes mended fields into the files that they came from; comments, order and quotes are kept.

Only what is mended is written anew, all else stays byte for byte. What would not read back as the
mended object is refused, and the file is left alone.
"""

from __future__ import annotations

import io
import json
import os
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainproof.collect import yaml_text
from drainproof.collect.lines import steps
from drainproof.errors import UserError
from drainproof.fix import layout
from drainproof.fix.apply import put, unshared

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.fix.apply import Mended
    from drainproof.model.finding import Origin


def can_write(entry: Mended) -> bool:
    """Tell whether an object came out of a file that can be written, as it stands there."""
    origin = entry.origin
    return (
        origin is not None
        and origin.end > origin.start  # neither rendered nor out of a saved Snapshot
        and origin.file != "-"
        and origin.file.lower().endswith((".yaml", ".yml", ".json"))
        and Path(origin.file).is_file()
    )


def write(mended: Iterable[Mended]) -> list[str]:
    """Write into the files; return their names.

    Raises:
        UserError: A file changed meanwhile, can't be written, or its YAML can't be kept as it is.
    """
    by_file: dict[str, list[tuple[Origin, Mended]]] = defaultdict(list)
    for entry in mended:
        if entry.origin is not None:
            by_file[entry.origin.file].append((entry.origin, entry))
    texts = {name: _mended(name, entries) for name, entries in by_file.items()}
    for name, text in texts.items():  # all of them could be made: now they are written
        _replace(Path(name), text)
    return list(texts)


def _mended(name: str, entries: list[tuple[Origin, Mended]]) -> str:
    try:
        with Path(name).open(encoding="utf-8", newline="") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read: {error}") from None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    text = text.removeprefix("\ufeff")  # positions count from after it
    documents: dict[tuple[int, int], list[Mended]] = defaultdict(list)
    for origin, entry in entries:
        documents[origin.start, origin.end].append(entry)
    for (start, end), found in sorted(documents.items(), reverse=True):
        text = text[:start] + _document(name, text[start:end], found) + text[end:]
    return mark + text


def _document(name: str, text: str, found: list[Mended]) -> str:
    """Return a document's text with the mended fields in it."""
    newline = "\r\n" if "\r\n" in text else "\n"
    head, body = _separator(text)
    expected: Any = unshared(yaml_text.parse(body, is_plain=False))
    before: Any = unshared(expected)
    fields: list[tuple[tuple[str | int, ...], Any]] = []
    for entry in found:
        prefix = entry.origin.prefix if entry.origin else ()
        try:
            stands = _at(expected, prefix) == entry.before
        except (LookupError, TypeError):
            stands = False
        if not stands:
            raise UserError(f"{name}: it changed since it was read; run it again")
        for path, value in entry.fields.items():
            fields.append(((*prefix, *steps(path)), value))
            put(expected, *fields[-1])
    rewritten, mended = _written(name, body.replace("\r\n", "\n"), before, expected, fields)
    if not body.endswith("\n"):
        rewritten, mended = rewritten.rstrip("\n"), mended.rstrip("\n")
    for written in (
        layout.kept(body, rewritten, mended, newline),
        mended if newline == "\n" else mended.replace("\n", newline),
    ):
        if _reads_as(written, expected):
            return head + written
    raise _refused(name, "it would not read back as it should")


def _written(
    name: str,
    body: str,
    before: Any,  # noqa: ANN401 - a document of any form
    after: Any,  # noqa: ANN401 - same
    fields: Iterable[tuple[tuple[str | int, ...], Any]],
) -> tuple[str, str]:
    """Return a document as a writer lays it out, as it was and mended."""
    if body.lstrip().startswith("{") and _is_json(body, before):
        indent = re.search(r"\n([ \t]+)", body)
        first, second = (
            json.dumps(one, ensure_ascii=body.isascii(), indent=indent[1] if indent else None)
            for one in (before, after)
        )
        return f"{first}\n", f"{second}\n"
    from ruamel.yaml import YAML  # noqa: PLC0415 - only where a file is written
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 - same

    writer = YAML()
    writer.preserve_quotes = True
    writer.width = 100_000
    mapping, sequence, offset = _indentation(body)
    writer.indent(mapping=mapping, sequence=sequence, offset=offset)
    rewritten, mended = io.StringIO(), io.StringIO()
    try:
        tree = writer.load(body)
        writer.dump(tree, rewritten)
        for path, value in fields:
            _put(tree, path, value)
        writer.dump(tree, mended)
    except (YAMLError, LookupError, TypeError) as error:
        raise _refused(name, str(error).partition("\n")[0]) from None
    return rewritten.getvalue(), mended.getvalue()


def _is_json(body: str, read: object) -> bool:
    try:
        return bool(json.loads(body) == read)
    except ValueError:
        return False


def _reads_as(written: str, expected: object) -> bool:
    try:
        return yaml_text.parse(written, is_plain=False) == expected
    except yaml_text.YamlError:
        return False


def _put(tree: Any, path: tuple[str | int, ...], value: object) -> None:  # noqa: ANN401 - ruamel's own types
    """Set a field as :func:`put` does, and keep a list's own items, with their comments."""
    node = tree
    for step in path[:-1]:
        if isinstance(node, list) and isinstance(step, str):
            key, _, wanted = step.partition("=")
            node = next((one for one in node if str(one.get(key)) == wanted), None)
        else:
            node = node[step] if isinstance(step, int) or step in node else None
        if node is None:
            break
    last = path[-1]
    old = node.get(last) if isinstance(node, dict) else None
    if isinstance(old, list) and isinstance(value, list):
        _merge(old, value)
    else:
        put(tree, path, value)


def _at(tree: Any, path: tuple[str | int, ...]) -> Any:  # noqa: ANN401 - any part of a manifest
    for step in path:
        tree = tree[step]
    return tree


def _merge(old: list[Any], new: list[Any]) -> None:
    """Make a list equal to another, leaving alone the items that are in both."""
    for index in reversed(range(len(old))):
        if old[index] not in new:
            del old[index]
    for index, item in enumerate(new):
        if index >= len(old):
            old.append(item)
        elif old[index] != item:
            old.insert(index, item)
    del old[len(new) :]


def _separator(text: str) -> tuple[str, str]:
    """Split a document's own ``---`` line, with what stands before it, from its content."""
    body = text.lstrip("\r\n")
    head = text[: len(text) - len(body)]
    text = body
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith("---"):
            if line.strip() == "---" or line.startswith("--- #"):
                head += "".join(lines[: index + 1])
                body = "".join(lines[index + 1 :])
            break
        if line.strip() and not line.startswith(("#", "%")):
            break
    return head, body


def _indentation(text: str) -> tuple[int, int, int]:
    """Return how far mappings and lists are indented, and the dash in a list."""
    from ruamel.yaml.util import load_yaml_guess_indent  # noqa: PLC0415 - as above

    _, sequence, offset = load_yaml_guess_indent(text)
    mapping = 2
    for line, following in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if line.rstrip().endswith(":") and not line.lstrip().startswith(("-", "#")):
            deeper = len(following) - len(following.lstrip())
            step = deeper - (len(line) - len(line.lstrip()))
            if step > 0 and not following.lstrip().startswith(("-", "#")):
                mapping = step
                break
    return mapping, sequence or 2, offset or 0


def _refused(name: str, why: str) -> UserError:
    return UserError(
        f"{name}: cannot be mended in place: {why}",
        hint="Without --in-place the same fixes are written as a patch.",
    )


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is either the old or the new one, whatever happens meanwhile."""
    real = Path(os.path.realpath(path))
    try:
        mode = real.stat().st_mode
        descriptor, temporary = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(mode)
            Path(temporary).replace(real)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None
