"""Workloads of every kind: where their pods are, what role each has, and how they roll."""

from __future__ import annotations

import pytest

from drainproof.model import workload
from drainproof.model.kinds import KINDS, kind_of
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from drainproof.model.workload import Workload
from tests.manifests import CONTAINER, Raw, deployment

TEMPLATE: Raw = deployment()["spec"]["template"]
WORKER: Raw = {
    "spec": {
        "containers": [
            {
                "name": "worker",
                "image": "lmsysorg/sglang:v0.5.9",
                "command": ["python3", "-m", "sglang.launch_server"],
                "args": ["--model-path=m", "--nnodes=2", "--node-rank", "$(LWS_WORKER_INDEX)"],
                "resources": {"limits": {"nvidia.com/gpu": 8}},
            }
        ]
    }
}


def custom(version: str, kind: str, spec: Raw) -> Raw:
    metadata = {"name": "llama", "namespace": "inference"}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def lws(**template: Raw) -> Raw:
    spec = {"replicas": 2, "leaderWorkerTemplate": {"size": 2, **template}}
    return custom("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", spec)


def parts(obj: Raw) -> dict[str, Workload]:
    """Return the workloads that run an engine, by role."""
    return {part.role: part for part in Snapshot.of([obj], partial=True).workloads}


def only(obj: Raw) -> Workload:
    (found,) = Snapshot.of([obj], partial=True).workloads
    return found


INLINE: list[tuple[Raw, str, str]] = [
    (
        custom("apps/v1", "Deployment", {"template": TEMPLATE}),
        "spec.template.spec",
        "spec.replicas",
    ),
    (
        custom("batch/v1", "CronJob", {"jobTemplate": {"spec": {"template": TEMPLATE}}}),
        "spec.jobTemplate.spec.template.spec",
        "",
    ),
    (
        custom("argoproj.io/v1alpha1", "Rollout", {"template": TEMPLATE}),
        "spec.template.spec",
        "spec.replicas",
    ),
    (
        custom("serving.knative.dev/v1", "Service", {"template": TEMPLATE}),
        "spec.template.spec",
        "",
    ),
    (
        custom("serving.kserve.io/v1beta1", "InferenceService", {"predictor": TEMPLATE["spec"]}),
        "spec.predictor",
        "spec.predictor.minReplicas",
    ),
    (
        custom("serving.kserve.io/v1alpha1", "ServingRuntime", TEMPLATE["spec"]),
        "spec",
        "",
    ),
    (
        custom("example.com/v1", "Model", {"serving": {"pods": {"template": TEMPLATE}}}),
        "spec.serving.pods.template.spec",
        "",
    ),
    (
        custom("example.com/v1", "Model", {"replicas": 3, "template": TEMPLATE}),
        "spec.template.spec",
        "spec.replicas",
    ),
]


@pytest.mark.parametrize(("obj", "path", "replicas"), INLINE, ids=lambda item: str(item)[:40])
def test_the_pods_of_a_kind_are_found_where_it_keeps_them(
    obj: Raw, path: str, replicas: str
) -> None:
    found = only(obj)
    assert (found.pod_path, found.replicas_path, found.role) == (path, replicas, "")
    assert found.engine is not None
    assert found.engine.path == f"{path}.containers[0]"
    assert found.ref == f"{obj['kind']}/inference/llama"


@pytest.mark.parametrize("kind", KINDS, ids="/".join)
def test_a_kind_whose_spec_has_another_type_is_refused_with_its_path(kind: tuple[str, str]) -> None:
    obj = {**custom(f"{kind[0]}/v1" if kind[0] else "v1", kind[1], {}), "spec": "x"}
    with pytest.raises(ShapeError, match="spec"):
        workload.read(obj)


def test_a_group_has_a_workload_for_each_role() -> None:
    found = parts(lws(leaderTemplate=TEMPLATE, workerTemplate=WORKER))
    assert set(found) == {"leader", "worker"}
    assert found["leader"].ref == "LeaderWorkerSet/inference/llama (leader)"
    assert found["worker"].pod_path == "spec.leaderWorkerTemplate.workerTemplate.spec"
    assert found["leader"].name == found["worker"].name == "llama"


def test_only_the_part_of_a_group_that_answers_serves() -> None:
    found = parts(lws(leaderTemplate=TEMPLATE, workerTemplate=WORKER))
    assert {role: part.serves for role, part in found.items()} == {"leader": True, "worker": False}
    assert {role: part.scales for role, part in found.items()} == {"leader": True, "worker": False}


def test_workers_alone_answer_for_themselves() -> None:
    found = parts(lws(workerTemplate=WORKER))
    assert found[""].serves


