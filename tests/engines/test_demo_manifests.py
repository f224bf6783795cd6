"""The demonstration's manifests render, and differ from each other in what they say they do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests.engines.running import ROOT

DEMO = ROOT / "fixtures" / "manifests" / "demo"
OVERLAYS = sorted(
    str(path.parent.relative_to(DEMO))
    for path in DEMO.rglob("kustomization.yaml")
    if "kind: Kustomization" in path.read_text()
)
CUSTOM = {"ScaledObject", "ServiceMonitor"}

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None,
    reason="kubectl, which renders kustomizations, is not installed",
)


def render(overlay: str) -> str:
    """Return what ``kubectl kustomize`` makes of an overlay."""
    argv = ["kubectl", "kustomize", str(DEMO / overlay)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(overlay: str) -> dict[str, Any]:
    """Return an overlay's objects by kind; each kind is there once."""
    rendered = list(yaml.safe_load_all(render(overlay)))
    by_kind = {one["kind"]: one for one in rendered}
    assert len(by_kind) == len(rendered)
    return by_kind


def container(overlay: str) -> dict[str, Any]:
    """Return the engine's container."""
    (found,) = objects(overlay)["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


def findings(*overlays: str) -> set[str]:
    """Return the checks that fail on overlays that are audited together."""
    text = "---\n".join(render(overlay) for overlay in overlays)
    argv = [sys.executable, "-m", "drainproof", "audit", "-", "--format", "json"]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["workloads"] == 1
    return {one["check"] for one in report["findings"] if one["verdict"] == "fail"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_renders(overlay: str) -> None:
    assert objects(overlay)


@pytest.mark.parametrize("way", ["as-the-module-writes-it", "as-it-should-be"])
def test_what_is_shipped_is_rendered_beside_its_kustomization(way: str) -> None:
    written = (DEMO / "gpu" / f"{way}.yaml").read_text()
    assert list(yaml.safe_load_all(written)) == list(yaml.safe_load_all(render(f"gpu/{way}")))


@pytest.mark.parametrize("way", ["as-the-module-writes-it", "as-it-should-be"])
def test_what_is_deployed_needs_no_custom_kinds(way: str) -> None:
    assert not CUSTOM & objects(way).keys()
    assert objects(f"{way}/scaling").keys() == CUSTOM


def test_the_two_ways_can_be_in_one_cluster() -> None:
    names = {
        objects(way)["Namespace"]["metadata"]["name"]
        for way in ("as-the-module-writes-it", "as-it-should-be")
    }
    assert names == {"inference", "inference-fixed"}


@pytest.mark.parametrize("way", ["as-the-module-writes-it", "as-it-should-be"])
def test_both_ways_consent_to_chaos(way: str) -> None:
    labels = objects(way)["Namespace"]["metadata"]["labels"]
    assert labels == {"drainproof.dev/chaos": "allowed"}


@pytest.mark.parametrize("way", ["as-the-module-writes-it", "as-it-should-be"])
def test_what_runs_here_keeps_the_arguments_probes_and_hooks_of_what_is_shipped(way: str) -> None:
    shipped, deployed = container(f"gpu/{way}"), container(way)
    for field in ("args", "readinessProbe", "startupProbe", "livenessProbe", "lifecycle", "ports"):
        assert deployed.get(field) == shipped.get(field), field
    pod = objects(way)["Deployment"]["spec"]["template"]["spec"]
    gpu = objects(f"gpu/{way}")["Deployment"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == gpu["terminationGracePeriodSeconds"]


def test_both_ways_get_the_same_resources() -> None:
    first, second = (
        container(way)["resources"] for way in ("as-the-module-writes-it", "as-it-should-be")
    )
    assert first == second
    assert "nvidia.com/gpu" not in first["limits"]


def test_the_modules_way_has_what_its_rollout_will_show() -> None:
    assert "engine-drains" in findings("gpu/as-the-module-writes-it")
    assert "engine-drains" in findings("as-the-module-writes-it", "as-the-module-writes-it/scaling")


def test_what_should_be_shipped_has_no_findings() -> None:
    assert findings("gpu/as-it-should-be") == set()


def test_what_should_be_deployed_has_no_findings() -> None:
    assert findings("as-it-should-be", "as-it-should-be/scaling") == set()


def test_the_scaler_reads_the_queue_of_its_own_namespace() -> None:
    (trigger,) = objects("as-it-should-be/scaling")["ScaledObject"]["spec"]["triggers"]
    assert 'namespace="inference-fixed"' in trigger["metadata"]["query"]
