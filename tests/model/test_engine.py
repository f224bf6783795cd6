from __future__ import annotations

import math
from itertools import pairwise

import pytest

from drainproof.model import container
from drainproof.model.engine import Engine, engine_of, likely, parse_flags, recognise

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
        ("ghcr.io/vllm-project/semantic-router/extproc:v0.1", None),
        ("registry.example/team/vllm-frontend:v1", None),
        ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.5.0", ["python3", "-m", "dynamo.frontend"]),
        (
            "vllm/vllm-openai:v0.10.2",
            ["sh", "-c", "./multi-node-serving.sh worker --ray_address=a"],
        ),
        ("python:3.12", ["python", "-m", "http.server"]),
        ("lmcache/vllm-openai:latest", ["/opt/venv/bin/lmcache_server", "0.0.0.0", "8080"]),
        ("lmcache/vllm-openai:latest", ["python3", "-m", "lmcache.v1.server"]),
        ("nvcr.io/nim/nvidia/nv-embedqa-e5-v5:1.0.1", None),
        ("nvcr.io/nim/nvidia/llama-3.2-nv-rerankqa-1b-v2:1.3", None),
    ],
)
def test_routers_benchmarks_and_others_are_no_engines(
    image: str, command: list[str] | None
) -> None:
    assert engine(image=image, command=command, ports=PORTS) is None


def test_an_organisation_may_be_called_anything() -> None:
    assert known(image="registry.example/gateway-team/vllm-openai:v0.10.2").version == (0, 10, 2)


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-c", "source env.sh && exec bash -c 'vllm serve m --port 9000'"],
        ["tini", "--", "vllm", "serve", "m", "--port", "9000"],
        ["sh", "-c", "numactl -m 0 vllm serve m --port 9000 2>&1 | tee log"],
    ],
)
def test_an_engine_is_found_behind_what_starts_it(command: list[str]) -> None:
    found = known(image="registry.example/ours:1", command=command)
    assert (found.name, found.port) == ("vllm", 9000)
    assert set(found.flags) == {"--port"}


def pod(*raws: dict[str, object], **annotations: str) -> str:
    found = [
        container.read({"name": f"c{index}", **raw}, f"spec.containers[{index}]")
        for index, raw in enumerate(raws)
    ]
    engine = engine_of(
        found, {f"drainproof.dev/{key}": value for key, value in annotations.items()}
    )
    return engine[0].container if engine[0] else ""


SERVER: dict[str, object] = {
    "image": "vllm/vllm-openai:v0.10.2",
    "args": ["--model=m"],
    "resources": {"limits": {"nvidia.com/gpu": 1}},
}


@pytest.mark.parametrize(
    "sidecar",
    [
        {"image": "vllm/vllm-openai:v0.10.2", "ports": PORTS, "command": ["python3", "watch.py"]},
        {"image": "vllm/vllm-openai:v0.10.2"},
        {"image": "envoyproxy/envoy:v1.31", "ports": PORTS},
        {"image": "lmcache/lmstack-router:v0.1"},
    ],
)
def test_a_sidecar_in_front_is_not_taken_for_the_engine(sidecar: dict[str, object]) -> None:
    assert pod(sidecar, SERVER) == "c1"


def test_a_container_that_starts_an_engine_comes_before_one_that_only_has_its_image() -> None:
    started: dict[str, object] = {"image": "ours:1", "command": ["vllm", "serve", "m"]}
    assert pod(SERVER, started) == "c1"


def test_an_annotation_is_for_the_container_with_the_gpu() -> None:
    ours: dict[str, object] = {
        "image": "registry.example/ours:1",
        "command": ["/start"],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
    }
    assert pod({"image": "fluent/fluent-bit:3"}, ours, engine="sglang") == "c1"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"containers": [{"image": "nginx:1.27"}]}, False),
        ({"containers": [{"image": "ours:1", "command": ["/bin/server"], "args": ["-v"]}]}, False),
        ({"containers": [{"image": "ours:1", "args": ["--max_model_len=1"]}]}, True),
        ({"containers": [{"image": "nginx:1.27"}, {"image": "nvcr.io/nim/meta/a:1"}]}, True),
        ({"containers": [{"image": "ours:1", "command": ["$(RUN)"], "env": "vllm"}]}, True),
        ({"containers": [{"image": 1}]}, True),
        ({"containers": [{"image": "a", "args": "x"}]}, True),
        ({"containers": None}, True),
        ({"containers": [None]}, True),
    ],
)
def test_a_quick_look_passes_over_only_what_runs_no_engine(
    spec: dict[str, object], *, expected: bool
) -> None:
    assert likely(spec, {}) is expected


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
        ("registry.example/rhaiis/vllm-cuda-rhel9:3.2.1", None),
        ("nvcr.io/nvidia/ai-dynamo/vllm-runtime:0.5.0", None),
        ("opea/vllm:1.3", None),
        ("vllm/vllm-openai:v0.10", (0, 10)),
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
    "command",
    [
        ["/usr/bin/env", "bash", "-c", "exec vllm serve m --port 9000 -tp 2"],
        ["bash", "-c", "--", "exec vllm serve m --port 9000 -tp 2"],
        ["bash", "-c", 'eval "exec vllm serve m \\\n --port 9000 \\\n -tp 2"'],
        ["bash", "-c", "A='--port 9000'; vllm serve m $A -tp 2"],
        ["bash", "-c", 'A=(--port 9000); exec vllm serve m "${A[@]}" -tp 2'],
        ["bash", "-c", 'exec vllm serve m "$@"', "bash", "--port", "9000", "-tp", "2"],
        ["bash", "-c", "echo 'vllm serve m'; sh -c 'x'; sh -c 'vllm serve m --port 9000 -tp 2'"],
    ],
)
def test_flags_are_found_in_scripts_of_every_form(command: list[str]) -> None:
    found = known(command=command, image="vllm/vllm-openai:v0.32.0")
    assert (found.port, found.tensor_parallel, found.flags_known) == (9000, 2, True)


