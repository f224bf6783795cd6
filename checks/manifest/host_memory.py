"""What the engine keeps in the host's memory fits the container's limit.

What it checks
    Memory-backed volumes (``/dev/shm`` and others, counted full), swap space (vLLM before 0.8: 4
    GiB for each GPU by default), weights and cache that are offloaded to the CPU
    (``--cpu-offload-gb``, ``--kv-offloading-size``, LMCache, SGLang's ``--hicache-size``), and, for
    engines on a CPU, the KV cache and the weights, are together below the container's memory limit,
    and leave 3 Gi for the engine itself. The container has a memory request or limit, and no
    container of the pod, nor the pod itself, requests more than its limit.

Why
    What is over the limit gets the engine OOM-killed: at start, or when the cache fills under load,
    with all of its streams. A container without request or limit is the first that the kubelet
    evicts when the node runs short. A request over the limit is refused by the API server, and no
    new pod comes.

Fix
    Raise ``resources.limits.memory`` above the sum, or offload less. Set a memory request; a limit
    alone counts as one.

Source
    Module 1.5, "Key vLLM Parameters" (``--swap-space`` 4 to 16 GB "for handling burst traffic").
    vLLM's V1 engine, the default since 0.8, doesn't swap, and 0.18 refuses the flag; question 3's
    advice to enable it no longer helps. Kubernetes' documentation on emptyDir (memory-backed
    volumes count to the container) and on node-pressure eviction. 3 Gi: measured on vLLM 0.32.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import shape
from drainproof.model.quantity import GIB, gibibytes, quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.language_model import LanguageModel
    from drainproof.model.workload import Workload

_SWAPS_BEFORE = (0, 8)
_SWAP_DEFAULT_GIB = 4.0  # vLLM before 0.8, for each GPU
_LMCACHE = "LMCACHE_MAX_LOCAL_CPU_SIZE"
_OFFLOADING = frozenset(
    {"--kv-offloading-size", "--kv-transfer-config", "--cpu-offload-gb", "--hicache-size"}
)
_OFF = frozenset({"false", "0", "False"})
_UNITS = {"k": 1e3, "m": 1e6, "g": 1e9, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30}
_SHM = "/dev/shm"  # noqa: S108 - the mount point is what is asked about


@check("DP310", severity=Severity.ERROR)
def host_memory_fits(  # noqa: PLR0913, PLR0917 - a check asks for what it needs by name
    workload: Workload,
    engine: Engine,
    container: Container,
    accelerators: Accelerators,
    model: LanguageModel,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield what gets the engine OOM-killed, or evicted first."""
    yield from _refused(workload)
    limit = container.memory_limit
    pod = workload.pod_spec.get("resources")
    if limit is None and pod:
        limit = _of_pod(workload, "limits")
    path = f"{container.path}.resources.limits.memory"
    if limit is None:
        if container.memory_request is None and workload.complete and not pod:
            yield workload.finding(
                f"{container.path}.resources.requests.memory",
                "the engine's container has neither a memory request nor a limit: it is the first "
                "to be evicted when its node runs short, and its streams end",
                Severity.WARNING,
            )
        return
    needs = _volumes(workload, container)
    shared = needs.get(_SHM, 0.0)
    old = engine.name == "vllm" and engine.version is not None and engine.version < _SWAPS_BEFORE
    if old or not _OFFLOADING.isdisjoint(engine.flags) or _LMCACHE in container.env:
        needs.update(_offloaded(engine, container, swaps=old))
    if accelerators.cpu:
        needs.update(_on_cpu(engine, container, model))
    total = sum(needs.values())
    if total + profile.engine_memory_min <= limit or total == shared >= limit or not total:
        return  # shared memory that is over the limit has a check of its own
    said = " + ".join(f"{what} {gibibytes(size)}" for what, size in needs.items() if size)
    if len(needs) > 1:
        said = f"{said} = {gibibytes(total)}"
    if total >= limit:
        yield workload.finding(
            path,
            f"the memory limit is {gibibytes(limit)}, and the engine may take {said}: it is "
            "OOM-killed, at start or when that fills, with all of its streams",
        )
    elif total + profile.engine_memory_min > limit:
        yield workload.finding(
            path,
            f"the memory limit is {gibibytes(limit)}, and {said} of it are spoken for: that "
            f"leaves {gibibytes(limit - total)} for the engine's own processes, which take "
            f"{gibibytes(profile.engine_memory_min)} or more, so it may be OOM-killed under load",
            Severity.WARNING,
        )


