from __future__ import annotations

import math

import pytest

from drainproof.model import container
from drainproof.model.engine import Engine, parse_flags, recognise

PORTS = [{"containerPort": 8000}]


def engine(**fields: object) -> Engine | None:
    annotations = fields.pop("annotations", {})
    assert isinstance(annotations, dict)
    raw = {"name": "c", **fields}
    return recognise(container.read(raw, "spec.containers[0]"), annotations)


def known(**fields: object) -> Engine:
    found = engine(**fields)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("vllm", "vllm/vllm-openai:v0.10.2"),
        ("vllm", "registry.example/aibrix/vllm-openai:v0.10.2-nixl-0.7.1"),
        ("vllm", "localhost:5000/team/vllm@sha256:0123"),
        ("tgi", "ghcr.io/huggingface/text-generation-inference:3.3.4"),
        ("sglang", "lmsysorg/sglang:v0.4.6.post1-cu124"),
        ("triton", "nvcr.io/nvidia/tritonserver:24.08-trtllm-python-py3"),
        ("trtllm-serve", "nvcr.io/nvidia/tensorrt-llm/release:1.0.0"),
        ("nim", "nvcr.io/nim/meta/llama-3.1-8b-instruct:1.3"),
    ],
)
def test_an_engine_is_told_by_its_image(name: str, image: str) -> None:
    assert known(image=image, args=["--port=8000"]).name == name


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("vllm", ["vllm", "serve", "m"]),
        ("vllm", ["python3", "-m", "vllm.entrypoints.openai.api_server", "--model", "m"]),
        ("vllm", ["/bin/bash", "-c", "set -x\nexec /opt/venv/bin/vllm serve m \\\n  --port 8000"]),
        ("tgi", ["text-generation-launcher", "--model-id", "m"]),
        ("sglang", ["python3", "-m", "sglang.launch_server", "--model-path", "m"]),
        ("triton", ["tritonserver", "--model-repository=/models"]),
        ("trtllm-serve", ["mpirun", "-n", "1", "trtllm-serve", "m"]),
    ],
)
def test_an_engine_is_told_by_its_command_in_any_image(name: str, command: list[str]) -> None:
    assert known(image="registry.example/ours:1", command=command).name == name


def test_an_engine_is_told_by_two_flags_that_only_it_has() -> None:
    args = ["--gpu-memory-utilization=0.9", "--max-num-seqs=64"]
    assert known(image="registry.example/llm@sha256:0", args=args).name == "vllm"


def test_an_annotation_names_the_engine_and_its_version() -> None:
    annotations = {"drainproof.dev/engine": "vllm", "drainproof.dev/engine-version": "0.32.0"}
    found = engine(annotations=annotations, image="ours:1", command=["/start.sh"])
    assert found is not None
    assert (found.name, found.version) == ("vllm", (0, 32, 0))


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("lmcache/lmstack-router:v0.1", None),
        ("vllm/vllm-openai:v0.10.2", ["vllm", "bench", "serve"]),
        ("vllm/vllm-openai:v0.10.2", ["sleep", "infinity"]),
        ("vllm/vllm-openai:v0.10.2", ["ray", "start", "--block"]),
        ("lmsysorg/sglang:v0.4.6", ["python3", "-m", "sglang_router.launch_router"]),
        ("ghcr.io/llm-d/llm-d-inference-scheduler:v0.3.0", None),
        ("nginx:1.27", None),
        ("python:3.12", ["python", "-m", "http.server"]),
    ],
)
def test_routers_benchmarks_and_others_are_no_engines(
    image: str, command: list[str] | None
) -> None:
    assert engine(image=image, command=command, ports=PORTS) is None


def test_a_start_script_in_an_engines_image_is_an_engine_if_it_serves() -> None:
    found = known(image="vllm/vllm-openai:v0.32.0", command=["/start.sh"], ports=PORTS)
    assert not found.flags_known


def test_a_script_in_an_engines_image_that_serves_nothing_is_no_engine() -> None:
    assert engine(image="vllm/vllm-openai:v0.32.0", command=["python3", "eval.py"]) is None


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("vllm/vllm-openai:v0.10.2", (0, 10, 2)),
        ("registry.example:5000/aibrix/vllm-openai:v0.10.2-nixl-0.7.1", (0, 10, 2)),
        ("registry.example/vllm-openai:aibrix-kvcache-v0.8.5-2025", (0, 8, 5)),
        ("rocm/vllm:rocm6.3.1_vllm_0.8.5_20250521", (0, 8, 5)),
        ("public.example/vllm:0.9.1-gpu-py312-cu128", (0, 9, 1)),
        ("vllm/vllm-openai:v0.18.0@sha256:0123", (0, 18, 0)),
        ("vllm/vllm-openai:latest", None),
        ("vllm/vllm-openai", None),
        ("vllm/vllm-openai@sha256:0123", None),
        ("vllm/vllm-openai:nightly-20250101", None),
        ("lmcache/vllm-openai:v0.3.5", None),
        ("nvcr.io/nvidia/vllm:26.02-py3", None),
    ],
)
def test_the_version_is_read_from_the_tag_where_it_is_the_engines(
    image: str, version: tuple[int, ...] | None
) -> None:
    assert known(image=image).version == version


