"""Renders kustomizations by kubectl or kustomize, and says which files belong to them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drainproof.collect import yaml_text
from drainproof.model.snapshot import Problem, items_of
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
"""What kustomize calls its file, in the order in which it looks."""
_GROUP = "kustomize.config.k8s.io/"
_LISTS = (
    "resources",
    "bases",
    "components",
    "crds",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "patches",
    "patchesStrategicMerge",
    "patchesJson6902",
    "replacements",
)
_FOLDERS = frozenset({"resources", "bases", "components"})
_MAX_BYTES = 2**20
_MAX_DEPTH = 50
_REMOTE = regex(
    r"[A-Za-z][\w+.-]*://|[\w.-]+@[\w.-]+:|git::|[\w-]+(?:\.[\w-]+)+(?::\d+)?/[^?]*(?:\?|\.git|//)"
    r"|(?:github\.com|gitlab\.com|bitbucket\.org|dev\.azure\.com)[/:]"
)
_USER = regex(r"(?<=//)[^/@]*@")


class Kustomization:
    """One kustomization and the local ones that it includes.

    Args:
        path: Its folder, as the user gave it.
        name: Its file in there.
    """

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.file = os.path.join(path, name)  # noqa: PTH118 - as the user gave it
        self.includes: set[str] = set()
        """Real paths of the files that it, or one that it includes, names or is written in."""
        self.bases: set[str] = set()
        """Real paths of the folders of kustomizations that it includes, at any depth."""
        self._problem: Problem | None = None
        self._hint = f"Build it where all of it is: kubectl kustomize {path} | drainproof audit -"
        self._resources: list[tuple[str, str]] = []
        """Files of objects: the real path, and the path to show."""
        self._objects: dict[str, list[tuple[str, str]]] | None = None
        self.component = False
        self.is_one = False
        """Whether it is one: other tools have files of that name too."""
        self._look(path, name, 0)

    def render(self) -> str | Problem:
        """Return the manifests that kustomize makes of it, or what is wrong."""
        if self._problem is not None:
            return self._problem
        from drainproof.collect import tools  # noqa: PLC0415 - slow to load, and only for these

        tool = tools.which("kubectl", "kustomize")
        if tool is None:
            return Problem(
                "a kustomization, and neither kubectl nor kustomize is on the PATH",
                file=self.path,
                hint="Install kubectl: https://kubernetes.io/docs/tasks/tools",
            )
        verb = "kustomize" if Path(tool).stem == "kubectl" else "build"
        found = tools.render([tool, verb, os.path.realpath(self.path)])
        if not found.error:
            return found.text
        hint = ""
        if "enable-helm" in found.error:
            hint = (
                "It inflates a Helm chart, which drainproof does not let it do: "
                f"kustomize build --enable-helm {self.path} | drainproof audit -"
            )
        elif "is not in or below" in found.error:
            hint = "kustomize reads no file outside of a kustomization's own folder."
        return Problem(f"the kustomization does not build: {found.error}", self.file, hint=hint)

    def source(self, found: object) -> str:
        """Return the file that a rendered object was first written in; the folder if unclear.

        Patches, prefixes and suffixes change objects, so the object's kind must be the same and
        its name must be a part of the rendered one.
        """
        if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
            return self.path
        name = str(found["metadata"].get("name", ""))
        known = self._known().get(str(found.get("kind")), [])
        candidates = [pair for pair in known if pair[0] and pair[0] in name]
        longest = max((len(pair[0]) for pair in candidates), default=0)
        files = {file for written, file in candidates if len(written) == longest}
        return files.pop() if len(files) == 1 else self.path

    def _known(self) -> dict[str, list[tuple[str, str]]]:
        if self._objects is None:
            self._objects = {}
            for real, shown in self._resources:
                for kind, name in _objects_in(real):
                    self._objects.setdefault(kind, []).append((name, shown))
        return self._objects

    def _look(self, folder: str, name: str, depth: int) -> None:
        """Note what a kustomization file names, and look into the folders among it."""
        file = os.path.join(folder, name)  # noqa: PTH118 - Path would tidy what the user wrote
        real = os.path.realpath(file)
        if real in self.includes:
            return
        text = _text(real)
        try:
            found = yaml_text.parse(text, is_plain=yaml_text.plain(text))
        except yaml_text.YamlError as error:
            self.includes.add(real)
            self.is_one = True
            self._refuse(Problem(f"not YAML: {error.message}", file=file, line=error.line))
            return
        if not isinstance(found, dict) or not _is_one(found):
            return
        self.is_one = True
        self.includes.add(real)
        self.component = self.component or (not depth and found.get("kind") == "Component")
        if depth > _MAX_DEPTH:
            return
        for key, entry in _entries(found):
            said = self._include(key, entry, folder, depth)
            if said:
                self._refuse(Problem(said, file=file, line=_line(text, entry), hint=self._hint))

    def _include(self, key: str, entry: str, folder: str, depth: int) -> str:
        """Note one thing that a kustomization names; return what is wrong with it, if so."""
        path = os.path.join(folder, entry)  # noqa: PTH118 - Path would tidy what the user wrote
        if os.path.isdir(path):  # noqa: PTH112 - same
            if key in _FOLDERS:
                self._enter(path, depth)
        elif os.path.exists(path):  # noqa: PTH110 - same
            self.includes.add(os.path.realpath(path))
            if key == "resources":
                self._resources.append((os.path.realpath(path), os.path.normpath(path)))
        elif _REMOTE.match(entry):
            shown = _USER.sub("", entry.partition("?")[0])
            return f"{key} names {shown}, which is not in this folder and is not fetched"
        elif key in _FOLDERS:
            return f"{key} names {entry}, and there is no such file or folder"
        return ""

    def _enter(self, path: str, depth: int) -> None:
        name = name_in(path)
        if name:
            self.bases.add(os.path.realpath(path))
            self._look(path, name, depth + 1)

    def _refuse(self, problem: Problem) -> None:
        self._problem = self._problem or problem


def name_in(folder: str) -> str:
    """Return the name of the kustomization file in a folder; empty if there is none."""
    return next((name for name in NAMES if (Path(folder) / name).is_file()), "")


def _is_one(found: dict[str, Any]) -> bool:
    version = found.get("apiVersion")
    return version is None or (isinstance(version, str) and version.startswith(_GROUP))


def _entries(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the field and the path of everything that a kustomization reads."""
    for key in _LISTS:
        listed = found.get(key)
        for item in listed if isinstance(listed, list) else ():
            path = item.get("path") if isinstance(item, dict) else item
            if isinstance(path, str) and path and "\n" not in path:
                yield key, path
    for key in ("configMapGenerator", "secretGenerator"):
        listed = found.get(key)
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, dict):
                for part in _generated_from(item):
                    yield key, part
    openapi = found.get("openapi")
    if isinstance(openapi, dict) and isinstance(openapi.get("path"), str):
        yield "openapi", openapi["path"]


def _generated_from(item: dict[str, Any]) -> Iterator[str]:
    for key in ("files", "envs"):
        listed = item.get(key)
        for part in listed if isinstance(listed, list) else ():
            if isinstance(part, str):
                yield part.rpartition("=")[2] if key == "files" else part
    if isinstance(item.get("env"), str):
        yield item["env"]


def _objects_in(file: str) -> Iterator[tuple[str, str]]:
    """Yield kind and name of every object in a file."""
    text = _text(file)
    for start, end in yaml_text.documents(text):
        part = text[start:end]
        try:
            found = yaml_text.parse(part, is_plain=yaml_text.plain(part))
        except yaml_text.YamlError:
            continue  # kustomize said so, if it read it
        for item in items_of(found, None):
            metadata = item.object.get("metadata")
            if isinstance(metadata, dict):
                yield str(item.object.get("kind")), str(metadata.get("name", ""))


def _text(file: str) -> str:
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_MAX_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def _line(text: str, entry: str) -> int | None:
    at = text.find(entry)
    return None if at < 0 else text.count("\n", 0, at) + 1
