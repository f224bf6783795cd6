"""vLLM by version.

Flags and metrics are what each release's own code declares: 66 releases from 0.4.3 to 0.33.0 were
compared. Before 0.8 that is the engine V0; up to 0.10 what either V0 or V1 has counts, since a
setting that V1 did not support brought V0 back.
"""

from __future__ import annotations

import re

from drainproof.model.engine_facts import Drain, EngineFacts

METRICS = """\
http_request_duration_seconds histogram
http_request_duration_highr_seconds histogram
http_request_size_bytes summary
http_requests_total counter
http_response_size_bytes summary
vllm:admission_rejections_total                         counter    0.32.0
vllm:avg_generation_throughput_toks_per_s               gauge      -       0.7.0
vllm:avg_prompt_throughput_toks_per_s                   gauge      -       0.7.0
vllm:cache_config_info                                  gauge
vllm:corrupted_requests_total                           counter    0.11.1
vllm:cpu_cache_usage_perc                               gauge      -       0.8.3   0.9.1
vllm:cpu_prefix_cache_hit_rate                          gauge      0.5.5   0.8.3   0.9.1
vllm:diffusion_num_canvas_positions                     any        0.24.0
vllm:diffusion_num_committed_tokens                     any        0.24.0
vllm:diffusion_num_denoising_steps                      any        0.24.0
vllm:e2e_request_latency_seconds                        histogram
vllm:engine_sleep_state                                 gauge      0.11.1
vllm:estimated_flops_per_gpu_total                      counter    0.17.0
vllm:estimated_read_bytes_per_gpu_total                 counter    0.17.0
vllm:estimated_write_bytes_per_gpu_total                counter    0.17.0
vllm:external_prefix_cache_hits_total                   counter    0.11.1
vllm:external_prefix_cache_queries_total                counter    0.11.1
vllm:generation_tokens_total                            counter
vllm:gpu_cache_usage_perc                               gauge      -       0.11.0  0.12.0
vllm:gpu_prefix_cache_hit_rate                          gauge      0.5.5   0.8.3   0.9.1
vllm:gpu_prefix_cache_hits_total                        counter    0.8.0   0.11.0  0.12.0
vllm:gpu_prefix_cache_queries_total                     counter    0.8.0   0.11.0  0.12.0
vllm:hf3fs_load_duration_seconds                        histogram  0.20.0
vllm:hf3fs_num_failed_load_total                        counter    0.20.0
vllm:hf3fs_num_failed_save_total                        counter    0.20.0
vllm:hf3fs_save_duration_seconds                        histogram  0.20.0
vllm:hisparse_cache_hits_total                          counter    0.32.0
vllm:hisparse_cache_misses_total                        counter    0.32.0
vllm:hisparse_host_block_idle_before_evict_seconds      histogram  0.32.0
vllm:hisparse_host_block_lifetime_seconds               histogram  0.32.0
vllm:hisparse_host_block_reuse_gap_seconds              histogram  0.32.0
vllm:hisparse_host_cache_usage_perc                     gauge      0.32.0
vllm:hisparse_host_to_device_bytes_total                counter    0.32.0
vllm:hisparse_pending_page_transfers                    gauge      0.32.0
vllm:inter_token_latency_seconds                        histogram  0.10.2
vllm:iteration_tokens_total                             histogram  0.6.4
vllm:kv_block_idle_before_evict_seconds                 histogram  0.12.0
vllm:kv_block_lifetime_seconds                          histogram  0.12.0
vllm:kv_block_reuse_gap_seconds                         histogram  0.12.0
vllm:kv_cache_usage_perc                                gauge      0.9.2
vllm:kv_offload_allocation_failure                      any        0.26.0
vllm:kv_offload_config_info                             any        0.33.0
vllm:kv_offload_cpu_allocation_size                     any        0.26.0
vllm:kv_offload_cpu_cache_read_usage_perc               any        0.26.0
vllm:kv_offload_cpu_cache_usage_perc                    any        0.24.0
vllm:kv_offload_cpu_cache_write_usage_perc              any        0.26.0
vllm:kv_offload_load_bytes                              any        0.24.0
vllm:kv_offload_load_size                               any        0.24.0
vllm:kv_offload_load_time                               any        0.24.0
vllm:kv_offload_lookup_async_delay_seconds              any        0.26.0
vllm:kv_offload_lookup_sync_delay_seconds               any        0.26.0
vllm:kv_offload_size                                    histogram  0.16.0
vllm:kv_offload_store_bytes                             any        0.24.0
vllm:kv_offload_store_size                              any        0.24.0
vllm:kv_offload_store_time                              any        0.24.0
vllm:kv_offload_stores_skipped                          any        0.24.0
vllm:kv_offload_tiering_active_cascade_jobs             any        0.28.0
vllm:kv_offload_tiering_active_promotion_jobs           any        0.28.0
vllm:kv_offload_tiering_backpressure_blocks_dropped     any        0.31.0
vllm:kv_offload_tiering_backpressure_store_latency_ema  any        0.31.0
vllm:kv_offload_tiering_backpressure_stores_dropped     any        0.31.0
vllm:kv_offload_tiering_cascade_job_failures            any        0.28.0
vllm:kv_offload_tiering_chunk_hits                      any        0.28.0
vllm:kv_offload_tiering_chunk_queries                   any        0.28.0
vllm:kv_offload_tiering_lookup_async_delay_seconds      any        0.26.0
vllm:kv_offload_tiering_lookup_sync_delay_seconds       any        0.26.0
vllm:kv_offload_tiering_primary_read_usage_perc         any        0.28.0
vllm:kv_offload_tiering_primary_write_usage_perc        any        0.28.0
vllm:kv_offload_tiering_promotion_allocation_failures   any        0.28.0
vllm:kv_offload_tiering_promotion_job_failures          any        0.28.0
vllm:kv_offload_tiering_promotion_latency_seconds       any        0.33.0
vllm:kv_offload_tiering_read_bytes                      any        0.28.0
vllm:kv_offload_tiering_read_time                       any        0.28.0
vllm:kv_offload_tiering_write_bytes                     any        0.28.0
vllm:kv_offload_tiering_write_time                      any        0.28.0
vllm:kv_offload_total_bytes_total                       counter    0.16.0
vllm:kv_offload_total_time_total                        counter    0.16.0
vllm:lora_requests_info                                 gauge      0.6.4
vllm:mm_cache_hits_total                                counter    0.11.1
vllm:mm_cache_queries_total                             counter    0.11.1
vllm:model_execute_time_milliseconds                    histogram  0.6.4   0.8.3   0.9.1
vllm:model_forward_time_milliseconds                    histogram  0.6.4   0.8.3   0.9.1
vllm:mooncake_bytes_transferred                         histogram  0.33.0
vllm:mooncake_num_descriptors                           histogram  0.33.0
vllm:mooncake_num_failed_recvs_total                    counter    0.33.0
vllm:mooncake_num_failed_transfers_total                counter    0.33.0
vllm:mooncake_num_kv_expired_reqs_total                 counter    0.33.0
vllm:mooncake_store_operation_bytes_total               counter    0.22.0
vllm:mooncake_store_operation_failed_keys_total         counter    0.22.0
vllm:mooncake_store_operation_keys_total                counter    0.22.0
vllm:mooncake_store_operation_time_seconds              histogram  0.22.0
vllm:mooncake_store_operation_total                     counter    0.22.0
vllm:mooncake_xfer_time_seconds                         histogram  0.33.0
vllm:nixl_bytes_transferred                             histogram  0.11.1
vllm:nixl_num_descriptors                               histogram  0.11.1
vllm:nixl_num_failed_notifications_total                counter    0.11.1
vllm:nixl_num_failed_transfers_total                    counter    0.11.1
vllm:nixl_num_kv_expired_reqs_total                     counter    0.15.0
vllm:nixl_num_notifications_after_expiry_total          counter    0.32.0
vllm:nixl_post_time_seconds                             histogram  0.11.1
vllm:nixl_xfer_time_seconds                             histogram  0.11.1
vllm:num_preemptions_total                              counter
vllm:num_requests_kv_fetch_by_stage                     gauge      0.32.0
vllm:num_requests_running                               gauge
vllm:num_requests_swapped                               gauge      -       0.8.3   0.9.1
vllm:num_requests_waiting                               gauge
vllm:num_requests_waiting_by_reason                     gauge      0.20.0
vllm:prefix_cache_hits_total                            counter    0.9.2
vllm:prefix_cache_queries_total                         counter    0.9.2
vllm:prompt_tokens_by_source_total                      counter    0.16.0
vllm:prompt_tokens_cached_by_source_total               counter    0.32.0
vllm:prompt_tokens_cached_total                         counter    0.16.0
vllm:prompt_tokens_recomputed_total                     counter    0.16.0  0.20.0
vllm:prompt_tokens_total                                counter
vllm:request_decode_time_seconds                        histogram  0.6.4
vllm:request_generation_tokens                          histogram
vllm:request_inference_time_seconds                     histogram  0.6.4
vllm:request_max_num_generation_tokens                  histogram  0.6.4
vllm:request_num_preemptions                            histogram  0.30.0
vllm:request_params_best_of                             histogram  -       0.6.3
vllm:request_params_max_tokens                          histogram  0.6.4
vllm:request_params_n                                   histogram
vllm:request_prefill_kv_computed_tokens                 histogram  0.13.0
vllm:request_prefill_time_seconds                       histogram  0.6.4
vllm:request_prompt_tokens                              histogram
vllm:request_queue_time_seconds                         histogram  0.6.4
vllm:request_success_total                              counter
vllm:request_time_per_output_token_seconds              histogram  0.11.0
vllm:rl_weight_update_operation_duration_seconds        histogram  0.32.0
vllm:rl_weight_update_operations_in_flight              gauge      0.32.0
vllm:simple_kv_offload_info                             gauge      0.31.0
vllm:simple_kv_offload_load_blocks_total                counter    0.31.0
vllm:simple_kv_offload_pending_store_blocks             gauge      0.31.0
vllm:simple_kv_offload_save_outcomes_total              counter    0.31.0
vllm:simple_kv_offload_used_blocks                      gauge      0.31.0
vllm:sleep_mode_operation_duration_seconds              histogram  0.32.0
vllm:sleep_mode_operations_in_flight                    gauge      0.32.0
vllm:spec_decode_draft_acceptance_rate                  gauge      0.5.3   0.10.0
vllm:spec_decode_efficiency                             gauge      0.5.3   0.10.0
vllm:spec_decode_num_accepted_tokens_per_pos_total      counter    0.8.5
vllm:spec_decode_num_accepted_tokens_total              counter    0.5.3
vllm:spec_decode_num_draft_tokens_total                 counter    0.5.3
vllm:spec_decode_num_drafts_total                       counter    0.8.5
vllm:spec_decode_num_emitted_tokens_total               counter    0.5.3   0.10.0
vllm:time_in_queue_requests                             histogram  0.6.4   0.8.3   0.9.1
vllm:time_per_output_token_seconds                      histogram  -       0.12.0  0.15.0
vllm:time_to_first_token_seconds                        histogram
vllm:tokens_total                                       counter    0.6.4   0.8.0
vllm:umbp_transfer_bytes_total                          counter    0.33.0
vllm:umbp_transfer_completed_total                      counter    0.33.0
vllm:umbp_transfer_failed_total                         counter    0.33.0
vllm:umbp_transfer_submitted_total                      counter    0.33.0
vllm:watermark_requests_total                           counter    0.32.0
vllm:websocket_connection_duration_seconds              histogram  0.18.0
vllm:websocket_connections_active                       gauge      0.18.0
vllm:websocket_connections_total                        counter    0.18.0
"""
"""As Prometheus names them. A metric that is phased out is hidden first: until the last version in
its line ``--show-hidden-metrics-for-version`` shows it. ``http_…`` are the web server's."""

