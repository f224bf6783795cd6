"""The weights are quantised as the flag says, and they fit the GPUs.

What it checks
    ``--quantization`` (TGI ``--quantize``) agrees with the model's name: no AWQ, GPTQ or FP8 flag
    on weights of another kind, no AWQ or GPTQ on weights that are not quantised. Where the name
    tells the model's size, and a MIG slice or the selected nodes tell the GPU's memory, the weights
    fit. What names and labels don't tell is not guessed at.

Why
    The engine compares the flag with the model's own config and exits at start when they differ,
    and when the weights don't fit: no replica ever serves, and a rollout hangs.

Fix
    Leave the flag out: engines read how weights are quantised from the model's config. For AWQ or
    GPTQ serve weights that are, such as ``…-AWQ``; ``--quantization=fp8`` alone quantises any
    weights while they load.

Source
    Module 1.5, "Key vLLM Parameters" and "Common Mistakes". Its advice, "use --quantization awq for
    2x memory savings", fails on weights that are not AWQ already: vLLM 0.32 ends with "Cannot find
    the config file for awq". Up to 0.9 the explicit flag also forced slower kernels
    (vllm-project/vllm issue 20112). Whether quantisation is worth its loss of quality is for the
    model's owner to say, so its absence is no finding where the weights fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check
from drainproof.model import accelerators as gpus
from drainproof.model import arguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.model.accelerators import Accelerators
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.language_model import LanguageModel
    from drainproof.model.placement import Placement
    from drainproof.model.workload import Workload

_FLAGS = {
    "vllm": ("--quantization", "-q"),
    "sglang": ("--quantization",),
    "tgi": ("--quantize",),
}
_FAMILY = {
    "awq": "awq",
    "awq_marlin": "awq",
    "auto_awq": "awq",
    "gptq": "gptq",
    "gptq_marlin": "gptq",
    "auto_gptq": "gptq",
    "fp8": "fp8",
    "bitsandbytes": "bitsandbytes",
    "gguf": "gguf",
}
"""Kinds of weights by the flag's value, for values that can only mean one."""
_PREQUANTISED = frozenset({"awq", "gptq"})
_ALIKE = {frozenset({"fp8", "compressed-tensors"}), frozenset({"gptq", "compressed-tensors"})}
"""Kinds that one name can mean both of: FP8 weights come in two formats, W4A16 too."""
_ONLINE_BITS = {"fp8": 8, "bitsandbytes": 4, "bitsandbytes-nf4": 4, "bitsandbytes-fp4": 4}
_USABLE = 0.95  # of a GPU's memory: module 1.5, the most that vLLM should be given
_SLOWER_UNTIL = (0, 10)
_SMALLER = ("--cpu-offload-gb", "--hf-overrides", "--load-format", "--json-model-override-args")
"""Flags that make what is on the GPU another size than the model's."""


@check("DP311", severity=Severity.ERROR)
def quantisation_fits(  # noqa: PLR0913, PLR0917 - a check asks for what it needs by name
    workload: Workload,
    engine: Engine,
    container: Container,
    model: LanguageModel,
    accelerators: Accelerators,
    placement: Placement,
) -> Iterator[Finding]:
    """Yield a quantisation that the weights don't have, and weights that don't fit."""
    names = _FLAGS.get(engine.name)
    written = arguments.setting(engine, container, *names) if names else ""
    if names and written:
        yield from _disagreements(workload, engine, container, model, written)
    if model.weights and accelerators.devices and not accelerators.cpu:
        bits = 16 if model.quantised else _ONLINE_BITS.get(written, 16)
        yield from _too_large(workload, model, accelerators, placement, bits)


def _disagreements(
    workload: Workload, engine: Engine, container: Container, model: LanguageModel, written: str
) -> Iterator[Finding]:
    """Yield a flag that the model's name contradicts."""
    path = f"{engine.path}.args"
    flag = next((name for name in _FLAGS[engine.name] if name in engine.flags), "QUANTIZE")
    family = _FAMILY.get(written.replace("-", "_").lower(), "")
    if not family or not model.name:
        return
    if model.quantised and model.quantised != family:
        if frozenset({model.quantised, family}) in _ALIKE:
            return
        yield workload.finding(
            path,
            f"{flag} is {written}, and the weights of {model.name} are {model.quantised}: "
            f"{engine.title} exits at start, so no replica ever serves",
            repair=arguments.without(container, flag, takes_value=True),
        )
    elif family in _PREQUANTISED and model.surely_unquantised:
        yield workload.finding(
            path,
            f"{flag} is {written}, and the weights of {model.name} are not quantised: "
            f"{engine.title} finds no {family.upper()} config in them and exits at start",
        )
    elif (
        engine.name == "vllm"
        and written in _PREQUANTISED
        and engine.version is not None
        and engine.version < _SLOWER_UNTIL
    ):
        yield workload.finding(
            path,
            f"{flag} {written} forces the slower of two kernels in {engine.label}: users get "
            "their tokens more slowly than without the flag",
            Severity.WARNING,
            repair=arguments.without(container, flag, takes_value=True)
            if model.quantised == family
            else None,
        )


def _too_large(
    workload: Workload,
    model: LanguageModel,
    accelerators: Accelerators,
    placement: Placement,
    bits: int,
) -> Iterator[Finding]:
    """Yield weights that the GPUs of the pod can't hold.

    Of 16 bits of a weight, as the model has it, ``bits`` are left after it is loaded.
    """
    engine, container = workload.engine, workload.container
    if engine is None or container is None:
        return
    memory, told_by = gpus.memory_of(accelerators, placement)
    if not memory or workload.role or any(flag in engine.flags for flag in _SMALLER):
        return
    spread = gpus.spread_of(engine, container)
    if spread.in_pod is None or spread.across or engine.data_parallel > 1 or engine.nodes > 1:
        return
    weights = model.weights * bits / 16
    room = memory * spread.in_pod * _USABLE
    if weights <= room:
        return
    yield workload.finding(
        f"{engine.path}.args",
        f"the weights of {model.name} take {weights / 1e9:.0f} GB or more, and {spread.in_pod} x "
        f"{told_by} {'have' if spread.in_pod > 1 else 'has'} {memory * spread.in_pod / 2**30:.0f} "
        f"GB: {engine.title} runs out of GPU memory at start, so no replica ever serves",
    )
