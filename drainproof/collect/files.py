"""Reads manifests from files, folders and standard input into a Snapshot."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from drainproof.collect import yaml_text
from drainproof.errors import UserError
from drainproof.model.finding import Origin
from drainproof.model.snapshot import SAVED_AS, Item, Problem, Snapshot, items_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = frozenset({".yaml", ".yml", ".json"})
MAX_BYTES = 256 * 2**20
"""Largest file that is read, in bytes. 50,000 manifests take about 45 MB."""
STDIN = "-"

_KUSTOMIZATIONS = frozenset({"kustomization.yaml", "kustomization.yml"})
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__"})
_TEMPLATE = "a template with {{ … }} in it, not a manifest"
_TEMPLATE_HINT = "Render it first: helm template CHART | drainproof audit -"
_NOT_TEXT = bytes(set(range(256)) - set(range(9)) - {11, 12} - set(range(14, 32)))


def read(paths: Sequence[str | os.PathLike[str]]) -> Snapshot:
    """Read files, folders (with their folders) and ``-`` (standard input).

    What can't be read becomes a problem of the Snapshot, and the rest is read all the same.

    Raises:
        UserError: A path doesn't exist, or a folder holds no YAML or JSON file.
    """
    reader = _Reader()
    for path in paths:
        reader.add(os.fspath(path))
    return reader.snapshot()


class _Reader:
    def __init__(self) -> None:
        self.items: list[Item] = []
        self.problems: list[Problem] = []
        self.texts: dict[str, str] = {}
        self.seen: set[str] = set()
        self.charts: dict[str, bool] = {}
        self.files = 0
        self.skipped = 0
        self.saved: Snapshot | None = None

    def snapshot(self) -> Snapshot:
        if self.saved is not None and not self.items and self.files == 1:
            return self.saved
        return Snapshot(
            self.items,
            problems=self.problems,
            files=self.files,
            skipped=self.skipped,
            taken_at=time.time(),
            texts=self.texts,
        )

    def add(self, path: str) -> None:
        if path == STDIN:
            self._read(STDIN, sys.stdin.buffer.read(MAX_BYTES + 1))
            return
        if Path(path).is_dir():
            found = list(_manifests(path))
            if not found:
                raise UserError(
                    f"{path}: expected manifests, found no file that ends in "
                    f"{', '.join(sorted(SUFFIXES))}"
                )
            patches = _kustomize_patches(found)
            for file in found:
                if os.path.realpath(file) in patches:
                    self.skipped += 1
                else:
                    self._open(file)
            return
        if not Path(path).exists():
            raise UserError(f"{path}: no such file or folder")
        self._open(path)

    def _open(self, file: str) -> None:
        real = os.path.realpath(file)
        if real in self.seen or self._in_chart(file):
            return
        self.seen.add(real)
        try:
            with Path(file).open("rb") as stream:
                data = stream.read(MAX_BYTES + 1)
        except OSError as error:
            self.problems.append(Problem(f"cannot be read: {error.strerror}", file=file))
            return
        self._read(file, data)

    def _read(self, file: str, data: bytes) -> None:
        self.files += 1
        if len(data) > MAX_BYTES:
            self.problems.append(
                Problem(f"larger than {MAX_BYTES // 2**20} MB; split it", file=file)
            )
            return
        text = self._decode(file, data)
        if text is None:
            return
        if file == STDIN:
            self.texts[file] = text
        if text[:64].lstrip()[:1] in {"{", "["} and self._read_json(file, data, text):
            return
        self._read_yaml(file, text)

    def _decode(self, file: str, data: bytes) -> str | None:
        stray = data.translate(None, _NOT_TEXT)
        if stray:
            line = data.count(b"\n", 0, data.index(stray[:1])) + 1
            self.problems.append(
                Problem(f"not text: it holds the byte 0x{stray[0]:02x}", file=file, line=line)
            )
            return None
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.problems.append(Problem("not UTF-8 text", file=file, line=line))
            return None

    def _read_json(self, file: str, data: bytes, text: str) -> bool:
        """Read a file of JSON; return whether it is one. YAML can begin with a brace too."""
        try:
            found = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError as error:
            if not file.endswith(".json"):
                return False
            self.problems.append(Problem(f"not JSON: {error.msg}", file=file, line=error.lineno))
            return True
        if isinstance(found, dict) and found.get("kind") == SAVED_AS:
            self.saved = Snapshot.from_saved(found)
            return True
        self._keep(found, Origin(file, 1, 0, len(text)))
        return True

    def _read_yaml(self, file: str, text: str) -> None:
        is_plain = yaml_text.plain(text)
        counted, line = 0, 1
        for start, end in yaml_text.documents(text):
            line += text.count("\n", counted, start)
            counted = start
            part = text[start:end]
            try:
                found = yaml_text.parse(part, is_plain=is_plain or yaml_text.plain(part))
            except yaml_text.YamlError as error:
                self._refuse(file, part, line, error)
                continue
            if found is None:
                continue
            self._keep(found, Origin(file, line, start, end))

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

    def _in_chart(self, file: str) -> bool:
        """Tell whether a file is one of a Helm chart's templates, which is said once a chart."""
        folder, inside, _ = f"{os.path.dirname(file)}/".rpartition("/templates/")  # noqa: PTH120 - as PTH118
        if not inside:
            return False
        if folder not in self.charts:
            chart = os.path.join(folder, "Chart.yaml")  # noqa: PTH118 - Path per file is slow
            self.charts[folder] = os.path.isfile(chart)  # noqa: PTH113 - same
            if self.charts[folder]:
                self.problems.append(
                    Problem(
                        "a Helm chart: its templates are not manifests",
                        file=folder,
                        hint=f"Render it first: helm template {folder} | drainproof audit -",
                    )
                )
        return self.charts[folder]

    def _keep(self, found: object, origin: Origin) -> None:
        kept = list(items_of(found, origin))
        self.items.extend(kept)
        if not kept:
            self.skipped += 1


def _kustomize_patches(files: Sequence[str]) -> set[str]:
    """Return the real paths of files that are patches of kustomizations, no manifests."""
    patches: set[str] = set()
    for file in files:
        folder, name = os.path.split(file)
        if name not in _KUSTOMIZATIONS:
            continue
        try:
            found = yaml_text.parse(Path(file).read_text(encoding="utf-8"), is_plain=True)
        except (OSError, ValueError):
            continue  # said when the file itself is read
        for key in ("patches", "patchesStrategicMerge", "patchesJson6902"):
            listed = found.get(key) if isinstance(found, dict) else None
            for item in listed if isinstance(listed, list) else ():
                path = item.get("path") if isinstance(item, dict) else item
                if isinstance(path, str) and "\n" not in path:
                    patches.add(os.path.realpath(os.path.join(folder, path)))  # noqa: PTH118 - as below
    return patches


def _manifests(folder: str) -> Iterator[str]:
    """Yield the manifests in a folder and in its folders, in order; hidden ones are left out."""
    for where, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED_FOLDERS
        )
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122 - Path per file is slow in large folders
                yield os.path.join(where, name)  # noqa: PTH118 - same
