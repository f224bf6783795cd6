from __future__ import annotations

from typing import Any

import pytest

from drainproof.errors import UserError
from drainproof.model.shape import ShapeError
from drainproof.model.workload import Workload
from tests.manifests import CONTAINER, deployment


def test_a_deployment_is_read_with_kubernetes_defaults() -> None:
    obj = deployment()
    del obj["spec"]["replicas"], obj["spec"]["strategy"]
    del obj["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    found = Workload.from_object(obj)
    assert (found.replicas, found.grace_period_s) == (1, 30)
    assert found.rolling_update is not None
    assert found.rolling_update.max_unavailable.written == "25%"


def test_what_chaos_and_checks_read_is_there() -> None:
    found = Workload.from_object(deployment())
    assert (found.kind, found.namespace, found.name) == ("Deployment", "inference", "llama")
    assert (found.replicas, found.pod_labels, found.grace_period_s) == (2, {"app": "llama"}, 160)
    assert found.engine is not None
    assert found.engine.flags["--shutdown-timeout"] == "120"
    assert (found.engine.prestop_s, found.engine.drain_s) == (15, 120)
    assert (found.engine.port, found.engine.health_path) == (8000, "/health")
    assert (found.ref, found.file) == ("Deployment/inference/llama", "")


def test_the_engine_is_told_from_its_sidecars() -> None:
    obj = deployment()
    containers = obj["spec"]["template"]["spec"]["containers"]
    containers.insert(0, {"name": "proxy", "image": "envoyproxy/envoy:v1.31"})
    found = Workload.from_object(obj)
    assert found.engine is not None
    assert found.engine.container == "vllm"
    assert found.engine.path == "spec.template.spec.containers[1]"


@pytest.mark.parametrize(
    ("version", "kind", "replicas"),
    [
        ("apps/v1", "Deployment", 2),
        ("apps/v1", "StatefulSet", 2),
        ("apps/v1", "ReplicaSet", 2),
        ("apps/v1", "DaemonSet", 1),
        ("batch/v1", "Job", 1),
    ],
)
def test_every_kind_with_a_template_is_read(version: str, kind: str, replicas: int) -> None:
    found = Workload.from_object({**deployment(), "apiVersion": version, "kind": kind})
    assert found.replicas == replicas
    assert found.engine is not None


def test_a_pod_is_read_from_its_root() -> None:
    template = deployment()["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": template["spec"]}
    found = Workload.from_object(pod)
    assert found.engine is not None
    assert found.engine.path == "spec.containers[0]"


def test_an_object_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match="expected a workload"):
        Workload.from_object({"apiVersion": "v1", "kind": "Secret"})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.replicas", "two"),
        ("spec.replicas", True),
        ("spec.template", []),
        ("spec.template.spec", "x"),
        ("spec.template.spec.containers", None),
        ("spec.template.spec.containers", {}),
        ("spec.template.spec.containers[0]", "x"),
        ("spec.template.spec.containers[0].image", 1),
        ("spec.template.spec.containers[0].args", "--model"),
        ("spec.template.spec.containers[0].args[1]", 8000),
        ("spec.template.spec.containers[0].ports[0].containerPort", "http"),
        ("spec.template.spec.containers[0].readinessProbe.periodSeconds", "10"),
        ("spec.template.spec.containers[0].readinessProbe.httpGet.port", []),
        ("spec.template.spec.containers[0].resources.limits.memory", "32Gib"),
        ("spec.template.spec.terminationGracePeriodSeconds", "160"),
        ("spec.template.spec.volumes[0].emptyDir.sizeLimit", "8Gib"),
        ("spec.template.metadata.labels.app", True),
        ("spec.strategy.rollingUpdate.maxUnavailable", "one"),
        ("spec.strategy", "Recreate"),
    ],
)
def test_a_wrong_type_anywhere_is_named_with_its_path(path: str, value: object) -> None:
    obj: Any = deployment()
    at: Any = obj
    *way, last = path.replace("[", ".[").split(".")
    for step in way:
        at = at[int(step[1:-1])] if step.startswith("[") else at[step]
    at[int(last[1:-1]) if last.startswith("[") else last] = value
    with pytest.raises(ShapeError) as error:
        Workload.from_object(obj)
    assert error.value.path == path


@pytest.mark.parametrize(
    ("update", "replicas", "expected"),
    [
        ({"maxUnavailable": "25%", "maxSurge": "25%"}, 4, (1, 1)),
        ({"maxUnavailable": "25%", "maxSurge": "25%"}, 3, (0, 1)),
        ({"maxUnavailable": "10%", "maxSurge": 0}, 3, (1, 0)),
        ({"maxUnavailable": 0, "maxSurge": 1}, 3, (0, 1)),
        ({}, 8, (2, 2)),
    ],
)
def test_a_rollout_counts_as_the_controller_does(
    update: dict[str, object], replicas: int, expected: tuple[int, int]
) -> None:
    obj = deployment()
    obj["spec"]["strategy"] = {"rollingUpdate": update}
    found = Workload.from_object(obj).rolling_update
    assert found is not None
    assert found.at(replicas) == expected


def test_a_probes_named_port_is_resolved() -> None:
    found = Workload.from_object(deployment()).container
    assert found is not None
    assert found.readiness is not None
    assert found.readiness.port == CONTAINER["ports"][0]["containerPort"]
