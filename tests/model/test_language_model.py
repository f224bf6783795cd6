"""What a model's name tells, and that nothing else is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drainproof.model.language_model import UNKNOWN, named, of
from drainproof.model.workload import Workload
from tests.manifests import deployment


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8),
        ("meta-llama/Llama-3.1-405B", 405),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1.1),
        ("Qwen/Qwen3-30B-A3B", 30),
        ("Qwen/Qwen2.5-0.5B-Instruct", 0.5),
        ("facebook/opt-125m", 0.125),
        ("/models/llama-3-70b/", 70),
        ("openai/gpt-oss-120b", 120),
    ],
)
def test_a_name_says_how_many_parameters_there_are(name: str, billions: float) -> None:
    assert named(name).parameters == pytest.approx(billions * 1e9)


@pytest.mark.parametrize(("name", "billions"), [("Mixtral-8x7B", 47), ("Mixtral-8x22B", 141)])
def test_experts_share_a_part_of_their_parameters(name: str, billions: float) -> None:
    assert named(f"mistralai/{name}").parameters <= billions * 1e9
    assert named(f"mistralai/{name}").parameters > 0.9 * billions * 1e9


@pytest.mark.parametrize(
    "name",
    ["deepseek-ai/DeepSeek-V3", "google/gemma-3n-E4B-it", "Qwen/Qwen1.5-MoE-A2.7B", "model-b", ""],
)
def test_a_size_that_a_name_does_not_say_is_not_guessed(name: str) -> None:
    assert named(name).parameters == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TheBloke/Llama-2-7B-Chat-AWQ", "awq"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "awq"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "gptq"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "fp8"),
        ("nvidia/DeepSeek-R1-NVFP4", "fp4"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "compressed-tensors"),
        ("unsloth/llama-3-8b-bnb-4bit", "bitsandbytes"),
        ("bartowski/Llama-3.2-3B-Instruct-GGUF", "gguf"),
        ("meta-llama/Llama-3.1-8B-Instruct", ""),
        ("hawqs/flawqed-8b", ""),
    ],
)
def test_a_name_says_how_weights_are_quantised(name: str, kind: str) -> None:
    assert named(name).quantised == kind


def test_weights_of_known_publishers_take_two_bytes_a_parameter() -> None:
    assert named("meta-llama/Llama-3.1-8B-Instruct").weights == pytest.approx(16e9)


def test_weights_of_awq_take_half_a_byte_a_parameter() -> None:
    assert named("TheBloke/Llama-2-70B-Chat-AWQ").weights == pytest.approx(35e9)


@pytest.mark.parametrize("name", ["/models/llama-3.1-70b", "acme/llama-70b", "openai/gpt-oss-120b"])
def test_weights_that_a_name_does_not_tell_surely_are_unknown(name: str) -> None:
    assert named(name).weights == 0


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072),
        ("meta-llama/Meta-Llama-3-8B-Instruct", 8_192),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", 131_072),
        ("Qwen/Qwen2.5-7B-Instruct", 32_768),
        ("Qwen/Qwen2.5-7B-Instruct-1M", 0),
        ("Qwen/Qwen3-8B", 40_960),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 0),
        ("acme/our-own", 0),
    ],
)
def test_the_longest_context_is_known_of_well_known_models(name: str, tokens: int) -> None:
    assert named(name).context == tokens


@pytest.mark.parametrize("name", ["", "$(MODEL)", "{{ .Values.model }}"])
def test_a_name_that_is_filled_in_later_is_unknown(name: str) -> None:
    assert named(name) is UNKNOWN


@given(st.text(max_size=60))
def test_any_name_is_read(name: str) -> None:
    model = named(name)
    assert model.parameters >= 0
    assert model.weights >= 0


@pytest.mark.parametrize(
    ("command", "args"),
    [
        (["vllm", "serve", "meta-llama/Llama-3.1-8B"], []),
        ([], ["meta-llama/Llama-3.1-8B", "--port=8000"]),
        (["sh", "-c"], ["M=meta-llama/Llama-3.1-8B; exec vllm serve $M --port 8000"]),
        (["bash", "-c"], ['eval "exec vllm serve meta-llama/Llama-3.1-8B \\\n --port 8000"']),
    ],
)
def test_the_model_is_found_wherever_the_engine_starts(command: list[str], args: list[str]) -> None:
    obj = deployment(command=command or None, args=args)
    assert of(Workload.from_object(obj)).name == "meta-llama/Llama-3.1-8B"