FLAGS = """\
--additional-config                               0.7.3
--aggregate-engine-logging                        0.11.1
--all2all-backend                                 0.11.1
--allow-credentials
--allow-deprecated-quantization                   0.14.0
--allowed-headers
--allowed-local-media-path                        0.6.4
--allowed-media-domains                           0.11.0
--allowed-methods
--allowed-origins
--anthropic-disabled-thinking-effort              0.31.0
--api-key
--api-server-count                                0.9.1
--async-scheduling                                0.10.0
--attention-backend                               0.13.0
--attention-config                                0.13.0
--aux-output-config                               0.31.0
--block-size
--calculate-kv-scales                             0.7.0   0.28.0
--chat-template
--chat-template-content-format                    0.6.5
--chat-template-text-format                       0.6.4   0.6.5
--code-revision
--cohere-format                                   0.27.0
--cohere-is-reasoning-model                       0.27.0
--collect-detailed-traces                         0.5.5
--compilation-config                              0.6.5
--config                                          0.7.3
--config-format                                   0.6.1
--convert                                         0.10.1
--cp-kv-cache-interleave-size                     0.12.0
--cpu-distributed-timeout-seconds                 0.22.0
--cpu-offload-gb                                  0.5.3
--cpu-offload-params                              0.17.0
--cuda-graph-sizes                                0.9.0   0.13.0
--cudagraph-capture-sizes                         0.11.1
--cudagraph-metrics                               0.13.0
--custom-histogram-buckets                        0.32.0
--data-parallel-address                           0.9.0
--data-parallel-backend                           0.9.1
--data-parallel-external-lb                       0.11.1
--data-parallel-hybrid-lb                         0.10.0
--data-parallel-multi-port-external-lb            0.22.0
--data-parallel-rank                              0.9.2
--data-parallel-rpc-port                          0.9.0
--data-parallel-size                              0.8.3
--data-parallel-size-local                        0.9.0
--data-parallel-start-rank                        0.9.0
--data-parallel-supervisor-port                   0.22.0
--dbo-decode-token-threshold                      0.11.0
--dbo-prefill-token-threshold                     0.11.0
--dcp-comm-backend                                0.18.0
--dcp-kv-cache-interleave-size                    0.11.1
--dcp-q-replicate                                 0.29.0
--decode-context-parallel-size                    0.10.2
--default-chat-template-kwargs                    0.14.0
--default-mm-loras                                0.10.0
--device                                          -       0.10.0
--device-ids                                      0.24.0
--device-memory-utilization                       0.31.0
--diffusion-config                                0.24.0
--disable-access-log-for-endpoints                0.16.0
--disable-async-output-proc                       0.6.0   0.11.0
--disable-cascade-attn                            0.8.2
--disable-chunked-mm-input                        0.8.4
--disable-custom-all-reduce
--disable-fastapi-docs                            0.6.2
--disable-frontend-multiprocessing                0.5.4   0.19.0
--disable-hybrid-kv-cache-manager                 0.9.1
--disable-image-processor                         0.5.0   0.5.1
--disable-log-requests                            -       0.17.0
--disable-log-stats
--disable-logprobs-during-spec-decoding           0.5.3   0.8.3
--disable-mm-preprocessor-cache                   0.6.6   0.13.0
--disable-nccl-for-dp-synchronization             0.11.1
--disable-sliding-window
--disable-uvicorn-access-log                      0.8.2
--distributed-executor-backend
--distributed-timeout-seconds                     0.18.0
--download-dir
--dp-supervisor-probe-failure-threshold           0.22.0
--dp-supervisor-probe-interval-s                  0.22.0
--dp-supervisor-probe-timeout-s                   0.22.0
--dp-sync-interval                                0.30.0
--dtype
--ec-manager-config                               0.28.0
--ec-transfer-config                              0.11.1
--elastic-ep-max-dp-size                          0.30.0
--enable-auto-tool-choice                         0.6.0
--enable-batch-sharded-sampling                   0.29.0
--enable-bf16x3-router-gemm                       0.26.0  0.30.0
--enable-chunked-prefill
--enable-cumem-allocator                          0.22.0
--enable-dbo                                      0.11.0
--enable-elastic-ep                               0.17.0
--enable-ep-weight-filter                         0.18.0
--enable-eplb                                     0.9.2
--enable-expert-parallel                          0.8.0
--enable-fault-tolerance                          0.27.0
--enable-flash-late-interaction                   0.20.0
--enable-flashinfer-autotune                      0.16.0
--enable-force-include-usage                      0.9.2
--enable-hc-sp                                    0.32.0
--enable-layerwise-nvtx-tracing                   0.13.0
--enable-log-deltas                               0.14.0
--enable-log-outputs                              0.10.1
--enable-log-requests                             0.10.1
--enable-logging-iteration-details                0.14.0
--enable-lora
--enable-lora-bias                                0.6.4   0.11.1
--enable-mamba-cache-stochastic-rounding          0.20.0
--enable-mamba-fine-grained-prefix-cache          0.30.0  0.31.0
--enable-mamba-shared-prefix-checkpoint           0.31.0
--enable-mfu-metrics                              0.14.0
--enable-mixed-moe-lora-format                    0.22.0
--enable-mm-embeds                                0.11.1
--enable-moe-shared-loras                         0.26.0
--enable-multimodal-encoder-data-parallel         0.9.1   0.13.0
--enable-nccl-comm-suspend                        0.30.0
--enable-offline-docs                             0.14.0
--enable-per-request-metrics                      0.25.0
--enable-prefix-caching
--enable-prompt-adapter                           0.5.2   0.10.2
--enable-prompt-embeds                            0.9.0
--enable-prompt-tokens-details                    0.6.4
--enable-reasoning                                0.7.1   0.10.0
--enable-request-id-headers                       0.6.6
--enable-return-routed-experts                    0.14.0
--enable-scale-out                                0.30.0
--enable-server-load-tracking                     0.8.0
--enable-shm-tensor-arena                         0.32.0
--enable-sleep-mode                               0.7.0
--enable-ssl-refresh                              0.8.0
--enable-tokenizer-info-endpoint                  0.10.0
--enable-tower-connector-lora                     0.14.0
--enable-trace-replay                             0.29.0
--enforce-eager
--engine-use-ray                                  -       0.6.2
--engram-config                                   0.30.0
--eplb-config                                     0.10.2
--eplb-log-balancedness                           0.9.2   0.12.0
--eplb-step-interval                              0.9.2   0.12.0
--eplb-window-size                                0.9.2   0.12.0
--exclude-tools-when-tool-choice-none             0.10.1
--expand-tools-even-if-tool-choice-none           0.9.2   0.10.0
--expert-placement-strategy                       0.11.0
--fail-on-environ-validation                      0.17.0
--fault-tolerance-config                          0.27.0
--fingerprint-mode                                0.21.0
--fingerprint-value                               0.21.0
--fully-sharded-loras
--gdn-prefill-backend                             0.18.0
--generation-config                               0.6.6
--gpu-memory-utilization
--grpc                                            0.18.0
--grpc-port                                       0.32.0
--guided-decoding-backend                         -       0.11.0
--guided-decoding-disable-additional-properties   0.9.0   0.11.0
--guided-decoding-disable-any-whitespace          0.9.0   0.11.0
--guided-decoding-disable-fallback                0.9.0   0.11.0
--h11-max-header-count                            0.10.1.1
--h11-max-incomplete-event-size                   0.10.1.1
--headless                                        0.9.0
--hf-config-path                                  0.8.0
--hf-overrides                                    0.6.4
--hf-token                                        0.8.4
--host
--ignore-patterns                                 0.5.3
--image-feature-size                              -       0.5.1
--image-input-shape                               -       0.5.1
--image-input-type                                -       0.5.1
--image-processor                                 0.5.0   0.5.1
--image-processor-revision                        0.5.0   0.5.1
--image-token-id                                  -       0.5.1
--interleave-mm-strings                           0.10.0
--io-processor-plugin                             0.10.2
--ir-op-priority                                  0.20.0
--jit-monitor-mode                                0.25.0
--jit-monitor-verbose                             0.24.0
--kda-decode-backend                              0.30.0
--kda-prefill-backend                             0.27.0
--kernel-config                                   0.16.0
--kv-cache-dtype
--kv-cache-dtype-skip-layers                      0.19.0
--kv-cache-memory-bytes                           0.10.2
--kv-cache-metrics                                0.12.0
--kv-cache-metrics-sample                         0.12.0
--kv-events-config                                0.9.0
--kv-offloading-backend                           0.11.1
--kv-offloading-size                              0.11.1
--kv-sharing-fast-prefill                         0.10.1
--kv-transfer-config                              0.6.5
--language-model-only                             0.17.0
--limit-mm-per-prompt                             0.5.5
--linear-backend                                  0.22.0
--load-format
--log-config-file                                 0.9.1
--log-error-stack                                 0.10.2
--log-level                                       0.31.0
--logging-config                                  0.31.0
--logits-processor-pattern                        0.6.5   0.17.0
--logits-processors                               0.10.1
--logprobs-mode                                   0.10.0
--long-lora-scaling-factors                       -       0.10.0
--long-prefill-token-threshold                    0.7.3
--long-prefill-token-threshold-adaptive           0.31.0
--lora-dtype
--lora-extra-vocab-size                           -       0.12.0
--lora-modules
--lora-target-modules                             0.19.0
--mamba-backend                                   0.20.0
--mamba-block-size                                0.11.1
--mamba-cache-dtype                               0.10.1
--mamba-cache-mode                                0.15.0
--mamba-cache-philox-rounds                       0.20.0
--mamba-ssm-cache-dtype                           0.10.1
--mamba-ssu-algorithm                             0.27.0
--master-addr                                     0.11.1
--master-port                                     0.11.1
--max-context-len-to-capture                      -       0.6.4
--max-cpu-loras
--max-cudagraph-capture-size                      0.11.1
--max-log-len
--max-logprobs
--max-long-partial-prefills                       0.7.3   0.27.0
--max-lora-cls-labels                             0.31.0
--max-lora-rank
--max-loras
--max-model-len
--max-num-active-seqs                             0.31.0
--max-num-batched-tokens
--max-num-partial-prefills                        0.7.3   0.27.0
--max-num-queued-reqs                             0.29.0
--max-num-queued-tokens                           0.29.0
--max-num-scheduled-tokens                        0.26.0
--max-num-seqs
--max-parallel-loading-workers
--max-prompt-adapter-token                        0.5.2   0.10.0
--max-prompt-adapters                             0.5.2   0.10.0
--max-seq-len-to-capture                          -       0.11.0
--media-io-kwargs                                 0.9.2
--middleware
--mm-cache-preprocessor                           0.6.5   0.6.6
--mm-device-do-normalize                          0.28.0
--mm-encoder-attn-backend                         0.11.1
--mm-encoder-attn-dtype                           0.21.0
--mm-encoder-fp8-scale-path                       0.21.0
--mm-encoder-fp8-scale-save-margin                0.21.0
--mm-encoder-fp8-scale-save-path                  0.21.0
--mm-encoder-only                                 0.15.0
--mm-encoder-tp-mode                              0.10.2
--mm-hasher-algorithm                             0.27.0
--mm-ipc-gpu-memory-gb                            0.25.0
--mm-processor-cache-gb                           0.10.1
--mm-processor-cache-type                         0.11.0
--mm-processor-device                             0.28.0
--mm-processor-kwargs                             0.6.2
--mm-shm-cache-max-object-size-mb                 0.11.0
--mm-tensor-ipc                                   0.19.0
--model
--model-class-overrides                           0.25.0
--model-impl                                      0.7.2
--model-loader-extra-config
--moe-backend                                     0.17.0
--monokernel                                      0.33.0
--multi-step-stream-outputs                       0.6.2   0.10.1
--ngram-prompt-lookup-max                         -       0.8.3
--ngram-prompt-lookup-min                         -       0.8.3
--nnodes                                          0.11.1
--node-rank                                       0.11.1
--num-gpu-blocks-override
--num-lookahead-slots                             -       0.12.0
--num-redundant-experts                           0.9.2   0.12.0
--num-scheduler-steps                             0.5.5   0.10.1
--num-speculative-tokens                          -       0.8.3
--numa-bind                                       0.20.0
--numa-bind-cpus                                  0.20.0
--numa-bind-nodes                                 0.20.0
--offload-backend                                 0.17.0
--offload-group-size                              0.17.0
--offload-num-in-group                            0.17.0
--offload-params                                  0.17.0
--offload-prefetch-step                           0.17.0
--optimization-level                              0.12.0
--otlp-traces-endpoint                            0.5.1
--override-attention-dtype                        0.9.2   0.28.0
--override-generation-config                      0.7.1
--override-neuron-config                          0.6.0   0.10.2
--override-pooler-config                          0.6.4   0.12.0
--per-request-spec-decode-metrics                 0.29.0
--performance-mode                                0.17.0
--pipeline-parallel-size
--pooler-config                                   0.11.0
--port
--preemption-mode                                 0.5.0   0.11.0
--prefill-context-parallel-size                   0.12.0
--prefill-schedule-interval                       0.24.0
--prefix-cache-retention-interval                 0.29.0
--prefix-caching-hash-algo                        0.8.3
--prefix-match-unit                               0.26.0
--profiler-config                                 0.13.0
--prompt-adapters                                 0.5.2   0.10.0
--pt-load-map-location                            0.9.0
--qlora-adapter-name-or-path                      0.5.0   0.10.0
--quantization
--quantization-config                             0.22.0
--quantization-param-path                         -       0.7.0
--ray-workers-use-nsight
--reasoning-config                                0.19.0
--reasoning-effort-map                            0.33.0
--reasoning-parser                                0.7.1
--reasoning-parser-plugin                         0.11.1
--renderer-num-workers                            0.19.0
--replayssm-buffer-len                            0.27.0
--response-role
--return-sampling-mask                            0.28.0
--return-tokens-as-token-ids                      0.5.4
--revision
--root-path
--rope-scaling                                    -       0.11.1
--rope-theta                                      0.5.0   0.11.1
--runner                                          0.10.1
--safetensors-load-strategy                       0.10.2
--safetensors-prefetch-block-size                 0.21.0
--safetensors-prefetch-num-threads                0.21.0
--scheduler-cls                                   0.7.3
--scheduler-delay-factor                          -       0.11.0
--scheduler-reserve-full-isl                      0.19.0
--scheduling-policy                               0.6.3
--seed
--served-model-name
--show-hidden-metrics-for-version                 0.8.0
--shutdown-timeout                                0.18.0
--skip-mm-profiling                               0.10.1
--skip-tokenizer-init
--sleep-mode-backend                              0.33.0
--sleep-mode-offload-cudagraph                    0.32.0
--sleep-preserve-parameter-names                  0.31.0
--sparse-indexer-topk-backend                     0.30.0
--spec-decoding-acceptance-method                 0.5.1   0.8.3
--spec-method                                     0.22.0
--spec-model                                      0.22.0
--spec-tokens                                     0.22.0
--specialize-active-lora                          0.16.0
--speculative-config                              0.8.2
--speculative-disable-by-batch-size               -       0.8.3
--speculative-disable-mqa-scorer                  0.6.3   0.8.3
--speculative-draft-tensor-parallel-size          0.5.1   0.8.3
--speculative-max-model-len                       -       0.8.3
--speculative-model                               -       0.8.3
--speculative-model-quantization                  0.5.5   0.8.3
--sse-keep-alive-interval                         0.29.0
--ssl-ca-certs
--ssl-cert-reqs
--ssl-certfile
--ssl-ciphers                                     0.15.0
--ssl-keyfile
--stream-interval                                 0.11.1
--structured-outputs-config                       0.11.0
--swa-bounded-replay                              0.31.0
--swap-space                                      -       0.18.0
--task                                            0.6.4   0.13.0
--tensor-parallel-size
--tokenizer
--tokenizer-mode
--tokenizer-pool-extra-config                     -       0.10.0
--tokenizer-pool-size                             -       0.10.0
--tokenizer-pool-type                             -       0.10.0
--tokenizer-revision
--tokens-only                                     0.11.1
--tool-call-parser                                0.6.0
--tool-parser-plugin                              0.6.3
--tool-server                                     0.10.1
--tool-strict-level                               0.31.0
--trust-remote-code
--trust-request-chat-template                     0.11.0
--trust-request-mm-kwargs                         0.31.0
--typical-acceptance-sampler-posterior-alpha      0.5.1   0.8.3
--typical-acceptance-sampler-posterior-threshold  0.5.1   0.8.3
--ubatch-size                                     0.14.0
--uds                                             0.10.1
--use-fp64-gumbel                                 0.22.0
--use-gpu-for-pooling-score                       0.17.0  0.18.0
--use-replayssm                                   0.27.0
--use-tqdm-on-load                                0.8.0
--use-v2-block-manager                            -       0.10.0
--uvicorn-log-level
--video-pruning-method                            0.27.0
--video-pruning-rate                              0.11.0
--watchdog-config                                 0.33.0
--watermark                                       0.24.0
--watermark-config                                0.30.0
--weight-transfer-config                          0.16.0
--worker-cls                                      0.6.5
--worker-extension-cls                            0.8.0
--worker-use-ray                                  -       0.7.0
-ac                                               0.13.0
-asc                                              0.9.1
-cc                                               0.12.0
-dc                                               0.24.0
-dcp                                              0.10.2
-dp                                               0.8.3
-dpa                                              0.9.0
-dpb                                              0.9.1
-dpe                                              0.11.1
-dph                                              0.11.1
-dpl                                              0.9.0
-dpm                                              0.22.0
-dpn                                              0.9.2
-dpp                                              0.9.0
-dpr                                              0.9.0
-ep                                               0.14.0
-n                                                0.11.1
-pcp                                              0.12.0
-pp
-q
-r                                                0.11.1
-sc                                               0.19.0
-spec-draft-tp                                    0.5.1   0.8.3
-tp
"""

