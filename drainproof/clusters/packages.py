"""Python packages for pods, and the images that are made of them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import drainproof
from drainproof.clusters import recipe
from drainproof.clusters.artefacts import Artefact, ensure
from drainproof.clusters.commands import run
from drainproof.clusters.images import BuiltImage, ImageConfig, layered_image
from drainproof.content import content
from drainproof.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.progress import Progress

PYTHON = "3.11"
"""The Python of ``drainproof/python``, which is Debian bookworm's."""
_HOME = "/opt/drainproof"


def python_packages(
    name: str, lock: Path, *, byte_code: bool = False, estimate_s: float = 10
) -> Artefact:
    """Return the artefact with the packages of a lock file, for the Python that pods have.

    They are installed by uv if it is there: gigabytes take it a third of pip's time.

    Args:
        name: What the packages are for.
        lock: A requirements file with a hash for each package.
        byte_code: Whether to compile them, for pods that mount them and can't keep byte code
            themselves. Of use to them only if this process's Python is ``PYTHON`` too.
        estimate_s: Seconds that the installation takes.
    """

    def build(into: Path) -> None:
        argv: list[str | Path] = [*_installer(), "--requirement", lock, "--quiet"]
        argv += ["--no-deps", "--require-hashes", "--only-binary", ":all:"]
        argv += ["--compile" if byte_code else "--no-compile", "--python-version", PYTHON]
        argv += ["--target", into / "site-packages"]
        try:
            run(argv)
        except UserError as error:
            raise UserError(
                f"could not install the packages of {lock}: {error}",
                hint="It needs uv or pip, a package index that answers, and room on the disk.",
            ) from error
        (into / "site-packages" / ".lock").unlink(missing_ok=True)  # uv's

    inputs: dict[str, str | Path | Artefact] = {
        "lock": lock,
        "python": PYTHON,
        "byte code": str(byte_code),
        "recipe": Path(__file__),
    }
    return Artefact(f"packages-{name}", inputs, build, estimate_s=estimate_s)


def _installer() -> tuple[str, ...]:
    beside = Path(sys.executable).parent
    uv = shutil.which("uv", path=f"{beside}:{os.environ.get('PATH', os.defpath)}")
    if uv is None:
        return (sys.executable, "-m", "pip", "install", "--disable-pip-version-check")
    return (uv, "pip", "install", "--python", sys.executable)


def python_image(
    name: str,
    lock: Path,
    files: Mapping[str, Path],
    entrypoint: tuple[str, ...],
    progress: Progress,
) -> BuiltImage:
    """Build an image of Python code and the packages it needs; return it with its archive.

    Args:
        name: The image's name without a tag, such as ``drainproof/client``.
        lock: The packages, as for :func:`python_packages`.
        files: Module path under the import root, and the file or folder of this machine.
        entrypoint: What its containers start.
        progress: Is told what is being built.
    """
    packages = python_packages(name.rsplit("/", 1)[1], lock)
    ensure([packages], progress)
    image = layered_image(
        name,
        recipe.pod_root(),
        {
            f"{_HOME}/site-packages": packages.path / "site-packages",
            **{f"{_HOME}/{path}": source for path, source in files.items()},
        },
        ImageConfig(
            entrypoint=entrypoint,
            env=(f"PYTHONPATH={_HOME}:{_HOME}/site-packages", "PYTHONUNBUFFERED=1"),
        ),
    )
    ensure([image.artefact], progress)
    return image


def client_image(progress: Progress) -> BuiltImage:
    """Build the image of the stream client: its own modules and the packages they import."""
    package = Path(drainproof.__file__).parent
    parts = ("__init__.py", "errors.py", "streams")
    return python_image(
        "drainproof/client",
        content("fixtures/clusters") / "client" / "requirements.lock",
        {f"drainproof/{part}": package / part for part in parts},
        ("python3", "-m", "drainproof.streams"),
        progress,
    )