@pytest.mark.parametrize(
    "script",
    [
        "exec vllm serve m $EXTRA_ARGS",
        "exec vllm serve m --enforce-eager ${VLLM_FLAGS}",
        "if x; then A=--enforce-eager; fi; exec vllm serve m --port=9000 $A",
        'exec vllm serve m "${ARGS[@]}"',
    ],
)
def test_a_variable_without_a_value_may_hold_more_flags(script: str) -> None:
    assert not known(command=["bash", "-c", script]).flags_known


@pytest.mark.parametrize(
    "script",
    [
        "exec vllm serve $MODEL",
        "exec vllm serve m --port $PORT --enforce-eager",
        "exec vllm serve m $VLLM_ADDITIONAL_ARGS",  # an engine's own variable, and it is not set
    ],
)
def test_a_variable_that_stands_for_a_value_hides_no_flags(script: str) -> None:
    assert known(command=["bash", "-c", script]).flags_known


def test_variables_that_double_each_other_are_no_bomb() -> None:
    names = [f"A{number}" for number in range(200)]
    env = [{"name": "A0", "value": "x"}]
    env += [{"name": b, "value": f"$({a})$({a})"} for a, b in pairwise(names)]
    raw = {"name": "c", "image": "vllm/vllm-openai:v0.32.0", "env": env}
    assert sum(map(len, container.read(raw, "c").env.values())) < 2 * 1024 * 1024


def test_a_variable_may_refer_to_one_before_it() -> None:
    env = [{"name": "BASE", "value": "9000"}, {"name": "PORT", "value": "$(BASE)"}]
    found = known(args=["--port=$(PORT)"], image="vllm/vllm-openai:v0.32.0", env=env)
    assert found.port == 9000


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


@pytest.mark.parametrize(
    ("fields", "enabled"),
    [
        ({"image": "vllm/vllm-openai:v0.32.0"}, True),
        ({"image": "vllm/vllm-openai:v0.32.0", "args": ["--disable-log-stats"]}, False),
        ({"image": "lmsysorg/sglang:v0.5.9", "args": ["--model-path=m"]}, False),
        ({"image": "lmsysorg/sglang:v0.5.9", "args": ["--enable-metrics"]}, True),
        ({"image": "lmsysorg/sglang:v0.5.9", "args": ["--config", "/a.yaml"]}, None),
        ({"image": "tritonserver:24.08", "args": ["--allow-metrics=false"]}, False),
        ({"image": "tritonserver:24.08", "args": ["--allow-metrics=true"]}, True),
        ({"image": "nvidia/tensorrt-llm/release:1.0.0", "args": ["m"]}, False),
    ],
)
def test_whether_there_are_metrics_is_told_by_flags(
    fields: dict[str, object], enabled: object
) -> None:
    assert known(**fields).metrics_enabled is enabled


def test_a_flag_shows_metrics_that_are_phased_out() -> None:
    image, name = "vllm/vllm-openai:v0.12.0", "vllm:time_per_output_token_seconds_bucket"
    assert known(image=image).exports(name) is False
    shown = known(image=image, args=["--show-hidden-metrics-for-version=0.11"])
    assert shown.exports(name) is True


def test_flags_are_asked_for_by_any_of_their_spellings() -> None:
    found = known(
        image="vllm/vllm-openai:v0.32.0",
        args=["-pp", "2", "--max-num-seqs=64", "--enforce-eager", "--no-enable-prefix-caching"],
    )
    assert found.pipeline_parallel == 2
    assert found.flag("--max-batch", "--max-num-seqs", default="1") == "64"
    assert found.flag("--other", default="1") == "1"
    assert found.flag_number("--max-num-seqs") == 64
    assert found.flag_number("--enforce-eager") is None
    assert found.flag_on("--enforce-eager") is True
    assert found.flag_on("--enable-prefix-caching") is False
    assert found.flag_on("--other") is None


def test_a_replicas_spread_over_pods_is_read_from_flags() -> None:
    args = ["--data-parallel-size=8", "--data-parallel-size-local=4", "--nnodes=2"]
    found = known(image="vllm/vllm-openai:v0.32.0", args=args)
    assert (found.data_parallel, found.data_parallel_local, found.nodes) == (8, 4, 2)


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
