"""SGLang by version.

Flags and metrics are what each release's own code declares: 41 releases from 0.3.0 to 0.5.23 were
compared. Tags count posts (``v0.4.6.post1``): a release stands for its posts, too.
"""

from __future__ import annotations

import re

from drainproof.model.engine_facts import UNBOUNDED, Drain, EngineFacts

METRICS = """\
sglang:avg_request_queue_latency                       gauge      0.4.5   0.5.3
sglang:backup_bandwidth                                histogram  0.5.2
sglang:backup_pgs                                      histogram  0.5.2
sglang:backuped_tokens_total                           counter    0.5.2
sglang:cache_config_info                               gauge      0.5.9   0.5.11
sglang:cache_hit_rate                                  gauge      0.3.5
sglang:cached_tokens_total                             counter    0.4.3
sglang:context_len                                     gauge      0.5.11
sglang:cuda_graph_passes_total                         counter    0.5.7
sglang:decode_deferred_kv_release_seconds              histogram  0.5.22
sglang:decode_deferred_kv_release_total                counter    0.5.22
sglang:decode_sum_seq_lens                             gauge      0.5.7
sglang:dp_attention_pairs_total                        counter    0.5.22
sglang:dp_attention_steps_total                        counter    0.5.22
sglang:dp_attention_sync_wait_seconds                  histogram  0.5.22
sglang:dp_attention_token_imbalance_ratio              histogram  0.5.22
sglang:dp_attention_tokens_total                       counter    0.5.22
sglang:dp_cooperation_forward_execution_seconds_total  counter    0.5.11
sglang:dp_cooperation_gpu_execution_seconds_total      counter    0.5.7   0.5.11
sglang:dp_cooperation_realtime_tokens_total            counter    0.5.7
sglang:e2e_request_latency_seconds                     histogram  0.3.5
sglang:encoder_cache_entries                           gauge      0.5.15
sglang:encoder_cache_evictions_total                   counter    0.5.15
sglang:encoder_cache_hit_files_total                   counter    0.5.15
sglang:encoder_cache_hit_tokens_total                  counter    0.5.15
sglang:encoder_cache_size_mb                           gauge      0.5.15
sglang:encoder_cache_total_files_total                 counter    0.5.15
sglang:encoder_cache_total_tokens_total                counter    0.5.15
sglang:encoder_dp_pending_requests                     gauge      0.5.15
sglang:encoder_mm_items_per_batch                      histogram  0.5.15
sglang:encoder_mm_items_per_request                    histogram  0.5.15
sglang:encoder_model_forward_seconds                   histogram  0.5.15
sglang:encoder_preprocess_seconds                      histogram  0.5.15
sglang:encoder_queue_wait_seconds                      histogram  0.5.15
sglang:encoder_request_e2e_latency_seconds             histogram  0.5.15
sglang:encoder_requests_received_total                 counter    0.5.15
sglang:encoder_requests_total                          counter    0.5.15
sglang:encoder_transfer_seconds                        histogram  0.5.15
sglang:engine_load_weights_time                        gauge      0.5.2   0.5.17
sglang:engine_startup_time                             gauge      0.5.2   0.5.17
sglang:eplb_balancedness                               summary    0.5.7
sglang:eplb_gpu_physical_count                         histogram  0.5.4
sglang:estimated_flops_per_gpu_total                   counter    0.5.10
sglang:estimated_read_bytes_per_gpu_total              counter    0.5.10
sglang:estimated_write_bytes_per_gpu_total             counter    0.5.10
sglang:evicted_tokens_total                            counter    0.5.5
sglang:eviction_duration_seconds                       histogram  0.5.5
sglang:failed_session_recoveries_total                 counter    0.5.13
sglang:forward_execution_seconds_total                 counter    0.5.11
sglang:full_token_usage                                gauge      0.5.10
sglang:func_latency_seconds                            histogram  0.3.5
sglang:fwd_occupancy                                   gauge      0.5.12
sglang:gen_throughput                                  gauge      0.3.5
sglang:generation_tokens_histogram                     histogram  0.4.6
sglang:generation_tokens_total                         counter    0.3.5
sglang:get_loads_duration_seconds                      histogram  0.5.12
sglang:gpu_execution_seconds_total                     counter    0.5.7   0.5.11
sglang:gpu_overlap_wait_seconds_total                  counter    0.5.10  0.5.11
sglang:grammar_compilation_time_seconds                histogram  0.5.2
sglang:grammar_ebnf_size                               histogram  0.5.2
sglang:grammar_schema_count                            histogram  0.5.2
sglang:grammar_tree_traversal_time_avg                 histogram  0.5.2
sglang:grammar_tree_traversal_time_max                 histogram  0.5.2
sglang:graph_memory_usage_gb                           gauge      0.5.17
sglang:hicache_backup_bytes_total                      counter    0.5.18
sglang:hicache_backup_dropped_tokens_total             counter    0.5.19
sglang:hicache_backup_duration_seconds                 histogram  0.5.18
sglang:hicache_backup_tokens_total                     counter    0.5.18
sglang:hicache_dropped_tokens_total                    counter    0.5.18
sglang:hicache_host_mamba_total_states                 gauge      0.5.23
sglang:hicache_host_mamba_used_states                  gauge      0.5.23
sglang:hicache_host_total_tokens                       gauge      0.5.10
sglang:hicache_host_used_tokens                        gauge      0.5.10
sglang:hicache_prefetch_aux_alloc_failed_tokens_total  counter    0.5.19
sglang:http_requests_active                            gauge      0.5.8
sglang:http_requests_total                             counter    0.5.7
sglang:http_responses_total                            counter    0.5.6
sglang:inter_token_latency_seconds                     histogram  0.4.3
sglang:is_cuda_graph                                   gauge      0.5.4
sglang:kv_available_tokens                             gauge      0.5.11
sglang:kv_cache_memory_usage_gb                        gauge      0.5.17
sglang:kv_evictable_tokens                             gauge      0.5.11
sglang:kv_transfer_alloc_ms                            histogram  0.5.4
sglang:kv_transfer_bootstrap_ms                        histogram  0.5.4
sglang:kv_transfer_latency_ms                          histogram  0.5.2
sglang:kv_transfer_speed_gb_s                          histogram  0.5.2
sglang:kv_transfer_total_mb                            histogram  0.5.7
sglang:kv_used_tokens                                  gauge      0.5.11
sglang:load_back_bytes_total                           counter    0.5.18
sglang:load_back_duration_seconds                      histogram  0.5.5
sglang:load_back_tokens_total                          counter    0.5.5
sglang:lora_pool_slots_total                           gauge      0.5.7
sglang:lora_pool_slots_used                            gauge      0.5.7
sglang:lora_pool_utilization                           gauge      0.5.7
sglang:mamba_available_tokens                          gauge      0.5.12
sglang:mamba_evictable_tokens                          gauge      0.5.12
sglang:mamba_usage                                     gauge      0.5.4
sglang:mamba_used_tokens                               gauge      0.5.12
sglang:max_running_requests_under_SLO                  gauge      0.5.2
sglang:max_total_num_tokens                            gauge      0.5.6
sglang:max_total_num_tokens_swa                        gauge      0.5.17
sglang:new_token_ratio                                 gauge      0.5.5
sglang:num_aborted_requests_total                      counter    0.4.7
sglang:num_bootstrap_failed_reqs_total                 counter    0.4.6
sglang:num_decode_deferred_kv_release_reqs             gauge      0.5.22
sglang:num_decode_host_receive_queue_reqs              gauge      0.5.21
sglang:num_decode_host_receive_reqs_total              counter    0.5.21
sglang:num_decode_prealloc_queue_reqs                  gauge      0.4.6
sglang:num_decode_transfer_queue_reqs                  gauge      0.4.6
sglang:num_grammar_aborted_total                       counter    0.5.2
sglang:num_grammar_cache_hit_total                     counter    0.5.2
sglang:num_grammar_queue_reqs                          gauge      0.4.6
sglang:num_grammar_timeout_total                       counter    0.5.6
sglang:num_grammar_total                               counter    0.5.2
sglang:num_pages                                       gauge      0.5.11
sglang:num_paused_reqs                                 gauge      0.5.2
sglang:num_prefill_bootstrap_queue_reqs                gauge      0.5.12
sglang:num_prefill_infight_queue_reqs                  gauge      0.4.6   0.5.2
sglang:num_prefill_inflight_queue_reqs                 gauge      0.5.1
sglang:num_prefill_prealloc_queue_reqs                 gauge      0.4.6   0.5.12
sglang:num_prefill_retries_total                       counter    0.5.8
sglang:num_queue_reqs                                  gauge      0.3.5
sglang:num_requests_total                              counter    0.4.1
sglang:num_retracted_input_tokens_total                counter    0.5.7
sglang:num_retracted_output_tokens_total               counter    0.5.7
sglang:num_retracted_reqs                              gauge      0.5.2
sglang:num_retracted_requests_total                    counter    0.5.7
sglang:num_retractions                                 histogram  0.5.4   0.5.11
sglang:num_running_reqs                                gauge      0.3.5
sglang:num_running_reqs_offline_batch                  gauge      0.5.2   0.5.11
sglang:num_so_requests_total                           counter    0.4.6
sglang:num_streaming_sessions                          gauge      0.5.11
sglang:num_transfer_failed_reqs_total                  counter    0.4.6
sglang:num_unique_running_routing_keys                 gauge      0.5.8
sglang:num_used_tokens                                 gauge      0.3.5
sglang:page_size                                       gauge      0.5.11
sglang:pending_prealloc_token_usage                    gauge      0.5.3
sglang:per_stage_req_latency_seconds                   histogram  0.5.3
sglang:prealloc_full_token_usage                       gauge      0.5.23
sglang:prealloc_swa_token_usage                        gauge      0.5.23
sglang:prefetch_bandwidth                              histogram  0.5.2
sglang:prefetch_pgs                                    histogram  0.5.2
sglang:prefetched_tokens_total                         counter    0.5.2
sglang:prefill_delayer_outcomes_total                  counter    0.5.8
sglang:prefill_delayer_wait_forward_passes             histogram  0.5.8
sglang:prefill_delayer_wait_seconds                    histogram  0.5.8
sglang:prefill_effective_tokens_total                  counter    0.5.18
sglang:process_cpu_seconds_total                       counter    0.5.8
sglang:prompt_tokens_histogram                         histogram  0.4.6
sglang:prompt_tokens_total                             counter    0.3.5
sglang:queue_time_s                                    histogram  0.5.2   0.5.3
sglang:queue_time_seconds                              histogram  0.5.3
sglang:realtime_tokens_total                           counter    0.5.7
sglang:request_time_per_output_token_seconds           histogram  0.5.22
sglang:routing_key_all_req_count                       gauge      0.5.8
sglang:routing_key_running_req_count                   gauge      0.5.8
sglang:routing_keys_active                             gauge      0.5.8
sglang:scheduler_idle_seconds_total                    counter    0.5.20
sglang:scheduler_process_cpu_seconds_total             counter    0.5.20
sglang:scheduler_stage_seconds_total                   counter    0.5.20
sglang:spec_accept_length                              gauge      0.4.1
sglang:spec_accept_rate                                gauge      0.5.3
sglang:spec_block_accept_length                        gauge      0.5.16
sglang:spec_cap_length                                 gauge      0.5.16
sglang:spec_num_draft_tokens                           gauge      0.5.13
sglang:spec_num_steps                                  gauge      0.5.13
sglang:spec_verify_calls_total                         counter    0.5.13
sglang:startup_available_gpu_memory_gb                 gauge      0.5.11
sglang:startup_cuda_graph_time_seconds                 gauge      0.5.17
sglang:startup_latency_breakdown_seconds_max           gauge      0.5.2
sglang:startup_time_seconds                            gauge      0.5.17
sglang:storage_prefetch_deferred_tokens_total          counter    0.5.20
sglang:storage_prefetch_hit_tokens_total               counter    0.5.20
sglang:storage_prefetch_unfulfilled_tokens_total       counter    0.5.20
sglang:streaming_session_held_tokens                   gauge      0.5.11
sglang:swa_available_tokens                            gauge      0.5.12
sglang:swa_evictable_tokens                            gauge      0.5.12
sglang:swa_token_usage                                 gauge      0.5.2
sglang:swa_used_tokens                                 gauge      0.5.12
sglang:time_per_output_token_seconds                   histogram  0.3.5   0.4.5
sglang:time_to_first_token_seconds                     histogram  0.3.5
sglang:time_to_first_token_seconds_offline_batch       histogram  0.5.2   0.5.3
sglang:token_usage                                     gauge      0.3.5
sglang:total_retracted_reqs                            gauge      0.4.9   0.5.3
sglang:uncached_prompt_tokens_histogram                histogram  0.5.12
sglang:utilization                                     gauge      0.5.2
sglang:weight_load_duration_seconds                    gauge      0.5.13
sglang:weight_memory_usage_gb                          gauge      0.5.17
"""

