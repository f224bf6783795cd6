"""trtllm-serve, the server of TensorRT-LLM.

Its flags and metrics were read from its source after 1.2; which release brought which is not known,
so nothing is said to be missing from an older one.
"""

from __future__ import annotations

import re

from drainproof.model.engine_facts import UNBOUNDED, Drain, EngineFacts

METRICS = """\
trtllm_avg_decoded_tokens_per_iter               gauge
trtllm_cpu_memory_usage_bytes                    gauge
trtllm_e2e_request_latency_seconds               histogram
trtllm_generation_perplexity                     any
trtllm_generation_tokens_total                   counter
trtllm_gpu_memory_usage_bytes                    gauge
trtllm_iteration_latency_seconds                 gauge
trtllm_kv_cache_config_info                      gauge
trtllm_kv_cache_disk_prefetch_blocks_total       counter
trtllm_kv_cache_free_blocks                      gauge
trtllm_kv_cache_gen_alloc_blocks_total           counter
trtllm_kv_cache_hit_rate                         gauge
trtllm_kv_cache_host_utilization                 gauge
trtllm_kv_cache_intra_device_copy_bytes_total    counter
trtllm_kv_cache_iter_full_reused_blocks_total    counter
trtllm_kv_cache_iter_missed_blocks_total         counter
trtllm_kv_cache_iter_partial_reused_blocks_total counter
trtllm_kv_cache_iter_reuse_rate                  gauge
trtllm_kv_cache_iter_reused_blocks_total         counter
trtllm_kv_cache_max_blocks                       gauge
trtllm_kv_cache_missed_blocks_total              counter
trtllm_kv_cache_offload_bytes_total              counter
trtllm_kv_cache_onboard_bytes_total              counter
trtllm_kv_cache_reused_blocks_total              counter
trtllm_kv_cache_tokens_per_block                 gauge
trtllm_kv_cache_used_blocks                      gauge
trtllm_kv_cache_utilization                      gauge
trtllm_max_batch_size_runtime                    gauge
trtllm_max_batch_size_static                     gauge
trtllm_max_num_active_requests                   gauge
trtllm_max_num_tokens_runtime                    gauge
trtllm_model_config_info                         gauge
trtllm_num_context_requests                      gauge
trtllm_num_generation_requests                   gauge
trtllm_num_paused_requests                       gauge
trtllm_num_requests_completed_total              counter
trtllm_num_requests_running                      gauge
trtllm_num_requests_waiting                      gauge
trtllm_num_scheduled_requests                    gauge
trtllm_parallel_config_info                      gauge
trtllm_pinned_memory_usage_bytes                 gauge
trtllm_prefill_batch_occupancy                   any
trtllm_prefill_batch_tokens                      any
trtllm_prefill_perplexity                        any
trtllm_prompt_cache_hit_tokens_total             counter
trtllm_prompt_cached_tokens_per_request          any
trtllm_prompt_cached_tokens_total                counter
trtllm_prompt_tokens_total                       counter
trtllm_request_decode_time_seconds               histogram
trtllm_request_error_total                       counter
trtllm_request_inference_time_seconds            histogram
trtllm_request_prefill_time_seconds              histogram
trtllm_request_queue_time_seconds                histogram
trtllm_request_success_total                     counter
trtllm_scheduled_batch_size                      any
trtllm_spec_decode_acceptance_length             gauge
trtllm_spec_decode_accepted_tokens_total         counter
trtllm_spec_decode_draft_overhead                gauge
trtllm_spec_decode_drafted_tokens_total          counter
trtllm_spec_decode_num_accepted_tokens_total     counter
trtllm_spec_decode_num_draft_tokens_total        counter
trtllm_speculative_config_info                   gauge
trtllm_time_per_output_token_seconds             histogram
trtllm_time_to_first_token_seconds               histogram
trtllm_total_context_tokens                      gauge
"""

TRTLLM = EngineFacts(
    name="trtllm-serve",
    title="trtllm-serve",
    image=re.compile(r"tensorrt[-_]?llm|trt[-_]?llm"),
    official=r"(?:^|/)nvidia/tensorrt-llm/",
    hints=("trtllm", "tensorrt", "trt"),
    starts=(r"trtllm-serve",),
    signature=frozenset({"--kv-cache-free-gpu-memory-fraction", "--ep-size"}),
    host="localhost",
    port=8000,
    health_paths=("/health", "/v1/models"),
    live_paths=frozenset(
        {
            "/health_generate",
            "/version",
            "/metrics",
            "/server_info",
            "/perf_metrics",
            "/docs",
            "/openapi.json",
        }
    ),
    busy_paths=("/health_generate",),
    metrics_path="/prometheus/metrics",
    metrics_flag="--return-perf-metrics",  # in the file that --extra_llm_api_options names
    prefix="trtllm_",
    meanings={
        "waiting": ("trtllm_num_requests_waiting",),
        "running": ("trtllm_num_requests_running",),
        "kv_cache": ("trtllm_kv_cache_utilization",),
        "ttft": ("trtllm_time_to_first_token_seconds",),
        "latency": ("trtllm_time_per_output_token_seconds",),
        "e2e": ("trtllm_e2e_request_latency_seconds",),
        "queue_time": ("trtllm_request_queue_time_seconds",),
        "success": ("trtllm_request_success_total",),
        "prompt_tokens": ("trtllm_prompt_tokens_total",),
        "generation_tokens": ("trtllm_generation_tokens_total",),
    },
    metric_table=METRICS,
    parallel_flags=("--tp-size", "--tensor-parallel-size", "--tp"),
    pipeline_flags=("--pp-size", "--pipeline-parallel-size"),
    config_flags=("--extra-llm-api-options", "--config"),
    config_is_api=True,
    newest_major=1,
    drains=(Drain(since=(), default_s=UNBOUNDED, source="source: waits, listener closed"),),
)
