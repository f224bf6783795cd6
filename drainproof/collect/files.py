"""Reads manifests from files, folders and standard input into a Snapshot."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from drainproof.collect import charts, folders, yaml_text
from drainproof.collect.charts import Chart
from drainproof.collect.kustomizations import Kustomization
from drainproof.collect.pieces import NotTextError, Piece, TooLargeError, pieces
from drainproof.collect.sharing import Sharing
from drainproof.collect.worlds import told_apart
from drainproof.errors import UserError
from drainproof.model.finding import Origin
from drainproof.model.snapshot import SAVED_AS, Item, Problem, Snapshot, items_of, malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.collect.folders import Part

MAX_BYTES = 80 * 2**20
"""Largest file that is read, in bytes: 84 MB. 50,000 manifests take about 45 MB."""
STDIN = "-"

_TEMPLATE = "a template with {{ … }} in it, not a manifest"
_TEMPLATE_HINT = "Render it first: helm template CHART | drainproof audit -"
_SMALL_JSON = 4 * 2**20
"""Characters of JSON that are looked at once more, for keys that are there twice."""


def read(
    paths: Sequence[str | os.PathLike[str]],
    *,
    values: Sequence[str | os.PathLike[str]] = (),
    sets: Sequence[str] = (),
) -> Snapshot:
    """Read files, folders (with their folders) and ``-`` (standard input).

    A folder with a ``Chart.yaml`` is a Helm chart and one with a ``kustomization.yaml`` a
    kustomization: helm and kubectl render them, without a network and without a cluster. What can't
    be read becomes a problem of the Snapshot, and the rest is read all the same.

    Args:
        paths: What to read. A packaged chart (``.tgz``) may be named too.
        values: Values files for the charts among it, as for helm.
        sets: Single values for the charts among it, as for ``helm --set``.

    Raises:
        UserError: The only path doesn't exist or holds no YAML or JSON file, a values file doesn't
            exist, or values were given and there is no chart.
    """
    charts.check_values([os.fspath(file) for file in values])
    given = [os.fspath(path) for path in paths]
    reader = _Reader(given, [os.fspath(file) for file in values], sets)
    parts: list[Part] = []
    for path in given:
        try:
            parts += _parts(path)
        except UserError as error:
            if len(given) == 1:
                raise
            reader.problems.append(Problem(error.message, hint=error.hint))
    apart, reader.skipped = folders.apart(parts)
    if (values or sets) and not any(isinstance(part, Chart) for part in apart):
        raise UserError(
            "--values and --set are for Helm charts: expected one, found none in "
            + ", ".join(given)
        )
    for part in apart:
        reader.add(part)
    return reader.snapshot()


def _parts(path: str) -> list[Part]:
    if path == STDIN:
        if sys.stdin is None:
            raise UserError("standard input is closed: expected manifests on it")
        return [STDIN]
    if not path:
        raise UserError("expected a file or a folder, found an empty name")
    chart = charts.around(path)
    if chart:
        raise UserError(
            f"{path}: a part of a Helm chart, not a manifest",
            hint=f"Audit the chart: drainproof audit {chart}",
        )
    if Path(path).is_dir():
        found = list(folders.look(path))
        if not found:
            raise UserError(
                f"{path}: expected manifests, found no file that ends in "
                f"{', '.join(sorted(folders.SUFFIXES))}"
            )
        return found
    if not Path(path).exists():
        raise UserError(f"{path}: no such file or folder")
    return [folders.at(path)]


class _Reader:
    def __init__(self, given: Sequence[str], values: Sequence[str], sets: Sequence[str]) -> None:
        self._given, self._values, self._sets = frozenset(given), values, sets
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self.places: list[tuple[int, str]] = []
        """From which item on which folder, chart or kustomization was read."""
        self.stdin: list[str] = []
        self.sharing = Sharing()
        self.seen: set[str] = set()
        self.files = 0
        self.skipped = 0
        self.saved: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        if self.saved is not None and not self.items and self.files == 1:
            return self.saved
        return Snapshot(
            told_apart(self.items, self.places),
            problems=self.problems,
            files=self.files,
            skipped=self.skipped,
            taken_at=time.time(),
            texts={STDIN: "".join(self.stdin)} if self.stdin else {},
        )

    def add(self, part: Part) -> None:
        folder = os.path.dirname(part) if isinstance(part, str) else part.path  # noqa: PTH120 - Path per file is slow
        if not self.places or self.places[-1][1] != folder:
            self.places.append((len(self.items), folder))
        if isinstance(part, folders.Closed):
            self.problems.append(Problem(f"cannot be read: {part.why}", file=part.path))
            return
        if isinstance(part, str):
            if part == STDIN:
                self._read(STDIN, sys.stdin.buffer)
            elif self._is_a_file(part):
                self._open(part)
            return
        real = os.path.realpath(part.path)
        if real in self.seen:
            return
        self.seen.add(real)
        self.files += 1
        rendered = (
            part.render(self._values, self._sets) if isinstance(part, Chart) else part.render()
        )
        if isinstance(rendered, Problem):
            self.problems.append(rendered)
        else:
            self._read_rendered(part, rendered)

    def _is_a_file(self, path: str) -> bool:
        """Refuse pipes and devices that lie in folders: reading one may never end."""
        if path in self._given or os.path.isfile(path) or not os.path.exists(path):  # noqa: PTH110, PTH113 - Path per file is slow
            return True
        self.problems.append(Problem("cannot be read: a pipe or a device", file=path))
        return False

    def _open(self, file: str) -> None:
        real = os.path.realpath(file)
        if real in self.seen:
            return
        self.seen.add(real)
        try:
            with Path(file).open("rb") as stream:
                if os.fstat(stream.fileno()).st_size > MAX_BYTES:
                    self.files += 1
                    self._too_large(file)
                else:
                    self._read(file, stream)
        except OSError as error:
            self.problems.append(Problem(f"cannot be read: {error.strerror}", file=file))

    def _read(self, file: str, stream: BinaryIO) -> None:
        self.files += 1
        try:
            found = pieces(stream, MAX_BYTES)
            first = next(found, None)
            if first is None:
                return
            if first.text.lstrip()[:1] in {"{", "["}:
                whole = first.text + "".join(piece.text for piece in found)
                self._keep_text(file, whole)
                if not self._read_json(file, whole):
                    self._read_yaml(file, Piece(whole, 0, 1))
                return
            for piece in chain((first,), found):
                self._keep_text(file, piece.text)
                self._read_yaml(file, piece)
        except NotTextError as error:
            said = f"not text: {error.message}"
            self.problems.append(Problem(said, file=file, line=error.line))
        except TooLargeError:
            self._too_large(file)

    def _too_large(self, file: str) -> None:
        said = f"expected at most {MAX_BYTES // 2**20} MiB, found more"
        self.problems.append(Problem(said, file=file, hint="Split it into several files."))

    def _keep_text(self, file: str, text: str) -> None:
        if file == STDIN:  # it can't be read again to find lines in it
            self.stdin.append(text)

    def _read_json(self, file: str, text: str) -> bool:
        """Read a file of JSON; return whether it is one. YAML can begin with a brace too."""
        try:
            found = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            if not file.endswith(".json"):
                return False
            self.problems.append(Problem(f"not JSON: {error.msg}", file=file, line=error.lineno))
            return True
        if isinstance(found, dict) and found.get("kind") == SAVED_AS:
            self.saved = Snapshot.from_saved(found)
            return True
        if len(text) < _SMALL_JSON and _has_duplicate_keys(text):
            return False  # read as YAML, which JSON is, to tell the line
        self._keep(self.sharing.share(found), Origin(file, 1, 0, len(text)))
        return True

    def _read_yaml(self, file: str, piece: Piece) -> None:
        text, counted, line = piece.text, 0, piece.line
        is_plain: bool | None = None  # not asked yet
        for start, end in yaml_text.documents(text):
            line += text.count("\n", counted, start)
            counted = start
            if start == end:
                continue
            part = text[start:end]
            twin = self.sharing.twin(part)
            if twin is not None:
                place = Origin(file, line, piece.start + start, piece.start + end, form=twin[1])
                self._keep(twin[0], place)
                continue
            if is_plain is None:
                is_plain = yaml_text.plain(text)
            try:
                found = self._parse(part, is_plain=is_plain)
            except yaml_text.YamlError as error:
                self._refuse(file, part, line, error)
                continue
            if found is not None:
                self._keep(found, Origin(file, line, piece.start + start, piece.start + end))

    def _parse(self, text: str, *, is_plain: bool) -> object:
        if is_plain or yaml_text.plain(text):
            return self.sharing.parse(text)
        return self.sharing.share(yaml_text.parse(text, is_plain=False))

    def _refuse(self, file: str, part: str, line: int, error: yaml_text.YamlError) -> None:
        inner = error.line or 1
        if "{{" not in part:
            problem = Problem(f"not YAML: {error.message}", file=file, line=line + inner - 1)
        elif any(one.file == file and one.message == _TEMPLATE for one in self.problems[-1:]):
            return  # said once a file
        else:
            inner = part.count("\n", 0, part.index("{{")) + 1
            problem = Problem(_TEMPLATE, file=file, line=line + inner - 1, hint=_TEMPLATE_HINT)
        self.problems.append(problem)

    def _read_rendered(self, part: Chart | Kustomization, text: str) -> None:
        """Keep what a tool rendered; its objects have a file of the user, but no line in it."""
        is_plain = yaml_text.plain(text)
        for start, end in yaml_text.documents(text):
            document = text[start:end]
            source = part.source(document) if isinstance(part, Chart) else part.path
            try:
                found = self._parse(document, is_plain=is_plain)
            except yaml_text.YamlError as error:
                said = f"not YAML once it is rendered: {error.message}"
                self.problems.append(Problem(said, file=source))
                continue
            if isinstance(part, Kustomization):
                source = part.source(found)
            if found is not None:
                self._keep(found, Origin(source, 0, 0, 0))

    def _keep(self, found: object, origin: Origin) -> None:
        kept = list(items_of(found, origin))
        self.items.extend(kept)
        wrong = list(malformed(found, origin))
        self.problems.extend(wrong)
        if not kept and not wrong:
            self.skipped += 1


def _has_duplicate_keys(text: str) -> bool:
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(text, object_pairs_hook=look)
    return found
