"""What the name of a model tells of it: its size, its longest context, how it is quantised.

Only names that can't mean anything else are read; what is not told stays unknown.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from drainproof.patterns import regex

if TYPE_CHECKING:
    import re

    from drainproof.model.container import Container
    from drainproof.model.engine import Engine
    from drainproof.model.workload import Workload

_BILLIONS = regex(r"(?<![\w.])(?:(\d{1,2})x)?(\d{1,4}(?:\.\d{1,3})?)b(?![\w.])")
_MILLIONS = regex(r"(?<![\w.])(\d{2,4})m(?![\w.])")
_QUANTISED = (
    ("awq", regex(r"(?<![a-z])awq(?![a-z])")),
    ("gptq", regex(r"(?<![a-z])gptq(?![a-z])")),
    ("gguf", regex(r"(?<![a-z])gguf(?![a-z])|[-_.]q[2-8]_[k01]")),
    ("bitsandbytes", regex(r"(?<![a-z])(?:bnb|bitsandbytes)(?![a-z])")),
    ("fp8", regex(r"(?<![a-z\d])(?:mx)?fp8(?!\d)|(?<![a-z\d])f8(?![\w])")),
    ("fp4", regex(r"(?<![a-z\d])(?:nv|mx)?fp4(?!\d)")),
    (
        "compressed-tensors",
        regex(r"(?<![a-z\d])w\d{1,2}a\d{1,2}(?!\d)|quantized|int[48](?!\d)|[48]-?bit"),
    ),
)
"""Ways in which names say that a model's weights are quantised, the surest first."""
_BITS = {"awq": 4, "gptq": 4, "fp8": 8, "fp4": 4, "": 16}
_SMALLER_THAN_NAMED = ("gpt-oss", "deepseek-v", "deepseek-r1", "kimi", "minimax", "bitnet", "-qat")
"""Models whose own weights have fewer than 16 bits, though their names don't say so."""
_SAYS_SO = frozenset(
    {"meta-llama", "mistralai", "qwen", "tinyllama", "google", "microsoft", "ibm-granite"}
)
"""Publishers of weights whose names always say when they are quantised."""

_CONTEXTS: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (regex(rf"(?:^|/)(?:meta-)?{name}"), tokens)
    for name, tokens in (
        (r"llama-3\.[123]-", 131_072),
        (r"llama-3-(?:8|70)b", 8_192),
        (r"llama-2-(?:7|13|70)b", 4_096),
        (r"mistral-7b-instruct-v0\.[23]", 32_768),
        (r"mixtral-8x7b", 32_768),
        (r"mixtral-8x22b", 65_536),
        (r"qwen2\.5-(?:0\.5|1\.5|3|7|14|32|72)b-instruct(?!-1m)", 32_768),
        (r"qwen3-(?:0\.6|1\.7|4|8|14|32|30b-a3|235b-a22)b(?!-(?:instruct|thinking))", 40_960),
        (r"gemma-2-(?:2|9|27)b", 8_192),
        (r"phi-3-mini-4k", 4_096),
        (r"phi-4(?:$|-quant)", 16_384),
        (r"gpt-oss-", 131_072),
        (r"tinyllama-1\.1b", 2_048),
    )
)
"""Longest context by the model's name: ``max_position_embeddings`` of its config.json."""


class LanguageModel(Struct, frozen=True):
    """A model, as far as its name tells."""

    name: str
    """As it is written: ``meta-llama/Llama-3.1-8B-Instruct``, ``/models/llama``."""
    parameters: float
    """How many it has, in all; 0 if the name doesn't say."""
    quantised: str
    """``awq``, ``gptq``, ``fp8``, ``fp4``, ``gguf``, ``bitsandbytes``, ``compressed-tensors``;
    empty if the name says nothing of it."""
    surely_unquantised: bool
    """Whether its publisher names quantised weights so, and this one isn't."""
    context: int
    """Tokens of its longest context; 0 if that isn't known."""
    weights: float
    """Bytes that its weights take at least; 0 if that can't be told, as of local folders."""


def _is_smaller(name: str) -> bool:
    lower = name.lower()
    return any(word in lower for word in _SMALLER_THAN_NAMED)


UNKNOWN = LanguageModel("", 0.0, "", surely_unquantised=False, context=0, weights=0.0)
"""A model that the manifest doesn't name."""


@lru_cache(maxsize=1024)
def named(name: str) -> LanguageModel:
    """Return what the name of a model tells."""
    if not name or "$" in name or "{" in name:
        return UNKNOWN
    lower = name.lower().replace("_", "-")
    own = lower.rstrip("/").rpartition("/")[2]
    publisher, slash, rest = lower.partition("/")
    on_hub = bool(slash and publisher and rest and "/" not in rest and publisher[0] not in "./~")
    quantised = next((how for how, found in _QUANTISED if found.search(own)), "")
    parameters = _parameters(own)
    says_so = on_hub and publisher in _SAYS_SO and not quantised and not _is_smaller(lower)
    bits = _BITS.get(quantised, 0) if quantised or says_so else 0
    return LanguageModel(
        name=name,
        parameters=parameters,
        quantised=quantised,
        surely_unquantised=says_so,
        context=next((tokens for found, tokens in _CONTEXTS if found.search(lower)), 0),
        weights=parameters * bits / 8,
    )


def _parameters(name: str) -> float:
    """Return how many parameters a name says: ``8b``, ``8x7b`` (7 is each expert's), ``350m``."""
    sizes = [
        float(size) * (int(experts) if experts else 1) * 1e9
        for experts, size in _BILLIONS.findall(name)
    ]
    if len(sizes) == 1:
        # The experts of a mixture share their attention: 8x7B has 47 billion, 8x22B has 141.
        return sizes[0] * (0.8 if _BILLIONS.search(name)[1] else 1.0)  # type: ignore[index]
    if sizes:
        return 0.0  # a draft, a distillation: which is which can't be told
    millions = _MILLIONS.findall(name)
    return float(millions[0]) * 1e6 if len(millions) == 1 else 0.0


def of(workload: Workload) -> LanguageModel:
    """Return the model that a workload serves; :data:`UNKNOWN` if the manifest doesn't name it."""
    return workload.once(_of)


def _of(workload: Workload) -> LanguageModel:
    engine, container = workload.engine, workload.container
    if engine is None or container is None:
        return UNKNOWN
    name = engine.flag("--model", "--model-path", "--model-id")
    if not name and engine.name in {"vllm", "trtllm-serve", "sglang"}:
        name = _positional(engine, container)
    if not name and engine.name == "tgi":
        name = container.env.get("MODEL_ID", "")
    return named(name) if name else UNKNOWN


def _positional(engine: Engine, container: Container) -> str:
    """Return the model in ``vllm serve MODEL``, ``trtllm-serve MODEL``."""
    words = engine.words
    for index, word in enumerate(words[:-1]):
        if word == "serve" or word.endswith("trtllm-serve"):
            following = words[index + 1]
            if following == "serve" and index + 2 < len(words):
                following = words[index + 2]
            return "" if following.startswith("-") else following
    if words and not words[0].startswith("-") and "/" in words[0] and not container.command:
        return words[0]  # behind the image's own program, which is `vllm serve`
    return ""
