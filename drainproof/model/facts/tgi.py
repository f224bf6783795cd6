"""Text Generation Inference by version: all 47 releases from 1.0.0 to 3.3.7 were compared."""

from __future__ import annotations

import re

from drainproof.model.engine_facts import Drain, EngineFacts

METRICS = """\
tgi_batch_concat                          counter
tgi_batch_concat_duration                 histogram  1.3.3
tgi_batch_current_max_tokens              gauge
tgi_batch_current_size                    gauge
tgi_batch_decode_duration                 histogram  1.3.3
tgi_batch_filter_duration                 histogram  1.3.3
tgi_batch_forward_duration                histogram  1.3.3
tgi_batch_inference_count                 counter
tgi_batch_inference_duration              histogram
tgi_batch_inference_failure               counter
tgi_batch_inference_success               counter
tgi_batch_max_total_tokens                gauge      2.3.1
tgi_batch_next_size                       histogram
tgi_batch_total_tokens                    gauge      2.3.1
tgi_queue_size                            gauge
tgi_request_count                         counter
tgi_request_duration                      histogram
tgi_request_failure                       counter
tgi_request_generated_tokens              histogram
tgi_request_inference_duration            histogram
tgi_request_input_length                  histogram
tgi_request_max_new_tokens                histogram
tgi_request_mean_time_per_token_duration  histogram
tgi_request_queue_duration                histogram
tgi_request_skipped_tokens                histogram  1.3.0
tgi_request_success                       counter
tgi_request_validation_duration           histogram
"""

FLAGS = """\
--api-key                       2.3.0
--cors-allow-origin
--cuda-graphs                   2.0.0
--cuda-memory-fraction
--disable-crash-reports         2.2.0   2.3.0
--disable-custom-kernels
--disable-grammar-support       1.4.1
--disable-usage-stats           2.2.0   2.3.0
--dtype
--enable-cuda-graphs            1.4.1   2.0.0
--enable-prefill-logprobs       3.0.0
--env
--graceful-termination-timeout  3.2.2
--hostname
--huggingface-hub-cache
--json-output
--kv-cache-dtype                2.4.0
--lora-adapters                 2.1.0
--master-addr
--master-port
--max-batch-prefill-tokens
--max-batch-size                1.4.1
--max-batch-total-tokens
--max-best-of
--max-client-batch-size         2.0.1
--max-concurrent-requests
--max-input-length
--max-input-tokens              2.0.0
--max-stop-sequences
--max-top-n-tokens              1.0.3
--max-total-tokens
--max-waiting-tokens
--model-id
--ngrok
--ngrok-authtoken
--ngrok-edge
--num-shard
--otlp-endpoint
--otlp-service-name             2.1.0
--payload-limit                 2.4.1
--port
--prometheus-port               3.3.0
--quantize
--revision
--rope-factor                   1.0.1
--rope-scaling                  1.0.1
--shard-uds-path
--sharded
--speculate                     1.3.0
--tokenizer-config-path         1.4.0
--trust-remote-code
--usage-stats                   2.3.0
--validation-workers
--waiting-served-ratio
--watermark-delta
--watermark-gamma
--weights-cache-override
-e
-g                              3.2.2
-p
"""

TGI = EngineFacts(
    name="tgi",
    title="Text Generation Inference",
    image=re.compile(r"text-generation-inference|(?:^|[-_/])tgi(?:$|[-_])"),
    official=r"(?:^|/)huggingface/text-generation-inference[:@]",
    hints=("text-generation-", "tgi"),
    starts=(
        r"text-generation-launcher",
        r"text-generation-router",
        r"tgi-entrypoint\.sh",
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
    live_paths=frozenset({"/", "/info", "/metrics", "/ping", "/v1/models", "/docs"}),
    prefix="tgi_",
    meanings={
        "waiting": ("tgi_queue_size",),
        "running": ("tgi_batch_current_size",),
        "latency": ("tgi_request_mean_time_per_token_duration",),
        "e2e": ("tgi_request_duration",),
        "queue_time": ("tgi_request_queue_duration",),
        "success": ("tgi_request_success",),
        "prompt_tokens": ("tgi_request_input_length",),
        "generation_tokens": ("tgi_request_generated_tokens",),
    },
    metric_table=METRICS,
    flag_table=FLAGS,
    flag_instead={
        "--disable-usage-stats": "--usage-stats=off has replaced it",
        "--disable-crash-reports": "--usage-stats=no-stack has replaced it",
        "--enable-cuda-graphs": "they are on; --cuda-graphs sets their sizes",
    },
    compared=((1, 0, 0), (3, 3, 7)),
    parallel_flags=("--num-shard",),
    parallel_env="NUM_SHARD",
    parallel_default_all=True,
    newest_major=3,
    drains=(
        Drain(since=(), default_s=90.0, source="huggingface/text-generation-inference issue 2035"),
        Drain(
            since=(3, 2, 2),
            default_s=90.0,
            flag="--graceful-termination-timeout",
            env="GRACEFUL_TERMINATION_TIMEOUT",
            source="huggingface/text-generation-inference pull request 3126",
        ),
    ),
)
