"""Shared memory is large enough for the engine's processes, and counted.

What it checks
    The engine's container mounts at ``/dev/shm`` an emptyDir volume with the medium Memory and a
    ``sizeLimit`` of 4 to 16 Gi; with tensor parallelism, at least 16 Gi. The limit is below the
    container's memory limit, since what is written there counts as the container's memory.

Why
    Engines pass tensors and requests between their processes through ``/dev/shm``. A container's
    own is 64 Mi: NCCL fails at start or under load, and the replica dies with its streams. A volume
    that is larger than the memory limit, or has no limit of its own, can end with the engine
    OOM-killed. One GPU needs far less than several, so there a small volume is a warning.

Fix
    Mount an emptyDir with ``medium: Memory`` and ``sizeLimit: 8Gi`` (16Gi with tensor parallelism)
    at ``/dev/shm``. In the pod: ``volumes: [{name: dshm, emptyDir: {medium: Memory, sizeLimit:
    8Gi}}]``; in the engine's container: ``volumeMounts: [{name: dshm, mountPath: /dev/shm}]``.

Source
    Module 1.5, the deployments of 1, 1 and 2 GPUs (4, 8 and 16 Gi) and "Common Mistakes".
    Kubernetes' documentation on emptyDir: memory-backed volumes count to the container's limit.
    KServe ships 1 Gi for one GPU, which works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.quantity import GIB, gibibytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import SharedMemory, Workload

_VOLUME = "dshm"
_SINGLE_GIB, _PARALLEL_GIB = 8, 16  # what a repair mounts for one GPU, and for several
_LIKE_NONE = GIB  # less than this is no better than a container's own 64 Mi


@check("DP301", severity=Severity.ERROR)
def shared_memory_fits(
    workload: Workload, engine: Engine, container: Container, profile: Profile
) -> Iterator[Finding]:
    """Yield what starves the engine's processes, or gets it OOM-killed."""
    memory = workload.shared_memory
    if memory is None or (memory.of_host and not memory.mounted):
        return
    parallel = engine.tensor_parallel > 1
    if not memory.mounted:
        if workload.complete:
            yield workload.finding(
                memory.path,
                "nothing is mounted at /dev/shm, so it has 64 Mi: the engine's processes fail at "
                "start or under load, and streams die with them",
                repair=_mount(workload, container, parallel=parallel),
            )
        else:
            yield workload.left_to_others(memory.path, "memory enough at /dev/shm")
        return
    if not memory.in_memory:
        yield workload.finding(
            memory.path,
            "what is mounted at /dev/shm is not memory (no emptyDir with medium: Memory), so the "
            "engine's processes wait for a disk",
            repair={f"{memory.path}.medium": "Memory"}
            if memory.path.endswith(".emptyDir")
            else None,
        )
        return
    yield from _size(workload, engine, container, profile, memory)


def _size(
    workload: Workload,
    engine: Engine,
    container: Container,
    profile: Profile,
    memory: SharedMemory,
) -> Iterator[Finding]:
    parallel = engine.tensor_parallel > 1
    smallest = profile.shared_memory_max if parallel else profile.shared_memory_min
    path = f"{memory.path}.sizeLimit"
    limit = container.memory_limit
    size = memory.size
    if size is None:
        yield workload.finding(
            path,
            "shared memory (/dev/shm) has no sizeLimit: it may grow until the container is "
            "OOM-killed, with its streams",
            Severity.WARNING,
            repair={path: _usual(parallel=parallel)} if _room(limit, parallel=parallel) else None,
        )
    elif size < smallest:
        why = f" with tensor parallelism over {engine.tensor_parallel} GPUs" if parallel else ""
        # Several GPUs need the least that one is given, and one needs little.
        starved = size < (profile.shared_memory_min if parallel else _LIKE_NONE)
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) has {gibibytes(size)}, too little{why}: the engine's "
            f"processes fail under load; expected at least {gibibytes(smallest)}",
            None if starved else Severity.WARNING,
            repair={path: _usual(parallel=parallel)} if _room(limit, parallel=parallel) else None,
        )
    elif limit is not None and size >= limit:
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) may grow to {gibibytes(size)}, the container's memory limit "
            f"is {gibibytes(limit)} and counts it: the engine is OOM-killed before /dev/shm is "
            "full",
        )
    elif size > profile.shared_memory_max and not parallel:
        yield workload.finding(
            path,
            f"shared memory (/dev/shm) has {gibibytes(size)}: memory that one GPU's engine does "
            "not use is taken from the container; expected at most "
            f"{gibibytes(profile.shared_memory_max)}",
            Severity.WARNING,
        )


def _usual(*, parallel: bool) -> str:
    return f"{_PARALLEL_GIB if parallel else _SINGLE_GIB}Gi"


def _room(limit: float | None, *, parallel: bool) -> bool:
    """Tell whether the usual size leaves the engine as much memory as it takes."""
    return limit is None or limit >= 2 * (_PARALLEL_GIB if parallel else _SINGLE_GIB) * GIB


def _mount(workload: Workload, container: Container, *, parallel: bool) -> dict[str, object]:
    """Return the volume and its mount, unless the memory limit leaves no room for it."""
    if not _room(container.memory_limit, parallel=parallel):
        return {}
    volume = f"{workload.pod_path}.volumes[name={_VOLUME}]"
    repair: dict[str, object] = {
        f"{container.path}.volumeMounts[name={_VOLUME}].mountPath": "/dev/shm"  # noqa: S108 - the mount point
    }
    if _VOLUME not in workload.volumes:
        size = _usual(parallel=parallel)
        repair[f"{volume}.emptyDir"] = {"medium": "Memory", "sizeLimit": size}
    return repair
