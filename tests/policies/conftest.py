"""The real Kyverno, from the PATH or built once into the user's cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.clusters import artefacts, golang
from drainproof.judge.profiles import PROFILES
from drainproof.policies import kyverno, write
from drainproof.progress import NoProgress
from tests.policies.judging import Judge

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def programs() -> Path:
    """The folder of Kyverno's command line and engine."""
    if golang.go_tool() is None:
        pytest.skip("Go is not installed, so Kyverno cannot be built")
    artefact = kyverno.built()
    artefacts.ensure([artefact], NoProgress())
    return artefact.path


@pytest.fixture(scope="module", params=list(PROFILES))
def judge(
    request: pytest.FixtureRequest, programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Judge]:
    folder = tmp_path_factory.mktemp("policies")
    found = Judge(programs / "judge", write.enforced(), PROFILES[request.param], folder)
    yield found
    found.close()
