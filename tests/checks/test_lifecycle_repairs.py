"""What the checks on lifecycle and probes propose does mend what they found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment
from tests.repairs import mend

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.judge.audit import AuditResult

FIXTURES = content("fixtures") / "manifests"
CHECKS = [
    check for check in registry.load(kind="manifest").checks if check.id.startswith(("DP1", "DP2"))
]
SLUGS = {check.slug for check in CHECKS}
BAD = sorted(path for path in FIXTURES.glob("*/bad-*.yaml") if path.parent.name in SLUGS)


def mended(*objects: dict[str, Any], profile: str = "production") -> tuple[Any, AuditResult]:
    """Return the first object as it is after mending, and what is still found then."""
    found, result = mend(Snapshot.of(objects), PROFILES[profile], CHECKS)
    return (found[0].after if found else objects[0]), result


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_that_can_be_mended_is_left_after_mending(path: Path) -> None:
    _, result = mend(files.read([path]), PROFILES["production"], CHECKS)
    assert result.problems == ()
    left = [(outcome.check.slug, item.message) for outcome, item in result.findings if item.repair]
    assert left == []


def test_the_modules_deployment_becomes_one_that_drains() -> None:
    """Numbers that depend on each other come out so that they fit."""
    obj = deployment(args=["--model=m"], lifecycle=None, startupProbe=None, readinessProbe=None)
    spec = obj["spec"]["template"]["spec"]
    del spec["terminationGracePeriodSeconds"]
    after, result = mended(obj)
    spec = after["spec"]["template"]["spec"]
    container = spec["containers"][0]
    assert spec["terminationGracePeriodSeconds"] == 15 + 120 + 20
    assert container["args"] == ["--model=m", "--shutdown-timeout=120"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 15}}}
    assert container["startupProbe"]["failureThreshold"] * 10 == 600
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    assert after["spec"]["progressDeadlineSeconds"] == 900
    assert {outcome.check.slug for outcome, _ in result.findings} == {"disruption-budget"}


def test_the_drain_is_what_the_grace_period_leaves_room_for() -> None:
    obj = deployment(args=["--model=m"])
    obj["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 200
    after, _ = mended(obj)
    args = after["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["--model=m", "--shutdown-timeout=165"]


@pytest.mark.parametrize("written", [["--shutdown_timeout", "0"], ["--shutdown-timeout=0"]])
def test_a_drain_of_zero_is_replaced_not_doubled(written: list[str]) -> None:
    obj = deployment(args=["--model=m", *written, "--port=8000"])
    after, _ = mended(obj)
    args = after["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == ["--model=m", "--port=8000", "--shutdown-timeout=125"]


@pytest.mark.parametrize(
    "container",
    [
        {"image": "vllm/vllm-openai:v0.10.2", "args": ["--model=m"]},  # it has no such flag
        {"image": "vllm/vllm-openai", "args": ["--model=m"]},  # it may not have it
        {"command": ["sh", "-c"], "args": ["exec vllm serve m"]},  # it belongs into the script
    ],
)
def test_a_drain_that_would_be_a_guess_is_left_to_people(container: dict[str, Any]) -> None:
    after, result = mended(deployment(**container))
    assert after["spec"]["template"]["spec"]["containers"][0]["args"] == container["args"]
    assert "engine-drains" in {outcome.check.slug for outcome, _ in result.findings}


def test_exec_is_put_before_the_engine_and_nowhere_else() -> None:
    script = "echo starting vllm\nexport A=1\nB=2 vllm serve m \\\n  --shutdown-timeout 120\n"
    after, _ = mended(deployment(command=["/bin/sh", "-c", script], args=None))
    command = after["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command == ["/bin/sh", "-c", script.replace("B=2 vllm", "B=2 exec vllm")]


def test_a_surge_is_added_and_what_surges_enough_is_kept() -> None:
    obj = deployment()
    obj["spec"]["strategy"] = {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": "50%"}}
    after, _ = mended(obj)
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": "50%"}


@pytest.mark.parametrize(
    ("modes", "pod_spec", "replicas"),
    [
        (["ReadWriteOnce"], {}, 1),
        (["ReadWriteOncePod"], {"nodeName": "gpu-1"}, 1),
        (["ReadWriteMany"], {}, 2),
        (["ReadWriteOnce"], {"nodeName": "gpu-1"}, 2),
    ],
)
def test_a_second_replica_that_could_not_mount_a_volume_is_left_to_people(
    modes: list[str], pod_spec: dict[str, Any], replicas: int
) -> None:
    obj = deployment()
    obj["spec"]["replicas"] = 1
    pods = obj["spec"]["template"]["spec"]
    pods["volumes"].append({"name": "data", "persistentVolumeClaim": {"claimName": "weights"}})
    pods.update(pod_spec)
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "weights", "namespace": "inference"},
        "spec": {"accessModes": modes},
    }
    after, result = mended(obj, claim)
    assert after["spec"]["replicas"] == replicas
    said = [item.message for outcome, item in result.findings if outcome.check.id == "DP107"]
    assert [f"inference/weights is {modes[0]}" in message for message in said] == (
        [True] if replicas == 1 else []
    )


def test_recreate_is_left_to_people() -> None:
    """It may be on purpose, where no GPU is free for a surge."""
    obj = deployment()
    obj["spec"]["strategy"] = {"type": "Recreate"}
    after, result = mended(obj)
    assert after["spec"]["strategy"] == {"type": "Recreate"}
    assert "rolling-update" in {outcome.check.slug for outcome, _ in result.findings}
