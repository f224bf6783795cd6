"""Finds the line of a field, for what has findings only: positions must not cost the fast parse."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainproof.collect import yaml_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from drainproof.model.finding import Origin

_STEP = re.compile(r"\[(\d+)\]|\[([^\[\]]+)\]|([^.\[\]]+)")


def steps(path: str) -> tuple[str | int, ...]:
    """Return a field path's steps: ``a.b[0]`` is ``("a", "b", 0)``."""
    return tuple(
        int(found[1]) if found[1] else found[2] or found[3] for found in _STEP.finditer(path)
    )


class Lines:
    """Line numbers of fields, by a second, position-aware parse of the documents they are in.

    Args:
        texts: Text of inputs that can't be read again, such as standard input, by file name.
    """

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self._texts = dict(texts or {})
        self._nodes: dict[tuple[str, int], Any] = {}

    def find(self, places: Iterable[tuple[Origin, str]]) -> dict[tuple[Origin, str], int]:
        """Return the line of each field, one document at a time.

        A field that is absent gets the line of its nearest parent.
        """
        by_document: dict[tuple[str, int], list[tuple[Origin, str]]] = defaultdict(list)
        for origin, path in dict.fromkeys(places):
            by_document[origin.file, origin.start].append((origin, path))
        found: dict[tuple[Origin, str], int] = {}
        for wanted in by_document.values():
            node = self._compose(wanted[0][0])
            for origin, path in wanted:
                inner = 1
                if node is not None:
                    inner = yaml_text.line_of(node, (*origin.prefix, *steps(path)))
                found[origin, path] = origin.line + inner - 1
        return found

    def _compose(self, origin: Origin) -> Any:  # noqa: ANN401 - PyYAML's node
        if origin.end <= origin.start:
            return None  # from a saved Snapshot: the text is not there
        text = self._text(origin.file)[origin.start : origin.end]
        try:
            return yaml_text.compose(text)
        except yaml_text.YamlError:
            return None  # JSON with tabs, or the file changed meanwhile: the document's line will do

    def _text(self, file: str) -> str:
        if file not in self._texts:
            try:
                read = Path(file).read_text(encoding="utf-8-sig", errors="replace")
            except OSError:
                read = ""
            self._texts = {file: read}  # one file at a time, so that memory stays small
        return self._texts[file]