def test_workers_of_ray_are_no_engines() -> None:
    ray = {**CONTAINER, "command": ["bash", "-c", "ray start --block --address=$(LEADER)"]}
    found = parts(lws(leaderTemplate=TEMPLATE, workerTemplate={"spec": {"containers": [ray]}}))
    assert set(found) == {"leader"}


@pytest.mark.parametrize("args", [["--headless"], ["--node-rank=1"]])
def test_pods_that_say_so_do_not_serve(args: list[str]) -> None:
    assert not only(deployment(args=["--model=m", *args])).serves


def test_what_the_operator_puts_on_pods_is_among_their_labels() -> None:
    found = parts(lws(leaderTemplate=TEMPLATE))[""]
    assert found.pod_labels == {"leaderworkerset.sigs.k8s.io/name": "llama", "app": "llama"}


def ray(**container: object) -> Raw:
    pod = deployment(**container)["spec"]["template"]
    head = {"spec": {"containers": [{"name": "head", "image": "rayproject/ray:2.40.0"}]}}
    groups = [{"groupName": "gpu-group", "replicas": 4, "template": pod}]
    cluster = {"headGroupSpec": {"template": head}, "workerGroupSpecs": groups}
    return custom("ray.io/v1", "RayService", {"rayClusterConfig": cluster})


def test_a_group_of_ray_is_named_after_itself_and_has_its_own_number() -> None:
    found = parts(ray(command=["vllm", "serve", "m"]))["gpu-group"]
    at = "spec.rayClusterConfig.workerGroupSpecs[0]"
    assert (found.replicas, found.replicas_path) == (4, f"{at}.replicas")
    assert found.pod_path == f"{at}.template.spec"


def test_an_image_alone_tells_nothing_where_ray_is_started_in_it() -> None:
    assert parts(ray(args=None)) == {}


STORM = {
    "replicas": 1,
    "template": {
        "spec": {
            "roles": [
                {"name": "prefill", "replicas": 2, "template": TEMPLATE},
                {"name": "decode", "replicas": 5, "template": TEMPLATE},
                {
                    "name": "router",
                    "template": {
                        "spec": {"containers": [{"name": "r", "image": "aibrix/gateway:1"}]}
                    },
                },
            ]
        }
    },
}


def test_templates_nested_in_an_unknown_resource_are_found_with_their_names() -> None:
    found = parts(custom("orchestration.aibrix.ai/v1alpha1", "StormService", STORM))
    assert {role: part.replicas for role, part in found.items()} == {"prefill": 2, "decode": 5}
    assert found["decode"].replicas_path == "spec.template.spec.roles[1].replicas"
    assert found["decode"].ref == "StormService/inference/llama (decode)"


def test_templates_without_names_are_told_apart_by_their_paths() -> None:
    spec = {"prefill": {"template": TEMPLATE}, "decode": {"template": TEMPLATE}}
    assert set(parts(custom("example.com/v1", "Pair", spec))) == {"prefill", "decode"}


def test_templates_of_one_name_get_numbers() -> None:
    spec = {"roles": [{"name": "a", "template": TEMPLATE}, {"name": "a", "template": TEMPLATE}]}
    assert set(parts(custom("example.com/v1", "Pair", spec))) == {"a 0", "a 1"}


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "ConfigMap"),
        ("monitoring.coreos.com/v1", "Prometheus"),
        ("kyverno.io/v1", "ClusterPolicy"),
        ("keda.sh/v1alpha1", "ScaledObject"),
        ("apps/v1", "ControllerRevision"),
    ],
)
def test_kinds_that_run_no_engine_are_not_looked_through(version: str, kind: str) -> None:
    assert kind_of(custom(version, kind, {"template": TEMPLATE})) is None


def test_looking_for_templates_ends_however_deep_a_resource_is() -> None:
    deep: Raw = {"containers": [CONTAINER]}
    for _ in range(10_000):
        deep = {"a": deep}
    assert kind_of(custom("example.com/v1", "Deep", deep)) is None


def test_a_group_of_which_one_part_is_a_patch_is_read_without_it() -> None:
    patch = {"spec": {"containers": [{"name": "worker", "resources": {}}]}}
    assert set(parts(lws(leaderTemplate=TEMPLATE, workerTemplate=patch))) == {"leader"}


