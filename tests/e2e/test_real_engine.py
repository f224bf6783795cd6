"""What the demonstration shows, as tests: a real vLLM, rolled under load, written in two ways."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.errors import ExitCode
from drainproof.progress import PlainProgress
from fixtures import demo
from fixtures.engines import install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.clusters import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.real_engine]

IN_FLIGHT = 20
"""Streams that have to be on the pod that goes, or the run shows nothing."""


@pytest.fixture(scope="module")
def deployed(embedded: Cluster) -> Iterator[None]:
    """Both ways, serving, side by side."""
    progress = PlainProgress()
    install.publish(progress, ["vllm"])
    demo.remove(embedded, demo.WAYS, wait=True)
    demo.deploy(embedded, demo.WAYS, progress)
    yield
    demo.remove(embedded, demo.WAYS)


def rolled(
    way: demo.Way, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExitCode, dict[str, Any]]:
    evidence = tmp_path_factory.mktemp("evidence") / way.folder
    code = demo.chaos(way, evidence)
    return code, json.loads((evidence / "verdict.json").read_bytes())


@pytest.mark.parametrize("way", demo.WAYS, ids=lambda way: way.folder)
def test_the_manifests_that_the_demonstration_audits_are_what_its_kustomization_renders(
    embedded: Cluster, way: demo.Way
) -> None:
    rendered = embedded.kubectl("kustomize", str(way.shipped.with_suffix("")))

    assert list(yaml.safe_load_all(way.shipped.read_text())) == list(yaml.safe_load_all(rendered))


@pytest.mark.usefixtures("deployed")
def test_a_rollout_of_the_engine_with_default_flags_cuts_streams_and_says_why(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    code, verdict = rolled(demo.MODULE, tmp_path_factory)

    assert code == ExitCode.FINDINGS
    assert verdict["verdict"] == "fail"
    assert verdict["victims"][0]["at_deletion"]["least"] >= IN_FLIGHT
    assert verdict["dropped"] > 0
    assert verdict["cause"] == "engine-aborts-on-sigterm"
    assert verdict["check"] == "engine-drains"


@pytest.mark.usefixtures("deployed")
def test_a_rollout_of_the_engine_that_drains_drops_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    code, verdict = rolled(demo.FIXED, tmp_path_factory)

    assert code == ExitCode.CLEAN
    assert verdict["verdict"] == "pass"
    assert verdict["victims"][0]["at_deletion"]["least"] >= IN_FLIGHT
    assert verdict["exposed"] > 0
    assert (verdict["dropped"], verdict["not_served"], verdict["untold"]) == (0, 0, 0)
