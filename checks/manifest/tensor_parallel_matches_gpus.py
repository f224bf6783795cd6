"""The engine spreads its model over exactly the GPUs that it is given.

What it checks
    Tensor parallelism x pipeline parallelism (x data parallelism inside the pod) is the number of
    accelerators of the engine's container: GPUs of any vendor, cores, chips, or what resource
    claims give. In a group of pods (LeaderWorkerSet, ``--nnodes``, Ray) the product spans the
    group. MIG slices can't be joined: one process sees one slice.

Why
    With fewer GPUs than the product the engine exits at start, so no replica ever serves. With more
    of them the rest stand idle, and each new replica waits for GPUs that nobody uses.

Fix
    Set the flag to the number of GPUs, ``--tensor-parallel-size=2`` with ``nvidia.com/gpu: 2``. The
    product counts: 2 x 2 takes 4 GPUs. SGLang: ``--tp-size``; TGI: ``--num-shard``, or nothing, as
    it takes all GPUs; trtllm-serve: ``--tp_size``; Triton's launch script: ``--world_size``.

Source
    Module 1.5, "Tensor Parallelism for Inference". vLLM 0.32 ends with "World size is larger than
    the number of available GPUs". NVIDIA's MIG user guide: a process can enumerate one instance.
    The module's affinity on ``nvidia.com/gpu.count`` is no part of this: a pod's GPUs are always on
    one node, and the label doesn't tell whether they are joined by NVLink.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model.accelerators import Spread, spread_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_CHOOSE_THEMSELVES = frozenset({"triton", "nim"})  # by their model repository or profile
_CHIP_PROCESSES = 2  # some TPU chips hold two processes each


@check(
    "DP302",
    severity=Severity.ERROR,
    admission="how many GPUs resource claims give, which are other objects",
)
def parallelism_matches_gpus(
    workload: Workload, engine: Engine, container: Container, accelerators: Accelerators
) -> Iterator[Finding]:
    """Yield a product of parallel sizes that is not the number of GPUs."""
    given = accelerators.count
    if given == 0 or accelerators.cpu:
        return
    spread = _ranks(engine) or spread_of(engine, container)
    taken = spread.in_pod
    if taken is not None and taken == given == 1:
        return
    if taken is None or given is None or (taken == 1 and not engine.flags_known):
        yield from _untold(workload, engine, accelerators, taken)
    elif taken > 1 and any(device.kind.mig for device in accelerators.devices):
        yield workload.finding(
            f"{engine.path}.args",
            f"{spread.written} over MIG slices ({accelerators.written}): a process sees one slice, "
            "so the engine exits at start and no replica ever serves",
        )
    elif all(device.kind.comparable for device in accelerators.devices):
        yield from _compared(workload, engine, accelerators, spread, given)


def _ranks(engine: Engine) -> Spread | None:
    """Return what Triton's launch script spreads a model over; None if it does not say.

    With ``--multi-model`` each model has ranks of its own, so the flag counts nothing.
    """
    ranks = engine.flag("--world-size")
    if engine.name != "triton" or not ranks.isdecimal() or "--multi-model" in engine.flags:
        return None
    return Spread(int(ranks), across=False, written=f"--world_size {ranks}")


def _untold(
    workload: Workload, engine: Engine, accelerators: Accelerators, taken: int | None
) -> Iterator[Finding]:
    """Yield what keeps the two numbers from being compared."""
    if engine.name in _CHOOSE_THEMSELVES or (workload.role and taken == 1):
        return  # in a group, another pod may say how the model is spread
    path = f"{engine.path}.args"
    if taken is None:
        yield workload.inconclusive(
            path, "the flags that spread the model hold values that can't be told from here"
        )
    elif accelerators.count is None and taken > 1:
        yield workload.inconclusive(
            f"{engine.path}.resources.claims",
            f"{engine.title} spreads the model over {taken} GPUs; how many its resource claims "
            f"give it can't be told: {', '.join(accelerators.claims)}",
        )
    elif accelerators.count is not None:
        yield workload.inconclusive(
            path,
            f"whether {engine.title} uses all of its {accelerators.count} GPUs can't be told: its "
            "flags are in a file or a script that this audit does not see",
        )


def _compared(
    workload: Workload, engine: Engine, accelerators: Accelerators, spread: Spread, given: int
) -> Iterator[Finding]:
    taken = spread.in_pod or 0
    path = f"{engine.path}.args"
    group = _group(workload)
    if group is None and taken != given:
        return  # how many pods a group has can't be told
    total = given * (group or 1) if spread.across or taken > given else given
    written = accelerators.written or f"{given} by resource claims"
    if taken in {total, given}:
        return
    tpu = any(device.kind.vendor == "Google" for device in accelerators.devices)
    if tpu and taken == given * _CHIP_PROCESSES:
        return
    if taken > total:
        if spread.across and group == 1:
            yield workload.assumption(
                path,
                f"{spread.written} takes {taken} GPUs, and this pod has {given}: the others are "
                "taken to be in other pods of its Ray cluster",
            )
            return
        where = f", {total} in its {group} pods" if (group or 1) > 1 else ""
        yield workload.finding(
            path,
            f"{spread.written} takes {taken} GPUs, and the engine's container is given {given} "
            f"({written}{where}): {engine.title} exits at start, so no replica ever serves",
        )
    else:
        yield workload.finding(
            path,
            f"{spread.written} takes {taken} GPU{'s' if taken > 1 else ''}, and the engine's "
            f"container is given {given} ({written}): the rest stand idle, and every new replica "
            "waits for as many",
            Severity.WARNING,
        )


def _group(workload: Workload) -> int | None:
    """Return how many pods share a model; None if that can't be told."""
    if workload.kind != "LeaderWorkerSet":
        return None if workload.role else 1
    size = ((workload.object.get("spec") or {}).get("leaderWorkerTemplate") or {}).get("size", 1)
    return size if isinstance(size, int) else None
