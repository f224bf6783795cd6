"""The capacity checks beyond their fixtures: what can't be told, and what is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from drainproof.collect import files
from drainproof.content import content
from drainproof.judge import audit, registry
from drainproof.judge.profiles import PROFILES
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment
from tests.repairs import mend

if TYPE_CHECKING:
    from pathlib import Path

    from drainproof.model.finding import Finding

CHECKS = {check.slug: check for check in registry.load(kind="manifest").checks}
CAPACITY = (
    "shared-memory",
    "tensor-parallel-matches-gpus",
    "gpu-limits",
    "gpu-placement",
    "gpu-memory-utilization",
    "max-model-len",
    "max-num-seqs",
    "no-enforce-eager",
    "host-memory",
    "quantization",
    "prefix-and-chunking",
)
FIXTURES = content("fixtures") / "manifests"
LLAMA = "--model=meta-llama/Llama-3.1-8B-Instruct"
WRAPPED = {"command": ["/start.sh"], "args": []}


def outcome(slug: str, *objects: dict[str, Any], profile: str = "production") -> audit.Outcome:
    result = audit.run(Snapshot.of(objects), PROFILES[profile], [CHECKS[slug]])
    assert result.problems == ()
    (found,) = result.outcomes
    return found


def only(slug: str, *objects: dict[str, Any]) -> Finding:
    (finding,) = outcome(slug, *objects).findings
    return finding


def with_pod(raw: dict[str, Any], **pod: object) -> dict[str, Any]:
    raw["spec"]["template"]["spec"].update(pod)
    return raw


def gpus(count: int) -> dict[str, Any]:
    return {"limits": {"nvidia.com/gpu": count, "memory": "64Gi"}}


def node(name: str, *, gpus: int, taint: str = "", **labels: str) -> dict[str, Any]:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": taints},
        "status": {"allocatable": {"nvidia.com/gpu": str(gpus)} if gpus else {}},
    }


REPAIRED = [
    (slug, path)
    for slug in CAPACITY
    for path in sorted((FIXTURES / slug).glob("bad-*.yaml"))
    if any(
        finding.repair
        for _, finding in audit.run(
            files.read([path]), PROFILES["production"], [CHECKS[slug]]
        ).findings
    )
]


@pytest.mark.parametrize(
    ("slug", "path"), REPAIRED, ids=lambda value: getattr(value, "stem", value)
)
def test_a_repair_mends_what_it_is_offered_for(slug: str, path: Path) -> None:
    check = [CHECKS[slug]]
    mended, after = mend(files.read([path]), PROFILES["production"], check)
    assert len(mended) == 1
    assert [finding.message for _, finding in after.findings if finding.repair] == []


def test_most_capacity_checks_offer_a_repair_somewhere() -> None:
    assert {slug for slug, _ in REPAIRED} >= {
        "shared-memory",
        "gpu-limits",
        "no-enforce-eager",
        "quantization",
        "prefix-and-chunking",
    }


def test_shared_memory_is_not_added_where_the_memory_limit_leaves_no_room() -> None:
    small = {"limits": {"nvidia.com/gpu": 1, "memory": "12Gi"}}
    assert only("shared-memory", deployment(resources=small, volumeMounts=None)).repair == {}


def test_little_shared_memory_is_a_warning_with_one_gpu() -> None:
    raw = deployment()
    volumes = [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    assert only("shared-memory", with_pod(raw, volumes=volumes)).severity == "warning"


def test_little_shared_memory_is_an_error_with_several_gpus() -> None:
    raw = deployment(args=[LLAMA, "-tp", "2"], resources=gpus(2))
    volumes = [{"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]
    assert only("shared-memory", with_pod(raw, volumes=volumes)).severity == "error"


@pytest.mark.parametrize("slug", ["max-model-len", "max-num-seqs"])
def test_a_flag_that_a_script_may_set_is_inconclusive(slug: str) -> None:
    assert outcome(slug, deployment(**WRAPPED)).verdict == "inconclusive"


def test_gpus_that_a_script_may_use_are_inconclusive() -> None:
    found = outcome("tensor-parallel-matches-gpus", deployment(**WRAPPED, resources=gpus(4)))
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize(
    ("slug", "flag"),
    [
        ("gpu-memory-utilization", "--gpu-memory-utilization=$(UTILIZATION)"),
        ("max-num-seqs", "--max-num-seqs=$(SEQUENCES)"),
        ("tensor-parallel-matches-gpus", "--data-parallel-size-local=$(LOCAL)"),
    ],
)
def test_a_value_that_can_not_be_told_is_inconclusive(slug: str, flag: str) -> None:
    assert outcome(slug, deployment(args=[LLAMA, flag])).verdict == "inconclusive"


def test_a_claim_that_is_not_in_the_input_is_inconclusive_with_several_gpus() -> None:
    raw = deployment(args=[LLAMA, "-tp", "2"], resources={"claims": [{"name": "gpus"}]})
    assert outcome("tensor-parallel-matches-gpus", raw).verdict == "inconclusive"


def test_a_ray_engine_may_use_gpus_of_other_pods() -> None:
    args = [LLAMA, "-tp", "8", "-pp", "2", "--distributed-executor-backend", "ray"]
    found = outcome("tensor-parallel-matches-gpus", deployment(args=args, resources=gpus(8)))
    assert found.verdict == "pass"
    assert "other pods of its Ray cluster" in found.assumptions[0].message


def test_a_cluster_without_a_node_that_is_large_enough_is_inconclusive() -> None:
    raw = deployment(args=[LLAMA, "-tp", "8"], resources=gpus(8))
    found = outcome("gpu-placement", raw, node("small", gpus=4))
    assert found.verdict == "inconclusive"


OWN = {"app": "llama"}


def test_a_taint_named_as_the_resource_is_taken_to_be_tolerated() -> None:
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": OWN},
        }
    ]
    raw = with_pod(deployment(), topologySpreadConstraints=spread)
    found = outcome("gpu-placement", raw, node("gpu", gpus=8, taint="nvidia.com/gpu"))
    assert found.verdict == "pass"
    assert "admission plugin" in found.assumptions[0].message


def test_a_pod_of_another_scheduler_is_not_judged_by_nodes() -> None:
    raw = with_pod(
        deployment(), schedulerName="kai-scheduler", nodeSelector={"amd.com/gpu.id": "1"}
    )
    assert outcome("gpu-placement", raw, profile="module").verdict == "pass"


@pytest.mark.parametrize("slug", CAPACITY)
def test_an_engine_on_a_cpu_has_no_finding_about_gpus(slug: str) -> None:
    raw = deployment(
        args=[
            "--model=TinyLlama/TinyLlama-1.1B-Chat-v1.0",
            "--gpu-memory-utilization=0.4",
            "--max-model-len=2048",
            "--max-num-seqs=32",
            "--enforce-eager",
        ],
        env=[{"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "nobind"}],
        resources={"requests": {"memory": "1Gi"}, "limits": {"cpu": "2", "memory": "16Gi"}},
    )
    spread = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "labelSelector": {"matchLabels": OWN},
        }
    ]
    found = outcome(slug, with_pod(raw, topologySpreadConstraints=spread))
    assert [finding.message for finding in found.findings] == []


def test_a_model_that_does_not_fit_may_be_quantised_while_it_loads() -> None:
    slices = {"limits": {"nvidia.com/mig-1g.12gb": 1, "memory": "32Gi"}}
    plain = deployment(args=[LLAMA], resources=slices)
    smaller = deployment(args=[LLAMA, "--quantization=fp8"], resources=slices)
    assert outcome("quantization", plain).verdict == "fail"
    assert outcome("quantization", smaller).verdict == "pass"


def test_a_wrong_type_in_resources_is_a_problem_and_no_crash() -> None:
    raw = deployment(resources={"limits": {"nvidia.com/gpu": ["one"]}})
    result = audit.run(Snapshot.of([raw]), PROFILES["production"], [CHECKS["gpu-limits"]])
    assert [problem.path for problem in result.problems] != []
