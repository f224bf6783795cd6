"""The real helm and kustomize, built once from their Go modules into the user's cache."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import artefacts, golang
from drainproof.content import content
from drainproof.progress import NoProgress

if TYPE_CHECKING:
    from pathlib import Path

TOOLS = content("fixtures") / "tools"


def built(name: str, package: str, estimate_s: float) -> Path:
    if golang.go_tool() is None:
        pytest.skip(f"Go is not installed, so {name} cannot be built")
    artefact = golang.go_binary(TOOLS / name, package, name=name, estimate_s=estimate_s)
    artefacts.ensure([artefact], NoProgress())
    return artefact.path


@pytest.fixture(scope="session")
def helm_folder() -> Path:
    return built("helm", "helm.sh/helm/v4/cmd/helm", 120)


@pytest.fixture(scope="session")
def kustomize_folder() -> Path:
    return built("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", 15)


@pytest.fixture
def helm(helm_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only program on the PATH is helm."""
    monkeypatch.setenv("PATH", str(helm_folder))


@pytest.fixture
def kustomize(kustomize_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only program on the PATH is kustomize."""
    monkeypatch.setenv("PATH", str(kustomize_folder))


@pytest.fixture
def both_tools(helm_folder: Path, kustomize_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, (helm_folder, kustomize_folder))))


@pytest.fixture
def no_tools(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
