"""Runs the unit tests on newer Pythons than this one, each in an environment of its own.

Run it as ``make test-pythons``. A Python is the one that this machine has; else Debian sid's,
unpacked once into the user's cache, with whose ``/usr`` everything then runs in a mount namespace.
The environment is made from the lock file. A Python that can't be had, or on which a dependency
can't be installed, is said, with the reason.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from drainproof.clusters import artefacts, debian
from drainproof.clusters.commands import run
from drainproof.errors import ExitCode, UserError
from drainproof.progress import PlainProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from drainproof.progress import Progress

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
UV: Final = Path(sys.executable).parent / "uv"
PYTHONS: Final = ("3.12", "3.13", "3.14", "3.15")
"""All that are released and newer than the one that everything else runs on."""
RELEASE: Final = debian.Release("bookworm", "main", "sid")
BESIDE: Final = ("gcc", "libc6-dev", "libyaml-dev", "git", "zsh", "fish", "openssl")
"""What builds the packages that have no wheel yet, and programs that tests use."""
TESTS: Final = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
_IN_ROOT: Final = """
mount --bind /usr/local "$0/usr/local" && mount --rbind "$0/usr" /usr && exec "$@"
"""


class NotToBeHadError(UserError):
    """There is no such Python here, or a dependency can't be installed on it."""


class Interpreter(NamedTuple):
    """A Python, and what a command has to start with so that it is there."""

    path: Path
    whose: str
    within: tuple[str, ...] = ()


def main(words: Sequence[str] | None = None) -> int:
    """Run the tests; return 1 if some fail, 3 if no Python could be had."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tests.pythons")
    parser.add_argument("versions", nargs="*", type=version, metavar="3.N")
    parser.add_argument("--pytest", type=shlex.split, default=TESTS, help="its arguments")
    options = parser.parse_args(words)
    versions = options.versions or PYTHONS
    progress = PlainProgress(sys.stdout)
    failed, missing = [], []
    for one in versions:
        try:
            interpreter = find(one, progress)
            with progress.step(f"Python {one}, {interpreter.whose}"):
                told = tested(interpreter, options.pytest)
            progress.line(f"Python {told}")
        except NotToBeHadError as error:
            missing.append((one, str(error)))
        except UserError as error:
            sys.stdout.write(f"{error}\n")
            failed.append(one)
    for one, why in missing:
        sys.stdout.write(f"not tested: Python {one}: {why}\n")
    if failed:
        sys.stdout.write(f"failed: Python {', '.join(failed)}\n")
        return ExitCode.FINDINGS
    return ExitCode.CLEAN if len(missing) < len(versions) else ExitCode.INCONCLUSIVE


def version(text: str) -> str:
    """Return a minor version of Python.

    Raises:
        ValueError: It is none, such as ``3`` or ``3.14.1``.
    """
    if not re.fullmatch(r"3\.\d+", text, re.ASCII):
        raise ValueError(text)
    return text


def find(version: str, progress: Progress) -> Interpreter:
    """Return a Python of a version.

    Raises:
        NotToBeHadError: There is none, and none can be unpacked here.
    """
    try:
        # pyenv puts all of its Pythons on the PATH, and all but those that are chosen fail there
        environment = {**os.environ, "PYENV_VERSION": version}
        found = run([UV, "python", "find", "--no-python-downloads", version], env=environment)
        return Interpreter(Path(found.strip()), "this machine's")
    except UserError:
        return unpacked(version, progress)


def unpacked(version: str, progress: Progress) -> Interpreter:
    """Return Debian's Python of a version.

    Raises:
        NotToBeHadError: Debian has none, or it can't be unpacked here.
    """
    if os.geteuid() != 0:
        raise NotToBeHadError("this machine has none, and only root can unpack Debian's")
    if not (shutil.which("apt-get") and debian.package_sources(RELEASE.suite, RELEASE.component)):
        raise NotToBeHadError(f"this machine has none, and is not Debian {RELEASE.suite}")
    name = f"python{version}"
    packages = (name, f"{name}-dev", *BESIDE)
    artefact = debian.root_file_system(name, packages, RELEASE, archive=False, estimate_s=60)
    try:
        artefacts.ensure([artefact], progress)
    except UserError as error:
        raise NotToBeHadError(f"this machine has none, and Debian's: {error}") from error
    root = str(artefact.path / "root")
    within = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _IN_ROOT, root)
    return Interpreter(Path("/usr/bin") / name, f"Debian {RELEASE.other}'s", within)


def tested(interpreter: Interpreter, arguments: Sequence[str]) -> str:
    """Run the unit tests on a Python; return its full version and pytest's last line.

    Raises:
        NotToBeHadError: A dependency can't be installed there.
        UserError: A test fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "environment"
        environment = {
            **os.environ,
            "PATH": f"{path / 'bin'}:{os.environ.get('PATH', os.defpath)}",
            "VIRTUAL_ENV": str(path),
            "UV_PYTHON_DOWNLOADS": "never",
        }

        def do(*words: str | Path) -> str:
            return run([*interpreter.within, *words], cwd=ROOT, env=environment)

        python = path / "bin" / "python"
        quiet = ("pip", "install", "--quiet", "--no-build-isolation", "--no-deps")
        try:
            do(UV, "venv", "--quiet", "--python", interpreter.path, path)
            do(UV, "pip", "sync", "--quiet", "--require-hashes", LOCK)
            do(UV, *quiet, "--editable", ROOT)
            full = do(python, "-c", "import platform as p; print(p.python_version())")
        except UserError as error:
            raise NotToBeHadError(str(error)) from error
        words = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-m",
            "not e2e and not thorough",
            *arguments,
        ]
        *_, last = do(python, *words).splitlines()
        return f"{full.strip()}, {interpreter.whose}: {last.strip('= ')}"


if __name__ == "__main__":
    sys.exit(main())
