"""Writes the licences of drainproof's dependencies, as their installed metadata names them.

Run it as ``make licences``. A dependency whose licence nobody knows, or that is none of those that
are accepted, is an error: it must not get in unseen.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import Distribution

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "licences.md"
LOCK: Final = ROOT / "requirements.lock"
ACCEPTED: Final = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CNRI-Python", "ISC", "MIT", "MPL-2.0",
     "PSF-2.0", "Unlicense"}
)  # fmt: skip
"""SPDX identifiers of licences that what drainproof needs to run may have."""
FOR_TESTS: Final = ACCEPTED | {"GPL-3.0-or-later", "LGPL-3.0-only"}
"""And of what only its tests and builds use, which nobody is given with it."""
WORDS: Final = {
    "apache": "Apache-2.0",
    "apache 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
}
"""Other words for a licence in metadata, in small letters."""
ELSEWHERE: Final = {"promql-parser": "MIT", "axe-playwright-python": "MIT AND MPL-2.0"}
"""Packages whose metadata name none: by the licence file in the package itself."""
_OPERATORS: Final = re.compile(r"\s+(?:AND|OR|WITH)\s+|[()]")


class UnknownLicenceError(Exception):
    """A dependency has no licence that is known, or none that is accepted."""


def main() -> int:
    """Write the page; return 1 with one line a dependency if a licence can't be accepted."""
    try:
        PAGE.write_text(page(metadata.distribution), encoding="utf-8")
    except UnknownLicenceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def page(find: Callable[[str], Distribution]) -> str:
    """Return the page.

    Args:
        find: Returns an installed distribution by its name.

    Raises:
        UnknownLicenceError: A licence is unknown, or not accepted.
    """
    needed = needs("drainproof", find)
    rest = {name for name in locked() if installed(name, find)} - needed
    lines = [
        "# Licences of dependencies",
        "",
        "`make licences` writes this page from the metadata of the installed packages.",
        "What is installed on other systems only is not listed.",
    ]
    for title, names, accepted in (
        ("What drainproof needs to run", needed, ACCEPTED),
        ("What only its tests and builds use", rest, FOR_TESTS),
    ):
        lines += ["", f"## {title}", "", "| package | licence |", "| --- | --- |"]
        lines += [
            f"| {name} | {accepted_licence(find(name), accepted)} |" for name in sorted(names)
        ]
    return "\n".join(lines) + "\n"


def locked() -> set[str]:
    """Return the names in the lock file."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(name) for name in found}


def needs(name: str, find: Callable[[str], Distribution]) -> set[str]:
    """Return what a package needs on this system, and what that needs, without itself."""
    seen: set[str] = set()
    waiting = list(required(find(name)))
    while waiting:
        one = waiting.pop()
        if one not in seen:
            seen.add(one)
            waiting += required(find(one))
    return seen


def required(found: Distribution) -> Iterable[str]:
    """Yield the names of what a distribution needs here, extras left out."""
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield canonicalize_name(wanted.name)


def installed(name: str, find: Callable[[str], Distribution]) -> bool:
    """Tell whether a distribution is there."""
    try:
        find(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def accepted_licence(found: Distribution, accepted: frozenset[str]) -> str:
    """Return a distribution's licence as an SPDX expression.

    Raises:
        UnknownLicenceError: It is unknown, or a part of it is not accepted.
    """
    name, licence = canonicalize_name(found.metadata["Name"]), licence_of(found)
    if not licence:
        raise UnknownLicenceError(
            f"{name}: expected a licence in its metadata, found none that is known\n"
            f"  hint: Look it up, and name it in {Path(__file__).name}: WORDS or ELSEWHERE."
        )
    parts = {part for part in _OPERATORS.split(licence) if part}
    either = " OR " in licence and " AND " not in licence
    if not (parts & accepted if either else parts <= accepted):
        raise UnknownLicenceError(
            f"{name}: expected one of {', '.join(sorted(accepted))}, found {licence}\n"
            "  hint: Use another package, or accept the licence there with care."
        )
    return licence


def licence_of(found: Distribution) -> str:
    """Return the licence that a distribution's metadata name, as SPDX; empty if that is unknown."""
    data = found.metadata
    if "License-Expression" in data:
        return data["License-Expression"]
    classifiers = [line.rpartition(" :: ")[2] for line in data.get_all("Classifier") or ()
                   if line.startswith("License ::")]  # fmt: skip
    for written in (*(data.get_all("License") or ()), *classifiers):
        spdx = WORDS.get(written.lower(), written if written in FOR_TESTS else "")
        if spdx:
            return spdx
    return ELSEWHERE.get(canonicalize_name(data["Name"]), "")


if __name__ == "__main__":
    sys.exit(main())
