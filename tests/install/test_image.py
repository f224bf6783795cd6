"""The image is what its Dockerfile says: pinned, by hashes, and nobody's root."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from drainproof import __version__
from drainproof.clusters import artefacts
from drainproof.clusters.packages import PYTHON, python_packages
from drainproof.content import content
from drainproof.progress import NoProgress
from tests.manifests import deployment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = content("deploy")
TEXT = (FOLDER / "Dockerfile").read_text()
COPIES_BILL = ("COPY", "deploy/sbom.cdx.json /usr/local/share/sbom/drainproof.cdx.json")
_PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
_BASE = re.compile(r"python:\d+\.\d+\.\d+-slim-\w+")


def instructions(text: str) -> list[tuple[str, str]]:
    """Return each instruction with its argument."""
    joined = text.replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(line[0], line[1]) for line in lines if not line[0].startswith("#")]


def lax(text: str) -> Iterator[str]:
    """Yield what is not pinned, run by a shell, or root's."""
    found = instructions(text)
    for name, rest in found:
        if name == "FROM" and not _BASE.fullmatch(rest.split()[0]):
            yield f"base {rest} is not pinned"
        if name in {"RUN", "ENTRYPOINT", "CMD"} and not rest.startswith("["):
            yield f"{name} by a shell"
        if name == "RUN" and '"install"' in rest and '"--no-deps"' not in rest:
            yield "installs what is not listed"
        if name == "RUN" and '"--requirement"' in rest and '"--require-hashes"' not in rest:
            yield "installs without hashes"
        if name == "ADD":
            yield "ADD fetches and unpacks"
    users = [rest for name, rest in found if name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield "runs as root, or as a name that Kubernetes can't tell from root"


def test_the_image_is_pinned_and_nobodys_root() -> None:
    assert list(lax(TEXT)) == []
    assert ("ENTRYPOINT", '["drainproof"]') in instructions(TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("FROM python:", "FROM docker.io/library/python:"),
        ("-slim-trixie", ""),
        ("USER 65532:65532", "USER root"),
        ("USER 65532:65532\n", ""),
        ('"--require-hashes", ', ""),
        ('RUN ["python", "-m", "venv", "--without-pip", "/opt/drainproof"]', "RUN curl x | sh"),
        ("COPY dist/", "ADD dist/"),
    ],
)
def test_an_image_that_is_not_is_seen(old: str, new: str) -> None:
    assert old in TEXT
    assert list(lax(TEXT.replace(old, new))) != []


def test_it_has_its_bill_of_materials_where_scanners_look() -> None:
    found = instructions(TEXT)
    last = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    assert COPIES_BILL in found[last:]


def test_all_that_is_copied_is_let_through_to_the_builder() -> None:
    let_through = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [rest.split()[0] for name, rest in instructions(TEXT) if name == "COPY"]
    taken = [source.rstrip("/") for source in sources if not source.startswith("--from")]
    assert let_through == ["*", *sorted(f"!{source}" for source in set(taken))]


def test_its_version_is_this_one() -> None:
    assert f"drainproof=={__version__}" in TEXT
    assert f"drainproof:{__version__} " in TEXT


def test_what_it_installs_is_what_is_tested() -> None:
    image = dict(_PIN.findall((FOLDER / "requirements.lock").read_text()))
    tested = dict(_PIN.findall((FOLDER.parent / "requirements.lock").read_text()))
    assert {name: tested.get(name) for name in image} == image
    assert {"kubernetes", "orjson", "click"} <= image.keys()
    assert not {"mypy", "ruff", "playwright"} & image.keys()


def test_each_package_has_a_hash() -> None:
    text = (FOLDER / "requirements.lock").read_text()
    pieces = re.split(r"(?m)^(?=[\w.-]+==)", text)[1:]
    assert len(pieces) == len(_PIN.findall(text))
    assert [piece for piece in pieces if "--hash=sha256:" not in piece] == []


@pytest.fixture(scope="module")
def packages() -> Path:
    artefact = python_packages("audit", FOLDER / "requirements.lock")
    artefacts.ensure([artefact], NoProgress())
    return artefact.path / "site-packages"


def ran(packages: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run drainproof with what the image has, and without what the tests have."""
    code = f"import sys; sys.path[:0] = {[str(packages), str(FOLDER.parent)]!r}\n"
    code += "from drainproof.cli import main; sys.argv[0] = 'drainproof'; main()"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, *words],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.skipif(
    sys.version_info[:2] != tuple(map(int, PYTHON.split("."))),
    reason=f"the packages are made for Python {PYTHON}",
)
def test_what_it_installs_is_enough_to_audit_and_to_reach_a_cluster(
    packages: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(deployment(lifecycle=None)))
    found = ran(packages, "audit", str(tmp_path), "--select", "prestop-delay")
    assert (found.returncode, found.stderr) == (1, "")
    away = ran(packages, "install", "audit", "--apply", "--context", "nowhere")
    assert "there is no context 'nowhere'" in away.stderr
    assert "DP104" in found.stdout


def test_with_nothing_installed_it_does_not_run(tmp_path: Path) -> None:
    assert "No module named" in ran(tmp_path, "rules").stderr
