"""Resources of accelerators by any vendor, and what an engine takes of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model import accelerators
from drainproof.model.accelerators import kind_of_device, memory_of_product, spread_of
from drainproof.model.quantity import GIB
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from drainproof.model.workload import Workload
from tests.manifests import deployment

LLAMA = "--model=meta-llama/Llama-3.1-8B-Instruct"


def workload(*args: str, **container: object) -> Workload:
    return Workload.from_object(deployment(args=[LLAMA, *args], **container))


def of(found: Workload, *others: dict[str, Any]) -> accelerators.Accelerators:
    return accelerators.of(Snapshot.of([found.object, *others]), found)


def spread(*args: str) -> tuple[int | None, bool]:
    found = workload(*args)
    assert found.engine is not None
    assert found.container is not None
    taken = spread_of(found.engine, found.container)
    return taken.in_pod, taken.across


@pytest.mark.parametrize(
    ("resource", "vendor"),
    [
        ("nvidia.com/gpu", "NVIDIA"),
        ("nvidia.com/mig-1g.10gb", "NVIDIA"),
        ("nvidia.com/gpu.shared", "NVIDIA"),
        ("amd.com/gpu", "AMD"),
        ("gpu.intel.com/i915", "Intel"),
        ("habana.ai/gaudi", "Habana"),
        ("aws.amazon.com/neuroncore", "AWS"),
        ("google.com/tpu", "Google"),
        ("huawei.com/Ascend910", "Huawei"),
        ("example.com/some-gpu", ""),
    ],
)
def test_a_resource_tells_its_vendor(resource: str, vendor: str) -> None:
    kind = kind_of_device(resource)
    assert kind is not None
    assert kind.vendor == vendor


@pytest.mark.parametrize(
    "resource",
    [
        "cpu",
        "memory",
        "ephemeral-storage",
        "hugepages-2Mi",
        "rdma/hca",
        "nvidia.com/hostdev",
        "vpc.amazonaws.com/efa",
        "amd.com/nic",
    ],
)
def test_other_resources_are_no_accelerators(resource: str) -> None:
    assert kind_of_device(resource) is None


@pytest.mark.parametrize(
    "resource",
    [
        "nvidia.com/gpumem",
        "nvidia.com/gpucores",
        "aliyun.com/gpu-mem",
        "gpu.intel.com/xe_monitoring",
    ],
)
def test_amounts_are_no_counts(resource: str) -> None:
    kind = kind_of_device(resource)
    assert kind is not None
    assert kind.amount


def test_a_mig_slice_says_its_memory() -> None:
    kind = kind_of_device("nvidia.com/mig-3g.40gb")
    assert kind is not None
    assert kind.mig
    assert kind.memory == 40 * GIB


def test_a_neuron_device_is_not_one_process() -> None:
    devices, cores = (kind_of_device(f"aws.amazon.com/{name}") for name in ("neuron", "neuroncore"))
    assert devices is not None
    assert cores is not None
    assert not devices.comparable
    assert cores.comparable


@pytest.mark.parametrize(
    ("product", "gigabytes"),
    [
        ("NVIDIA-A100-SXM4-80GB", 80),
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", 40),
        ("nvidia-tesla-a100", 40),
        ("nvidia-l4", 24),
        ("NVIDIA-L40S", 48),
        ("NVIDIA-H100-80GB-HBM3", 80),
        ("nvidia-h200-141gb", 141),
        ("Tesla-T4", 16),
    ],
)
def test_a_products_name_tells_its_memory(product: str, gigabytes: int) -> None:
    assert memory_of_product(product) == gigabytes * GIB


def test_a_product_that_is_not_known_has_no_memory() -> None:
    assert memory_of_product("accelerator-9000") is None


def test_devices_of_the_engines_container_are_counted() -> None:
    found = of(workload(resources={"limits": {"nvidia.com/gpu": "2", "memory": "64Gi"}}))
    assert found.count == 2
    assert found.written == "2 x nvidia.com/gpu"


def test_a_limit_of_zero_gives_nothing() -> None:
    assert of(workload(resources={"limits": {"nvidia.com/gpu": 0}})).devices == ()


def test_an_engine_with_a_gpu_runs_on_no_cpu_whatever_its_image_is_called() -> None:
    assert of(workload(image="example.com/cpu-and-gpu/vllm:v0.32.0")).cpu == ""


@pytest.mark.parametrize(
    "container",
    [
        {"image": "openeuler/vllm-cpu:0.10.1"},
        {"image": "example.com/vllm-openai:v0.11.0-cpu"},
        {"env": [{"name": "VLLM_CPU_KVCACHE_SPACE", "value": "8"}]},
        {"env": [{"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "auto"}]},
        {"args": [LLAMA, "--device", "cpu"]},
    ],
)
def test_a_cpu_engine_is_told_by_image_variables_and_flags(container: dict[str, Any]) -> None:
    raw = deployment(**{"resources": {}, **container})
    assert of(Workload.from_object(raw)).cpu


def test_a_gpu_image_with_cpu_inside_a_word_is_no_cpu_image() -> None:
    assert of(workload(image="example.com/occupant/vllm:v0.32.0", resources={})).cpu == ""


def test_a_count_that_is_no_quantity_is_a_wrong_type() -> None:
    with pytest.raises(ShapeError, match=r"nvidia\.com/gpu"):
        of(workload(resources={"limits": {"nvidia.com/gpu": "one"}}))


@pytest.mark.parametrize(
    ("args", "taken"),
    [
        ((), (1, False)),
        (("-tp", "2"), (2, False)),
        (("--tensor-parallel-size=2", "--pipeline-parallel-size=4"), (8, False)),
        (("-tp", "2", "--data-parallel-size=4"), (8, False)),
        (("-tp", "2", "-dp", "4", "--data-parallel-size-local=1"), (2, False)),
        (("-tp", "2", "-dp", "4", "--data-parallel-rank=1"), (2, False)),
        (("-tp", "8", "-pp", "2", "--nnodes=2"), (8, False)),
        (("-tp", "8", "-pp", "2", "--distributed-executor-backend=ray"), (16, True)),
        (("-tp", "2", "--data-parallel-size-local=$(LOCAL)", "-dp", "4"), (None, False)),
        (("--tensor-parallel-size=$(GPUS)",), (None, False)),
        (("--distributed-executor-backend=external_launcher",), (None, False)),
    ],
)
def test_the_product_of_parallel_sizes_is_what_the_pod_takes(
    args: tuple[str, ...], taken: tuple[int | None, bool]
) -> None:
    assert spread(*args) == taken


def claim(kind: str, spec: dict[str, Any], namespace: str = "inference") -> dict[str, Any]:
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "gpus", "namespace": namespace},
        "spec": spec,
    }


def claiming() -> Workload:
    raw = deployment(resources={"claims": [{"name": "gpus"}]})
    raw["spec"]["template"]["spec"]["resourceClaims"] = [
        {"name": "gpus", "resourceClaimTemplateName": "gpus"}
    ]
    return Workload.from_object(raw)


def requests(*found: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"devices": {"requests": list(found)}}}


def test_a_claim_template_says_how_many_devices_it_gives() -> None:
    wanted = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 4}}
    nic = {"name": "nic", "exactly": {"deviceClassName": "rdma.example.com"}}
    found = of(claiming(), claim("ResourceClaimTemplate", requests(wanted, nic)))
    assert found.count == 4


def test_a_claim_of_all_devices_can_not_be_counted() -> None:
    every = {"deviceClassName": "gpu.nvidia.com", "allocationMode": "All"}
    wanted = {"name": "gpu", "exactly": every}
    assert of(claiming(), claim("ResourceClaimTemplate", requests(wanted))).count is None


def test_a_claim_template_of_another_namespace_says_nothing() -> None:
    wanted = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    template = claim("ResourceClaimTemplate", requests(wanted), namespace="training")
    assert of(claiming(), template).count is None


def test_a_claim_whose_template_is_not_in_the_input_can_not_be_counted() -> None:
    assert of(claiming()).count is None


@given(st.text(max_size=40))
def test_any_resource_name_is_read(resource: str) -> None:
    kind = kind_of_device(resource)
    assert kind is None or "/" in resource