def _refused(workload: Workload) -> Iterator[Finding]:
    amounts = [
        (one.path, one.memory_request, one.memory_limit)
        for one in (*workload.containers, *workload.init_containers)
    ]
    if workload.pod_spec.get("resources"):
        of_pod = _of_pod(workload, "requests"), _of_pod(workload, "limits")
        amounts.append((workload.pod_path, *of_pod))
    for path, request, limit in amounts:
        if request is not None and limit is not None and request > limit:
            yield workload.finding(
                f"{path}.resources.requests.memory",
                f"the memory request is {gibibytes(request)} and the limit {gibibytes(limit)}: the "
                "API server refuses the pods, so no new replica ever comes",
            )


def _of_pod(workload: Workload, field: str) -> float | None:
    """Return the memory that the pod as a whole is limited to."""
    path = f"{workload.pod_path}.resources"
    resources = shape.mapping(workload.pod_spec, "resources", workload.pod_path)
    memory = shape.mapping(resources, field, path).get("memory")
    return None if memory is None else quantity(memory, f"{path}.{field}.memory")


def _volumes(workload: Workload, container: Container) -> dict[str, float]:
    """Return the limits of the memory-backed volumes that the container mounts, by mount point."""
    found: dict[str, float] = {}
    for mount, name in container.mounts.items():
        volume = workload.volumes.get(name)
        empty_dir = volume.get("emptyDir") if volume else None
        if not isinstance(empty_dir, dict) or empty_dir.get("medium") != "Memory":
            continue
        size = empty_dir.get("sizeLimit")
        if size is not None:
            memory = workload.shared_memory
            if mount == _SHM and memory is not None and memory.size is not None:
                found[mount] = memory.size
                continue
            path = f"{workload.volume_path(name)}.emptyDir.sizeLimit"
            found[mount] = quantity(size, path)
    return found


def _offloaded(engine: Engine, container: Container, *, swaps: bool) -> Iterator[tuple[str, float]]:
    """Yield what the engine moves from its GPUs to the host's memory, in bytes."""
    gpus = engine.tensor_parallel * engine.pipeline_parallel
    if engine.name == "vllm":
        if swaps:
            swap = engine.flag_number("--swap-space")
            yield "swap space", (_SWAP_DEFAULT_GIB if swap is None else swap) * gpus * GIB
        yield "KV cache on the CPU", (engine.flag_number("--kv-offloading-size") or 0.0) * GIB
        if "cpu_bytes_to_use" in engine.flag("--kv-transfer-config"):
            yield "KV cache on the CPU", _transfer_bytes(engine.flag("--kv-transfer-config"))
    elif engine.name == "sglang":
        yield "hierarchical cache", (engine.flag_number("--hicache-size") or 0.0) * gpus * 1e9
    yield "weights on the CPU", (engine.flag_number("--cpu-offload-gb") or 0.0) * gpus * GIB
    cached = container.env.get(_LMCACHE)
    if cached and container.env.get("LMCACHE_LOCAL_CPU") not in _OFF:
        yield "LMCache", _number(cached) * gpus * GIB


def _on_cpu(
    engine: Engine, container: Container, model: LanguageModel
) -> Iterator[tuple[str, float]]:
    """Yield what an engine without a GPU keeps in memory, in bytes."""
    space = container.env.get("VLLM_CPU_KVCACHE_SPACE")
    if space:
        yield "KV cache", _number(space) * engine.tensor_parallel * GIB
    else:
        yield "KV cache", _number(engine.flag("--kv-cache-memory-bytes"))
    if engine.flag("--load-format") != "dummy":
        wide = 2 if engine.flag("--dtype") in {"float", "float32"} else 1
        yield f"weights of {model.name}", model.weights * wide


def _number(written: str) -> float:
    """Return a number with an optional unit, such as ``64M``; 0 if it can't be told."""
    unit = _UNITS.get(written[-1:], 1.0)
    try:
        return float(written[:-1] if unit > 1 else written) * unit
    except ValueError:
        return 0.0


def _transfer_bytes(config: str) -> float:
    """Return ``cpu_bytes_to_use`` in a KV transfer config; 0 if it can't be told."""
    try:
        extra = json.loads(config)["kv_connector_extra_config"]
        return float(extra["cpu_bytes_to_use"])
    except (KeyError, TypeError, ValueError):
        return 0.0