def test_a_tag_of_another_image_is_not_taken_for_the_engines_version() -> None:
    assert (
        known(image="registry.example/llm-server:1.4.2", command=["vllm", "serve"]).version is None
    )


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--port=8000"], {"--port": "8000"}),
        (["--port", "8000"], {"--port": "8000"}),
        (["-tp", "2"], {"-tp": "2"}),
        (["--max_num_seqs=1"], {"--max-num-seqs": "1"}),
        (["--enforce-eager", "--port", "1"], {"--enforce-eager": "true", "--port": "1"}),
        (["--no-enable-prefix-caching"], {"--enable-prefix-caching": "false"}),
        (["--seed", "-1"], {"--seed": "-1"}),
        (["--a=1", "--a=2"], {"--a": "2"}),
        (["serve", "m"], {}),
    ],
)
def test_flags_are_read_in_every_form(words: list[str], flags: dict[str, str]) -> None:
    assert parse_flags(words) == flags


@pytest.mark.parametrize(
    ("image", "args", "seconds"),
    [
        ("vllm/vllm-openai:v0.10.2", [], 0),
        ("vllm/vllm-openai:v0.17.0", ["--shutdown-timeout=60"], 0),
        ("vllm/vllm-openai:v0.18.0", [], 0),
        ("vllm/vllm-openai:v0.18.0", ["--shutdown-timeout=60"], 60),
        ("vllm/vllm-openai:latest", ["--shutdown-timeout", "60"], 60),
        ("vllm/vllm-openai:v0.32.0", ["--shutdown-timeout=$(FROM_A_SECRET)"], None),
        ("ghcr.io/huggingface/text-generation-inference:2.4", [], 90),
        ("text-generation-inference:3.3.4", ["--graceful-termination-timeout=120"], 120),
        ("lmsysorg/sglang:v0.4.6", [], math.inf),
        ("lmsysorg/sglang:v0.3.4", [], 0),
        ("nvcr.io/nvidia/tritonserver:24.08-py3", [], 30),
        ("nvcr.io/nvidia/tritonserver:24.08-py3", ["--exit-timeout-secs=100"], 100),
        ("nvcr.io/nvidia/tensorrt-llm/release:1.0.0", [], math.inf),
        ("nvcr.io/nim/meta/llama:1.3", [], None),
    ],
)
def test_the_drain_is_known_by_engine_version_and_flag(
    image: str, args: list[str], seconds: float | None
) -> None:
    assert known(image=image, args=args).drain_s == seconds


def test_a_variable_makes_sglang_abort() -> None:
    env = [{"name": "SGL_FORCE_SHUTDOWN", "value": "true"}]
    assert known(image="lmsysorg/sglang:v0.5.3", env=env).drain_s == 0


def test_a_variable_sets_the_drain_of_tgi() -> None:
    env = [{"name": "GRACEFUL_TERMINATION_TIMEOUT", "value": "200"}]
    assert known(image="text-generation-inference:3.3.4", env=env).drain_s == 200


@pytest.mark.parametrize(
    ("fields", "port"),
    [
        ({"image": "vllm/vllm-openai:v0.32.0"}, 8000),
        ({"image": "vllm/vllm-openai:v0.32.0", "args": ["--port", "9000"]}, 9000),
        ({"image": "vllm/vllm-openai:v0.32.0", "args": ["--port=$(P)"]}, None),
        ({"image": "text-generation-inference:3.3.4"}, 80),
        (
            {"image": "text-generation-inference:3", "env": [{"name": "PORT", "value": "8080"}]},
            8080,
        ),
        ({"image": "lmsysorg/sglang:v0.4.6"}, 30000),
        ({"image": "tritonserver:24.08", "args": ["--http-port=9000"]}, 9000),
    ],
)
def test_the_port_is_the_engines_own_unless_told_otherwise(
    fields: dict[str, object], port: int | None
) -> None:
    assert known(**fields).port == port


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("v0.6.5", {"vllm:time_per_output_token_seconds"}),
        (
            "v0.32.0",
            {"vllm:inter_token_latency_seconds", "vllm:request_time_per_output_token_seconds"},
        ),
    ],
)
def test_metrics_are_known_by_version(version: str, names: set[str]) -> None:
    assert set(known(image=f"vllm/vllm-openai:{version}").metric_names("latency")) == names


def test_metric_names_for_waiting_and_running_requests() -> None:
    found = known(image="vllm/vllm-openai:v0.32.0")
    assert found.waiting_metric == "vllm:num_requests_waiting"
    assert found.running_metric == "vllm:num_requests_running"


def test_tensor_parallelism_is_read_from_flags() -> None:
    assert known(image="vllm/vllm-openai:v0.32.0", args=["-tp=4"]).tensor_parallel == 4


def test_tgi_takes_all_gpus_unless_told_otherwise() -> None:
    resources = {"limits": {"nvidia.com/gpu": "2"}}
    assert known(image="text-generation-inference:3", resources=resources).tensor_parallel == 2


def test_a_config_file_may_hold_flags_that_are_not_seen() -> None:
    found = known(image="vllm/vllm-openai:v0.32.0", args=["--config", "/etc/vllm.yaml"])
    assert not found.flags_known


def test_huge_numbers_in_flags_are_no_error() -> None:
    found = known(
        image="vllm/vllm-openai:v0.32.0", args=["--port=" + "9" * 5000, "-tp", "9" * 5000]
    )
    assert found.port is None
