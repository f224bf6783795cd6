"""Python packages for pods, and the images that are made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import drainproof
from drainproof.clusters import recipe
from drainproof.clusters.artefacts import Artefact, ensure
from drainproof.clusters.commands import run
from drainproof.clusters.images import BuiltImage, ImageConfig, layered_image
from drainproof.content import content

if TYPE_CHECKING:
    from collections.abc import Mapping

    from drainproof.progress import Progress

PYTHON = "3.11"
"""The Python of ``drainproof/python``, which is Debian bookworm's."""
_HOME = "/opt/drainproof"


def python_packages(name: str, lock: Path, *, estimate_s: float = 10) -> Artefact:
    """Return the artefact with the packages of a lock file, for the Python that pods have.

    Args:
        name: What the packages are for.
        lock: A requirements file with a hash for each package.
        estimate_s: Seconds that the installation takes.
    """

    def build(into: Path) -> None:
        run(
            [
                sys.executable,
                *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
                *("--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:"),
                *("--python-version", PYTHON, "--implementation", "cp"),
                *("--target", into / "site-packages", "--requirement", lock),
            ]
        )

    inputs: dict[str, str | Path | Artefact] = {
        "lock": lock,
        "python": PYTHON,
        "recipe": Path(__file__),
    }
    return Artefact(f"packages-{name}", inputs, build, estimate_s=estimate_s)


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
    """Build the image of the stream client: its own modules and the three packages they import."""
    package = Path(drainproof.__file__).parent
    parts = ("__init__.py", "errors.py", "streams")
    return python_image(
        "drainproof/client",
        content("fixtures/clusters") / "client" / "requirements.lock",
        {f"drainproof/{part}": package / part for part in parts},
        ("python3", "-m", "drainproof.streams"),
        progress,
    )
