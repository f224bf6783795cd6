"""What is known of each engine, by version: how it is started, what it exports, how it stops.

This is data. A line that depends on a version says from which one it holds, and where that is known
from. *Measured* means seen on real vLLM 0.32; *source* means read in the engine's source or in the
pull request that changed it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

Version = tuple[int, ...]

UNBOUNDED = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """What an engine does with streams in flight on SIGTERM, from a version on."""

    since: Version
    default_s: float | None
    """Seconds that it drains by itself: 0 aborts, infinity has no bound, None is unknown."""
    flag: str = ""
    """The flag that sets the seconds."""
    env: str = ""
    """The environment variable that sets the seconds."""
    abort_env: str = ""
    """The environment variable that makes it abort when it is true."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """The name of a metric from a version on, until before another."""

    meaning: str
    """``waiting`` or ``running``: requests; ``latency``: seconds."""
    name: str
    since: Version = ()
    until: Version | None = None

    def in_version(self, version: Version | None) -> bool:
        """Tell whether a version exports it; an unknown version may."""
        return version is None or (
            self.since <= version and (self.until is None or version < self.until)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """One engine."""

    name: str
    title: str
    """As its project writes it."""
    image: re.Pattern[str]
    """Found in the image's repository without its tag."""
    hints: tuple[str, ...]
    """One of them is in any command line that ``starts`` is found in; quick to look for."""
    starts: re.Pattern[str]
    """Found in the command line that starts the server."""
    signature: frozenset[str] = frozenset()
    """Flags that only this engine has; two of them tell it when the image's name doesn't."""
    port: int
    """The port it listens on unless told otherwise."""
    port_flags: tuple[str, ...] = ("--port",)
    port_env: str = ""
    metrics_port: int | None = None
    """None if metrics are on the same port."""
    health_paths: tuple[str, ...]
    """Paths that answer 200 when it can serve, the usual one first."""
    busy_paths: tuple[str, ...] = ()
    """Paths that run or wait for inference, so that a busy engine answers late."""
    metrics_path: str = "/metrics"
    metrics: tuple[Metric, ...] = ()
    prefix: str
    """What its metrics' names begin with."""
    parallel_flags: tuple[str, ...] = ()
    """Flags that set the number of GPUs for tensor parallelism."""
    parallel_env: str = ""
    parallel_default_all: bool = False
    """Whether it takes all GPUs that it sees unless told otherwise."""
    config_flags: tuple[str, ...] = ()
    """Flags that name a file with more settings."""
    drains: tuple[Drain, ...]
    """Oldest first."""

    def is_started_by(self, line: str) -> bool:
        """Tell whether a command line starts this engine's server."""
        return any(hint in line for hint in self.hints) and bool(self.starts.search(line))


def _starts(*alternatives: str) -> re.Pattern[str]:
    return re.compile(r"(?:^|[\s/])(?:" + "|".join(alternatives) + r")(?=\s|$)")


