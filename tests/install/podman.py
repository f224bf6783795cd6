"""Builds and runs images by Debian's podman, unpacked into the cache: no registry, no network."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from drainproof.clusters import artefacts, debian, recipe
from drainproof.clusters.engine import CGROUPS
from drainproof.clusters.images import Image, ImageConfig, write_archive
from drainproof.clusters.versions import versions
from drainproof.progress import PlainProgress

_CGROUP = "drainproof-podman"
_LIMIT_S = 1200
_CONFINED = (
    "--rm", "--read-only", "--network=none", "--cap-drop=all", "--security-opt=no-new-privileges",
    "--log-driver=none", f"--cgroup-parent=/{_CGROUP}",
)  # fmt: skip


@dataclass(frozen=True)
class Podman:
    """A podman with a store of its own.

    Args:
        store: The folder of its images.
    """

    store: Path

    def add_base(self, name: str, archive: Path) -> None:
        """Make a Debian root with Python, as ``python`` and with pip, the image of this name."""
        packages = ("python-is-python3", "python3-pip", "python3-venv")
        root = _root("python-base", packages, archive=True)
        write_archive([Image((name,), (root / "layer.tar",), ImageConfig())], archive)
        self.must("load", "--quiet", "--input", archive)

    def build(self, context: Path, wheels: Path, name: str) -> Done:
        """Build ``deploy/Dockerfile`` of a context, for which pip has these wheels and no index."""
        configuration = wheels / "pip.conf"
        configuration.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
        dockerfile = context / "deploy" / "Dockerfile"
        return self.run(
            "build", "--isolation=chroot", "--pull=never", "--tag", name,
            "--file", dockerfile, "--ignorefile", f"{dockerfile}.dockerignore",
            "--volume", f"{wheels}:/wheels:ro", "--volume", f"{configuration}:/etc/pip.conf:ro",
            context,
        )  # fmt: skip

    def contained(self, image: str, *words: str, options: tuple[str, ...] = ()) -> Done:
        """Run a container of an image, read-only and without network or capabilities."""
        try:
            return self.run("run", *_CONFINED, *options, image, *words)
        finally:
            _forget_cgroups()

    def must(self, *words: str | Path) -> str:
        """Run podman, which must succeed; return what it prints."""
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *words: str | Path) -> Done:
        """Run podman in namespaces of its own, with which all that it starts goes."""
        root = _root("podman", ("mount", "podman", "runc"), archive=False)
        isolate = ["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        own = [f"--root={self.store}", "--runroot=/run/containers", "--tmpdir=/run/libpod"]
        own += ["--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        return subprocess.run(
            ["unshare", *isolate, "sh", recipe.folder() / "on-root.sh", root / "root",
             "podman", *own, *words],
            capture_output=True, text=True, check=False, timeout=_LIMIT_S,
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.store)},
        )  # fmt: skip


Done = subprocess.CompletedProcess[str]


def _root(name: str, packages: tuple[str, ...], *, archive: bool) -> Path:
    """Return the folder in the cache of a Debian root with packages, made if it is not there."""
    release = debian.Release(versions().suite, versions().component)
    root = debian.root_file_system(name, packages, release, archive=archive, estimate_s=60)
    artefacts.ensure([root], PlainProgress())
    return root.path


def _forget_cgroups() -> None:
    """Remove what runc leaves of a container that is gone."""
    for top in CGROUPS.rglob(_CGROUP):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