def rolled(obj: Raw) -> tuple[str, str, str, str] | None:
    found = workload.read(obj)[0].rolling_update
    if found is None:
        return None
    missing, extra = found.max_unavailable.written, found.max_surge.written
    return missing, extra, found.unavailable_path, found.surge_path


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            custom("apps/v1", "DaemonSet", {"template": TEMPLATE}),
            (
                "1",
                "0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable",
                "spec.updateStrategy.rollingUpdate.maxSurge",
            ),
        ),
        (
            custom("apps/v1", "StatefulSet", {"template": TEMPLATE}),
            ("1", "0", "spec.updateStrategy.rollingUpdate.maxUnavailable", ""),
        ),
        (
            custom("argoproj.io/v1alpha1", "Rollout", {"template": TEMPLATE}),
            (
                "25%",
                "25%",
                "spec.strategy.canary.maxUnavailable",
                "spec.strategy.canary.maxSurge",
            ),
        ),
        (
            custom(
                "argoproj.io/v1alpha1",
                "Rollout",
                {"template": TEMPLATE, "strategy": {"blueGreen": {"activeService": "a"}}},
            ),
            ("0", "100%", "spec.strategy.blueGreen", "spec.strategy.blueGreen"),
        ),
        (
            lws(leaderTemplate=TEMPLATE),
            (
                "1",
                "0",
                "spec.rolloutStrategy.rollingUpdateConfiguration.maxUnavailable",
                "spec.rolloutStrategy.rollingUpdateConfiguration.maxSurge",
            ),
        ),
        (
            custom("serving.knative.dev/v1", "Service", {"template": TEMPLATE}),
            ("0", "100%", "spec.template", "spec.template"),
        ),
        (ray(), ("0", "100%", "spec.upgradeStrategy", "spec.upgradeStrategy")),
        (custom("batch/v1", "Job", {"template": TEMPLATE}), None),
        (
            custom(
                "serving.kserve.io/v1beta1", "InferenceService", {"predictor": TEMPLATE["spec"]}
            ),
            None,
        ),
    ],
    ids=lambda item: item["kind"] if isinstance(item, dict) else "",
)
def test_each_kind_rolls_in_its_own_way(
    obj: Raw, expected: tuple[str, str, str, str] | None
) -> None:
    assert rolled(obj) == expected


def test_a_predictors_own_strategy_is_read() -> None:
    predictor = {**TEMPLATE["spec"], "deploymentStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}
    obj = custom("serving.kserve.io/v1beta1", "InferenceService", {"predictor": predictor})
    assert rolled(obj) == (
        "0",
        "25%",
        "spec.predictor.deploymentStrategy.rollingUpdate.maxUnavailable",
        "spec.predictor.deploymentStrategy.rollingUpdate.maxSurge",
    )


@pytest.mark.parametrize(
    ("mode", "missing"), [("RawDeployment", "25%"), ("Standard", "25%"), ("Serverless", "0")]
)
def test_a_predictor_rolls_as_its_deployment_mode_says(mode: str, missing: str) -> None:
    obj = custom("serving.kserve.io/v1beta1", "InferenceService", {"predictor": TEMPLATE["spec"]})
    obj["metadata"]["annotations"] = {"serving.kserve.io/deploymentMode": mode}
    found = rolled(obj)
    assert found is not None
    assert found[0] == missing


def test_a_revisions_timeout_is_its_grace_period() -> None:
    pod = {"containers": [CONTAINER], "timeoutSeconds": 240}
    found = only(custom("serving.knative.dev/v1", "Service", {"template": {"spec": pod}}))
    assert (found.grace_period_s, found.grace_path) == (240, "spec.template.spec.timeoutSeconds")
    del pod["timeoutSeconds"]
    found = only(custom("serving.knative.dev/v1", "Service", {"template": {"spec": pod}}))
    assert (found.grace_period_s, found.grace_written) == (300, False)


def test_what_rule_writers_ask_of_a_pod_is_there() -> None:
    obj = deployment()
    pod = obj["spec"]["template"]["spec"]
    pod["initContainers"] = [
        {"name": "fetch", "image": "a:1"},
        {"name": "proxy", "image": "b:1", "restartPolicy": "Always"},
    ]
    obj["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
    found = Workload.from_object(obj)
    assert [(item.name, item.sidecar) for item in found.init_containers] == [
        ("fetch", False),
        ("proxy", True),
    ]
    assert found.volumes["dshm"]["emptyDir"]["medium"] == "Memory"
    assert found.volume_path("dshm") == "spec.template.spec.volumes[0]"
    assert found.volume_path("other") == "spec.template.spec.volumes"
    assert found.pod_annotations == {"a": "b"}
    assert found.container is not None
    assert found.container.gpu_resources == {"nvidia.com/gpu": 1}


@pytest.mark.parametrize("replicas", ["two", True, None])
def test_a_wrong_number_of_pods_is_an_error_in_a_known_kind_only(replicas: object) -> None:
    obj = custom("example.com/v1", "Model", {"replicas": replicas, "template": TEMPLATE})
    assert only(obj).replicas == 1