FLAGS = """\
--abort-on-priority-when-disabled                               0.5.4
--additional-ports                                              -       0.3.3
--admin-api-key                                                 0.5.8
--allow-auto-truncate                                           0.4.1
--allowed-media-domains                                         0.5.18
--api-key
--asr-max-buffer-seconds                                        0.5.13
--asr-max-concurrent-sessions                                   0.5.13
--attention-backend                                             0.3.1
--attention-context-parallel-size                               0.5.9
--attention-data-parallel-size                                  0.5.22
--attn-cp-size                                                  0.5.9
--attn-dp-size                                                  0.5.22
--base-gpu-id                                                   0.3.6
--batch-notify-size                                             0.5.11
--bf16-gemm-backend                                             0.5.15
--boundary-reduction                                            0.5.21
--bucket-e2e-request-latency                                    0.4.6
--bucket-inter-token-latency                                    0.4.6
--bucket-time-to-first-token                                    0.4.6
--c128-page-size                                                0.5.18
--chat-template
--checkpoint-engine-wait-weights-before-ready                   0.5.4
--chunked-prefill-size
--collect-tokens-histogram                                      0.4.6   0.5.20
--completion-template                                           0.4.4
--config                                                        0.5.3
--constrained-json-disable-any-whitespace                       0.5.3
--constrained-json-max-whitespace-cnt                           0.5.21
--constrained-json-whitespace-pattern                           0.3.1
--context-bucket                                                0.5.21
--context-length
--cp-strategy                                                   0.5.14
--cpu-offload-gb                                                0.3.6
--crash-dump-folder                                             0.4.9
--crash-on-nan                                                  0.5.3   0.5.4
--cuda-graph-backend-decode                                     0.5.14
--cuda-graph-backend-prefill                                    0.5.14
--cuda-graph-bs                                                 0.4.1   0.5.20
--cuda-graph-bs-decode                                          0.5.14
--cuda-graph-bs-prefill                                         0.5.14
--cuda-graph-config                                             0.5.14
--cuda-graph-max-bs                                             0.3.5   0.5.20
--cuda-graph-max-bs-decode                                      0.5.14
--cuda-graph-max-bs-prefill                                     0.5.14
--cuda-graph-max-seq-len-prefill                                0.5.21
--cuda-graph-prefill-max-context                                0.5.21
--cuda-graph-tc-compiler                                        0.5.14  0.5.22
--custom-sigquit-handler                                        0.5.7   0.5.20
--custom-weight-loader                                          0.4.8
--data-parallel-size
--dcp-comm-backend                                              0.5.17
--dcp-replicate-q-proj                                          0.5.17
--dcp-size                                                      0.5.15
--debug-cuda-graph                                              0.5.11
--debug-tensor-dump-inject                                      0.4.3   0.5.14
--debug-tensor-dump-input-file                                  0.4.3
--debug-tensor-dump-layers                                      0.5.4
--debug-tensor-dump-output-folder                               0.4.3
--debug-tensor-dump-prefill-only                                0.4.7   0.5.4
--decode-attention-backend                                      0.4.9
--decode-context-parallel-size                                  0.5.15
--decode-log-interval                                           0.3.5
--decoupled-spec-bind-endpoint                                  0.5.15
--decoupled-spec-connect-endpoints                              0.5.15
--decoupled-spec-rank                                           0.5.15
--decoupled-spec-role                                           0.5.15
--decrypted-config-file                                         0.5.4
--decrypted-draft-config-file                                   0.5.4
--deepep-config                                                 0.4.6
--deepep-dispatcher-output-dtype                                0.5.13
--deepep-mode                                                   0.4.4
--deepep-v2-mode                                                0.5.19
--default-chat-template-kwargs                                  0.5.16
--default-priority-value                                        0.5.10
--delete-ckpt-after-loading                                     0.3.5
--detokenizer-worker-num                                        0.5.12
--device                                                        0.3.3
--disable-aiter-allreduce-fusion-in-decode                      0.5.21
--disable-aiter-allreduce-fusion-in-prefill                     0.5.21
--disable-attn-tp-gather                                        0.5.13
--disable-chunked-prefix-cache                                  0.4.5
--disable-cuda-graph
--disable-cuda-graph-padding
--disable-custom-all-reduce
--disable-decode-cuda-graph                                     0.5.14
--disable-disk-cache                                            -       0.4.2
--disable-fast-image-processor                                  0.4.5
--disable-flashinfer                                            -       0.4.2
--disable-flashinfer-autotune                                   0.5.7
--disable-flashinfer-cutlass-moe-fp4-allgather                  0.5.1
--disable-flashinfer-sampling                                   -       0.4.2
--disable-hicache-numa-detect                                   0.5.8   0.5.10
--disable-hybrid-swa-memory                                     0.4.9
--disable-jump-forward                                          0.3.5   0.4.4
--disable-mla                                                   0.3.1   0.4.6
--disable-nan-detection                                         0.3.4   0.4.1
--disable-outlines-disk-cache                                   0.4.0
--disable-overlap-cg-plan                                       0.4.7   0.4.10
--disable-overlap-schedule                                      0.3.6
--disable-penalizer                                             0.3.4   0.3.6
--disable-piecewise-cuda-graph                                  0.5.10  0.5.20
--disable-prefill-cuda-graph                                    0.5.14
--disable-priority-preemption                                   0.5.10
--disable-radix-cache
--disable-regex-jump-forward                                    -       0.3.6
--disable-shared-experts-fusion                                 0.4.4
--disable-tokenizer-batch-decode                                0.5.4
--disaggregation-bootstrap-port                                 0.4.4
--disaggregation-decode-allocation-policy                       0.5.22
--disaggregation-decode-dp                                      0.4.7   0.5.10
--disaggregation-decode-enable-fake-auto                        0.5.7   0.5.9
--disaggregation-decode-enable-offload-kvcache                  0.5.3
--disaggregation-decode-enable-radix-cache                      0.5.11
--disaggregation-decode-extra-slots                             0.5.14
--disaggregation-decode-host-receive-threshold                  0.5.21
--disaggregation-decode-polling-interval                        0.5.3
--disaggregation-decode-retraction-backup                       0.5.18
--disaggregation-decode-tp                                      0.4.7   0.5.10
--disaggregation-enable-kv-checksum                             0.5.21
--disaggregation-ib-device                                      0.4.5
--disaggregation-mode                                           0.4.4
--disaggregation-prefill-pp                                     0.4.7   0.5.10
--disaggregation-transfer-backend                               0.4.5
--dist-init-addr                                                0.3.3
--dist-timeout                                                  0.4.3
--dllm-algorithm                                                0.5.6
--dllm-algorithm-config                                         0.5.6
--dllm-block-size                                               0.5.6   0.5.7
--dllm-fdfo                                                     0.5.16
--download-dir                                                  0.3.5
--dp-size
--ds-channel-config-path                                        0.3.4   0.5.11
--ds-heavy-channel-num                                          0.3.4   0.5.11
--ds-heavy-channel-type                                         0.3.4   0.5.11
--ds-heavy-token-num                                            0.3.4   0.5.11
--ds-sparse-decode-threshold                                    0.3.4   0.5.11
--dsa-decode-backend                                            0.5.13
--dsa-paged-mqa-logits-backend                                  0.5.15
--dsa-prefill-backend                                           0.5.13
--dsa-prefill-cp-mode                                           0.5.13  0.5.20
--dsa-topk-backend                                              0.5.13
--dsa-triton-union                                              0.5.22
--dsv4-attn-backend                                             0.5.20
--dsv4-prefill-backend                                          0.5.19
--dtype
--dwdp-size                                                     0.5.17
--dynamic-batch-tokenizer-batch-size                            0.5.3
--dynamic-batch-tokenizer-batch-timeout                         0.5.3
--efficient-weight-load                                         -       0.3.4
--elastic-ep-backend                                            0.5.3
--elastic-ep-initial-size                                       0.5.16
--elastic-ep-join-mode                                          0.5.16
--elastic-ep-join-rank-offset                                   0.5.16
--elastic-ep-rejoin                                             0.5.11  0.5.21
--elastic-ep-scale-timeout                                      0.5.16
--enable-adaptive-dispatch-to-encoder                           0.5.10
--enable-aiter-allreduce-fusion                                 0.5.10
--enable-amd-monokernel                                         0.5.23
--enable-attn-tp-input-scattered                                0.5.5
--enable-beta-spec                                              0.5.3   0.5.5
--enable-breakable-cuda-graph                                   0.5.11  0.5.20
--enable-broadcast-mm-inputs-process                            0.5.5
--enable-cache-report                                           0.3.4
--enable-cp-decode-attn-tp                                      0.5.17
--enable-cudagraph-gc                                           0.4.10
--enable-custom-logit-processor                                 0.4.1
--enable-decoder-swa-bounded-replay                             0.5.21
--enable-deepep-moe                                             0.4.4   0.5.5
--enable-deepep-waterfill                                       0.5.12  0.5.16
--enable-deepseek-v4-fp4-indexer                                0.5.13
--enable-dense-mlp-attn-tp                                      0.5.19
--enable-deterministic-inference                                0.5.3
--enable-double-sparsity                                        0.3.4   0.5.11
--enable-dp-attention                                           0.3.6
--enable-dp-attention-local-control-broadcast                   0.5.11
--enable-dp-lm-head                                             0.4.6
--enable-draft-weights-cpu-backup                               0.5.5
--enable-dsa-cache-layer-split                                  0.5.16
--enable-dsa-fused-indexer                                      0.5.22
--enable-dsa-prefill-context-parallel                           0.5.13  0.5.20
--enable-dynamic-batch-tokenizer                                0.5.3
--enable-dynamic-chunking                                       0.5.7
--enable-elastic-expert-backup                                  0.5.10
--enable-encoder-swa-bounded-replay                             0.5.21
--enable-ep-moe                                                 0.4.0   0.5.5
--enable-eplb                                                   0.4.6
--enable-expert-distribution-metrics                            0.4.6   0.5.20
--enable-flashinfer-allreduce-fusion                            0.4.9
--enable-flashinfer-autotune                                    0.5.6   0.5.7
--enable-flashinfer-cutedsl-moe                                 0.5.3   0.5.5
--enable-flashinfer-cutlass-moe                                 0.4.9   0.5.5
--enable-flashinfer-mla                                         0.4.3   0.4.8
--enable-flashinfer-moe                                         0.4.8   0.4.10
--enable-flashinfer-mxfp4-moe                                   0.5.1   0.5.5
--enable-flashinfer-trtllm-moe                                  0.4.9   0.5.5
--enable-flashmla                                               0.4.4   0.4.8
--enable-flexkv                                                 0.5.16
--enable-forward-pass-metrics                                   0.5.12
--enable-fp32-lm-head                                           0.5.3
--enable-fused-moe-sum-all-reduce                               0.5.10
--enable-fused-qk-norm-rope                                     0.5.6
--enable-gdn-replayssm-spec                                     0.5.16  0.5.20
--enable-hicache                                                0.5.23
--enable-hierarchical-cache                                     0.4.2
--enable-hisparse                                               0.5.10
--enable-http-worker-reuseport                                  0.5.23
--enable-http2                                                  0.5.11
--enable-int8-mamba-checkpoint                                  0.5.14
--enable-kv-cache-sharding                                      0.5.22
--enable-layernorm-sp                                           0.5.19
--enable-layerwise-nvtx-marker                                  0.5.5
--enable-lean-attention                                         0.5.19
--enable-linear-replayssm                                       0.5.15
--enable-linear-replayssm-spec                                  0.5.17
--enable-linker-mla-dedup                                       0.5.21
--enable-llama4-multimodal                                      0.4.5   0.4.6
--enable-lmcache                                                0.5.2
--enable-lora                                                   0.4.9
--enable-lora-overlap-loading                                   0.5.8
--enable-mamba-cache-stochastic-rounding                        0.5.15
--enable-megamoe-for-layernorm-sp                               0.5.23
--enable-memory-saver                                           0.4.1
--enable-metrics                                                0.3.5
--enable-metrics-for-all-schedulers                             0.4.9
--enable-mfu-metrics                                            0.5.10
--enable-mis                                                    0.5.11
--enable-mixed-chunk
--enable-mla                                                    -       0.3.2
--enable-mm-global-cache                                        0.5.10
--enable-mscclpp                                                0.4.7
--enable-multi-layer-eagle                                      0.5.7
--enable-multimodal                                             0.4.6
--enable-nan-detection                                          0.3.6   0.5.13
--enable-nccl-nvls                                              0.4.3
--enable-nsa-prefill-context-parallel                           0.5.6   0.5.20
--enable-nvidia-megakernel                                      0.5.23
--enable-overlap-schedule                                       0.3.4   0.4.2
--enable-p2p-check
--enable-page-major-kv-layout                                   0.5.15
--enable-paged-experts                                          0.5.23
--enable-pd-role-switch                                         0.5.21
--enable-pdmux                                                  0.4.9
--enable-piecewise-cuda-graph                                   0.5.3   0.5.14
--enable-precise-embedding-interpolation                        0.5.7
--enable-prefill-context-parallel                               0.5.10  0.5.20
--enable-prefill-cp                                             0.5.14
--enable-prefill-delayer                                        0.5.8
--enable-prefix-mm-cache                                        0.5.7
--enable-priority-scheduling                                    0.5.3
--enable-profile-cuda-graph                                     0.4.7
--enable-quant-communications                                   0.5.11
--enable-request-time-stats-logging                             0.4.6
--enable-response-store                                         0.5.20
--enable-return-aux-hidden-states                               0.5.23
--enable-return-hidden-states                                   0.4.7
--enable-return-indexer-topk                                    0.5.12
--enable-return-routed-experts                                  0.5.7
--enable-scattered-sconv                                        0.5.16
--enable-session-radix-cache                                    0.5.15
--enable-shared-experts-attn-tp                                 0.5.19
--enable-single-batch-overlap                                   0.5.3
--enable-ssl-refresh                                            0.5.10
--enable-streaming-session                                      0.5.10
--enable-strict-thinking                                        0.5.12
--enable-symm-mem                                               0.4.10
--enable-tf32-matmul                                            0.5.15
--enable-tokenizer-batch-encode                                 0.4.5
--enable-torch-compile
--enable-torch-compile-debug-mode                               0.5.6
--enable-torch-symm-mem                                         0.5.3
--enable-tp-lm-head-all-to-all                                  0.5.18
--enable-trace                                                  0.5.3
--enable-triton-kernel-moe                                      0.4.9   0.5.5
--enable-two-batch-overlap                                      0.4.7
--enable-unified-cache-external-linker                          0.5.20
--enable-unified-memory                                         0.5.15
--enable-w4a4-mxfp4-megamoe                                     0.5.19
--enable-waterfill                                              0.5.16
--enable-watermark                                              0.5.22
--enable-weights-cpu-backup                                     0.5.3
--encoder-bootstrap-port                                        0.5.13
--encoder-only                                                  0.5.7
--encoder-register-urls                                         0.5.13
--encoder-transfer-backend                                      0.5.7
--encoder-urls                                                  0.5.7
--enforce-disable-flashinfer-allreduce-fusion                   0.5.10
--enforce-piecewise-cuda-graph                                  0.5.10  0.5.20
--enforce-shared-experts-fusion                                 0.5.11
--engine-info-bootstrap-port                                    0.5.10
--ep                                                            0.4.10
--ep-dispatch-algorithm                                         0.4.6
--ep-num-redundant-experts                                      0.4.6
--ep-size                                                       0.4.0
--eplb-algorithm                                                0.4.7
--eplb-min-rebalancing-utilization-threshold                    0.5.2
--eplb-rebalance-layers-per-chunk                               0.4.7
--eplb-rebalance-num-iterations                                 0.4.6
--expert-balancedness-report-mode                               0.5.18
--expert-distribution-recorder-buffer-size                      0.4.6
--expert-distribution-recorder-mode                             0.4.6
--expert-parallel-size                                          0.4.0
--experts-shared-outer-loras                                    0.5.10
--export-metrics-to-file                                        0.5.5
--export-metrics-to-file-dir                                    0.5.5
--extra-metric-labels                                           0.5.9
--fastapi-root-path                                             0.5.6
--file-storage-path                                             0.4.3
--file-storage-pth                                              -       0.4.4
--flashinfer-a2a-dispatch-type                                  0.5.20
--flashinfer-allreduce-fusion-backend                           0.5.14
--flashinfer-autotune-skip-ops                                  0.5.17
--flashinfer-mla-disable-ragged                                 0.4.3
--flashinfer-mxfp4-moe-precision                                0.5.1
--flexkv-config-file                                            0.5.16
--forward-hooks                                                 0.5.6
--forward-pass-metrics-ipc-name                                 0.5.12
--forward-pass-metrics-worker-id                                0.5.12
--fp4-gemm-backend                                              0.5.8
--fp8-gemm-backend                                              0.5.6
--fuseep-mode                                                   0.5.16
--gated-launch-port                                             0.5.19
--gc-threshold                                                  0.5.10
--gc-warning-threshold-secs                                     0.5.1
--generation-tokens-buckets                                     0.5.2
--gpu-id-step                                                   0.4.3
--grammar-backend                                               0.3.5
--grpc-http-sidecar-port                                        0.5.11
--grpc-mode                                                     0.5.3
--grpc-port                                                     0.5.16
--grpc-response-timeout-secs                                    0.5.21
--hf-chat-template-name                                         0.5.8
--hicache-host-memory-fraction                                  0.5.21
--hicache-host-memory-mode                                      0.5.19
--hicache-io-backend                                            0.4.9
--hicache-mem-layout                                            0.4.10
--hicache-ratio                                                 0.4.4
--hicache-size                                                  0.4.5
--hicache-storage-backend                                       0.4.9
--hicache-storage-backend-extra-config                          0.5.1
--hicache-storage-prefetch-policy                               0.5.1
--hicache-storage-prefetch-retry-max-attempts                   0.5.19
--hicache-storage-prefetch-retry-poll-interval                  0.5.19
--hicache-write-policy                                          0.4.5
--hierarchical-sparse-attention-extra-config                    0.5.8
--hisparse-config                                               0.5.10
--host
--http2-initial-connection-window-size                          0.5.19
--http2-max-concurrent-streams                                  0.5.18
--hybrid-kvcache-ratio                                          0.4.9   0.5.14
--image-processor-backend                                       0.5.18
--impl                                                          0.4.7   0.4.10
--incremental-streaming-output                                  0.5.10
--init-expert-location                                          0.4.6
--int8-mamba-ckpt-size                                          0.5.14
--is-embedding
--json-model-override-args                                      0.3.1
--keep-mm-feature-on-device                                     0.5.3   0.5.21
--kt-amx-method                                                 0.5.4   0.5.6
--kt-amx-weight-path                                            0.5.4   0.5.6
--kt-cpuinfer                                                   0.5.4
--kt-max-deferred-experts-per-token                             0.5.5
--kt-method                                                     0.5.5
--kt-num-gpu-experts                                            0.5.4
--kt-threadpool-count                                           0.5.4
--kt-weight-path                                                0.5.5
--kv-cache-dtype
--kv-canary                                                     0.5.13
--kv-canary-real-data                                           0.5.13
--kv-canary-sweep-interval                                      0.5.13
--kv-events-config                                              0.4.6
--language-model-only                                           0.5.18
--language-only                                                 0.5.7
--limit-mm-data-per-request                                     0.5.7
--linear-attn-backend                                           0.5.10
--linear-attn-decode-backend                                    0.5.10
--linear-attn-prefill-backend                                   0.5.10
--linear-attn-verify-backend                                    0.5.17
--linear-replayssm-cache-len                                    0.5.15
--lmcache-config-file                                           0.5.13
--load-balance-method
--load-format
--load-publish-endpoint                                         0.5.19
--load-snapshot-publish-interval                                0.5.13
--load-watch-interval                                           0.5.3   0.5.7
--log-level
--log-level-http
--log-requests
--log-requests-format                                           0.5.7
--log-requests-level                                            0.4.3
--log-requests-target                                           0.5.8
--lora-backend                                                  0.4.2
--lora-drain-wait-threshold                                     0.5.12
--lora-eviction-policy                                          0.5.3
--lora-paths                                                    0.3.1
--lora-strict-loading                                           0.5.11
--lora-target-modules                                           0.4.9
--lora-use-virtual-experts                                      0.5.11
--mamba-backend                                                 0.5.9
--mamba-cache-philox-rounds                                     0.5.15
--mamba-full-memory-ratio                                       0.5.3
--mamba-max-states-per-path                                     0.5.17
--mamba-radix-cache-strategy                                    0.5.14
--mamba-scheduler-strategy                                      0.5.7   0.5.20
--mamba-ssm-dtype                                               0.5.2
--mamba-track-interval                                          0.5.7
--max-ep-size                                                   0.5.16
--max-loaded-loras                                              0.4.10
--max-lora-chunk-size                                           0.5.3
--max-lora-rank                                                 0.4.9
--max-loras-per-batch                                           0.3.1
--max-mamba-cache-size                                          0.5.2
--max-micro-batch-size                                          0.4.6   0.5.4
--max-num-reqs                                                  -       0.3.1
--max-prefill-tokens
--max-queued-requests                                           0.4.9
--max-running-requests
--max-torch-compile-bs                                          0.3.1   0.3.5
--max-total-tokens
--media-url-max-file-size-mb                                    0.5.18
--mem-fraction-static
--min-free-slots-delay                                          0.5.15
--mlx-enable-sampling                                           0.5.18
--mm-attention-backend                                          0.4.6
--mm-enable-dp-encoder                                          0.5.6
--mm-feature-transport                                          0.5.16
--mm-global-cache-backend                                       0.5.18
--mm-io-worker-num                                              0.5.17
--mm-max-concurrent-calls                                       0.5.4   0.5.10
--mm-per-request-timeout                                        0.5.4   0.5.10
--mm-preprocess-cache-size-mb                                   0.5.18
--mm-process-config                                             0.5.6
--mm-processor-worker-num                                       0.5.17
--model                                                         0.4.8
--model-checksum                                                0.5.8
--model-config-parser                                           0.5.12
--model-impl                                                    0.4.9
--model-loader-extra-config                                     0.4.8
--model-path
--modelexpress-config                                           0.5.10
--modelopt-checkpoint-restore-path                              0.5.3
--modelopt-checkpoint-save-path                                 0.5.3
--modelopt-export-path                                          0.5.4
--modelopt-quant                                                0.5.3
--moe-a2a-backend                                               0.4.10
--moe-data-parallel-size                                        0.5.9
--moe-dense-tp-size                                             0.4.5
--moe-dp-size                                                   0.5.9
--moe-runner-backend                                            0.5.1
--monokernel-backend                                            0.5.23
--mooncake-ib-device                                            0.5.3
--msprobe-dump-config                                           0.5.11
--multi-item-scoring-delimiter                                  0.5.3   0.5.11
--n-share-experts-fusion                                        0.4.4   0.4.7
--nccl-init-addr
--nccl-port                                                     0.4.9
--nnodes
--node-rank
--nsa-decode                                                    0.5.3   0.5.4
--nsa-decode-backend                                            0.5.4   0.5.20
--nsa-prefill                                                   0.5.3   0.5.4
--nsa-prefill-backend                                           0.5.4   0.5.20
--nsa-prefill-cp-mode                                           0.5.8   0.5.20
--num-continuous-decode-steps                                   0.3.4
--num-reserved-decode-tokens                                    0.4.7
--numa-node                                                     0.5.2
--offload-group-size                                            0.5.1
--offload-mode                                                  0.5.1
--offload-num-in-group                                          0.5.1
--offload-prefetch-step                                         0.5.1
--oltp-traces-endpoint                                          0.5.3   0.5.5
--optimistic-prefill-attempts                                   0.5.16
--optimistic-prefill-retries                                    0.5.13  0.5.16
--otlp-service-name                                             0.5.21
--otlp-traces-endpoint                                          0.5.4
--page-size                                                     0.4.4
--paged-experts-num-resident                                    0.5.23
--pdlb-url                                                      0.4.6   0.5.2
--pdmux-config-path                                             0.5.3
--piecewise-cuda-graph-compiler                                 0.5.4   0.5.20
--piecewise-cuda-graph-max-tokens                               0.5.3   0.5.20
--piecewise-cuda-graph-tokens                                   0.5.3   0.5.20
--pipeline-parallel-size                                        0.4.6
--ple-offload-backend                                           0.5.20
--ple-offload-dir                                               0.5.20
--ple-offload-embedding                                         0.5.20
--port
--pp-async-batch-depth                                          0.5.7
--pp-max-micro-batch-size                                       0.5.3
--pp-size                                                       0.4.6
--pre-warm-nccl                                                 0.5.10
--preferred-sampling-params                                     0.4.6
--prefill-attention-backend                                     0.4.9
--prefill-cp-mode                                               0.5.10  0.5.20
--prefill-decode-interval                                       0.5.19
--prefill-decode-interval-min-bs                                0.5.23
--prefill-delayer-forward-passes-buckets                        0.5.8
--prefill-delayer-max-delay-ms                                  0.5.12
--prefill-delayer-max-delay-passes                              0.5.8
--prefill-delayer-queue-min-ratio                               0.5.12
--prefill-delayer-token-usage-low-watermark                     0.5.8
--prefill-delayer-wait-seconds-buckets                          0.5.8
--prefill-kv-cache-dequant-dtype                                0.5.21
--prefill-max-requests                                          0.5.7
--prefill-only-disable-kv-cache                                 0.5.12
--prefill-only-one-req                                          0.4.1   0.4.4
--prefill-round-robin-balance                                   0.5.2   0.5.20
--priority-scheduling-preemption-threshold                      0.5.3
--prompt-tokens-buckets                                         0.5.2
--qsa-indexer-dtype                                             0.5.22
--quantization
--quantization-param-path                                       0.4.1
--quantize-and-serve                                            0.5.4
--radix-cache-backend                                           0.5.13
--radix-eviction-policy                                         0.5.3
--radix-eviction-policy-config                                  0.5.20
--random-seed
--reasoning-parser                                              0.4.3
--record-nolora-graph                                           0.5.11  0.5.13
--remote-instance-weight-loader-backend                         0.5.7
--remote-instance-weight-loader-seed-instance-ip                0.5.3
--remote-instance-weight-loader-seed-instance-service-port      0.5.3
--remote-instance-weight-loader-send-weights-group-ports        0.5.3
--remote-instance-weight-loader-start-seed-via-transfer-engine  0.5.7
--retraction-policy                                             0.5.16
--return-aux-hidden-state-layer-ids                             0.5.23
--return-hidden-states                                          0.4.3   0.4.4
--return-hidden-states-mode                                     0.5.17
--return-input-ids                                              0.5.20
--return-output-ids                                             0.5.20
--revision                                                      0.4.0
--rl-on-policy-target                                           0.5.4
--rl-quant-profile                                              0.5.6
--sampling-backend                                              0.3.1
--sampling-defaults                                             0.5.3
--sampling-mask-max-tokens                                      0.5.20
--schedule-conservativeness
--schedule-low-priority-values-first                            0.5.3
--schedule-policy
--scheduler-recv-interval                                       0.5.1
--served-model-name
--shared-experts-tp-size                                        0.5.21
--show-time-cost
--sidecar                                                       0.5.16
--sidecar-args                                                  0.5.16
--skip-server-warmup                                            0.4.9
--skip-tokenizer-init
--sleep-on-idle                                                 0.4.7
--sm-group-num                                                  0.4.9
--smg-grpc-mode                                                 0.5.16
--smg-http-sidecar-port                                         0.5.16
--soft-watchdog-timeout                                         0.5.7
--spec-trace-dir                                                0.5.15
--speculative-accept-threshold-acc                              0.4.3
--speculative-accept-threshold-single                           0.4.3
--speculative-adaptive                                          0.5.11
--speculative-adaptive-config                                   0.5.11
--speculative-algorithm                                         0.4.1
--speculative-attention-mode                                    0.5.2
--speculative-dflash-block-size                                 0.5.11
--speculative-dflash-draft-window-size                          0.5.11  0.5.20
--speculative-domino-candidate-pool-size                        0.5.20
--speculative-draft-attention-backend                           0.5.7
--speculative-draft-kv-cache-dtype                              0.5.18
--speculative-draft-load-format                                 0.5.3
--speculative-draft-model                                       0.5.2
--speculative-draft-model-path                                  0.4.1
--speculative-draft-model-quantization                          0.5.7
--speculative-draft-model-revision                              0.5.2
--speculative-draft-sink-size                                   0.5.21
--speculative-draft-window-size                                 0.5.12
--speculative-dsa-topk-backend                                  0.5.19
--speculative-dspark-align-verify-tokens-to-graph-tier          0.5.16
--speculative-dspark-block-size                                 0.5.16
--speculative-dspark-confidence-sts-path                        0.5.16
--speculative-dspark-sps-table-path                             0.5.16
--speculative-eagle-topk                                        0.4.1
--speculative-enable-w4a4-mxfp4-megamoe                         0.5.22
--speculative-moe-a2a-backend                                   0.5.6
--speculative-moe-runner-backend                                0.5.4
--speculative-ngram-branch-length                               0.5.3   0.5.10
--speculative-ngram-capacity                                    0.5.3
--speculative-ngram-external-corpus-max-tokens                  0.5.11
--speculative-ngram-external-corpus-path                        0.5.11
--speculative-ngram-external-sam-budget                         0.5.11
--speculative-ngram-match-type                                  0.5.3
--speculative-ngram-max-bfs-breadth                             0.5.3
--speculative-ngram-max-match-window-size                       0.5.3   0.5.10
--speculative-ngram-max-trie-depth                              0.5.10
--speculative-ngram-min-bfs-breadth                             0.5.3
--speculative-ngram-min-match-window-size                       0.5.3   0.5.10
--speculative-num-draft-tokens                                  0.4.1
--speculative-num-steps                                         0.4.1
--speculative-skip-dp-mlp-sync                                  0.5.11  0.5.23
--speculative-token-map                                         0.4.3
--speculative-use-block-verification                            0.5.22
--speculative-use-rejection-sampling                            0.5.14
--ssl-ca-certs                                                  0.5.10
--ssl-certfile                                                  0.5.10
--ssl-keyfile                                                   0.5.10
--ssl-keyfile-password                                          0.5.10
--startup-weight-load-mode                                      0.5.18
--stat-loggers                                                  0.5.17  0.5.20
--stream-interval
--stream-output                                                 0.4.2   0.5.20
--stream-response-default-include-usage                         0.5.10
--strip-thinking-cache                                          0.5.11
--swa-full-tokens-ratio                                         0.4.9
--swa-prefix-tails                                              0.5.21
--tbo-token-distribution-threshold                              0.5.1
--tensor-parallel-size
--tokenizer-backend                                             0.5.11
--tokenizer-metrics-allowed-custom-labels                       0.5.3
--tokenizer-metrics-custom-labels-header                        0.5.3
--tokenizer-mode
--tokenizer-path
--tokenizer-worker-num                                          0.5.2
--tool-call-parser                                              0.4.2
--tool-server                                                   0.5.1
--torch-compile-max-bs                                          0.3.5
--torchao-config                                                0.3.1   0.5.18
--tp-size
--trace-modules                                                 0.5.13
--triton-attention-num-kv-splits                                0.4.0
--triton-attention-reduce-in-fp32
--triton-attention-split-tile-size                              0.5.3
--trust-mm-content-hashes                                       0.5.18
--trust-remote-code
--trust-request-chat-template                                   0.5.21
--unified-cache-external-linker-backend                         0.5.20
--unified-cache-external-linker-config                          0.5.23
--uno-lora-path                                                 0.5.20
--use-ray                                                       0.5.10
--uvicorn-access-log-exclude-prefixes                           0.5.8
--warmups                                                       0.4.3
--watchdog-timeout                                              0.3.5
--watermark-config                                              0.5.22
--weight-cache-mode                                             0.5.17
--weight-cache-socket                                           0.5.17
--weight-cache-timeout                                          0.5.17
--weight-loader-disable-mmap                                    0.4.8
--weight-loader-drop-cache-after-load                           0.5.12
--weight-loader-prefetch-checkpoints                            0.5.11
--weight-loader-prefetch-num-threads                            0.5.11
--weight-version                                                0.5.1
"""

