"""Finds Kyverno's command line: on the PATH if its version fits, else built from its module."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.clusters import artefacts, golang
from drainproof.content import content
from drainproof.errors import UserError

if TYPE_CHECKING:
    from drainproof.clusters.artefacts import Artefact
    from drainproof.progress import Progress

OLDEST = (1, 17)
"""The first release whose ValidatingPolicy is policies.kyverno.io/v1."""
TIMEOUT_S = 600.0
"""A test of all policies takes well under a minute, in seconds."""
POLICY = "policy.yaml"
"""What the policy is called in a test's folder."""
_IN_CEL = "ERROR: <input>"
"""What is in Kyverno's complaint of an expression."""
_UNMATCHED = "Excluded"
"""What Kyverno says of a resource that a policy has nothing to say of; it counts as passed."""
_LONGEST = 600
"""Characters of a complaint that are shown."""
_NAMES = ("kyverno", "kubectl-kyverno")
_CLI = "github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno"
_VERSION = re.compile(r"Version:\s*v?(\d+)\.(\d+)")


def built() -> Artefact:
    """Return the artefact of Kyverno's command line, and of its engine for many objects."""
    module = content("fixtures") / "tools" / "kyverno"
    return golang.go_binaries("kyverno", module, [[_CLI, "./judge"]], estimate_s=350)


def command(progress: Progress) -> Path:
    """Return the command line's path.

    Raises:
        UserError: There is none that fits on the PATH, and Go is not installed to build it.
    """
    found = [there for name in _NAMES if (there := shutil.which(name))]
    for there in found:
        if fits(_said_version(there)):
            return Path(there)
    if golang.go_tool() is None:
        oldest = ".".join(map(str, OLDEST))
        raise UserError(
            f"expected Kyverno's command line, {oldest} or newer, found "
            + (f"another version at {found[0]}" if found else "none on the PATH"),
            hint="Install it (https://kyverno.io/docs/kyverno-cli), or Go: then it is built.",
        )
    artefact = built()
    artefacts.ensure([artefact], progress)
    return artefact.path / "kubectl-kyverno"


def fits(said: str) -> bool:
    """Tell whether what ``kyverno version`` says is a version that knows these policies."""
    found = _VERSION.search(said)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def run(program: Path, *arguments: str | os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    """Run the command line and return what it said; it gets no cluster.

    Raises:
        UserError: It can't be started, or takes longer than :data:`TIMEOUT_S`.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KUBE")}
    try:
        return subprocess.run(
            [program, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**kept, "KUBECONFIG": os.devnull},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{program}: {error}") from error


def _said_version(program: str) -> str:
    try:
        return run(Path(program), "version").stdout
    except UserError:
        return ""


class Tested(Struct, frozen=True):
    """What Kyverno said of a test folder."""

    passed: bool
    said: str
    """How many results there are; what went wrong, if anything did."""


def tested(program: Path, folder: Path) -> Tested:
    """Run the ``kyverno test`` of one folder.

    Raises:
        UserError: The folder holds no test, its policy or its resources can't be read, or there is
            a resource of a kind that the policy does not match: Kyverno would let that pass.
    """
    options = ("--remove-color", "--output-format", "json", "--require-tests")
    ran = run(program, "test", folder, *options)
    try:
        rows = json.loads(ran.stdout[ran.stdout.index("\n[") :].partition("\n]")[0] + "\n]")
    except ValueError:
        if _IN_CEL in ran.stderr + ran.stdout:
            raise UserError(f"{folder / POLICY}: kyverno can't compile it: {_told(ran)}") from None
        raise UserError(f"{folder}: kyverno can't run its test: {_told(ran)}") from None
    for row in rows:
        if row["REASON"] == _UNMATCHED:
            version, kind = row["RESOURCE"].rsplit("/", 3)[0:2]
            raise UserError(
                f"{_file_with(folder, kind)}: expected a kind that the policy matches, found "
                f"{version} {kind}",
                "See: drainproof policies list",
            )
    wrong = [f"{row['RESOURCE']}: {row['REASON']}" for row in rows if row["RESULT"] != "Pass"]
    passed = ran.returncode == 0 and bool(rows) and not wrong
    return Tested(passed, "; ".join(wrong) or f"{len(rows)} resources")


def _file_with(folder: Path, kind: str) -> Path:
    """Return the file of a test folder that has an object of a kind."""
    written = re.compile(rf"^kind: {re.escape(kind)}$", re.MULTILINE)
    files = sorted(folder.glob("*.yaml"))
    return next((file for file in files if written.search(file.read_text("utf-8"))), folder)


def _told(ran: subprocess.CompletedProcess[str]) -> str:
    """Return what a run that failed said, on one line."""
    return " ".join((ran.stderr.strip() or ran.stdout.strip()).split())[-_LONGEST:]
