"""The longest request is what users need, not all that the model could do.

What it checks
    vLLM's ``--max-model-len`` (SGLang ``--context-length``, trtllm-serve ``--max_seq_len``) is set,
    is not more than the model can do, and is not the model's own maximum where that is 32,768
    tokens or more. Which maximum a model has is known of well-known models by their names. TGI
    fits its ``--max-total-tokens`` to the GPU's memory by itself.

Why
    Without it the engine allows whatever the model's config says, 131,072 tokens for Llama 3.1. If
    the GPU can't hold one such request, vLLM exits at start; if it can, a single one may take the
    cache that dozens of others share, and they wait or are put back. More than the model can do
    is refused at start.

Fix
    Set ``--max-model-len`` to the longest prompt plus answer that users really send, such as 8192.

Source
    Module 1.5, "Key vLLM Parameters", "Common Mistakes" and question 3. That a high value
    "pre-allocates KV cache" is not so: vLLM allocates pages as a request grows, so a high value
    costs nothing until such a request comes. vLLM 0.32: "max_model_len is greater than the derived
    max_model_len" ends the start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from drainproof.judge.registry import Severity, check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from drainproof.judge.profiles import Profile
    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.finding import Finding
    from drainproof.model.language_model import LanguageModel
    from drainproof.model.workload import Workload

_FLAGS = {"vllm": "--max-model-len", "sglang": "--context-length", "trtllm-serve": "--max-seq-len"}
_FITS_ITSELF = frozenset({"auto", "-1"})
_STRETCHED = frozenset(
    {"--hf-overrides", "--rope-scaling", "--rope-theta", "--json-model-override-args"}
)
_ALLOWS_MORE = frozenset(
    {"VLLM_ALLOW_LONG_MAX_MODEL_LEN", "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN"}
)
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}


@check("DP306", severity=Severity.WARNING)
def longest_request_is_bounded(
    workload: Workload,
    engine: Engine,
    container: Container,
    model: LanguageModel,
    profile: Profile,
) -> Iterator[Finding]:
    """Yield a longest request that is not bounded, or that the model can't serve."""
    flag = _FLAGS.get(engine.name)
    if flag is None or not workload.serves or engine.flags.get("--runner") == "pooling":
        return
    written = engine.flags.get(flag)
    if not written:
        yield from _unbounded(workload, engine, model, profile, flag)
    elif model.context and written not in _FITS_ITSELF and not _stretched(engine, container):
        yield from _too_long(workload, engine, model, profile, flag)


def _stretched(engine: Engine, container: Container) -> bool:
    """Tell whether the model is made to do more than it was trained for."""
    return not (
        _STRETCHED.isdisjoint(engine.flags) and _ALLOWS_MORE.isdisjoint(container.env_names)
    )


def _unbounded(
    workload: Workload, engine: Engine, model: LanguageModel, profile: Profile, flag: str
) -> Iterator[Finding]:
    """Yield that nothing bounds the longest request, unless the model itself does."""
    path = f"{engine.path}.args"
    if 0 < model.context < profile.max_model_len_long:
        return
    if not engine.flags_known:
        yield workload.inconclusive(
            path, f"whether {flag} is set can't be told: flags are in a file or a script"
        )
        return
    longest = f" ({model.context:,} tokens)" if model.context else ""
    yield workload.finding(
        path,
        f"{flag} is not set, so a request may be as long as the model allows{longest}: one of them "
        "can take the cache that many others share, and the engine exits at start where the GPU "
        "can't hold one",
        fix=_fix(flag),
    )


def _too_long(
    workload: Workload, engine: Engine, model: LanguageModel, profile: Profile, flag: str
) -> Iterator[Finding]:
    """Yield a length that is the model's own maximum, or more."""
    path, written = f"{engine.path}.args", engine.flag(flag)
    length = _tokens(written)
    if length is None:
        yield workload.inconclusive(path, f"{flag} is {written!r}, which can't be told from here")
    elif length > model.context > 0:
        yield workload.finding(
            path,
            f"{flag} is {written}, and {model.name} can do {model.context:,} tokens: "
            f"{engine.title} exits at start, so no replica ever serves",
            Severity.ERROR,
            fix=_fix(flag),
        )
    elif length == model.context >= profile.max_model_len_long:
        yield workload.finding(
            path,
            f"{flag} is {written}, the most that {model.name} can do: a single request may take "
            "the cache that many others share, and they wait",
            fix=_fix(flag),
        )


def _fix(flag: str) -> str:
    return f"Set {flag} to the longest prompt plus answer that users really send, such as 8192."


def _tokens(written: str) -> int | None:
    """Return a number of tokens, ``8192``, ``32k`` or ``32K``; None if it is none."""
    unit = _UNITS.get(written[-1:], 1)
    digits = written[:-1] if unit > 1 else written
    try:
        return int(float(digits) * unit)
    except (ValueError, OverflowError):
        return None
