"""Looks up the packages of the lock files in public lists of known vulnerabilities.

Run it as ``make audit-lock``. pip-audit asks PyPI, and OSV where PyPI's answer is not whole. Each
is asked about a package that is known to be vulnerable, too: no answer is never a clean one.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct
from packaging.utils import canonicalize_name

from drainproof.errors import ExitCode, UserError
from drainproof.report.text import harmless, printable

ROOT: Final = Path(__file__).parent.parent
LOCKS: Final = (ROOT / "requirements.lock", ROOT / "deploy" / "requirements.lock")
IGNORED: Final = ROOT / "docs" / "advisories.toml"
KNOWN: Final = ("pycrypto", "2.6.1")
"""A package and a version of it that every list has an advisory on; nothing here may need it."""
Services = Mapping[str, tuple[str, ...]]
SERVICES: Final[Services] = {
    "PyPI": ("--vulnerability-service", "pypi"),
    "OSV": ("--vulnerability-service", "osv"),
}
"""Who is asked, in this order, and pip-audit's arguments for that."""
_PIN: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.ASCII | re.MULTILINE)
_LONGEST: Final = 300


class Ignored(Struct, frozen=True, forbid_unknown_fields=True):
    """An advisory that may pass, on one day and before."""

    id: Annotated[str, Meta(min_length=1)]
    reason: Annotated[str, Meta(min_length=1)]
    until: date


class _File(Struct, forbid_unknown_fields=True):
    ignored: list[Ignored] = []


class Advisory(NamedTuple):
    """A known vulnerability of a locked package."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no version fixes it"
        return f"{self.package} {self.version}: {', '.join(self.ids)}; {mended}"


class Answer(NamedTuple):
    """What is known of a lock file's packages, and why that is not all; empty if it is."""

    advisories: frozenset[Advisory]
    untold: str


class _Vulnerability(Struct):
    id: str
    fix_versions: list[str]
    aliases: list[str] = []


class _Package(Struct):
    name: str
    version: str = ""
    vulns: list[_Vulnerability] = []
    skip_reason: str = ""


class _Told(Struct):
    dependencies: list[_Package]


def main(words: Sequence[str] | None = None, services: Services = SERVICES) -> int:
    """Say what is known; return 1 on a vulnerability, 3 if nobody could tell, 2 on errors."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m docs.advisories")
    parser.add_argument(
        "locks", nargs="*", type=Path, help="requirements files with exact versions"
    )
    parser.add_argument("--ignored", type=Path, default=IGNORED, help="what may pass, as TOML")
    options = parser.parse_args(words)
    code = ExitCode.CLEAN
    try:
        may_pass = ignored(options.ignored)
        for lock in options.locks or LOCKS:
            packages = pins(lock)
            advisories, untold = audited(packages, services)
            told, bad = [], False
            for one in sorted(advisories):
                why = next((may.reason for may in may_pass if may.id in one.ids), "")
                told.append(f"{one}; ignored: {why}" if why else str(one))
                bad = bad or not why
            if untold:
                told.append(f"could not tell whether it is clean: {untold}")
            elif not bad:
                other = "other " if told else ""
                told.append(f"no {other}known vulnerability in {len(packages)} packages")
            sys.stdout.write("".join(f"{harmless(f'{lock}: {line}')}\n" for line in told))
            if bad:
                code = ExitCode.FINDINGS
            elif untold and code == ExitCode.CLEAN:
                code = ExitCode.INCONCLUSIVE
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return ExitCode.ERROR
    return code


def ignored(file: Path) -> list[Ignored]:
    """Return the advisories that may pass today.

    Raises:
        UserError: The file can't be read, or is not of its form.
    """
    try:
        stated = msgspec.toml.decode(file.read_bytes(), type=_File).ignored
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UserError(
            f"{file}: expected [[ignored]] with id, reason and until: {printable(str(error))}",
            hint="Write until as a date, such as 2027-03-31, without quotes.",
        ) from error
    today = datetime.now(UTC).date()
    return [one for one in stated if one.until >= today]


def pins(lock: Path) -> list[tuple[str, str]]:
    """Return the names and versions in a lock file, those of other systems included.

    Raises:
        UserError: It can't be read, or has none.
    """
    try:
        found = _PIN.findall(lock.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{lock}: expected a lock file: {printable(str(error))}") from error
    if not found:
        raise UserError(f"{lock}: expected lines such as `click==8.1`, found none")
    return found


def audited(packages: Sequence[tuple[str, str]], services: Services) -> Answer:
    """Return what services know of packages: those of the first that tells of all are enough.

    Args:
        packages: Names and exact versions.
        services: Who is asked, and pip-audit's arguments for that.

    Raises:
        UserError: There are no services.
    """
    if not services:
        raise UserError("expected a service to ask, found nobody")
    advisories: frozenset[Advisory] = frozenset()
    untold = []
    for name, arguments in services.items():
        answer = _asked(packages, arguments)
        advisories |= answer.advisories
        if not answer.untold:
            return Answer(advisories, "")
        untold.append(f"{name}: {answer.untold}")
    return Answer(advisories, "; ".join(untold))


def _run(words: Sequence[str | Path]) -> tuple[str, str]:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout, done.stderr


def _asked(packages: Sequence[tuple[str, str]], arguments: tuple[str, ...]) -> Answer:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in (*packages, KNOWN)))
        words: list[str | Path] = [
            sys.executable,
            "-m",
            "pip_audit",
            "--requirement",
            file,
            "--no-deps",
        ]
        words += ["--disable-pip", "--format", "json", "--progress-spinner", "off"]
        # a cache of its own: what was known last week is not what is asked
        words += ["--cache-dir", Path(folder) / "cache", *arguments]
        said, complained = _run(words)
    try:
        told = msgspec.json.decode(said, type=_Told).dependencies
    except msgspec.DecodeError:
        last = (complained.strip().splitlines() or ["pip-audit said nothing"])[-1]
        return Answer(frozenset(), printable(last[:_LONGEST]))
    advisories = frozenset(
        Advisory(one.name, one.version, (each.id, *sorted(each.aliases)), tuple(each.fix_versions))
        for one in told
        for each in one.vulns
    )
    of_known = {one for one in advisories if one.package == KNOWN[0]}
    heard = {canonicalize_name(one.name) for one in told if not one.skip_reason}
    unheard = sorted({canonicalize_name(name) for name, _ in packages} - heard)
    untold = ""
    if not of_known:
        untold = f"it has no advisory on {' '.join(KNOWN)}, which every list has"
    elif unheard:
        untold = f"it knows nothing of {', '.join(unheard)}"
    return Answer(advisories - of_known, untold)


if __name__ == "__main__":
    sys.exit(main())