ENGINES: tuple[EngineFacts, ...] = (
    EngineFacts(
        name="vllm",
        title="vLLM",
        image=re.compile(r"vllm"),
        hints=("vllm",),
        starts=_starts(
            r"vllm\s+serve",
            r"-m\s+vllm\s+serve",
            r"vllm\.entrypoints\.(?:\w+\.)*api_server",
            r"vllm\.entrypoints\.cli\.main\s+serve",
            r"\S*vllm/entrypoints/(?:\w+/)*api_server\.py",
        ),
        signature=frozenset(
            {
                "--gpu-memory-utilization",
                "--max-num-seqs",
                "--max-model-len",
                "--enforce-eager",
                "--enable-chunked-prefill",
                "--max-num-batched-tokens",
                "--shutdown-timeout",
            }
        ),
        port=8000,
        health_paths=("/health", "/v1/models", "/ping"),
        prefix="vllm:",
        metrics=(
            Metric(meaning="waiting", name="vllm:num_requests_waiting"),
            Metric(meaning="running", name="vllm:num_requests_running"),
            # source: the metrics of 21 releases, 0.6.5 to 0.33, compared
            Metric(meaning="latency", name="vllm:time_per_output_token_seconds", until=(0, 12)),
            Metric(meaning="latency", name="vllm:inter_token_latency_seconds", since=(0, 10, 2)),
            Metric(
                meaning="latency",
                name="vllm:request_time_per_output_token_seconds",
                since=(0, 11),
            ),
        ),
        parallel_flags=("--tensor-parallel-size", "-tp"),
        config_flags=("--config",),
        drains=(
            Drain(since=(), default_s=0.0, source="source, 0.6.5 to 0.17: torn down at once"),
            Drain(
                since=(0, 18),
                default_s=0.0,
                flag="--shutdown-timeout",
                source="measured on 0.32; vllm-project/vllm pull request 36666",
            ),
        ),
    ),
    EngineFacts(
        name="tgi",
        title="Text Generation Inference",
        image=re.compile(r"text-generation-inference|(?:^|[-_/])tgi(?:$|[-_])"),
        hints=("text-generation-", "tgi-entrypoint"),
        starts=_starts(
            r"text-generation-launcher", r"text-generation-router", r"tgi-entrypoint\.sh"
        ),
        signature=frozenset(
            {
                "--max-total-tokens",
                "--max-input-tokens",
                "--max-input-length",
                "--max-batch-prefill-tokens",
                "--max-best-of",
                "--num-shard",
            }
        ),
        port=80,  # the images set PORT=80; the bare launcher's default is 3000
        port_flags=("--port", "-p"),
        port_env="PORT",
        health_paths=("/health",),
        prefix="tgi_",
        metrics=(
            Metric(meaning="waiting", name="tgi_queue_size"),
            Metric(meaning="running", name="tgi_batch_current_size"),
        ),
        parallel_flags=("--num-shard",),
        parallel_env="NUM_SHARD",
        parallel_default_all=True,
        drains=(
            Drain(
                since=(), default_s=90.0, source="huggingface/text-generation-inference issue 2035"
            ),
            Drain(
                since=(3, 2, 2),
                default_s=90.0,
                flag="--graceful-termination-timeout",
                env="GRACEFUL_TERMINATION_TIMEOUT",
                source="huggingface/text-generation-inference pull request 3126",
            ),
        ),
    ),
    EngineFacts(
        name="sglang",
        title="SGLang",
        image=re.compile(r"sglang"),
        hints=("sglang",),
        starts=_starts(r"sglang\.launch_server", r"sglang\s+serve", r"\S*sglang/launch_server\.py"),
        signature=frozenset(
            {"--mem-fraction-static", "--chunked-prefill-size", "--tp-size", "--context-length"}
        ),
        port=30000,
        health_paths=("/health", "/health_generate", "/v1/models"),
        busy_paths=("/health_generate",),
        prefix="sglang:",
        metrics=(
            Metric(meaning="waiting", name="sglang:num_queue_reqs"),
            Metric(meaning="running", name="sglang:num_running_reqs"),
        ),
        parallel_flags=("--tp", "--tp-size", "--tensor-parallel-size"),
        config_flags=("--config",),
        drains=(
            Drain(since=(), default_s=0.0, source="source: no drain before 0.3.5"),
            Drain(
                since=(0, 3, 5),
                default_s=UNBOUNDED,
                abort_env="SGL_FORCE_SHUTDOWN",
                source="sgl-project/sglang pull request 1838",
            ),
        ),
    ),
    EngineFacts(
        name="triton",
        title="Triton",
        image=re.compile(r"tritonserver"),
        hints=("triton",),
        starts=_starts(r"tritonserver", r"\S*launch_triton_server\.py"),
        signature=frozenset({"--model-repository", "--exit-timeout-secs"}),
        port=8000,
        port_flags=("--http-port",),
        metrics_port=8002,
        health_paths=("/v2/health/ready",),
        prefix="nv_",
        metrics=(
            Metric(meaning="waiting", name='nv_trt_llm_request_metrics{request_type="waiting"}'),
            Metric(meaning="running", name='nv_trt_llm_request_metrics{request_type="scheduled"}'),
        ),
        drains=(
            Drain(
                since=(),
                default_s=30.0,
                flag="--exit-timeout-secs",
                source="source: open connections drain, new ones are reset",
            ),
        ),
    ),
    EngineFacts(
        name="trtllm-serve",
        title="trtllm-serve",
        image=re.compile(r"tensorrt[-_]?llm|trt[-_]?llm"),
        hints=("trtllm-serve",),
        starts=_starts(r"trtllm-serve"),
        signature=frozenset({"--kv-cache-free-gpu-memory-fraction", "--ep-size"}),
        port=8000,
        health_paths=("/health", "/v1/models"),
        busy_paths=("/health_generate",),
        metrics_path="/prometheus/metrics",
        prefix="trtllm_",
        metrics=(
            Metric(meaning="waiting", name="trtllm_num_requests_waiting"),
            Metric(meaning="running", name="trtllm_num_requests_running"),
        ),
        parallel_flags=("--tp-size", "--tp"),
        config_flags=("--extra-llm-api-options", "--config"),
        drains=(Drain(since=(), default_s=UNBOUNDED, source="source: waits, listener closed"),),
    ),
    EngineFacts(
        name="nim",
        title="NIM",
        image=re.compile(r"(?:^|/)nim/"),
        hints=("opt/nim/",),
        starts=_starts(r"\S*/opt/nim/start[-_]server\.sh", r"opt/nim/start[-_]server\.sh"),
        port=8000,
        port_env="NIM_SERVER_PORT",
        health_paths=("/v1/health/ready", "/v1/models"),
        metrics_path="/v1/metrics",
        prefix="",
        # NIM wraps other engines, and its documentation doesn't say what it does on SIGTERM
        drains=(Drain(since=(), default_s=None, source="not documented"),),
    ),
)

BY_NAME = {facts.name: facts for facts in ENGINES}

NOT_ENGINES = re.compile(
    r"""
      \bvllm\s+(?:bench|chat|complete|collect-env|run-batch)\b
    | vllm[_-]router | vllm\.entrypoints\.(?:\w+\.)*run_batch | production_stack
    | sglang_router | sglang\.(?:launch_router|bench_\w+) | text-generation-benchmark | genai-perf
    | (?:^|\s|/)(?:sleep|ray|envoy|nginx|curl|wget|huggingface-cli|hf|aws|gsutil|rclone)(?=\s|$)
    """,
    re.VERBOSE,
)
"""Command lines that run in engines' images and are no server: routers, benchmarks, downloads."""

NOT_ENGINE_IMAGES = re.compile(
    r"router|gateway|scheduler|(?:^|[-_/])epp(?:$|[-_])|proxy|controller|operator|exporter|sidecar"
    r"|benchmark|(?:^|[-_])bench(?:$|[-_])|loadgen"
)
"""Image names with an engine's name in them that hold something else."""

FOREIGN_TAGS = re.compile(r"(?:^|/)lmcache/|(?:^|/)llm-d|(?:^|/)nvidia/(?:vllm|sglang)")
"""Repositories whose tags count their own releases, not the engine's."""
