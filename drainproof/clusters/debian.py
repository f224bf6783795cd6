"""Root file systems are made of Debian packages, without installing anything on this machine."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from drainproof.clusters.artefacts import Artefact
from drainproof.clusters.commands import run
from drainproof.errors import UserError

_APT_FOLDER = Path("/etc/apt")
_LEFT_OUT = ("doc", "man", "info", "locale", "lintian", "bash-completion")


def package_sources(suite: str, component: str, apt: Path = _APT_FOLDER) -> list[str]:
    """Return this machine's own package sources for a Debian release, one ``deb`` line each.

    Sources of other releases, and of others than Debian, are left out.
    """
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    lines = [
        line
        for file in lists
        if file.is_file()
        for line in file.read_text().splitlines()
        if _fits(line, suite, component)
    ]
    for file in sorted((apt / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", file.read_text()):
            lines += [line for line in _one_line(paragraph) if _fits(line, suite, component)]
    return lines


def _fits(line: str, suite: str, component: str) -> bool:
    words = re.sub(r"\[[^\]]*\]", "", line).split()
    return (
        words[:1] == ["deb"]
        and words[2:3] != []
        and re.fullmatch(rf"{suite}(-updates|-security|/updates)?", words[2]) is not None
        and component in words[3:]
    )


def _one_line(paragraph: str) -> list[str]:
    """Write a paragraph of a deb822 file as lines of the older format, which say the same."""
    fields: dict[str, str] = {}
    last = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in {" ", "\t"}:
            fields[last] += f" {line.strip()}"
        elif ":" in line:
            last, value = line.split(":", 1)
            last = last.lower()
            fields[last] = value.strip()
    key = fields.get("signed-by", "")
    # A key that is written out in the file has no path to refer to; apt's own keys must do.
    option = f"[signed-by={key.split()[0]}] " if key.startswith("/") else ""
    if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
        return []
    return [
        f"deb {option}{uri} {suite} {fields.get('components', '')}"
        for uri in fields.get("uris", "").split()
        for suite in fields.get("suites", "").split()
    ]


def other_suite(lines: list[str], release: str, suite: str) -> list[str]:
    """Return the package sources of another suite, such as sid, at a release's own servers.

    Args:
        lines: The release's sources, one ``deb`` line each.
        release: Its name; ``-updates`` and ``-security`` have no counterpart and are left out.
        suite: The other suite.
    """
    name = re.compile(rf"(?<=\s){re.escape(release)}(?=\s)")
    return [name.sub(suite, line, count=1) for line in lines if name.search(line)]


def with_age(lines: list[str], check: str) -> list[str]:
    """Return package sources that are taken at any age if this machine's apt takes its own so.

    Args:
        lines: One ``deb`` line each.
        check: apt's own setting ``Acquire::Check-Valid-Until``; signatures are checked in any case.
    """
    if check.strip().lower() not in {"0", "false", "no", "off", "without", "disable"}:
        return lines
    return [
        re.sub(
            r"^deb\s+(\[)?", lambda at: f"deb [check-valid-until=no{' ' if at[1] else '] '}", line
        )
        for line in lines
    ]


def _isolated_apt(folder: Path, sources: list[str]) -> list[str]:
    """Return options that keep apt's lists and caches out of the machine's own."""
    for part in ("lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "sources.list").write_text("\n".join(sources) + "\n")
    settings = {
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release, such as bookworm, and the component of it that is used, such as main.

    Packages are those of ``other``, if it is set: another suite at the same servers, such as sid.
    """

    suite: str
    component: str
    other: str = ""


def bootstrap_tool(release: Release) -> Artefact:
    """Return the artefact that has mmdebstrap, taken from its package and not installed."""

    def build(into: Path) -> None:
        work = into / "apt"
        options = _isolated_apt(work, _sources(release))
        run(["apt-get", *options, "-q", "update"])
        run(["apt-get", *options, "-q", "download", "mmdebstrap"], cwd=work)
        for package in work.glob("mmdebstrap_*.deb"):
            run(["dpkg", "-x", package, into])
        shutil.rmtree(work)

    return Artefact(
        name="mmdebstrap",
        inputs={"recipe": Path(__file__), "release": f"{release.suite} {release.component}"},
        build=build,
        estimate_s=8,
    )


def root_file_system(
    name: str,
    packages: tuple[str, ...],
    release: Release,
    *,
    archive: bool,
    estimate_s: float,
) -> Artefact:
    """Return the artefact that has a Debian root with ``packages``.

    It is the folder ``root``, or the file ``layer.tar`` if ``archive`` is set.
    """
    tool = bootstrap_tool(release)

    def build(into: Path) -> None:
        target = into / ("layer.tar" if archive else "root")
        temporary = into / "tmp"
        temporary.mkdir()
        sources = _sources(release)
        if release.other:
            aged = run(["apt-config", "dump", "--format", "%v", "Acquire::Check-Valid-Until"])
            sources = with_age(other_suite(sources, release.suite, release.other), aged)
        left_out = [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in _LEFT_OUT]
        # Its own mount and process namespaces: whatever happens to it, nothing stays behind.
        isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        run(
            [
                *isolate,
                tool.path / "usr/bin/mmdebstrap",
                "--mode=root",
                "--variant=essential",
                f"--format={'tar' if archive else 'directory'}",
                f"--include={','.join(packages)}",
                "--dpkgopt=force-unsafe-io",
                *left_out,
                "--quiet",
                release.other or release.suite,
                target,
                "-",
            ],
            env={
                **os.environ,
                "PATH": f"{tool.path / 'usr/bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
                "TMPDIR": str(temporary),
                "SOURCE_DATE_EPOCH": "0",
            },
            text_input="\n".join(sources) + "\n",
        )
        shutil.rmtree(temporary)

    return Artefact(
        name=name,
        inputs={
            "recipe": Path(__file__),
            "tool": tool,
            "packages": " ".join(packages),
            "suite": release.other or release.suite,
            "form": "archive" if archive else "folder",
        },
        build=build,
        estimate_s=estimate_s,
    )


def _sources(release: Release) -> list[str]:
    suite, component = release.suite, release.component
    found = package_sources(suite, component)
    if not found:
        raise UserError(
            f"no package source for Debian {suite} ({component}) was found in {_APT_FOLDER}",
            f"add one, such as the first line of a fresh Debian {suite}'s sources",
        )
    return found
