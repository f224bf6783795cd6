"""What the demonstration shows, as tests: a real vLLM, rolled under load, written in two ways."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.errors import ExitCode
from drainproof.progress import PlainProgress
from fixtures import demo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.real_engine]

IN_FLIGHT = 20
"""Streams that have to be on the pod that goes, or the run shows nothing."""


@pytest.fixture(scope="module")
def deployed(embedded: Cluster) -> Iterator[None]:
    """Both ways, serving, side by side."""
    demo.remove(embedded, demo.WAYS, wait=True)
    demo.deploy(embedded, demo.WAYS, PlainProgress())
    yield
    demo.remove(embedded, demo.WAYS)


def rolled(
    way: demo.Way, folder: Path, load: Sequence[str] = demo.LOAD
) -> tuple[ExitCode, dict[str, Any]]:
    code = demo.chaos(way, folder / way.folder, load)
    return code, json.loads((folder / way.folder / "verdict.json").read_bytes())


def changed(cluster: Cluster, spec: dict[str, Any], container: dict[str, Any]) -> None:
    """Change the sound deployment's pods, and wait until the changed ones serve."""
    containers = [{"name": "vllm", **container}]
    patch = {"spec": {"template": {"spec": {**spec, "containers": containers}}}}
    demo.deploy(cluster, [demo.FIXED], PlainProgress())
    where = ("-n", demo.FIXED.namespace)
    cluster.kubectl(*where, "patch", demo.TARGET, "--type=strategic", "-p", json.dumps(patch))
    cluster.kubectl(*where, "rollout", "status", demo.TARGET, "--timeout=600s")


@pytest.mark.parametrize("way", demo.WAYS, ids=lambda way: way.folder)
def test_the_manifests_that_the_demonstration_audits_are_what_its_kustomization_renders(
    embedded: Cluster, way: demo.Way
) -> None:
    rendered = embedded.kubectl("kustomize", str(way.shipped.with_suffix("")))

    assert list(yaml.safe_load_all(way.shipped.read_text())) == list(yaml.safe_load_all(rendered))


@pytest.mark.usefixtures("deployed")
def test_a_rollout_of_the_engine_with_default_flags_cuts_streams_and_says_why(
    tmp_path: Path,
) -> None:
    code, verdict = rolled(demo.MODULE, tmp_path)

    assert code == ExitCode.FINDINGS
    assert verdict["verdict"] == "fail"
    assert verdict["victims"][0]["at_deletion"]["least"] >= IN_FLIGHT
    assert verdict["dropped"] > 0
    assert verdict["cause"] == "engine-aborts-on-sigterm"
    assert verdict["check"] == "engine-drains"


@pytest.mark.usefixtures("deployed")
def test_a_rollout_of_the_engine_that_drains_drops_nothing(
    tmp_path: Path,
) -> None:
    code, verdict = rolled(demo.FIXED, tmp_path)

    assert code == ExitCode.CLEAN
    assert verdict["verdict"] == "pass"
    assert verdict["victims"][0]["at_deletion"]["least"] >= IN_FLIGHT
    assert verdict["exposed"] > 0
    assert (verdict["dropped"], verdict["not_served"], verdict["untold"]) == (0, 0, 0)


@pytest.mark.thorough
@pytest.mark.usefixtures("deployed")
def test_a_drain_without_a_prestop_delay_fails_only_for_new_requests(
    embedded: Cluster, tmp_path: Path
) -> None:
    changed(embedded, {}, {"lifecycle": None})

    code, verdict = rolled(demo.FIXED, tmp_path)

    assert verdict["dropped"] == 0
    assert (code == ExitCode.FINDINGS) == (verdict["not_served"] > 0)
    assert set(verdict["outcomes"]) <= {"complete", "refused", "rejected", "reset", "no_response"}


@pytest.mark.thorough
@pytest.mark.usefixtures("deployed")
def test_a_grace_period_shorter_than_the_streams_is_named_as_the_cause(
    embedded: Cluster, tmp_path: Path
) -> None:
    changed(embedded, {"terminationGracePeriodSeconds": 20}, {})

    code, verdict = rolled(demo.FIXED, tmp_path)

    assert code == ExitCode.FINDINGS
    assert verdict["dropped"] > 0
    assert verdict["cause"] == "grace-period-exceeded"


@pytest.mark.thorough
@pytest.mark.usefixtures("deployed")
def test_streams_too_short_to_be_caught_are_inconclusive(embedded: Cluster, tmp_path: Path) -> None:
    demo.deploy(embedded, [demo.FIXED], PlainProgress())

    code, verdict = rolled(demo.FIXED, tmp_path, ("--rate", "0.5", "--tokens", "16"))

    assert code == ExitCode.INCONCLUSIVE
    assert verdict["verdict"] == "inconclusive"
