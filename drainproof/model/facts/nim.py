"""NIM, as its documentation of the images for language models describes it."""

from __future__ import annotations

import re

from drainproof.model.engine_facts import Drain, EngineFacts

METRICS = """\
e2e_request_latency_seconds   histogram
generation_tokens_total       counter
gpu_cache_usage_perc          gauge
num_request_max               gauge
num_requests_running          gauge
num_requests_waiting          gauge
prompt_tokens_total           counter
request_failure_total         counter
request_finish_total          counter
request_generation_tokens     histogram
request_prompt_tokens         histogram
request_success_total         counter
time_per_output_token_seconds histogram
time_to_first_token_seconds   histogram
"""

NIM = EngineFacts(
    name="nim",
    title="NIM",
    image=re.compile(r"(?:^|/)nim/"),
    official=r"(?:^|/)nim/",
    hints=("nim/",),
    starts=(
        r"\S*/opt/nim/start[-_]server\.sh",
        r"opt/nim/start[-_]server\.sh",
    ),
    port=8000,
    port_env="NIM_SERVER_PORT",
    health_paths=("/v1/health/ready", "/v1/models"),
    live_paths=frozenset(
        {
            "/v1/health/live",
            "/v1/metadata",
            "/v1/version",
            "/v1/manifest",
            "/v1/license",
            "/health",
            "/metrics",
            "/docs",
        }
    ),
    metrics_path="/v1/metrics",
    prefix="",
    meanings={
        "waiting": ("num_requests_waiting",),
        "running": ("num_requests_running",),
        "kv_cache": ("gpu_cache_usage_perc",),
        "ttft": ("time_to_first_token_seconds",),
        "latency": ("time_per_output_token_seconds",),
        "e2e": ("e2e_request_latency_seconds",),
        "success": ("request_success_total",),
        "prompt_tokens": ("prompt_tokens_total",),
        "generation_tokens": ("generation_tokens_total",),
    },
    metric_table=METRICS,
    # NIM wraps other engines, and its documentation doesn't say what it does on SIGTERM
    drains=(Drain(since=(), default_s=None, source="not documented"),),
)
