"""Triton by version, as its images count: year and month (``24.08``).

Flags: the sources of 40 releases from 23.03 to 26.07 were compared. Metrics: its metrics guide, and
what the TensorRT-LLM backend adds.
"""

from __future__ import annotations

import re

from drainproof.model.engine_facts import Drain, EngineFacts

METRICS = """\
nv_cache_hit_duration_per_model          counter
nv_cache_miss_duration_per_model         counter
nv_cache_num_hits_per_model              counter
nv_cache_num_misses_per_model            counter
nv_cpu_memory_total_bytes                gauge
nv_cpu_memory_used_bytes                 gauge
nv_cpu_utilization                       gauge
nv_energy_consumption                    counter
nv_gpu_memory_total_bytes                gauge
nv_gpu_memory_used_bytes                 gauge
nv_gpu_power_limit                       gauge
nv_gpu_power_usage                       gauge
nv_gpu_utilization                       gauge
nv_inference_compute_infer_duration_us   counter
nv_inference_compute_infer_summary_us    summary
nv_inference_compute_input_duration_us   counter
nv_inference_compute_input_summary_us    summary
nv_inference_compute_output_duration_us  counter
nv_inference_compute_output_summary_us   summary
nv_inference_count                       counter
nv_inference_exec_count                  counter
nv_inference_first_response_histogram_ms histogram
nv_inference_pending_request_count       gauge
nv_inference_queue_duration_us           counter
nv_inference_queue_summary_us            summary
nv_inference_request_duration_us         counter
nv_inference_request_failure             counter
nv_inference_request_success             counter
nv_inference_request_summary_us          summary
nv_pinned_memory_pool_total_bytes        gauge
nv_pinned_memory_pool_used_bytes         gauge
nv_trt_llm_disaggregated_serving_metrics any
nv_trt_llm_general_metrics               gauge
nv_trt_llm_inflight_batcher_metrics      gauge
nv_trt_llm_kv_cache_block_metrics        gauge
nv_trt_llm_request_metrics               gauge
nv_trt_llm_runtime_memory_metrics        gauge
nv_trt_llm_v1_metrics                    gauge
"""

FLAGS = """\
--allow-client-shm                               26.04
--allow-cpu-metrics
--allow-gpu-metrics
--allow-grpc
--allow-http
--allow-metrics
--allow-sagemaker
--allow-vertex-ai
--backend-config
--backend-directory
--buffer-manager-thread-count
--cache-config
--cache-directory
--cuda-memory-pool-byte-size
--cuda-virtual-address-size                      23.11
--disable-auto-complete-config
--enable-peer-access                             24.06
--exit-on-error
--exit-timeout-secs
--grpc-address
--grpc-header-forward-pattern                    23.04
--grpc-http2-max-ping-strikes
--grpc-http2-max-pings-without-data
--grpc-http2-min-recv-ping-interval-without-data
--grpc-infer-allocation-pool-size
--grpc-infer-response-compression-level
--grpc-infer-thread-count                        25.04
--grpc-keepalive-permit-without-calls
--grpc-keepalive-time
--grpc-keepalive-timeout
--grpc-max-connection-age                        24.01
--grpc-max-connection-age-grace                  24.01
--grpc-max-response-pool-size                    25.03
--grpc-port
--grpc-restricted-protocol                       23.04
--grpc-root-cert
--grpc-server-cert
--grpc-server-key
--grpc-use-ssl
--grpc-use-ssl-mutual
--help
--host-policy
--http-address
--http-header-forward-pattern                    23.04
--http-max-input-size                            25.06
--http-port
--http-restricted-api                            23.11
--http-thread-count
--id
--load-model
--log-error
--log-file
--log-format
--log-info
--log-verbose
--log-warning
--metrics-address                                23.05
--metrics-config                                 23.04
--metrics-interval-ms
--metrics-port
--min-supported-compute-capability
--model-config-name                              24.05
--model-control-mode
--model-load-gpu-limit
--model-load-retry-count                         24.01
--model-load-thread-count
--model-namespacing
--model-repository
--model-store
--pinned-memory-pool-byte-size
--rate-limit
--rate-limit-resource
--repoagent-directory
--repository-poll-secs
--response-cache-byte-size
--reuse-grpc-port
--reuse-http-port
--sagemaker-port
--sagemaker-safe-port-range
--sagemaker-thread-count
--strict-model-config
--strict-readiness
--trace-config                                   23.04
--trace-count
--trace-file
--trace-level
--trace-log-frequency
--trace-rate
--vertex-ai-default-model
--vertex-ai-port
--vertex-ai-thread-count
"""

TRITON = EngineFacts(
    name="triton",
    title="Triton",
    image=re.compile(r"tritonserver"),
    official=r"(?:^|/)nvidia/tritonserver[:@]",
    hints=("triton",),
    starts=(
        r"tritonserver",
        r"\S*launch_triton_server\.py",
    ),
    launchers=("launch_triton_server",),
    signature=frozenset({"--model-repository", "--exit-timeout-secs"}),
    port=8000,
    port_flags=("--http-port",),
    health_paths=("/v2/health/ready",),
    live_paths=frozenset({"/v2/health/live", "/v2"}),
    metrics_port=8002,
    metrics_port_flag="--metrics-port",
    metrics_off={"--allow-metrics": "false"},
    prefix="nv_",
    meanings={
        "waiting": (
            'nv_trt_llm_request_metrics{request_type="waiting"}',
            "nv_inference_pending_request_count",
        ),
        "running": ('nv_trt_llm_request_metrics{request_type="scheduled"}',),
        "kv_cache": ('nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"}',),
        "ttft": ("nv_inference_first_response_histogram_ms",),
        "queue_time": ("nv_inference_queue_duration_us",),
        "success": ("nv_inference_request_success",),
    },
    metric_table=METRICS,
    flag_table=FLAGS,
    compared=((23, 3), (26, 7)),
    oldest_major=20,  # year and month; 2.50 is the server's own number, which says the same
    drains=(
        Drain(
            since=(),
            default_s=30.0,
            flag="--exit-timeout-secs",
            source="source: open connections drain, new ones are reset",
        ),
    ),
)
