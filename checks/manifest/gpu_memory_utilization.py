"""The engine takes most of its GPU's memory, and leaves what it needs beside it.

What it checks
    vLLM's ``--gpu-memory-utilization`` is 0.85 to 0.95; its default, 0.9 or 0.92 by version, is.
    The same for TGI's ``--cuda-memory-fraction`` (up to its default of 1.0) and trtllm-serve's
    ``--kv_cache_free_gpu_memory_fraction``, which counts what the weights leave; for SGLang's
    ``--mem-fraction-static`` 0.7 to 0.95. GPUs that are shared (time slices, portions of memory)
    are not held to the lower bound, and on GPUs that several engines of a pod share the fractions
    add up to less than 1.

Why
    What is left over beside the weights holds the requests that run at once: at 0.5 users queue
    while half of the GPU stays empty. Near 1.0 CUDA graphs and activations run out of memory, at
    start or under load, and the engine dies with all of its streams.

Fix
    Set ``--gpu-memory-utilization=0.90``. For SGLang leave ``--mem-fraction-static`` out: it picks
    a value by the GPU's size.

Source
    Module 1.5, "Key vLLM Parameters". It calls the value the fraction "for KV cache (rest is model
    weights)"; it is the fraction for all that vLLM uses, weights included. vLLM 0.32 refuses values
    over 1, and ignores the flag beside ``--kv-cache-memory-bytes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import arguments, shape
from drainproof.model.engine import parse_flags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_FLAGS = {
    "vllm": ("--gpu-memory-utilization", "--device-memory-utilization"),
    "sglang": ("--mem-fraction-static",),
    "tgi": ("--cuda-memory-fraction",),
    "trtllm-serve": ("--kv-cache-free-gpu-memory-fraction", "--free-gpu-memory-fraction"),
}
_DEFAULTS = {"vllm": 0.9, "sglang": 0.88, "tgi": 1.0, "trtllm-serve": 0.9}


@check("DP305", severity=Severity.WARNING)
def gpu_memory_is_used(
    workload: Workload,
    engine: Engine,
    container: Container,
    accelerators: Accelerators,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield a fraction of the GPU's memory that starves users or kills the engine."""
    names = _FLAGS.get(engine.name)
    if names is None or accelerators.cpu:
        return
    if accelerators.claims and len(workload.containers) > 1:
        yield from _together(workload, engine, accelerators)
    written = arguments.setting(engine, container, *names)
    if not written or "--kv-cache-memory-bytes" in engine.flags:
        return
    path = f"{engine.path}.args"
    flag = next((name for name in names if name in engine.flags), names[0])
    value = _fraction(written)
    if value is None and _is_filled_in_later(written):
        yield workload.inconclusive(path, f"{flag} is {written!r}, which can't be told from here")
        return
    lowest = profile.gpu_memory_min_sglang if engine.name == "sglang" else profile.gpu_memory_min
    highest = 1.0 if engine.name == "tgi" else profile.gpu_memory_max
    if value is None or not 0 < value <= 1:
        yield workload.finding(
            path,
            f"{flag} is {written}, which is no fraction: {engine.title} exits at start, so no "
            "replica ever serves",
            Severity.ERROR,
        )
    elif value > highest:
        yield workload.finding(
            path,
            f"{flag} is {written}: little is left for CUDA graphs and activations, so the engine "
            "runs out of GPU memory, at start or under load, and all of its streams end; expected "
            f"at most {highest:g}",
        )
    elif value < lowest and not accelerators.portioned:
        yield workload.finding(
            path,
            f"{flag} is {written}: the rest of the GPU holds no request, so users queue earlier "
            f"than they must; expected at least {lowest:g}",
        )


def _together(workload: Workload, engine: Engine, accelerators: Accelerators) -> Iterator[Finding]:
    """Yield the sum of what engines that share a claimed GPU take of it."""
    sharing, total = [], 0.0
    for container in workload.containers:
        resources = shape.mapping(container.raw, "resources", container.path)
        claims = shape.mappings(resources, "claims", f"{container.path}.resources")
        if not any(claim.get("name") in accelerators.claims for claim in claims):
            continue
        flags = parse_flags(container.command_line)
        names = _FLAGS[engine.name]
        written = next((flags[name] for name in names if name in flags), "")
        if not written and container.name != engine.container:
            continue  # a sidecar that only looks at the GPU
        value = _fraction(written) if written else _DEFAULTS[engine.name]
        if value is None:
            return
        total += value
        sharing.append(container.name)
    if len(sharing) > 1 and total > 1:
        yield workload.finding(
            f"{engine.path}.args",
            f"the containers {', '.join(sharing)} share a GPU and take {total:.2g} of its memory "
            "in all: the last to start runs out of it, and the pod never serves",
            Severity.ERROR,
        )


def _is_filled_in_later(written: str) -> bool:
    """Tell whether a value is a variable or a template, not the text that the engine gets."""
    return any(mark in written for mark in "${}<>`")


def _fraction(written: str) -> float | None:
    try:
        return float(written)
    except ValueError:
        return None
