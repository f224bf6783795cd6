"""Shared memory is large enough for the engine's processes, and counted.

What it checks
    The engine's container mounts at ``/dev/shm`` an emptyDir volume with the medium Memory and a
    ``sizeLimit`` of 4 to 16 Gi; with tensor parallelism, at least 16 Gi. The limit is below the
    container's memory limit, since what is written there counts as the container's memory.

Why
    Engines pass tensors and requests between their processes through ``/dev/shm``. A container's
    own is 64 Mi: NCCL fails at start or under load, and the replica dies with its streams. A volume
    without a limit, or one that is larger than the memory limit, ends with the engine OOM-killed.

Fix
    Mount an emptyDir with ``medium: Memory`` and ``sizeLimit: 8Gi`` (16Gi with tensor parallelism)
    at ``/dev/shm``. In the pod: ``volumes: [{name: dshm, emptyDir: {medium: Memory, sizeLimit:
    8Gi}}]``; in the engine's container: ``volumeMounts: [{name: dshm, mountPath: /dev/shm}]``.

Source
    Module 1.5, the deployments of 1, 1 and 2 GPUs (4, 8 and 16 Gi) and "Common Mistakes".
    Kubernetes' documentation on emptyDir: memory-backed volumes count to the container's limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.quantity import gibibytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload


@check("DP301", severity=Severity.ERROR)
def shared_memory_fits(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what starves the engine's processes, or gets it OOM-killed."""
    memory = workload.shared_memory
    if memory is None or (memory.of_host and not memory.mounted):
        return
    if not memory.mounted:
        yield workload.finding(
            memory.path,
            "nothing is mounted at /dev/shm, so it has 64 Mi: the engine's processes fail at "
            "start or "
            "under load, and streams die with them",
        )
        return
    if not memory.in_memory:
        yield workload.finding(
            memory.path,
            "what is mounted at /dev/shm is not memory (no emptyDir with medium: Memory), so the "
            "engine's processes wait for a disk",
        )
        return
    parallel = engine.tensor_parallel > 1
    smallest = profile.shared_memory_max if parallel else profile.shared_memory_min
    path = f"{memory.path}.sizeLimit"
    limit = container.memory_limit
    if memory.size is None:
        yield workload.finding(
            path,
            "shared memory (/dev/shm) has no sizeLimit: it grows until the container is "
            "OOM-killed, with its "
            "streams",
        )
    elif memory.size < smallest:
        why = f" with tensor parallelism over {engine.tensor_parallel} GPUs" if parallel else ""
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) has {gibibytes(memory.size)}, too little{why}: the "
            f"engine's processes fail "
            f"under load; expected at least {gibibytes(smallest)}",
        )
    elif limit is not None and memory.size >= limit:
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) may grow to {gibibytes(memory.size)}, the container's "
            f"memory limit is "
            f"{gibibytes(limit)} and counts it: the engine is OOM-killed before /dev/shm is full",
        )
    elif memory.size > profile.shared_memory_max and not parallel:
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) has {gibibytes(memory.size)}: memory that one GPU's "
            f"engine does not use is "
            f"taken from the container; expected at most {gibibytes(profile.shared_memory_max)}",
            Severity.WARNING,
        )