SGLANG = EngineFacts(
    name="sglang",
    title="SGLang",
    image=re.compile(r"sglang"),
    official=r"(?:^|/)lmsysorg/sglang[:@]",
    hints=("sglang",),
    starts=(
        r"sglang\.launch_server",
        r"sglang\s+serve",
        r"\S*sglang/launch_server\.py",
    ),
    signature=frozenset(
        {"--mem-fraction-static", "--chunked-prefill-size", "--tp-size", "--context-length"}
    ),
    host="127.0.0.1",
    port=30000,
    health_paths=("/health", "/health_generate", "/v1/models"),
    live_paths=frozenset(
        {
            "/get_model_info",
            "/model_info",
            "/get_server_info",
            "/server_info",
            "/get_load",
            "/ping",
            "/docs",
            "/openapi.json",
        }
    ),
    keyed_paths=("/",),
    unkeyed_paths=("/health", "/ready", "/metrics"),  # source, srt/utils/auth.py
    busy_paths=("/health_generate",),
    metrics_flag="--enable-metrics",  # source, 0.3.5 to 0.5.23: off by default
    prefix="sglang:",
    meanings={
        "waiting": ("sglang:num_queue_reqs",),
        "running": ("sglang:num_running_reqs",),
        "kv_cache": ("sglang:token_usage",),
        "ttft": ("sglang:time_to_first_token_seconds",),
        "latency": (
            "sglang:request_time_per_output_token_seconds",
            "sglang:inter_token_latency_seconds",
            "sglang:time_per_output_token_seconds",
        ),
        "e2e": ("sglang:e2e_request_latency_seconds",),
        "queue_time": ("sglang:queue_time_seconds", "sglang:avg_request_queue_latency"),
        "success": ("sglang:num_requests_total",),
        "prompt_tokens": ("sglang:prompt_tokens_total",),
        "generation_tokens": ("sglang:generation_tokens_total",),
        "preemptions": ("sglang:num_retracted_requests_total",),
    },
    metric_table=METRICS,
    metric_instead={
        "sglang:time_per_output_token_seconds": "sglang:inter_token_latency_seconds",
        "sglang:avg_request_queue_latency": "sglang:queue_time_seconds",
    },
    flag_table=FLAGS,
    flag_instead={
        "--cuda-graph-bs": "--cuda-graph-bs-decode has replaced it",
        "--cuda-graph-max-bs": "--cuda-graph-max-bs-decode has replaced it",
        "--disable-flashinfer": "--attention-backend has replaced it",
        "--disable-mla": "MLA is always on where the model has it",
        "--enable-deepep-moe": "--moe-a2a-backend=deepep has replaced it",
        "--enable-ep-moe": "--ep-size has replaced it",
        "--enable-flashinfer-mla": "--attention-backend=flashinfer has replaced it",
        "--enable-flashmla": "--attention-backend=flashmla has replaced it",
    },
    compared=((0, 3, 0), (0, 5, 23)),
    parallel_flags=("--tp", "--tp-size", "--tensor-parallel-size"),
    pipeline_flags=("--pp-size", "--pipeline-parallel-size"),
    data_flags=("--dp-size", "--data-parallel-size", "--dp"),
    nodes_flags=("--nnodes",),
    config_flags=("--config",),
    config_flags_alone=True,  # source, 0.5.3 to 0.5.9: it looks for the word --config by itself
    newest_major=0,
    drains=(
        Drain(since=(), default_s=0.0, source="source: no drain before 0.3.5"),
        Drain(since=(0, 3, 5), default_s=UNBOUNDED, source="sgl-project/sglang pull request 1838"),
        Drain(
            since=(0, 4, 8),
            default_s=UNBOUNDED,
            abort_env="SGL_FORCE_SHUTDOWN",
            source="source, 0.4.8 to 0.5.23; 0.4.7 does not read the variable",
        ),
    ),
)
