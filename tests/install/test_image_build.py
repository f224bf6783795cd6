"""The Dockerfile builds without a registry; its image holds and does what it says, and no more.

Its base can't be pulled here: Debian's own Python stands in for it, under its name.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from docs import sbom
from drainproof import __version__
from drainproof.clusters.packages import PYTHON
from tests.install.podman import Podman
from tests.install.test_image import FOLDER, TEXT
from tests.manifests import deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.thorough

NAME = "localhost/drainproof:test"
BASE = "docker.io/library/" + TEXT.partition("\nFROM ")[2].split()[0]
COPIED = ("/opt/drainproof", "/usr/local/share/sbom")
LIST = """if True:
    import json
    from importlib.metadata import distributions
    found = distributions(path=["/opt/drainproof/lib/python%s/site-packages"])
    print(json.dumps({one.metadata["Name"]: one.version for one in found}))
"""
WHO = """if True:
    import os
    print(os.getuid(), os.getgid(), os.access("/opt/drainproof", os.W_OK))
"""


def download(python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Download what the image installs, for one Python."""
    return subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes",
         "--only-binary=:all:", "--python-version", python,
         "--requirement", FOLDER / "requirements.lock", "--dest", folder],
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    done = download(PYTHON, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the Dockerfile's own comment makes: the wheel, beside deploy/."""
    folder = tmp_path_factory.mktemp("context")
    shutil.copytree(FOLDER, folder / "deploy")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "dist"],
        cwd=FOLDER.parent, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    folder = tmp_path_factory.mktemp("podman")
    made = Podman(folder / "store")
    made.add_base(BASE, folder / "base.tar")
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(podman: Podman, context: Path, wheels: Path) -> str:
    done = podman.build(context, wheels, NAME)
    assert done.returncode == 0, done.stderr
    return NAME


def python(podman: Podman, image: str, code: str) -> str:
    done = podman.contained(image, "-c", code, options=("--entrypoint=python",))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_drainproof(podman: Podman, image: str) -> None:
    done = podman.contained(image, "--version")
    assert (done.returncode, done.stdout) == (0, f"drainproof, version {__version__}\n")


def test_it_audits_from_a_read_only_root_without_a_network(
    podman: Podman, image: str, tmp_path: Path
) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir(mode=0o755)  # pytest's own is root's alone
    (folder / "a.yaml").write_text(yaml.safe_dump(deployment(lifecycle=None)))
    mounted = ("--volume", f"{folder}:/manifests:ro")
    done = podman.contained(
        image, "audit", "/manifests", "--select", "prestop-delay", options=mounted
    )
    assert done.returncode == 1, done.stderr
    assert "DP104" in done.stdout


def test_it_is_nobody_and_can_not_change_itself(podman: Podman, image: str) -> None:
    assert python(podman, image, WHO).split() == ["65532", "65532", "False"]


def test_it_holds_nothing_but_what_the_dockerfile_copies(podman: Podman, image: str) -> None:
    found = json.loads(podman.must("image", "diff", "--format=json", image, BASE))
    assert found.get("deleted", []) == []
    above = {path for one in COPIED for path in parents(one)}
    assert set(found["changed"]) <= above
    assert [path for path in found["added"] if not inside(path)] == []
    assert set(COPIED) <= set(found["added"])


def parents(path: str) -> list[str]:
    words = path.split("/")[1:-1]
    return ["/" + "/".join(words[: count + 1]) for count in range(len(words))]


def inside(path: str) -> bool:
    return any(path == one or path.startswith(f"{one}/") for one in COPIED)


def test_its_packages_are_those_of_its_bill_of_materials(podman: Podman, image: str) -> None:
    there = json.loads(python(podman, image, LIST % PYTHON))
    read = "print(open('/usr/local/share/sbom/drainproof.cdx.json').read(), end='')"
    bill = python(podman, image, read)
    assert bill == sbom.PAGE.read_text(encoding="utf-8")
    listed = json.loads(bill)
    components = [*listed["components"], listed["metadata"]["component"]]
    assert {canonical(name): version for name, version in there.items()} == {
        canonical(one["name"]): one["version"] for one in components
    }


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.usefixtures("image")
def test_a_package_that_is_another_than_the_lock_says_is_not_installed(
    podman: Podman, context: Path, wheels: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(context, tmp_path / "context")
    lock = other / "deploy" / "requirements.lock"
    first, rest = lock.read_text().split("    # via", 1)
    none = re.sub("sha256:[0-9a-f]{64}", "sha256:" + "0" * 64, first)
    assert none != first
    lock.write_text(f"{none}    # via{rest}")
    done = podman.build(other, wheels, "localhost/drainproof:other")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stdout + done.stderr


def test_each_package_has_a_wheel_for_the_python_of_the_real_base(tmp_path: Path) -> None:
    version = BASE.partition(":")[2].rpartition(".")[0]
    assert re.fullmatch(r"3\.\d+", version)
    done = download(version, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.whl"))) > 40
