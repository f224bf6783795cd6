"""What the demonstration shows, as tests: a real vLLM, rolled under load, written in two ways."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from drainproof.errors import ExitCode
from drainproof.faults.catalogue import FAULTS
from drainproof.progress import PlainProgress
from fixtures import demo
from tests.e2e.targets import while_the_client_kept_up

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from drainproof.clusters import Cluster

pytestmark = [pytest.mark.e2e, pytest.mark.real_engine]

IN_FLIGHT = 20
"""Streams that have to be on the pod that goes, or the run shows nothing."""


NEW_REQUESTS = ("--rate", "16", "--tokens", "16")
"""A new request every 60 ms, and about 16 streams of a second in flight."""


@pytest.fixture(scope="module")
def deployed(embedded: Cluster) -> Iterator[None]:
    """Both ways, serving, side by side."""
    demo.remove(embedded, demo.WAYS, wait=True)
    demo.deploy(embedded, demo.WAYS, PlainProgress())
    yield
    demo.remove(embedded, demo.WAYS)


@pytest.fixture
def alone(embedded: Cluster) -> Iterator[None]:
    """Nothing else on the real engine."""
    demo.remove(embedded, demo.WAYS, wait=True)
    yield
    demo.remove(embedded, demo.WAYS)


def disturbed(
    way: demo.Way, folder: Path, load: Sequence[str] = demo.LOAD, fault: str = "rollout"
) -> tuple[ExitCode, dict[str, Any]]:
    def run(evidence: Path) -> tuple[ExitCode, dict[str, Any]]:
        code = demo.chaos(way, evidence, load, fault)
        verdict = json.loads((evidence / "verdict.json").read_bytes())
        (of_the_fault,) = verdict.get("faults") or [verdict]
        return code, of_the_fault

    return while_the_client_kept_up(run, folder / way.folder)


def changed(cluster: Cluster, spec: dict[str, Any], container: dict[str, Any]) -> None:
    """Change the sound deployment's pods, and wait until the changed ones serve."""
    containers = [{"name": "vllm", **container}]
    patch = {"spec": {"template": {"spec": {**spec, "containers": containers}}}}
    where = ("-n", demo.FIXED.namespace)
    # Before the unchanged ones have loaded: a load takes a minute.
    cluster.kubectl("apply", "-k", str(demo.FIXED.deployed))
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
    code, verdict = disturbed(demo.MODULE, tmp_path)

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
    code, verdict = disturbed(demo.FIXED, tmp_path)

    assert code == ExitCode.CLEAN
    assert verdict["verdict"] == "pass"
    assert verdict["victims"][0]["at_deletion"]["least"] >= IN_FLIGHT
    assert verdict["exposed"] > 0
    assert (verdict["dropped"], verdict["not_served"], verdict["untold"]) == (0, 0, 0)


@pytest.fixture(scope="module", params=demo.WAYS, ids=lambda way: way.folder)
def pair(embedded: Cluster, request: pytest.FixtureRequest) -> Iterator[demo.Way]:
    """Two replicas of one way, and nothing else on the real engine."""
    way: demo.Way = request.param
    demo.remove(embedded, demo.WAYS, wait=True)
    embedded.kubectl("apply", "-k", str(way.deployed))
    where = ("-n", way.namespace)
    embedded.kubectl(*where, "scale", demo.TARGET, "--replicas=2")
    embedded.kubectl(*where, "rollout", "status", demo.TARGET, "--timeout=600s")
    yield way
    demo.remove(embedded, [way])


@pytest.mark.thorough
@pytest.mark.parametrize("fault", [name for name in ("scale-down", "pod-delete") if name in FAULTS])
def test_a_pod_that_goes_takes_its_streams_with_it_unless_it_drains(
    embedded: Cluster, pair: demo.Way, tmp_path: Path, fault: str
) -> None:
    where = ("-n", pair.namespace)
    embedded.kubectl(*where, "rollout", "status", demo.TARGET, "--timeout=600s")

    code, verdict = disturbed(pair, tmp_path, fault=fault)

    assert code == pair.expected
    assert verdict["exposed"] > 0
    assert (verdict["dropped"] == 0) == (pair is demo.FIXED)
    assert verdict["cause"] == (None if pair is demo.FIXED else "engine-aborts-on-sigterm")


@pytest.mark.thorough
@pytest.mark.usefixtures("alone")
def test_a_drain_without_a_prestop_delay_fails_for_new_requests_and_for_nothing_else(
    embedded: Cluster, tmp_path: Path
) -> None:
    """kube-proxy writes its rules at most once a second: when the new pod is ready, and then, with
    the old one deleted at once, not for most of a second. Half of what is sent meanwhile meets it.
    """
    changed(embedded, {}, {"lifecycle": None})

    code, verdict = disturbed(demo.FIXED, tmp_path, NEW_REQUESTS)

    assert code == ExitCode.FINDINGS
    assert verdict["dropped"] == 0
    assert verdict["not_served"] > 0
    assert verdict["cause"] == "routed-to-terminating-pod"
    assert verdict["check"] == "prestop-delay"


@pytest.mark.thorough
@pytest.mark.usefixtures("deployed")
def test_a_grace_period_shorter_than_the_streams_is_named_as_the_cause(
    embedded: Cluster, tmp_path: Path
) -> None:
    changed(embedded, {"terminationGracePeriodSeconds": 20}, {})

    code, verdict = disturbed(demo.FIXED, tmp_path)

    assert code == ExitCode.FINDINGS
    assert verdict["dropped"] > 0
    assert verdict["cause"] == "grace-period-exceeded"


@pytest.mark.thorough
@pytest.mark.usefixtures("deployed")
def test_streams_too_short_to_be_caught_are_inconclusive(embedded: Cluster, tmp_path: Path) -> None:
    demo.deploy(embedded, [demo.FIXED], PlainProgress())

    code, verdict = disturbed(demo.FIXED, tmp_path, ("--rate", "0.5", "--tokens", "16"))

    assert code == ExitCode.INCONCLUSIVE
    assert verdict["verdict"] == "inconclusive"
