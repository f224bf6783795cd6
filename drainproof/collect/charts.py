"""Renders Helm charts by the real helm, and says which template an object comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from drainproof.collect import yaml_text
from drainproof.errors import UserError
from drainproof.model.snapshot import Problem
from drainproof.patterns import regex

if TYPE_CHECKING:
    from collections.abc import Sequence

CHART = "Chart.yaml"
OWN_FOLDERS = frozenset({"templates", "charts", "crds", "ci"})
"""Folders of a chart that hold no manifests of their own: helm reads them, or nobody does."""
_OWN_FILES = regex(r"(?:Chart|requirements|\.?values[^/]*)\.(?:ya?ml|lock|schema\.json)")

API_VERSIONS = (
    "autoscaling/v2",
    "gateway.networking.k8s.io/v1",
    "keda.sh/v1alpha1",
    "keda.sh/v1alpha1/ScaledObject",
    "leaderworkerset.x-k8s.io/v1",
    "monitoring.coreos.com/v1",
    "monitoring.coreos.com/v1/PodMonitor",
    "monitoring.coreos.com/v1/ServiceMonitor",
    "policy/v1",
    "policy/v1/PodDisruptionBudget",
)
"""APIs that charts are told the cluster has: those whose objects are judged. A chart that asks
before it writes a ScaledObject would otherwise be judged without it."""
_MAX_ABOUT = 2**20
_RELEASE = "release-name"
"""Helm's own name for a release that is not named."""
_NAME = regex(r"[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?")
_SOURCE = regex(r"^# Source: (\S.*?)\s*$", re.MULTILINE)
_PLACE = regex(
    r"(?:^|[\s(\"'])([^\s/:()\"']+/(?:charts/[^\s:()\"']+/)?templates/[^\s:()\"']+)(?::(\d+))?"
)


def own_file(name: str) -> bool:
    """Tell whether a file at the top of a chart is the chart's own, no manifest."""
    return _OWN_FILES.fullmatch(name) is not None


def around(path: str) -> str:
    """Return the chart among whose templates a file or folder is; empty if there is none."""
    full = Path(path).absolute()
    for folder in (full, *full.parents):
        if folder.name == "templates" and (folder.parent / CHART).is_file():
            return (
                str(folder.parent) if Path(path).is_absolute() else os.path.relpath(folder.parent)
            )
    return ""


class Chart:
    """One chart: a folder with a ``Chart.yaml``, or a packaged one (``.tgz``).

    Args:
        path: The folder or package, as the user gave it.
        root: The folder that links in the chart may lead to; by default the chart itself.
    """

    def __init__(self, path: str, root: str = "") -> None:
        self.path = path
        self._root = root or path
        self._about = _about(path)

    @property
    def library(self) -> bool:
        """Whether it only lends templates to other charts."""
        return self._about.get("type") == "library"

    def render(self, values: Sequence[str], sets: Sequence[str]) -> str | Problem:
        """Return the manifests that helm makes of it, or what is wrong."""
        from drainproof.collect import tools  # noqa: PLC0415 - slow to load, and only for charts

        helm = tools.which("helm")
        if helm is None:
            return Problem(
                "a Helm chart, and helm is not on the PATH",
                file=self.path,
                hint="Install helm (https://helm.sh/docs/intro/install), or render it elsewhere: "
                f"helm template {self.path} | drainproof audit -",
            )
        link = _link_out(self.path, self._root)
        if link:
            return Problem(
                "a link in a Helm chart that leads out of it",
                file=link,
                hint="Helm would copy what it leads to. "
                "If that is wanted, audit the folder that holds both.",
            )
        name = str(self._about.get("name", ""))
        argv = [helm, "template", name if _NAME.fullmatch(name) else _RELEASE]
        argv += [os.path.realpath(self.path), "--skip-tests"]
        argv += [f"--api-versions={version}" for version in API_VERSIONS]
        argv += [f"--values={_quoted(os.path.realpath(file))}" for file in values]
        argv += [f"--set={one}" for one in sets]
        found = tools.render(argv)
        return found.text if not found.error else self._problem(found.error, sets)

    def source(self, document: str) -> str:
        """Return the template that a rendered document comes from."""
        found = _SOURCE.search(document)
        return self._file(found[1]) if found else self.path

    def _file(self, source: str) -> str:
        """Return the path of what helm calls ``name/templates/x.yaml``."""
        return os.path.join(self.path, source.partition("/")[2])  # noqa: PTH118 - as the user gave it

    def _problem(self, said: str, sets: Sequence[str]) -> Problem:
        for one in sets:
            given = one.partition("=")[2]
            if len(given) > 3:  # noqa: PLR2004 - shorter ones are parts of words
                said = said.replace(given, "(a value of --set)")
        place = _PLACE.search(said)
        hint = ""
        if "missing in charts/" in said:
            hint = f"Fetch what it depends on first: helm dependency build {self.path}"
        elif ".Values" in said or "specifications of the schema" in said:
            hint = "Does it need values? Give them by --values FILE or --set KEY=VALUE."
        return Problem(
            f"the chart does not render: {said}",
            file=self._file(place[1]) if place else self.path,
            line=int(place[2]) if place and place[2] else None,
            hint=hint,
        )


def check_values(files: Sequence[str]) -> None:
    """Look for the values files.

    Raises:
        UserError: One is not a file here. Helm would fetch it if it were a URL.
    """
    for file in files:
        if not Path(file).is_file():
            raise UserError(f"--values {file}: expected a file, found none")


def _about(path: str) -> dict[str, object]:
    try:
        with (Path(path) / CHART).open("rb") as stream:
            text = stream.read(_MAX_ABOUT).decode("utf-8-sig")
        found = yaml_text.parse(text, is_plain=False)
    except (OSError, ValueError):
        return {}  # helm will say what is wrong with it
    return found if isinstance(found, dict) else {}


def _quoted(file: str) -> str:
    """Quote a path for helm's option, which splits at commas."""
    return '"' + file.replace('"', '""') + '"'


def _link_out(folder: str, root: str) -> str:
    """Return a link in a folder that leads out of ``root``, as helm would follow it; else empty."""
    inside = os.path.realpath(root)
    todo, seen = [folder], set()
    while todo:
        for where, folders, names in os.walk(todo.pop()):
            for name in (*folders, *names):
                path = os.path.join(where, name)  # noqa: PTH118 - Path per file is slow
                if not os.path.islink(path):  # noqa: PTH114 - same
                    continue
                target = os.path.realpath(path)
                if os.path.commonpath([inside, target]) != inside:
                    return path
                if target not in seen:
                    seen.add(target)
                    todo.append(target)
    return ""
