"""CUDA graphs are on.

What it checks
    Nothing switches CUDA graphs off: vLLM's ``--enforce-eager``, ``-O0`` or a compilation config
    without them, SGLang's ``--disable-cuda-graph``, TGI's ``--cuda-graphs 0``. Engines on a CPU
    have none, and pods that only prefill need none. The dev profile allows it.

Why
    Without graphs the CPU launches every kernel of every token one by one, and the GPU waits for
    it: users get their tokens more slowly, most of all with small models and few requests. What
    is gained is a start that is a minute shorter.

Fix
    Remove ``--enforce-eager``.

Source
    Module 1.5, "Key vLLM Parameters": "Use for debugging; disable in production".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.workload import Workload

_SWITCHES = {"vllm": "--enforce-eager", "sglang": "--disable-cuda-graph"}
_CONFIG = "--compilation-config"
_ANY = frozenset({*_SWITCHES.values(), "-O0", "-O", "--optimization-level", _CONFIG})
_OFF = ('"cudagraph_mode":"NONE"', '"level":0', '"mode":0', '"use_cudagraph":false')


@check("DP308", severity=Severity.WARNING)
def cuda_graphs_are_on(
    workload: Workload,
    engine: Engine,
    container: Container,
    accelerators: Accelerators,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield what switches CUDA graphs off."""
    if profile.allows_eager or (_ANY.isdisjoint(engine.flags) and engine.name != "tgi"):
        return
    written, repair = _switched_off(engine, container)
    if (
        not written
        or accelerators.cpu
        or "kv_producer" in engine.flag("--kv-transfer-config")
        or engine.flag("--disaggregation-mode") == "prefill"
    ):
        return
    yield workload.finding(
        f"{engine.path}.args",
        f"{written} switches CUDA graphs off: the GPU waits for the CPU at every token, so users "
        "get their tokens more slowly",
        repair=repair,
    )


def _switched_off(engine: Engine, container: Container) -> tuple[str, dict[str, object]]:
    """Return what switches CUDA graphs off, as it is written, and how to take it out."""
    if engine.name == "tgi":
        sizes = arguments.setting(engine, container, "--cuda-graphs")
        repair = arguments.without(container, "--cuda-graphs", takes_value=True)
        return ("--cuda-graphs 0", repair) if sizes == "0" else ("", {})
    flag = _SWITCHES.get(engine.name, "")
    if flag and engine.flag_on(flag):
        return flag, arguments.without(container, flag)
    return (_level(engine), {}) if engine.name == "vllm" else ("", {})


def _level(engine: Engine) -> str:
    """Return how vLLM's optimisation level, or its compilation config, leaves no graphs."""
    if "-O0" in engine.flags:
        return "-O0"
    for name in ("-O", "--optimization-level", _CONFIG):
        if engine.flags.get(name) == "0":
            return f"{name} 0"
    config = engine.flags.get(_CONFIG, "")
    squeezed = "".join(config.split()) if "{" in config else ""
    return f"{_CONFIG} {config}" if any(off in squeezed for off in _OFF) else ""