VLLM = EngineFacts(
    name="vllm",
    title="vLLM",
    image=re.compile(r"vllm"),
    official=r"(?:^|/)vllm/vllm-openai[:@]",
    hints=("vllm",),
    starts=(
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
    # source, KServe's LLMInferenceService: its command ends in this variable
    args_env=("VLLM_ADDITIONAL_ARGS",),
    port=8000,
    health_paths=("/health", "/v1/models", "/ping"),
    live_paths=frozenset(
        {"/version", "/load", "/server_info", "/is_sleeping", "/docs", "/openapi.json"}
    ),
    keyed_paths=("/v1/",),
    key_env="VLLM_API_KEY",
    metrics_off={"--disable-log-stats": "true"},  # source, 0.6.5 and 0.33: no loggers, no metrics
    prefix="vllm:",
    meanings={
        "waiting": ("vllm:num_requests_waiting",),
        "running": ("vllm:num_requests_running",),
        "kv_cache": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
        "ttft": ("vllm:time_to_first_token_seconds",),
        "latency": (
            "vllm:request_time_per_output_token_seconds",
            "vllm:inter_token_latency_seconds",
            "vllm:time_per_output_token_seconds",
        ),
        "e2e": ("vllm:e2e_request_latency_seconds",),
        "queue_time": ("vllm:request_queue_time_seconds",),
        "success": ("vllm:request_success_total",),
        "prompt_tokens": ("vllm:prompt_tokens_total",),
        "generation_tokens": ("vllm:generation_tokens_total",),
        "preemptions": ("vllm:num_preemptions_total",),
    },
    metric_table=METRICS,
    metric_instead={
        "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",  # source: renamed in 0.9.2
        # source: the comment beside it names the new one (0.11)
        "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds",
        "vllm:gpu_prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
        "vllm:gpu_prefix_cache_queries_total": "vllm:prefix_cache_queries_total",
        "vllm:time_in_queue_requests": "vllm:request_queue_time_seconds",
    },
    flag_table=FLAGS,
    flag_instead={
        "--cuda-graph-sizes": "--cudagraph-capture-sizes has replaced it",
        # source: --enable-log-requests since 0.10.1
        "--disable-log-requests": "requests are logged only with --enable-log-requests",
        "--disable-mm-preprocessor-cache": "--mm-processor-cache-gb=0 has replaced it",
        "--enable-reasoning": "--reasoning-parser alone turns it on",
        "--guided-decoding-backend": "--structured-outputs-config has replaced it",
        "--max-seq-len-to-capture": "--max-cudagraph-capture-size has replaced it",
        "--num-scheduler-steps": "the scheduler of V1 does without",
        "--rope-scaling": "--hf-overrides has replaced it",
        "--rope-theta": "--hf-overrides has replaced it",
        "--speculative-model": "--speculative-config has replaced it",
        "--num-speculative-tokens": "--speculative-config has replaced it",
        "--swap-space": "preempted requests are computed again, not swapped",
        "--task": "--runner and --convert have replaced it",
        "--use-v2-block-manager": "it has been the only one for long",
        "--worker-use-ray": "--distributed-executor-backend=ray has replaced it",
    },
    flags_without_effect=frozenset(
        {
            "--disable-async-output-proc",
            "--disable-log-requests",
            "--enable-reasoning",
            "--multi-step-stream-outputs",
            "--num-scheduler-steps",
            "--preemption-mode",
            "--swap-space",
            "--use-v2-block-manager",
        }
    ),
    loose_flags=("-O", "-cc"),
    compared=((0, 4, 3), (0, 33, 0)),
    parallel_flags=("--tensor-parallel-size", "-tp"),
    pipeline_flags=("--pipeline-parallel-size", "-pp"),
    data_flags=("--data-parallel-size", "-dp"),
    data_local_flags=("--data-parallel-size-local", "-dpl"),
    nodes_flags=("--nnodes", "-n"),
    config_flags=("--config",),
    config_flags_alone=True,  # source, 0.6.5 to 0.33: it looks for the word --config by itself
    newest_major=0,
    drains=(
        Drain(since=(), default_s=0.0, source="source, 0.6.5 to 0.17: torn down at once"),
        Drain(
            since=(0, 18),
            default_s=0.0,
            flag="--shutdown-timeout",
            source="measured on 0.32; vllm-project/vllm pull request 36666",
        ),
    ),
)
